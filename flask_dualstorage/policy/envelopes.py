"""How records stand in requests and answers, and where their versions come from and go back to.

A *place* is a dotted path, a function of the app's, or None (``flask_dualstorage.dialect``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..dialect import OUTCOMES, Dialect, Place
from ..types import Attributes, Json
from .values import BadAnswer, changes

MERGE_PATCH = "application/merge-patch+json"


# --- answers ---------------------------------------------------------------------------------------------------


def take(place: Place, body: Json) -> Json:
    """Take out what stands at a place. Raises ``BadAnswer`` where nothing does."""
    if place is None:
        return body
    if callable(place):
        try:
            return place(body)
        # It is the app's.
        except Exception as error:
            raise BadAnswer(f"the dialect could not take it apart ({type(error).__name__}: {error})") from error
    for name in place.split("."):
        if not isinstance(body, dict) or name not in body:
            raise BadAnswer(f"it has no {place!r}")
        body = body[name]
    return body


def list_in(dialect: Dialect, body: Json) -> Json:
    """Take the list out of an answer, each record of it unwrapped. Raises ``BadAnswer``."""
    items = take(dialect.list_at, body)
    if dialect.item_at is None or not isinstance(items, list):
        return items
    return [take(dialect.item_at, item) for item in items]


def record_in(dialect: Dialect, body: Json) -> Json:
    """Take the record out of an answer. Raises ``BadAnswer``."""
    return take(dialect.record_at, body)


def told_in(dialect: Dialect, body: Json) -> Json:
    """Take out what an answer to a write tells of the record: None where it is empty. Raises ``BadAnswer``."""
    return None if body is None or body == {} else record_in(dialect, body)


def existing_in(dialect: Dialect, body: Json) -> Json:
    """Take the record that is there out of a conflict's answer; None where it tells none."""
    if dialect.existing_at is None:
        return None
    try:
        found = take(dialect.existing_at, body)
    except BadAnswer:
        return None
    return found if isinstance(found, dict) and found else None


# --- requests --------------------------------------------------------------------------------------------------


def wrapped(dialect: Dialect, record: Json) -> Json:
    """Put a record into the body of a request."""
    if dialect.wrap is None:
        return record
    if callable(dialect.wrap):
        return dialect.wrap(record)
    for name in reversed(dialect.wrap.split(".")):
        record = {name: record}
    return record


def writable(dialect: Dialect, record: Mapping[str, Json]) -> Attributes:
    """Give a record without what is never sent: read-only fields, and its version, which goes back its own way."""
    left_out = {*dialect.read_only, dialect.version_from}
    return {name: value for name, value in record.items() if name not in left_out}


def merge_patch(base: Attributes, mine: Attributes) -> Attributes:
    """Give the JSON Merge Patch that makes ``mine`` of ``base`` (RFC 7396): null takes a field away."""
    patch: Attributes = {name: None for name in base if name not in mine}
    for name, value in changes(base, mine).items():
        old = base.get(name)
        patch[name] = merge_patch(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return patch


# --- versions --------------------------------------------------------------------------------------------------


def version_of(dialect: Dialect, base: Attributes | None, validator: str | None) -> Json:
    """Give the version that a write was made on: its base's field, or the ETag that came with it; None: not known."""
    if dialect.version_from is None:
        return validator
    return (base or {}).get(dialect.version_from)


def if_match(dialect: Dialect, base: Attributes | None, validator: str | None) -> str | None:
    """Give what goes out as ``If-Match``: a strong ETag as it is, a field's value in quotes (RFC 9110 §8.8.3)."""
    version = version_of(dialect, base, validator)
    if dialect.version_to != "If-Match" or version is None or isinstance(version, dict | list):
        return None
    text = str(version)
    if text.startswith("W/"):
        return None
    return text if text.startswith('"') else f'"{text}"'


def version_in_body(dialect: Dialect, base: Attributes | None) -> Attributes:
    """Give the version as a field of the body; empty where it goes elsewhere, or is not known."""
    version = version_of(dialect, base, None)
    if dialect.version_to != "body" or dialect.version_from is None or version is None:
        return {}
    return {dialect.version_from: version}


def version_in_query(dialect: Dialect, base: Attributes | None) -> dict[str, str]:
    """Give the version as a parameter of the query; empty where it goes elsewhere, or is not known."""
    version = version_of(dialect, base, None)
    if not dialect.version_to.startswith("query:") or version is None:
        return {}
    return {dialect.version_to.removeprefix("query:"): str(version)}


# --- what an answer means in this dialect ----------------------------------------------------------------------


def override(dialect: Dialect, operation: str, answer: Any) -> str | None:
    """Give what the dialect says that an answer means, or None where it leaves that to the table.

    Raises ``BadAnswer`` where the app's function fails, or gives what is no meaning.
    """
    if not callable(dialect.outcomes):
        found = dialect.outcomes.get((answer.status_code, operation))
        return found if found is not None else dialect.outcomes.get(answer.status_code)
    try:
        named = dialect.outcomes(operation, answer)
    # As above.
    except Exception as error:
        raise BadAnswer(f"Dialect.outcomes failed on it ({type(error).__name__}: {error})") from error
    if named is not None and named not in OUTCOMES:
        raise BadAnswer(f"Dialect.outcomes gave {named!r:.60}, which is none of {', '.join(OUTCOMES)}")
    return named
