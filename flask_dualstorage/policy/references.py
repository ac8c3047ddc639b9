"""Temporary ids: how they look, where they stand in a record, and how the real ones take their place (§4.6).

And what follows from references: where a record stands, and which write waits for which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from urllib.parse import quote, unquote
from uuid import uuid4

import orjson

from ..errors import ValidationFailed
from ..types import Attributes, Json, Kind, RecordId, Write

TEMP_ID = re.compile(r"tmp-[0-9a-f]{32}(?![0-9a-f])")


def is_temp_id(value: object) -> bool:
    """Say whether ``value`` is the id of a record that the upstream has not numbered yet [hasTempId]."""
    return isinstance(value, str) and TEMP_ID.fullmatch(value) is not None


def find(*values: Json) -> set[str]:
    """Find every temporary id in any string of ``values``, keys too, at any depth."""
    encoded = orjson.dumps(values)
    return set(TEMP_ID.findall(encoded.decode())) if b"tmp-" in encoded else set()


def find_in(*texts: str) -> set[str]:
    """Find every temporary id in ``texts``."""
    return {found for text in texts if "tmp-" in text for found in TEMP_ID.findall(text)}


def bind(value: Json, real: Mapping[str, RecordId]) -> Json:
    """Put the real ids in place: with their type where a string is the id, as percent-encoded text inside one.

    A key of an object that is the id takes the real one's text: keys have no other type.
    """
    if isinstance(value, str):
        return real[value] if value in real else bind_text(value, real)
    if isinstance(value, list):
        return [bind(item, real) for item in value]
    if isinstance(value, dict):
        return {str(bind(key, real)): bind(item, real) for key, item in value.items()}
    return value


def bind_text(text: str, real: Mapping[str, RecordId]) -> str:
    """Put the real ids in place inside a text that is, or may be, part of a URL."""
    if "tmp-" not in text:
        return text
    return TEMP_ID.sub(lambda found: _encoded(found.group(), real), text)


def _encoded(temp_id: str, real: Mapping[str, RecordId]) -> str:
    return quote(str(real[temp_id]), safe="") if temp_id in real else temp_id


def former_urls(url: str, temp_ids: Mapping[str, Sequence[str]]) -> list[str]:
    """Give what a URL may have been before the records in it were numbered, as it is first.

    ``temp_ids`` are those that a real id, as text, was known by.
    """
    options = [[segment, *temp_ids.get(unquote(segment), ())] for segment in url.split("/")]
    return ["/".join(segments) for segments in product(*options)]


def moved(nested: Write, record: Write, new_id: RecordId) -> Write:
    """Give a write of a collection nested under a record as it is when that one's id becomes ``new_id``."""
    was, now = (f"{record_path(record.url, each)}/" for each in (record.record_id, new_id))
    params = {name: new_id if str(value) == str(record.record_id) else value for name, value in nested.params.items()}
    store = now + nested.store.removeprefix(was) if nested.store.startswith(was) else nested.store
    return nested._replace(url=now + nested.url.removeprefix(was), store=store, params=params)


def of_write(attributes: Attributes | None, url: str, own_id: RecordId) -> set[str]:
    """Find the temporary ids that a write refers to, its record's own id left out."""
    return find(attributes, url) - {own_id if isinstance(own_id, str) else ""}


def record_path(url: str, record_id: RecordId) -> str:
    """Give the path of one record: the collection's ``url``, a slash, and the id percent-encoded into one segment.

    An id of ``../admin`` becomes ``..%2Fadmin`` and stays an id. Raises ``ValidationFailed`` for an empty id and for
    ``.`` and ``..``: no encoding keeps a server from resolving them, for dots are unreserved
    (RFC 3986 §5.2.4, §6.2.2.2).
    """
    return f"{url.rstrip('/')}/{path_segment(record_id)}"


def path_segment(record_id: RecordId) -> str:
    """Give an id percent-encoded into one segment of a path. Raises as ``record_path`` does."""
    text = str(record_id)
    if text in ("", ".", ".."):
        raise ValidationFailed({"id": f"{text!r} can not stand in a URL; give the record another id."})
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise ValidationFailed({"id": "It holds characters that are no valid Unicode text."}) from None


