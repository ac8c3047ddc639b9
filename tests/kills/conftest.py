"""The processes that fork for each job: one for each database, as long as the tests last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kills.ground import Forks
from tests.kills.tables import Tables


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def tables(postgresql_url: str) -> Iterator[Tables]:
    tables = Tables(postgresql_url)
    yield tables
    tables.close()


@pytest.fixture(scope="session")
def forks_on_postgresql(tables: Tables) -> Iterator[Forks]:
    """The same with an outbox on PostgreSQL."""
    forks = Forks(tables.url)
    yield forks
    forks.close()
