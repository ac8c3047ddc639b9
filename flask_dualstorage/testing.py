"""For the tests of apps that use the extension: an offline switch, and an upstream of scripted answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from flask import Flask

from .types import Json


@contextmanager
def offline(app: Flask) -> Iterator[None]:
    """Within the block no request of ``app`` goes out: as if every upstream refused the connection."""
    engine = app.extensions["dualstorage"].engine
    before, engine.offline = engine.offline, True
    try:
        yield
    finally:
        engine.offline = before


@contextmanager
def after_response(app: Flask) -> Iterator[Callable[[], int]]:
    """Within the block pages leave to be done after their response what they would leave in production.

    An app under test (``app.testing``) leaves nothing otherwise: its pages ask for themselves. What is left does not
    run by itself either: call what the block is given, which runs it in this thread and gives how many jobs there
    were. Errors of theirs are raised.
    """
    with app.extensions["dualstorage"].engine.after.collecting() as run:
        yield run


@dataclass(frozen=True, slots=True)
class Received:
    """One request that a ``ScriptedUpstream`` got: ``path`` as it was on the wire, with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The body decoded, None where it is empty."""
        return orjson.loads(self.body) if self.body else None


@dataclass
class _Script:
    answers: dict[tuple[str, str], list[tuple[int, Json, dict[str, str]]]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class ScriptedUpstream:
    """A real HTTP server on a port of its own that gives the answers it was told to.

    ``with ScriptedUpstream() as upstream:`` and then ``upstream.url`` for ``DUALSTORAGE_UPSTREAM_URL``. What was not
    scripted is a 404.
    """

    def __init__(self) -> None:
        self._script = _Script()
        script = self._script

        class Handler(_Handler):
            pass

        Handler.script = script
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def received(self) -> list[Received]:
        """Every request so far, in the order of arrival."""
        return list(self._script.received)

    def answer(
        self, method: str, path: str, body: Json = None, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Script an answer to ``method`` and ``path`` (with its query, as on the wire).

        Several for the same are given in turn, and the last one again and again.
        """
        with self._script.lock:
            self._script.answers.setdefault((method.upper(), path), []).append((status, body, dict(headers or {})))

    def __enter__(self) -> ScriptedUpstream:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    script: _Script
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        script = self.script
        with script.lock:
            script.received.append(Received(self.command, self.path, dict(self.headers.items()), body))
            scripted = script.answers.get((self.command, self.path), [(404, {"title": "Not scripted"}, {})])
            status, content, headers = scripted.pop(0) if len(scripted) > 1 else scripted[0]
        encoded = b"" if content is None else orjson.dumps(content)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  # the names http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # http.server's name for it
        """Keep quiet: ``received`` tells what came."""
