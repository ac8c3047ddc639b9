"""Rules that show only where several things meet; for each there is a mutant that breaks it (tests/mutants)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from flask_dualstorage import Collection, DualStorage, Model, OutboxUnavailable
from flask_dualstorage.storage.database import Database
from flask_dualstorage.storage.outbox import Outbox
from tests.concurrency.gates import PATIENCE, Gate, beside
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, User

#: Past the lease of the tests' apps: the whole answer's deadline and its grace.
LEASE = 31


def keys_of(upstream: RestUpstream) -> list[str]:
    """The idempotency key of every write that arrived, in order."""
    return [request.headers["Idempotency-Key"] for request in upstream.sent]


@pytest.fixture(params=["sqlite", "postgresql"])
def impatient(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Outbox]]:
    """The outboxes of two processes on one database, which do not wait for a lock that is taken."""
    monkeypatch.setattr("flask_dualstorage.storage.database._BUSY_SECONDS", 0.1)
    url = f"sqlite:///{tmp_path / 'outbox.db'}"
    if request.param == "postgresql":
        given = make_url(request.getfixturevalue("postgresql_url"))
        url = given.update_query_dict({"options": "-c lock_timeout=100"}).render_as_string(hide_password=False)
    databases = [Database(url, clock) for _ in range(2)]
    for database in databases:
        database.prepare(create=True)
    yield [Outbox(database) for database in databases]
    for database in databases:
        database._drop()


def test_no_two_decide_on_one_owners_writes_at_once(impatient: list[Outbox]):
    """While one process is at it, another does not so much as look at what it will decide on."""
    one, other = impatient
    owner = f"user:{uuid4().hex}"
    with one.transaction(owner):
        pass
    with one.transaction(owner), pytest.raises(OutboxUnavailable), other.transaction(owner):
        pass
    with other.transaction(owner):
        pass


def test_no_temporary_id_reaches_the_upstream_through_a_hook_of_the_apps(user: User, upstream: RestUpstream):
    """What is sent of a record is the app's to say; where it says a temporary id, the write waits for its owner."""
    dualstorage, about = DualStorage(), []

    class Note(Model):
        def to_json(self, **options: Any) -> Any:
            return {**self, "about": about[0]}

    @dualstorage.register
    class Notes(Collection):
        name, url, model = "notes", "/notes", Note

    alice = user(dualstorage=dualstorage)
    about.append(alice.collection("people").create(name="Turing", remote=False).id)
    alice.collection("notes").create(text="Bletchley")
    assert upstream.writes == []
    assert [(write.store, write.state) for write in alice.pending()] == [("/people", "queued"), ("/notes", "rejected")]
    assert str(alice.pending()[1].reason).endswith("is the id of a record that the upstream does not have.")


def test_what_a_dead_process_may_have_sent_keeps_its_key_through_an_outage(
    user: User, upstream: RestUpstream, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """It had arrived before the process died; the next send finds nobody there, and tells nothing about the first."""
    alice = user()
    ada = alice.collection("people").fetch().get(1)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flask_dualstorage.sync.writing.settle", die)
        with pytest.raises(KeyboardInterrupt):
            ada.save(age=41)
    upstream.unplug()
    clock.advance(LEASE)
    assert alice.sync().queued == 1
    upstream.plug()
    assert alice.sync().applied == 1
    first, second = keys_of(upstream)
    assert first == second


def test_an_applied_write_is_to_be_seen_as_long_as_any_copy_that_is_older(
    user: User, upstream: RestUpstream, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """However many writes come after it, and however short the app keeps its history."""
    monkeypatch.setattr("flask_dualstorage.sync.settling.PRUNE_EVERY", 64)
    alice = user(DUALSTORAGE_KEEP_APPLIED=1, DUALSTORAGE_CACHE_TIMEOUT=3600)
    alice.collection("people").fetch().get(1).save(age=41)
    clock.advance(3500)
    for number in range(130):
        alice.collection("notes").create(number=number)
    assert alice.collection("people").fetch(remote=False).get(1)["age"] == 41


def test_a_late_success_settles_a_write_that_another_has_taken_over(user: User, upstream: RestUpstream, clock: Clock):
    """Both sent the same request with the same key: whichever answer comes first is the truth."""
    alice, worker = user(), user()
    ada = alice.collection("people").fetch().get(1)
    first, second = (Gate(answer(200, {"id": 1, "name": "Ada", "age": 41})) for _ in range(2))
    upstream.then(first, second)
    with beside(lambda: ada.save(age=41), first) as slow:
        clock.advance(LEASE)
        with beside(worker.sync, second):
            first.open()
            assert slow.result(PATIENCE).state == "applied"
            assert worker.pending() == []
    assert [write.state for write in worker.history()] == ["applied"]
