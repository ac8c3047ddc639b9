"""The breaker: after failures in a row, the upstream is not asked again for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Breaker:
    """What this process knows of one upstream's health. Safe to share between threads.

    ``threshold`` failures in a row open it for ``cooldown`` seconds; after that ``allow`` says yes again, and what
    becomes of that probe closes it or opens it anew. Two probes at once are harmless, so none is reserved.
    ``clock`` gives seconds and must not go backwards (``time.monotonic``).
    """

    def __init__(self, threshold: int, cooldown: float, clock: Callable[[], float]) -> None:
        self._threshold = threshold
        self._cooldown = cooldown
        self._clock = clock
        self._failures = 0
        #: None: closed. Else the clock's time from which on probes are allowed. Read without the lock: one attribute.
        self._open_until: float | None = None
        self._lock = threading.Lock()

    def allow(self) -> bool:
        """Whether a request may be sent now: always while closed, as a probe once the cooldown is past."""
        until = self._open_until
        return until is None or self._clock() >= until

    def wants_probe(self) -> bool:
        """Whether it is open and its cooldown is past: what is sent now is a probe."""
        until = self._open_until
        return until is not None and self._clock() >= until

    def open_for(self) -> float:
        """Seconds until the next probe; 0 when one may go at once, or when closed."""
        until = self._open_until
        return 0.0 if until is None else max(0.0, until - self._clock())

    def succeeded(self) -> bool:
        """Any answer came: closed, and the count starts anew. True when it was open (the upstream is back)."""
        if not self._failures and self._open_until is None:
            return False
        with self._lock:
            was_open = self._open_until is not None
            self._failures = 0
            self._open_until = None
            return was_open

    def failed(self) -> bool:
        """One more failure in a row. True when it opened the breaker (the upstream is lost)."""
        with self._lock:
            self._failures += 1
            if self._open_until is None and self._failures < self._threshold:
                return False
            # Answers to requests that went out before it opened do not put the probe off; only a probe's do.
            if self._open_until is not None and self._clock() < self._open_until:
                return False
            return self._open(self._cooldown)

    def hold(self, seconds: float) -> bool:
        """Open until ``seconds`` from now, whatever the count: a 503 with ``Retry-After`` (RFC 9110 §10.2.3).

        Never shortens what is held already. True when it opened the breaker (the upstream is lost).
        """
        if not seconds > 0:
            return False
        with self._lock:
            return self._open(seconds)

    def _open(self, seconds: float) -> bool:
        """Open, or stay open longer; the caller holds the lock. True when it was closed."""
        was_closed = self._open_until is None
        self._open_until = max(self._open_until or 0.0, self._clock() + seconds)
        return was_closed
