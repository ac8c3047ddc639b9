"""The exception tree. Those with an HTTP status are werkzeug ``HTTPException`` objects too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import BadGateway, Conflict, HTTPException, NotFound, ServiceUnavailable, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable


class DualStorageError(Exception):
    """The root of everything this package raises on purpose."""


class ConfigurationError(DualStorageError):
    """A key or a declaration is wrong; raised at start."""


class CollectionUnknown(DualStorageError, LookupError):
    """No collection of that name is registered, and ``DUALSTORAGE_STRICT_COLLECTIONS`` is on."""


class ValidationFailed(DualStorageError):
    """Attributes were refused before anything was stored.

    ``errors`` maps a path (``"tags[2]"``, ``"id"``, ``"nonce"``) or whatever ``Model.validate`` returned as
    keys to a list of messages. [Backbone: ``validationError``]
    """

    def __init__(self, errors: Mapping[str, Any] | Iterable[Any] | str) -> None:
        self.errors = _by_field(errors)
        super().__init__("; ".join(_sentence(path, text) for path, texts in self.errors.items() for text in texts))


def _by_field(errors: Mapping[str, Any] | Iterable[Any] | str) -> dict[str, list[str]]:
    if isinstance(errors, Mapping):
        return {
            str(path): [str(text) for text in texts] if isinstance(texts, list | tuple) else [str(texts)]
            for path, texts in errors.items()
        }
    if isinstance(errors, str):
        return {"": [errors]}
    return {"": [str(text) for text in errors]}


def _sentence(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text


class _Described(DualStorageError, HTTPException):
    """An error of this tree that is an HTTP answer too, with its own sentence as the description."""

    def __init__(self, message: str) -> None:
        # By way of the class of its status, which has more to set up than HTTPException.
        super().__init__(message)

    def __str__(self) -> str:
        return str(self.description)


class RecordGone(_Described, NotFound):
    """Saving a deleted record, or fetching one that is gone (404)."""


class UpstreamUnreachable(_Described, ServiceUnavailable):
    """The upstream is out of reach and no copy may stand in (503, with ``Retry-After`` where it is known)."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        #: Whole seconds, rounded up (RFC 9110 §10.2.3), or None.
        self.retry_after = None if retry_after is None else math.ceil(retry_after)


class NotCached(UpstreamUnreachable):
    """The upstream is out of reach, and nothing of it is cached or pending here (503)."""


class UpstreamError(_Described, BadGateway):
    """The upstream answered with an error while online (502).

    ``status`` is its status, ``upstream_response`` its answer, ``problem`` an RFC 9457 object or None,
    ``in_doubt`` whether the write may have been applied all the same, ``pending_write`` the write where it
    was kept (None: it was withdrawn, nothing is saved).
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        upstream_response: Any = None,
        problem: dict[str, Any] | None = None,
        in_doubt: bool = False,
        pending_write: Any = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.upstream_response = upstream_response
        self.problem = problem
        self.in_doubt = in_doubt
        self.pending_write = pending_write


class Rejected(UpstreamError):
    """A 4xx: the upstream will not take it. ``errors`` by field, where the upstream names them."""

    def __init__(self, message: str, *, errors: dict[str, list[str]] | None = None, **rest: Any) -> None:
        super().__init__(message, **rest)
        self.errors = errors or {}


class NoCredentials(_Described, Unauthorized):
    """Raised by an ``upstream_auth`` hook: this owner's writes wait, a fetch is a 401 and never a copy."""

    def __init__(self, message: str = "There is no credential for the upstream: please log in again.") -> None:
        super().__init__(message)


class WriteBusy(_Described, Conflict):
    """This write is being sent right now, so nothing can be decided about it (409)."""


class OutboxFull(_Described):
    """This owner has ``DUALSTORAGE_MAX_PENDING`` writes waiting; the new one was not accepted (507)."""

    code = 507
    name = "Insufficient Storage"


class OutboxUnavailable(_Described, ServiceUnavailable):
    """Durable storage failed: the write was not accepted (503)."""


__all__ = [
    "CollectionUnknown",
    "ConfigurationError",
    "DualStorageError",
    "NoCredentials",
    "NotCached",
    "OutboxFull",
    "OutboxUnavailable",
    "RecordGone",
    "Rejected",
    "UpstreamError",
    "UpstreamUnreachable",
    "ValidationFailed",
    "WriteBusy",
]
