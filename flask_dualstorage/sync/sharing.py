"""Reads that are under way: who finds one of the same thing waits for it rather than ask the same again."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Landed = TypeVar("Landed")


class Flight(Generic[Landed]):
    """One read under way in this process: what it brought, or the error that all who wait for it are to hear."""

    def __init__(self) -> None:
        self.landed: Landed | None = None
        self.error: Exception | None = None
        self._over = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait for it, at most so long. False: it is not over yet, or it ended without a word for others."""
        return self._over.wait(seconds) and (self.landed is not None or self.error is not None)

    def end(self) -> None:
        """Let those go on who wait."""
        self._over.set()


class Flights(Generic[Landed]):
    """The reads under way in this process, by what is read. Safe to share between threads and across a fork."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, Flight[Landed]] = {}
        self._pid = os.getpid()

    @contextmanager
    def join(self, key: Hashable) -> Iterator[tuple[Flight[Landed], bool]]:
        """Give the flight of ``key``, and whether it is the caller's own to make."""
        if self._pid != os.getpid():
            # Those of the parent never land here.
            self._under_way, self._pid = {}, os.getpid()
        under_way, mine = self._under_way, Flight[Landed]()
        # One call, so that no lock is needed, which a fork could inherit locked.
        found = under_way.setdefault(key, mine)
        try:
            yield found, found is mine
        finally:
            if found is mine:
                under_way.pop(key, None)
                mine.end()
