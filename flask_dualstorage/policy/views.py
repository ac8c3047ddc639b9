"""The view: a base with its owner's writes laid over it (DESIGN §5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, count
from operator import itemgetter
from typing import NamedTuple

from ..types import PENDING, Attributes, Envelope, Kind, RecordId, State, Write
from .listing import EVERYTHING, Change, Listing, place, put_in_order
from .values import is_number, put_on, same


class Seen(NamedTuple):
    """One record as the app sees it: its ``base`` and ``validator`` from the upstream, ``write`` if one is pending."""

    attributes: Attributes
    base: Attributes | None = None
    validator: str | None = None
    write: Write | None = None


@dataclass(slots=True)
class View:
    """The records of one list in the upstream's order, new ones last; what is special about some, by id text.

    ``special`` also has what is pending of records that this list does not show. ``added`` is by how many records the
    writes change the list's total.
    """

    records: list[Attributes]
    special: dict[str, Seen]
    added: int = 0

    def seen(self, record: Attributes, key: str | None) -> Seen:
        """Give what is known of one of ``records``."""
        found = self.special.get(key_of(record, key))
        return found or Seen(record, base=record)


@dataclass(slots=True)
class _Touched:
    """One record under the writes of its lane: where the base has it, what it was, what it is."""

    place: int | None
    before: Attributes | None
    now: Seen | None
    is_new: bool


def lay_over(
    base: list[Attributes],
    writes: Sequence[Write],
    key: str | None,
    validators: Mapping[str, str] | None = None,
    listing: Listing = EVERYTHING,
) -> View:
    """Lay ``writes`` (settled since the base began, and pending; in order of ``seq``) over ``base``."""
    if not writes and not validators:
        return View(base, {})
    records = list(base)
    special = {text: Seen({}, None, validator) for text, validator in (validators or {}).items()}
    places = _places(records, {*special, *(write.record_id for write in writes)}, key)
    special = {
        text: Seen(records[places[text]], records[places[text]], known.validator)
        for text, known in special.items()
        if text in places
    }
    touched = _fold(writes, records, places, special, key)
    return _shown(records, touched, special, listing)


def _places(records: Sequence[Attributes], wanted: set[RecordId], key: str | None) -> dict[str, int]:
    """Find the records with one of the ``wanted`` ids, by its text.

    It is the one step that looks at every record of the list, so it makes no text of each of their ids: those that are
    wanted are taken both as text and as numbers instead.
    """
    if key is None:
        return {"": 0} if records else {}
    ids: set[RecordId] = {*wanted, *map(str, wanted)}
    ids |= {int(each) for each in wanted if type(each) is str and is_number(each)}
    found = compress(count(), map(ids.__contains__, map(itemgetter(key), records)))
    return {key_of(records[at], key): at for at in found}


def _fold(
    writes: Sequence[Write],
    records: Sequence[Attributes],
    places: Mapping[str, int],
    known: Mapping[str, Seen],
    key: str | None,
) -> dict[str, _Touched]:
    """Give what the writes make of each record that they touch, by its id's text, in the order in which it shows."""
    touched: dict[str, _Touched] = {}
    for write in writes:
        text = str(write.record_id)
        one = touched.get(text)
        if one is None:
            one = touched[text] = _untouched(write, places.get(text), records, known.get(text))
        elif one.now is None:
            # Deleted, and made again: a new record, behind those that were made before.
            one.is_new = True
            touched[text] = touched.pop(text)
        one.now = after(write, one.now, key)
    return touched


def _untouched(write: Write, place: int | None, records: Sequence[Attributes], known: Seen | None) -> _Touched:
    if place is None:
        return _Touched(None, write.base, None, is_new=write.kind is Kind.CREATE)
    record = records[place]
    return _Touched(place, record, known or Seen(record, record), is_new=False)


def _shown(
    records: list[Attributes], touched: Mapping[str, _Touched], special: dict[str, Seen], listing: Listing
) -> View:
    """Put every touched record where it belongs, or nowhere."""
    gone: set[int] = set()
    new: list[Attributes] = []
    added = 0
    for text, one in touched.items():
        now = None if one.now is None else one.now.attributes
        is_here, more = place(Change(one.before, now, one.place is not None, one.is_new), listing)
        added += more
        if one.now is None:
            special.pop(text, None)
        else:
            special[text] = one.now
        moves = one.is_new or one.place is None or listing.rank is not None
        if one.place is not None and (moves or not is_here):
            gone.add(one.place)
        if is_here and now is not None:
            if moves or one.place is None:
                new.append(now)
            else:
                records[one.place] = now
    _move(records, gone, new, listing)
    return View(records, special, added)


def _move(records: list[Attributes], gone: set[int], new: list[Attributes], listing: Listing) -> None:
    """Take records out by their place, and put others in: last, or where the list's order has them."""
    for at in sorted(gone, reverse=True):
        del records[at]
    if listing.rank is None:
        records += new
    else:
        put_in_order(records, new, listing.rank)


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
