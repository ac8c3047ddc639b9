"""Which writes may go now, and in what order (DESIGN §4.4, §7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..types import State, Write


def is_due(write: Write, now: float, *, explicit: bool) -> bool:
    """Say whether a write may be claimed as far as it alone is concerned.

    ``explicit``, a call that somebody asked for, passes over the backoff that we chose, never over the wait that
    the upstream asked for. A write being sent is due when its lease is over, and so is one in doubt that has to be
    looked for; one that waits for its owner never.
    """
    if write.retry_after > now or write.lease > now:
        return False
    match write.state:
        case State.QUEUED | State.IN_DOUBT:
            return write.not_before is not None and (explicit or write.not_before <= now)
        case State.SENDING:
            return True
        case _:
            return False


def ready(writes: Sequence[Write], waits: Mapping[str, Sequence[str]], now: float, *, explicit: bool) -> list[Write]:
    """Give the writes that are due and wait for no other, first in, first out."""
    return [write for write in writes if not waits[write.id] and is_due(write, now, explicit=explicit)]


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
