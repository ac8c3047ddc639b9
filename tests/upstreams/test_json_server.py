"""The real thing: a Flask app in front of json-server 0.17.4, which is killed and started again.

The app is spoken to over its own pages, as a browser would; what it shows is compared with what json-server holds.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask, request
from flask.testing import FlaskClient

from flask_dualstorage import Collection, Dialect, DualStorage, UpstreamError
from flask_dualstorage.types import Answer
from tests.upstreams.json_server import JsonServer
from tests.whole import MakeApp, storage_of

Record = dict[str, Any]

PEOPLE = [{"id": 1, "name": "Ada", "age": 36}, {"id": 2, "name": "Grace", "age": 85}]


@dataclass
class Browser:
    """One user of the app, over its pages."""

    client: FlaskClient
    user: str

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self.client.open(path, method=method, headers={"X-User": self.user}, **options)
        assert answer.status_code == 200, answer.text
        return answer.json

    def page(self, collection: str) -> Record:
        """What the list's page shows: ``records``, and the ``source`` of them."""
        return self._ask("GET", f"/{collection}")

    def shows(self, collection: str) -> list[Record]:
        """The records on the list's page."""
        return self.page(collection)["records"]

    def create(self, collection: str, **fields: Any) -> Record:
        """Fill in and send the form for a new record; gives what the page then shows of it."""
        return self._ask("POST", f"/{collection}", json=fields)

    def edit(self, collection: str, record_id: Any, **fields: Any) -> Record:
        """Edit a record."""
        return self._ask("POST", f"/{collection}/{record_id}", json=fields)

    def patch(self, collection: str, record_id: Any, **fields: Any) -> Record:
        """Edit a record, sending only what changed."""
        return self._ask("POST", f"/{collection}/{record_id}?patch=1", json=fields)

    def delete(self, collection: str, record_id: Any) -> Record:
        """Press a record's delete button."""
        return self._ask("POST", f"/{collection}/{record_id}/delete")

    def sync(self) -> Record:
        """Press the sync button; gives the report."""
        return self._ask("POST", "/dualstorage/sync", json={})

    def status(self) -> Record:
        """What the badge tells."""
        return self._ask("GET", "/dualstorage/status")


def add_pages(app: Flask) -> None:
    """The app: lists, forms and buttons for whatever collection is in the address."""
    storage = storage_of(app)

    @app.errorhandler(UpstreamError)
    def told(error: UpstreamError) -> tuple[Record, int]:
        return {"status": error.status, "in_doubt": error.in_doubt, "problem": error.problem}, 502

    @app.get("/<name>")
    def listed(name: str) -> Record:
        collection = storage.collection(name).fetch()
        return {"records": [dict(each) for each in collection], "source": collection.source}

    @app.post("/<name>")
    def create(name: str) -> Record:
        model = storage.collection(name).create(request.get_json())
        return {"record": dict(model), "dirty": model.dirty}

    @app.post("/<name>/<record_id>")
    def edit(name: str, record_id: str) -> Record:
        model = storage.collection(name).get_or_404(record_id)
        result = model.save(request.get_json(), patch="patch" in request.args)
        return {"record": dict(model), "dirty": result.dirty, "state": result.state}

    @app.post("/<name>/<record_id>/delete")
    def delete(name: str, record_id: str) -> Record:
        result = storage.collection(name).get_or_404(record_id).destroy()
        return {"dirty": result.dirty, "state": result.state}


StartApp = Callable[..., Flask]


@pytest.fixture
def start_app(make_app: MakeApp) -> StartApp:
    """Start the app in front of a server; again, and it is the app after a restart."""

    def start(server: JsonServer, dualstorage: DualStorage | None = None, **config: Any) -> Flask:
        # One lane at a time: json-server numbers a new record by what is there, so the order decides its id.
        app = make_app(dualstorage, url=server.url, **{"DUALSTORAGE_SYNC_CONCURRENCY": 1, **config})
        add_pages(app)
        return app

    return start


@pytest.fixture
def server(start_json_server: Callable[[Record], JsonServer]) -> JsonServer:
    return start_json_server({"people": PEOPLE, "posts": [], "comments": []})


