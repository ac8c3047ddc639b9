"""The threads that do what pages left to be done: few, in order, and never in anybody's way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, stream_with_context

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.sync import after
from flask_dualstorage.sync.after import After, Job
from tests.concurrency.conftest import Worker
from tests.concurrency.gates import PATIENCE, Gate
from tests.concurrency.peers import run_script
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.waiting import until
from tests.whole import Clock

PEOPLE = [{"id": 1, "name": "Ada"}]


@pytest.fixture
def ended() -> list[str]:
    """The threads that ended, and left."""
    return []


@pytest.fixture
def jobs(clock: Clock, ended: list[str]) -> Iterator[After]:
    jobs = After(clock, lambda: False, lambda: ended.append(threading.current_thread().name))
    yield jobs
    jobs.close()


class Work:
    """Something to be done that waits for the test."""

    def __init__(self) -> None:
        self.begun, self.go, self.over = threading.Event(), threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.go.wait(PATIENCE)
        self.over.set()


def leave(jobs: After, key: str, run: Callable[[], None], owner: str | None = None) -> bool:
    """A page leaves one thing to be done, and its response is closed."""
    memo: dict[str, Any] = {}
    left = jobs.later(memo, key, lambda: Job(key, owner or key, run))
    jobs.start(memo)
    return left


class TestTheThreads:
    def test_are_few_and_daemons(self, jobs: After, ended: list[str]):
        """So many jobs at once as there are threads; none keeps the process from ending."""
        work = [Work() for _ in range(after.THREADS + 2)]
        for number, each in enumerate(work):
            leave(jobs, str(number), each)
        for each in work[: after.THREADS]:
            assert each.begun.wait(PATIENCE)
            assert each.thread is not None
            assert each.thread.daemon
        assert not any(each.begun.is_set() for each in work[after.THREADS :])
        for each in work:
            each.go.set()
        assert all(each.over.wait(PATIENCE) for each in work)
        jobs.close()
        assert len(ended) <= after.THREADS

    def test_do_one_thing_at_a_time_for_each_owner(self, jobs: After):
        first, second, others = Work(), Work(), Work()
        leave(jobs, "first", first, "alice")
        leave(jobs, "second", second, "alice")
        leave(jobs, "other", others, "bob")
        assert first.begun.wait(PATIENCE)
        assert others.begun.wait(PATIENCE)
        assert not second.begun.is_set()
        first.go.set()
        assert second.begun.wait(PATIENCE)
        second.go.set()
        others.go.set()

    def test_do_the_same_once(self, jobs: After):
        """Promised, waiting or running: the same key is made once; then again."""
        work, made = Work(), []
        memo: dict[str, Any] = {}
        for _ in range(3):
            assert jobs.later(memo, "key", lambda: made.append(1) or Job("key", "alice", work))  # type: ignore[func-returns-value]
        jobs.start(memo)
        assert work.begun.wait(PATIENCE)
        assert leave(jobs, "key", pytest.fail)
        assert made == [1]
        work.go.set()
        again = Work()
        again.go.set()
        until(lambda: not jobs._running, "the first is over")
        leave(jobs, "key", again)
        assert again.over.wait(PATIENCE)

    def test_go_on_after_a_failure(self, jobs: After, caplog: pytest.LogCaptureFixture):
        def fail() -> None:
            raise OSError("disk on fire")

        leave(jobs, "fails", fail, "alice")
        work = Work()
        work.go.set()
        leave(jobs, "works", work, "alice")
        assert work.over.wait(PATIENCE)
        assert "disk on fire" in caplog.text

    def test_end_when_there_is_nothing_to_do(self, jobs: After, ended: list[str], monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(after, "IDLE", 0.0)
        for _ in range(3):
            work = Work()
            work.go.set()
            leave(jobs, "key", work)
            assert work.over.wait(PATIENCE)
            until(lambda: not jobs._threads and not jobs._running, "the thread ends")
        assert len(ended) == 3

    def test_what_can_not_be_promised_does_no_harm(self, jobs: After):
        def fail() -> Job:
            raise LookupError("no credential")

        with pytest.raises(LookupError):
            jobs.later({}, "key", fail)
        work = Work()
        work.go.set()
        leave(jobs, "key", work)
        assert work.over.wait(PATIENCE)

    def test_no_more_are_promised_than_fit(self, jobs: After, monkeypatch: pytest.MonkeyPatch):
        """What a page would add is left to a later page: it has its copy."""
        monkeypatch.setattr(after, "AT_MOST", 3)
        made: list[int] = []
        for number in range(9):
            assert jobs.later({}, number, lambda: made.append(1) or Job(1, "alice", pytest.fail))  # type: ignore[func-returns-value]
        assert made == [1] * 3

    def test_promises_that_are_not_kept_run_out(self, jobs: After, clock: Clock):
        """One page does it itself, the next one promises anew."""
        assert jobs.later({}, "key", lambda: Job("key", "alice", pytest.fail))
        clock.advance(after.OVERDUE - 1)
        assert jobs.later({}, "key", pytest.fail)
        clock.advance(1)
        assert not jobs.later({}, "key", pytest.fail)
        assert leave(jobs, "key", lambda: None)

    def test_nothing_is_begun_at_the_end(self, jobs: After):
        jobs.close()
        leave(jobs, "key", pytest.fail)
        assert not jobs._threads

    def test_outside_of_a_request_nothing_is_left(self, jobs: After):
        assert not jobs.later(None, "key", pytest.fail)


def test_threads_and_jobs_do_not_come_through_a_fork(jobs: After):
    """A preloading server: the child begins with none, and has its own."""
    work = Work()
    leave(jobs, "key", work)
    assert work.begun.wait(PATIENCE)
    waiting = Work()
    leave(jobs, "waiting", waiting, "key")
    with jobs._changed:
        child = os.fork()
        if child == 0:
            mine = Work()
            mine.go.set()
            left = leave(jobs, "key", mine)
            os._exit(0 if left and mine.over.wait(PATIENCE) and not waiting.begun.is_set() else 1)
    assert os.waitpid(child, 0)[1] == 0
    work.go.set()
    waiting.go.set()
    assert waiting.over.wait(PATIENCE)


ENDING = """
import sys, threading
from flask_dualstorage.sync import after
jobs = after.After(lambda: 0.0, lambda: False, lambda: None)
begun = threading.Event()
def work():
    begun.set()
    threading.Event().wait(int(sys.argv[1]))
    print("done", flush=True)
