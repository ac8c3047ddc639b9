"""How fresh a page is, and what that costs: counted at the upstream's listener."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_dualstorage.extension import AppDualStorage
from tests.integration.test_backbone import declare
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, User, storage_of

View = Callable[[AppDualStorage], Any]


def page(app: Flask, view: View) -> Any:
    """What a view gives, as JSON, to Alice's browser."""
    app.add_url_rule(f"/{view.__name__}", view.__name__, lambda: {"given": view(storage_of(app))})
    return client(app).get(f"/{view.__name__}").get_json()["given"]


def client(app: Flask) -> FlaskClient:
    """Alice's browser."""
    browser = app.test_client()
    browser.environ_base["HTTP_X_USER"] = "alice"
    return browser


class TestWithinOneRequest:
    """What is asked twice in one web request is read once."""

    def test_a_list(self, make_app: MakeApp, upstream: RestUpstream):
        def view(storage: AppDualStorage) -> Any:
            people = [storage.collection("people").fetch() for _ in range(3)]
            return [(each.source, each.age, each.pluck("id")) for each in people]

        assert page(make_app(url=upstream.url), view) == [["upstream", 0, [1, 2]]] * 3
        assert upstream.requests == [("GET", "/people")]

    def test_a_record(self, make_app: MakeApp, upstream: RestUpstream):
        def view(storage: AppDualStorage) -> Any:
            people = storage.collection("people")
            found = [people.load(1), people.get_or_404(1), people.load("1")]
            found[0].set(name="changed in one model, not in the others")
            return [each["name"] for each in found[1:]]

        assert page(make_app(url=upstream.url), view) == ["Ada", "Ada"]
        assert upstream.requests == [("GET", "/people/1")]

    def test_a_list_and_a_record_of_it_are_two_questions(self, make_app: MakeApp, upstream: RestUpstream):
        def view(storage: AppDualStorage) -> Any:
            people = storage.collection("people").fetch()
            return [people.load(1)["name"], people.fetch({"page": 2}).source]

        assert page(make_app(url=upstream.url), view) == ["Ada", "upstream"]
        assert upstream.requests == [("GET", "/people"), ("GET", "/people/1"), ("GET", "/people?page=2")]

    def test_a_copy_too(self, make_app: MakeApp, upstream: RestUpstream):
        """In an outage the second look costs no connection either, whatever the breaker knows."""

        def view(storage: AppDualStorage) -> Any:
            return [storage.collection("people").fetch().source for _ in range(3)]

        app = make_app(url=upstream.url)
        storage_of(app).for_user("alice").collection("people").fetch()
        upstream.then(answer(504), answer(504))
        assert page(app, view) == ["cache"] * 3
        assert len(upstream.requests) == 2

    @pytest.mark.parametrize("how", ["save", "create", "destroy", "clear", "sync", "forget"])
    def test_after_a_write_it_is_read_anew(self, make_app: MakeApp, upstream: RestUpstream, how: str):
        def view(storage: AppDualStorage) -> Any:
            people = storage.collection("people").fetch()
            match how:
                case "save":
                    people.get(1).save(age=37)
                case "create":
                    people.create(name="Turing")
                case "destroy":
                    people.get(1).destroy()
                case "clear":
                    people.clear()
                case "forget":
                    storage.forget(storage.owner)
                case _:
                    storage.sync()
            return people.fetch().source

        assert page(make_app(url=upstream.url), view) == "upstream"
        assert upstream.requests.count(("GET", "/people")) == 2

    def test_with_max_age_0_it_is_asked_in_any_case(self, make_app: MakeApp, upstream: RestUpstream):
        def view(storage: AppDualStorage) -> Any:
            people = storage.collection("people")
            return [people.fetch(**options).source for options in ({}, {"max_age": 0}, {}, {"max_age": 60})]

        assert page(make_app(url=upstream.url), view) == ["upstream"] * 4
        assert len(upstream.requests) == 2

    def test_outside_of_one_each_is_asked(self, user: User, upstream: RestUpstream):
        people = user().collection("people")
        people.fetch()
        people.fetch()
        assert len(upstream.requests) == 2

    def test_another_user_half_way_is_another_question(self, make_app: MakeApp, upstream: RestUpstream):
        """A log-in view changes the owner."""

        def view(storage: AppDualStorage) -> Any:
            return [storage.for_user(name).collection("people").fetch().source for name in ("alice", "bob")]

        assert page(make_app(url=upstream.url), view) == ["upstream"] * 2
        assert len(upstream.requests) == 2


class TestMaxAge:
    def test_looked_at_it_needs_no_request_until_then(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user(dualstorage=declare(max_age=60))
        assert len(alice.collection("people")) == 2
        clock.advance(59.9)
        people = alice.collection("people")
        assert (len(people), people.source, people.age, people.reason) == (2, "cache", pytest.approx(59.9), None)
        clock.advance(0.1)
        people = alice.collection("people")
        assert (len(people), people.source, people.age) == (2, "upstream", 0)

    def test_of_the_call_is_its_last_word(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user(dualstorage=declare(max_age=60)).collection("people").fetch()
        clock.advance(10)
        assert [people.fetch(max_age=age).source for age in (11, 10)] == ["cache", "upstream"]


class TestConditionalRequests:
    def test_nothing_new_is_a_304_and_young_again(self, make_app: MakeApp, clock: Clock):
        """RFC 9110 §13.1: the validator goes out, the copy is taken for the answer."""
        with RestUpstream({"/people": [{"id": 1, "name": "Ada"}]}, etags=True) as upstream:
            alice = storage_of(make_app(url=upstream.url)).for_user("alice")
            alice.collection("people").fetch()
            clock.advance(100)
            people = alice.collection("people").fetch()
            assert (people.source, people.age, people.pluck("name")) == ("upstream", 0, ["Ada"])
            assert upstream.received[1].headers["If-None-Match"]
            clock.advance(10)
            assert alice.collection("people").fetch(max_age=11).age == 10


class TestStaleIfError:
    """RFC 5861 §4: how old a copy may be that is shown in an outage."""

    def test_up_to_the_limit_with_age_and_reason(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user(DUALSTORAGE_STALE_IF_ERROR=60).collection("people").fetch()
        upstream.unplug()
        clock.advance(60)
        people.fetch()
        assert (people.source, people.age) == ("cache", 60)
        assert people.reason

    def test_a_copy_that_needs_no_request_does_not_mind(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user(DUALSTORAGE_STALE_IF_ERROR=60).collection("people").fetch()
        clock.advance(100)
        assert people.fetch(max_age=200).source == "cache"