@pytest.fixture
def alice(start_app: StartApp, server: JsonServer) -> Browser:
    return Browser(start_app(server).test_client(), "alice")


class TestAnOutage:
    def test_the_whole_story(self, alice: Browser, server: JsonServer):
        """Load, kill, read, create, edit, delete, start again, sync: both sides hold the same."""
        assert alice.page("people") == {"records": PEOPLE, "source": "upstream"}
        server.stop()

        assert alice.page("people") == {"records": PEOPLE, "source": "cache"}
        turing = alice.create("people", name="Turing", age=41)
        assert turing["dirty"]
        assert alice.edit("people", 1, age=37)["dirty"]
        assert alice.delete("people", 2)["dirty"]
        seen = alice.shows("people")
        assert seen == [{"id": 1, "name": "Ada", "age": 37}, {**turing["record"]}]
        assert server.read()["people"] == PEOPLE

        server.start()
        report = alice.sync()
        assert (report["applied"], report["remaining"], report["online"]) == (3, 0, True)
        held = server.read()["people"]
        assert held == [{"id": 1, "name": "Ada", "age": 37}, {"name": "Turing", "age": 41, "id": 3}]
        assert alice.page("people") == {"records": held, "source": "upstream"}
        assert alice.status()["pending"] == 0

    def test_a_second_sync_sends_nothing(self, alice: Browser, server: JsonServer):
        alice.shows("people")
        server.stop()
        alice.create("people", name="Turing")
        server.start()
        assert alice.sync()["applied"] == 1
        before = server.read()
        assert alice.sync()["applied"] == 0
        assert server.read() == before

    def test_a_sync_while_it_is_still_gone_says_so_and_loses_nothing(self, alice: Browser, server: JsonServer):
        alice.shows("people")
        server.stop()
        alice.create("people", name="Turing")
        answer = alice.client.post("/dualstorage/sync", json={}, headers={"X-User": "alice"})
        assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
        server.start()
        assert alice.sync()["applied"] == 1

    def test_the_writes_of_a_record_arrive_as_what_they_come_to(self, alice: Browser, server: JsonServer):
        """Create then edit is one create; edit then delete is one delete; create then delete is nothing."""
        alice.shows("people")
        server.stop()
        turing = alice.create("people", name="Turing")["record"]
        alice.edit("people", turing["id"], age=41)
        alice.edit("people", 1, age=37)
        alice.delete("people", 1)
        hopper = alice.create("people", name="Hopper")["record"]
        alice.delete("people", hopper["id"])
        server.start()
        assert alice.sync()["applied"] == 2
        held = server.read()["people"]
        assert held == [PEOPLE[1], {"name": "Turing", "age": 41, "id": 3}]
        assert alice.shows("people") == held

    def test_kept_apart_they_arrive_in_order(self, start_app: StartApp, server: JsonServer):
        """Create, then edit, then delete of one record, each a write of its own."""
        dualstorage = DualStorage()
        dualstorage.register(type("People", (Collection,), {"name": "people", "coalesce": False}))
        alice = Browser(start_app(server, dualstorage).test_client(), "alice")
        alice.shows("people")
        server.stop()
        for name in ("Turing", "Hopper"):
            made = alice.create("people", name=name)["record"]
            alice.edit("people", made["id"], age=41)
        alice.delete("people", made["id"])
        server.start()
        report = alice.sync()
        assert (report["applied"], report["remaining"]) == (5, 0)
        held = server.read()["people"]
        assert [(row["name"], row.get("age")) for row in held] == [("Ada", 36), ("Grace", 85), ("Turing", 41)]
        assert alice.shows("people") == held

    def test_comments_of_a_post_that_has_no_number_yet(self, alice: Browser, server: JsonServer):
        """``postId`` is the temporary id until the post is numbered, and then the number, as a number."""
        assert (alice.shows("posts"), alice.shows("comments")) == ([], [])
        server.stop()
        post = alice.create("posts", title="On computable numbers")["record"]
        for text in ("first", "second"):
            comment = alice.create("comments", postId=post["id"], body=text)["record"]
            assert comment["postId"] == post["id"]
        server.start()
        assert alice.sync()["applied"] == 3
        held = server.read()
        number = held["posts"][0]["id"]
        assert isinstance(number, int)
        assert [row["postId"] for row in held["comments"]] == [number, number]
        embedded = requests.get(f"{server.url}/posts?_embed=comments", timeout=5).json()
        assert len(embedded[0]["comments"]) == 2
        assert (alice.shows("posts"), alice.shows("comments")) == (held["posts"], held["comments"])

    def test_nested_under_a_post_that_has_no_number_yet(self, start_app: StartApp, server: JsonServer):
        """``/posts/1/comments`` is json-server's other way to say it: it takes ``postId`` from the address, as text."""
        dualstorage = DualStorage()
        dualstorage.register(type("Comments", (Collection,), {"name": "comments", "url": "/posts/{post_id}/comments"}))
        app = start_app(server, dualstorage)
        alice = storage_of(app).for_user("alice")
        alice.collection("posts").fetch()
        server.stop()
        post = alice.collection("posts").create(title="On computable numbers")
        alice.collection("comments", post_id=post.id).create(body="first")
        server.start()
        assert alice.sync().applied == 2
        held = server.read()
        assert [str(row["postId"]) for row in held["comments"]] == [str(held["posts"][0]["id"])]
        comments = alice.collection("comments", post_id=post.id).fetch()
        assert comments.pluck("body") == ["first"]


