"""Adopting and forgetting while something is on its way: nothing is lost, and no credential is another owner's."""

from __future__ import annotations

from flask_dualstorage import DualStorage
from tests.concurrency.conftest import Worker
from tests.concurrency.gates import Gate, beside
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream

ANON = "anon:0f"


def with_credentials() -> DualStorage:
    """Whose request it is shows in a header."""
    dualstorage = DualStorage()
    dualstorage.upstream_auth(lambda owner, upstream: {"X-Owner": owner})
    return dualstorage


def senders(upstream: RestUpstream) -> list[str]:
    return [one.headers["X-Owner"] for one in upstream.sent]


class TestAdopting:
    def test_while_the_first_owner_saves_the_answer_settles_it_for_the_second(
        self, worker: Worker, upstream: RestUpstream
    ):
        here, there = worker(with_credentials()), worker(with_credentials())
        upstream.then(gate := Gate(answer(201, {"id": 7, "name": "Turing"})))
        with beside(lambda: here.for_user(ANON).collection("people").create(name="Turing"), gate) as save:
            there.for_user("alice").adopt(ANON, "alice")
            assert [write.state for write in there.for_user("alice").pending()] == ["sending"]
        assert (save.result().id, save.result().dirty) == (7, False)
        alice = there.for_user("alice")
        assert (alice.pending(), len(upstream.sent)) == ([], 1)
        assert [write.record_id for write in alice.history()] == [7]
        assert there.for_user(ANON).pending() == []

    def test_while_it_is_refused_the_view_still_hears_it(self, worker: Worker, upstream: RestUpstream):
        here, there = worker(with_credentials()), worker(with_credentials())
        upstream.then(gate := Gate(answer(503)))
        with beside(lambda: here.for_user(ANON).collection("people").create(name="Turing"), gate) as save:
            there.for_user("alice").adopt(ANON, "alice")
        assert save.result().dirty
        assert there.for_user("alice").sync().applied == 1
        assert senders(upstream) == [ANON, "user:alice"]

    def test_while_a_flush_of_it_runs_the_rest_goes_with_the_second_owners_credential(
        self, worker: Worker, upstream: RestUpstream
    ):
        """What was not sent yet is the second owner's by now: the running flush lets it be."""
        here = worker(with_credentials(), DUALSTORAGE_SYNC_CONCURRENCY=1)
        there = worker(with_credentials())
        for name in ("Turing", "Hopper", "Lovelace"):
            here.for_user(ANON).collection("people").create(name=name, remote=False)
        upstream.then(gate := Gate(answer(201, {"id": 7, "name": "Turing"})))
        with beside(here.for_user(ANON).sync, gate) as flush:
            there.for_user("alice").adopt(ANON, "alice")
        assert flush.result().applied == 1
        assert senders(upstream) == [ANON]
        assert there.for_user("alice").sync().applied == 2
        assert senders(upstream) == [ANON, "user:alice", "user:alice"]
        assert there.for_user("alice").pending() == []

    def test_while_its_lane_is_tried_an_applied_save_is_no_refusal(self, worker: Worker, upstream: RestUpstream):
        """The save's lane was not free, so a flush of the lane sends it; its write is the second owner's at the end."""
        here, there = worker(with_credentials()), worker(with_credentials())
        anon = here.for_user(ANON)
        anon.collection("people").new({"id": 1}).save(age=40, remote=False)
        upstream.then(gate := Gate(answer(200, {"id": 1, "name": "Ada", "age": 41})))
        with beside(lambda: anon.collection("people").new({"id": 1}).save(age=41), gate) as save:
            there.for_user("alice").adopt(ANON, "alice")
        assert save.result().state == "applied"
        assert there.for_user("alice").pending() == []


class TestForgetting:
    def test_while_a_fetch_is_under_way_its_late_copy_is_a_miss(self, worker: Worker, upstream: RestUpstream):
        here, there = worker(), worker()
        upstream.then(gate := Gate(answer(200, [{"id": 1, "name": "secret"}])))
        with beside(lambda: here.for_user("alice").collection("people").fetch(), gate):
            there.for_user("alice").forget("alice")
        for storage in (here, there):
            assert len(storage.for_user("alice").collection("people").fetch(remote=False)) == 0
        assert there.for_user("alice").collection("people").fetch().source == "upstream"

    def test_while_a_write_is_being_sent_it_is_settled_and_sent_once(self, worker: Worker, upstream: RestUpstream):
        here, there = worker(), worker()
        upstream.then(gate := Gate(answer(201, {"id": 7, "name": "Turing"})))
        with beside(lambda: here.for_user("alice").collection("people").create(name="Turing"), gate) as save:
            there.for_user("alice").forget("alice", pending=True)
        assert save.result().id == 7
        there.for_user("alice").sync()
        assert (there.for_user("alice").pending(), len(upstream.sent)) == ([], 1)
