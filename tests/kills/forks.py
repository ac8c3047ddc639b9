"""A process that is warm, and forks another one for each job: what it runs in may be killed at any of its effects.

    python -m tests.kills.forks [URL]    # one job a line on stdin, as JSON; one answer a line on stdout, after "warm"

The URL is that of a PostgreSQL database; without one, the outbox is the SQLite file in the app's instance folder.

A job names what to do (see ``JOBS``), the app's instance folder, the upstream's URL, how far in the future the process
lives, and perhaps where it dies: ``[7, "before"]`` is right before the seventh effect, ``[7, "after"]`` right after it.
``[7, "sent"]`` is when a statement is with the server, and no answer has come; where the seventh effect is none that
a server answers, it is the same as "after".

Effects are what another process, or the upstream, could see: each SQL statement, BEGIN and COMMIT among them, each
connection that is made, each call that sends bytes and each that gets some.
"""

from __future__ import annotations

import functools
import gc
import itertools
import json
import os
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

import psycopg
import sqlalchemy
from flask import Flask

from flask_dualstorage import Collection, DualStorage, Rejected, extension
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.storage import database
from flask_dualstorage.tokens import make_nonce
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import PATIENT, storage_of

#: The PostgreSQL database of all jobs, None for a SQLite file of each instance.
DATABASE_URL = sys.argv[1] if __name__ == "__main__" and len(sys.argv) > 1 else None

#: Where to die: at which effect, and "before", "sent" or "after".
Death = tuple[int, str]


