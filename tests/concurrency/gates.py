"""Behaviours of an upstream that wait for the test, and a thread beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from flask_dualstorage.storage import database
from tests.upstreams.hostile import Behaviour, Line, Then

#: Seconds until a wait that never ends is an error.
PATIENCE = 60.0


class Gate:
    """A behaviour that holds its answer back until the test lets it go."""

    def __init__(self, then: Behaviour) -> None:
        self._then = then
        self._here, self._open = threading.Event(), threading.Event()

    def __call__(self, line: Line) -> Then:
        self._here.set()
        assert self._open.wait(PATIENCE)
        return self._then(line)

    def wait(self) -> None:
        """Return once the request is here."""
        assert self._here.wait(PATIENCE)

    def open(self) -> None:
        """Let the answer go."""
        self._open.set()


def in_a_worker(task: Callable[[], Any]) -> Any:
    """Run a task in this thread, and close the database connections that it opened."""
    try:
        return task()
    finally:
        for storage in list(database._databases):
            storage._drop()


@contextmanager
def beside(task: Callable[[], Any], gate: Gate) -> Iterator[Future[Any]]:
    """Run a task in a thread; the body begins when its request is at the gate, and the gate opens at its end."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(in_a_worker, task)
        try:
            gate.wait()
            yield running
        finally:
            gate.open()
        running.result(PATIENCE)
