"""What Backbone.dualStorage documents, row by row, and where we differ on purpose.

The rows come from its README ("TestReadme…"), from its specs (each class names its file), from the Backbone columns of
our interface, and from the two tables of the algorithm: which way a call goes, and how a read falls back. Every row is
tried against a REST upstream over sockets, with its plug pulled where Backbone would be offline.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_dualstorage import (
    Collection,
    ConfigurationError,
    Dialect,
    DualStorage,
    Model,
    NotCached,
    RecordGone,
    Rejected,
    UpstreamError,
    UpstreamUnreachable,
    ValidationFailed,
)
from tests.upstreams.hostile import Line, Received, Then, answer, chunked, cut, cut_json, drop, html, huge, reset
from tests.upstreams.rest import RestUpstream
from tests.waiting import PATIENCE
from tests.whole import Clock, MakeApp, User, storage_of

SAVED = {"id": 7, "name": "Turing"}


def declare(**attributes: Any) -> DualStorage:
    """An extension with one collection, ``people``, of these attributes and methods."""
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"name": "people", **attributes}))
    return dualstorage


def model(**attributes: Any) -> type[Model]:
    """A Model class of these attributes and methods."""
    return type("Person", (Model,), attributes)


def kept(storage: Any) -> list[tuple[str, Any]]:
    """Kind and id of every pending write."""
    return [(write.kind, write.record_id) for write in storage.pending()]


class TestReadmeStory:
    """README, "Data synchronization": keep changing and destroying while offline, send it all when back."""

    def test_records_are_cached_as_they_pass_and_there_when_the_server_is_not(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        people.fetch()
        upstream.unplug()
        people.fetch()
        assert people.pluck("name") == ["Ada", "Grace"]

    def test_offline_one_can_still_create_update_and_destroy(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people").fetch()
        upstream.unplug()
        person = people.create(name="Turing")
        people.models[0].save(age=41)
        people.models[1].destroy()
        assert [dict(each) for each in people] == [
            {"id": 1, "name": "Ada", "age": 41},
            {"id": person.id, "name": "Turing"},
        ]

    def test_collections_track_what_is_dirty_and_destroyed(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.unplug()
        person = people.create(name="Turing")
        people[0].save(age=41)
        people.get(2).destroy()
        assert [each.id for each in people.dirty_models()] == [person.id, 1]
        assert people.destroyed_model_ids() == [2]

    def test_online_again_all_changes_are_sent_and_local_storage_is_updated(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.unplug()
        people.create(name="Turing")
        people[0].save(age=41)
        people.get(2).destroy()
        upstream.plug()
        report = people.sync_dirty_and_destroyed()
        assert (report.applied, report.remaining) == (3, 0)
        assert upstream.records["/people"] == [{"id": 1, "name": "Ada", "age": 41}, {"id": 101, "name": "Turing"}]
        assert [dict(each) for each in people] == upstream.records["/people"]
        assert (people.dirty_models(), people.destroyed_model_ids()) == ([], [])

    def test_writes_of_one_record_go_in_the_order_they_were_made(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone starts all its requests at once, dirty ones first; here order is kept."""
        people = user(dualstorage=declare(coalesce=False)).collection("people").fetch()
        upstream.unplug()
        people.get(1).save(age=41)
        people.get(1).save(age=42)
        people.get(1).destroy()
        upstream.plug()
        people.sync_dirty_and_destroyed()
        assert upstream.writes == [
            ("PUT", "/people/1", {"id": 1, "name": "Ada", "age": 41}),
            ("PUT", "/people/1", {"id": 1, "name": "Ada", "age": 42}),
            ("DELETE", "/people/1", None),
        ]

    def test_fetch_of_a_dirty_collection_loads_only_what_is_local(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        people[0].save(age=41, remote=False)
        upstream.edit("/people", 2, name="Hopper")
        before = len(upstream.requests)
        people.fetch()
        assert people.pluck("name") == ["Ada", "Grace"]
        assert len(upstream.requests) == before

    def test_new_data_comes_once_the_dirty_ones_are_synced(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        people[0].save(age=41, remote=False)
        upstream.edit("/people", 2, name="Hopper")
        people.sync_dirty_and_destroyed()
        assert people.fetch().pluck("name") == ["Ada", "Hopper"]

    @pytest.mark.parametrize("online", [True, False])
    def test_options_dirty_tells_whether_it_was_saved_locally(self, user: User, upstream: RestUpstream, online: bool):
        people = user().collection("people").fetch()
        if not online:
            upstream.unplug()
        assert people[0].save(name="Turing").dirty is not online
        assert people[1].destroy().dirty is not online


class TestReadmeUsage:
    """README, "Usage": ``remote`` and ``local`` on models and collections, and ``{remote: false}`` on a call."""

    @pytest.mark.parametrize("where", ["collection", "model"])
    @pytest.mark.parametrize("how", ["boolean", "function"])
    class TestRemote:
        def flags(self, where: str, how: str) -> dict[str, Any]:
            remote = True if how == "boolean" else lambda self: True
            return {"remote": remote} if where == "collection" else {"model": model(remote=remote)}

        def test_reads_go_upstream_and_nothing_is_cached(self, user: User, upstream: RestUpstream, where, how):
            people = user(dualstorage=declare(**self.flags(where, how))).collection("people").fetch()
            assert (people.pluck("name"), people.source) == (["Ada", "Grace"], "upstream")
            upstream.unplug()
            with pytest.raises(UpstreamUnreachable):
                people.fetch()
            with pytest.raises(UpstreamUnreachable):
                people.load(1)

        def test_writes_go_upstream_and_nothing_is_queued(self, user: User, upstream: RestUpstream, where, how):
            alice = user(dualstorage=declare(**self.flags(where, how)))
            people = alice.collection("people").fetch()
            assert people.create(name="Turing").id == 101
            people.get(1).save(age=41)
            people.get(2).destroy()
            assert [method for method, *_ in upstream.writes] == ["POST", "PUT", "DELETE"]
            upstream.unplug()
            for write in (lambda: people.create(name="Hopper"), people.get(1).save, people.get(1).destroy):
                with pytest.raises(UpstreamUnreachable):
                    write()
            assert alice.pending() == []

        def test_remote_false_changes_nothing_about_it(self, user: User, upstream: RestUpstream, where, how):
            people = user(dualstorage=declare(**self.flags(where, how))).collection("people").fetch(remote=False)
            assert people.source == "upstream"
            assert people.create(name="Turing", remote=False).id == 101

        def test_errors_raise(self, user: User, upstream: RestUpstream, where, how):
            alice = user(dualstorage=declare(**self.flags(where, how)))
            people = alice.collection("people").fetch()
            upstream.then(answer(500), answer(422), answer(500), answer(500))
            with pytest.raises(UpstreamError) as raised:
                people.fetch()
            assert raised.value.status == 500
            with pytest.raises(Rejected):
                people.create(name="Turing")
            with pytest.raises(UpstreamError):
                people.get(1).save(age=41)
            with pytest.raises(UpstreamError):
                people.get(1).destroy()
            assert alice.pending() == []

    @pytest.mark.parametrize("where", ["collection", "model"])
    @pytest.mark.parametrize("how", ["boolean", "function"])
    class TestLocal:
        def flags(self, where: str, how: str) -> dict[str, Any]:
            local = True if how == "boolean" else lambda self: True
            return {"local": local} if where == "collection" else {"model": model(local=local)}

        def test_it_is_fetched_and_saved_only_locally(self, user: User, upstream: RestUpstream, where, how):
            people = user(dualstorage=declare(**self.flags(where, how))).collection("people")
            person = people.create(name="Turing")
            person.save(age=41)
            people.create(name="Hopper").destroy()
            people.fetch()
            assert [dict(each) for each in people] == [{"id": person.id, "name": "Turing", "age": 41}]
            assert (people.source, people.load(person.id)["age"]) == ("local", 41)
            assert upstream.connections == 0

        def test_it_is_never_dirty_and_never_sent(self, user: User, upstream: RestUpstream, where, how):
            alice = user(dualstorage=declare(**self.flags(where, how)))
            people = alice.collection("people")
            person = people.create(name="Turing", remote=False)
            assert (person.dirty, person.save(age=41).dirty, people.dirty_models()) == (False, False, [])
            people.create(name="Hopper").destroy()
            assert (people.destroyed_model_ids(), alice.pending(), alice.status().pending) == ([], [], 0)
            assert alice.sync().applied == 0
            assert upstream.connections == 0

        def test_it_is_as_durable_as_a_pending_write(self, user: User, upstream: RestUpstream, where, how):
            flags = self.flags(where, how)
            user(dualstorage=declare(**flags)).collection("people").create(name="Turing")
            assert user(dualstorage=declare(**flags)).collection("people").pluck("name") == ["Turing"]

    @pytest.mark.parametrize("flag", ["local", "remote"])
    @pytest.mark.parametrize("where", ["collection", "model"])
    def test_functions_are_asked_at_each_call(self, user: User, upstream: RestUpstream, flag: str, where: str):
        state = {"on": False}
        method = {flag: lambda self: state["on"]}
        alice = user(dualstorage=declare(**(method if where == "collection" else {"model": model(**method)})))
        people = alice.collection("people").fetch()
        upstream.unplug()
        people.create(name="Dual")
        assert len(alice.pending()) == 1
        state["on"] = True
        if flag == "local":
            people.create(name="Local")
        else:
            with pytest.raises(UpstreamUnreachable):
                people.create(name="Remote")
        assert len(alice.pending()) == 1

    def test_of_functions_remote_wins(self, user: User, upstream: RestUpstream):
        dualstorage = declare(local=lambda self: True, remote=lambda self: True)
        assert user(dualstorage=dualstorage).collection("people").fetch().source == "upstream"

    @pytest.mark.parametrize(
        "flags",
        [
            {"local": True, "remote": True},
            {"local": True, "model": model(remote=True)},
            {"remote": True, "model": model(local=True)},
        ],
    )
    def test_literally_both_is_refused_at_once(self, flags: Mapping[str, Any]):
        """Differs on purpose: Backbone takes it and lets ``remote`` win."""
        with pytest.raises(ConfigurationError, match="both local and remote"):
            declare(**flags)

    def test_remote_false_on_create_keeps_it_for_a_later_sync(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        person = people.create({"name": "someone"}, remote=False)
        assert (person.dirty, person.has_temp_id, upstream.writes) == (True, True, [])
        people.sync_dirty_and_destroyed()
        assert upstream.writes == [("POST", "/people", {"name": "someone"})]

    def test_remote_false_on_save_and_destroy_too(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        assert people.get(1).save(age=41, remote=False).dirty
        assert people.get(2).destroy(remote=False).dirty
        assert upstream.writes == []
        assert (people.dirty_models()[0].id, people.destroyed_model_ids()) == (1, [2])

    def test_remote_false_on_fetch_reads_what_is_here(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        before = len(upstream.requests)
        assert (people.fetch(remote=False).source, len(people)) == ("cache", 2)
        assert people.load(1, remote=False)["name"] == "Ada"
        assert people.get(1).fetch(remote=False)["name"] == "Ada"
        assert len(upstream.requests) == before

    def test_remote_false_without_a_copy_is_an_empty_list(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch(remote=False)
        assert (list(people), people.source, upstream.connections) == ([], "local", 0)


class TestReadmeOfflineDetection:
    """README, "Offline state detection"."""

    def test_no_connection_is_offline(self, user: User, upstream: RestUpstream):
        """Backbone's status 0."""
        people = user().collection("people").fetch()
        upstream.unplug()
        assert people.fetch().source == "cache"
        assert people.get(1).save(age=41).dirty

    @pytest.mark.parametrize("fault", [drop(), reset(), cut(3)])
    def test_no_answer_is_offline_for_a_read(self, user: User, upstream: RestUpstream, fault):
        people = user().collection("people").fetch()
        upstream.then(fault)
        assert (people.fetch().source, len(people)) == ("cache", 2)
        assert people.reason

    @pytest.mark.parametrize("fault", [drop(), reset(), cut(3)])
    def test_no_answer_to_a_write_is_in_doubt(self, user: User, upstream: RestUpstream, fault):
        """Differs on purpose: Backbone queues it like one that never left, and would send a create twice."""
        people = user().collection("people").fetch()
        upstream.then(fault)
        result = people.get(1).save(age=41)
        assert (result.dirty, result.state) == (True, "in_doubt")

    @pytest.mark.parametrize("status", [408, 502, 503, 504])
    def test_the_default_codes(self, user: User, upstream: RestUpstream, status: int):
        """Differs on purpose: 503 and 504 are in Backbone's list only if the app adds them."""
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(answer(status), answer(status))
        assert people.fetch().source == "cache"
        result = people.get(1).save(age=41)
        assert (result.dirty, result.state) == (True, "queued")

    def test_a_list_of_codes(self, user: User, upstream: RestUpstream):
        people = user(DUALSTORAGE_OFFLINE_STATUS_CODES=[418]).collection("people").fetch()
        upstream.then(answer(418), answer(418), answer(408))
        assert people.fetch().source == "cache"
        assert people.get(1).save(age=41).state == "queued"
        with pytest.raises(UpstreamError):
            people.get(2).save(age=41)

    def test_a_function_of_the_response(self, user: User, upstream: RestUpstream):
        def codes(response: Any) -> list[int]:
            return [response.status_code] if response.headers.get("X-Offline") else []

        people = user(DUALSTORAGE_OFFLINE_STATUS_CODES=codes).collection("people").fetch()
        upstream.then(answer(500, headers={"X-Offline": "yes"}), answer(500, headers={"X-Offline": "yes"}))
        assert people.fetch().source == "cache"
        assert people.get(1).save(age=41).state == "queued"
        upstream.then(answer(500))
        with pytest.raises(UpstreamError):
            people.get(2).save(age=41)

    def test_even_a_success_may_mean_offline(self, user: User, upstream: RestUpstream):
        """As in Backbone, whose success callback looks at the codes too: a proxy's "200, saved for later"."""
        people = user(DUALSTORAGE_OFFLINE_STATUS_CODES=(203,)).collection("people").fetch()
        upstream.then(answer(203, []), answer(203, {"id": 1}))
        assert (people.fetch().source, len(people)) == ("cache", 2)
        assert people.get(1).save(age=41).state == "queued"


class TestReadmeParsing:
    """README, "Data parsing"."""

    def test_parse_before_local_save_breaks_up_an_answer_into_records(self, user: User, upstream: RestUpstream):
        def unwrap(self: Collection, response: Any) -> Any:
            return response["people"]

        people = user(dualstorage=declare(parse_before_local_save=unwrap)).collection("people")
        upstream.then(answer(200, {"people": [SAVED]}))
        assert people.fetch().pluck("name") == ["Turing"]
        upstream.unplug()
        assert people.fetch().pluck("name") == ["Turing"]

    def test_so_does_parse(self, user: User, upstream: RestUpstream):
        people = user(dualstorage=declare(parse=lambda self, response: response["people"])).collection("people")
        upstream.then(answer(200, {"people": [SAVED]}))
        assert people.fetch().pluck("name") == ["Turing"]

    @pytest.mark.parametrize("hook", ["parse", "parse_before_local_save"])
    def test_the_models_hooks_see_each_record(self, user: User, upstream: RestUpstream, hook: str):
        person = model(**{hook: lambda self, response: {**response, "name": response["name"].upper()}})
        people = user(dualstorage=declare(model=person)).collection("people").fetch()
        assert people.pluck("name") == ["ADA", "GRACE"]
        assert people.load(1)["name"] == "ADA"
        assert people.create(name="Turing")["name"] == "TURING"
        people.get(1).save(name="Lovelace")
        assert people.get(1)["name"] == "LOVELACE"

    def test_parse_before_local_save_comes_first(self, user: User, upstream: RestUpstream):
        person = model(
            parse_before_local_save=lambda self, response: {**response, "seen": ["before"]},
            parse=lambda self, response: {**response, "seen": [*response["seen"], "parse"]},
        )
        people = user(dualstorage=declare(model=person)).collection("people").fetch()
        assert people[0]["seen"] == ["before", "parse"]

    def test_parse_runs_once_on_the_way_in(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone parses again whatever it reads from localStorage."""
        calls: list[Any] = []

        def parse(self: Model, response: Any) -> Any:
            calls.append(response)
            return response

        people = user(dualstorage=declare(model=model(parse=parse))).collection("people").fetch()
        assert len(calls) == 2
        upstream.unplug()
        people.fetch()
        assert len(people) == 2
        assert len(calls) == 2

    def test_to_json_says_what_is_sent(self, user: User, upstream: RestUpstream):
        person = model(to_json=lambda self, **options: {"person": dict(self)})
        people = user(dualstorage=declare(model=person)).collection("people")
        upstream.then(answer(201, SAVED))
        people.create(name="Turing")
        assert upstream.writes[-1] == ("POST", "/people", {"person": {"name": "Turing"}})


class TestReadmeLocalStorage:
    """README, "Local data storage", and dualsync_spec, "storeName selection"."""

    def test_the_url_is_the_namespace(self, user: User, upstream: RestUpstream):
        upstream.records["/pets"] = [{"id": 1, "name": "Rex"}]
        alice = user()
        people, pets = alice.collection("people").fetch(), alice.collection("pets").fetch()
        people.get(1).save(name="Lovelace", remote=False)
        assert (people.pluck("name"), pets.pluck("name")) == (["Lovelace", "Grace"], ["Rex"])
        assert alice.status().stores == {"/people": 1}

    def test_each_parent_has_its_own(self, user: User, upstream: RestUpstream):
        upstream.records |= {"/people/1/notes": [{"id": 5, "text": "one"}], "/people/2/notes": []}
        dualstorage = DualStorage()
        dualstorage.register(type("Notes", (Collection,), {"name": "notes", "url": "/people/{person_id}/notes"}))
        alice = user(dualstorage=dualstorage)
        assert alice.collection("notes", person_id=1).fetch().pluck("text") == ["one"]
        assert list(alice.collection("notes", person_id=2).fetch()) == []
        upstream.unplug()
        assert alice.collection("notes", person_id=1).pluck("text") == ["one"]

    def test_a_store_name_joins_what_has_different_urls(self, user: User, upstream: RestUpstream):
        """What storeName is for: a dynamic URL whose records are the same ones."""
        season = {"now": "/people"}
        dualstorage = declare(url=lambda self: season["now"], store_name="people")
        people = user(dualstorage=dualstorage).collection("people").fetch()
        assert len(people) == 2
        season["now"] = "/archive/people"
        upstream.unplug()
        again = user(dualstorage=declare(url=lambda self: season["now"], store_name="people")).collection("people")
        assert again.pluck("name") == ["Ada", "Grace"]

    @pytest.mark.parametrize(
        ("expected", "collection", "of_model"),
        [
            ("ketchup", {"store_name": "ketchup", "url": "/ranch"}, {"store_name": "cheddar", "url_root": "/bacon"}),
            ("cheddar", {"url": "/ranch"}, {"store_name": "cheddar", "url_root": "/bacon"}),
            ("/ranch", {"url": "/ranch"}, {"url_root": "/bacon", "url": "/bacon/bits"}),
            ("named", {"store_name": lambda self: "named", "url": "/ranch"}, {}),
        ],
    )
    def test_the_first_there_is_names_a_collections_store(self, user: User, expected, collection, of_model):
        alice = user(dualstorage=declare(model=model(**of_model), **collection))
        alice.collection("people").create(name="Turing", remote=False)
        assert alice.status().stores == {expected: 1}

    @pytest.mark.parametrize(
        ("expected", "of_model"),
        [
            ("cheddar", {"store_name": "cheddar", "url_root": "/bacon", "url": "/bacon/bits"}),
            ("/bacon", {"url_root": "/bacon", "url": "/bacon/bits"}),
            ("/bacon/bits", {"url": "/bacon/bits"}),
        ],
    )
    def test_and_that_of_a_model_that_stands_alone(self, user: User, expected, of_model):
        alice = user()
        alice.model(model(**of_model)).save(crisp=True, remote=False)
        assert alice.status().stores == {expected: 1}


class TestRoutingTable:
    """Which way a call goes when no flag is set; with flags see ``TestReadmeUsage``."""

    def test_reads_and_writes_are_dual(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people").fetch()
        people.create(name="Turing")
        people.get(1).save(age=41)
        people.get(2).destroy()
        assert [method for method, _ in upstream.requests] == ["GET", "POST", "PUT", "DELETE"]
        assert alice.pending() == []
        upstream.unplug()
        assert people.fetch().pluck("name") == ["Ada", "Turing"]


class TestReadingStep1:
    """Writes that wait hold a fetch."""

    @pytest.mark.parametrize("what", ["create", "update", "delete"])
    def test_any_waiting_write_does(self, user: User, upstream: RestUpstream, what: str):
        people = user().collection("people").fetch()
        match what:
            case "create":
                people.create(name="Turing", remote=False)
            case "update":
                people.get(1).save(age=41, remote=False)
            case _:
                people.get(1).destroy(remote=False)
        before = len(upstream.requests)
        assert people.fetch().source == "cache"
        assert "wait" in people.reason
        assert len(upstream.requests) == before

    def test_one_in_doubt_does(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.then(drop())
        people.create(name="Turing")
        before = len(upstream.requests)
        assert people.fetch().source == "cache"
        assert len(upstream.requests) == before

    def test_but_without_a_copy_the_fetch_goes_on(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone would show the dirty records alone as if they were the list."""
        people = user().collection("people")
        people.create(name="Turing", remote=False)
        assert people.fetch().source == "upstream"
        assert people.pluck("name") == ["Ada", "Grace", "Turing"]

    @pytest.mark.parametrize("how", ["call", "collection", "config"])
    def test_rebase_goes_on_in_any_case_and_lays_the_writes_over_what_comes(
        self, user: User, upstream: RestUpstream, how: str
    ):
        """Differs on purpose: Backbone has no such choice."""
        dualstorage = declare(when_dirty="rebase") if how == "collection" else None
        config = {"DUALSTORAGE_WHEN_DIRTY": "rebase"} if how == "config" else {}
        people = user(dualstorage=dualstorage, **config).collection("people").fetch()
        people.get(1).save(age=41, remote=False)
        upstream.edit("/people", 1, name="Lovelace")
        people.fetch(when_dirty="rebase" if how == "call" else None)
        assert people.source == "upstream"
        assert dict(people.get(1)) == {"id": 1, "name": "Lovelace", "age": 41}

    def test_a_rejected_write_lies_over_the_view_but_holds_no_fetch(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people").fetch()
        people.get(1).save(age=-1, remote=False)
        upstream.then(answer(422))
        people.sync_dirty()
        upstream.edit("/people", 2, name="Hopper")
        assert people.fetch().source == "upstream"
        assert [people.get(1)["age"], people.get(2)["name"]] == [-1, "Hopper"]

    def test_nor_does_one_in_conflict(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.remove("/people", 1)
        result = people.get(1).save(age=41)
        assert result.state == "conflict"
        assert people.fetch().source == "upstream"
        assert people.get(1)["age"] == 41


class TestReadingStep2:
    """GET, conditional where a validator is known, unless the breaker is open."""

    def test_an_etag_goes_back_and_a_304_brings_the_copy(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        upstream.then(answer(200, [SAVED], headers={"ETag": '"one"'}), answer(304, headers={"ETag": '"one"'}))
        people.fetch()
        people.fetch()
        assert upstream.received[-1].headers["If-None-Match"] == '"one"'
        assert (people.source, people.pluck("name")) == ("upstream", ["Turing"])

    def test_so_does_a_date(self, user: User, upstream: RestUpstream):
        date = "Wed, 21 Oct 2026 07:28:00 GMT"
        people = user().collection("people")
        upstream.then(answer(200, [SAVED], headers={"Last-Modified": date}), answer(304))
        people.fetch()
        people.fetch()
        assert upstream.received[-1].headers["If-Modified-Since"] == date
        assert people.pluck("name") == ["Turing"]

    def test_a_weak_etag_serves_the_cache_too(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        upstream.then(answer(200, [SAVED], headers={"ETag": 'W/"one"'}), answer(304))
        people.fetch()
        people.fetch()
        assert upstream.received[-1].headers["If-None-Match"] == 'W/"one"'

    def test_an_open_breaker_opens_no_connection(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user(DUALSTORAGE_BREAKER_THRESHOLD=3).collection("people").fetch()
        upstream.then(*[answer(503)] * 3)
        for _ in range(3):
            people.fetch()
        before = len(upstream.requests)
        assert (people.fetch().source, len(upstream.requests)) == ("cache", before)
        clock.advance(5)
        assert (people.fetch().source, len(upstream.requests)) == ("upstream", before + 1)


class TestReadingStep3:
    """A 2xx replaces the copy."""

    def test_what_the_upstream_no_longer_lists_is_gone(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user().collection("people").fetch()
        upstream.remove("/people", 1)
        clock.advance(1)
        people.fetch()
        upstream.unplug()
        assert people.fetch().pluck("id") == [2]

    def test_of_two_fetches_in_one_tick_of_the_clock_the_second_counts(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.edit("/people", 1, name="Lovelace")
        people.fetch()
        assert people.fetch(remote=False).pluck("name") == ["Lovelace", "Grace"]

    def test_an_answer_that_comes_late_replaces_no_copy_that_was_asked_for_later(
        self, user: User, upstream: RestUpstream, clock: Clock
    ):
        asked, go_on = threading.Event(), threading.Event()
        people = user().collection("people")

        def late(line: Line) -> Then:
            asked.set()
            go_on.wait(PATIENCE)
            return answer(200, [{"id": 1, "name": "old"}])(line)

        upstream.then(late)
        with ThreadPoolExecutor() as pool:
            first = pool.submit(user().collection("people").fetch)
            assert asked.wait(PATIENCE)
            clock.advance(1)
            people.fetch()
            clock.advance(1)
            go_on.set()
            first.result(PATIENCE)
        assert people.fetch(remote=False).pluck("name") == ["Ada", "Grace"]

    def test_add_merges_instead(self, user: User, upstream: RestUpstream, clock: Clock):
        """[fetch ``add: true``] As with Backbone's ``merge: true``: what came is newer and replaces its like."""
        people = user().collection("people").fetch()
        clock.advance(1)
        upstream.then(answer(200, [{"id": 2, "name": "Hopper"}, SAVED]))
        people.fetch(add=True)
        assert people.pluck("name") == ["Ada", "Hopper", "Turing"]
        upstream.unplug()
        assert people.fetch().pluck("name") == ["Ada", "Hopper", "Turing"]

    def test_a_filtered_list_is_its_own_and_prunes_nothing(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.then(answer(200, [{"id": 2, "name": "Grace", "age": 85}]))
        assert people.fetch({"age": 85}).pluck("id") == [2]
        assert upstream.requests[-1] == ("GET", "/people?age=85")
        upstream.unplug()
        assert people.fetch({"age": 85}).pluck("id") == [2]
        assert people.fetch().pluck("id") == [1, 2]

    def test_each_records_validator_is_kept(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        upstream.then(answer(200, upstream.find("/people", 1), headers={"ETag": '"v1"'}))
        people.load(1)
        people.fetch()
        people.load(1, remote=False).save(age=41)
        assert upstream.sent[-1].headers["If-Match"] == '"v1"'

    def test_a_lists_validator_is_never_a_records(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        upstream.then(answer(200, [SAVED], headers={"ETag": '"list"'}), answer(200, {**SAVED, "age": 41}))
        people.fetch()
        people[0].save(age=41)
        assert "If-Match" not in upstream.sent[-1].headers


class TestReadingStep4:
    """Out of reach: the copy, marked as one."""

    def test_the_copy_with_its_age_and_the_reason(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user().collection("people").fetch()
        assert (people.source, people.age, people.reason) == ("upstream", 0.0, None)
        upstream.unplug()
        clock.advance(90)
        people.fetch()
        assert (people.source, people.age) == ("cache", 90.0)
        assert "refused" in people.reason

    def test_no_copy_but_writes_are_the_view(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        upstream.unplug()
        people.create(name="Turing")
        people.fetch()
        assert (people.source, people.pluck("name")) == ("local", ["Turing"])

    def test_neither_is_a_clear_503(self, user: User, upstream: RestUpstream):
        upstream.unplug()
        with pytest.raises(NotCached) as raised:
            user().collection("people").fetch()
        assert raised.value.code == 503

    def test_a_copy_older_than_the_app_allows_is_none(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user(DUALSTORAGE_STALE_IF_ERROR=60).collection("people").fetch()
        upstream.unplug()
        clock.advance(60)
        assert people.fetch().source == "cache"
        clock.advance(1)
        with pytest.raises(NotCached):
            people.fetch()


class TestReadingStep5:
    """Answers that are no list, and errors."""

    @pytest.mark.parametrize(
        "nonsense",
        [
            html(),
            cut_json(),
            cut(5),
            chunked(b"[", end=b"zz\r\n"),
            huge(200_000),
            answer(200, body=b"hello", headers={"Content-Type": "text/plain"}),
            answer(200, {"error": "try later"}),
            answer(200, [{"name": "without an id"}]),
            answer(200, [SAVED, SAVED]),
            answer(425),
            answer(429, headers={"Retry-After": "9"}),
        ],
        ids=["html", "cut_json", "cut", "broken_chunk", "too_large", "text", "object", "no_id", "twice", "425", "429"],
    )
    def test_a_success_that_can_be_no_list_and_not_now_give_the_copy(
        self, user: User, upstream: RestUpstream, nonsense
    ):
        people = user(DUALSTORAGE_MAX_RESPONSE_BYTES=100_000).collection("people").fetch()
        upstream.then(nonsense)
        assert (people.fetch().source, len(people)) == ("cache", 2)
        assert people.reason

    @pytest.mark.parametrize("status", [400, 404, 410, 500, 501])
    def test_any_other_error_status_raises_and_touches_nothing(self, user: User, upstream: RestUpstream, status: int):
        people = user().collection("people").fetch()
        upstream.then(answer(status))
        with pytest.raises(UpstreamError) as raised:
            people.fetch()
        assert raised.value.status == status
        upstream.unplug()
        assert len(people.fetch()) == 2

    @pytest.mark.parametrize("status", [401, 403])
    def test_401_and_403_never_fall_back_to_a_copy(self, user: User, upstream: RestUpstream, status: int):
        people = user().collection("people").fetch()
        upstream.then(answer(status), answer(status))
        with pytest.raises(UpstreamError):
            people.fetch()
        with pytest.raises(UpstreamError):
            people.load(1)


class TestReadingFirstLook:
    """A collection that is looked at before ``fetch`` fetches itself once."""

    def test_looking_fetches_once(self, user: User, upstream: RestUpstream):
        """Differs on purpose: a Backbone collection is empty until somebody fetches it."""
        people = user().collection("people")
        assert (len(people), people[0]["name"], people.pluck("age")) == (2, "Ada", [36, 85])
        assert upstream.requests == [("GET", "/people")]

    @pytest.mark.parametrize("how", ["collection", "config"])
    def test_unless_its_copy_is_young_enough(self, user: User, upstream: RestUpstream, clock: Clock, how: str):
        dualstorage = declare(max_age=60) if how == "collection" else None
        alice = user(dualstorage=dualstorage, **({"DUALSTORAGE_MAX_AGE": 60} if how == "config" else {}))
        assert len(alice.collection("people").fetch()) == 2
        clock.advance(59)
        assert len(alice.collection("people")) == 2
        assert len(upstream.requests) == 1
        clock.advance(1)
        assert len(alice.collection("people")) == 2
        assert len(upstream.requests) == 2

    def test_fetch_asks_however_young_unless_told(self, user: User, upstream: RestUpstream):
        people = user(DUALSTORAGE_MAX_AGE=60).collection("people").fetch()
        assert people.fetch().source == "upstream"
        assert people.fetch(max_age=60).source == "cache"
        assert len(upstream.requests) == 2

    def test_asked_twice_in_one_request_it_is_read_once(self, make_app: MakeApp, upstream: RestUpstream):
        app = make_app(url=upstream.url)

        @app.get("/")
        def page() -> str:
            storage = storage_of(app)
            return f"{len(storage.collection('people'))} {len(storage.collection('people'))}"

        assert app.test_client().get("/", headers={"X-User": "alice"}).text == "2 2"
        assert upstream.requests == [("GET", "/people")]


class TestCollectionRows:
    """The collection's verbs, each with Backbone's name in brackets."""

    def test_fetch_returns_the_collection(self, user: User):
        """[fetch] Differs on purpose: no callbacks; ``source``, ``age`` and ``reason`` tell how it went."""
        people = user().collection("people")
        assert people.source is None
        assert people.fetch() is people

    def test_get(self, user: User, upstream: RestUpstream):
        """[get] Ids are compared by their text."""
        people = user().collection("people")
        assert people.get(1)["name"] == people.get("1")["name"] == "Ada"
        assert people.get(9) is None

    def test_get_gives_the_same_model_each_time(self, user: User):
        """[get]."""
        people = user().collection("people").fetch()
        assert people.get(1) is people.get(1) is people[0]

    def test_load(self, user: User, upstream: RestUpstream):
        """[Model.fetch] One record, cached as its own query."""
        people = user().collection("people")
        assert people.load(1)["name"] == "Ada"
        assert people.load(9) is None
        upstream.unplug()
        person = people.load(1)
        assert (person["name"], person.freshness.source) == ("Ada", "cache")
        with pytest.raises(NotCached):
            people.load(2)

    def test_load_falls_back_to_the_lists_copy_when_that_is_newer(self, user: User, upstream: RestUpstream, clock):
        people = user().collection("people")
        people.load(1)
        clock.advance(1)
        upstream.edit("/people", 1, name="Lovelace")
        people.fetch()
        upstream.unplug()
        assert people.load(1)["name"] == "Lovelace"

    def test_get_or_404(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        assert people.get_or_404(1)["name"] == "Ada"
        with pytest.raises(Exception, match="no record") as raised:
            people.get_or_404(9)
        assert raised.value.code == 404

    def test_iteration_len_truth_index_and_models(self, user: User):
        """[models, length, at]."""
        people = user().collection("people")
        assert [person.id for person in people] == [person.id for person in people.models] == [1, 2]
        assert (len(people), bool(people), people[-1].id, [each.id for each in people[:1]]) == (2, True, 2, [1])
        with pytest.raises(IndexError):
            people[2]

    def test_the_upstreams_order_new_ones_last(self, user: User, upstream: RestUpstream):
        upstream.records["/people"].reverse()
        people = user().collection("people").fetch()
        people.create(name="Turing", remote=False)
        assert people.pluck("name") == ["Grace", "Ada", "Turing"]

    def test_where_and_find_where(self, user: User):
        """[where, findWhere]."""
        people = user().collection("people")
        people.create(name="Ada", age=1, remote=False)
        assert [each["age"] for each in people.where(name="Ada")] == [36, 1]
        assert people.where({"name": "Ada"}, age=1)[0].has_temp_id
        assert (people.find_where(name="Grace").id, people.find_where(name="Nobody")) == (2, None)
        assert people.where(nothing=None) == []

    def test_pluck(self, user: User):
        """[pluck]."""
        people = user().collection("people")
        assert (people.pluck("age"), people.pluck("shoe")) == ([36, 85], [None, None])

    def test_create_online(self, user: User, upstream: RestUpstream):
        """[create]."""
        people = user().collection("people").fetch()
        person = people.create(name="Turing")
        assert (person.id, person.is_new, person.dirty) == (101, False, False)
        assert people.pluck("name") == ["Ada", "Grace", "Turing"]

    def test_create_with_an_id_of_the_apps(self, user: User, upstream: RestUpstream):
        """[create]."""
        people = user().collection("people").fetch()
        upstream.unplug()
        assert (people.create(id="turing", name="Turing").id, people.get("turing").has_temp_id) == ("turing", False)
        upstream.plug()
        people.sync_dirty()
        assert upstream.writes == [("POST", "/people", {"id": "turing", "name": "Turing"})]

    def test_create_takes_fields_named_like_options_in_the_dict(self, user: User, upstream: RestUpstream):
        user().collection("people").create({"timeout": 5, "remote": "yes"}, name="Turing")
        assert upstream.writes == [("POST", "/people", {"timeout": 5, "remote": "yes", "name": "Turing"})]

    def test_new(self, user: User, upstream: RestUpstream):
        """[new collection.model]."""
        people = user().collection("people")
        person = people.new({"name": "Turing"})
        assert (person.id, person.is_new, upstream.connections) == (None, True, 0)
        person.save()
        assert (person.id, person.is_new) == (101, False)

    def test_dirty_models(self, user: User, upstream: RestUpstream):
        """[dirtyModels; backbone_extensions_spec] No request."""
        people = user().collection("people")
        assert people.dirty_models() == []
        person = people.create(name="Turing", remote=False)
        assert [dict(each) for each in people.dirty_models()] == [{"id": person.id, "name": "Turing"}]
        assert upstream.connections == 0

    def test_destroyed_model_ids(self, user: User, upstream: RestUpstream):
        """[destroyedModelIds; backbone_extensions_spec] No request. Differs on purpose: ids keep their type."""
        alice = user()
        people = alice.collection("people").fetch()
        before = len(upstream.requests)
        people.get(2).destroy(remote=False)
        assert alice.collection("people").destroyed_model_ids() == [2]
        assert len(upstream.requests) == before

    def test_sync_dirty(self, user: User, upstream: RestUpstream):
        """[syncDirty; backbone_extensions_spec]."""
        people = user().collection("people").fetch()
        people.create(name="Turing", remote=False)
        people.get(1).save(age=41, remote=False)
        people.get(2).destroy(remote=False)
        assert people.sync_dirty().applied == 2
        assert sorted(method for method, *_ in upstream.writes) == ["POST", "PUT"]
        assert (people.dirty_models(), people.destroyed_model_ids()) == ([], [2])

    def test_sync_destroyed(self, user: User, upstream: RestUpstream):
        """[syncDestroyed; backbone_extensions_spec]."""
        people = user().collection("people").fetch()
        people.get(1).save(age=41, remote=False)
        people.get(2).destroy(remote=False)
        assert people.sync_destroyed().applied == 1
        assert upstream.writes == [("DELETE", "/people/2", None)]
        assert (len(people.dirty_models()), people.destroyed_model_ids()) == (1, [])

    def test_sync_dirty_and_destroyed(self, user: User, upstream: RestUpstream):
        """[syncDirtyAndDestroyed; backbone_extensions_spec] Of this collection; the others wait."""
        upstream.records["/pets"] = [{"id": 1, "name": "Rex"}]
        alice = user()
        people, pets = alice.collection("people").fetch(), alice.collection("pets").fetch()
        people.get(1).save(age=41, remote=False)
        people.get(2).destroy(remote=False)
        pets.get(1).destroy(remote=False)
        assert people.sync_dirty_and_destroyed().applied == 2
        assert kept(alice) == [("delete", 1)]

    @pytest.mark.parametrize("sync", ["sync_dirty", "sync_destroyed", "sync_dirty_and_destroyed"])
    def test_syncing_nothing_works_and_asks_nobody(self, user: User, upstream: RestUpstream, sync: str):
        """[backbone_extensions_spec]."""
        report = getattr(user().collection("people"), sync)()
        assert (report.applied, report.remaining, upstream.connections) == (0, 0, 0)

    def test_clear_forgets_the_copy_and_keeps_what_is_pending(self, user: User, upstream: RestUpstream):
        """[localsync "clear"]."""
        people = user().collection("people").fetch()
        people.get(1).save(age=41, remote=False)
        people.clear()
        upstream.unplug()
        people.fetch()
        assert (people.source, [dict(each) for each in people]) == ("local", [{"id": 1, "name": "Ada", "age": 41}])


class TestModelRows:
    """The model's, each with Backbone's name in brackets."""

    def test_has_temp_id(self, user: User, upstream: RestUpstream):
        """[hasTempId] Differs on purpose: ``tmp-`` and 32 hexadecimal digits; Backbone's begins with a ``t``."""
        people = user().collection("people")
        upstream.unplug()
        person = people.create(name="Turing")
        assert re.fullmatch(r"tmp-[0-9a-f]{32}", person.id)
        assert person.has_temp_id
        upstream.plug()
        people.sync_dirty()
        assert (people.get(person.id).id, people.get(person.id).has_temp_id) == (101, False)

    def test_is_new(self, user: User, upstream: RestUpstream):
        """[isNew] Differs on purpose: to Backbone a record with a temporary id is not new."""
        people = user().collection("people").fetch()
        assert (people.get(1).is_new, people.new({}).is_new) == (False, True)
        assert people.create(name="Turing", remote=False).is_new

    def test_save_and_set(self, user: User, upstream: RestUpstream):
        """[save, set]."""
        people = user().collection("people").fetch()
        ada = people.get(1)
        ada.set(age=40)
        ada.set({"city": "London"})
        assert (ada["age"], upstream.writes) == (40, [])
        ada.save(age=41)
        assert upstream.writes == [("PUT", "/people/1", {"id": 1, "name": "Ada", "age": 41, "city": "London"})]

    def test_save_patch_sends_only_what_changed(self, user: User, upstream: RestUpstream):
        """[save ``patch: true``]."""
        user().collection("people").fetch().get(1).save(age=41, patch=True)
        assert upstream.writes == [("PATCH", "/people/1", {"age": 41})]

    def test_save_updates_by_what_the_dialect_says(self, user: User, upstream: RestUpstream):
        dualstorage = declare(dialect=Dialect(update_method="PATCH"))
        user(dualstorage=dualstorage).collection("people").fetch().get(1).save(age=41)
        assert upstream.writes == [("PATCH", "/people/1", {"id": 1, "name": "Ada", "age": 41})]

    def test_changed_attributes(self, user: User, upstream: RestUpstream):
        """[changedAttributes] Differs on purpose: empty where Backbone says ``false``, and since the last save."""
        ada = user().collection("people").fetch().get(1)
        assert ada.changed_attributes() == {}
        ada.set(age=41, name="Ada")
        assert ada.changed_attributes() == {"age": 41}
        ada.save()
        assert ada.changed_attributes() == {}

    def test_to_json(self, user: User):
        """[toJSON]."""
        ada = user().collection("people").get(1)
        assert ada.to_json() == {"id": 1, "name": "Ada", "age": 36}
        assert ada.to_json() is not ada.to_json()

    @pytest.mark.parametrize("wrong", ["needs a name", ["needs a name"], {"name": "needs a name"}])
    def test_validate(self, user: User, upstream: RestUpstream, wrong: Any):
        """[validate] Differs on purpose: it raises, where Backbone's ``save`` returns ``false``."""
        person = model(validate=lambda self, attributes: None if attributes.get("name") else wrong)
        alice = user(dualstorage=declare(model=person))
        people = alice.collection("people").fetch()
        with pytest.raises(ValidationFailed, match="needs a name"):
            people.create(age=41)
        ada = people.get(1)
        with pytest.raises(ValidationFailed):
            ada.save(name="")
        assert (upstream.writes, alice.pending(), ada["name"]) == ([], [], "Ada")

    def test_destroy(self, user: User, upstream: RestUpstream):
        """[destroy]."""
        people = user().collection("people").fetch()
        result = people.get(1).destroy()
        assert (result.dirty, result.response.status_code) == (False, 204)
        assert (people.pluck("id"), upstream.records["/people"][0]["id"]) == ([2], 2)

    def test_destroy_of_what_is_gone_already_counts_as_gone(self, user: User, upstream: RestUpstream):
        """Differs on purpose: to Backbone a 404 is an error, and the record stays for good."""
        alice = user()
        people = alice.collection("people").fetch()
        upstream.remove("/people", 1)
        assert people.get(1).destroy().state == "applied"
        assert (people.pluck("id"), alice.pending()) == ([2], [])

    def test_destroy_of_a_new_one_asks_nobody(self, user: User, upstream: RestUpstream):
        """[destroy]."""
        assert user().collection("people").new({"name": "Turing"}).destroy().dirty is False
        assert upstream.connections == 0

    def test_saving_what_was_deleted_here_is_refused(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone would bring the record back, and send both."""
        people = user().collection("people").fetch()
        ada = people.get(1)
        ada.destroy(remote=False)
        with pytest.raises(RecordGone):
            ada.save(age=41)

    def test_fetch(self, user: User, upstream: RestUpstream):
        """[fetch]."""
        people = user().collection("people").fetch()
        ada = people.get(1)
        upstream.edit("/people", 1, name="Lovelace")
        assert (ada.fetch()["name"], ada.freshness.source) == ("Lovelace", "upstream")
        upstream.remove("/people", 1)
        with pytest.raises(RecordGone):
            ada.fetch()

    @pytest.mark.parametrize("where", ["collection", "model"])
    def test_id_attribute(self, user: User, where: str):
        """[idAttribute; bugs_spec "idAttribute being ignored"; integration_spec]."""
        attributes = {"id_attribute": "eyeDee"}
        dualstorage = declare(**(attributes if where == "collection" else {"model": model(**attributes)}))
        with RestUpstream({"/people": [{"eyeDee": 123, "vision": "crystal"}]}, id_attribute="eyeDee") as upstream:
            people = user(dualstorage=dualstorage, url=upstream.url).collection("people").fetch()
            assert (people[0].id, people.get(123)["vision"]) == (123, "crystal")
            people[0].save(vision="clear")
            assert people.load(123)["vision"] == "clear"
            upstream.unplug()
            person = people.create(vision="blurred")
            assert person["eyeDee"] == person.id
            upstream.plug()
            people.sync_dirty()
            assert upstream.writes[-1] == ("POST", "/people", {"vision": "blurred"})
            assert people.get(person.id).id == 101

    def test_a_refused_write_is_withdrawn_and_the_view_told(self, user: User, upstream: RestUpstream):
        """[error callback] Nothing is saved, as in Backbone; the form is still with the view."""
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(answer(422, {"errors": {"age": ["too young"]}}))
        with pytest.raises(Rejected) as raised:
            people.get(1).save(age=-1)
        assert (raised.value.status, raised.value.errors) == (422, {"age": ["too young"]})
        assert (alice.pending(), alice.collection("people").fetch().get(1)["age"]) == ([], 36)

    def test_a_write_refused_in_a_sync_is_kept_until_its_owner_decides(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone leaves it dirty, and sends it again for ever."""
        alice = user()
        people = alice.collection("people").fetch()
        people.get(1).save(age=-1, remote=False)
        upstream.then(answer(422, {"errors": {"age": ["too young"]}}))
        report = people.sync_dirty()
        assert (report.rejected, report.writes[0].problem["errors"]) == (1, {"age": ["too young"]})
        assert people.sync_dirty().rejected == 1
        assert len(upstream.writes) == 1
        assert people.get(1).pending_write.state == "rejected"

    def test_writes_carry_an_idempotency_key(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone has none, and a lost answer makes a second record."""
        people = user().collection("people").fetch()
        people.create(name="Turing")
        people.get(1).save(age=41)
        keys = [sent.headers["Idempotency-Key"] for sent in upstream.sent]
        assert len(set(keys)) == 2

    def test_a_create_in_doubt_is_not_blindly_sent_again(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone sends it again, and the record is there twice."""
        people = user().collection("people").fetch()
        upstream.then(drop(), applied=True)
        people.create(name="Turing")
        assert people.sync_dirty().in_doubt == 1
        assert [row["name"] for row in upstream.records["/people"]] == ["Ada", "Grace", "Turing"]


class TestStandaloneModels:
    """A model that has a URL and no collection."""

    def test_a_url_root_and_an_id(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.model(model(url_root="/people"), 1).fetch()
        assert ada["name"] == "Ada"
        ada.save(age=41)
        assert upstream.writes == [("PUT", "/people/1", {"id": 1, "name": "Ada", "age": 41})]
        ada.destroy()
        assert upstream.requests[-1] == ("DELETE", "/people/1")

    def test_a_url_root_and_no_id_creates(self, user: User, upstream: RestUpstream):
        person = user().model(model(url_root="/people"))
        person.save(name="Turing")
        assert (person.id, upstream.writes) == (101, [("POST", "/people", {"name": "Turing"})])

    def test_a_url_alone_is_the_url_of_its_one_record(self, user: User, upstream: RestUpstream):
        upstream.then(answer(200, {"theme": "dark"}), answer(200, {"theme": "light"}))
        profile = user().model(model(url="/profile")).fetch()
        assert profile["theme"] == "dark"
        profile.save(theme="light")
        assert upstream.writes == [("PUT", "/profile", {"theme": "light"})]

    @pytest.mark.parametrize("place", [{"url_root": "/people"}, {"url": "/people/1"}])
    def test_it_is_kept_and_sent_like_any_other(self, user: User, upstream: RestUpstream, place: dict[str, str]):
        person = model(**place)
        alice = user()
        ada = alice.model(person, 1).fetch()
        upstream.unplug()
        assert ada.save(age=41).dirty
        assert alice.model(person, 1).fetch()["age"] == 41
        upstream.plug()
        assert alice.sync().applied == 1
        assert upstream.find("/people", 1) == {"id": 1, "name": "Ada", "age": 41}

    def test_without_either_it_is_refused(self, user: User):
        """[bugs_spec] Differs on purpose: Backbone makes a nameless store, which causes problems later."""
        with pytest.raises(ConfigurationError, match="neither url nor url_root"):
            user().model(model())


class TestIntegrationSpec:
    """integration_spec."""

    def test_it_saves_and_retrieves_data(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        person = people.create(name="Turing", vision="crystal")
        assert people.load(person.id)["vision"] == "crystal"
        assert [method for method, _ in upstream.requests] == ["POST", "GET"]

    def test_a_model_can_be_fetched_offline_after_saving_it_online(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        person = people.create(vision="crystal")
        upstream.unplug()
        assert people.load(person.id)["vision"] == "crystal"
        assert person.fetch(remote=False)["vision"] == "crystal"

    def test_a_collection_loads_what_several_models_added_to_it(self, user: User, upstream: RestUpstream):
        upstream.records["/eyes"] = []
        eyes = user().collection("eyes")
        for number in (1, 2, 3):
            eyes.create(id=number)
        assert eyes.fetch(remote=False).pluck("id") == [1, 2, 3]

    def test_the_response_is_passed_back(self, user: User, upstream: RestUpstream):
        result = user().collection("people").fetch().get(1).save(age=41)
        assert (result.response.status_code, result.response.json()["age"]) == (200, 41)


class TestDualsyncSpec:
    """dualsync_spec, beyond what the README says of flags, hooks and store names."""

    def test_create_merges_the_response_into_the_model(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        upstream.then(answer(201, {"id": 7, "slug": "turing"}))
        person = people.create(name="Turing")
        assert dict(person) == {"id": 7, "name": "Turing", "slug": "turing"}
        upstream.unplug()
        assert dict(people.load(7)) == {"id": 7, "name": "Turing", "slug": "turing"}

    @pytest.mark.parametrize("status", [200, 202, 204, 205])
    def test_update_merges_the_response_into_the_model(self, user: User, upstream: RestUpstream, status: int):
        people = user().collection("people").fetch()
        upstream.then(answer(status, {"version": 2} if status == 200 else None))
        ada = people.get(1)
        ada.save(age=41)
        version = {"version": 2} if status == 200 else {}
        assert dict(ada) == {"id": 1, "name": "Ada", "age": 41, **version}
        assert dict(people.get(1)) == dict(ada)

    def test_a_read_replaces_the_record(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone merges, so that a field which the server dropped lives on in the copy."""
        people = user().collection("people").fetch()
        upstream.then(answer(200, {"id": 1, "name": "Lovelace"}))
        assert dict(people.load(1)) == {"id": 1, "name": "Lovelace"}

    def test_every_model_of_an_answer_is_cached(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.unplug()
        assert (people.load(1)["name"], people.load(2)["name"]) == ("Ada", "Grace")

    def test_a_temporary_id_survives_an_update_offline(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.unplug()
        person = people.create(name="Turing")
        temp_id = person.id
        person.save(age=41)
        assert (person.id, people.get(temp_id)["age"]) == (temp_id, 41)

    def test_an_update_of_a_temporary_id_is_sent_as_a_create(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        person = people.create(name="Turing", remote=False)
        person.save(age=41)
        assert upstream.writes == [("POST", "/people", {"name": "Turing", "age": 41})]
        assert (person.id, people.pluck("id")) == (101, [1, 2, 101])

    def test_no_temporary_id_ever_reaches_the_server(self, user: User, upstream: RestUpstream):
        upstream.records["/notes"] = []
        alice = user()
        person = alice.collection("people").create(name="Turing", remote=False)
        alice.collection("notes").create(person_id=person.id, text=f"see /people/{person.id}", remote=False)
        alice.sync()
        assert upstream.writes[1][2] == {"person_id": 101, "text": "see /people/101"}
        assert not any("tmp-" in one.target or b"tmp-" in one.body for one in upstream.received)

    def test_destroying_a_temporary_id_sends_nothing(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people").fetch()
        person = people.create(name="Turing", remote=False)
        result = person.destroy()
        assert (result.dirty, result.state, people.pluck("id"), upstream.writes) == (False, None, [1, 2], [])
        assert (people.dirty_models(), people.destroyed_model_ids(), alice.pending()) == ([], [], [])

    @pytest.mark.parametrize("offline", ["down", "408"])
    def test_offline_is_a_success_to_the_caller(self, user: User, upstream: RestUpstream, offline: str):
        people = user().collection("people").fetch()
        if offline == "down":
            upstream.unplug()
        else:
            upstream.then(answer(408))
        assert people.create(name="Turing").has_temp_id

    def test_an_error_status_is_an_error_to_the_caller(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.then(answer(500))
        with pytest.raises(UpstreamError) as raised:
            people.create(name="Turing")
        assert (raised.value.status, raised.value.in_doubt) == (500, True)

    def test_offline_without_a_store_is_an_error(self, user: User, upstream: RestUpstream):
        upstream.unplug()
        with pytest.raises(NotCached):
            user().collection("people").load(1)

    def test_offline_a_model_that_was_never_cached_is_an_error(self, user: User, upstream: RestUpstream):
        people = user().collection("people").fetch()
        upstream.unplug()
        with pytest.raises(NotCached):
            people.load(9)


class TestLocalsyncSpec:
    """localsync_spec and localstorage_store_spec: what is in local storage, seen through the collection."""

    def test_records_are_found_by_id_and_all_together(self, user: User):
        people = user().collection("people").fetch().fetch(remote=False)
        assert (people.get(1)["name"], people.pluck("id")) == ("Ada", [1, 2])

    def test_what_is_not_there_is_none(self, user: User):
        """Differs on purpose: Backbone calls the error callback with "Record not found"."""
        people = user().collection("people").fetch()
        assert people.load(9, remote=False) is None
        with pytest.raises(RecordGone):
            people.new({"id": 9}).fetch(remote=False)

    def test_a_create_of_an_id_that_is_pending_is_refused(self, user: User, upstream: RestUpstream):
        """Differs on purpose: Backbone's store overwrites the record."""
        people = user().collection("people")
        people.create(id=7, name="Turing", remote=False)
        with pytest.raises(ValidationFailed, match="already"):
            people.create(id=7, name="Hopper", remote=False)

    def test_ids_are_made_for_records_without(self, user: User):
        people = user().collection("people")
        ids = {people.create(name="Turing", remote=False).id for _ in range(3)}
        assert len(ids) == 3

    def test_local_storage_knows_whether_anything_is_dirty_or_destroyed(self, user: User, upstream: RestUpstream):
        """[hasDirtyOrDestroyed]."""
        alice = user()
        people = alice.collection("people").fetch()
        assert alice.status().pending == 0
        people.get(1).save(age=41, remote=False)
        people.get(2).destroy(remote=False)
        assert (alice.status().pending, alice.status().stores) == (2, {"/people": 2})

    def test_saving_and_destroying_online_cleans_the_lists(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people").fetch()
        ada, grace = people.get(1), people.get(2)
        ada.save(age=41, remote=False)
        grace.destroy(remote=False)
        ada.save(age=42)
        grace.destroy()
        assert (people.dirty_models(), people.destroyed_model_ids()) == ([], [])
        assert [method for method, *_ in upstream.writes] == ["PUT", "DELETE"]

    def test_only_models_and_collections_can_be_stored(self):
        """[localsync "model parameter"]."""
        with pytest.raises(ConfigurationError, match="subclass of Collection or Model"):
            DualStorage().register(dict)


class TestHeaders:
    """Options of a call that Backbone passes on to Ajax."""

    def test_headers_and_params(self, user: User, upstream: RestUpstream):
        people = user(dualstorage=declare(headers={"X-Team": "blue"})).collection("people")
        people.fetch({"page": 2}, headers={"X-Call": "one"})
        received: Received = upstream.received[0]
        assert (received.target, received.headers["X-Team"], received.headers["X-Call"]) == (
            "/people?page=2",
            "blue",
            "one",
        )
