"""Form resurrection: what was typed for a write that its owner must correct, for the app's own form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import has_request_context, request

from ..policy.conflicts import with_mine
from .about import WRITE
from .forms import errors_of

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed for a pending ``write``: its ``attributes``, and the upstream's ``errors`` by field.

    ``errors[""]`` is about the whole. In a conflict the attributes are combined with what others changed, mine where
    both did, and the errors tell what it is there.
    """

    id: str
    attributes: Mapping[str, Any]
    errors: Mapping[str, list[str]]
    write: Any


def asked_for() -> str | None:
    """Give the id of the write that the request's query or form names, None where it names none."""
    if not has_request_context():
        return None
    write_id = request.values.get(WRITE, "")
    return write_id if _ID.fullmatch(write_id) else None


def typed_of(write: Any) -> Typed | None:
    """Give what was typed for ``write``; None for a delete, and for none."""
    if write is None or write.attributes is None:
        return None
    combined = (
        with_mine(write, write.policy)[1] if str(write.state) == "conflict" and write.theirs is not None else None
    )
    return Typed(write.id, combined or write.attributes, errors_of(write), write)