def _below(url: str, text: str) -> str:
    return f"{url.rstrip('/')}/{quote(text, safe='')}"


#: Where something stands: the upstream's name, and the path.
_Place = tuple[str, str]


@dataclass(slots=True)
class _Earlier:
    """What is known of an owner's writes while they are walked in order."""

    #: The last write of each lane, by store and record.
    last: dict[tuple[str, str], str] = field(default_factory=dict)
    #: The create of the record at a place.
    made: dict[_Place, str] = field(default_factory=dict)
    #: The writes of all collections nested under a place.
    nested: dict[_Place, list[str]] = field(default_factory=dict)
    #: The delete of the record at a place.
    deleted: dict[_Place, str] = field(default_factory=dict)


def waits_for(writes: Sequence[Write]) -> dict[str, list[str]]:
    """Say of each pending write of one owner for which others it waits at first hand, by their ids.

    It waits for the one before it in its lane, for the creates whose temporary ids it refers to, for the create of
    the record that its collection is nested under, and, if it is a delete, for the writes of the collections nested
    under its record. All of these were made before it. A delete also waits for those under its record that were
    deleted after it, in another window, unless the record was made again meanwhile: so no two wait for each other.
    """
    creates = {str(write.record_id): write.id for write in writes if write.kind is Kind.CREATE}
    earlier = _Earlier()
    result: dict[str, list[str]] = {}
    for write in sorted(writes, key=lambda write: write.seq):
        waits = _waits(write, earlier)
        if write.refers:
            waits += _known(of_write(write.attributes, write.url, write.record_id), creates)
        result[write.id] = list(dict.fromkeys(waits))
        for parents_delete in _deletes_above(write, earlier):
            result[parents_delete].append(write.id)
        _remember(write, earlier)
    return result


def _waits(write: Write, earlier: _Earlier) -> list[str]:
    before = earlier.last.get(_lane(write))
    waits = [] if before is None else [before]
    waits += [earlier.made[place] for place in _above(write) if place in earlier.made]
    if write.kind is Kind.DELETE:
        waits += earlier.nested.get(_place(write), ())
    return waits


def _deletes_above(write: Write, earlier: _Earlier) -> list[str]:
    above = list(_above(write))
    if write.kind is not Kind.DELETE or any(place in earlier.made for place in above):
        return []
    return [earlier.deleted[place] for place in above if place in earlier.deleted]


def _remember(write: Write, earlier: _Earlier) -> None:
    earlier.last[_lane(write)] = write.id
    if write.kind is Kind.CREATE:
        earlier.made[_place(write)] = write.id
    if write.kind is Kind.DELETE:
        earlier.deleted[_place(write)] = write.id
    for place in _above(write):
        earlier.nested.setdefault(place, []).append(write.id)


def _lane(write: Write) -> tuple[str, str]:
    return write.store, str(write.record_id)


def _place(write: Write) -> _Place:
    """Give where a write's record stands; the only record of a URL, whose id is empty, stands at the URL itself."""
    return write.upstream, write.url if write.record_id == "" else _below(write.url, str(write.record_id))


def _above(write: Write) -> Iterator[_Place]:
    """Give every place above a write's collection: ``/people/7/notes`` is under ``/people/7``."""
    above = write.url.rpartition("/")[0]
    while above:
        yield write.upstream, above
        above = above.rpartition("/")[0]


def parents(url: str) -> Iterator[tuple[str, str]]:
    """Give the records that a collection may be nested under, as (their collection's URL, the id's text)."""
    above = url.rpartition("/")[0]
    while above.count("/") > 1:
        collection, _, last = above.rpartition("/")
        yield collection, unquote(last)
        above = collection


def _known(temp_ids: Iterable[str], creates: Mapping[str, str]) -> list[str]:
    return sorted(creates[temp_id] for temp_id in temp_ids if temp_id in creates)


def new_temp_id() -> str:
    """Make the id of a record that the upstream has not numbered: ``tmp-`` and a random UUID's 32 digits."""
    return f"tmp-{uuid4().hex}"
