"""Runs the state machine (see ``machine.py``) for about a minute; ``make soak`` runs it longer, from new seeds.

A sequence that fails is printed by hypothesis as the calls that make it, to be pasted into a test as they stand
(``state = Machine()``, ``state.open_the_list()``, …, ``state.teardown()``), and as ``@reproduce_failure(…)``: put that
line above the class ``Machine`` or ``WithoutKeys`` and run its test again. A soak prints the seed of each round:
``SOAK_SEED=… make soak`` begins there. ``MACHINE_EXAMPLES=…`` sets how many sequences a run of ``pytest`` tries.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import Machine, WithoutKeys

CI = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "150")),
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What goes wrong here is logged often, and read by nobody."""
    logger = logging.getLogger("flask_dualstorage")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


def test_with_keys() -> None:
    run_state_machine_as_test(Machine, settings=CI)


def test_without_keys() -> None:
    run_state_machine_as_test(WithoutKeys, settings=CI)


def test_soak(capsys: pytest.CaptureFixture[str]) -> None:
    """Both machines in turn, from new seeds, with longer sequences, until the time is over."""
    until = time.monotonic() + SOAK_SECONDS
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().getrandbits(32))
    long = settings(CI, max_examples=50, stateful_step_count=60, derandomize=False)
    rounds = 0
    while time.monotonic() < until:
        machine = (Machine, WithoutKeys)[rounds % 2]
        with capsys.disabled():
            left = max(0, round(until - time.monotonic()))
            os.write(1, f"\n{machine.__name__} from SOAK_SEED={seed}, {left} s left".encode())
        hypothesis.seed(seed)(machine)
        run_state_machine_as_test(machine, settings=long)
        rounds += 1
        seed += 1
    assert rounds


if not SOAK_SECONDS:
    # Not a test of the ordinary run that is skipped: no test of it at all.
    del test_soak
