"""Several workers on one owner: one lane a record, each write sent once, whoever comes between."""

from __future__ import annotations

from typing import Any

import pytest

from flask_dualstorage import UpstreamError
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.storage import schema
from flask_dualstorage.tokens import make_nonce
from flask_dualstorage.user_storage import UserStorage
from tests.concurrency.conftest import AtOnce, Worker
from tests.concurrency.gates import Gate, beside
from tests.contract.conftest import on_the_side
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream


def lanes(storage: UserStorage) -> list[tuple[str, Any]]:
    return [(write.store, write.record_id) for write in storage.pending()]


def keys(upstream: RestUpstream) -> list[str]:
    return [one.headers["Idempotency-Key"] for one in upstream.sent]


def end_leases(url: str) -> None:
    """Let the leases of all that is being sent be over, by whatever clock they are measured."""
    with on_the_side(url) as connection:
        connection.execute(schema.write.update().values(lease=0.0))


class TestAnEditWhileItsRecordsCreateSettles:
    def test_joins_the_creates_lane_and_goes_to_the_real_id(self, worker: Worker, upstream: RestUpstream):
        """Both under the temporary id that the other worker still knows, before and after the settle."""
        here, there = worker(), worker()
        upstream.then(gate := Gate(answer(201, {"id": 7, "name": "Turing"})))
        upstream.records["/people"].append({"id": 7, "name": "Turing"})
        with beside(lambda: here.for_user("alice").collection("people").create(name="Turing"), gate) as create:
            alice = there.for_user("alice")
            [write] = alice.pending()
            known = alice.collection("people").get(write.record_id)
            assert known is not None
            known.save(age=41)
            assert lanes(alice) == [("/people", write.record_id)] * 2
        assert create.result().id == 7
        assert lanes(alice) == [("/people", 7)]
        known.save(city="Wilmslow", remote=False)
        assert lanes(alice) == [("/people", 7)], "the model's temporary id is an alias by now: no second lane"
        assert alice.sync().applied == 1
        assert [(one.method, one.target) for one in upstream.sent] == [("POST", "/people"), ("PUT", "/people/7")]
        assert upstream.find("/people", 7) == {"id": 7, "name": "Turing", "age": 41, "city": "Wilmslow"}

    def test_of_many_at_the_very_moment_none_is_lost_and_there_is_one_lane(
        self, worker: Worker, upstream: RestUpstream, at_once: AtOnce
    ):
        """Edits and the flush that settles the create, all released by one barrier."""
        here = worker()
        alice = here.for_user("alice")
        for turn in range(5):
            made = alice.collection("people").create(name="Turing", remote=False)
            edited = [alice.collection("people").get(made.id) for _ in range(3)]
            edits = [
                lambda model=model, n=n: model.save({f"f{n}": n}, remote=False)  # type: ignore[union-attr, misc]
                for n, model in enumerate(edited)
            ]
            at_once(alice.sync, *edits)
            assert len(set(lanes(alice))) <= 1, turn
            alice.sync()
            assert alice.pending() == []
            real = alice.collection("people").get(made.id)
            assert real is not None
            assert upstream.find("/people", real.id or 0) == {
                "id": real.id,
                "name": "Turing",
                "f0": 0,
                "f1": 1,
                "f2": 2,
            }
        assert sum(one.method == "POST" for one in upstream.sent) == 5


class TestAnEditDuringAFlush:
    def test_of_what_is_being_sent_is_a_tail_and_goes_after_it(self, worker: Worker, upstream: RestUpstream):
        here, there = worker(), worker()
        here.for_user("alice").collection("people").new({"id": 1}).save(age=40, remote=False)
        upstream.then(gate := Gate(answer(200, {"id": 1, "name": "Ada", "age": 40})))
        alice = there.for_user("alice")
        with beside(here.for_user("alice").sync, gate) as flush:
            alice.collection("people").new({"id": 1}).save(age=41, remote=False)
            alice.collection("people").new({"id": 1}).save(age=42, remote=False)
            assert [write.state for write in alice.pending()] == ["sending", "queued"]
        flush.result()
        alice.sync()
        assert [one.json()["age"] for one in upstream.sent] == [40, 42]
        assert len(set(keys(upstream))) == 2
        assert alice.pending() == []

    def test_of_another_record_does_not_wait_for_it(self, worker: Worker, upstream: RestUpstream):
        here, there = worker(), worker()
        here.for_user("alice").collection("people").new({"id": 1}).save(age=40, remote=False)
        upstream.then(gate := Gate(answer(200, {"id": 1, "age": 40})))
        alice = there.for_user("alice")
        with beside(here.for_user("alice").sync, gate):
            assert alice.collection("people").new({"id": 2}).save(age=86).state == "applied"
        assert alice.pending() == []

    def test_a_refused_head_and_its_tail_are_one_write_again(self, worker: Worker, upstream: RestUpstream):
        here, there = worker(), worker()
        here.for_user("alice").collection("people").new({"id": 1}).save(age=-1, remote=False)
        upstream.then(gate := Gate(answer(422)))
        alice = there.for_user("alice")
        with beside(here.for_user("alice").sync, gate):
            alice.collection("people").new({"id": 1}).save(age=41, remote=False)
        assert lanes(alice) == [("/people", 1)]
        alice.sync()
        assert alice.pending() == []
        assert upstream.find("/people", 1)["age"] == 41  # type: ignore[index]
        assert len(set(keys(upstream))) == 2, "the refusal was definitive: a new key"


