"""When a write is due again, and that nobody sleeps for it."""

from __future__ import annotations

import random
import time
from email.utils import formatdate
from typing import Any

import pytest

from flask_dualstorage.policy.backoff import LONGEST
from flask_dualstorage.types import Request
from tests.concurrency.conftest import Worker
from tests.upstreams.hostile import answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestBackoff:
    @pytest.mark.parametrize("jitter", [0.0, 0.25, 0.999])
    def test_doubles_up_to_five_minutes_with_full_jitter(
        self, worker: Worker, upstream: RestUpstream, clock: Clock, jitter: float
    ):
        storage = worker()
        storage.engine.jitter = lambda: jitter
        alice = storage.for_user("alice")
        alice.collection("people").new({"id": 1}).save(age=41, remote=False)
        for attempt in range(1, 13):
            upstream.then(answer(503))
            alice.sync()
            [write] = storage.engine.outbox.pending("user:alice")
            assert write.not_before == clock.now + min(LONGEST, 2.0**attempt) * jitter
            assert write.attempts == attempt

    def test_a_worker_waits_for_it_and_an_explicit_sync_does_not(
        self, worker: Worker, upstream: RestUpstream, clock: Clock
    ):
        storage = worker()
        storage.engine.jitter = lambda: 0.5
        alice = storage.for_user("alice")
        upstream.then(answer(503), answer(503))
        alice.collection("people").new({"id": 1}).save(age=41)
        assert storage.owners(due=True) == []
        clock.advance(0.99)
        assert storage.owners(due=True) == []
        clock.advance(0.02)
        assert storage.owners(due=True) == ["user:alice"]
        alice.sync()
        assert storage.owners(due=True) == []
        assert alice.sync().applied == 1

    def test_the_dice_are_the_machines(self, worker: Worker):
        assert worker().engine.jitter is random.random


#: What keeps a write or a page waiting, and what a view does meanwhile.
TROUBLES: dict[str, Any] = {
    "503": answer(503, headers={"Retry-After": "600"}),
    "503, no date": answer(503),
    "429": answer(429, headers={"Retry-After": "600"}),
    "in doubt": drop(),
    "500": answer(500),
    "away": None,
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_nothing_sleeps_inside_a_request(
    worker: Worker, upstream: RestUpstream, monkeypatch: pytest.MonkeyPatch, trouble: str
):
    storage = worker(DUALSTORAGE_BREAKER_THRESHOLD=1)
    client = storage._app.test_client()

    @storage._app.post("/save")
    def save() -> Any:
        storage.collection("people").create(name="Eve")
        return "", 204

    @storage._app.get("/list")
    def show() -> Any:
        return {"names": storage.collection("people").fetch().pluck("name")}

    def fail(seconds: float) -> None:
        raise AssertionError(f"slept for {seconds} s")

    headers = {"X-User": "alice"}
    assert client.get("/list", headers=headers).status_code == 200
    monkeypatch.setattr(time, "sleep", fail)
    for _ in range(3):
        if TROUBLES[trouble] is None:
            upstream.unplug()
        else:
            upstream.then(TROUBLES[trouble])
        assert client.post("/save", headers=headers).status_code in (204, 502)
        assert client.get("/list", headers=headers).status_code == 200
        assert client.post("/dualstorage/sync", headers=headers).status_code in (200, 503)


class TestAllWorkers:
    """What one worker learns of the upstream's health holds for the others: for other owners, too."""

    @pytest.mark.parametrize("dated", [False, True], ids=["seconds", "date"])
    def test_a_retry_after_of_503_holds_for_other_owners_in_other_workers(
        self, worker: Worker, upstream: RestUpstream, clock: Clock, dated: bool
    ):
        upstream.then(
            answer(503, headers={"Retry-After": formatdate(clock.now + 600, usegmt=True) if dated else "600"})
        )
        worker().for_user("alice").collection("people").create(name="Eve")
        bob = worker().for_user("bob")
        asked = len(upstream.received)
        assert bob.collection("people").create(name="Mallory").dirty
        assert bob.sync().retry_after == 600
        clock.advance(599)
        assert bob.sync().applied == 0
        assert len(upstream.received) == asked
        clock.advance(2)
        assert bob.sync().applied == 1

    def test_an_outage_is_met_by_one_of_them(self, worker: Worker, upstream: RestUpstream, clock: Clock):
        """The second worker's first page in an outage opens no connection, and knows why."""
        first, second = (worker(DUALSTORAGE_BREAKER_THRESHOLD=1) for _ in range(2))
        assert first.for_user("bob").collection("people").fetch().source == "upstream"
        upstream.unplug()
        assert first.for_user("bob").collection("people").fetch().source == "cache"
        upstream.plug()
        connections = upstream.connections
        assert second.for_user("bob").collection("people").fetch().source == "cache"
        assert second.for_user("bob").status().online is False
        assert upstream.connections == connections
        clock.advance(6)
        assert second.for_user("bob").collection("people").fetch().source == "upstream"

    def test_any_other_answer_lets_all_of_them_go_on(self, worker: Worker, upstream: RestUpstream, clock: Clock):
        """A request that was on its way is answered: the upstream is there, whatever another answer said."""
        first, second = worker(), worker()
        upstream.then(answer(503, headers={"Retry-After": "600"}))
        first.for_user("bob").collection("people").create(name="Eve")
        first.engine.exchange("default", Request("GET", "/people"), None, None)
        assert second.for_user("alice").collection("people").fetch().source == "upstream"

    def test_another_workers_breaker_is_looked_at_once_a_second(
        self, worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ):
        storage = worker()
        looks: list[tuple[Any, ...]] = []
        open_for = storage.engine.bases.open_for
        monkeypatch.setattr(storage.engine.bases, "open_for", lambda *asked: looks.append(asked) or open_for(*asked))
        people = storage.for_user("bob").collection("people")
        for _ in range(5):
            people.fetch()
        assert len(looks) == 1
        clock.advance(1)
        people.fetch()
        assert len(looks) == 2
