"""What a hostile upstream can do with a request: answers and faults, used through ``tests.upstreams.hostile``."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

from requests.structures import CaseInsensitiveDict


@dataclass(frozen=True)
class Received:
    """One request as it arrived. ``target`` is the request line's, byte for byte; ``connection`` counts from 1."""

    method: str
    target: str
    headers: CaseInsensitiveDict[str]
    body: bytes
    connection: int

    def json(self) -> Any:
        """The body decoded."""
        return json.loads(self.body)


class Then(Enum):
    """What becomes of the connection after a behaviour."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()


class Line:
    """A behaviour's side of the connection: ``received`` came in, ``write`` sends, ``pause`` waits."""

    def __init__(self, sock: socket.socket, received: Received, closing: threading.Event) -> None:
        self.sock = sock
        self.received = received
        self._closing = closing

    def write(self, data: bytes) -> None:
        """Send bytes. The client may have hung up: that ends the behaviour, not the test."""
        self.sock.sendall(data)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the test."""
        if self._closing.wait(seconds):
            raise ConnectionAbortedError

    def wait_for_hangup(self) -> None:
        """Wait until the client gives up, or the test ends."""
        while self.sock.recv(1024):
            pass


#: Sends something, or nothing, and says what becomes of the connection.
Behaviour = Callable[[Line], Then]


# --- answers ----------------------------------------------------------------------------


def answer(
    status: int = 200,
    content: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    reason: str = "Whatever",
) -> Behaviour:
    """A plain answer: ``content`` goes as JSON, ``body`` as it is. ``headers`` win over Content-Length and -Type.

    A Set-Cookie, an ETag, a Retry-After are ``headers``; none of them needs a behaviour of its own.
    """
    if body is None:
        body = b"" if content is None else json.dumps(content).encode()
    length = {} if status == 204 else {"Content-Length": str(len(body))}
    return raw(head(status, {**length, **_json_type(body), **(headers or {})}, reason) + body)


def html(status: int = 200, text: str = "<!doctype html><title>Please log in</title>") -> Behaviour:
    """A page for people where JSON was asked for, with any status."""
    return answer(status, body=text.encode(), headers={"Content-Type": "text/html; charset=utf-8"})


def redirect(location: str, status: int = 302) -> Behaviour:
    """A redirect, with no body."""
    return answer(status, headers={"Location": location})


def zipped(content: Any, encoding: Literal["gzip", "deflate"] = "gzip") -> Behaviour:
    """JSON, compressed."""
    plain = json.dumps(content).encode()
    body = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    return answer(body=body, headers={"Content-Encoding": encoding})


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> Behaviour:
    """JSON in chunks (RFC 9112 §7.1). Another ``end`` breaks it, and the connection is closed after it."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return raw(
        head(200, {"Transfer-Encoding": "chunked"}) + body + end, then=Then.KEEP if end == b"0\r\n\r\n" else Then.CLOSE
    )


def raw(data: bytes, then: Then = Then.KEEP) -> Behaviour:
    """Exactly these bytes: for whatever else an upstream may come up with."""

    def behave(line: Line) -> Then:
        line.write(data)
        return then

    return behave


# --- faults -----------------------------------------------------------------------------


def drop() -> Behaviour:
    """Take the request and close the connection without a byte of answer."""
    return lambda _: Then.CLOSE


def reset() -> Behaviour:
    """Take the request and reset the connection (RST)."""
    return lambda _: Then.RESET


def silent() -> Behaviour:
    """Take the request and say nothing until the client gives up."""

    def behave(line: Line) -> Then:
        line.wait_for_hangup()
        return Then.CLOSE

    return behave


def cut(after: int, content: Any = None, *, then: Then = Then.CLOSE) -> Behaviour:
    """Promise the whole body in Content-Length, send ``after`` bytes of it, hang up."""
    body = json.dumps(content if content is not None else {"id": 1, "name": "Turing"}).encode()
    return raw(head(200, {"Content-Length": str(len(body)), **_json_type(body)}) + body[:after], then)


def cut_json(content: Any = None) -> Behaviour:
    """Half a JSON text, with the Content-Length of what is sent: only a parser sees that it was cut."""
    body = json.dumps(content if content is not None else [{"id": 1, "name": "Turing"}]).encode()
    return answer(body=body[: len(body) // 2])


def drip(part: Literal["status", "headers", "body"], every: float = 0.05, content: Any = None) -> Behaviour:
    """A whole, good answer that goes byte by byte from ``part`` on, ``every`` seconds one: 200 bytes at least.

    No single read is ever slow. A client without a deadline for the whole answer waits ten seconds and is content.
    """
    body = json.dumps(content if content is not None else {"padding": "x" * 200}).encode()
    status, rest = head(200, {"X-Padding": "x" * 200, "Content-Length": str(len(body))}, "O" * 200).split(b"\r\n", 1)
    at_once = {"status": b"", "headers": status + b"\r\n", "body": status + b"\r\n" + rest}[part]
    slowly = (status + b"\r\n" + rest + body)[len(at_once) :]

    def behave(line: Line) -> Then:
        line.write(at_once)
        for byte in slowly:
            line.pause(every)
            line.write(bytes([byte]))
        return Then.KEEP

    return behave


def huge(size: int, *, declared: bool = True) -> Behaviour:
    """A JSON string of ``size`` bytes, with its Content-Length or, not ``declared``, until the connection closes."""

    def behave(line: Line) -> Then:
        line.write(head(200, {"Content-Length": str(size)} if declared else {"Connection": "close"}) + b'"')
        left = size - 2
        while left > 0:
            line.write(b"x" * min(left, 65_536))
            left -= 65_536
        line.write(b'"')
        return Then.KEEP if declared else Then.CLOSE

    return behave


def gzip_bomb(size: int) -> Behaviour:
    """``size`` bytes of spaces in about a thousandth of that, as gzip."""
    return answer(body=gzip.compress(b" " * size), headers={"Content-Encoding": "gzip"})


def nested(depth: int) -> Behaviour:
    """A JSON array in an array in an array …: what recursive parsers trip over."""
    return answer(body=b"[" * depth + b"]" * depth)


# --- parts ---


def head(status: int, headers: Mapping[str, str], reason: str = "Whatever") -> bytes:
    """Status line and headers, with the empty line that ends them."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _json_type(body: bytes) -> dict[str, str]:
    return {"Content-Type": "application/json"} if body else {}
