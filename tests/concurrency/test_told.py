"""What is told of a write: its owner's history, signals after the commit, and log records that give nothing away."""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import Any

import pytest

from flask_dualstorage import DualStorage, UpstreamError, signals
from tests.concurrency.conftest import Worker
from tests.concurrency.gates import Gate, beside
from tests.upstreams.hostile import Behaviour, answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock

ALICE_HASH = sha256(b"user:alice").hexdigest()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestHistory:
    def test_is_what_was_applied_or_discarded_newest_first(self, worker: Worker, upstream: RestUpstream, clock: Clock):
        alice = worker().for_user("alice")
        people = alice.collection("people")
        people.create(name="first")
        clock.advance(1)
        kept = people.create(name="second", remote=False)
        alice.discard(kept.pending_write.id)  # type: ignore[union-attr]
        clock.advance(1)
        people.new({"id": 2}).destroy()
        people.create(name="waits", remote=False)
        assert [(each.state, each.kind, each.settled_at) for each in alice.history()] == [
            ("applied", "delete", "2027-01-15T08:00:02Z"),
            ("discarded", "create", "2027-01-15T08:00:01Z"),
            ("applied", "create", "2027-01-15T08:00:00Z"),
        ]
        assert alice.history()[-1].record_id == 101
        assert [each.kind for each in alice.history(limit=1)] == ["delete"]
        assert alice.history()[0].to_dict()["settled_at"] == "2027-01-15T08:00:02Z"
        assert alice.pending()[0].settled_at is None

    def test_is_the_owners_own(self, worker: Worker):
        storage = worker()
        storage.for_user("alice").collection("people").create(name="first")
        assert storage.for_user("bob").history() == []
        with storage._app.test_request_context(headers={"X-User": "alice"}):
            assert len(storage.history()) == 1

    def test_of_what_was_withdrawn_is_nothing(self, worker: Worker, upstream: RestUpstream):
        alice = worker().for_user("alice")
        upstream.then(answer(422))
        with pytest.raises(UpstreamError):
            alice.collection("people").create(name="refused")
        assert alice.history() == []

    def test_costs_one_select(self, worker: Worker):
        alice = worker().for_user("alice")
        alice.collection("people").create(name="first")
        statements: list[str] = []
        alice._engine.outbox.database._kept().raw.set_trace_callback(statements.append)  # type: ignore[union-attr]
        alice.history()
        assert len(statements) == 1


#: What an upstream does with a write, and the signal that tells of it.
ENDS: dict[str, tuple[Behaviour | None, Any]] = {
    "applied": (answer(200, {"id": 1, "name": "Ada"}), signals.write_applied),
    "rejected": (answer(422), signals.write_rejected),
    "in_doubt": (drop(), signals.write_in_doubt),
    "conflict": (answer(404), signals.conflict_found),
    "queued": (answer(503), signals.write_queued),
}


class TestSignals:
    @pytest.mark.parametrize("how", ["online", "in a flush"])
    @pytest.mark.parametrize("end", ENDS)
    def test_are_sent_after_the_commit(self, worker: Worker, upstream: RestUpstream, end: str, how: str):
        """A receiver that opens a second connection, as another process would, sees the row as it tells of it."""
        storage, other = worker(), worker()
        behaviour, signal = ENDS[end]
        seen: list[Any] = []

        def look(app: Any, *, owner: str, write: Any) -> None:
            found = in_a_thread(lambda: other.engine.outbox.write(owner, write.id))
            seen.append((write.state, found.state, found.settled_seq))

        alice = storage.for_user("alice")
        model = alice.collection("people").new({"id": 1})
        if how == "in a flush" or end == "rejected":
            model.save(age=41, remote=False)
        upstream.then(behaviour)
        with signal.connected_to(look, sender=storage._app):
            if how == "in a flush" or end == "rejected":
                alice.sync()
            else:
                model.save(age=41)
        assert [each[:2] for each in seen] == [(end, end)]

    def test_one_that_fails_stops_neither_the_others_nor_the_flush(self, worker: Worker, upstream: RestUpstream):
        storage = worker()
        alice, told = storage.for_user("alice"), []

        def fail(app: Any, **_: Any) -> None:
            raise ZeroDivisionError

        def tell(app: Any, *, write: Any, **_: Any) -> None:
            told.append(write.id)

        for number in range(5):
            alice.collection("people").create(name=f"Person {number}", remote=False)
        with signals.write_applied.connected_to(fail), signals.write_applied.connected_to(tell):
            assert alice.sync().applied == 5
            assert alice.collection("people").create(name="online").dirty is False
        assert len(set(told)) == 6


def in_a_thread(task: Any) -> Any:
    gate = Gate(answer())
    gate._here.set()
    with beside(task, gate) as running:
        return running.result()


def records(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """(write id, store, outcome) of every settle that was logged."""
    found = [each for each in caplog.records if hasattr(each, "outcome")]
    assert {each.owner for each in found} <= {ALICE_HASH}  # type: ignore[attr-defined]
    return [(each.write_id, each.store, each.outcome) for each in found]  # type: ignore[attr-defined]


SECRETS = ("alice", "s3cret", "Turing", "too odd", "Kathleen")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestLogRecords:
    @pytest.fixture
    def storage(self, worker: Worker, caplog: pytest.LogCaptureFixture) -> Any:
        caplog.set_level(logging.DEBUG, "flask_dualstorage")
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, upstream: {"Authorization": "Bearer s3cret"})
        return worker(dualstorage)

    @pytest.mark.parametrize("end", ENDS)
    def test_each_settle_is_one(self, storage: Any, upstream: RestUpstream, caplog: pytest.LogCaptureFixture, end: str):
        alice = storage.for_user("alice")
        alice.collection("people").new({"id": 1}).save(name="Turing", remote=False)
        [write] = alice.pending()
        assert records(caplog) == [(write.id, "/people", "queued")]
        caplog.clear()
        upstream.then(ENDS[end][0])
        alice.sync()
        assert records(caplog) == [(write.id, "/people", end)]

    def test_one_that_is_withdrawn_or_late_too(
        self, storage: Any, upstream: RestUpstream, caplog: pytest.LogCaptureFixture
    ):
        upstream.then(answer(422))
        with pytest.raises(UpstreamError):
            storage.for_user("alice").collection("people").create(name="Turing")
        assert [outcome for *_, outcome in records(caplog)] == ["withdrawn"]

    def test_they_never_hold_a_name_a_body_a_credential_or_a_value(
        self, storage: Any, upstream: RestUpstream, caplog: pytest.LogCaptureFixture
    ):
        alice = storage.for_user("alice")
        people = alice.collection("people").fetch()
        people.create(name="Turing")
        for behaviour in (
            answer(422, {"title": "too odd", "detail": "Turing is too odd", "errors": {"name": ["Turing"]}}),
            answer(500, {"title": "Turing", "trace": "Bearer s3cret"}),
            answer(409, {"name": "Turing"}),
            answer(200, body=b"<html>Turing", headers={"Content-Type": "text/html"}),
            answer(201, body=b'{"name": "Tur'),
            answer(503, {"title": "Kathleen"}),
            drop(),
        ):
            upstream.then(behaviour)
            people.create(name="Turing", remote=False)
            alice.sync()
        assert len(records(caplog)) > 10
        for each in caplog.records:
            shown = f"{each.getMessage()} {vars(each)} {each.exc_text or ''}"
            assert not [secret for secret in SECRETS if secret in shown], shown
