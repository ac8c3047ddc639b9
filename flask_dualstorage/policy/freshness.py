"""How fresh is fresh enough: take the copy, take it and refresh it afterwards, or ask (RFC 9111 §4.2, RFC 5861 §3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from ..types import Declaration, Envelope

#: How far apart the clocks of two hosts may be, seconds. A copy from further ahead was made before a clock was put
#: back.
SKEW = 60.0
#: A longer validator is not kept: most servers take no header of more than 8 KB.
MAX_VALIDATOR = 1000
_ONE_LINE = re.compile(r"[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?")


class Step(Enum):
    """What a read does that has a copy, or none."""

    #: The copy is young: no request.
    COPY = auto()
    #: The copy may be shown while a newer one is fetched after the response.
    COPY_AND_REFRESH = auto()
    #: Ask the upstream, and wait for it.
    ASK = auto()


class Tolerance(NamedTuple):
    """How old a copy may be, seconds: to need no request, and to be shown while another is fetched."""

    young: float = 0.0
    refreshed: float = 0.0

    @property
    def takes_copies(self) -> bool:
        """Whether less than the upstream's last word will do."""
        return self.young > 0 or self.refreshed > 0

    def step(self, age: float | None) -> Step:
        """Choose what to do with a copy of this age in seconds; None: there is no copy."""
        if age is None:
            return Step.ASK
        if age < self.young:
            return Step.COPY
        return Step.COPY_AND_REFRESH if age < self.refreshed else Step.ASK


def is_ahead(envelope: Envelope, now: float) -> bool:
    """Say whether a copy was asked for at a time that is still to come: how old it is nobody knows."""
    return envelope.asked_at - now > SKEW


def validator_in(headers: Mapping[str, str], name: str) -> str | None:
    """Give a validator that can go back as it came: one line of visible text (RFC 9110 §5.5), not too long a one."""
    value = headers.get(name)
    return value if value and len(value) <= MAX_VALIDATOR and _ONE_LINE.fullmatch(value) else None


def tolerance(asked: float | None, declared: Declaration, *, looked_at: bool) -> Tolerance:
    """Tell what one call tolerates.

    ``asked`` is the call's own ``max_age`` and its last word, so that 0 asks in any case. Without one, a ``fetch``
    asks however young the copy is, unless the collection declares that copies may be refreshed afterwards; a
    collection that is merely looked at also takes a copy as young as it declares.
    """
    if asked is not None:
        return Tolerance(asked)
    window = declared.stale_while_revalidate
    return Tolerance(declared.max_age if looked_at else 0.0, declared.max_age + window if window > 0 else 0.0)
