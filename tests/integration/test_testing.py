"""What an app's own tests are given: an offline switch, and an upstream of scripted answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from flask_dualstorage import DualStorage, NotCached
from flask_dualstorage.testing import ScriptedUpstream, offline


@pytest.fixture
def upstream():
    with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def app(tmp_path: Path, upstream: ScriptedUpstream) -> Flask:
    app = Flask("app", instance_path=str(tmp_path))
    app.config["DUALSTORAGE_UPSTREAM_URL"] = upstream.url
    DualStorage(app)
    return app


def test_offline_lets_no_request_out_and_ends_with_its_block(app: Flask, upstream: ScriptedUpstream) -> None:
    upstream.answer("GET", "/people", [{"id": 1, "name": "Ada"}])
    people = app.extensions["dualstorage"].for_user("alice").collection("people")
    with offline(app):
        with pytest.raises(NotCached):
            people.fetch()
        assert people.create(name="Turing").dirty
    assert upstream.received == []
    assert people.fetch(when_dirty="rebase").pluck("name") == ["Ada", "Turing"]


def test_answers_are_given_in_turn_and_the_last_one_again(app: Flask, upstream: ScriptedUpstream) -> None:
    upstream.answer("GET", "/people", [])
    upstream.answer("GET", "/people", [{"id": 1}])
    people = app.extensions["dualstorage"].for_user("alice").collection("people")
    assert [len(people.fetch()) for _ in range(3)] == [0, 1, 1]


def test_what_arrived_can_be_looked_at(app: Flask, upstream: ScriptedUpstream) -> None:
    upstream.answer("POST", "/people", {"id": 7}, status=201, headers={"ETag": '"1"'})
    person = app.extensions["dualstorage"].for_user("alice").collection("people").create(name="Turing")
    assert (person.id, dict(person)) == (7, {"name": "Turing", "id": 7})
    (received,) = upstream.received
    assert (received.method, received.path, received.json()) == ("POST", "/people", {"name": "Turing"})


def test_what_was_not_scripted_is_a_404(app: Flask) -> None:
    assert app.extensions["dualstorage"].for_user("alice").collection("people").load(1) is None
