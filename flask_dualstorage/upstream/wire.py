"""Connections that keep one deadline for a whole exchange, and know whether the request was sent.

``requests`` has a timeout for each read, so an upstream that drips a byte now and then is never too late, and its
exceptions do not tell whether a request can have arrived. Both are decided here, at the socket: an ``Exchange`` says
how long everything may take, connections and responses of this module ask it before every call that can block.
It is passed in a thread-local: one thread makes a request and reads the answer, and urllib3 hands nothing through.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Timeout
from urllib3.util.connection import allowed_gai_family

from ..types import Answer
from .bodies import TooLarge, Unreadable, read_whole

#: Bytes sent between two looks at the clock.
_PIECE = 64 * 1024


class Exchange:
    """One request and its answer, redirects included: how long they may take, and whether bytes went out.

    ``connect`` and ``total`` are seconds. ``sent`` is True from just before the first byte of a request goes out;
    neither a TLS handshake nor a proxy's CONNECT counts, for then the upstream has seen no request.
    """

    __slots__ = ("_connect_ends", "connect", "ends", "has_body", "sent", "target", "total")

    def __init__(self, connect: float, total: float) -> None:
        self.connect = connect
        self.total = total
        self.ends = time.monotonic() + total
        self.sent = False
        #: What stands on the request line, byte for byte.
        self.target = ""
        #: Whether bytes follow the headers.
        self.has_body = False
        self._connect_ends: float | None = None

    @property
    def connecting(self) -> bool:
        """Whether a connection is being made: name, TCP, proxy tunnel and TLS together."""
        return self._connect_ends is not None

    @contextlib.contextmanager
    def connection(self) -> Iterator[None]:
        """While a connection is made, ``left`` counts to the connect timeout as well."""
        self._connect_ends = min(self.ends, time.monotonic() + self.connect)
        try:
            yield
        finally:
            self._connect_ends = None

    def left(self) -> float:
        """Seconds that are left, always above 0. Raises ``TimeoutError`` when none are."""
        left = (self.ends if self._connect_ends is None else self._connect_ends) - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is past")
        return left


class _Here(threading.local):
    exchange: Exchange


_here = _Here()


@contextlib.contextmanager
def exchanging(connect: float, total: float) -> Iterator[Exchange]:
    """Everything this thread sends inside belongs to one exchange of ``total`` seconds."""
    outer = getattr(_here, "exchange", None)
    _here.exchange = exchange = Exchange(connect, total)
    try:
        yield exchange
    finally:
        if outer is None:
            del _here.exchange
        else:
            _here.exchange = outer


class _DeadlineReader(io.RawIOBase):
    """A socket's reading side that gives each ``recv`` only what is left of the exchange."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, exchange: Exchange) -> None:
        self._raw = raw
        self._sock = sock
        self._exchange = exchange
        self.finished = False
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.finished:
            return None
        self._sock.settimeout(self._exchange.left())
        count = self._raw.readinto(buffer)
        self.ended = count == 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer read against the deadline, which does not let one answer's bytes become the next one's."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        # detach() keeps the socket's own count of its readers right: a connection may be closed before its answer is.
        raw: Any = self.fp.detach()
        self._sock = sock
        self._reader = _DeadlineReader(raw, sock, _here.exchange)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        """Refuse a head that was cut: http.client takes the end of the connection for the end of the headers.

        ``HTTP/1.1 200 OK`` and nothing more would be a success without a body (RFC 9112 §8 calls it incomplete).
        """
        super().begin()
        # Lines come from the buffer; only a line that was not there in full made it read on, to the end.
        if self._reader.ended:
            raise http.client.IncompleteRead(b"")

    def _read_status(self) -> tuple[str, int, str]:
        """Skip interim answers: http.client knows 100 only, and takes 103 (RFC 8297) for the answer itself.

        The real answer would then be read by whoever is next on this connection.
        """
        version, status, reason = super()._read_status()  # type: ignore[misc]  # not in typeshed
        while 100 < status < 200:
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                raise http.client.BadStatusLine("101, which was not asked for")
            http.client.parse_headers(self.fp)
            version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status, reason

    def _read_next_chunk_size(self) -> int:
        """http.client reads a size of ``-1`` as "everything there is"."""
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise http.client.IncompleteRead(b"")
        return size

    def _close_conn(self) -> None:
        """Bytes beyond the end of the answer would be read as the next one, perhaps another owner's: hang up."""
        self._reader.finished = True
        if self.fp.peek(1):
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        super()._close_conn()  # type: ignore[misc]


