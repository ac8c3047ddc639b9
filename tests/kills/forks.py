"""A process that is warm, and forks another one for each job: what it runs in may be killed at any of its effects.

    python -m tests.kills.forks          # one job a line on stdin, as JSON; one answer a line on stdout

A job names what to do (see ``JOBS``), the app's instance folder, the upstream's URL, how far in the future the process
lives, and perhaps where it dies: ``[7, "before"]`` is right before the seventh effect, ``[7, "after"]`` right after it.

Effects are what another process, or the upstream, could see: each SQL statement, BEGIN and COMMIT among them, each
connection that is made, each call that sends bytes and each that gets some.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

from flask import Flask
from sqlalchemy import event

from flask_dualstorage import Collection, DualStorage, extension
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.storage import database
from flask_dualstorage.user_storage import UserStorage
from tests.whole import PATIENT, storage_of

#: Where to die: before or after which effect.
Death = tuple[int, str]


@dataclass(frozen=True)
class Job:
    """What a forked process does, and where it dies."""

    do: str
    instance: str
    url: str
    ahead: float = 0.0
    death: Death | None = None
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a forked process ended: ``trace`` has a line "before 7 COMMIT" or "after 7 COMMIT" for each effect."""

    killed: bool
    trace: list[str]
    result: Any

    @property
    def effects(self) -> int:
        """How many effects were begun."""
        return sum(line.startswith("before ") for line in self.trace)

    def has(self, what: str) -> bool:
        """Whether an effect of this name is over, whatever its number."""
        return any(line.startswith("after ") and line.split(" ", 2)[2] == what for line in self.trace)


# --- effects -----------------------------------------------------------------------------------------------


class Effects:
    """Numbers them from 1, writes each down before and after, and dies where it shall."""

    def __init__(self, death: Death | None, pipe: int) -> None:
        self._death = None if death is None else tuple(death)
        self._pipe = pipe
        self._numbers = itertools.count(1)

    def around(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """Make a call that is an effect."""
        number = next(self._numbers)
        self._pass(number, "before", what)
        result = call(*args)
        self._pass(number, "after", what)
        return result

    def _pass(self, number: int, when: str, what: str) -> None:
        # In one piece, whichever thread it is: shorter than PIPE_BUF.
        os.write(self._pipe, f"{when} {number} {what}\n".encode())
        if (number, when) == self._death:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, storage: AppDualStorage) -> None:
        """Number the statements of the outbox and the system calls of sockets from here on."""
        execute, connect = database.Connection.execute, socket.socket.connect
        send, recv_into = socket.socket.send, socket.socket.recv_into

        def executed(connection: Any, sql: str, values: Any = ()) -> Any:
            return self.around(_name(sql), execute, connection, sql, values)

        database.Connection.execute = executed  # type: ignore[method-assign]
        # _socket.socket's own methods: this class is where Python code finds them first.
        socket.socket.connect = lambda *args: self.around("connect", connect, *args)  # type: ignore[assignment]
        socket.socket.send = lambda *args: self.around("send", send, *args)  # type: ignore[assignment]
        socket.socket.recv_into = lambda *args: self.around("recv", recv_into, *args)  # type: ignore[assignment]
        self._watch_schema(storage)

    def _watch_schema(self, storage: AppDualStorage) -> None:
        """The statements that make the tables go through SQLAlchemy's own connection."""
        engine = storage.engine.outbox.database._engine
        numbers: list[int] = []

        def begin(_connection: Any, _cursor: Any, sql: str, *_rest: Any) -> None:
            numbers.append(next(self._numbers))
            self._pass(numbers[-1], "before", f"schema {_name(sql)}")

        def end(_connection: Any, _cursor: Any, sql: str, *_rest: Any) -> None:
            self._pass(numbers.pop(), "after", f"schema {_name(sql)}")

        event.listen(engine, "before_cursor_execute", begin)
        event.listen(engine, "after_cursor_execute", end)


def _name(sql: str) -> str:
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
    app = Flask("app", instance_path=job.instance)
    app.config.update(
        SECRET_KEY="for tests",
        DUALSTORAGE_UPSTREAM_URL=job.url,
        DUALSTORAGE_TIMEOUT=PATIENT,
        **job.config,
    )
    dualstorage = DualStorage()
    dualstorage.register(Notes)
    dualstorage.init_app(app)
    return storage_of(app)


def load(alice: UserStorage) -> None:
    """What a page has shown before: two lists."""
    for name in ("people", "pets"):
        alice.collection(name).fetch()


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


def write_and_flush(alice: UserStorage, kind: str) -> dict[str, Any]:
    """The same in an outage, and a flush after it."""
    write(alice, kind, remote=False)
    return alice.sync().to_dict()


def recover(alice: UserStorage) -> dict[str, Any]:
    """What the next process does: send what is there, and look at it."""
    before = [each.to_dict() for each in alice.pending()]
    report = alice.sync().to_dict()
    return {"before": before, "report": report, "pending": [each.to_dict() for each in alice.pending()]}


def look(alice: UserStorage) -> dict[str, Any]:
    """Send again, which sends nothing, and fetch: what a page shows then."""
    report = alice.sync().to_dict()
    return {"report": report, "people": [dict(person) for person in alice.collection("people").fetch()]}


JOBS: dict[str, Callable[[UserStorage], Any]] = {
    "nothing": lambda alice: None,
    "load": load,
    "leave a graph": leave_a_graph,
    "create": lambda alice: write(alice, "create"),
    "update": lambda alice: write(alice, "update"),
    "delete": lambda alice: write(alice, "delete"),
    "create offline, flush": lambda alice: write_and_flush(alice, "create"),
    "update offline, flush": lambda alice: write_and_flush(alice, "update"),
    "delete offline, flush": lambda alice: write_and_flush(alice, "delete"),
    "flush": lambda alice: alice.sync().to_dict(),
    "recover": recover,
    "look": look,
}


# --- forks -------------------------------------------------------------------------------------------------


def run(job: Job, pipe: int) -> Any:
    """Do a job in this process, its effects numbered."""
    storage = make_storage(job)
    Effects(job.death, pipe).watch(storage)
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
        with open(pipe, "w", encoding="utf-8") as told:  # noqa: PTH123 - a descriptor, not a path
            told.write(json.dumps({"result": result}) + "\n")
        status = 0
    except BaseException:  # noqa: BLE001 - a child must never get back into the loop of its parent
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Fork for each job that comes in, until no more can come."""
    for line in sys.stdin:
        job = Job(**json.loads(line))
        ended = fork(job)
        sys.stdout.write(json.dumps(asdict(ended)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
