"""Where the two storages and the upstream meet: reading, writing, flushing."""
