"""The main job on each database: read, lose the upstream, write, get it back, send, compare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask_caching import Cache

from flask_dualstorage import Collection, DualStorage, Rejected
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import PATIENT, bare_environment

__all__ = ["bare_environment"]


class Notes(Collection):
    url = "/people/{person_id}/notes"


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]}) as upstream:
        yield upstream


@pytest.fixture
def alice(database_url: str, upstream: RestUpstream, tmp_path: Path) -> Iterator[UserStorage]:
    app = Flask("app", instance_path=str(tmp_path / "instance"))
    app.config["DUALSTORAGE_DATABASE_URL"] = database_url
    app.config["DUALSTORAGE_UPSTREAM_URL"] = upstream.url
    app.config["DUALSTORAGE_TIMEOUT"] = PATIENT
    app.config["DUALSTORAGE_SYNC_CONCURRENCY"] = 4
    app.config["DUALSTORAGE_BREAKER_THRESHOLD"] = 1_000_000
    Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    dualstorage = DualStorage(app)
    dualstorage.register(Notes)
    storage = app.extensions["dualstorage"]
    storage.init_db()
    yield storage.for_user("alice")
    for known in storage.engine.known_upstreams():
        known._client.close()
    storage.engine.outbox.database._drop()


def test_what_was_written_in_an_outage_arrives_in_order(alice: UserStorage, upstream: RestUpstream):
    people = alice.collection("people").fetch()
    upstream.unplug()
    eve = people.create(name="Eve 🐍", born=2**60)
    alice.collection("notes", person_id=eve.id).create(text="A note\0", about=eve.id)
    people[0].save(name="Augusta")
    people[1].destroy()
    assert people.pluck("name") == ["Augusta", "Eve 🐍"]
    assert len(people.dirty_models()) == 2
    assert people.destroyed_model_ids() == [2]
    assert alice.status().pending == 4
    upstream.plug()
    report = alice.sync()
    assert (report.applied, report.remaining) == (4, 0)
    assert alice.pending() == []
    [ada, new] = upstream.records["/people"]
    assert (ada, new["name"], new["born"]) == ({"id": 1, "name": "Augusta"}, "Eve 🐍", 2**60)
    [note] = upstream.records[f"/people/{new['id']}/notes"]
    assert (note["text"], note["about"]) == ("A note\0", new["id"])
    assert [dict(person) for person in alice.collection("people").fetch()] == upstream.records["/people"]
    assert alice.collection("people").get(eve.id)["name"] == "Eve 🐍"
    sent = len(upstream.sent)
    assert alice.sync().applied == 0
    assert len(upstream.sent) == sent


def test_what_an_upstream_says_never_stands_in_the_way_of_settling(alice: UserStorage, upstream: RestUpstream):
    """A NUL, or what no text column holds, in its reasons."""
    problem = {"title": "No\0", "detail": "bad\0name 🐍" + "x" * 5000, "errors": {"name\0": ["a\0b"]}}
    upstream.then(answer(422, problem))
    with pytest.raises(Rejected):
        alice.collection("people").create(name="Eve")
    person = alice.collection("people").create(name="Eve", remote=False)
    upstream.then(answer(422, problem))
    assert alice.sync().rejected == 1
    [write] = alice.pending()
    assert write.state == "rejected"
    assert write.problem == {**problem, "status": 422}
    assert "bad\N{REPLACEMENT CHARACTER}name" in (write.reason or "")
    assert person.id == write.record_id


def test_a_visitor_becomes_a_user(alice: UserStorage, upstream: RestUpstream):
    anon = alice._engine.app.extensions["dualstorage"].for_user("anon:0f")
    anon.collection("people").create(name="Eve", remote=False)
    alice.adopt("anon:0f", "alice")
    anon.collection("people").create(name="Late", remote=False)
    assert [write.attributes["name"] for write in alice.pending()] == ["Eve", "Late"]
    assert alice.sync().applied == 2
    alice.forget("alice")
    assert len(alice.collection("people").fetch()) == 4
