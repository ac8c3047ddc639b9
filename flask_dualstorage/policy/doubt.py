"""Whether a create in doubt was made after all, told by what the upstream lists now (DESIGN §4.4)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..types import Attributes
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
    wanted: Attributes, listed: Sequence[Attributes], known_ids: Collection[str] | None, id_attribute: str
) -> Search:
    """Look for a record that equals every field of ``wanted``.

    ``known_ids``, as text, are those of the list that was cached before; None where none was. Exactly one record that
    was not known is the one; none is none; anything else is unclear. A record that is equal and was known is unclear
    too, and never "not made": the copy may be younger than the create.
    """
    alike = [record for record in listed if has_all(record, wanted)]
    if not alike:
        return Search(Trace.NOT_MADE)
    if len(alike) > 1 or known_ids is None or str(alike[0].get(id_attribute)) in known_ids:
        return Search(Trace.UNCLEAR)
    return Search(Trace.MADE, alike[0])
