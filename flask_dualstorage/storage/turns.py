"""A lock that goes to whoever waits longest."""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """One at a time, first come, first served.

    ``threading.Lock`` goes to whoever happens to be awake, often the thread that has just let go of it: of eight that
    write without a pause, one in a hundred waits fifty times as long as the others.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout: float) -> bool:
        """Wait for one's turn, at most so many seconds; False: it did not come."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=timeout):
            return True
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        # It came between the end of the wait and the look.
        return True

    def release(self) -> None:
        """Let the next one go on."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
