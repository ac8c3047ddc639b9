"""Whether a create in doubt was made after all, told by what the upstream lists now (DESIGN §4.4)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..types import Attributes, Json
from .paging import links
from .values import has_all


class Trace(StrEnum):
    """What the list tells."""

    #: It was made: this is the record.
    MADE = "made"
    #: It was not made, and may go again.
    NOT_MADE = "not_made"
    #: The owner must say.
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Search:
    """What looking for a create came to; ``record`` where it was made."""

    trace: Trace
    record: Attributes | None = None


def look_for(
    sent: Attributes,
    listed: Sequence[Attributes],
    known_ids: Collection[str] | None,
    id_attribute: str,
    made: Collection[str] = (),
    others: Sequence[Attributes] = (),
) -> Search:
    """Look in a whole list for a record that equals every field of ``sent``.

    ``known_ids``, as text, are those of the list that was cached before, None where none was; ``made`` those of records
    that other creates of this owner made: none of them is it. ``others`` is what this owner's other creates sent that
    may have arrived. Exactly one record
    that was not known is the one; none is none; anything else is unclear: several, one that another create may have
    made, and one that is equal as far as the list shows the fields that were sent. A record that is equal and was
    known is unclear too, and never "not made": the copy may be younger than the create.
    """
    shown = _shown(sent, listed)
    alike = [record for record in listed if has_all(record, shown) and str(record.get(id_attribute)) not in made]
    if not alike:
        return Search(Trace.NOT_MADE)
    found = alike[0]
    contested = any(has_all(found, _shown(other, listed)) for other in others)
    if len(alike) > 1 or contested or len(shown) < len(sent):
        return Search(Trace.UNCLEAR)
    if known_ids is None or str(found.get(id_attribute)) in known_ids:
        return Search(Trace.UNCLEAR)
    return Search(Trace.MADE, found)


def _shown(sent: Attributes, listed: Sequence[Attributes]) -> Attributes:
    """Leave out what no record of the list shows, as a password: nothing can be told by it."""
    return {name: value for name, value in sent.items() if any(name in record for record in listed)}


def as_listed(sent: Json, parsed: Json) -> Attributes:
    """Give what was sent as a list would show it: as the app's ``parse`` has it, without what that made up itself."""
    if not isinstance(parsed, dict):
        return sent if isinstance(sent, dict) else {}
    own = sent if isinstance(sent, dict) else {}
    return {name: value for name, value in parsed.items() if value is not None or name in own}


# --- is the list whole? ----------------------------------------------------------------------------------------

_RANGE_TOTAL = re.compile(r"/\s*(\d+)\s*$")
_TOTAL_HEADERS = ("X-Total-Count", "X-Total", "Total-Count", "Total-Records")
_NEXTS = ("next", "next_page", "nextPage", "next_cursor", "nextCursor", "nextPageToken", "has_more", "hasMore")
_TOTALS = ("count", "total", "total_count", "totalCount", "totalItems", "totalElements", "total_results")
_PARTS = ("links", "_links", "meta", "page", "paging", "pagination")


def is_whole(headers: Mapping[str, str], body: Json, listed: int) -> bool:
    """Say whether nothing in an answer tells that its list of so many records goes on elsewhere."""
    if "next" in links(headers.get("Link") or "") or headers.get("Next-Page") or headers.get("X-Next-Page"):
        return False
    parts = list(_parts(body))
    if any(part.get(name) for part in parts for name in _NEXTS):
        return False
    totals = [*_header_totals(headers), *(part.get(name) for part in parts for name in _TOTALS)]
    return not any(type(total) is int and total > listed for total in totals)


def _parts(body: Json) -> Iterator[Attributes]:
    if isinstance(body, dict):
        yield body
        yield from (body[name] for name in _PARTS if isinstance(body.get(name), dict))


def _header_totals(headers: Mapping[str, str]) -> Iterator[int]:
    for name in _TOTAL_HEADERS:
        text = headers.get(name, "").strip()
        if text.isascii() and text.isdigit():
            yield int(text)
    found = _RANGE_TOTAL.search(headers.get("Content-Range", ""))
    if found:
        yield int(found.group(1))
