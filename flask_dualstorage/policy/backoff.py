"""When a write that did not go through is due again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

FIRST = 1.0
LONGEST = 300.0
#: However long an upstream asks us to wait, a day is the most we take its word for.
LONGEST_RETRY_AFTER = 86_400.0


def backoff(attempts: int, jitter: float) -> float:
    """Seconds to wait after ``attempts`` sends: exponential with full jitter, ``jitter`` being in [0, 1)."""
    return min(LONGEST, FIRST * 2.0 ** min(attempts, 30)) * jitter


def retry_after(header: str | None, now: float) -> float | None:
    """Read ``Retry-After`` in both forms (RFC 9110 §10.2.3): seconds from now, None where it can not be read."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER)
    date = _seconds_of(text)
    return None if date is None else min(max(date - now, 0.0), LONGEST_RETRY_AFTER)


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """Give how long an answer asks us to wait, seconds.

    A date is taken by the clock of who sent it (``Date``, RFC 9110 §6.6.1), where it tells; else by ``now``.
    """
    sent_at = _seconds_of(headers.get("Date") or "")
    return retry_after(headers.get("Retry-After"), now if sent_at is None else sent_at)


def _seconds_of(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # a year of twenty digits overflows
        return None
    return (date.replace(tzinfo=UTC) if date.tzinfo is None else date).timestamp()
