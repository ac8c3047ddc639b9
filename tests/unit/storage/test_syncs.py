"""Nobody is told that something is on the disk before it is; those who wait at once ask for it once."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator

import pytest

from flask_dualstorage.storage import syncs
from flask_dualstorage.storage.syncs import Syncs
from tests.waiting import PATIENCE, until

FILE = 7


class Disk:
    """Stands in for ``fdatasync``: each call waits until it is let go; ``written`` is what it finds in the file."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.on_disk: list[list[str]] = []
        self.under_way = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.fails = False

    def fdatasync(self, descriptor: int) -> None:
        assert descriptor == FILE
        found, fails = list(self.written), self.fails
        self.under_way.release()
        assert self.go.acquire(timeout=PATIENCE)
        if fails:
            raise OSError(errno.EIO, "no")
        self.on_disk.append(found)


class Writer(threading.Thread):
    """Writes something and waits until it is on the disk."""

    def __init__(self, disk: Disk, shared: Syncs, what: str) -> None:
        super().__init__(daemon=True)
        self.disk, self.shared, self.what = disk, shared, what
        self.told: str | None = None
        disk.written.append(what)
        self.start()

    def run(self) -> None:
        try:
            self.shared.wait(FILE)
        except OSError:
            self.told = "failed"
        else:
            self.told = "done" if any(self.what in found for found in self.disk.on_disk) else "lied to"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(syncs.os, "fdatasync", disk.fdatasync)
    yield disk
    for _ in range(10):
        disk.go.release()


def waiting(shared: Syncs, number: int) -> None:
    until(lambda: shared._asked == number, f"{number} wait")


def test_who_comes_while_a_sync_is_under_way_waits_for_the_next_and_shares_it(disk: Disk):
    shared = Syncs()
    first = Writer(disk, shared, "first")
    assert disk.under_way.acquire(timeout=PATIENCE)
    others = [Writer(disk, shared, f"other {number}") for number in range(3)]
    waiting(shared, 4)
    disk.go.release()
    first.join(PATIENCE)
    assert (first.told, [each.told for each in others]) == ("done", [None] * 3)
    assert disk.under_way.acquire(timeout=PATIENCE)
    disk.go.release()
    for each in others:
        each.join(PATIENCE)
    assert [each.told for each in others] == ["done"] * 3
    assert len(disk.on_disk) == 2


def test_a_sync_that_fails_is_told_to_all_who_shared_it_and_to_nobody_else(disk: Disk):
    shared = Syncs()
    first = Writer(disk, shared, "first")
    assert disk.under_way.acquire(timeout=PATIENCE)
    disk.fails = True
    others = [Writer(disk, shared, f"other {number}") for number in range(3)]
    waiting(shared, 4)
    disk.go.release()
    assert disk.under_way.acquire(timeout=PATIENCE)
    disk.fails = False
    disk.go.release()
    for each in (first, *others):
        each.join(PATIENCE)
    assert (first.told, [each.told for each in others]) == ("done", ["failed"] * 3)
    later = Writer(disk, shared, "later")
    disk.go.release()
    later.join(PATIENCE)
    assert later.told == "done"
