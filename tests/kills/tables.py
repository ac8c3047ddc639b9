"""The outbox's tables on a PostgreSQL server: kept as they are, put back, and watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import make_url, text

from flask_dualstorage.storage import schema
from tests.waiting import until

_TABLES = tuple(schema.metadata.tables.values())
#: The forks' connections, among all of the server's.
_NAME = "kills"
_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = :name"

#: The rows of each table.
Rows = dict[str, list[dict[str, Any]]]


class Tables:
    """``url`` is what the forks connect to, and only they."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url).update_query_dict({"application_name": _NAME}).render_as_string(hide_password=False)
        options = {"options": "-c lock_timeout=30s"}
        self._engine = sqlalchemy.create_engine(url, connect_args=options)

    def close(self) -> None:
        """Hang up."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sqlalchemy.Connection]:
        """A connection of our own, committed at the end."""
        with self._engine.begin() as connection:
            yield connection

    def keep(self) -> Rows:
        """What is in them."""
        with self.transaction() as connection:
            return {
                table.name: [dict(row) for row in connection.execute(table.select()).mappings()] for table in _TABLES
            }

    def put_back(self, rows: Rows) -> None:
        """Have them hold these rows alone. The numbers of new writes go on: they are given once, as in life."""
        with self.transaction() as connection:
            for table in _TABLES:
                connection.execute(table.delete())
                if rows[table.name]:
                    connection.execute(table.insert(), rows[table.name])

    def drop(self) -> None:
        """Have none."""
        with self.transaction() as connection:
            schema.metadata.drop_all(connection)

    def settle_down(self) -> None:
        """Return once the server has done, or undone, all that a killed process sent it, and hung up on it."""
        until(lambda: not self.count("TRUE"), "that the server hangs up on who was killed")

    def count(self, condition: str) -> int:
        """How many of the forks' connections are in a state."""
        with self.transaction() as connection:
            return int(connection.scalar(text(f"SELECT count(*) {_OTHERS} AND {condition}"), {"name": _NAME}) or 0)

    def wait_for_waiting(self, number: int) -> None:
        """Return once so many of the forks' connections wait for a lock."""
        until(lambda: self.count("wait_event_type = 'Lock'") == number, f"{number} that wait for a lock")
