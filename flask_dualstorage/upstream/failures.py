"""What exceptions of requests, urllib3 and sockets mean: nothing was sent, or no whole answer came, and why."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

from urllib3.exceptions import ProxyError, ReadTimeoutError, SSLError

from ..types import Failure, Fault
from .bodies import TooLarge, Unreadable
from .wire import Exchange

_Kinds = type[BaseException] | tuple[type[BaseException], ...]

#: Why nothing was sent: the first row that some exception in the chain fits, the most specific first.
_UNSENT: tuple[tuple[_Kinds, str], ...] = (
    (ProxyError, "could not be reached through the proxy"),
    (socket.gaierror, "could not be found: its name does not resolve"),
    (ssl.SSLCertVerificationError, "showed a certificate that is not trusted"),
    (ConnectionRefusedError, "refused the connection"),
    (TimeoutError, "could not be connected to within {connect:g} s"),
    ((ssl.SSLError, SSLError), "did not complete the TLS handshake"),
    (BaseException, "could not be reached"),
)
#: Why no whole answer came.
_CUT: tuple[tuple[_Kinds, str], ...] = (
    ((TimeoutError, ReadTimeoutError), "did not answer completely within {total:g} s"),
    (Unreadable, "sent an answer that is {error}"),
    (http.client.IncompleteRead, "cut its answer short"),
    (http.client.RemoteDisconnected, "closed the connection without an answer"),
    ((ConnectionResetError, BrokenPipeError), "reset the connection"),
    (http.client.HTTPException, "sent what is not an HTTP answer"),
    (BaseException, "broke off its answer"),
)


def failure(name: str, error: Exception, exchange: Exchange, limit: int) -> Failure:
    """What ``error`` means for an exchange with the upstream ``name`` that takes answers of ``limit`` bytes.

    The sentences are our own: those of the exceptions may hold a URL with a credential, or a piece of a body.
    """
    who = "The upstream" if name == "default" else f"The upstream {name!r}"
    if isinstance(error, TooLarge):
        return Failure(Fault.TOO_LARGE, f"{who} sent an answer of more than {limit} bytes.")
    fault, rows = (Fault.CUT, _CUT) if exchange.sent else (Fault.UNSENT, _UNSENT)
    chain = list(_causes(error))
    why = next(sentence for kinds, sentence in rows if any(isinstance(cause, kinds) for cause in chain))
    reason = f"{who} {why.format(connect=exchange.connect, total=exchange.total, error=error)}."
    return Failure(fault, reason, late=fault is Fault.CUT and why == _CUT[0][1])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what it was raised from, outermost first: requests wraps urllib3, which wraps sockets."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