memo = {}
jobs.later(memo, "key", lambda: after.Job("key", "alice", work))
jobs.start(memo)
begun.wait()
"""


def test_a_process_that_ends_does_not_wait_for_what_takes_long():
    """``run_script`` has less patience than the job."""
    assert run_script(ENDING, "3600").stdout == ""


def test_a_process_that_ends_lets_what_is_nearly_done_be_done():
    assert run_script(ENDING, "0").stdout == "done\n"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestAResponse:
    """The real thing: a page, its body, and what happens when that is closed."""

    @pytest.fixture
    def app(self, worker: Worker, upstream: RestUpstream, clock: Clock) -> Iterator[Flask]:
        """Not under test, as it were; Alice's copy is stale."""
        dualstorage = DualStorage()
        dualstorage.register(type("People", (Collection,), {"name": "people", "stale_while_revalidate": 300}))
        storage = worker(dualstorage, TESTING=False)
        app = storage._app
        people = storage.for_user("alice").collection("people").fetch()
        assert people.source == "upstream"
        clock.advance(100)

        @app.get("/")
        def page() -> str:
            return str(storage.collection("people").fetch().source)

        @app.get("/streamed")
        def streamed() -> Response:
            return Response(stream_with_context(page() for _ in range(1)))

        @app.get("/file")
        def file() -> Response:
            response = Response([page().encode()], direct_passthrough=True)
            return response  # noqa: RET504  # what a view gives

        @app.get("/broken")
        def broken() -> str:
            page()
            raise LookupError

        yield app
        storage.engine.after.close()

    def test_is_out_before_it_begins_and_waits_for_nothing(self, app: Flask, upstream: RestUpstream):
        """The upstream holds its answer back: the page is there, closed, and so is the next one."""
        gate = Gate(answer(200, PEOPLE))
        upstream.then(gate)
        response = app.test_client().get("/", headers={"X-User": "alice"})
        assert response.text == "cache"
        assert len(upstream.received) == 1
        response.close()
        gate.wait()
        with app.test_client().get("/", headers={"X-User": "alice"}) as response:
            assert response.text == "cache"
        gate.open()
        storage = app.extensions["dualstorage"]
        until(lambda: not storage.engine.after._running, "the refresh is over")
        assert len(upstream.received) == 2
        assert storage.for_user("alice").collection("people").fetch(max_age=1).pluck("id") == [1]

    @pytest.mark.parametrize("url", ["/streamed", "/file", "/broken"])
    def test_of_any_kind(self, app: Flask, upstream: RestUpstream, url: str):
        app.config["PROPAGATE_EXCEPTIONS"] = False
        with app.test_client().get(url, headers={"X-User": "alice"}) as response:
            assert response.data
        until(lambda: len(upstream.received) == 2, "the refresh was asked for")

    def test_may_be_what_sends_what_is_due(self, worker: Worker, upstream: RestUpstream):
        """``DUALSTORAGE_AUTO_SYNC``, with the real threads: the page does not wait for the upstream's answer."""
        storage = worker(TESTING=False, DUALSTORAGE_AUTO_SYNC="after_response")
        alice = storage.for_user("alice")
        alice.collection("people").create(name="Turing", remote=False)
        storage._app.add_url_rule("/badge", "badge", lambda: str(storage.status().pending))
        gate = Gate(answer(201, {"id": 7, "name": "Turing"}))
        upstream.then(gate)
        try:
            with storage._app.test_client().get("/badge", headers={"X-User": "alice"}) as response:
                assert response.text == "1"
            gate.wait()
            gate.open()
            until(lambda: not alice.pending(), "it is applied")
        finally:
            storage.engine.after.close()
