"""F1 to F5: sending what waits, against the upstream's own slowness, a hand-written loop, and Backbone.dualStorage."""

from __future__ import annotations

import socket
import time
from statistics import median

import requests
from flask import Flask

from flask_dualstorage import Bulk, Dialect

from . import ground
from .rounds import Line, Options, Plot, Program, Report, compare, number
from .upstream import record
from .writes import fill

_FIELDS = {name: value for name, value in record(1).items() if name != "id"}


def latency_of(url: str) -> float:
    """The seconds that an answer of this upstream really takes, by a bare socket."""
    host, _, port = url.removeprefix("http://").partition(":")
    took = []
    with socket.create_connection((host, int(port))) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(20):
            began = time.perf_counter()
            sock.sendall(b"DELETE /people/1 HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.recv(4096)
            took.append(time.perf_counter() - began)
    return median(took)


class Flush:
    """A flush of ``count`` creates, each time of a new owner; gives its seconds, and keeps those of this process."""

    def __init__(self, app: Flask, count: int) -> None:
        self._app = app
        self._count = count
        self._owners = 0
        self.cpu: list[float] = []

    def __call__(self) -> float:
        """Fill an outbox, and time its flush."""
        self._owners += 1
        owner = f"flusher{self._owners}"
        fill(self._app, owner, self._count)
        began, cpu = time.perf_counter(), time.process_time()
        report = ground.storage(self._app).for_user(owner).sync()
        took = time.perf_counter() - began
        self.cpu.append(time.process_time() - cpu)
        if report.applied != self._count:
            raise RuntimeError(f"{report.applied} of {self._count} writes were applied: {report}")
        return took


def _of_ideal(report: Report, options: Options, name: str, milliseconds: int, lanes: int, limit: float) -> None:
    count = options.size(1_000, 20)
    with ground.folder() as path, ground.upstream(milliseconds / 1000) as url:
        app = ground.make_app(path, url, ground.simple(), DUALSTORAGE_SYNC_CONCURRENCY=lanes)
        flush, latency = Flush(app, count), latency_of(url)
        found = compare({"ours": flush}, options.long_rounds)
    # Without the one that warmed up.
    cpu = flush.cpu[-options.long_rounds :]
    ideal = [max(count * latency / lanes, busy) / took for busy, took in zip(cpu, found.seconds["ours"], strict=True)]
    print(f"    latency {latency * 1000:.1f} ms, CPU {median(cpu):.2f} s")
    what = f"flush of {count:,} creates, {milliseconds} ms upstream, {lanes} lanes: max(latency / lanes, CPU) / ours"
    report.at_least(name, what, median(ideal), limit)


def _against_a_loop(report: Report, options: Options) -> None:
    count = options.size(1_000, 20)
    with ground.folder() as path, ground.upstream() as url:
        session = requests.Session()

        def by_hand() -> float:
            began = time.perf_counter()
            for _ in range(count):
                session.post(f"{url}/people", json=_FIELDS).json()
            return time.perf_counter() - began

        programs: dict[str, Program] = {"Session loop": by_hand}
        for lanes in (8, 1):
            app = ground.make_app(path / str(lanes), url, ground.simple(), DUALSTORAGE_SYNC_CONCURRENCY=lanes)
            programs[f"ours, {lanes}"] = Flush(app, count)
        found = compare(programs, options.long_rounds)
    what = f"flush of {count:,} creates at 0 ms, 8 lanes, against a Session loop that records nothing"
    report.at_most("F3", what, found.ratio("ours, 8", "Session loop"), 1.0)
    # Each write is recorded before the next goes: nothing can be settled together.
    report.told("F3", "the same with SYNC_CONCURRENCY=1", number(found.ratio("ours, 1", "Session loop")))


def _together(report: Report, options: Options) -> None:
    count, lanes = options.size(1_000, 20), 16
    with ground.folder() as path, ground.upstream(0.05) as url:
        programs: dict[str, Program] = {}
        for name, bulk in (("alone", None), ("together", Bulk())):
            config = {"DUALSTORAGE_DIALECT": Dialect(bulk=bulk), "DUALSTORAGE_SYNC_CONCURRENCY": lanes}
            programs[name] = Flush(ground.make_app(path / name, url, ground.simple(), **config), count)
        found = compare(programs, options.long_rounds)
    what = (
        f"flush of {count:,} creates, 50 ms upstream, {lanes} lanes, with a bulk endpoint of 25: how many times as fast"
    )
    report.at_least("F5", what, found.ratio("alone", "together"), 5.0)


def _by_size(report: Report, options: Options) -> None:
    few, many = options.size(1_000, 10), options.size(10_000, 30)
    with ground.folder() as path, ground.upstream() as url:
        programs: dict[str, Program] = {}
        for count in (few, many):
            flush = Flush(ground.make_app(path / str(count), url, ground.simple()), count)
            programs[f"{count:,}"] = lambda flush=flush, count=count: flush() / count
        found = compare(programs, options.long_rounds)
    per_write = found.ratio(f"{many:,}", f"{few:,}")
    report.at_most("F4", f"flush of {many:,} against one of {few:,}, for each write", per_write, 1.1)
    if not ground.has_node():
        report.told("F4", "node is not installed here: no Backbone.dualStorage", "")
        return
    for count in (few, many):
        theirs = ground.backbone("sync", count)["sync"]
        ours = found.median(f"{count:,}") * count
        what = f"the same, {count:,}, against Backbone.dualStorage in memory, no socket ({number(theirs)} s)"
        report.at_most("F4", what, ours / theirs, 1.0)


def _growth(report: Report, options: Options) -> None:
    marks = (10, 20) if options.tiny else (10, 100, 1_000, 10_000)
    points = []
    with ground.folder() as path, ground.upstream() as url:
        for count in marks:
            flush = Flush(ground.make_app(path / f"grow-{count}", url, ground.simple()), count)
            points.append((count, compare({f"{count:,}": flush}, 1).median(f"{count:,}") / count))
    lines = [Line("ours, durable, over sockets", tuple(points))]
    if ground.has_node():
        theirs = [(count, ground.backbone("sync", count)["sync"] / count) for count in marks]
        lines.append(Line("Backbone.dualStorage in memory", tuple(theirs)))
    report.plots.append(Plot("Flush", "writes", "seconds a write", tuple(lines)))


def run(options: Options) -> Report:
    """Measure what flushes cost."""
    report = Report()
    _of_ideal(report, options, "F1", 50, 16, 0.88)
    _of_ideal(report, options, "F2", 5, 8, 0.65)
    _against_a_loop(report, options)
    _by_size(report, options)
    _together(report, options)
    _growth(report, options)
    return report
