"""M1: what a list needs in memory; and what importing the package and setting up an app take."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import orjson

from . import ground
from .rounds import Options, Report, compare, duration
from .upstream import records

#: Prints the seconds that the statements after the first line take, in a process of their own.
_TIMED = "import time, {before}\nbegan = time.perf_counter()\n{code}\nprint(time.perf_counter() - began)"
_NEEDED = "flask, flask_caching, requests, sqlalchemy, orjson, itsdangerous"


def _in_process(before: str, code: str) -> float:
    script = _TIMED.format(before=before, code=code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ground.ROOT)
    return float(done.stdout)


def _of_a_list(report: Report, options: Options, url: str, path: Path) -> None:
    count = options.size(5_000, 100)
    size = len(orjson.dumps(records(count)))
    storage = ground.alice(ground.make_app(path, url))
    storage.collection(f"people{count}").fetch()
    tracemalloc.start()
    people = storage.collection(f"people{count}").fetch(max_age=1e9)
    if people[0]["id"] != 1:
        raise RuntimeError("this is not the list that was asked for")
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    what = f"memory that a list of {count:,} cached records holds, against its JSON"
    report.at_most("M1", what, held / size, 4.0)
    report.told("M1", "… and while it is read, at the most", f"{peak / size:.2f}")


def _of_a_start(report: Report, options: Options, path: Path) -> None:
    init = (
        f"app = Flask('bench', instance_path={str(path)!r})\napp.config['DUALSTORAGE_UPSTREAM_URL'] = 'http://x.example'\n"
        "DualStorage(app)"
    )
    programs = {
        "what it needs": lambda: _in_process("sys", f"import {_NEEDED}"),
        "importing it, beyond that": lambda: _in_process(_NEEDED, "import flask_dualstorage"),
        "init_app": lambda: _in_process(
            "flask_dualstorage", f"from flask import Flask\nfrom flask_dualstorage import DualStorage\n{init}"
        ),
    }
    found = compare(programs, options.long_rounds)
    for name in programs:
        report.told(
            "", f"start: {name.replace('what it needs', 'importing what it needs')}", duration(found.median(name))
        )


def run(options: Options) -> Report:
    """Measure memory and start."""
    report = Report()
    with ground.folder() as path, ground.upstream() as url:
        _of_a_list(report, options, url, path / "list")
        _of_a_start(report, options, path / "start")
    return report
