"""Writes and answers in one line: what a case does not name is what it is most of the time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from flask_dualstorage.types import UNSETTLED, Answer, Json, Kind, State, Write

NOON = 1_800_000_000.0
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}

_numbers = itertools.count(1)


def temp_id(number: int) -> str:
    """Give a temporary id that a reader can tell from another."""
    return f"tmp-{number:032x}"


def a_write(kind: Kind = Kind.UPDATE, state: State = State.QUEUED, **rest: Any) -> Write:
    """Make a write of record 7 of ``/people``, unfrozen, with ``base`` and ``attributes`` as its kind has them."""
    number = rest.pop("seq", None) or next(_numbers)
    known: dict[str, Any] = {
        "id": f"w{number}",
        "seq": number,
        "owner": "user:alice",
        "collection": "people",
        "store": rest.get("url", "/people"),
        "url": "/people",
        "params": {},
        "upstream": "default",
        "record_id": 7,
        "kind": kind,
        "state": state,
        "attributes": None if kind is Kind.DELETE else {"id": 7, "name": "Ada"},
        "base": None if kind is Kind.CREATE else {"id": 7, "name": "Eve"},
        "validator": None,
        "patch": False,
        "refers": False,
        "edits": 1,
        "created_at": NOON,
        "settled_seq": UNSETTLED,
    }
    return Write(**known | rest)


def frozen(**rest: Any) -> dict[str, Any]:
    """Give what a claim fixes: key and bytes."""
    return {"key": "key-1", "key_since": NOON, "method": "PUT", "path": "/people/7", "body": b"{}"} | rest


def an_answer(status: int = 200, content: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """Make an answer whose headers are read in any case, as the client's are."""
    return Answer(status, CaseInsensitiveDict(headers or {}), content, "https://crm.example/people/7")


def json_answer(status: int, content: bytes, **headers: str) -> Answer:
    """Make an answer that says it is JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return an_answer(status, content, JSON | named)


_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def json_values(leaves: int = 12) -> st.SearchStrategy[Json]:
    """Any JSON value."""
    return st.recursive(
        _scalars,
        lambda below: st.lists(below, max_size=4) | st.dictionaries(_names, below, max_size=4),
        max_leaves=leaves,
    )


def records() -> st.SearchStrategy[dict[str, Json]]:
    """Any attributes of a record."""
    return st.dictionaries(_names, json_values(), max_size=5)
