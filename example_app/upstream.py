"""The little upstream that the example app talks to: an API of people and their notes, with a plug to pull.

It is a process of its own::

    python -m example_app.upstream --port 5051 --control-port 5052 --database instance/upstream.sqlite

The control port always answers: after ``POST /plug {"state": "out"}`` the API's port refuses connections, as if the
machine were gone, and after ``{"state": "in"}`` it listens again. ``{"latency": 2}`` delays every answer by so many
seconds; with ``{"hang": 30}`` a write is applied at once and answered so many seconds later.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Protocol

from flask import Flask, request
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.serving import ThreadedWSGIServer

from example_app.upstream_api import Faults, Invalid, create_api, create_json_app

HOST = "127.0.0.1"
ENDINGS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
#: The longest latency or hang that the control port takes, in seconds.
SLOWEST = 600.0


# --- the plug -----------------------------------------------------------------------------------------


class Server(ThreadedWSGIServer):
    """A server that can drop what it is answering."""

    def __init__(self, port: int, app: Flask) -> None:
        super().__init__(HOST, port, app)
        self._open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection, and answer it in a thread."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close an answered connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def drop(self) -> None:
        """Cut every connection that is not answered yet."""
        for connection in list(self._open):
            with suppress(OSError):  # it was answered and closed just now
                connection.shutdown(socket.SHUT_RDWR)


class Plug:
    """The API's plug: in, its port listens; out, its port refuses."""

    def __init__(self, api: Flask, port: int, faults: Faults) -> None:
        self._api = api
        self._port = port
        self._faults = faults
        self._lock = Lock()
        self._server: Server | None = None
        self._thread: Thread | None = None

    def push(self) -> None:
        """Plug in. Raises ``SystemExit``, as werkzeug does, where another program has the port."""
        with self._lock:
            if self._server is None:
                self._faults.cut.clear()
                self._server = Server(self._port, self._api)
                self._thread = in_background(partial(self._server.serve_forever, 0.02))

    def pull(self) -> None:
        """Pull the plug; when this returns, the port refuses. What is being answered gets no answer."""
        with self._lock:
            if self._server and self._thread:
                self._server.shutdown()
                self._thread.join()  # closes the port
                self._server.drop()
                self._faults.cut.set()
                self._server = None

    def report(self) -> dict[str, Any]:
        """How things stand, as the control port shows them."""
        state = "in" if self._server else "out"
        return {"state": state, "latency": self._faults.latency, "hang": self._faults.hang}

    def turn(self, wish: Any) -> None:
        """Do what was asked of the control port. Raises `Invalid`."""
        if errors := unwished(wish):
            raise Invalid(errors)
        self._faults.latency = float(wish.get("latency", self._faults.latency))
        self._faults.hang = float(wish.get("hang", self._faults.hang))
        if "state" in wish:
            self._move(wish["state"])

    def _move(self, state: str) -> None:
        try:
            (self.push if state == "in" else self.pull)()
        except SystemExit:
            raise ServiceUnavailable(f"Another program listens on port {self._port} now.") from None


def span(value: Any) -> bool:
    """Whether it is a number of seconds that somebody may mean."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= SLOWEST


#: What the control port takes: in words, and as a test.
RIGHT: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "state": ('"in" or "out"', lambda value: value in ("in", "out")),
    "latency": (f"0 to {SLOWEST:g} seconds", span),
    "hang": (f"0 to {SLOWEST:g} seconds", span),
}


def unwished(wish: Any) -> dict[str, list[str]]:
    """What is wrong with a request to the control port, by field."""
    if not isinstance(wish, dict):
        return {"": ["Must be a JSON object."]}
    return {
        name: [f"Must be {RIGHT[name][0]}." if name in RIGHT else "There is no such field."]
        for name, value in wish.items()
        if name not in RIGHT or not RIGHT[name][1](value)
    }


class Turnable(Protocol):
    """What a control port turns."""

    def report(self) -> dict[str, Any]:
        """How things stand."""

    def turn(self, wish: Any) -> None:
        """Do what was asked. Raises `Invalid`."""


def create_control(plug: Turnable) -> Flask:
    """The app of the control port: ``GET /plug`` and ``POST /plug``."""
    control = create_json_app("control")

    @control.get("/plug")
    def show() -> dict[str, Any]:
        return plug.report()

    @control.post("/plug")
    def turn() -> dict[str, Any]:
        plug.turn(request.get_json())
        return plug.report()

    return control


# --- the process --------------------------------------------------------------------------------------


def in_background(work: Callable[[], object]) -> Thread:
    """Run `work` in a thread that does not hold up the end of the process."""
    thread = Thread(target=work, daemon=True)
    thread.start()
    return thread


def main() -> None:
    """Serve until told to end, or until standard input closes where ``--with-parent`` asks for that."""
    options = parse_options()
    # Blocked here and so in every thread: only sigwait below takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    faults = Faults()
    plug = Plug(create_api(options.database, faults), options.port, faults)
    plug.push()
    in_background(Server(options.control_port, create_control(plug)).serve_forever)
    print(f"The upstream is at http://{HOST}:{options.port}, its plug at port {options.control_port}.", flush=True)
    if options.with_parent:
        in_background(end_with_parent)
    signal.sigwait(ENDINGS)
    plug.pull()


def parse_options() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m example_app.upstream", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=5051, help="where the API listens (%(default)s)")
    parser.add_argument("--control-port", type=int, default=5052, help="where its plug is (%(default)s)")
    parser.add_argument("--database", type=Path, default=Path("instance/upstream.sqlite"), help="(%(default)s)")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    return parser.parse_args()


def end_with_parent() -> None:
    """End when the other end of standard input is gone: however the parent died, the system closes that for it."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def start_upstream(port: int, control_port: int, database: Path) -> subprocess.Popen[str]:
    """Start the upstream as a process that ends with this one; returns once it listens.

    As a context manager it ends with the block: ``with start_upstream(...):``. Raises `RuntimeError` if it does not
    start; why stands on standard error.
    """
    return _start(["example_app.upstream", "--database", str(database.absolute())], port, control_port)


def start_other(name: str, port: int, control_port: int, folder: Path) -> subprocess.Popen[str]:
    """Start an upstream that others wrote, as ``start_upstream`` does; ``folder`` keeps its data."""
    return _start(["example_app.others", name, "--folder", str(folder.absolute())], port, control_port)


def _start(module: list[str], port: int, control_port: int) -> subprocess.Popen[str]:
    options = ["--with-parent", "--port", str(port), "--control-port", str(control_port)]
    process = subprocess.Popen(  # noqa: S603 - this Python, a module of ours
        [sys.executable, "-m", *module, *options],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdout and not process.stdout.readline():  # it says one line when it is ready
        with process:
            raise RuntimeError(f"The upstream on port {port} did not start.")
    return process


if __name__ == "__main__":
    main()
