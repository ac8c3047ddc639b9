"""Workers of one app on one database, an upstream that they share, and threads that start at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_dualstorage import DualStorage
from flask_dualstorage.extension import AppDualStorage
from tests.concurrency.gates import PATIENCE, in_a_worker
from tests.contract.conftest import database_url, sqlite_url
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, bare_environment, clock, make_app, storage_of

__all__ = ["bare_environment", "clock", "database_url", "make_app", "sqlite_url", "upstream"]

#: Gives another worker of the app: its own engine, its own connections, the same database and instance folder.
Worker = Callable[..., AppDualStorage]
#: Runs each task in a thread of its own, all at once, and gives what they gave.
AtOnce = Callable[..., list[Any]]


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    """Two people, keys honoured."""
    people = [{"id": 1, "name": "Ada", "age": 36}, {"id": 2, "name": "Grace", "age": 85}]
    with RestUpstream({"/people": people}, keys=True) as upstream:
        yield upstream


@pytest.fixture
def worker(make_app: MakeApp, upstream: RestUpstream, database_url: str) -> Iterator[Worker]:
    made: list[AppDualStorage] = []

    def give(dualstorage: DualStorage | None = None, **config: Any) -> AppDualStorage:
        settings = {"url": upstream.url, "DUALSTORAGE_DATABASE_URL": database_url, "DUALSTORAGE_HONOURS_KEYS": True}
        made.append(storage_of(make_app(dualstorage, **{**settings, **config})))
        return made[-1]

    yield give
    for storage in made:
        storage.engine.outbox.database._drop()


@pytest.fixture
def at_once() -> AtOnce:
    """Run tasks; their threads' connections end with them."""

    def run(*tasks: Callable[[], Any]) -> list[Any]:
        ready = threading.Barrier(len(tasks))

        def one(task: Callable[[], Any]) -> Any:
            ready.wait(PATIENCE)
            return in_a_worker(task)

        with ThreadPoolExecutor(len(tasks)) as pool:
            return [future.result(PATIENCE) for future in [pool.submit(one, task) for task in tasks]]

    return run
