"""One thread sends while that is quickest, several where one job would hold back others; and no job is lost."""

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
        came += [each.job.upstream for each in given.finished() if each.outcomes == APPLIED]
    return came


class Counted:
    """Runs jobs, and counts how many are under way at once at the most."""

    def __init__(self, run: Callable[[Job, Any], list[Outcome]]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._now = self.most = 0

    def __call__(self, job: Job, auth: Any) -> list[Outcome]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        came = self._run(job, auth)
        with self._lock:
            self._now -= 1
        return came


def test_what_comes_at_once_is_sent_by_one_thread_in_order(clocks: Clocks):
    run = Counted(clocks.work)
    with Senders(run, 8) as given:
        for _ in range(3):
            given.give(jobs(8))
            assert all_of(given) == [str(each) for each in range(8)]
    assert run.most == 1


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


def test_one_that_is_stuck_holds_back_nothing_that_comes_behind_it():
    """What is done is told, and more is sent, while it is on its way."""
    stuck = threading.Event()

    def run(job: Job, auth: Any) -> list[Outcome]:
        if job.upstream == "0":
            stuck.wait(PATIENCE)
        return APPLIED

    with Senders(run, 4) as given:
        given.give(jobs(4))
        came = [each.job.upstream for each in given.finished()]
        while len(came) < 3:
            came += [each.job.upstream for each in given.finished()]
        assert sorted(came) == ["1", "2", "3"]
        given.give(jobs(4)[1:])
        while len(came) < 6:
            came += [each.job.upstream for each in given.finished()]
        assert [job.upstream for job in given.in_flight] == ["0"]
        stuck.set()
        assert all_of(given) == ["0"]


def test_one_that_was_held_up_says_nothing(clocks: Clocks):
    def one_in_three(job: Job, auth: Any) -> list[Outcome]:
        return clocks.wait(job, auth) if job.upstream == "1" else clocks.work(job, auth)

    run = Counted(one_in_three)
    with Senders(run, 3) as given:
        for _ in range(3):
            given.give(jobs(3))
            all_of(given)
    assert run.most == 1


def test_it_is_tried_again_whether_threads_are_needed(clocks: Clocks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(senders, "TRY_AGAIN", 16)
    together = threading.Barrier(4)
    at_once = 0

    def run(job: Job, auth: Any) -> list[Outcome]:
        if at_once:
            together.wait(PATIENCE)
        return clocks.wait(job, auth)

    with Senders(run, 4) as given:
        for each in (0, 4, 4, 0, 4, 4):
            at_once = each
            given.give(jobs(4))
            assert len(all_of(given)) == 4
            together.reset()


@pytest.mark.parametrize("at_most", [1, 2, 8])
def test_each_has_its_credential_and_the_context_of_who_gave_it(at_most: int):
    context: ContextVar[str] = ContextVar("context")
    seen: list[tuple[str, str, str]] = []

    def run(job: Job, auth: Any) -> list[Outcome]:
        seen.append((job.upstream, auth, context.get()))
        context.set("a hook's")
        return APPLIED

    context.set("the app's")
    with Senders(run, at_most) as given:
        for is_quick in (True, False):
            given._is_quick = is_quick
            given.give(jobs(8))
            all_of(given)
    assert sorted(seen) == sorted([(str(each), f"auth {each}", "the app's") for each in range(8)] * 2)
    assert context.get() == "the app's"


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
            came |= {each.job.upstream: each.error for each in given.finished()}
    assert (came["0"], str(came["1"]), came["2"]) == (None, "auth 1", None)
