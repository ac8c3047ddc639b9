"""What is told of a write: each thing that comes to it once, by signal and log, and nothing of what it holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flask_dualstorage import Collection, DualStorage, Model, NoCredentials, signals
from flask_dualstorage.sync.sending import claim
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import Received
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, User, storage_of

#: Made of two, so that no line of this file, as a traceback shows it, holds it.
SECRET = "very" + " secret"


@contextmanager
def heard(signal: Any) -> Iterator[list[str]]:
    """The ids of the writes that a signal tells of."""
    ids: list[str] = []

    def receiver(app: Any, owner: str, write: Any) -> None:
        ids.append(write.id)

    with signal.connected_to(receiver):
        yield ids


def logged(caplog: pytest.LogCaptureFixture, write_id: str) -> list[str]:
    """What the log says became of a write."""
    return [record.outcome for record in caplog.records if getattr(record, "write_id", None) == write_id]


def claim_and_die(alice: UserStorage, write_id: str) -> None:
    """A process that was killed while it sent."""
    engine = alice._engine
    with engine.outbox.transaction(alice.owner) as change:
        write = change.get(write_id)
        claim(engine, change, write, alice.declaration(write), 5.0, explicit=True)


class TestWhatComesToAWriteByTheWay:
    def test_held_after_a_crash(self, user: User, clock: Clock, caplog: pytest.LogCaptureFixture):
        alice = user(DUALSTORAGE_IN_DOUBT="hold")
        result = alice.collection("people").fetch().get(1).save(age=41, remote=False)
        claim_and_die(alice, result.write_id)
        clock.advance(3600)
        with heard(signals.write_in_doubt) as ids, caplog.at_level(logging.INFO, "flask_dualstorage"):
            alice.sync()
        assert (ids, logged(caplog, result.write_id)) == ([result.write_id], ["in_doubt"])

    def test_discarded_by_its_owner(self, user: User, caplog: pytest.LogCaptureFixture):
        alice = user()
        result = alice.collection("people").fetch().get(1).save(age=41, remote=False)
        with caplog.at_level(logging.INFO, "flask_dualstorage"):
            alice.discard(result.write_id)
        assert logged(caplog, result.write_id) == ["discarded"]

    def test_rejected_with_its_parent(self, user: User, caplog: pytest.LogCaptureFixture):
        alice = user()
        turing = alice.collection("people").create(name="Turing", remote=False)
        alice.collection("pets").create(name="Rex", owner=turing.id, remote=False)
        with heard(signals.write_rejected) as ids, caplog.at_level(logging.INFO, "flask_dualstorage"):
            turing.destroy(remote=False)
        [pet] = alice.pending()
        assert (ids, logged(caplog, pet.id)) == ([pet.id], ["rejected"])

    def test_refused_here_since_its_body_can_not_be_made(self, user: User, caplog: pytest.LogCaptureFixture):
        class Person(Model):
            broken = False

            def to_json(self, **options: Any) -> Any:
                return {"name": self["nothing"]} if Person.broken else super().to_json()

        dualstorage = DualStorage()
        dualstorage.register(type("People", (Collection,), {"model": Person}))
        alice = user(dualstorage=dualstorage)
        result = alice.collection("people").create(name="Turing", remote=False).pending_write
        Person.broken = True
        with heard(signals.write_rejected) as ids, caplog.at_level(logging.INFO, "flask_dualstorage"):
            alice.sync()
        assert (ids, logged(caplog, result.id)) == ([result.id], ["rejected"])

    def test_nothing_where_the_transaction_failed(self, user: User):
        alice = user()
        result = alice.collection("people").fetch().get(1).save(age=41, remote=False)
        with heard(signals.write_rejected) as ids, pytest.raises(Exception, match="no pending write"):
            alice.discard("another")
        assert (ids, len(alice.pending())) == ([], 1)
        assert result.dirty


def test_a_write_that_two_workers_were_answered_is_told_of_once(
    make_app: MakeApp, upstream: RestUpstream, clock: Clock
):
    """The lease was lost, and both got a 200."""
    one, other = (storage_of(make_app(url=upstream.url)).for_user("alice") for _ in range(2))
    ada = one.collection("people").fetch().get(1)
    handle = upstream._handler

    def handler(received: Received) -> Any:
        upstream._handler = handle
        clock.advance(3600)
        other.sync()
        return handle(received)

    upstream._handler = handler
    with heard(signals.write_applied) as ids:
        assert not ada.save(age=41).dirty
    assert len(ids) == 1


class TestWhatIsNotTold:
    @pytest.mark.parametrize("where", ["parse", "headers", "receiver"])
    def test_the_log_holds_nothing_of_a_record(
        self, user: User, upstream: RestUpstream, caplog: pytest.LogCaptureFixture, where: str
    ):
        """What an app's hook raises quotes what it stumbled over; its type and its place are logged."""

        def stumble(*args: Any, **data: Any) -> Any:
            int(SECRET)

        class Person(Model):
            parse = stumble if where == "parse" else Model.parse

        dualstorage = DualStorage()
        headers = stumble if where == "headers" else None
        dualstorage.register(type("People", (Collection,), {"model": Person, "headers": headers}))
        alice = user(dualstorage=dualstorage)
        receiver = stumble if where == "receiver" else lambda *args, **data: None
        with signals.write_applied.connected_to(receiver), caplog.at_level(logging.DEBUG, "flask_dualstorage"):
            alice.collection("people").create(name=SECRET)
        assert SECRET not in caplog.text
        assert "ValueError" in caplog.text
        assert "test_told.py" in caplog.text

    def test_what_the_credentials_hook_said_of_its_secrets(self, user: User, caplog: pytest.LogCaptureFixture):
        """A token service that is down: its client's message holds the URL, and that the secret."""
        dualstorage = DualStorage()

        @dualstorage.upstream_auth
        def auth(owner: str, name: str) -> Any:
            raise RuntimeError(f"Max retries exceeded with url: /token?client_secret={SECRET}")

        alice = user(dualstorage=dualstorage)
        with caplog.at_level(logging.INFO, "flask_dualstorage"):
            alice.collection("people").create(name="Turing")
        [write] = alice.pending()
        assert write.reason == "The credential for the upstream could not be had (RuntimeError)."
        assert SECRET not in caplog.text

    def test_what_it_said_to_the_user_is_told_to_the_user(self, user: User):
        dualstorage = DualStorage()

        @dualstorage.upstream_auth
        def auth(owner: str, name: str) -> Any:
            raise NoCredentials("Please connect your CRM account.")

        alice = user(dualstorage=dualstorage)
        alice.collection("people").create(name="Turing")
        assert alice.pending()[0].reason == "Please connect your CRM account."
