"""The two storages: bases, which may be lost (Flask-Caching), and the outbox, which may not (SQL)."""
