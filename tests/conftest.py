"""Fixtures for all tests: the real services, each on its own piece of ground."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
import sqlalchemy

from tests import needs
from tests.upstreams import json_server

# No timed assertions: how long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.load_profile("default")

POSTGRESQL = os.environ.get("TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
MARIADB = os.environ.get("TEST_MARIADB_URL", "mysql+pymysql://root@127.0.0.1:3306/mysql")
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/0")


@pytest.fixture
def start_json_server(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], json_server.JsonServer]]:
    """Start a json-server that holds `db`; it ends with the test."""
    try:
        command = json_server.command()
    except json_server.NotInstalled as error:
        needs.missing("json-server", str(error))
    with ExitStack() as servers:

        def start(db: dict[str, Any]) -> json_server.JsonServer:
            folder = tmp_path / f"json-server-{uuid.uuid4().hex[:8]}"
            server = json_server.JsonServer(command, folder, needs.free_port(), db)
            servers.callback(server.kill)
            server.start()
            return server

        yield start


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database, dropped at the end."""
    yield from _database(POSTGRESQL, "PostgreSQL", "TEST_POSTGRESQL_URL")


@pytest.fixture(scope="session")
def kinto_database_url() -> Iterator[str]:
    """The URL of another one, where no test drops tables of another's."""
    yield from _database(POSTGRESQL, "PostgreSQL", "TEST_POSTGRESQL_URL")


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """The URL of an empty MariaDB database, dropped at the end."""
    yield from _database(MARIADB, "MariaDB", "TEST_MARIADB_URL")


def _database(url: str, what: str, variable: str) -> Iterator[str]:
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    name = f"dualstorage_test_{uuid.uuid4().hex}"
    try:
        with engine.connect() as server:
            server.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    except sqlalchemy.exc.OperationalError as error:
        needs.missing(what, f"none at {url}, or set {variable} to one where databases may be made ({error.orig}).")
    yield engine.url.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as server:
        force = " WITH (FORCE)" if engine.dialect.name == "postgresql" else ""
        server.execute(sqlalchemy.text(f"DROP DATABASE {name}{force}"))


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The URL of a Redis that others use too: take a key prefix of your own, and flush nothing."""
    try:
        with redis.Redis.from_url(REDIS) as client:
            client.ping()
    except redis.RedisError as error:
        needs.missing("Redis", f"none at {REDIS}, or set TEST_REDIS_URL ({error}).")
    return REDIS
