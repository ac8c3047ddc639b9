"""Whoever waits longest is next."""

import threading

from flask_dualstorage.storage.turns import Turns
from tests.waiting import PATIENCE, until


def waiting(turns: Turns, came: list[str], name: str) -> threading.Thread:
    """A thread that waits for its turn by now, and notes that it came."""

    def take() -> None:
        assert turns.acquire(PATIENCE)
        came.append(name)
        turns.release()

    before = len(turns._waiting)
    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: len(turns._waiting) > before, "a thread that waits")
    return thread


def test_first_come_first_served():
    """Nobody overtakes, not even the one that has just let go and wants it again."""
    turns, came = Turns(), []
    assert turns.acquire(PATIENCE)
    threads = [waiting(turns, came, name) for name in ("first", "second", "third")]
    turns.release()
    assert turns.acquire(PATIENCE)
    came.append("again")
    turns.release()
    for thread in threads:
        thread.join()
    assert came == ["first", "second", "third", "again"]


def test_one_that_waited_too_long_holds_nobody_up():
    turns = Turns()
    assert turns.acquire(PATIENCE)
    assert not turns.acquire(0.01)
    turns.release()
    assert turns.acquire(PATIENCE)
