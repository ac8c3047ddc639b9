"""Temporary ids: how they look, where they stand in a record, and how the real ones take their place (§4.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote
from uuid import uuid4

import orjson

from ..types import Attributes, Json, Kind, RecordId, Write

TEMP_ID = re.compile(r"tmp-[0-9a-f]{32}(?![0-9a-f])")


def is_temp_id(value: object) -> bool:
    """Say whether ``value`` is the id of a record that the upstream has not numbered yet [hasTempId]."""
    return isinstance(value, str) and TEMP_ID.fullmatch(value) is not None


def find(*values: Json) -> set[str]:
    """Find every temporary id in any string of ``values``, keys too, at any depth."""
    encoded = orjson.dumps(values)
    return set(TEMP_ID.findall(encoded.decode())) if b"tmp-" in encoded else set()


def bind(value: Json, real: Mapping[str, RecordId]) -> Json:
    """Put the real ids in place: with their type where a string is the id, as percent-encoded text inside one."""
    if isinstance(value, str):
        return real[value] if value in real else bind_text(value, real)
    if isinstance(value, list):
        return [bind(item, real) for item in value]
    if isinstance(value, dict):
        return {bind_text(key, real): bind(item, real) for key, item in value.items()}
    return value


def bind_text(text: str, real: Mapping[str, RecordId]) -> str:
    """Put the real ids in place inside a text that is, or may be, part of a URL."""
    if "tmp-" not in text:
        return text
    return TEMP_ID.sub(lambda found: _encoded(found.group(), real), text)


def _encoded(temp_id: str, real: Mapping[str, RecordId]) -> str:
    return quote(str(real[temp_id]), safe="") if temp_id in real else temp_id


def of_write(attributes: Attributes | None, url: str, own_id: RecordId) -> set[str]:
    """Find the temporary ids that a write refers to, its record's own id left out."""
    return find(attributes, url) - {own_id if isinstance(own_id, str) else ""}


def record_path(url: str, record_id: RecordId) -> str:
    """Give the path of one record: the collection's URL and the id as one percent-encoded segment."""
    return f"{url}/{quote(str(record_id), safe='')}"


def waits_for(writes: Sequence[Write]) -> dict[str, list[str]]:
    """Say of each pending write of one owner for which others it waits, by their ids.

    It waits for the earlier ones of its lane, for the creates whose temporary ids it refers to, and, if it is
    a delete, for the writes of the collections nested under its record.
    """
    creates = {str(write.record_id): write.id for write in writes if write.kind is Kind.CREATE}
    nested = _by_parent(writes)
    lanes: dict[tuple[str, str], list[str]] = {}
    result: dict[str, list[str]] = {}
    for write in sorted(writes, key=lambda write: write.seq):
        lane = lanes.setdefault((write.store, str(write.record_id)), [])
        waits = list(lane)
        if write.refers:
            waits += _known(of_write(write.attributes, write.url, write.record_id), creates)
        if write.kind is Kind.DELETE:
            waits += nested.get(record_path(write.url, write.record_id), ())
        result[write.id] = list(dict.fromkeys(waits))
        lane.append(write.id)
    return result


def _by_parent(writes: Sequence[Write]) -> dict[str, list[str]]:
    """Index the writes by every path above their collection: ``/people/7/notes`` is under ``/people/7``."""
    result: dict[str, list[str]] = {}
    for write in writes:
        parent = write.url.rpartition("/")[0]
        while parent:
            result.setdefault(parent, []).append(write.id)
            parent = parent.rpartition("/")[0]
    return result


def _known(temp_ids: Iterable[str], creates: Mapping[str, str]) -> list[str]:
    return sorted(creates[temp_id] for temp_id in temp_ids if temp_id in creates)


def new_temp_id() -> str:
    """Make the id of a record that the upstream has not numbered: ``tmp-`` and a random UUID's 32 digits."""
    return f"tmp-{uuid4().hex}"