class TestTwoFlushesAtOnce:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_send_each_write_once(self, worker: Worker, upstream: RestUpstream, at_once: AtOnce, workers: int):
        """Two threads of one worker, or two workers."""
        storages = [worker(DUALSTORAGE_SYNC_CONCURRENCY=3) for _ in range(workers)]
        alice = storages[0].for_user("alice")
        people = alice.collection("people")
        for number in range(12):
            people.create(name=f"Person {number}", remote=False)
        reports = at_once(*[storages[n % workers].for_user("alice").sync for n in range(2)])
        assert sorted(one.json()["name"] for one in upstream.sent) == sorted(f"Person {n}" for n in range(12))
        assert sum(report.applied for report in reports) == 12
        assert alice.pending() == []

    def test_a_flush_and_a_save_of_the_same_record(self, worker: Worker, upstream: RestUpstream, at_once: AtOnce):
        here = worker()
        alice = here.for_user("alice")
        for turn in range(8):
            alice.collection("people").new({"id": 1}).save({"turn": turn, "age": 0}, remote=False)
            at_once(alice.sync, lambda turn=turn: alice.collection("people").new({"id": 1}).save(age=turn + 1))
            alice.sync()
            assert upstream.find("/people", 1) == {"id": 1, "turn": turn, "age": turn + 1}
        assert alice.pending() == []
        assert len(set(keys(upstream))) == len(upstream.sent), "no request went twice"


class TestALateAnswerAfterTheLeaseWasLost:
    def test_that_says_applied_settles_it_and_the_second_send_is_the_same_request(
        self, worker: Worker, upstream: RestUpstream, database_url: str
    ):
        here, there = worker(), worker()
        upstream.then(gate := Gate(answer(201, {"id": 7, "name": "Turing"})), applied=True)
        with beside(lambda: here.for_user("alice").collection("people").create(name="Turing"), gate) as slow:
            end_leases(database_url)
            assert there.for_user("alice").sync().applied == 1
        assert slow.result().dirty is False
        first, second = upstream.sent
        assert (first.headers["Idempotency-Key"], first.body) == (second.headers["Idempotency-Key"], second.body)
        assert there.for_user("alice").pending() == []

    @pytest.mark.parametrize("status", [422, 500, 503])
    def test_that_says_anything_else_changes_nothing(
        self, worker: Worker, upstream: RestUpstream, database_url: str, status: int
    ):
        here, there = worker(), worker()
        alice = there.for_user("alice")
        upstream.then(gate := Gate(answer(status)), gate2 := Gate(answer(200, {"id": 1, "name": "Ada", "age": 41})))
        with beside(lambda: here.for_user("alice").collection("people").new({"id": 1}).save(age=41), gate):
            end_leases(database_url)
            with beside(alice.sync, gate2):
                gate.open()
        assert alice.pending() == []
        assert [write.state for write in alice.history()] == ["applied"]

    def test_before_the_new_sender_has_its_own_the_fence_keeps_it_out(
        self, worker: Worker, upstream: RestUpstream, database_url: str
    ):
        """The first answer, a refusal, is in before the second: the write is still the second sender's."""
        here, there = worker(), worker()
        alice = there.for_user("alice")
        upstream.then(gate := Gate(answer(503)), gate2 := Gate(answer(200, {"id": 1, "name": "Ada", "age": 41})))
        slow = beside(lambda: here.for_user("alice").collection("people").new({"id": 1}).save(age=41), gate)
        with slow as running:
            end_leases(database_url)
            with beside(alice.sync, gate2):
                gate.open()
                running.result()
                assert [write.state for write in alice.pending()] == ["sending"]
        assert alice.pending() == []


class TestTwoTabsSubmitOneForm:
    def test_at_the_same_moment_it_is_one_write(
        self, worker: Worker, upstream: RestUpstream, at_once: AtOnce, app_nonce: Any
    ):
        here = worker()
        for turn in range(4):
            nonce = app_nonce(here)
            alice = here.for_user("alice")
            three = [alice.collection("people") for _ in range(3)]
            made = at_once(
                *[
                    lambda people=people, turn=turn, nonce=nonce: people.create(name=f"T{turn}", nonce=nonce)
                    for people in three
                ],
            )
            assert sum(one.json()["name"] == f"T{turn}" for one in upstream.sent) == 1
            assert len({alice.collection("people").get(each.id).id for each in made}) == 1  # type: ignore[union-attr]
        assert alice.pending() == []

    def test_kept_for_later_too(self, worker: Worker, upstream: RestUpstream, at_once: AtOnce, app_nonce: Any):
        here = worker()
        alice, nonce = here.for_user("alice"), app_nonce(here)
        made = at_once(*[lambda: alice.collection("people").create(name="Turing", nonce=nonce, remote=False)] * 4)
        assert len(alice.pending()) == 1
        assert {each.id for each in made} == {alice.pending()[0].record_id}

    def test_sent_again_after_a_500_that_was_applied_it_is_there_once(
        self, worker: Worker, upstream: RestUpstream, app_nonce: Any
    ):
        here = worker()
        alice, nonce = here.for_user("alice"), app_nonce(here)
        upstream.then(answer(500), applied=True)
        with pytest.raises(UpstreamError) as caught:
            alice.collection("people").create(name="Turing", nonce=nonce)
        assert caught.value.in_doubt
        assert alice.collection("people").create(name="Turing", nonce=nonce).id == 101
        assert [row["name"] for row in upstream.records["/people"]].count("Turing") == 1


@pytest.fixture
def app_nonce() -> Any:
    def give(storage: AppDualStorage) -> str:
        return make_nonce(storage._app)

    return give