@dataclass(frozen=True)
class Job:
    """What a forked process does, and where it dies."""

    do: str
    instance: str
    url: str
    ahead: float = 0.0
    death: Death | None = None
    #: Whether it makes the tables first, where the database is a server's.
    makes_tables: bool = False
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a forked process ended.

    ``trace`` has a line "before 7 COMMIT" and one "after 7 COMMIT" for each effect; between them "sent 7 COMMIT", where
    a server answers it.
    """

    killed: bool
    trace: list[str]
    result: Any

    @property
    def effects(self) -> int:
        """How many effects were begun."""
        return sum(line.startswith("before ") for line in self.trace)

    def committed(self, what: str) -> bool:
        """Whether a statement was run and then committed: ``INSERT INTO write`` accepts a write.

        What a server has got it does, whether its client lives to hear of it or not.
        """
        over = [line.split(" ", 2)[2] for line in self.trace if line.startswith(("sent ", "after "))]
        return what in over and "COMMIT" in over[over.index(what) :]

    def numbers(self, what: str) -> list[int]:
        """The numbers of the effects of this name."""
        lines = [line.split(" ", 2) for line in self.trace]
        return [int(number) for when, number, name in lines if (when, name) == ("before", what)]


# --- effects -----------------------------------------------------------------------------------------------


class Effects:
    """Numbers them from 1, writes each down before and after, and dies where it shall."""

    def __init__(self, death: Death | None, pipe: int) -> None:
        self._death = None if death is None else tuple(death)
        self._pipe = pipe
        self._numbers = itertools.count(1)
        #: What each thread is at.
        self._here = threading.local()

    def around(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """Make a call that is an effect."""
        number = next(self._numbers)
        self._pass(number, "before", what)
        self._here.now = number, what
        result = call(*args)
        self._here.now = None
        self._pass(number, "after", what)
        return result

    def sent(self) -> None:
        """Note that what this thread is at is with the server."""
        if now := getattr(self._here, "now", None):
            self._here.now = None
            self._pass(now[0], "sent", now[1])

    def _pass(self, number: int, when: str, what: str) -> None:
        # In one piece, whichever thread it is: shorter than PIPE_BUF.
        os.write(self._pipe, f"{when} {number} {what}\n".encode())
        if (number, when) == self._death or (when == "after" and (number, "sent") == self._death):
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Number SQL statements and the system calls of sockets from here on, whoever makes them."""
        self._watch_sqlite()
        self._watch_postgresql()
        # _socket.socket's own methods: its Python class is where they are found first.
        for name in ("connect", "send", "recv_into"):
            setattr(socket.socket, name, self._numbered(name, getattr(socket.socket, name)))

    def _watch_sqlite(self) -> None:
        around = self.around

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, *args: Any) -> Any:
                return around(_name(sql), super().execute, sql, *args)

        class Connection(sqlite3.Connection):
            def cursor(self, factory: type[sqlite3.Cursor] = Cursor) -> Any:
                return super().cursor(factory)

        # Where SQLAlchemy looks for it.
        sqlite3.dbapi2.connect = functools.partial(sqlite3.connect, factory=Connection)  # type: ignore[attr-defined]

    def _watch_postgresql(self) -> None:
        around, sent = self.around, self.sent

        class Cursor(psycopg.Cursor[Any]):
            def execute(self, sql: Any, *args: Any, **options: Any) -> Any:
                return around(_name(str(sql)), functools.partial(super().execute, **options), sql, *args)

        class Connection(psycopg.Connection[Any]):
            def wait(self, steps: Any, *args: Any, **options: Any) -> Any:
                return super().wait(_telling(steps, sent), *args, **options)

            def commit(self) -> None:
                around("COMMIT", super().commit)

        def connect(*args: Any, **options: Any) -> Any:
            # Nothing is prepared: so a statement goes to the server as a whole, whatever was there before it.
            options |= {"cursor_factory": Cursor, "prepare_threshold": None}
            return around("connect", functools.partial(Connection.connect, **options), *args)

        psycopg.connect = connect  # type: ignore[assignment]

    def _numbered(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: self.around(name, method, *args)


def _telling(steps: Any, sent: Callable[[], None]) -> Generator[Any, Any, Any]:
    """Take the driver's steps, and tell when all bytes are out: it wants nothing any more but to read."""
    try:
        wants = next(steps)
        while True:
            if wants == psycopg.waiting.Wait.R:
                sent()
            wants = steps.send((yield wants))
    except StopIteration as end:
        return end.value


def _name(sql: str) -> str:
    if sql.endswith("FOR UPDATE"):
        return "lock"
    return " ".join(sql.split()[:3]).replace('"', "")


# --- jobs --------------------------------------------------------------------------------------------------


class Notes(Collection):
    """Nested under a person."""

    name = "notes"
    url = "/people/{person_id}/notes"


def make_storage(job: Job) -> AppDualStorage:
    """Make the app of a job, as a process that starts makes it."""
    ahead = job.ahead
    extension.time = SimpleNamespace(time=lambda: time.time() + ahead, monotonic=time.monotonic)  # type: ignore[attr-defined]
    now = sqlalchemy.text("SELECT extract(epoch from clock_timestamp()) + :ahead")
    database._SERVER_TIME = database.Statement(now.bindparams(ahead=ahead))
    app = Flask("app", instance_path=job.instance)
    app.config.update(
        SECRET_KEY="for tests",
        DUALSTORAGE_UPSTREAM_URL=job.url,
        DUALSTORAGE_TIMEOUT=PATIENT,
        **job.config,
    )
    if DATABASE_URL:
        app.config["DUALSTORAGE_DATABASE_URL"] = DATABASE_URL
    dualstorage = DualStorage()
    dualstorage.register(Notes)
    dualstorage.init_app(app)
    return storage_of(app)


def load(alice: UserStorage) -> str:
    """What a page has shown before: two lists, and a form; give its nonce."""
    for name in ("people", "pets"):
        alice.collection(name).fetch()
    return make_nonce(alice._engine.app)


def leave_a_frozen_edit(alice: UserStorage) -> None:
    """Leave an update that was answered with 503: it keeps its key and bytes."""
    load(alice)
    alice.collection("people").fetch(remote=False).get(1).save(age=41)


def leave_a_graph(alice: UserStorage) -> None:
    """Leave six writes: a person, their note and pet, an update behind a frozen one, and a delete.

    The upstream answers the first update with 503, so that it keeps its key and bytes.
    """
    load(alice)
    people = alice.collection("people").fetch(remote=False)
    people.get(1).save(age=41)
    people.get(1).save(name="Lovelace", remote=False)
    people.get(2).destroy(remote=False)
    turing = people.create(name="Turing", remote=False)
    alice.collection("notes", person_id=turing.id).create(text="one", remote=False)
    alice.collection("pets").create(owner_id=turing.id, name="Rex", remote=False)


def write(alice: UserStorage, kind: str, *, remote: bool = True) -> dict[str, Any]:
    """Create, update or delete one record."""
    people = alice.collection("people").fetch(remote=False)
    match kind:
        case "create":
            people.create(name="Turing", remote=remote)
        case "update":
            people.get(1).save(age=41, remote=remote)
        case _:
            people.get(2).destroy(remote=remote)
    return {"pending": [each.to_dict() for each in alice.pending()]}


def save_behind(alice: UserStorage) -> None:
    """Save once more, while an update waits: both go, in order."""
    alice.collection("people").fetch(remote=False).get(1).save(name="Lovelace")


def send_form(alice: UserStorage) -> None:
    """Send the form that the page has shown."""
    alice.collection("people").create(name="Turing", nonce=alice._engine.app.config["FORM"])


def write_what_is_refused(alice: UserStorage) -> bool:
    """Create a record that the upstream will not take; say whether the view heard of it."""
    try:
        alice.collection("people").create(name="")
    except Rejected:
        return True
    return False


def write_and_flush(alice: UserStorage, kind: str) -> dict[str, Any]:
    """The same in an outage, and a flush after it."""
    write(alice, kind, remote=False)
    return alice.sync().to_dict()


def recover(alice: UserStorage, meanwhile: Callable[[UserStorage], Any] = lambda alice: None) -> dict[str, Any]:
    """What the next process does: send what is there, fetch, show it, and send again, which sends nothing."""
    before = [each.to_dict() for each in alice.pending()]
    meanwhile(alice)
    alice.sync()
    people = [dict(person) for person in alice.collection("people").fetch(when_dirty="rebase")]
    alice.sync()
    return {"before": before, "people": people, "pending": [each.to_dict() for each in alice.pending()]}


JOBS: dict[str, Callable[[UserStorage], Any]] = {
    "nothing": lambda alice: None,
    "load": load,
    "leave a graph": leave_a_graph,
    "leave a frozen edit": leave_a_frozen_edit,
    "save behind": save_behind,
    "send form": send_form,
    "recover, the form sent again": lambda alice: recover(alice, send_form),
    "create": lambda alice: write(alice, "create"),
    "update": lambda alice: write(alice, "update"),
    "delete": lambda alice: write(alice, "delete"),
    "refused create": write_what_is_refused,
    "create offline, flush": lambda alice: write_and_flush(alice, "create"),
    "update offline, flush": lambda alice: write_and_flush(alice, "update"),
    "delete offline, flush": lambda alice: write_and_flush(alice, "delete"),
    "flush": lambda alice: alice.sync().to_dict(),
    "recover": recover,
}


# --- forks -------------------------------------------------------------------------------------------------


def run(job: Job, pipe: int) -> Any:
    """Do a job in this process, its effects numbered."""
    Effects(job.death, pipe).watch()
    storage = make_storage(job)
    # The copies were made in another folder, which is a part of their keys.
    storage.engine.bases._namespace = "forks"
    if job.makes_tables:
        storage.init_db()
    return JOBS[job.do](storage.for_user("alice"))


def fork(job: Job) -> Ended:
    """Do a job in a process of its own, and say how that ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run_and_exit(job, writer)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor, not a path
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status != 0:
        raise RuntimeError(f"{job} ended with status {status}: its traceback is on stderr.")
    told = [line for line in lines if line.startswith("{")]
    trace = [line for line in lines if not line.startswith("{")]
    return Ended(killed, trace, json.loads(told[-1])["result"] if told else None)


def _run_and_exit(job: Job, pipe: int) -> None:
    status = 1
    try:
        result = run(job, pipe)
        with open(pipe, "w", encoding="utf-8") as told:
            told.write(json.dumps({"result": result}) + "\n")
        status = 0
    except BaseException:  # noqa: BLE001 - a child must never get back into the loop of its parent
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def warm_up() -> None:
    """Do everything once in this process: modules are imported and statements compiled for all forks to come."""
    with tempfile.TemporaryDirectory() as folder, RestUpstream({"/people": [{"id": 1}], "/pets": []}) as upstream:
        storage = make_storage(Job("warm up", folder, upstream.url))
        if DATABASE_URL:
            storage.init_db()
        alice = storage.for_user("alice")
        upstream.then(answer(200, [{"id": 1}, {"id": 2}]), answer(200, []), answer(503))
        leave_a_graph(alice)
        alice.sync()
        alice.collection("people").fetch().get(1).save(age=42)
        storage.engine.upstream("default")._client.close()
        storage.engine.outbox.database._drop()
    # What is here already is not collected in a fork, and so not copied for it.
    gc.freeze()


def main() -> None:
    """Fork for each job that comes in, until no more can come. The forks find all imported, and no thread running."""
    warm_up()
    sys.stdout.write("warm\n")
    sys.stdout.flush()
    for line in sys.stdin:
        job = Job(**json.loads(line))
        ended = fork(job)
        sys.stdout.write(json.dumps(asdict(ended)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
