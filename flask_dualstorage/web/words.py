"""What happened, in plain words for the person who clicked."""

from __future__ import annotations

import math
from typing import Any

from .texts import text, texts


def summary(report: Any) -> str:
    """One or two sentences about a ``SyncReport``."""
    if out_of_reach(report):
        away = text("The upstream service is out of reach.")
        return " ".join([away, _waiting(report.remaining), *_again(report.retry_after)])
    if not report.applied and not report.remaining:
        return text("Nothing was waiting to be sent.")
    sent = texts("%(num)s change was sent.", "%(num)s changes were sent.", report.applied)
    return " ".join([sent if report.applied else text("Nothing could be sent."), *_left(report)])


def out_of_reach(report: Any) -> bool:
    """Whether nothing could be sent because the upstream was out of reach, though something waits."""
    return report.online is False and not report.applied and report.remaining > 0


def decision(write: Any) -> str:
    """One sentence about a change whose owner has just decided over it."""
    state = str(write.state)
    if state in _DECIDED:
        return text(_DECIDED[state])
    still = text(_STILL_HERE.get(state, _STILL_HERE["queued"]))
    return f"{still} {text(write.reason)}" if write.reason else still


_DECIDED = {"applied": "The change was sent.", "discarded": "The change was given up."}
_STILL_HERE = {
    "queued": "The change is kept here and will be sent later.",
    "in_doubt": "The change may or may not have arrived.",
    "rejected": "The change was refused.",
    "conflict": "The change still meets one that somebody else made.",
}


def _waiting(count: int) -> str:
    return texts(
        "%(num)s change is kept here and will be sent later.",
        "%(num)s changes are kept here and will be sent later.",
        count,
    )


def _again(retry_after: float | None) -> list[str]:
    if retry_after is None:
        return []
    seconds = math.ceil(retry_after)
    return [texts("Try again in %(num)s second.", "Try again in %(num)s seconds.", seconds)]


def _left(report: Any) -> list[str]:
    refused, conflicts, doubtful = report.rejected, report.conflict, report.in_doubt
    unauthorized = sum(write.unauthorized for write in report.writes)
    waiting = report.remaining - refused - conflicts - doubtful - unauthorized
    again = text("the upstream service does not take your credential any more.")
    lines = (
        (waiting, _waiting(waiting)),
        (
            unauthorized,
            texts(
                "%(num)s change waits until you sign in again: %(why)s",
                "%(num)s changes wait until you sign in again: %(why)s",
                unauthorized,
                why=again,
            ),
        ),
        (
            doubtful,
            texts(
                "%(num)s change may or may not have arrived.", "%(num)s changes may or may not have arrived.", doubtful
            ),
        ),
        (refused, texts("%(num)s change was refused.", "%(num)s changes were refused.", refused)),
        (
            conflicts,
            texts(
                "%(num)s change met a change that somebody else made.",
                "%(num)s changes met a change that somebody else made.",
                conflicts,
            ),
        ),
    )
    return [sentence for count, sentence in lines if count]
