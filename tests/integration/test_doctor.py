"""``flask dualstorage doctor`` tells what an upstream can do, and leaves it as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from flask_caching import Cache

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.cli import dualstorage as commands
from tests.upstreams.hostile import Behaviour, Received, answer
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of

Doctor = Callable[..., Result]
PEOPLE = [{"id": 1, "name": "Ada", "age": 36}, {"id": 2, "name": "Grace", "age": 85}]
DATA = ["--write", "--data", '{"name": "Test"}']


@pytest.fixture
def doctor(make_app: MakeApp) -> Doctor:
    """Run the command, for an app in front of an upstream; its cache and config are as given."""

    def run(upstream: RestUpstream, *arguments: str, dualstorage: DualStorage | None = None, **config: Any) -> Result:
        app = make_app(dualstorage, url=upstream.url, **config)
        app.cli.add_command(commands)
        return app.test_cli_runner().invoke(args=["dualstorage", "doctor", *arguments])

    return run


class TestReading:
    def test_it_sends_no_write(self, doctor: Doctor):
        with RestUpstream({"/people": PEOPLE}, etags=True) as upstream:
            assert doctor(upstream, "people").exit_code == 0
            assert upstream.writes == []

    def test_validators_are_told(self, doctor: Doctor):
        with RestUpstream({"/people": PEOPLE}, etags=True) as upstream:
            told = doctor(upstream, "people").output
        assert "A record has a strong ETag" in told
        assert "It answers 304 to a list that did not change." in told
        with RestUpstream({"/people": PEOPLE}) as upstream:
            assert "The list has no validator" in doctor(upstream, "people").output
        with RestUpstream({"/people": PEOPLE}, headers={"ETag": 'W/"1"'}) as upstream:
            told = doctor(upstream, "people").output
        assert "weak ETag" in told
        assert "It minds no condition" in told

    def test_habits_that_are_ignored_are_told(self, doctor: Doctor):
        headers = {"Cache-Control": "no-store", "Set-Cookie": "a=b"}
        with RestUpstream({"/people": PEOPLE}, headers=headers) as upstream:
            told = doctor(upstream, "people").output
        assert "no-store" in told
        assert "sets a cookie" in told

    def test_other_names_and_envelopes_are_recommended(self, doctor: Doctor):
        with Enveloped({"/people/": [{"uuid": "a-1", "name": "Ada"}, {"uuid": "b-2", "name": "Ada"}]}) as upstream:
            found = json.loads(doctor(upstream, "people", "--json").output)
        assert found["dialect"] == {
            "slash": "True",
            "list_at": "'data'",
            "pages": "BodyPages(total_at='count')",
            "id_attribute": "'uuid'",
            "record_at": "'data'",
        }
        assert found["doubled"] is None, "nobody looked"

    def test_what_can_not_be_read_is_a_risk_and_no_crash(self, doctor: Doctor):
        with RestUpstream({"/people": PEOPLE}) as upstream:
            for behaviour in (answer(500), answer(403), answer(200, "text")):
                upstream.then(behaviour, behaviour)
                result = doctor(upstream, "people")
                assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
            upstream.unplug()
            result = doctor(upstream, "people")
        assert result.exit_code == 1
        assert "refused the connection" in result.output

    def test_a_404_that_is_none_is_a_risk(self, doctor: Doctor):
        with Polite({"/people": PEOPLE}) as upstream:
            assert "gives status 200, not 404" in doctor(upstream, "people").output

    def test_parameters_fill_the_url(self, doctor: Doctor):
        dualstorage = DualStorage()
        dualstorage.register(type("Notes", (Collection,), {"url": "/people/{person_id}/notes"}))
        with RestUpstream({"/people/7/notes": [{"id": 1}]}) as upstream:
            assert doctor(upstream, "notes", "--param", "person_id=7", dualstorage=dualstorage).exit_code == 0
            assert upstream.requests[0] == ("GET", "/people/7/notes")


class TestWriting:
    @pytest.mark.parametrize(("keys", "doubled"), [(True, []), (False, ["creates"])])
    def test_it_says_which_writes_could_be_doubled(self, doctor: Doctor, keys: bool, doubled: list[str]):
        with RestUpstream({"/people": PEOPLE}, keys=keys) as upstream:
            found = json.loads(doctor(upstream, "people", "--json", *DATA).output)
        assert found["doubled"] == doubled
        assert found["dialect"].get("honours_keys") == ("True" if keys else None)

    def test_it_leaves_nothing_behind(self, doctor: Doctor):
        with RestUpstream({"/people": PEOPLE}, etags=True, keys=True) as upstream:
            told = doctor(upstream, "people", *DATA).output
            assert upstream.records["/people"] == PEOPLE
        assert "A second delete gives status 404: it counts as done." in told

    def test_what_could_not_be_deleted_again_is_told(self, doctor: Doctor):
        with Clinging({"/people": PEOPLE}) as upstream:
            told = doctor(upstream, "people", *DATA).output
        assert "The record 101 that was made here could not be deleted: status 403." in told

    def test_if_match_is_tried(self, doctor: Doctor):
        with RestUpstream({"/people": PEOPLE}, etags=True) as upstream:
            assert "It minds If-Match: another version gives 412." in doctor(upstream, "people", *DATA).output
        with RestUpstream({"/people": PEOPLE}, headers={"ETag": '"1"'}) as upstream:
            assert "ignores If-Match" in doctor(upstream, "people", *DATA).output

    def test_an_api_without_put_is_noticed(self, doctor: Doctor):
        with OnlyPatch({"/people": PEOPLE}) as upstream:
            found = json.loads(doctor(upstream, "people", "--json", *DATA).output)
        assert found["dialect"]["update_method"] == "'PATCH'"

    def test_a_record_that_it_does_not_take_is_told(self, doctor: Doctor):
        with RestUpstream({"/people": PEOPLE}) as upstream:
            upstream.then(*[answer(200, PEOPLE)] * 2, answer(200, PEOPLE[0]), answer(404), answer(422))
            told = doctor(upstream, "people", *DATA).output
        assert "give a record that it takes as --data" in told


class TestTheSetUp:
    def test_it_needs_no_collection_and_no_request(self, doctor: Doctor):
        with RestUpstream({}) as upstream:
            result = doctor(upstream)
            assert (result.exit_code, upstream.received) == (0, [])
        assert "SQLite" in result.output

    def test_a_simple_cache_is_a_risk(self, doctor: Doctor):
        with RestUpstream({}) as upstream:
            result = doctor(upstream, cache=Cache(config={"CACHE_TYPE": "SimpleCache"}))
        assert result.exit_code == 1
        assert "SimpleCache" in result.output
        assert "evicts from 500 values on" in result.output

    def test_a_deadline_beyond_a_workers_is_a_risk(self, doctor: Doctor):
        with RestUpstream({}) as upstream:
            assert "may take 45 s" in doctor(upstream, DUALSTORAGE_TIMEOUT=(1, 45)).output

    def test_no_secret_key_is_a_risk(self, make_app: MakeApp):
        with RestUpstream({}) as upstream:
            app = make_app(url=upstream.url, SECRET_KEY=None)
        texts = [finding["text"] for finding in storage_of(app).examine_setup().to_dict()["findings"]]
        assert any("SECRET_KEY" in text for text in texts)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["people", "--write"], "--write and --data go together"),
        (["people", "--data", "{}"], "--write and --data go together"),
        (["people", "--write", "--data", "{"], "--data is no JSON"),
        (["people", "--write", "--data", "[]"], "--data is no record"),
        (["people", "--param", "person_id"], "--param takes NAME=VALUE"),
    ],
)
def test_misuse_is_told_in_one_line(doctor: Doctor, arguments: list[str], told: str):
    with RestUpstream({"/people": PEOPLE}) as upstream:
        result = doctor(upstream, *arguments)
        assert (result.exit_code, upstream.received) == (2, [])
    assert told in result.output


class Enveloped(RestUpstream):
    """Lists and records stand in ``data``, and paths end in a slash."""

    def _answer(self, received: Received) -> Behaviour:
        path = received.target
        if not path.endswith("/"):
            return answer(301, headers={"Location": "http://elsewhere.example/"})
        rows = self.records["/people/"]
        if path == "/people/":
            return answer(200, {"count": 9, "next": f"{self.url}/people/?page=2", "data": rows})
        found = [row for row in rows if path == f"/people/{row['uuid']}/"]
        return answer(200, {"data": found[0]}) if found else answer(404)


class Polite(RestUpstream):
    """Has a kind word for every record that is not there."""

    def _answer(self, received: Received) -> Behaviour:
        plain = super()._answer(received)
        return (
            plain
            if self.find("/people", received.target.rpartition("/")[2]) or received.target == "/people"
            else (answer(200, {"error": "not found"}))
        )


class Clinging(RestUpstream):
    """Deletes nothing."""

    def _answer(self, received: Received) -> Behaviour:
        return answer(403) if received.method == "DELETE" else super()._answer(received)


class OnlyPatch(RestUpstream):
    """Takes no PUT."""

    def _answer(self, received: Received) -> Behaviour:
        return answer(405) if received.method == "PUT" else super()._answer(received)