class TestWhatSurvives:
    def test_the_app_is_restarted_between_outage_and_sync(
        self, start_app: StartApp, server: JsonServer, alice: Browser
    ):
        alice.shows("people")
        server.stop()
        turing = alice.create("people", name="Turing")["record"]
        alice.edit("people", 1, age=37)
        alice.delete("people", 2)
        after = Browser(start_app(server).test_client(), "alice")
        assert after.page("people") == {
            "records": [{"id": 1, "name": "Ada", "age": 37}, turing],
            "source": "cache",
        }
        server.start()
        assert after.sync()["applied"] == 3
        assert after.shows("people") == server.read()["people"]

    def test_the_cache_is_cleared_in_the_outage(self, alice: Browser, server: JsonServer, tmp_path: Path):
        """The copies are gone, what was written here is not; once synced, all is as it should be."""
        alice.shows("people")
        server.stop()
        turing = alice.create("people", name="Turing")["record"]
        alice.edit("people", 1, age=37)
        alice.delete("people", 2)
        shutil.rmtree(tmp_path / "instance" / "dualstorage-cache")
        (tmp_path / "instance" / "dualstorage-cache").mkdir()
        page = alice.page("people")
        assert page["source"] == "local"
        assert page["records"] == [turing, {"id": 1, "name": "Ada", "age": 37}]
        server.start()
        assert alice.sync()["applied"] == 3
        assert alice.shows("people") == server.read()["people"]

    def test_two_users_at_once(self, start_app: StartApp, server: JsonServer):
        """Each sees what they wrote and nothing of the other's until it is upstream."""
        app = start_app(server)
        alice, bob = Browser(app.test_client(), "alice"), Browser(app.test_client(), "bob")
        for browser in (alice, bob):
            browser.shows("people")
        server.stop()
        alice.create("people", name="Turing")
        bob.create("people", name="Hopper")
        bob.delete("people", 1)
        assert [row["name"] for row in alice.shows("people")] == ["Ada", "Grace", "Turing"]
        assert [row["name"] for row in bob.shows("people")] == ["Grace", "Hopper"]
        server.start()
        assert alice.sync()["applied"] == 1
        assert bob.status()["pending"] == 2
        assert bob.sync()["applied"] == 2
        held = server.read()["people"]
        assert [row["name"] for row in held] == ["Grace", "Turing", "Hopper"]
        assert alice.shows("people") == bob.shows("people") == held


