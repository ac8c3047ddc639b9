"""``POST /sync``, ``GET /status`` and ``GET /``, for browsers and for programs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from flask import Blueprint, get_flashed_messages
from flask_wtf import CSRFProtect

from flask_dualstorage.errors import CollectionUnknown, OutboxUnavailable, ValidationFailed
from flask_dualstorage.web.blueprint import create_blueprint
from tests.unit.fakes import FakeStorage, FakeUser, PendingWrite, Status, SyncReport, make_app

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
AWAY = SyncReport(online=False, queued=1, remaining=1, retry_after=4.2)


@pytest.fixture
def alice() -> FakeUser:
    return FakeUser("user:alice")


@pytest.fixture
def app(alice):
    return make_app(FakeStorage(alice))


@pytest.fixture
def client(app):
    return app.test_client()


class TestSyncForPrograms:
    @pytest.mark.parametrize(
        "request_",
        [
            {},
            {"headers": {"Accept": "*/*"}},
            {"headers": {"Accept": "application/json"}},
            {"headers": {"Accept": "application/json, text/plain, */*"}},
            {"headers": {"Accept": "text/html;q=0.5, application/json"}},
            {"headers": BROWSER, "json": {}},
            {"headers": {"Content-Type": "application/json"}},
        ],
    )
    def test_the_report_is_json(self, client, alice, request_):
        alice.report = SyncReport(applied=3, writes=[{"id": "w1"}])
        answer = client.post("/dualstorage/sync", **request_)
        assert answer.status_code == 200
        assert answer.json == alice.report.to_dict()
        assert alice.calls == [(None, 10.0)]

    @pytest.mark.parametrize(
        "request_",
        [
            {"data": {"collection": ["people", "notes"]}},
            {"json": {"collection": ["people", "notes"]}},
        ],
    )
    def test_collections_can_be_named(self, client, alice, request_):
        assert client.post("/dualstorage/sync", **request_).status_code == 200
        assert alice.calls == [(["people", "notes"], 10.0)]

    def test_one_collection_needs_no_list(self, client, alice):
        client.post("/dualstorage/sync", json={"collection": "people"})
        assert alice.calls == [(["people"], 10.0)]

    @pytest.mark.parametrize("body", [b"{", b"[]", b"7", b'{"collection": 7}', b'{"collection": [7]}', b"\xff"])
    def test_a_body_that_makes_no_sense_is_a_problem_and_sends_nothing(self, client, alice, body):
        answer = client.post("/dualstorage/sync", data=body, content_type="application/json")
        assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
        assert alice.calls == []

    def test_an_unknown_collection_is_a_404_problem(self, client, alice):
        alice.report = CollectionUnknown("There is no collection 'x'.")
        answer = client.post("/dualstorage/sync", data={"collection": "x"})
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
        assert answer.get_json(force=True) == {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "There is no collection 'x'.",
        }

    @pytest.mark.parametrize(("retry_after", "header"), [(4.2, "5"), (0.0, "1"), (None, "5")])
    def test_out_of_reach_is_a_503_that_says_when_to_come_again(self, client, alice, retry_after, header):
        alice.report = SyncReport(online=False, queued=1, remaining=1, retry_after=retry_after)
        answer = client.post("/dualstorage/sync")
        assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
        assert answer.headers["Retry-After"] == header
        problem = answer.get_json(force=True)
        assert problem["title"] == "Service Unavailable"
        assert "out of reach" in problem["detail"]
        assert problem["report"] == alice.report.to_dict()

    @pytest.mark.parametrize(
        "report", [SyncReport(online=False), SyncReport(online=False, applied=1, queued=1, remaining=1)]
    )
    def test_where_something_was_sent_or_nothing_waited_it_is_a_200(self, client, alice, report):
        alice.report = report
        assert client.post("/dualstorage/sync").status_code == 200

    def test_an_error_of_the_tree_is_a_problem(self, client, alice):
        alice.report = OutboxUnavailable("The disk is full.")
        answer = client.post("/dualstorage/sync")
        assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
        assert answer.get_json(force=True)["detail"] == "The disk is full."

    def test_an_error_without_a_status_is_a_bug_that_shows(self, client, alice):
        alice.report = ValidationFailed({"owner": ["is empty"]})
        with pytest.raises(ValidationFailed):
            client.post("/dualstorage/sync")

    def test_get_sends_nothing(self, client, alice):
        assert client.get("/dualstorage/sync").status_code == 405
        assert alice.calls == []


class TestSyncForForms:
    def post(self, client, **fields):
        return client.post("/dualstorage/sync", data=fields, headers=BROWSER)

    def test_it_goes_on_to_next_and_says_what_happened(self, client, alice):
        alice.report = SyncReport(applied=2)
        with client:
            answer = self.post(client, next="/people?page=2")
            assert (answer.status_code, answer.location) == (303, "/people?page=2")
            assert get_flashed_messages() == ["2 changes were sent."]

    @pytest.mark.parametrize("target", [None, "//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil"])
    def test_without_a_next_of_this_site_it_goes_to_the_list(self, client, target):
        answer = self.post(client, **({} if target is None else {"next": target}))
        assert (answer.status_code, answer.location) == (303, "/dualstorage/")

    def test_out_of_reach_is_told_in_the_page(self, client, alice):
        alice.report = AWAY
        answer = client.post("/dualstorage/sync", headers=BROWSER, follow_redirects=True)
        assert answer.status_code == 200
        assert "The upstream service is out of reach. 1 change is kept here" in answer.text

    def test_an_app_without_sessions_still_redirects(self, alice):
        client = make_app(FakeStorage(alice), SECRET_KEY=None).test_client()
        assert self.post(client).status_code == 303
        assert client.get("/dualstorage/", headers=BROWSER).status_code == 200

    def test_an_unknown_collection_is_the_apps_own_404_page(self, app, alice):
        alice.report = CollectionUnknown("There is no collection 'x'.")
        app.register_error_handler(404, lambda error: (f"Our page: {error.description}", 404))
        answer = self.post(app.test_client(), collection="x")
        assert (answer.status_code, answer.text) == (404, "Our page: There is no collection 'x'.")

    def test_an_error_is_a_page(self, client, alice):
        alice.report = OutboxUnavailable("The disk is full.")
        answer = self.post(client)
        assert (answer.status_code, answer.mimetype) == (503, "text/html")


class TestCrossSite:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": "http://localhost"},
            {"Origin": "http://xn--spth-loa.example", "Host": "xn--spth-loa.example"},
            {"Origin": "http://app.example:5000", "Host": "app.example:5000"},
            {"Origin": "http://app.example", "Host": "app.example:80"},
        ],
    )
    def test_our_own_pages_may_post(self, client, alice, headers):
        assert client.post("/dualstorage/sync", headers=headers).status_code == 200
        assert len(alice.calls) == 1

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
            {"Origin": "null"},
            {"Origin": "https://localhost"},
            {"Origin": "http://evil.example"},
        ],
    )
    def test_others_may_not(self, client, alice, headers):
        answer = client.post("/dualstorage/sync", headers=headers)
        assert (answer.status_code, answer.content_type) == (403, "application/problem+json")
        page = client.post("/dualstorage/sync", headers={**BROWSER, **headers})
        assert (page.status_code, page.mimetype) == (403, "text/html")
        assert alice.calls == []

    def test_reading_is_not_held_up(self, client):
        headers = {"Sec-Fetch-Site": "cross-site"}  # somebody followed a link
        assert client.get("/dualstorage/", headers=headers).status_code == 200
        assert client.head("/dualstorage/status", headers=headers).status_code == 200


class TestFlaskWTF:
    def test_its_tokens_are_not_asked_for_if_it_came_first(self, alice):
        app = make_app(None)
        CSRFProtect(app)
        app.extensions["dualstorage"] = FakeStorage(alice)
        app.register_blueprint(create_blueprint("/dualstorage"))
        self.check(app)

    def test_nor_if_it_came_later(self, app):
        CSRFProtect(app)
        self.check(app)

    def check(self, app):
        app.add_url_rule("/own", view_func=lambda: "", methods=["POST"])
        client = app.test_client()
        assert client.post("/dualstorage/sync").status_code == 200
        assert client.post("/dualstorage/sync", headers={"Origin": "http://evil.example"}).status_code == 403
        assert client.post("/own").status_code == 400

    def test_something_else_of_that_name_is_left_alone(self, app):
        app.extensions["csrf"] = object()
        assert app.test_client().post("/dualstorage/sync").status_code == 200

    def test_it_is_not_imported_for_an_app_without_it(self):
        code = """
