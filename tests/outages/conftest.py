"""What tests of our own outages have in common: an app, an upstream that stays up, and servers to kill."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.typing import ResponseReturnValue

from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.storage import database
from tests import needs
from tests.upstreams.rest import RestUpstream
from tests.waiting import until
from tests.whole import MakeApp, bare_environment, clock, make_app, storage_of

__all__ = ["bare_environment", "clock", "make_app"]

OpenStorage = Callable[..., AppDualStorage]


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    """Two people, keys honoured."""
    people = [{"id": 1, "name": "Ada", "age": 36}, {"id": 2, "name": "Grace", "age": 85}]
    with RestUpstream({"/people": people}, keys=True) as upstream:
        yield upstream


@pytest.fixture
def open_storage(make_app: MakeApp, upstream: RestUpstream) -> Iterator[OpenStorage]:
    """An app with a page and a form, in front of ``upstream``; this thread's connections end with the test."""
    made: list[AppDualStorage] = []

    def give(**config: Any) -> AppDualStorage:
        app = make_app(**{"url": upstream.url, "DUALSTORAGE_HONOURS_KEYS": True, **config})
        add_pages(app)
        made.append(storage_of(app))
        return made[-1]

    yield give
    for storage in made:
        storage.engine.outbox.database._drop()


def add_pages(app: Flask) -> None:
    """A list, and a form that makes a record."""

    @app.get("/people")
    def people() -> ResponseReturnValue:
        return {"people": storage_of(app).collection("people").fetch().pluck("name")}

    @app.post("/people/<name>")
    def create(name: str) -> ResponseReturnValue:
        person = storage_of(app).collection("people").create(name=name)
        return {"dirty": person.dirty}, 201


def page(storage: AppDualStorage, path: str = "/people") -> Any:
    return storage._app.test_client().get(path, headers={"X-User": "alice"})


def post(storage: AppDualStorage, path: str) -> Any:
    return storage._app.test_client().post(path, headers={"X-User": "alice"})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locked SQLite file is given up at once, instead of after ten seconds."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.01)


# --- a PostgreSQL and a Redis of our own ---------------------------------------------------------------------


class Server:
    """A server on a port of its own that a test may stop, kill and start again."""

    def __init__(self, command: list[str], port: int, user: str | None, is_up: Callable[[], bool]) -> None:
        self.port = port
        self._command, self._user, self._is_up = command, user, is_up
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it answers."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(self._command, user=self._user, **quiet)  # type: ignore[call-overload]
        until(self._is_up, f"{self._command[0]} answers")

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it, as hard as ``how`` says (PostgreSQL: SIGQUIT is "immediate", without a goodbye)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def own_postgresql() -> Iterator[tuple[Server, str]]:
    """A PostgreSQL that nobody else uses, and the URL of a database in it."""
    found = shutil.which("initdb")
    candidates = [*([Path(found).resolve().parent] if found else []), *Path("/usr/lib/postgresql").glob("*/bin")]
    binary = next((each for each in candidates if (each / "postgres").is_file()), None)
    if binary is None:
        needs.missing("PostgreSQL's initdb", "install the package postgresql.")
    user = "postgres" if os.getuid() == 0 else None
    port = needs.free_port()
    folder = Path(tempfile.mkdtemp(prefix="dualstorage-postgresql-"))
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"
    initdb = [str(binary / "initdb"), "--pgdata", str(data), "--auth=trust", "--username=postgres", "--no-sync"]
    subprocess.run(initdb, user=user, check=True, stdout=subprocess.DEVNULL, cwd="/")
    options = [f"-p{port}", f"-k{folder}", "-clisten_addresses=127.0.0.1", "-cfsync=off", "-cmax_connections=20"]
    ready = [shutil.which("pg_isready") or str(binary / "pg_isready"), "-q", "-h127.0.0.1", f"-p{port}"]
    server = Server(
        [str(binary / "postgres"), f"-D{data}", *options],
        port,
        user,
        lambda: subprocess.run(ready, check=False).returncode == 0,
    )
    try:
        server.start()
        yield server, f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres?connect_timeout=10"
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    """A Redis that nobody else uses, and that keeps nothing."""
    found = shutil.which("redis-server")
    if found is None:
        needs.missing("redis-server", "install the package redis-server.")
    port = needs.free_port()
    command = [found, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = Server(command, port, None, lambda: _answers(port))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _answers(port: int) -> bool:
    import redis

    with redis.Redis(port=port) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