class TestOnline:
    def test_create_edit_and_delete(self, alice: Browser, server: JsonServer):
        alice.shows("people")
        made = alice.create("people", name="Turing")
        assert made == {"record": {"name": "Turing", "id": 3}, "dirty": False}
        assert alice.edit("people", 3, age=41)["state"] == "applied"
        assert alice.delete("people", 2) == {"dirty": False, "state": "applied"}
        held = server.read()["people"]
        assert held == [PEOPLE[0], {"name": "Turing", "id": 3, "age": 41}]
        assert alice.shows("people") == held

    def test_the_app_reads_its_own_writes_before_any_new_fetch(self, alice: Browser, server: JsonServer):
        alice.shows("people")
        alice.create("people", name="Turing")
        alice.edit("people", 1, age=37)
        alice.delete("people", 2)
        held = server.read()["people"]
        server.stop()
        assert alice.page("people") == {"records": held, "source": "cache"}

    def test_patch_sends_what_changed(self, alice: Browser, server: JsonServer):
        """As plain JSON: json-server answers merge-patch with 200 and ignores it."""
        alice.shows("people")
        assert alice.patch("people", 1, age=37)["record"] == {"id": 1, "name": "Ada", "age": 37}
        assert server.read()["people"][0] == {"id": 1, "name": "Ada", "age": 37}

    def test_patch_by_dialect(self, start_app: StartApp, server: JsonServer):
        dualstorage = DualStorage()
        dialect = Dialect(update_method="PATCH")
        dualstorage.register(type("People", (Collection,), {"name": "people", "dialect": dialect}))
        alice = Browser(start_app(server, dualstorage).test_client(), "alice")
        alice.shows("people")
        alice.edit("people", 1, age=37)
        assert server.read()["people"][0] == {"id": 1, "name": "Ada", "age": 37}

    def test_an_unchanged_list_is_a_304(self, alice: Browser, server: JsonServer, caplog: pytest.LogCaptureFixture):
        """Its weak ETag serves the cache."""
        alice.shows("people")
        with caplog.at_level(logging.DEBUG, logger="urllib3"):
            assert alice.page("people") == {"records": PEOPLE, "source": "upstream"}
        assert any('"GET /people HTTP/1.1" 304' in record.getMessage() for record in caplog.records)


