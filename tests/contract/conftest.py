"""The backends of the contract, each on empty ground."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from flask_dualstorage.storage import schema
from flask_dualstorage.storage.database import Database
from flask_dualstorage.storage.outbox import Outbox
from tests.contract.writes import Clock

SERVERS = ("postgresql", "mariadb")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'instance' / 'outbox.sqlite3'}"


@pytest.fixture
def server_url(request: pytest.FixtureRequest) -> str:
    """The URL of a server's database: for tests that are parametrized over ``SERVERS``."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", *SERVERS])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database with the outbox's tables, all empty."""
    url = str(request.getfixturevalue(f"{request.param}_url"))
    if request.param != "sqlite":
        Database(url, Clock()).prepare(create=True)
        with on_the_side(url) as connection:
            for table in (schema.write, schema.alias, schema.nonce, schema.owner):
                connection.execute(table.delete())
    return url


@pytest.fixture
def open_outbox(clock: Clock) -> Iterator[Callable[[str], Outbox]]:
    """Open outboxes, each like another process of the app; this thread's connections end with the test."""
    opened: list[Database] = []

    def open_(url: str) -> Outbox:
        opened.append(Database(url, clock))
        return Outbox(opened[-1])

    yield open_
    for database in opened:
        database._drop()


@pytest.fixture
def outbox(database_url: str, open_outbox: Callable[[str], Outbox]) -> Outbox:
    return open_outbox(database_url)


@contextmanager
def on_the_side(url: str) -> Iterator[Any]:
    """A connection beside the outbox's, committed at the end."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        yield connection
