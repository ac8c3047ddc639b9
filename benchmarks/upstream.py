"""An upstream that is fast enough not to be what is measured.

``python -m benchmarks.upstream SECONDS`` prints its port.
``GET /people100`` lists 100 records, ``GET /people100/7`` is one of them; whatever is written is answered as the record
that it makes, and ``POST /batch`` takes several at once. Every answer comes SECONDS after its request.
``--drip SECONDS`` sends one byte at a time instead.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
from typing import Any

import orjson

_HEAD = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nCache-Control: max-age=3600\r\nContent-Length: %d\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_numbers = itertools.count(1_000_001)
_lists: dict[int, bytes] = {}


def record(number: int) -> dict[str, Any]:
    """A record of about 200 bytes as JSON, with 8 fields."""
    return {
        "id": number,
        "name": f"Ada Lovelace the {number}th",
        "email": f"ada.lovelace.{number}@example.org",
        "age": 20 + number % 60,
        "city": "St James's Square, London",
        "active": number % 3 == 0,
        "tags": ["mathematics", "engines"],
        "updated_at": "2026-01-02T03:04:05Z",
    }


def records(count: int) -> list[dict[str, Any]]:
    """A list of records."""
    return [record(number) for number in range(1, count + 1)]


def _listed(count: int) -> bytes:
    if count not in _lists:
        _lists[count] = orjson.dumps(records(count))
    return _lists[count]


def _answer(method: bytes, path: bytes, body: bytes) -> tuple[int, bytes]:
    if method == b"GET":
        name, _, one = path.removeprefix(b"/people").partition(b"?")[0].partition(b"/")
        return 200, orjson.dumps(record(int(one))) if one else _listed(int(name or 10))
    if path == b"/batch":
        return 200, orjson.dumps({"responses": [_item(each) for each in orjson.loads(body)["requests"]]})
    if method == b"POST":
        return 201, b'{"id":%d,%s' % (next(_numbers), body[1:])
    return (204, b"") if method == b"DELETE" else (200, body)


def _item(item: dict[str, Any]) -> dict[str, Any]:
    sent = orjson.dumps(item["body"]) if "body" in item else b""
    status, content = _answer(item["method"].encode(), item["path"].encode(), sent)
    return {"status": status, "headers": {}, "body": orjson.Fragment(content) if content else None}


class _Conversation(asyncio.Protocol):
    def __init__(self, latency: float, drip: float) -> None:
        self._latency = latency
        self._drip = drip
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        size = int(length.group(1)) if length else 0
        if len(rest) < size:
            return
        self._received = rest[size:]
        method, path, _ = head.split(b" ", 2)
        status, content = _answer(method, path, rest[:size])
        whole = _HEAD % (status, len(content)) + content
        loop = asyncio.get_running_loop()
        if self._drip:
            self._send_drop(whole, 0, loop)
        elif self._latency:
            loop.call_later(self._latency, self._transport.write, whole)
        else:
            self._transport.write(whole)

    def _send_drop(self, whole: bytes, at: int, loop: asyncio.AbstractEventLoop) -> None:
        if at < len(whole) and not self._transport.is_closing():
            self._transport.write(whole[at : at + 1])
            loop.call_later(self._drip, self._send_drop, whole, at + 1, loop)


async def _serve(latency: float, drip: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Conversation(latency, drip), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("latency", type=float)
    parser.add_argument("--drip", type=float, default=0.0)
    given = parser.parse_args()
    asyncio.run(_serve(given.latency, given.drip))