class TestQuirks:
    """What json-server does and others do not; first as it is, so that a new version that differs is noticed."""

    def test_its_etags_are_weak_and_never_go_out_as_if_match(self, alice: Browser, server: JsonServer, monkeypatch):
        for path in ("/people", "/people/1"):
            assert requests.get(server.url + path, timeout=5).headers["ETag"].startswith("W/")
        sent = _headers_of_writes(monkeypatch)
        alice.shows("people")
        alice.edit("people", 1, age=37)
        alice.edit("people", 1, age=38)
        alice.delete("people", 1)
        assert [method for method, _ in sent] == ["PUT", "PUT", "DELETE"]
        assert not any("If-Match" in headers for _, headers in sent)

    def test_it_ignores_if_match(self, server: JsonServer):
        answer = requests.put(f"{server.url}/people/1", json=PEOPLE[0], headers={"If-Match": '"no"'}, timeout=5)
        assert answer.status_code == 200

    def test_it_ignores_a_merge_patch(self, server: JsonServer):
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = requests.patch(f"{server.url}/people/1", data=b'{"age": 99}', headers=headers, timeout=5)
        assert (answer.status_code, answer.json()["age"]) == (200, 36)

    def test_creating_an_id_that_is_there_is_a_500_in_html(self, server: JsonServer):
        answer = requests.post(f"{server.url}/people", json={"id": 1, "name": "Turing"}, timeout=5)
        assert (answer.status_code, answer.headers["Content-Type"]) == (500, "text/html; charset=utf-8")
        assert server.read()["people"] == PEOPLE

    def test_such_a_create_is_withdrawn_and_told_as_in_doubt(self, alice: Browser, server: JsonServer):
        """A 500 may have been applied; nothing is kept, for the view still has the form."""
        alice.shows("people")
        answer = alice.client.post("/people", json={"id": 1, "name": "Turing"}, headers={"X-User": "alice"})
        assert answer.status_code == 502
        assert (answer.json["status"], answer.json["in_doubt"]) == (500, True)
        assert alice.status()["pending"] == 0
        assert alice.shows("people") == server.read()["people"] == PEOPLE

    def test_such_a_create_out_of_an_outage_is_held_for_its_owner(self, alice: Browser, server: JsonServer):
        """Somebody else took the id meanwhile: the 500 leaves it in doubt, and it is not sent again blindly."""
        alice.shows("people")
        server.stop()
        alice.create("people", id=7, name="Turing")
        server.start()
        requests.post(f"{server.url}/people", json={"id": 7, "name": "Hopper"}, timeout=5).raise_for_status()
        assert alice.sync()["in_doubt"] == 1
        assert alice.sync()["in_doubt"] == 1
        assert server.read()["people"][-1] == {"id": 7, "name": "Hopper"}

    def test_an_id_of_the_apps_is_taken(self, alice: Browser, server: JsonServer):
        alice.shows("people")
        server.stop()
        alice.create("people", id="turing", name="Turing")
        server.start()
        assert alice.sync()["applied"] == 1
        assert server.read()["people"][-1] == {"id": "turing", "name": "Turing"}
        assert alice.shows("people")[-1] == {"id": "turing", "name": "Turing"}

    def test_a_second_delete_is_a_404_and_counts_as_gone(self, alice: Browser, server: JsonServer):
        first = requests.delete(f"{server.url}/people/2", timeout=5)
        assert (first.status_code, first.json()) == (200, {})
        assert requests.delete(f"{server.url}/people/2", timeout=5).status_code == 404
        alice.shows("people")
        server.stop()
        alice.delete("people", 1)
        server.start()
        requests.delete(f"{server.url}/people/1", timeout=5).raise_for_status()
        assert alice.sync()["applied"] == 1
        assert alice.shows("people") == []

    def test_a_deleted_post_takes_its_comments_along(self, alice: Browser, server: JsonServer):
        """By their ``postId``; our own deletes of them meet a 404, or are the ones that it meets."""
        alice.shows("posts")
        post = alice.create("posts", title="On computable numbers")["record"]
        comments = [alice.create("comments", postId=post["id"], body=text)["record"] for text in ("one", "two")]
        alice.shows("comments")
        server.stop()
        alice.delete("posts", post["id"])
        alice.delete("comments", comments[0]["id"])
        server.start()
        assert alice.sync()["applied"] == 2
        assert (server.read()["posts"], server.read()["comments"]) == ([], [])
        assert (alice.shows("posts"), alice.shows("comments")) == ([], [])

    def test_an_update_of_what_somebody_else_deleted_is_a_conflict(self, alice: Browser, server: JsonServer):
        alice.shows("people")
        server.stop()
        alice.edit("people", 1, age=37)
        server.start()
        requests.delete(f"{server.url}/people/1", timeout=5).raise_for_status()
        assert alice.sync()["conflict"] == 1
        assert [row["id"] for row in alice.shows("people")] == [2, 1]
        assert [row["id"] for row in server.read()["people"]] == [2]

    def test_a_put_loses_fields_that_somebody_else_added(self, alice: Browser, server: JsonServer):
        """Without versions nobody can tell: the last PUT wins. ``patch`` keeps what it does not name."""
        alice.shows("people")
        for record_id in (1, 2):
            requests.patch(f"{server.url}/people/{record_id}", json={"city": "London"}, timeout=5).raise_for_status()
        server.stop()
        alice.edit("people", 1, age=37)
        alice.patch("people", 2, age=86)
        server.start()
        assert alice.sync()["applied"] == 2
        assert ["city" in row for row in server.read()["people"]] == [False, True]


def _headers_of_writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Method and headers of every write that leaves this process from now on."""
    from flask_dualstorage.upstream.wire import Adapter

    sent: list[tuple[str, Any]] = []
    exchange = Adapter.exchange

    def noting(self: Adapter, prepared: requests.PreparedRequest, *options: Any) -> Answer:
        if prepared.method != "GET":
            sent.append((str(prepared.method), prepared.headers))
        return exchange(self, prepared, *options)

    monkeypatch.setattr(Adapter, "exchange", noting)
    return sent
