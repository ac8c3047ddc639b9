"""``DUALSTORAGE_AUTO_SYNC = "after_response"``: what is due goes out after a page, and no page pays for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, has_request_context

from flask_dualstorage import Collection, DualStorage, NoCredentials
from flask_dualstorage.sync import autosync
from flask_dualstorage.testing import after_response
from tests.integration.test_counts import Counts, counts
from tests.integration.test_freshness import client
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, storage_of

__all__ = ["counts"]

Run = Callable[[], int]

_tags = itertools.count()


@pytest.fixture
def make(make_app: MakeApp, upstream: RestUpstream) -> Callable[..., Flask]:
    """The app with a few pages: a list, the list as it is here, the badge, and one that keeps a record."""

    def give(dualstorage: DualStorage | None = None, **config: Any) -> Flask:
        app = make_app(dualstorage, **{"url": upstream.url, "DUALSTORAGE_AUTO_SYNC": "after_response", **config})
        storage = storage_of(app)
        shown: dict[str, Callable[[], Any]] = {
            "list": lambda: len(storage.collection("people").fetch()),
            "here": lambda: len(storage.collection("people").fetch(remote=False)),
            "record": lambda: storage.collection("people").get_or_404(1)["name"],
            "badge": lambda: storage.status().pending,
            "keep": lambda: storage.collection("people").create(name="Turing", remote=False).dirty,
            "create": lambda: storage.collection("people").create(name="Turing").dirty,
            "nothing": lambda: "nothing",
        }
        for name, show in shown.items():
            app.add_url_rule(f"/{name}", name, lambda show=show: str(show()))
        return app

    return give


@pytest.fixture
def app(make: Callable[..., Flask]) -> Flask:
    return make()


@pytest.fixture
def run(app: Flask) -> Iterator[Run]:
    with after_response(app) as run:
        yield run


def see(app: Flask, url: str) -> str:
    """Alice opens a page; gives what it shows."""
    with client(app).get(url) as response:
        assert response.status_code == 200, response.text
        return str(response.text)


def keep(app: Flask, name: str = "alice") -> None:
    """Something waits that may be sent."""
    storage_of(app).for_user(name).collection("people").new({"id": 1}).save(tag=next(_tags), remote=False)


class TestWhatIsDueGoesOut:
    @pytest.mark.parametrize("url", ["/list", "/here", "/record", "/badge", "/keep"])
    def test_after_a_page_that_saw_that_something_waits(self, app: Flask, run: Run, upstream: RestUpstream, url: str):
        see(app, "/list")
        keep(app)
        see(app, url)
        assert upstream.sent == []
        assert run() == 1
        assert upstream.sent
        assert see(app, "/badge") == "0"
        assert run() == 0

    def test_not_after_one_that_read_nothing(self, app: Flask, run: Run):
        keep(app)
        see(app, "/nothing")
        assert run() == 0

    def test_not_in_a_test_that_does_not_ask_for_it(self, app: Flask, upstream: RestUpstream):
        keep(app)
        see(app, "/badge")
        assert upstream.sent == []

    def test_not_where_it_is_off(self, make: Callable[..., Flask], upstream: RestUpstream):
        app = make(DUALSTORAGE_AUTO_SYNC="off")
        keep(app)
        with after_response(app) as run:
            assert (see(app, "/badge"), run()) == ("1", 0)

    def test_nobody_elses(self, app: Flask, run: Run, upstream: RestUpstream):
        keep(app)
        keep(app, "bob")
        see(app, "/badge")
        run()
        assert (len(upstream.sent), storage_of(app).owners()) == (1, ["user:bob"])

    def test_once_in_a_few_seconds(self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock):
        for _ in range(3):
            keep(app)
            see(app, "/badge")
            run()
        assert len(upstream.sent) == 1
        clock.advance(autosync.EVERY)
        see(app, "/badge")
        run()
        assert len(upstream.sent) == 2

    def test_owners_do_not_wait_for_each_others_seconds(self, app: Flask, run: Run, upstream: RestUpstream):
        for name in ("alice", "bob"):
            keep(app, name)
            client(app).get("/badge", headers={"X-User": name})
        assert run() == 2
        assert len(upstream.sent) == 2

    def test_the_seconds_of_many_owners_are_not_all_remembered(
        self, app: Flask, run: Run, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(autosync, "OWNERS", 3)
        auto_sync = storage_of(app)._auto_sync
        for number in range(20):
            assert auto_sync._is_time(str(number))
            assert len(auto_sync._last) <= 3
        clock.advance(autosync.EVERY)
        assert auto_sync._is_time("19")


class TestWhatMayNotGo:
    def test_our_own_backoff_is_kept(self, app: Flask, run: Run, upstream: RestUpstream, clock: Clock):
        """Nobody asked for it, so that it is no explicit sync; and a view that sees no due write leaves nothing."""
        storage_of(app).engine.jitter = lambda: 1.0
        see(app, "/list")
        upstream.then(answer(503))
        assert see(app, "/create") == "True"
        sent = len(upstream.sent)
        see(app, "/here")
        assert run() == 0
        clock.advance(60)
        see(app, "/here")
        assert run() == 1
        assert len(upstream.sent) == sent + 1

    def test_nothing_goes_while_the_breaker_is_open(
        self, make: Callable[..., Flask], upstream: RestUpstream, clock: Clock
    ):
        app = make(DUALSTORAGE_BREAKER_THRESHOLD=1)
        see(app, "/list")
        upstream.unplug()
        see(app, "/list")
        keep(app)
        with after_response(app) as run:
            see(app, "/badge")
            assert run() == 0
            upstream.plug()
            clock.advance(5)
            see(app, "/badge")
            assert run() == 1
        assert len(upstream.sent) == 1

    def test_nothing_goes_after_a_page_that_could_not_connect(self, app: Flask, run: Run, upstream: RestUpstream):
        see(app, "/list")
        upstream.unplug()
        see(app, "/create")
        see(app, "/list")
        assert run() == 0


class TestTheCredential:
    def test_is_asked_for_in_the_request_and_only_where_something_waits(
        self, make: Callable[..., Flask], upstream: RestUpstream
    ):
        asked: list[tuple[str, str, bool]] = []
        dualstorage = DualStorage()

        @dualstorage.upstream_auth
        def credential(owner: str, name: str) -> dict[str, str]:
            asked.append((owner, name, has_request_context()))
            return {"Authorization": owner}

        app = make(dualstorage)
        with after_response(app) as run:
            see(app, "/badge")
            assert asked == []
            keep(app)
            see(app, "/badge")
            run()
        assert asked == [("user:alice", "default", True)]
        assert upstream.sent[0].headers["Authorization"] == "user:alice"

    @pytest.mark.parametrize("error", [NoCredentials("Log in first."), OSError("the vault is down")])
    def test_where_there_is_none_the_page_is_there_and_the_write_waits(
        self, make: Callable[..., Flask], upstream: RestUpstream, error: Exception
    ):
        dualstorage = DualStorage()

        @dualstorage.upstream_auth
        def credential(owner: str, name: str) -> None:
            raise error

        app = make(dualstorage)
        keep(app)
        with after_response(app) as run:
            assert see(app, "/badge") == "1"
            run()
            assert see(app, "/badge") == "1"
        assert upstream.sent == []

    def test_an_upstream_that_no_page_spoke_of_is_not_asked(self, make: Callable[..., Flask], upstream: RestUpstream):
        """Its credential would have to be asked for in a thread that has no request."""
        asked: list[str] = []
        with RestUpstream({"/bills": []}) as other:
            dualstorage = DualStorage()
            bills = type("Bills", (Collection,), {"name": "bills", "upstream": "billing"})
            dualstorage.register(bills)
            dualstorage.upstream_auth(lambda owner, name: asked.append(name))
            app = make(dualstorage, DUALSTORAGE_UPSTREAMS={"billing": {"url": other.url}})
            keep(app)
            storage_of(app).for_user("alice").collection("bills").create(sum=1, remote=False)
            with after_response(app) as run:
                see(app, "/here")
                run()
            assert (asked, len(upstream.sent), other.sent) == (["default"], 1, [])


class TestWhatItCosts:
    """A page of an owner with nothing pending pays nothing, nor does one that sends."""

    @pytest.mark.parametrize("url", ["/here", "/badge", "/nothing"])
    @pytest.mark.parametrize("waits", [False, True])
    def test_no_statement_more(
        self, make: Callable[..., Flask], upstream: RestUpstream, counts: Counts, url: str, waits: bool
    ):
        statements = []
        for how in ("off", "after_response"):
            app = make(DUALSTORAGE_AUTO_SYNC=how)
            storage_of(app).for_user("alice").collection("people").fetch(when_dirty="rebase")
            if waits:
                keep(app)
            with after_response(app) as run, counts.since():
                see(app, url)
                statements.append(list(counts.sql))
                assert counts.requests == 0
                assert run() == (1 if waits and how == "after_response" and url != "/nothing" else 0)
        assert len(statements[0]) == len(statements[1])
