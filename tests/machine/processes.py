"""The machine's processes: apps on one outbox file, each with a cache of its own, and a pool that sends in line."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from flask import Flask
from flask_caching import Cache

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.sync.engine import Engine
from flask_dualstorage.user_storage import UserStorage
from tests.machine.upstream import CALLER, Upstream
from tests.whole import Clock, storage_of


class InLine:
    """Stands in for the flush's ``ThreadPoolExecutor``: a job runs when it is submitted, and every run is the same."""

    def __init__(self, *arguments: Any) -> None:
        """Take and leave what a pool is made with."""

    def __enter__(self) -> InLine:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to wait for."""

    def submit(self, job: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Run it now. A ``Crash`` goes right through: the process ends."""
        future: Future[Any] = Future()
        try:
            future.set_result(job(*arguments))
        except Exception as error:  # noqa: BLE001  # as a pool does
            future.set_exception(error)
        return future


class Process:
    """One process: an app, its engine, its cache. A new one on the same folder is the first after a restart."""

    def __init__(self, folder: Path, clock: Clock, upstream: Upstream) -> None:
        app = Flask("machine", instance_path=str(folder))
        app.config.update(
            SECRET_KEY="for tests",
            TESTING=True,
            CACHE_TYPE="SimpleCache",
            DUALSTORAGE_UPSTREAM_URL="http://upstream.test",
            DUALSTORAGE_HONOURS_KEYS=upstream.honours,
            DUALSTORAGE_BREAKER_THRESHOLD=4,
            DUALSTORAGE_SYNC_CONCURRENCY=3,
            DUALSTORAGE_REGISTER_BLUEPRINT=False,
        )
        dualstorage = DualStorage()
        notes = {"name": "notes", "url": "/people/{person_id}/notes"}
        dualstorage.register(type("Notes", (Collection,), notes))
        dualstorage.upstream_auth(lambda owner, upstream: {CALLER: owner})
        self.cache = Cache(app)
        with mock.patch("flask_dualstorage.extension.time", SimpleNamespace(time=clock, monotonic=clock)):
            dualstorage.init_app(app)
        self.app = app
        self.engine: Engine = storage_of(app).engine
        self.engine.jitter = lambda: 0.5
        self.engine.upstream("default")._client = upstream  # type: ignore[assignment]

    def owner(self, owner: str) -> UserStorage:
        """One owner's storage in this process."""
        return storage_of(self.app).for_user(owner)

    def close(self) -> None:
        """Let its connection go, as the end of a process does; an open transaction is rolled back."""
        self.engine.outbox.database._drop()


def new_folder() -> Path:
    """A folder in memory, where there is such a thing: the machine asks the outbox for much, and for no power cut."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="machine-", dir=memory if memory.is_dir() else None))


def remove(folder: Path) -> None:
    """Remove a folder that ``new_folder`` made."""
    shutil.rmtree(folder, ignore_errors=True)
