"""W1 to W3: keeping a write durably while the upstream is away, alone and at once, with few and many pending."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from zlib import crc32

import orjson
from flask import Flask

from flask_dualstorage.testing import offline
from flask_dualstorage.user_storage import UserStorage

from . import ground
from .rounds import Line, Options, Plot, Program, Report, compare, duration, exponent, number, percentile
from .upstream import record

NOBODY = "http://127.0.0.1:9"
_FIELDS = {name: value for name, value in record(1).items() if name != "id"}


def creates(owner: UserStorage) -> Callable[[], object]:
    """One create of ours; the app is offline."""
    people = owner.collection("people")
    return lambda: people.create(_FIELDS)


class Bare:
    """The statements of one create of ours on a connection of one's own: what no library could be faster than."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = FULL")
        cursor = self._connection.execute("SELECT * FROM write LIMIT 1")
        names = [column[0] for column in cursor.description]
        self._row = dict(zip(names, cursor.fetchone(), strict=True))
        del self._row["seq"]
        columns = ", ".join(f'"{name}"' for name in self._row)
        self._insert = f"INSERT INTO write ({columns}) VALUES ({', '.join('?' * len(self._row))})"  # noqa: S608
        self._numbers = itertools.count()

    def create(self) -> None:
        """Keep one write."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        state = execute(
            "SELECT epoch, settled_seq, pending, heir, retry_after FROM owner WHERE owner = ?", (self._row["owner"],)
        ).fetchone()
        new = f"{threading.get_ident():016x}{next(self._numbers):016x}"[-32:]
        row = {**self._row, "id": new, "record_id": f"tmp-{new}", "created_at": time.time()}
        row["attributes"] = orjson.dumps(_FIELDS)
        execute(self._insert, tuple(row.values()))
        execute(
            "UPDATE owner SET epoch = ?, settled_seq = ?, pending = ?, heir = ?, retry_after = ? WHERE owner = ?",
            (state[0], state[1], state[2] + 1, state[3], state[4], self._row["owner"]),
        )
        execute("COMMIT")


def _app(path: Path) -> Flask:
    app = ground.make_app(path, NOBODY, ground.simple())
    with offline(app):
        ground.alice(app).collection("people").create(_FIELDS)
    return app


def _file(path: Path) -> Path:
    return path / "dualstorage.sqlite3"


def _times(create: Callable[[], object], count: int) -> Program:
    def run() -> float:
        began = time.perf_counter()
        for _ in range(count):
            create()
        return (time.perf_counter() - began) / count

    return run


# --- W1: alone ------------------------------------------------------------------------------------------------


def _peers(path: Path, port: int | None) -> dict[str, Callable[[], object]]:
    """What others keep the same record with, durably."""
    found: dict[str, Callable[[], object]] = {}
    with contextlib.suppress(ImportError):
        import persistqueue

        queue = persistqueue.SQLiteQueue(str(path / "persist-queue"), auto_commit=True, multithreading=True)
        found["persist-queue"] = lambda: queue.put(_FIELDS)
    with contextlib.suppress(ImportError):
        import huey

        tasks = huey.SqliteHuey(filename=str(path / "huey.db"), fsync=True)
        send = tasks.task()(_nothing)
        found["huey"] = lambda: send(_FIELDS)
    if port is not None:
        import celery

        worker = celery.Celery("bench", broker=f"redis://127.0.0.1:{port}/0")
        worker.conf.task_ignore_result = True
        task = worker.task(_nothing, name="nothing")
        found["Celery on Redis"] = lambda: task.delay(_FIELDS)
    return found


def _nothing(fields: Any) -> None:
    """What a worker would do with it, which never runs here."""


def _alone(report: Report, options: Options, path: Path) -> None:
    app = _app(path / "w1")
    _app(path / "w1-bare")
    count = options.size(200, 5)
    with ground.redis(path) as port, offline(app):
        programs = {
            "ours": _times(creates(ground.alice(app)), count),
            "sqlite3": _times(Bare(_file(path / "w1-bare")).create, count),
        }
        peers = _peers(path, port)
        programs |= {name: _times(create, count) for name, create in peers.items()}
        found = compare(programs, options.rounds)
    what = "create() while offline, on the disk when it returns, against"
    same = f"{what} the same statements on bare sqlite3 (synchronous=FULL)"
    report.at_most("W1", same, found.ratio("ours", "sqlite3"), 1.5)
    for name in peers:
        report.at_most("W1", f"{what} {name}", found.ratio("ours", name), 1.0)


# --- W2: at once ----------------------------------------------------------------------------------------------


class AtOnce:
    """Several threads that create at the same time: the seconds for each create, and all of them together."""

    def __init__(self, make: Callable[[], Callable[[], object]], threads: int, count: int) -> None:
        self._creates = [make() for _ in range(threads)]
        self._count = count
        self.worst: list[float] = []
        self.slowest: list[float] = []

    def __call__(self) -> float:
        """Run once; gives the seconds for one create, all threads together."""
        took: list[float] = []
        start = threading.Barrier(len(self._creates) + 1)

        def work(create: Callable[[], object]) -> None:
            start.wait()
            for _ in range(self._count):
                began = time.perf_counter()
                create()
                took.append(time.perf_counter() - began)

        threads = [threading.Thread(target=work, args=(create,)) for create in self._creates]
        for thread in threads:
            thread.start()
        start.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        whole = time.perf_counter() - began
        self.worst.append(percentile(took, 0.99))
        self.slowest.append(max(took))
        return whole / (len(threads) * self._count)


def _in_threads(report: Report, options: Options, path: Path) -> None:
    app = _app(path / "w2")
    _app(path / "w2-bare")
    count = options.size(300, 5)
    owner = ground.alice(app)
    ours = AtOnce(lambda: creates(owner), 8, count)
    bare = AtOnce(lambda: Bare(_file(path / "w2-bare")).create, 8, count)
    with offline(app):
        found = compare({"ours": ours, "sqlite3": bare}, options.rounds)
    _tell(report, "8 threads", found.ratio("sqlite3", "ours"), _worst(ours.worst, bare.worst), 1.0)
    # Of those that starve there may be fewer than one in a hundred.
    slowest = _worst(ours.slowest, bare.slowest)
    report.told("W2", "8 threads creating at once: the slowest of all against bare sqlite3", number(slowest))


def _in_processes(report: Report, options: Options, path: Path) -> None:
    _app(path / "w2-2")
    _app(path / "w2-2-bare")
    count = options.size(400, 5)
    worst: dict[str, list[float]] = {"ours": [], "bare": []}

    def both(who: str, where: Path) -> Program:
        def run() -> float:
            seconds, slow = _two_processes(who, where, count)
            worst[who].append(slow)
            return seconds

        return run

    found = compare({"ours": both("ours", path / "w2-2"), "bare": both("bare", path / "w2-2-bare")}, options.rounds)
    _tell(report, "2 processes", found.ratio("bare", "ours"), _worst(worst["ours"], worst["bare"]), 0.85)


def _worst(ours: list[float], theirs: list[float]) -> float:
    print(f"    slow: ours {duration(median(ours))} · sqlite3 {duration(median(theirs))}")
    return median(one / two for one, two in zip(ours, theirs, strict=True))


def _tell(report: Report, who: str, throughput: float, worst: float, limit: float) -> None:
    report.at_least("W2", f"{who} creating at once: throughput against bare sqlite3", throughput, limit)
    report.at_most("W2", f"{who} creating at once: the slowest hundredth (p99) against bare sqlite3", worst, 0.1)


def _two_processes(who: str, path: Path, count: int) -> tuple[float, float]:
    """Let two processes create ``count`` each at once: the seconds of one create, and the p99 of all."""
    command = [sys.executable, "-m", "benchmarks.writes", who, str(path), str(count)]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ground.ROOT) for _ in range(2)]
    for each in both:
        assert each.stdout is not None
        each.stdout.readline()
    began = time.perf_counter()
    for each in both:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    took: list[float] = []
    for each in both:
        assert each.stdout is not None
        took += orjson.loads(each.stdout.readline())
    whole = time.perf_counter() - began
    for each in both:
        each.communicate()
    return whole / (2 * count), percentile(took, 0.99)


def _one_process(who: str, path: Path, count: int) -> None:
    """One of the two: says that it is ready, waits for a line, creates, and tells how long each took."""
    if who == "ours":
        app = ground.make_app(path, NOBODY, ground.simple())
        app.extensions["dualstorage"].engine.offline = True
        create = creates(ground.alice(app))
    else:
        create = Bare(_file(path)).create
    create()
    print("ready", flush=True)
    sys.stdin.readline()
    took = []
    for _ in range(count):
        began = time.perf_counter()
        create()
        took.append(time.perf_counter() - began)
    print(orjson.dumps(took).decode(), flush=True)


# --- W3: with many pending ------------------------------------------------------------------------------------


def fill(app: Flask, owner: str, count: int) -> None:
    """Let an owner have ``count`` pending creates, put there by multiplying the first in the table."""
    with offline(app):
        ground.storage(app).for_user(owner).collection("people").create(_FIELDS)
    connection = sqlite3.connect(_file(Path(app.instance_path)), isolation_level=None)
    first = connection.execute("SELECT * FROM write WHERE owner = ? LIMIT 1", (f"user:{owner}",))
    names = [column[0] for column in first.description]
    row = dict(zip(names, first.fetchone(), strict=True))
    del row["seq"]
    columns = ", ".join(f'"{name}"' for name in row)
    insert = f"INSERT INTO write ({columns}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608
    connection.execute("BEGIN IMMEDIATE")
    for place in range(count - 1):
        new = f"{crc32(owner.encode()):08x}{place:024x}"
        connection.execute(insert, tuple({**row, "id": new, "record_id": f"tmp-{new}"}.values()))
    connection.execute("UPDATE owner SET pending = ? WHERE owner = ?", (count, f"user:{owner}"))
    connection.execute("COMMIT")
    connection.close()


def _with_many_pending(report: Report, options: Options, path: Path) -> None:
    few, many = options.size(1_000, 20), options.size(100_000, 200)
    programs: dict[str, Program] = {}
    with contextlib.ExitStack() as stack:
        for count in (few, many):
            app = ground.make_app(path / f"w3-{count}", NOBODY, ground.simple())
            fill(app, "alice", count)
            stack.enter_context(offline(app))
            programs[str(count)] = _times(creates(ground.alice(app)), options.size(20, 2))
        found = compare(programs, options.rounds)
    what = f"create() with {many:,} writes pending, against one with {few:,}"
    report.at_most("W3", what, found.ratio(str(many), str(few)), 1.2)


def _growth(report: Report, options: Options, path: Path) -> None:
    app = _app(path / "w3-total")
    marks = [10, 100] if options.tiny else [10, 100, 1_000, 10_000]
    create, points = creates(ground.alice(app)), {}
    with offline(app):
        began = time.perf_counter()
        for count in range(1, marks[-1] + 1):
            create()
            if count in marks:
                points[count] = time.perf_counter() - began
    small, large = [(count, points[count]) for count in marks[-2:]]
    what = f"total time for {small[0]:,} to {large[0]:,} creates: exponent (Backbone.dualStorage: 2)"
    report.at_most("W3", what, exponent(small, large), 1.1)


def _by_size(report: Report, options: Options, path: Path) -> None:
    """Plot what one create costs by how many writes its owner has, and by how many owners there are."""
    lines = []
    for what, counts, prepare in (
        ("writes that the owner has pending", (10, 100, 1_000, 10_000, 100_000), _pending),
        ("owners", (1, 10, 100, 1_000, 10_000), _owners),
    ):
        points = []
        for count in counts[:2] if options.tiny else counts:
            app = ground.make_app(path / f"{what.replace(' ', '-')}-{count}", NOBODY, ground.simple())
            with offline(app):
                prepare(app, count)
                program = _times(creates(ground.alice(app)), options.size(50, 2))
                name = f"with {count:,} {what}"
                points.append((count, compare({name: program}, min(5, options.rounds)).median(name)))
        lines.append(Line(f"by {what}", tuple(points)))
    if ground.has_node():
        theirs = ground.backbone("create", options.size(10_000, 100))
        points = [(float(count), seconds) for count, seconds in theirs.items()]
        lines.append(Line("Backbone.dualStorage in memory, by records", tuple(points)))
    report.plots.append(Plot("One durable create", "pending writes, or owners", "seconds a create", tuple(lines)))


def _pending(app: Flask, count: int) -> None:
    fill(app, "alice", count)


def _owners(app: Flask, count: int) -> None:
    for place in range(count):
        creates(ground.storage(app).for_user(f"owner {place}"))()


def run(options: Options) -> Report:
    """Measure what keeping a write costs."""
    report = Report()
    with ground.folder() as path:
        for measure in (_alone, _in_threads, _in_processes, _with_many_pending, _growth, _by_size):
            measure(report, options, path)
    return report


if __name__ == "__main__":
    _one_process(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