import sys
from flask import Flask
from flask_dualstorage.web.blueprint import create_blueprint
app = Flask("x")
app.register_blueprint(create_blueprint("/dualstorage"))
app.test_client().get("/")
assert "flask_wtf" not in sys.modules
"""
        subprocess.run([sys.executable, "-c", code], check=True)


class TestStatus:
    @pytest.mark.parametrize("headers", [{}, BROWSER])
    def test_it_is_json_for_everybody(self, client, alice, headers):
        alice.figures = Status(online=False, pending=3, oldest="2026-01-02T03:04:05Z", stores={"/people": 3})
        answer = client.get("/dualstorage/status", headers=headers)
        assert answer.json == {
            "online": False,
            "pending": 3,
            "in_doubt": 0,
            "conflict": 0,
            "rejected": 0,
            "oldest": "2026-01-02T03:04:05Z",
            "stores": {"/people": 3},
        }

    def test_an_error_is_a_problem(self, client, alice):
        alice.figures = OutboxUnavailable("The disk is full.")
        assert client.get("/dualstorage/status").content_type == "application/problem+json"


class TestPending:
    def test_json_when_asked(self, client, alice):
        alice.writes = [PendingWrite()]
        answer = client.get("/dualstorage/", headers={"Accept": "application/json"})
        assert answer.json == {"writes": [PendingWrite().to_dict()]}

    @pytest.mark.parametrize("headers", [{}, BROWSER, {"Accept": "*/*"}, {"Accept": "text/html"}])
    def test_a_page_otherwise(self, client, headers):
        answer = client.get("/dualstorage/", headers=headers)
        assert (answer.status_code, answer.mimetype) == (200, "text/html")

    def test_nothing_waits(self, client):
        page = client.get("/dualstorage/").text
        assert "Nothing is waiting" in page
        assert "<table" not in page
        assert "<form" not in page

    def test_it_tells_what_where_since_when_and_why(self, client, alice):
        alice.writes = [
            PendingWrite("w1", record_id="tmp-" + "0" * 32, kind="create", base=None),
            PendingWrite(
                "w2", "/people/tmp-1/notes", "tmp-" + "1" * 32, "create", waits_for=["w1"], reason="goes after another"
            ),
            PendingWrite("w3", kind="delete", state="sending"),
            PendingWrite("w4", attempts=1, not_before="2026-01-02T04:00:00Z", reason="the upstream is out of reach"),
            PendingWrite("w5", state="rejected", reason="422", problem={"title": "Invalid", "detail": "age is < 0"}),
            PendingWrite("w6", state="rejected", reason="Invalid", problem={"title": "Invalid"}),
        ]
        page = client.get("/dualstorage/").text
        rows = [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in re.findall("<tr id=.*?</tr>", page, re.S)]
        assert rows == [
            "New record: Turing name, age /people 2026-01-02 03:04 UTC ○ waiting to be sent",
            "New record: Turing age /people/(new)/notes 2026-01-02 03:04 UTC ○ waiting to be sent "
            "goes after another Goes after: New record: Turing (/people)",
            "Deletion of 7: Turing /people 2026-01-02 03:04 UTC ➤ being sent",
            "Change of 7: Turing age /people 2026-01-02 03:04 UTC ○ waiting to be sent the upstream is out of reach "
            "Not tried again by itself before: 2026-01-02 04:00 UTC",
            "Change of 7: Turing age /people 2026-01-02 03:04 UTC ✗ refused 422 age is &lt; 0 "
            "Correct it : Change of 7: Turing",
            "Change of 7: Turing age /people 2026-01-02 03:04 UTC ✗ refused Invalid Correct it : Change of 7: Turing",
        ]
        assert '<a href="/dualstorage/writes/w1">' in page

    def test_it_works_with_a_screen_reader_and_without_scripts(self, client, alice):
        alice.writes = [PendingWrite()]
        page = client.get("/dualstorage/").text
        assert '<html lang="en">' in page
        assert "<caption" in page
        assert page.count('<th scope="col">') == 6
        assert page.count('<th scope="row">') == 1
        assert '<form method="post" action="/dualstorage/sync">' in page
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page)

    def test_what_others_wrote_is_text_not_markup(self, client, alice):
        evil = "<script>alert(1)</script>'\""
        alice.writes = [
            PendingWrite(
                store=evil,
                record_id=evil,
                state=evil,
                reason=evil,
                not_before=evil,
                created_at=evil,
                attributes={evil: evil},
                base=None,
                problem={"detail": evil + evil},
            )
        ]
        page = client.get("/dualstorage/").text
        assert "<script" not in page
        assert "'\"" not in page

    def test_the_app_can_bring_its_own_layout(self, app, tmp_path):
        (tmp_path / "dualstorage").mkdir()
        (tmp_path / "dualstorage" / "base.html").write_text("OUR LAYOUT {% block content %}{% endblock %}")
        app.template_folder = str(tmp_path)
        assert app.test_client().get("/dualstorage/").text.startswith("OUR LAYOUT")


class TestEveryAnswer:
    @pytest.mark.parametrize(
        ("method", "path", "headers"),
        [
            ("GET", "/dualstorage/", BROWSER),
            ("GET", "/dualstorage/status", {}),
            ("POST", "/dualstorage/sync", {}),
            ("POST", "/dualstorage/sync", BROWSER),
            ("POST", "/dualstorage/sync", {"Origin": "null"}),
        ],
    )
    def test_is_of_one_owner_and_never_cached(self, client, method, path, headers):
        answer = client.open(path, method=method, headers=headers)
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert {"accept", "cookie"} <= set(answer.vary.as_set())

    def test_the_style_sheet_may_be_cached(self, client):
        href = re.search('<link rel="stylesheet" href="([^"]+)">', client.get("/dualstorage/").text)[1]
        with client.get(href) as answer:
            assert (answer.status_code, answer.mimetype) == (200, "text/css")
            assert "no-store" not in answer.headers["Cache-Control"]


class TestWhereItIs:
    def test_the_prefix_is_the_apps(self, alice):
        client = make_app(FakeStorage(alice), "/me/changes").test_client()
        assert client.get("/me/changes/").status_code == 200
        assert client.post("/me/changes/sync", headers=BROWSER).location == "/me/changes/"

    def test_it_can_be_part_of_another_blueprint(self, alice):
        app = make_app(None)
        app.extensions["dualstorage"] = FakeStorage(alice)
        parent = Blueprint("parent", __name__, url_prefix="/account")
        parent.register_blueprint(create_blueprint("/changes"))
        app.register_blueprint(parent)
        client = app.test_client()
        assert client.get("/account/changes/").status_code == 200
        assert client.post("/account/changes/sync", headers=BROWSER).location == "/account/changes/"
        assert client.post("/account/changes/sync", headers={"Origin": "null"}).status_code == 403

    def test_left_off_it_has_no_routes(self, alice):
        client = make_app(FakeStorage(alice), None).test_client()
        assert client.get("/dualstorage/").status_code == 404
        assert client.post("/dualstorage/sync").status_code == 404
