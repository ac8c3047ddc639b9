"""P1: whole pages of 100 records under gunicorn's sync workers: cached, out of a dict, and asked of the upstream."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
import threading
import time
from pathlib import Path

import orjson
import requests
from flask import Flask, render_template

from . import ground
from .rounds import Options, Program, Report, compare
from .upstream import records

COUNT = 100
#: Browsers at once; there are as many workers as cores on a small server.
BROWSERS, WORKERS = 4, 2

_PAGE = """<!doctype html><title>People</title><table>
{% for person in people %}<tr id="p{{ person.id }}"><td>{{ person.name }}</td><td>{{ person.age }}</td>
<td>{{ person.city }}</td><td><a href="mailto:{{ person.email }}">{{ person.email }}</a></td></tr>{% endfor %}
</table>"""


def create_app() -> Flask:
    """The app that gunicorn runs; the environment says where its upstream is and where it keeps things."""
    url, path = os.environ["BENCH_URL"], Path(os.environ["BENCH_PATH"])
    app = ground.make_app(path, url)
    from jinja2 import DictLoader

    app.jinja_loader = DictLoader({"people.html": _PAGE})
    app.extensions["dualstorage"]._hooks["user_loader"] = lambda: "alice"
    known = orjson.dumps(records(COUNT))
    session = requests.Session()

    @app.get("/dict")
    def out_of_a_dict() -> str:
        return render_template("people.html", people=orjson.loads(known))

    @app.get("/ours")
    def ours() -> str:
        people = ground.storage(app).collection(f"people{COUNT}").fetch(max_age=1e9)
        return render_template("people.html", people=people)

    @app.get("/upstream")
    def asked() -> str:
        return render_template("people.html", people=session.get(f"{url}/people{COUNT}").json())

    return app


def _get(port: int, path: str) -> int:
    """GET as cheaply as can be: the browsers share the machine with what is measured. Gives the answer's size."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        first, size = b"", 0
        while piece := sock.recv(65536):
            first, size = first or piece, size + len(piece)
    if b" 200 " not in first[:20]:
        raise RuntimeError(f"{path} was answered with {first[:60]!r}")
    return size


def _browse(port: int, path: str, count: int) -> Program:
    """Get a page ``count`` times, several at once; gives the seconds for each."""

    def run() -> float:
        threads = [
            threading.Thread(target=lambda: [_get(port, path) for _ in range(count // BROWSERS)])
            for _ in range(BROWSERS)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (time.perf_counter() - began) / count

    return run


def run(options: Options) -> Report:
    """Measure what pages cost, as a server gives them."""
    report = Report()
    if importlib.util.find_spec("gunicorn") is None:
        report.told("P1", "gunicorn is not installed here", "")
        return report
    count = options.size(200, 8)
    with contextlib.ExitStack() as stack:
        ports = {}
        for name, latency in (("at 0 ms", 0.0), ("at 5 ms", 0.005)):
            url, path = stack.enter_context(ground.upstream(latency)), stack.enter_context(ground.folder())
            ports[name] = port = ground.free_port()
            command = (sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--bind", f"127.0.0.1:{port}")
            environment = {**os.environ, "BENCH_URL": url, "BENCH_PATH": str(path)}
            app = "benchmarks.pages:create_app()"
            stack.enter_context(ground.process(*command, "--log-level", "error", app, env=environment))
            ground.wait_for(port)
            for page in ("/dict", "/ours", "/upstream"):
                _get(port, page)
        programs = {
            "ours": _browse(ports["at 0 ms"], "/ours", count),
            "dict": _browse(ports["at 0 ms"], "/dict", count),
            "upstream at 0 ms": _browse(ports["at 0 ms"], "/upstream", count),
            "upstream at 5 ms": _browse(ports["at 5 ms"], "/upstream", count),
        }
        found = compare(programs, options.rounds)
    what = f"page of {COUNT} cached records under gunicorn, {WORKERS} sync workers: throughput against"
    report.at_least("P1", f"{what} a dict", found.ratio("dict", "ours"), 0.75)
    report.at_least("P1", f"{what} asking at 0 ms", found.ratio("upstream at 0 ms", "ours"), 1.4)
    report.at_least("P1", f"{what} asking at 5 ms", found.ratio("upstream at 5 ms", "ours"), 3.0)
    return report
