"""Which records belong in a list, and where: what pending writes do to a filtered list, or to one page of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..types import Attributes, Json


class Listing(NamedTuple):
    """One list of a store.

    ``belongs`` tells whether a record is of this list, on whatever page (None: every record of the store is).
    ``whole``: all that the upstream has of the list is in the base; else it is one page. ``takes_new``: new records
    stand here, and not on a later page. ``rank`` gives what records are ordered by (None: new ones stand last).
    ``known`` False: there is no base, and what belongs to the list is all that can be shown of it.
    """

    belongs: Callable[[Attributes], bool] | None = None
    whole: bool = True
    takes_new: bool = True
    rank: Callable[[Attributes], Any] | None = None
    known: bool = True

    def has(self, record: Attributes) -> bool:
        """Say whether a record is of this list."""
        return self.belongs is None or self.belongs(record)


#: The list of all records of a store, as the upstream orders them.
EVERYTHING = Listing()


class Change(NamedTuple):
    """What the writes of one record make of it: ``before`` and ``now``, None where it is not there or not known.

    ``in_base``: the list that lies under the view has it. ``is_new``: it was made by these writes.
    """

    before: Attributes | None
    now: Attributes | None
    in_base: bool
    is_new: bool


def place(change: Change, listing: Listing) -> tuple[bool, int]:
    """Say whether a changed record is shown in this list, and by how much it changes the list's total.

    An edit moves a record by what it changes alone: into a list where it did not belong before, out of one where it
    does not belong any more. What the upstream listed for reasons of its own, such as a search, stays.
    """
    before, now = change.before, change.now
    if change.in_base and not change.is_new:
        stays = now is not None and (listing.has(now) or before is None or not listing.has(before))
        return stays, 0 if stays else -1
    counted = change.in_base or (not listing.whole and before is not None and listing.has(before))
    if now is None:
        return False, -counted
    if change.is_new or not listing.known:
        fits = listing.has(now)
        return fits and listing.takes_new, fits - counted
    if listing.whole and listing.belongs is None:
        return True, 1
    enters = before is not None and not listing.has(before) and listing.has(now)
    return enters and listing.takes_new, (enters or (counted and listing.has(now))) - counted


def put_in_order(rest: list[Attributes], touched: list[Attributes], rank: Callable[[Attributes], Any]) -> None:
    """Put the ``touched`` records into ``rest``, which the upstream ordered by ``rank``; equal ones behind."""
    for record in touched:
        rest.insert(bisect_right(rest, rank(record), key=rank), record)


def matches_by_fields(record: Attributes, params: Mapping[str, str]) -> bool:
    """Say whether every parameter that names a field of the record equals it by its text; others say nothing."""
    return all(_has_text(record[name], text) for name, text in params.items() if name in record)


def _has_text(value: Json, text: str) -> bool:
    """Compare as a query string can: ``true`` in any case, null as nothing, any item of a list; an object fits all."""
    if isinstance(value, list):
        return any(_has_text(item, text) for item in value)
    if isinstance(value, dict):
        return True
    if value is None:
        return text.lower() in ("", "null", "none")
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    return str(value) == text
