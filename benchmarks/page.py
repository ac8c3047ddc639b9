"""Writes what was measured: docs/performance.md with its figure, and the short table of the README."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path

from .figure import svg
from .ground import ROOT
from .rounds import Goal, Options, Report

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
#: What the README shows: the first figure of each of these goals, or the one that has this text in it.
SHORT = (
    ("R1", "100 cached"),
    ("R1", "5,000"),
    ("R2", "both in memory"),
    ("R3", ""),
    ("W1", "bare sqlite3"),
    ("W1", "Celery"),
    ("W2", "8 threads creating at once: throughput"),
    ("W3", "pending, against"),
    ("F1", ""),
    ("F3", ""),
    ("F4", "10,000, against Backbone"),
    ("O1", "black hole"),
    ("O2", "first page"),
    ("P1", "a dict"),
    ("P1", "5 ms"),
    ("M1", ""),
)
_PEERS = ("Flask-Caching", "requests-cache", "hishel", "persist-queue", "huey", "celery", "requests", "SQLAlchemy")
_INTRODUCTION = """## Speed

Ratios between programs that ran in turn on one machine, by `make bench`; all of them, and how costs grow, in
[docs/performance.md](docs/performance.md)."""
_MET = {True: "yes", False: "**no**", None: ""}


def _table(goals: list[Goal]) -> str:
    lines = ["| | measured | ratio | wanted | met |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {goal.name} | {goal.what} | {goal.figure} | {goal.wanted} | {_MET[goal.met]} |" for goal in goals]
    return "\n".join(lines)


def _chosen(goals: list[Goal]) -> list[Goal]:
    found = (next((goal for goal in goals if goal.name == name and text in goal.what), None) for name, text in SHORT)
    return [goal for goal in found if goal is not None]


def _machine() -> str:
    peers = ", ".join(f"{name} {version(name)}" for name in _PEERS)
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}; {peers}"
    )


def write(report: Report, options: Options) -> None:
    """Write the documents anew."""
    docs = ROOT / "docs"
    (docs / "growth.svg").write_text(svg(report.plots))
    text = f"""# Speed

Written by `make bench`; nothing here is typed by hand. Every figure is a ratio between programs of `benchmarks/` that
ran in turn on the same machine: {options.rounds} rounds ({options.long_rounds} of what takes seconds each) after one to
warm up, the median of the rounds' own ratios. A record is 200 bytes of JSON with 8 fields.

{_machine()}.

{_table(report.goals)}

What a page and a write cost in statements, transactions, cache calls and connections (S1) is the same on every machine,
and is asserted in `tests/integration/test_counts.py`.

## Growth

![How costs grow with records, pending writes, owners and the size of a flush](growth.svg)
"""
    (docs / "performance.md").write_text(text)
    _put_between(ROOT / "README.md", f"{_INTRODUCTION}\n\n{_table(_chosen(report.goals))}")


def _put_between(file: Path, text: str) -> None:
    before, found, rest = file.read_text().partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise RuntimeError(f"{file} has no lines {BEGIN!r} and {END!r} to write between.")
    file.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
