"""When a write goes: our own backoff, which who asks passes over, and the upstream's word, which nothing does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from flask_dualstorage.cli import dualstorage as commands
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, User, storage_of


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [{"id": 1, "name": "Ada", "age": 36}]}) as upstream:
        yield upstream


@pytest.mark.parametrize(("asked", "sent"), [(["--all"], ["POST"]), (["--user", "alice"], ["POST", "PUT"])])
def test_a_scheduled_flush_minds_the_backoff_and_an_asked_for_one_does_not(
    make_app: MakeApp, upstream: RestUpstream, asked: list[str], sent: list[str]
):
    """``sync --all`` from cron: one write that is due does not take along another that waits."""
    app = make_app(url=upstream.url)
    storage = storage_of(app)
    storage.engine.jitter = lambda: 0.99
    alice = storage.for_user("alice")
    ada = alice.collection("people").fetch().get(1)
    upstream.then(answer(502))
    ada.save(age=41)
    assert alice.pending()[0].not_before is not None
    alice.collection("people").create(name="Turing", remote=False)
    before = len(upstream.sent)
    app.test_cli_runner().invoke(commands, ["sync", *asked])
    assert sorted(one.method for one in upstream.sent[before:]) == sent


class TestAnOwnerThatWasAskedToWait:
    """429: nothing of theirs goes before the time is over, and then all of it may."""

    def wait(self, alice: UserStorage, upstream: RestUpstream) -> int:
        upstream.then(answer(429, headers={"Retry-After": "60"}))
        alice.collection("people").create(name="Turing")
        return len(upstream.received)

    def test_not_what_is_in_doubt(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(drop())
        ada.save(age=41)
        asked = self.wait(alice, upstream)
        clock.advance(30)
        assert alice.sync().retry_after == 30
        assert len(upstream.received) == asked
        clock.advance(30)
        assert alice.sync().applied == 2

    def test_not_what_had_been_refused_and_is_edited(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        ada.save(age=-1, remote=False)
        upstream.then(answer(422))
        alice.sync()
        asked = self.wait(alice, upstream)
        ada.save(age=41)
        assert len(upstream.received) == asked

    def test_not_what_was_on_its_way(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """Another worker's write was being sent when the 429 came, and met a 502."""
        one, other = (storage_of(make_app(url=upstream.url)).for_user("alice") for _ in range(2))
        ada = one.collection("people").fetch().get(1)
        handle = upstream._handler

        def handler(received: Any) -> Any:
            if received.method == "PUT":
                upstream._handler = handle
                self.wait(other, upstream)
                return answer(502)
            return handle(received)

        upstream._handler = handler
        ada.save(age=41)
        asked = len(upstream.received)
        clock.advance(5)
        assert one.sync().retry_after == 55
        assert len(upstream.received) == asked

    @pytest.mark.parametrize("status", [429, 503])
    def test_not_a_look_either(self, user: User, upstream: RestUpstream, clock: Clock, status: int):
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(drop())
        people.create(name="Turing")
        clock.advance(60)
        upstream.then(answer(status, headers={"Retry-After": "3600"}))
        alice.sync()
        asked = len(upstream.received)
        clock.advance(30)
        alice.sync()
        assert len(upstream.received) == asked


def test_a_date_to_wait_for_is_taken_by_the_clock_of_who_sent_it(
    make_app: MakeApp, upstream: RestUpstream, clock: Clock
):
    """This host's clock is hours ahead of the upstream's: the date is past for it."""
    alice = storage_of(make_app(url=upstream.url)).for_user("alice")
    clock.now = time.time() + 7200
    dates = {"Date": formatdate(usegmt=True), "Retry-After": formatdate(time.time() + 600, usegmt=True)}
    upstream.then(answer(429, headers=dates))
    alice.collection("people").create(name="Turing")
    sent = len(upstream.sent)
    clock.advance(590)
    alice.sync()
    assert len(upstream.sent) == sent
    clock.advance(20)
    assert alice.sync().applied == 1
