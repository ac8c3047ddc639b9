"""O1 and O2: what a page costs while the upstream is a black hole, or drips."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask, render_template_string
from flask.testing import FlaskClient

from flask_dualstorage.errors import UpstreamUnreachable

from . import ground
from .rounds import Options, Program, Report, compare, repeated

#: Seconds to connect, and for the whole answer.
CONNECT, TOTAL = 0.2, 0.6
#: Collections on one page.
MANY = 5

_PAGE = """{% for person in people %}<li>{{ person.name }}, {{ person.age }}, {{ person.city }}</li>{% endfor %}"""


class Attempts:
    """Counts the connections that this process tries to open: Python tells of each."""

    def __init__(self) -> None:
        self.count = 0
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: Any) -> None:
        self.count += event == "socket.connect"


def _app(path: Path, url: str, **config: Any) -> Flask:
    """An app with a page of one list, and one of many."""
    app = ground.make_app(path, url, ground.simple(), DUALSTORAGE_TIMEOUT=(CONNECT, TOTAL), **config)
    app.extensions["dualstorage"]._hooks["user_loader"] = lambda: "alice"

    @app.get("/one")
    def one() -> str:
        return render_template_string(_PAGE, people=ground.storage(app).collection("people100").fetch())

    @app.get("/young")
    def young() -> str:
        return render_template_string(_PAGE, people=ground.storage(app).collection("people100").fetch(max_age=1e9))

    @app.get("/many")
    def many() -> str:
        names = [f"people{number}" for number in range(1, MANY + 1)]
        return str([len(ground.storage(app).collection(name).fetch()) for name in names])

    return app


@contextlib.contextmanager
def _lost(path: Path, **config: Any) -> Iterator[FlaskClient]:
    """A browser of an app that has its copies, and whose upstream is a black hole by now."""
    with ground.upstream() as url:
        client = _app(path, url, **config).test_client()
        assert client.get("/one").status_code == client.get("/many").status_code == 200
    with ground.black_hole(int(url.rpartition(":")[2])):
        yield client


def _breaker_open(report: Report, options: Options, path: Path, attempts: Attempts) -> None:
    with _lost(path / "away", DUALSTORAGE_BREAKER_COOLDOWN=ground.HOUR) as client:
        for _ in range(5):
            assert client.get("/one").status_code == 200
        before = attempts.count
        programs: dict[str, Program] = {
            "black hole": repeated(lambda: client.get("/one")),
            "warm cache": repeated(lambda: client.get("/young")),
        }
        found = compare(programs, options.rounds)
        tried = attempts.count - before
    what = "a cached page (100 records) while the upstream is a black hole, breaker open, against a warm cache"
    report.at_most("O1", what, found.ratio("black hole", "warm cache"), 1.1)
    report.told("O1", "connections that these pages tried to open", str(tried), "0", tried == 0)


def _first_page(report: Report, options: Options, path: Path) -> None:
    numbers = itertools.count()

    def page() -> float:
        with _lost(path / f"first-{next(numbers)}") as client:
            began = time.perf_counter()
            assert client.get("/many").status_code == 200
            return time.perf_counter() - began

    found = compare({"first page": page}, options.long_rounds)
    what = f"first page of an outage, {MANY} collections, against one connect timeout ({CONNECT} s)"
    report.at_most("O2", what, found.median("first page") / CONNECT, 1.1)


def _dripping(report: Report, options: Options, path: Path) -> None:
    with ground.upstream(drip=TOTAL / 2) as url:
        app = ground.make_app(path, url, DUALSTORAGE_TIMEOUT=(CONNECT, TOTAL), DUALSTORAGE_BREAKER_THRESHOLD=10**9)
        people = ground.alice(app).collection("people10")

        def fetch() -> float:
            began = time.perf_counter()
            with contextlib.suppress(UpstreamUnreachable):
                people.fetch()
            return time.perf_counter() - began

        found = compare({"dripping": fetch}, options.long_rounds)
    what = f"an upstream that drips a byte every {TOTAL / 2} s, against the total deadline ({TOTAL} s)"
    report.at_most("O2", what, found.median("dripping") / TOTAL, 1.1)


def run(options: Options) -> Report:
    """Measure what outages cost."""
    report, attempts = Report(), Attempts()
    with ground.folder() as path:
        _breaker_open(report, options, path, attempts)
        _first_page(report, options, path)
        _dripping(report, options, path / "drip")
    return report