class _Connection(HTTPConnection):
    """A connection that belongs, while it is used, to this thread's exchange."""

    response_class = _Response
    #: The headers of a request whose body comes next: http.client would send them alone, in a packet of their own.
    _head = b""
    _begins = False

    def _new_conn(self) -> socket.socket:
        """Connect within one timeout for all addresses of the name, each having an even share of what is left.

        urllib3 gives each address the whole timeout; with the first share only, a black hole at the first address
        (IPv6, often) would hide a good second one.
        """
        error: OSError | None = None
        addresses = self._addresses()
        for count, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                return self._connected(address, _here.exchange.left() / count)
            except OSError as failure:
                error = failure
        if isinstance(error, TimeoutError):
            raise ConnectTimeoutError(self, "the connection timed out") from error
        raise NewConnectionError(self, "no connection could be made") from error

    def _connected(self, info: Any, seconds: float) -> socket.socket:
        family, kind, protocol, _, address = info
        sock = socket.socket(family, kind, protocol)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(seconds)
            sock.connect(address)
            # A TLS handshake comes next.
            sock.settimeout(_here.exchange.left())
        except OSError:
            sock.close()
            raise
        return sock

    def _addresses(self) -> list[Any]:
        host = self._dns_host.strip("[]")
        try:
            return socket.getaddrinfo(host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error

    def connect(self) -> None:
        """Connect, through the proxy's tunnel and the TLS handshake where there are any, within the connect timeout."""
        with _here.exchange.connection():
            super().connect()

    def putrequest(self, method: str, url: str, *args: Any, **options: Any) -> None:
        """Put the exchange's own target on the request line: urllib3 rewrites escapes and dots on the way here."""
        self._head, self._begins = b"", _here.exchange.has_body
        super().putrequest(method, _here.exchange.target, *args, **options)

    def send(self, data: Any) -> None:
        """Send it all before the deadline, and note first that bytes of the request may have arrived."""
        exchange = _here.exchange
        if self._begins:
            self._head, self._begins = data, False
            return
        # Before it connects: what a proxy's tunnel is asked with comes through here too.
        data, self._head = self._head + data, b""
        if self.sock is None:
            self.connect()
        exchange.left()
        if not exchange.connecting:
            exchange.sent = True
        rest = memoryview(data)
        while rest:
            self.sock.settimeout(exchange.left())
            rest = rest[self.sock.send(rest[:_PIECE]) :]


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


class Adapter(HTTPAdapter):
    """Sends prepared requests over kept-alive connections of this module; its answers are whole and bounded.

    What it sends must be sent inside ``exchanging``. Nothing is tried twice, no redirect is followed, and no
    cookie is kept. Raises exceptions of requests and urllib3, ``TooLarge`` and ``Unreadable``.
    """

    def __init__(self, pool_size: int, max_response_bytes: int) -> None:
        self._limit = max_response_bytes
        self._pool: Any = None
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools from this module's connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """The same for connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def exchange(self, request: requests.PreparedRequest, verify: bool | str, proxies: Any) -> Answer:
        """Send it and read the answer, without what requests adds for hooks, cookies and proxies.

        All that goes through one adapter goes to one origin: its pool is looked for once.
        """
        url, exchange = str(request.url), _here.exchange
        if proxies:
            response = self.send(request, verify=verify, proxies=proxies)
            return Answer(response.status_code, response.headers, response.content, url)
        pool: Any = self._pool
        if pool is None:
            pool = self.get_connection_with_tls_context(request, verify, proxies=proxies)
            self.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]
            # Only now: another thread must not find it without its certificates.
            self._pool = pool
        exchange.target, exchange.has_body = _target(url, proxies), bool(request.body)
        answer = pool.urlopen(
            str(request.method),
            exchange.target,
            request.body,
            request.headers,
            self.max_retries,
            redirect=False,
            assert_same_host=False,
            timeout=Timeout(connect=exchange.connect, read=exchange.total),
            preload_content=False,
            decode_content=False,
        )
        return Answer(answer.status, CaseInsensitiveDict(answer.headers), self._read(answer), url)

    def _read(self, raw: BaseHTTPResponse) -> bytes:
        try:
            return read_whole(raw, self._limit)
        except (TooLarge, Unreadable):
            raw.close()
            raise

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send it, and read the answer to its end.

        ``stream`` and ``timeout`` are there for response hooks, which pass on what they were given: the exchange rules.
        """
        exchange = _here.exchange
        exchange.target = _target(str(request.url), proxies)
        timeout = (exchange.connect, exchange.total)
        response = super().send(request, stream=True, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        response._content = self._read(response.raw)
        response._content_consumed = True  # type: ignore[attr-defined]  # Response.content then gives it as it is
        return response


def _target(url: str, proxies: Any) -> str:
    """What stands on the request line (RFC 9112 §3.2): the path and query as given, a proxy gets the whole URL."""
    if proxies and url.startswith("http:") and select_proxy(url, proxies):
        return url
    return "/" + url.split("/", 3)[3]
