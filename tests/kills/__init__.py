"""``SIGKILL`` at every step of a save and of a flush."""
