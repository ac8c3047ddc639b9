"""How fresh is fresh enough, as a table."""

from __future__ import annotations

import pytest

from flask_dualstorage.policy.freshness import Step, Tolerance, tolerance
from flask_dualstorage.types import Declaration


@pytest.mark.parametrize(
    ("asked", "looked_at", "max_age", "window", "tolerated"),
    [
        (None, False, 0, 0, Tolerance()),
        (None, False, 60, 0, Tolerance()),
        (None, True, 60, 0, Tolerance(60)),
        (None, False, 0, 30, Tolerance(0, 30)),
        (None, False, 60, 30, Tolerance(0, 90)),
        (None, True, 60, 30, Tolerance(60, 90)),
        (0, True, 60, 30, Tolerance()),
        (10, True, 60, 30, Tolerance(10)),
        (10, False, 0, 0, Tolerance(10)),
    ],
)
def test_what_a_call_tolerates(
    asked: float | None, looked_at: bool, max_age: float, window: float, tolerated: Tolerance
):
    """The call's own ``max_age`` is its last word; a ``fetch`` asks however young a copy is."""
    declared = Declaration("people", "/people", "/people", max_age=max_age, stale_while_revalidate=window)
    assert tolerance(asked, declared, looked_at=looked_at) == tolerated


@pytest.mark.parametrize(
    ("age", "step"),
    [
        (None, Step.ASK),
        (0, Step.COPY),
        (59.9, Step.COPY),
        (60, Step.COPY_AND_REFRESH),
        (89.9, Step.COPY_AND_REFRESH),
        (90, Step.ASK),
    ],
)
def test_what_is_done_with_a_copy(age: float | None, step: Step):
    assert Tolerance(60, 90).step(age) is step


@pytest.mark.parametrize("age", [None, 0, 1000])
def test_without_tolerance_it_is_asked(age: float | None):
    assert Tolerance().step(age) is Step.ASK
    assert not Tolerance().takes_copies
