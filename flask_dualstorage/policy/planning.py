"""Which writes may go now, and in what order (DESIGN §4.4, §7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from ..types import State, Write
from .backoff import LONGEST_RETRY_AFTER

#: How long a write may stay unsettled after its deadline before another worker may take it, seconds.
LEASE_GRACE = 10.0
#: No lease is longer, however long an answer may take, seconds.
LONGEST_LEASE = 3600.0


def lease_end(now: float, deadline: float) -> float:
    """Give until when a write that is claimed now is its worker's; ``deadline`` is how long its answer may take."""
    return now + min(deadline + LEASE_GRACE, LONGEST_LEASE)


def is_held(until: float, now: float, longest: float) -> bool:
    """Say whether a wait is on; one that ends later than it ever could was set by a clock that was put back since."""
    return now < until <= now + longest


def is_due(write: Write, now: float, *, explicit: bool) -> bool:
    """Say whether a write may be claimed as far as it alone is concerned.

    ``explicit``, a call that somebody asked for, passes over the backoff that we chose, never over the wait that
    the upstream asked for. A write being sent is due when its lease is over, and so is one in doubt that has to be
    looked for; one that waits for its owner never.
    """
    if is_held(write.retry_after, now, LONGEST_RETRY_AFTER) or is_held(write.lease, now, LONGEST_LEASE):
        return False
    match write.state:
        case State.QUEUED | State.IN_DOUBT:
            return write.not_before is not None and (explicit or write.not_before <= now)
        case State.SENDING:
            return True
        case _:
            return False


class Plan:
    """The order of one flush: what is due and waits for no other, first in, first out; the rest as it gets free.

    ``wanted`` names the writes that may go. Telling what has gone costs no more than what waited for it.
    """

    def __init__(
        self,
        writes: Sequence[Write],
        waits: Mapping[str, Sequence[str]],
        wanted: Set[str],
        now: float,
        *,
        explicit: bool,
    ) -> None:
        due = [write for write in writes if write.id in wanted and is_due(write, now, explicit=explicit)]
        self._blocked = {write.id: write for write in due if waits[write.id]}
        self._waits = {write_id: len(waits[write_id]) for write_id in self._blocked}
        self._behind: dict[str, list[str]] = {}
        for write_id in self._blocked:
            for other in waits[write_id]:
                self._behind.setdefault(other, []).append(write_id)
        self.due = deque(write for write in due if not waits[write.id])

    def gone(self, write_id: str) -> None:
        """Take a write out of the way: it is applied, or was given up."""
        for waiting in self._behind.pop(write_id, ()):
            self._waits[waiting] -= 1
            if not self._waits[waiting]:
                self.due.append(self._blocked.pop(waiting))


def with_those_it_waits_for(
    writes: Iterable[Write], waits: Mapping[str, Sequence[str]], chosen: Callable[[Write], bool]
) -> set[str]:
    """Give the ids of the chosen writes and of all that must go before them."""
    pending = [write.id for write in writes if chosen(write)]
    result: set[str] = set()
    while pending:
        write_id = pending.pop()
        if write_id not in result:
            result.add(write_id)
            pending += waits[write_id]
    return result
