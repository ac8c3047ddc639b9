"""Reading the body of an answer to its end, and never more of it than was agreed."""

from __future__ import annotations

import zlib

import requests
from urllib3.response import BaseHTTPResponse

_PIECE = 64 * 1024


class TooLarge(requests.RequestException):
    """The answer is larger than this client takes; what came of it was thrown away."""


class Unreadable(requests.RequestException):
    """The body came whole, but its ``Content-Encoding`` can not be undone."""


def read_whole(raw: BaseHTTPResponse, limit: int) -> bytes:
    """The body, decoded, of at most ``limit`` bytes. A larger one is refused early where its length is declared."""
    if (getattr(raw, "length_remaining", None) or 0) > limit:
        raise TooLarge("larger by its Content-Length")
    pieces: list[bytes] = []
    size = 0
    while piece := raw.read(_PIECE, decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise TooLarge("larger than the limit")
    return decoded(b"".join(pieces), raw.headers.get("Content-Encoding", ""), limit)


def decoded(body: bytes, encoding: str, limit: int) -> bytes:
    """``body`` without its ``Content-Encoding`` (RFC 9110 §8.4), of at most ``limit`` bytes.

    Done here because urllib3 takes a gzip stream that was cut for a whole one. Raises ``TooLarge`` before more than
    ``limit`` bytes are made, and ``Unreadable`` for broken, cut or unknown codings.
    """
    encoding = encoding.strip().lower()
    if not body or encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Unreadable(f"in an encoding that was not asked for ({encoding[:40]!r})")
    try:
        return _inflated(body, limit, 32 + zlib.MAX_WBITS)
    except zlib.error:
        if encoding != "deflate":
            raise Unreadable("broken in its compression") from None
    try:
        # Some servers send deflate without the zlib wrapper that RFC 9110 §8.4.1.2 asks for.
        return _inflated(body, limit, -zlib.MAX_WBITS)
    except zlib.error:
        raise Unreadable("broken in its compression") from None


def _inflated(body: bytes, limit: int, window: int) -> bytes:
    decoder = zlib.decompressobj(window)
    content = decoder.decompress(body, limit + 1)
    if len(content) > limit:
        raise TooLarge("larger than the limit when decompressed")
    if not decoder.eof or decoder.unused_data.strip(b"\0"):
        raise Unreadable("cut in its compression")
    return content
