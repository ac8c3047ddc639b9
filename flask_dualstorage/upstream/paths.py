"""Paths of single records: an id goes into one path segment and stays there."""

from __future__ import annotations

from urllib.parse import quote

from ..errors import ValidationFailed
from ..types import RecordId


def record_path(url: str, record_id: RecordId) -> str:
    """The path of one record: the collection's ``url``, a slash, and the id percent-encoded into one segment.

    An id of ``../admin`` becomes ``..%2Fadmin`` and stays an id. Raises ``ValidationFailed`` for an empty id and for
    ``.`` and ``..``: no encoding keeps a server from resolving them, for dots are unreserved
    (RFC 3986 §5.2.4, §6.2.2.2).
    """
    text = str(record_id)
    if text in ("", ".", ".."):
        raise ValidationFailed({"id": f"{text!r} can not stand in a URL; give the record another id."})
    try:
        return f"{url.rstrip('/')}/{quote(text, safe='')}"
    except UnicodeEncodeError:
        raise ValidationFailed({"id": "It holds characters that are no valid Unicode text."}) from None
