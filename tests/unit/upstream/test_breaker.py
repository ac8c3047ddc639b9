from __future__ import annotations

import threading

import pytest

from flask_dualstorage.upstream.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(3, 5.0, clock)


def lose(breaker: Breaker) -> None:
    for _ in range(3):
        breaker.failed()


def test_it_starts_closed(breaker: Breaker) -> None:
    assert breaker.allow()
    assert breaker.open_for() == 0


def test_the_failure_that_reaches_the_threshold_opens_it(breaker: Breaker) -> None:
    assert [breaker.failed() for _ in range(3)] == [False, False, True]
    assert not breaker.allow()
    assert breaker.open_for() == 5


def test_an_answer_starts_the_count_anew(breaker: Breaker) -> None:
    breaker.failed()
    breaker.failed()
    assert breaker.succeeded() is False
    assert breaker.failed() is False
    assert breaker.failed() is False
    assert breaker.allow()


def test_after_the_cooldown_probes_may_go(breaker: Breaker, clock: Clock) -> None:
    lose(breaker)
    clock.now += 4.9
    assert not breaker.allow()
    clock.now += 0.2
    assert breaker.allow()
    assert breaker.allow(), "a second probe is harmless"
    assert breaker.open_for() == 0


def test_it_wants_a_probe_only_after_the_cooldown(breaker: Breaker, clock: Clock) -> None:
    assert not breaker.wants_probe()
    lose(breaker)
    assert not breaker.wants_probe()
    clock.now += 5
    assert breaker.wants_probe()
    breaker.succeeded()
    assert not breaker.wants_probe()


def test_a_failing_probe_opens_it_again_at_once(breaker: Breaker, clock: Clock) -> None:
    lose(breaker)
    clock.now += 6
    assert breaker.failed() is False, "it was lost already"
    assert not breaker.allow()
    assert breaker.open_for() == 5


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    lose(breaker)
    clock.now += 6
    assert breaker.succeeded() is True
    assert breaker.allow()
    assert breaker.succeeded() is False


def test_failures_of_requests_that_went_out_before_do_not_put_the_probe_off(breaker: Breaker, clock: Clock) -> None:
    lose(breaker)
    clock.now += 3
    assert breaker.failed() is False
    assert breaker.open_for() == 2


def test_hold_opens_it_whatever_the_count(breaker: Breaker, clock: Clock) -> None:
    assert breaker.hold(30) is True
    assert breaker.open_for() == 30
    clock.now += 30
    assert breaker.allow()
    assert breaker.succeeded() is True


def test_hold_never_shortens_what_is_held(breaker: Breaker) -> None:
    breaker.hold(30)
    assert breaker.hold(10) is False
    assert breaker.open_for() == 30


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_hold_for_no_time_does_nothing(breaker: Breaker, seconds: float) -> None:
    assert breaker.hold(seconds) is False
    assert breaker.allow()


def test_of_many_threads_one_hears_that_it_was_lost_and_one_that_it_is_back(breaker: Breaker) -> None:
    changes: list[bool] = []
    start = threading.Barrier(8)

    def run(change: str) -> None:
        start.wait()
        changes.extend(getattr(breaker, change)() for _ in range(200))

    for change in ("failed", "succeeded"):
        threads = [threading.Thread(target=run, args=(change,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert changes.count(True) == 1
        changes.clear()


def test_asking_a_closed_one_does_not_even_look_at_the_clock() -> None:
    def clock() -> float:
        raise AssertionError("looked at the clock")

    assert Breaker(3, 5.0, clock).allow()
