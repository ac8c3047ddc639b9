"""Waiting for another process: look again until it is so, and give up after a while."""

import time
from collections.abc import Callable

#: Seconds. What is waited for takes a fraction of one; a machine with every core busy may need many times that.
PATIENCE = 30.0


def until(true: Callable[[], object], what: str) -> None:
    """Return once `true()` is. Raises `TimeoutError`, which names `what` did not come, after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not within {PATIENCE:g} s: {what}.")
        time.sleep(0.01)
