"""A hostile upstream over real sockets: it answers what the test says, or fails in the way the test says.

    with HostileUpstream() as upstream:
        upstream.then(answer(201, {"id": 1}), drop(), answer(200, [], headers={"ETag": '"7"'}))
        ...                                     # three requests to upstream.url meet these three, in this order
        assert [one.method for one in upstream.received] == ["POST", "POST", "GET"]
        assert upstream.connections == 2        # accepted at the listener: keep-alive shows here

An upstream with a state is a handler. It takes what was received and gives a behaviour, or JSON for a 200:

    people = {}
    def handler(received):
        people[received.target] = received.json()
        return answer(201, received.json())

    with HostileUpstream(handler) as upstream:
        upstream.then(drop(), applied=True)     # the next request is handled, and then its answer is lost
        upstream.unplug()                       # refuses connections from here on …
        upstream.plug()                         # … until here, on the same port

Nothing sleeps but what drips; everything that waits ends when the upstream closes.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import Any, Self

from requests.structures import CaseInsensitiveDict

from .behaviours import (
    Behaviour,
    Line,
    Received,
    Then,
    answer,
    chunked,
    cut,
    cut_json,
    drip,
    drop,
    gzip_bomb,
    head,
    html,
    huge,
    nested,
    raw,
    redirect,
    reset,
    silent,
    zipped,
)

__all__ = [
    "Behaviour",
    "Handler",
    "HostileUpstream",
    "Line",
    "Received",
    "Then",
    "answer",
    "black_hole",
    "chunked",
    "cut",
    "cut_json",
    "drip",
    "drop",
    "gzip_bomb",
    "head",
    "html",
    "huge",
    "nested",
    "raw",
    "redirect",
    "refused_port",
    "reset",
    "silent",
    "zipped",
]

#: An upstream with a state: a behaviour for each request, or JSON that is answered with 200.
Handler = Callable[[Received], "Behaviour | dict[str, Any] | list[Any]"]


# --- the upstream -----------------------------------------------------------------------------------


class HostileUpstream:
    """A small HTTP/1.1 server on 127.0.0.1, a thread for each connection; a context manager that closes everything.

    ``handler`` answers what ``then`` has no behaviour for; without one, that is a 200 with ``{}``. With ``tls`` it
    speaks HTTPS. A handler that raises answers 500, and the context manager raises it again at its end.
    """

    def __init__(self, handler: Handler | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.port = 0
        self._handler: Handler = handler or (lambda _: answer(200, {}))
        self._script: deque[tuple[Behaviour, bool]] = deque()
        self._tls = tls
        self._lock = threading.Lock()
        self._errors: list[Exception] = []
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def then(self, *behaviours: Behaviour, applied: bool = False) -> Self:
        """What the next requests meet, one each, in this order.

        ``applied``: the handler is called first, and what it would have answered is thrown away.
        """
        with self._lock:
            self._script.extend((behaviour, applied) for behaviour in behaviours)
        return self

    def plug(self) -> None:
        """Listen; after ``unplug`` on the same port again."""
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener, self._closing)

    def unplug(self) -> None:
        """Hang up on everyone and refuse connections."""
        if self._listener is None:
            return
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(); close() alone does not
        self._listener.close()
        self._listener = None
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.unplug()
        if self._errors and exc_info[1] is None:
            raise self._errors[0]

    def _start(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        # In this order: unplug joins what it finds here, while the listener may still be at it.
        thread.start()
        self._threads.append(thread)

    def _accept(self, listener: socket.socket, closing: threading.Event) -> None:
        while not closing.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(sock)
            self._start(self._serve, sock, self.connections, closing)

    def _serve(self, accepted: socket.socket, number: int, closing: threading.Event) -> None:
        sock = accepted
        then = Then.CLOSE
        try:
            if closing.is_set():
                return
            if self._tls:
                accepted.settimeout(10)  # a handshake that never ends would keep the test from ending
                sock = self._tls.wrap_socket(accepted, server_side=True)
                sock.settimeout(None)
                self._swap(accepted, sock)
            with sock.makefile("rb") as stream:
                then = self._converse(sock, stream, number, closing)
        except OSError:
            pass  # the client hung up, or did not like the certificate: that is its right
        finally:
            self._hang_up(sock, then)

    def _converse(self, sock: socket.socket, stream: BufferedReader, number: int, closing: threading.Event) -> Then:
        then = Then.KEEP
        while then is Then.KEEP:
            if stream.peek(1)[:1] == b"\x16":  # a TLS ClientHello: answered in plain text, as nginx does
                sock.sendall(head(400, {"Content-Length": "0", "Connection": "close"}))
                return Then.CLOSE
            received = _read_request(stream, number)
            if received is None:
                return Then.CLOSE
            then = self._behaviour(received)(Line(sock, received, closing))
        return then

    def _behaviour(self, received: Received) -> Behaviour:
        with self._lock:
            self.received.append(received)
            scripted, applied = self._script.popleft() if self._script else (None, True)
        handled = self._handled(received) if applied else None
        return scripted or handled or drop()

    def _handled(self, received: Received) -> Behaviour:
        try:
            handled = self._handler(received)
        except Exception as error:  # noqa: BLE001 - whatever a test's handler raises is shown at the end of the test
            self._errors.append(error)
            return answer(500, {"error": str(error)})
        return handled if callable(handled) else answer(200, handled)

    def _swap(self, before: socket.socket, after: socket.socket) -> None:
        with self._lock:
            self._open.discard(before)
            self._open.add(after)

    def _hang_up(self, sock: socket.socket, then: Then) -> None:
        with self._lock:
            self._open.discard(sock)
        with contextlib.suppress(OSError):
            if then is Then.RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                sock.shutdown(socket.SHUT_RDWR)
        sock.close()


# --- ports without an upstream ----------------------------------------------------------------------


@contextlib.contextmanager
def refused_port() -> Iterator[int]:
    """A port that refuses connections: bound, so that no one else takes it meanwhile, but not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port where connecting never ends, like a host behind a firewall that drops: its backlog is full (Linux)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def _read_request(stream: BufferedReader, connection: int) -> Received | None:
    line = stream.readline().decode("latin-1")
    if not line:
        return None
    method, target, _ = line.split(" ", 2)
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    while (text := stream.readline().decode("latin-1").strip()) != "":
        name, _, value = text.partition(":")
        headers[name] = value.strip()
    length = int(headers.get("Content-Length", 0))
    body = stream.read(length)
    if len(body) < length:
        return None  # the connection ended half-way: no server acts on half a request
    return Received(method, target, headers, body, connection)
