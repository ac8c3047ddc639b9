"""What happened, in plain words for the person who clicked."""

from __future__ import annotations

import math
from typing import Any

_UNKNOWN = "the upstream service does not take your credential any more."


def summary(report: Any) -> str:
    """One or two sentences about a ``SyncReport``."""
    if out_of_reach(report):
        return f"The upstream service is out of reach. {_waiting(report.remaining)}{_again(report.retry_after)}"
    if not report.applied and not report.remaining:
        return "Nothing was waiting to be sent."
    sent = f"{_changes(report.applied)} {_was(report.applied)} sent." if report.applied else "Nothing could be sent."
    return " ".join([sent, *_left(report)])


def out_of_reach(report: Any) -> bool:
    """Whether nothing could be sent because the upstream was out of reach, though something waits."""
    return report.online is False and not report.applied and report.remaining > 0


def decision(write: Any) -> str:
    """One sentence about a change whose owner has just decided over it."""
    state = str(getattr(write.state, "value", write.state))
    if state in _DECIDED:
        return _DECIDED[state]
    why = f" {write.reason}" if write.reason else ""
    return f"{_STILL_HERE.get(state, _STILL_HERE['queued'])}{why}"


_DECIDED = {"applied": "The change was sent.", "discarded": "The change was given up."}
_STILL_HERE = {
    "queued": "The change is kept here and will be sent later.",
    "in_doubt": "The change may or may not have arrived.",
    "rejected": "The change was refused.",
    "conflict": "The change still meets one that somebody else made.",
}


def _changes(count: int) -> str:
    return "1 change" if count == 1 else f"{count} changes"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"


def _waiting(count: int) -> str:
    return f"{_changes(count)} {'is' if count == 1 else 'are'} kept here and will be sent later."


def _again(retry_after: float | None) -> str:
    if retry_after is None:
        return ""
    seconds = math.ceil(retry_after)
    return f" Try again in {seconds} {'second' if seconds == 1 else 'seconds'}."


def _left(report: Any) -> list[str]:
    refused, conflicts, doubtful = report.rejected, report.conflict, report.in_doubt
    unauthorized = sum(write.unauthorized for write in report.writes)
    waiting = report.remaining - refused - conflicts - doubtful - unauthorized
    lines = (
        (waiting, _waiting(waiting)),
        (unauthorized, f"{_changes(unauthorized)} {_wait(unauthorized)} until you sign in again: {_UNKNOWN}"),
        (doubtful, f"{_changes(doubtful)} may or may not have arrived."),
        (refused, f"{_changes(refused)} {_was(refused)} refused."),
        (conflicts, f"{_changes(conflicts)} met a change that somebody else made."),
    )
    return [sentence for count, sentence in lines if count]
