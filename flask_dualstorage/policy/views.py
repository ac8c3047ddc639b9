"""The view: a base with its owner's writes laid over it (DESIGN §5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..types import PENDING, Attributes, Envelope, Kind, RecordId, State, Write
from .values import put_on, same


@dataclass(frozen=True, slots=True)
class Seen:
    """One record as the app sees it: its ``base`` and ``validator`` from the upstream, ``write`` if one is pending."""

    attributes: Attributes
    base: Attributes | None = None
    validator: str | None = None
    write: Write | None = None


@dataclass(slots=True)
class View:
    """The records of one store in the upstream's order, new ones last; what is special about some, by id text."""

    records: list[Attributes]
    special: dict[str, Seen]

    def seen(self, record: Attributes, key: str | None) -> Seen:
        """Give what is known of one of ``records``."""
        found = self.special.get(key_of(record, key))
        return found or Seen(record, base=record)


def lay_over(
    base: Sequence[Attributes], writes: Iterable[Write], key: str | None, validators: dict[str, str] | None = None
) -> View:
    """Lay ``writes`` (settled since the base began, and pending; in order of ``seq``) over ``base``."""
    records = list(base)
    special = {text: Seen({}, None, validator) for text, validator in (validators or {}).items()}
    writes = list(writes)
    if not writes and not special:
        return View(records, {})
    places = {key_of(record, key): place for place, record in enumerate(records)}
    special = {
        text: Seen(records[places[text]], records[places[text]], known.validator)
        for text, known in special.items()
        if text in places
    }
    gone: set[int] = set()
    for write in writes:
        text = str(write.record_id)
        place = places.get(text)
        here = None if place is None or place in gone else records[place]
        now = after(write, special.get(text) or (Seen(here, here) if here is not None else None), key)
        if now is None:
            special.pop(text, None)
            if place is not None:
                gone.add(place)
            continue
        special[text] = now
        if place is None or place in gone:
            places[text] = len(records)
            records.append(now.attributes)
        else:
            records[place] = now.attributes
    if gone:
        records = [record for place, record in enumerate(records) if place not in gone]
    return View(records, special)


def after(write: Write, seen: Seen | None, key: str | None) -> Seen | None:
    """Give what one record looks like under one more write; None where it is gone."""
    base = seen.base if seen else write.base
    validator = seen.validator if seen else write.validator
    if write.kind is Kind.DELETE:
        return None
    if write.state is State.APPLIED:
        record = write.theirs if write.theirs is not None else {}
        return Seen(record, record, write.validator)
    pending = write if write.state in PENDING else None
    if write.kind is Kind.CREATE:
        return Seen(_with_id(write.attributes or {}, key, write.record_id), None, None, pending)
    shown = seen.attributes if seen else write.base or {}
    mine = put_on(shown, write.base, write.attributes or {})
    return Seen(_with_id(mine, key, write.record_id), base, validator, pending)


def key_of(record: Attributes, key: str | None) -> str:
    """Give the text by which a record is told from others of its store; empty where there is only one."""
    return "" if key is None else str(record.get(key))


def _with_id(record: Attributes, key: str | None, record_id: RecordId) -> Attributes:
    return record if key is None or record.get(key) == record_id else {**record, key: record_id}


def kept_validators(records: Sequence[Attributes], old: View, key: str | None) -> dict[str, str]:
    """Carry the validators of single records into a newer list: of those that did not change since."""
    known = {text: seen for text, seen in old.special.items() if seen.validator is not None}
    if not known:
        return {}
    result = {}
    for record in records:
        text = key_of(record, key)
        seen = known.get(text)
        if seen is not None and seen.validator is not None and same(seen.base, record):
            result[text] = seen.validator
    return result


def newer(one: Envelope | None, other: Envelope | None) -> Envelope | None:
    """Choose the envelope whose request began later: by number first, by the clock between equals."""
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda envelope: (envelope.began, envelope.asked_at))
