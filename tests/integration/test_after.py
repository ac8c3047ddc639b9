"""What a page leaves to be done after its response: it is not waited for, and it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, current_app, has_app_context, has_request_context, request

from flask_dualstorage import NoCredentials
from flask_dualstorage.sync import after
from flask_dualstorage.sync.freshening import REFRESHING
from flask_dualstorage.sync.reading import AWAY
from flask_dualstorage.testing import after_response
from tests.integration.test_backbone import declare
from tests.integration.test_counts import Counts, counts
from tests.integration.test_freshness import client
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, storage_of

__all__ = ["counts"]

#: Runs what was left to be done; gives how much that was.
Run = Callable[[], int]


@pytest.fixture
def app(make_app: MakeApp, upstream: RestUpstream) -> Flask:
    """Pages of a list that may be a minute old, and five more while it is refreshed."""
    return pages(make_app(declare(max_age=60, stale_while_revalidate=300), url=upstream.url))


@pytest.fixture
def run(app: Flask) -> Iterator[Run]:
    with after_response(app) as run:
        yield run


def pages(app: Flask) -> Flask:
    """Two pages: the list as it is fetched, and as it is looked at. The breaker may open at the first failure."""

    @app.get("/")
    def fetched() -> dict[str, Any]:
        people = storage_of(app).collection("people").fetch()
        return {"ids": people.pluck("id"), "source": people.source, "age": people.age, "reason": people.reason}

    @app.get("/looked")
    def looked() -> dict[str, Any]:
        people = storage_of(app).collection("people")
        return {"ids": people.pluck("id"), "source": people.source, "reason": people.reason}

    @app.get("/people/<id>")
    def one(id: str) -> dict[str, Any]:
        person = storage_of(app).collection("people").get_or_404(id)
        return {"name": person["name"], "source": person.freshness.source, "reason": person.freshness.reason}

    return app


def see(app: Flask, url: str = "/") -> dict[str, Any]:
    """Alice opens a page."""
    with client(app).get(url) as response:
        assert response.status_code == 200, response.text
        return dict(response.get_json())


class TestStaleWhileRevalidate:
    """RFC 5861 §3: the copy now, and a newer one for the next page."""

    def test_the_page_has_the_copy_and_the_next_one_what_came(
        self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock
    ):
        see(app)
        clock.advance(100)
        upstream.edit("/people", 1, id=7)
        page = see(app)
        assert (page["ids"], page["source"], page["age"], page["reason"]) == ([1, 2], "cache", 100, REFRESHING)
        assert len(upstream.received) == 1
        assert run() == 1
        assert len(upstream.received) == 2
        page = see(app, "/looked")
        assert (page["ids"], page["source"], page["reason"]) == ([7, 2], "cache", None)

    @pytest.mark.parametrize(
        ("age", "url", "source", "reason", "left"),
        [
            (59, "/looked", "cache", None, 0),
            (60, "/looked", "cache", REFRESHING, 1),
            (359, "/looked", "cache", REFRESHING, 1),
            (360, "/looked", "upstream", None, 0),
            (10, "/", "cache", REFRESHING, 1),
            (360, "/", "upstream", None, 0),
        ],
    )
    def test_by_age(
        self, app: Flask, run: Run, clock: Clock, age: float, url: str, source: str, reason: str | None, left: int
    ):
        see(app)
        clock.advance(age)
        page = see(app, url)
        assert (page["source"], page["reason"], run()) == (source, reason, left)

    def test_costs_the_page_one_select_and_one_cache_call(
        self, make_app: MakeApp, upstream: RestUpstream, clock: Clock, counts: Counts
    ):
        app = pages(make_app(declare(stale_while_revalidate=300), url=upstream.url))
        see(app)
        backend = storage_of(app).engine.bases.backend
        get = backend.get
        backend.get = lambda key: (counts.cache.append("get"), get(key))[1]  # type: ignore[method-assign, func-returns-value]
        clock.advance(10)
        with after_response(app), counts.since():
            assert see(app)["reason"] == REFRESHING
        assert (counts.selects, counts.statements, counts.cache, counts.requests) == (1, 1, ["get"], 0)

    def test_a_record_too(self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock):
        see(app, "/people/1")
        clock.advance(10)
        upstream.edit("/people", 1, name="Lovelace")
        assert see(app, "/people/1") == {"name": "Ada", "source": "cache", "reason": REFRESHING}
        assert run() == 1
        assert see(app, "/people/1")["name"] == "Lovelace"

    def test_many_pages_are_one_refresh(self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock):
        see(app)
        clock.advance(100)
        assert [see(app)["reason"] for _ in range(5)] == [REFRESHING] * 5
        assert run() == 1

    def test_what_another_worker_fetched_meanwhile_is_not_fetched_again(
        self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock
    ):
        see(app)
        clock.advance(100)
        see(app)
        storage_of(app).for_user("alice").collection("people").fetch(max_age=0)
        assert len(upstream.received) == 2
        run()
        assert len(upstream.received) == 2

    def test_writes_that_wait_hold_it_back(self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock):
        see(app)
        clock.advance(100)
        storage_of(app).for_user("alice").collection("people").create(name="Turing", remote=False)
        assert see(app)["source"] == "cache"
        assert run() == 0

    def test_a_failure_leaves_the_copy(self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock):
        see(app)
        clock.advance(100)
        for fault in (answer(504), answer(500), answer(404)):
            upstream.then(fault)
            assert see(app)["reason"] == REFRESHING
            assert run() == 1

    @pytest.mark.parametrize("status", [401, 403])
    @pytest.mark.parametrize("url", ["/", "/people/1"])
    def test_what_the_owner_may_not_see_any_more_is_no_copy(
        self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock, status: int, url: str
    ):
        """A page that asks itself would be an error: so the next one asks itself."""
        see(app)
        see(app, url)
        run()
        clock.advance(100)
        assert see(app, url)["reason"] == REFRESHING
        upstream.then(answer(status), answer(status))
        run()
        assert client(app).get(url).status_code == 502

    def test_in_an_outage_nothing_is_left_to_be_done(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        dualstorage = declare(stale_while_revalidate=300)
        app = pages(make_app(dualstorage, url=upstream.url, DUALSTORAGE_BREAKER_THRESHOLD=1))
        see(app)
        upstream.then(answer(504))
        clock.advance(1)
        with after_response(app) as run:
            assert see(app)["reason"] == REFRESHING
            assert run() == 1
            assert see(app)["reason"] == AWAY
            assert run() == 0

    def test_without_a_request_it_is_asked(self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock):
        """A job or a script has no response after which it could be."""
        see(app)
        clock.advance(100)
        assert storage_of(app).for_user("alice").collection("people").fetch().source == "upstream"

    def test_a_test_asks_unless_it_asks_for_this(self, app: Flask, upstream: RestUpstream, clock: Clock):
        see(app)
        clock.advance(100)
        assert see(app)["source"] == "upstream"

    @pytest.mark.parametrize("value", [-1, "5", True])
    def test_a_wrong_declaration_is_named(self, value: Any):
        with pytest.raises(Exception, match="stale_while_revalidate is"):
            declare(stale_while_revalidate=value)

    def test_for_the_whole_app(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        app = pages(make_app(url=upstream.url, DUALSTORAGE_STALE_WHILE_REVALIDATE=60))
        see(app)
        clock.advance(59)
        with after_response(app):
            assert see(app)["reason"] == REFRESHING


class TestWhatItNeedsOfTheRequest:
    def test_is_taken_while_it_is_there(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """The owner's credential and the collection's headers; hooks then run with the app, and no request."""
        seen: list[Any] = []
        contexts: list[tuple[bool, bool]] = []

        def parse(self: Any, response: Any) -> Any:
            contexts.append((current_app.name == "app" and has_app_context(), has_request_context()))
            return response

        dualstorage = declare(
            stale_while_revalidate=300, parse=parse, headers=lambda self: {"X-Page": request.headers["X-Page"]}
        )

        @dualstorage.upstream_auth
        def credential(owner: str, name: str) -> dict[str, str]:
            seen.append((owner, has_request_context()))
            return {"Authorization": request.headers["X-Page"]}

        app = pages(make_app(dualstorage, url=upstream.url))
        with after_response(app) as run:
            for number in ("1", "2"):
                client(app).get("/", headers={"X-Page": number})
                clock.advance(10)
            run()
        assert seen == [("user:alice", True)] * 2
        assert contexts == [(True, True), (True, False)]
        assert [(one.headers["X-Page"], one.headers["Authorization"]) for one in upstream.received] == [
            ("1", "1"),
            ("2", "2"),
        ]

    def test_an_owner_without_a_credential_is_told_so(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """As by a page that asks itself: a 401, and never a copy."""
        dualstorage = declare(stale_while_revalidate=300)
        app = pages(make_app(dualstorage, url=upstream.url))
        see(app)
        clock.advance(10)

        @dualstorage.upstream_auth
        def credential(owner: str, name: str) -> None:
            raise NoCredentials("Log in at the CRM first.")

        with after_response(app) as run:
            assert [client(app).get("/").status_code for _ in range(2)] == [401, 401]
            assert run() == 0


class TestTheProbe:
    """The cooldown is over: a page that has a copy serves it, and asks after its response."""

    @pytest.fixture
    def app(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock) -> Flask:
        """The upstream was lost, and the cooldown is over."""
        app = pages(make_app(url=upstream.url, DUALSTORAGE_BREAKER_THRESHOLD=1, DUALSTORAGE_BREAKER_COOLDOWN=5))
        see(app)
        upstream.unplug()
        see(app)
        clock.advance(5)
        return app

    def test_no_page_with_a_copy_opens_a_connection(self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock):
        """Outage without end: five cooldowns later no page has waited for the upstream once."""
        engine = storage_of(app).engine
        tried: list[str] = []
        send = engine.upstream("default").send

        def counted(*args: Any) -> Any:
            tried.append("tried")
            return send(*args)

        engine.upstream("default").send = counted  # type: ignore[method-assign]  # this app's alone
        for number in range(5):
            assert [see(app)["reason"] for _ in range(3)] == [AWAY] * 3
            assert len(tried) == number
            assert run() == 1
            assert len(tried) == number + 1
            assert see(app)["reason"] is not None
            assert run() == 0
            clock.advance(5)

    def test_it_closes_the_breaker_and_brings_a_newer_copy(self, app: Flask, run: Run, upstream: RestUpstream):
        upstream.plug()
        upstream.edit("/people", 1, id=7)
        assert (see(app)["source"], run()) == ("cache", 1)
        page = see(app)
        assert (page["ids"], page["source"], page["reason"]) == ([7, 2], "upstream", None)

    def test_a_page_without_a_copy_probes_itself(self, app: Flask, run: Run, upstream: RestUpstream):
        upstream.plug()
        assert see(app, "/people/1")["source"] == "cache"
        with client(app).get("/", headers={"X-User": "bob"}) as response:
            assert response.get_json()["source"] == "upstream"

    def test_a_copy_too_old_to_be_shown_is_none(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        app = pages(make_app(url=upstream.url, DUALSTORAGE_BREAKER_THRESHOLD=1, DUALSTORAGE_STALE_IF_ERROR=60))
        see(app)
        upstream.then(answer(504))
        see(app)
        clock.advance(61)
        with after_response(app) as run:
            assert see(app)["source"] == "upstream"
            assert run() == 0

    def test_a_script_probes_itself(self, app: Flask, run: Run, upstream: RestUpstream):
        upstream.plug()
        assert storage_of(app).for_user("alice").collection("people").fetch().source == "upstream"

    def test_a_flush_probes_itself(self, app: Flask, run: Run, upstream: RestUpstream):
        alice = storage_of(app).for_user("alice")
        alice.collection("people").create(name="Turing", remote=False)
        upstream.plug()
        assert alice.sync().applied == 1

    def test_a_promise_that_is_not_kept_is_done_by_a_page(
        self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock
    ):
        """Threads that never run, bodies that nobody closes: the upstream must be found again all the same."""
        upstream.plug()
        assert see(app)["source"] == "cache"
        clock.advance(after.OVERDUE)
        assert see(app)["source"] == "upstream"
