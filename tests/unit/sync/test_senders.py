"""Who sends: this thread while that is quickest, threads where one job would hold back others; and no job is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from flask_dualstorage.sync import senders
from flask_dualstorage.sync.jobs import Job
from flask_dualstorage.sync.senders import Senders
from flask_dualstorage.types import Meaning, Outcome
from tests.waiting import PATIENCE

APPLIED = [Outcome(Meaning.APPLIED)]


class Clocks:
    """What time it is, and for how long this thread has worked."""

    def __init__(self) -> None:
        self.now = self.worked = 0.0

    def work(self, job: Job, auth: Any) -> list[Outcome]:
        self.now += 1.0
        self.worked += 0.9
        return APPLIED

    def wait(self, job: Job, auth: Any) -> list[Outcome]:
        self.now += 1.0
        self.worked += 0.1
        return APPLIED


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(senders, "perf_counter", lambda: clocks.now)
    monkeypatch.setattr(senders, "thread_time", lambda: clocks.worked)
    monkeypatch.setattr(senders, "STALL", PATIENCE)
    return clocks


def jobs(number: int) -> list[tuple[Job, Any]]:
    return [(Job(str(each), []), f"auth {each}") for each in range(number)]


def all_of(given: Senders) -> list[str]:
    came: list[str] = []
    while given.in_flight:
        came += [job.upstream for job, future in given.finished() if future.result() == APPLIED]
    return came


def in_threads(run: Callable[[Job, Any], list[Outcome]], names: list[str]) -> Callable[[Job, Any], list[Outcome]]:
    def noting(job: Job, auth: Any) -> list[Outcome]:
        names.append(threading.current_thread().name)
        return run(job, auth)

    return noting


def test_what_comes_at_once_is_sent_by_this_thread_in_order(clocks: Clocks):
    names: list[str] = []
    with Senders(in_threads(clocks.work, names), 8) as given:
        for _ in range(3):
            given.give(jobs(8))
            assert all_of(given) == [str(each) for each in range(8)]
    assert names == [threading.current_thread().name] * 24


def test_a_job_that_waits_holds_no_other_back():
    """Each of them waits until all are under way."""
    together = threading.Barrier(8)

    def wait(job: Job, auth: Any) -> list[Outcome]:
        together.wait(PATIENCE)
        return APPLIED

    with Senders(wait, 8) as given:
        for _ in range(3):
            given.give(jobs(8))
            assert sorted(all_of(given)) == [str(each) for each in range(8)]


def test_one_that_was_held_up_says_nothing(clocks: Clocks):
    names: list[str] = []

    def one_in_three(job: Job, auth: Any) -> list[Outcome]:
        return clocks.wait(job, auth) if job.upstream == "1" else clocks.work(job, auth)

    with Senders(in_threads(one_in_three, names), 3) as given:
        for _ in range(3):
            given.give(jobs(3))
            all_of(given)
    assert names == [threading.current_thread().name] * 9


def test_it_is_tried_again_whether_threads_are_needed(clocks: Clocks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(senders, "TRY_AGAIN", 16)
    here, names = threading.current_thread().name, []
    with Senders(in_threads(clocks.wait, names), 4) as given:
        for in_this_thread in (4, 0, 0, 4, 0, 0):
            names.clear()
            given.give(jobs(4))
            all_of(given)
            assert names.count(here) == in_this_thread


@pytest.mark.parametrize("at_most", [1, 2, 8])
def test_each_has_its_credential_and_the_context_of_who_gave_it(at_most: int):
    context: ContextVar[str] = ContextVar("context")
    seen: list[tuple[str, str, str]] = []

    def run(job: Job, auth: Any) -> list[Outcome]:
        seen.append((job.upstream, auth, context.get()))
        return APPLIED

    context.set("the app's")
    with Senders(run, at_most) as given:
        for is_quick in (True, False):
            given._is_quick = is_quick
            given.give(jobs(8))
            all_of(given)
    assert sorted(seen) == sorted([(str(each), f"auth {each}", "the app's") for each in range(8)] * 2)


@pytest.mark.parametrize("is_quick", [True, False])
def test_what_one_raises_is_its_own(is_quick: bool):
    def fail(job: Job, auth: Any) -> list[Outcome]:
        if job.upstream == "1":
            raise ValueError(auth)
        return APPLIED

    with Senders(fail, 3) as given:
        given._is_quick = is_quick
        given.give(jobs(3))
        came = {}
        while given.in_flight:
            came |= {job.upstream: future.exception() for job, future in given.finished()}
    assert (came["0"], str(came["1"]), came["2"]) == (None, "auth 1", None)


def test_an_interrupt_ends_the_flush_and_not_only_its_job():
    def interrupted(job: Job, auth: Any) -> list[Outcome]:
        raise KeyboardInterrupt

    given = Senders(interrupted, 3)
    given.give(jobs(3))
    with given, pytest.raises(KeyboardInterrupt):
        given.finished()
