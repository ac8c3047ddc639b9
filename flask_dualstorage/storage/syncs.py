"""Commits on the disk: one ``fdatasync`` for all that wait for it."""

from __future__ import annotations

import os
import threading

#: Whether a file's data can be forced to the disk here, as SQLite itself does it.
CAN_SYNC = hasattr(os, "fdatasync")


class Syncs:
    """Waits until what was written to a file is on the disk; of several that wait at once, one asks for all.

    A sync covers what was written before it began: who comes while one is under way waits for the next.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked = 0
        #: All up to here are on the disk; and all up to here may not be, since a sync failed.
        self._synced = self._failed = 0
        self._under_way = False

    def wait(self, descriptor: int) -> None:
        """Return when all that was written to the file before this call is on the disk. Raises ``OSError``."""
        with self._changed:
            self._asked += 1
            mine = self._asked
            while self._under_way and mine > max(self._synced, self._failed):
                self._changed.wait()
            if mine <= self._failed:
                raise OSError("it could not be written to the disk")
            if mine <= self._synced:
                return
            self._under_way, upto = True, self._asked
        try:
            os.fdatasync(descriptor)
        except OSError:
            # A second try could succeed without writing what the first could not.
            self._failed = upto
            raise
        else:
            self._synced = upto
        finally:
            with self._changed:
                self._under_way = False
                self._changed.notify_all()
