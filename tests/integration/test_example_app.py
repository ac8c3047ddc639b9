"""A user's walk through the example app, with its upstream as a real process and the plug in the user's hand."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.test import TestResponse

from example_app.app import create_app
from example_app.ports import taken
from example_app.upstream import start_upstream
from tests.needs import free_port
from tests.waiting import until
from tests.whole import PATIENT

# Longer than any test takes: a test that waits it out fails.
FOREVER = 300


@dataclass
class Upstream:
    """The example's upstream, seen from outside."""

    url: str
    control: str

    def has(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=FOREVER).json()

    def named(self, name: str) -> list[dict[str, Any]]:
        return [person for person in self.has("/people") if person["name"] == name]

    def turn(self, **wish: Any) -> None:
        requests.post(f"{self.control}/plug", json=wish, timeout=FOREVER).raise_for_status()


@dataclass
class Page:
    """What a browser shows after it followed the redirects."""

    response: TestResponse

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def path(self) -> str:
        return self.response.request.path

    @property
    def source(self) -> str:
        return self.response.text

    @property
    def text(self) -> str:
        """The words of its body, with single spaces."""
        body = self.source.partition("<body>")[2]
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())

    @property
    def nonce(self) -> str:
        found = re.search(r'name="dualstorage_nonce" value="([^"]+)"', self.source)
        assert found, "a form with a nonce"
        return found[1]

    def link(self, words: str) -> str:
        """The address of the link with these words."""
        found = re.search(rf'<a[^>]*href="([^"]+)"[^>]*>\s*{re.escape(words)}', self.source)
        assert found, f"a link {words!r}"
        return html.unescape(found[1])

    def value_of(self, field: str) -> str:
        """What stands in an input field."""
        found = re.search(rf'<input id="{field}"[^>]*value="([^"]*)"', self.source)
        assert found, f"a field {field!r}"
        return html.unescape(found[1])


class Browser:
    """One person's browser: it keeps cookies, follows redirects and fills in forms."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()
        self.client.environ_base["HTTP_ACCEPT"] = "text/html,*/*;q=0.8"

    def get(self, path: str) -> Page:
        return Page(self.client.get(path, follow_redirects=True))

    def post(self, path: str, **fields: str) -> Page:
        return Page(self.client.post(path, data=fields, follow_redirects=True))

    def fill_in(self, path: str, **fields: str) -> Page:
        """Open the page with the form, fill it in and send it."""
        return self.post(path, dualstorage_nonce=self.get(path).nonce, **fields)

    def add_note(self, person: str, text: str) -> Page:
        nonce = self.get(person).nonce
        return self.post(f"{person}/notes/new", dualstorage_nonce=nonce, text=text)

    def sync(self) -> Page:
        return self.post("/dualstorage/sync", next="/")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    port, control_port = free_port(), free_port()
    with start_upstream(port, control_port, tmp_path / "upstream.sqlite"):
        yield Upstream(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{control_port}")


@pytest.fixture
def app(upstream: Upstream, tmp_path: Path) -> Flask:
    config = {
        "DUALSTORAGE_UPSTREAM_URL": upstream.url,
        "UPSTREAM_CONTROL_URL": upstream.control,
        "DUALSTORAGE_TIMEOUT": PATIENT,
        # No waiting for a probe: plugged in is back.
        "DUALSTORAGE_BREAKER_COOLDOWN": 0,
    }
    return create_app(config, tmp_path / "instance")


@pytest.fixture
def open_browser(app: Flask) -> Callable[[], Browser]:
    return lambda: Browser(app)


@pytest.fixture
def me(open_browser: Callable[[], Browser]) -> Browser:
    return open_browser()


BOOTH = {"name": "Kathleen Booth", "role": "Programmer", "email": "k@birkbeck.example", "phone": "1", "city": "London"}


class TestPluggedIn:
    def test_lists_everybody(self, me: Browser) -> None:
        page = me.get("/")
        assert page.status == 200
        assert "People 12" in page.text
        assert "Ada Lovelace Analyst London" in page.text
        assert "away" not in page.text

    def test_shows_a_person_with_the_notes(self, me: Browser) -> None:
        page = me.get(me.get("/").link("Alan Turing"))
        assert "alan@bombe.example" in page.text
        assert "Runs the marathon in 2:46." in page.text

    def test_creates_a_person(self, me: Browser, upstream: Upstream) -> None:
        page = me.fill_in("/people/new", **BOOTH)
        assert (page.status, page.path) == (200, "/people/13")
        assert "Kathleen Booth was added. The directory service has it." in page.text
        assert [person | BOOTH for person in upstream.named("Kathleen Booth")] == upstream.named("Kathleen Booth")

    def test_edits_a_person(self, me: Browser, upstream: Upstream) -> None:
        assert me.get("/people/1/edit").value_of("city") == "London"
        page = me.fill_in("/people/1/edit", name="Ada King", city="Ockham")
        assert "Ada King was saved. The directory service has it." in page.text
        assert upstream.has("/people/1")["city"] == "Ockham"

    def test_deletes_a_person_after_asking(self, me: Browser, upstream: Upstream) -> None:
        assert "Delete Ada Lovelace?" in me.get("/people/1/delete").text
        assert upstream.has("/people/1")["name"] == "Ada Lovelace"
        page = me.fill_in("/people/1/delete")
        assert "Ada Lovelace was deleted. The directory service has it." in page.text
        assert "People 11" in page.text
        assert upstream.named("Ada Lovelace") == []

    def test_adds_edits_and_deletes_a_note(self, me: Browser, upstream: Upstream) -> None:
        page = me.add_note("/people/7", "Abstraction.")
        assert "The note was added. The directory service has it." in page.text
        edit = page.link("Edit<span class")
        assert "Abstraction." in me.get(edit).text
        me.fill_in(edit, text="Data\r\nabstraction.")
        assert [note["text"] for note in upstream.has("/people/7/notes")] == ["Data\nabstraction."]
        delete = me.get("/people/7").link("Delete<span class")
        assert "The note was deleted." in me.fill_in(delete).text
        assert upstream.has("/people/7/notes") == []

    def test_a_link_of_the_layout_leads_to_what_waits(self, me: Browser) -> None:
        page = me.get(me.get("/").link("✓ All changes are sent"))
        assert (page.status, page.path) == (200, "/dualstorage/")
        assert "Nothing is waiting" in page.text
        assert "Directory" in page.text, "the page is in the app's layout"

    def test_what_is_typed_is_text_and_never_markup(self, me: Browser) -> None:
        page = me.fill_in("/people/new", name="<script>alert(1)</script>", email='"><b>@x.example')
        assert "<script>" not in me.get("/").source
        assert "<script>" not in me.get("/people/13").source
        assert "<b>@x" not in page.source


class TestRefusals:
    def test_the_upstream_s_errors_come_back_with_what_was_typed(self, me: Browser, upstream: Upstream) -> None:
        page = me.fill_in("/people/new", **{**BOOTH, "email": "nowhere"})
        assert page.status == 422
        assert "Must look like name@host.example." in page.text
        assert (page.value_of("name"), page.value_of("email")) == ("Kathleen Booth", "nowhere")
        assert 'aria-describedby="email-error"' in page.source
        assert len(upstream.has("/people")) == 12
        assert "Nothing is waiting" in me.get("/dualstorage/").text

    def test_so_do_those_of_an_edit(self, me: Browser, upstream: Upstream) -> None:
        page = me.fill_in("/people/1/edit", name="Ada", email="nowhere")
        assert page.status == 422
        assert "Must look like name@host.example." in page.text
        assert (page.value_of("name"), page.value_of("email")) == ("Ada", "nowhere")
        assert upstream.has("/people/1")["name"] == "Ada Lovelace"

    def test_what_we_check_ourselves_needs_no_upstream(self, me: Browser, upstream: Upstream) -> None:
        upstream.turn(state="out")
        page = me.fill_in("/people/new", name="  ", city="London")
        assert page.status == 422
        assert "Give a name." in page.text
        assert page.value_of("city") == "London"

    def test_an_empty_note_is_refused_on_the_person_s_page(self, me: Browser) -> None:
        page = me.add_note("/people/1", " ")
        assert page.status == 422
        assert "Write something." in page.text
        assert "Ada Lovelace" in page.text

    def test_a_form_that_is_not_ours_is_refused_with_what_was_typed(self, me: Browser, upstream: Upstream) -> None:
        page = me.post("/people/new", dualstorage_nonce="forged", **BOOTH)
        assert page.status == 422
        assert "could not be recognised" in page.text
        assert page.value_of("name") == "Kathleen Booth"
        assert me.post("/people/new", dualstorage_nonce=page.nonce, **BOOTH).status == 200
        assert len(upstream.named("Kathleen Booth")) == 1


class TestPluggedOut:
    def test_pages_open_and_say_that_they_are_copies(self, me: Browser, upstream: Upstream) -> None:
        me.get("/"), me.get("/people/1")
        upstream.turn(state="out")
        for path in ("/", "/people/1"):
            page = me.get(path)
            assert page.status == 200
            assert "The directory service is away." in page.text
            assert "This is a copy, less than a minute old" in page.text
        assert "Note G: the Bernoulli numbers" in me.get("/people/1").text

    def test_a_page_without_a_copy_says_so(self, me: Browser, upstream: Upstream) -> None:
        upstream.turn(state="out")
        page = me.get("/")
        assert page.status == 503
        assert "nothing of this page is kept here yet" in page.text

    def test_a_person_opens_even_where_the_notes_were_never_read(self, me: Browser, upstream: Upstream) -> None:
        me.get("/")
        upstream.turn(state="out")
        assert "The notes are not here" in me.get("/people/1").text
        assert "○ waiting to be sent" in me.add_note("/people/1", "Written blind.").text

    def test_create_edit_delete_and_sync(self, me: Browser, upstream: Upstream) -> None:
        me.get("/"), me.get("/people/2")
        upstream.turn(state="out")

        created = me.fill_in("/people/new", **BOOTH)
        assert created.path.startswith("/people/tmp-")
        assert "Kathleen Booth was added. The change is kept here" in created.text
        assert "○ waiting to be sent" in created.text
        noted = me.add_note(created.path, "Wrote the first assembler.")
        assert "The note was added. The change is kept here" in noted.text
        edited = me.fill_in("/people/2/edit", name="Alan Turing", city="Wilmslow")
        assert "The change is kept here" in edited.text
        assert "The change is kept here" in me.fill_in("/people/4/delete").text

        listed = me.get("/").text
        assert "Kathleen Booth Programmer London ○ waiting to be sent" in listed
        assert "Wilmslow ○ waiting to be sent" in listed
        assert "Deleted here, not sent yet Konrad Zuse" in listed
        assert "⚡ Offline: 4 changes are not sent" in listed
        assert "Kept here, oldest first: 4" in me.get("/dualstorage/").text
        assert "out of reach" in me.sync().text

        upstream.turn(state="in")
        synced = me.sync()
        assert synced.path == "/"
        assert "4 changes were sent." in synced.text
        assert "✓ All changes are sent" in synced.text
        assert "Konrad Zuse" not in synced.text
        assert upstream.has("/people/2")["city"] == "Wilmslow"
        assert upstream.named("Konrad Zuse") == []
        assert len(upstream.named("Kathleen Booth")) == 1
        assert [note["text"] for note in upstream.has("/people/13/notes")] == ["Wrote the first assembler."]

    def test_old_links_lead_to_the_real_page(self, me: Browser, upstream: Upstream) -> None:
        me.get("/")
        upstream.turn(state="out")
        old = me.fill_in("/people/new", **BOOTH).path
        old_note = me.add_note(old, "Wrote the first assembler.").link("Edit<span class")
        form = me.get(f"{old}/edit")
        upstream.turn(state="in")
        me.sync()
        answer = me.client.get(old)
        assert (answer.status_code, answer.location) == (302, "/people/13")
        assert me.get(old + "/delete").path == "/people/13/delete"
        note_id = upstream.has("/people/13/notes")[0]["id"]
        assert me.get(old_note).path == f"/people/13/notes/{note_id}/edit"
        late = me.post(f"{old}/edit", dualstorage_nonce=form.nonce, **{**BOOTH, "city": "Leeds"})
        assert late.path == "/people/13", "a form that was opened before still saves"
        assert upstream.has("/people/13")["city"] == "Leeds"

    def test_what_was_never_sent_just_vanishes(self, me: Browser, upstream: Upstream) -> None:
        me.get("/")
        upstream.turn(state="out")
        person = me.fill_in("/people/new", **BOOTH).path
        me.add_note(person, "Gone with her.")
        page = me.fill_in(f"{person}/delete")
        assert "had never been sent" in page.text
        assert "Kathleen Booth Programmer" not in page.text
        assert "Nothing is waiting" in me.get("/dualstorage/").text

    def test_a_restart_keeps_everything(self, me: Browser, upstream: Upstream, app: Flask) -> None:
        me.get("/")
        upstream.turn(state="out")
        me.fill_in("/people/new", **BOOTH)
        config = {key: app.config[key] for key in app.config if key.startswith(("DUALSTORAGE_", "UPSTREAM_"))}
        again = Browser(create_app(config, Path(app.instance_path)))
        cookie = me.client.get_cookie("example_directory")
        assert cookie
        again.client.set_cookie(cookie.key, cookie.value)
        assert "Kathleen Booth Programmer London ○ waiting to be sent" in again.get("/").text

    def test_what_is_refused_later_is_shown_mended_and_sent(self, me: Browser, upstream: Upstream) -> None:
        me.get("/")
        upstream.turn(state="out")
        old = me.fill_in("/people/new", **{**BOOTH, "email": "nowhere"}).path
        upstream.turn(state="in")
        assert "1 change was refused" in me.sync().text
        waiting = me.get("/dualstorage/")
        form = me.get(waiting.link("Back to the form"))
        assert form.path == f"{old}/edit"
        assert (form.value_of("name"), form.value_of("email")) == ("Kathleen Booth", "nowhere")
        assert "E-mail ✗ Must look like name@host.example." in form.text
        write = re.search(r'name="dualstorage_write" value="([^"]+)"', form.source)
        assert write
        known = {"dualstorage_nonce": form.nonce, "dualstorage_write": write[1]}
        worse = me.post(form.path, **known, **{**BOOTH, "email": "elsewhere"})
        assert (worse.status, worse.value_of("email")) == (422, "elsewhere")
        assert "E-mail ✗ Must look like name@host.example." in worse.text
        mended = me.post(form.path, **known, **BOOTH)
        assert (mended.path, "The directory service has it." in mended.text) == ("/people/13", True)
        assert [person["email"] for person in upstream.named("Kathleen Booth")] == ["k@birkbeck.example"]

    def test_what_is_refused_later_shows_on_the_record_too(self, me: Browser, upstream: Upstream) -> None:
        me.get("/"), me.get("/people/1/edit")
        upstream.turn(state="out")
        me.fill_in("/people/1/edit", name="Ada", email="nowhere")
        upstream.turn(state="in")
        me.sync()
        page = me.get("/people/1")
        assert "The directory service refused this change." in page.text
        assert "email: Must look like name@host.example." in page.text
        worse = me.fill_in("/people/1/edit", name="Ada", email="elsewhere")
        assert (worse.status, worse.value_of("email")) == (422, "elsewhere")
        assert "This is kept here, but the directory service does not take it." in worse.text
        assert me.fill_in("/people/1/edit", name="Ada", email="ada@host.example").status == 200
        assert upstream.has("/people/1")["email"] == "ada@host.example"

    def test_a_save_without_an_answer_is_kept_and_applied_once(self, me: Browser, upstream: Upstream) -> None:
        me.get("/")
        upstream.turn(hang=FOREVER)
        with ThreadPoolExecutor() as threads:
            save = threads.submit(me.fill_in, "/people/new", **BOOTH)
            until(lambda: upstream.named("Kathleen Booth"), "the new person at the upstream")
            upstream.turn(state="out")
            page = save.result()
        assert "no answer came" in page.text
        assert "It is not known whether this change arrived." in page.text
        upstream.turn(state="in", hang=0)
        assert "1 change was sent." in me.sync().text
        assert len(upstream.named("Kathleen Booth")) == 1
        assert me.get(page.path).path == "/people/13"

    def test_what_is_refused_later_can_be_dropped(self, me: Browser, upstream: Upstream) -> None:
        me.get("/")
        upstream.turn(state="out")
        me.fill_in("/people/1/edit", name="Ada", email="nowhere")
        upstream.turn(state="in")
        me.sync()
        drop = re.search(r'action="(/changes/[^"]+/discard)"', me.get("/people/1").source)
        assert drop
        page = me.post(drop[1])
        assert "Your change was dropped" in page.text
        assert "Ada Lovelace" in page.text

    @pytest.mark.parametrize("read", [["/people/1"], ["/", "/people/1"], ["/people/1", "/"]])
    def test_a_conflict_is_shown_and_decided(self, me: Browser, upstream: Upstream, read: list[str]) -> None:
        for path in read:
            me.get(path)
        upstream.turn(state="out")
        me.fill_in("/people/1/edit", name="Ada Lovelace", city="Ockham")
        upstream.turn(state="in")
        requests.patch(f"{upstream.url}/people/1", json={"city": "Marylebone"}, timeout=FOREVER)
        assert "met a change that somebody else made" in me.sync().text
        page = me.get("/people/1")
        assert "Somebody else changed this record meanwhile." in page.text
        assert "city “Marylebone”" in page.text
        mine = re.search(r'action="(/changes/[^"]+/retry)"', page.source)
        assert mine
        assert "saved in the directory service this time" in me.post(mine[1]).text
        assert upstream.has("/people/1")["city"] == "Ockham"

    @pytest.mark.parametrize("what", ["retry", "discard"])
    def test_a_button_of_a_page_that_showed_another_state_does_nothing(
        self, me: Browser, upstream: Upstream, what: str
    ) -> None:
        me.get("/people/1")
        upstream.turn(state="out")
        me.fill_in("/people/1/edit", name="Ada Lovelace", city="Ockham")
        upstream.turn(state="in")
        requests.patch(f"{upstream.url}/people/1", json={"city": "Marylebone"}, timeout=FOREVER)
        me.sync()
        form = rf'action="(/changes/[^"]+/{what})"><input type="hidden" name="seen" value="(\w+)"'
        shown = re.search(form, me.get("/people/1").source)
        assert shown
        me.fill_in("/people/1/edit", name="Ada Byron", city="Ockham")
        page = me.post(shown[1], seen=shown[2])
        assert "This change has become another since you opened the page" in page.text
        assert upstream.has("/people/1")["city"] == "Marylebone"


class TestClickedTwice:
    @pytest.mark.parametrize("state", ["in", "out"])
    def test_a_form_makes_one_record(self, me: Browser, upstream: Upstream, state: str) -> None:
        me.get("/")
        form = me.get("/people/new")
        upstream.turn(state=state)
        first = me.post("/people/new", dualstorage_nonce=form.nonce, **BOOTH)
        second = me.post("/people/new", dualstorage_nonce=form.nonce, **BOOTH)
        assert second.path == first.path
        upstream.turn(state="in")
        me.sync()
        assert len(upstream.named("Kathleen Booth")) == 1

    def test_other_content_is_another_record(self, me: Browser, upstream: Upstream) -> None:
        form = me.get("/people/new")
        for name in ("One", "Two"):
            me.post("/people/new", dualstorage_nonce=form.nonce, name=name)
        assert [len(upstream.named(name)) for name in ("One", "Two")] == [1, 1]

    def test_deleting_twice_is_no_error(self, me: Browser) -> None:
        form = me.get("/people/1/delete")
        me.post("/people/1/delete", dualstorage_nonce=form.nonce)
        page = me.post("/people/1/delete", dualstorage_nonce=form.nonce)
        assert (page.status, page.path) == (200, "/")
        assert "deleted" in page.text


class TestUsers:
    @pytest.fixture
    def ada(self, open_browser: Callable[[], Browser]) -> Browser:
        browser = open_browser()
        browser.post("/login", user="ada")
        return browser

    def test_do_not_see_each_other_s_pending(self, ada: Browser, me: Browser, upstream: Upstream) -> None:
        me.post("/login", user="grace")
        ada.get("/"), me.get("/")
        upstream.turn(state="out")
        person = ada.fill_in("/people/new", **BOOTH).path
        assert "Kathleen Booth" in ada.get("/").text
        for path in ("/", "/dualstorage/"):
            assert "Kathleen" not in me.get(path).text
        assert me.get(person).status == 404
        write = ada.client.get("/dualstorage/", headers={"Accept": "application/json"}).json["writes"][0]["id"]
        assert me.post(f"/changes/{write}/discard").status == 404
        upstream.turn(state="in")
        assert "Nothing was waiting" in me.sync().text
        assert upstream.named("Kathleen Booth") == []
        assert "1 change was sent" in ada.sync().text

    def test_are_told_that_another_s_change_of_a_person_waits_and_no_more(
        self, ada: Browser, me: Browser, upstream: Upstream
    ) -> None:
        me.post("/login", user="grace")
        ada.get("/people/1"), me.get("/people/1")
        upstream.turn(state="out")
        ada.fill_in("/people/1/edit", name="Secret")
        told = me.get("/people/1").text
        assert "Somebody else has a change of this record that is not sent yet." in told
        assert "Secret" not in told
        for browser, path in ((me, "/people/2"), (ada, "/people/1")):
            assert "Somebody else has" not in browser.get(path).text

    def test_log_in_adopts_what_the_visitor_typed(self, me: Browser, upstream: Upstream) -> None:
        me.get("/")
        upstream.turn(state="out")
        person = me.fill_in("/people/new", **BOOTH).path
        me.add_note(person, "Wrote the first assembler.")
        upstream.turn(state="in")
        page = me.post("/login", user="ada")
        assert "Hello Ada. The 2 changes that waited here are yours now." in page.text
        assert "Kathleen Booth" in page.text
        assert "Kathleen Booth" in me.get(person).text, "the old link still works"
        assert "2 changes were sent" in me.sync().text
        assert me.get(person).path == "/people/13"

    def test_log_out_shows_nothing_more_and_loses_nothing(self, ada: Browser, upstream: Upstream) -> None:
        ada.get("/")
        upstream.turn(state="out")
        ada.fill_in("/people/new", **BOOTH)
        page = ada.post("/logout")
        assert "You are logged out." in page.text
        assert page.status == 503, "the copies were Ada's"
        assert "Kathleen" not in ada.get("/dualstorage/").text
        assert "Kathleen Booth" in ada.post("/login", user="ada").text

    def test_the_next_visitor_s_changes_are_not_the_last_user_s(self, ada: Browser, upstream: Upstream) -> None:
        ada.post("/logout")
        ada.get("/")
        upstream.turn(state="out")
        ada.fill_in("/people/new", **BOOTH)
        ada.post("/login", user="grace")
        ada.post("/logout")
        assert "Kathleen" not in ada.post("/login", user="ada").text

    def test_one_user_after_the_other_adopts_nothing(self, ada: Browser, upstream: Upstream) -> None:
        ada.get("/")
        upstream.turn(state="out")
        ada.fill_in("/people/new", **BOOTH)
        upstream.turn(state="in")
        assert "Kathleen" not in ada.post("/login", user="grace").text

    def test_there_are_two(self, me: Browser) -> None:
        page = me.post("/login", user="mallory")
        assert page.status == 400
        assert "There is no such user" in page.text


class TestThePlugOnThePage:
    def test_pulls_and_plugs_in(self, me: Browser, upstream: Upstream) -> None:
        assert "plugged in" in me.get("/").text
        assert "The plug is out" in me.post("/plug", state="out").text
        with pytest.raises(requests.ConnectionError, match="refused"):
            upstream.has("/people")
        assert "The plug is in" in me.post("/plug", state="in").text
        assert len(upstream.has("/people")) == 12

    def test_leads_back_to_where_it_was_pulled(self, me: Browser) -> None:
        for referrer, back in {"http://localhost/people/1": "/people/1", "http://evil.example/": "/"}.items():
            answer = me.client.post("/plug", data={"state": "in"}, headers={"Referer": referrer})
            assert (answer.status_code, answer.location.removeprefix("http://localhost")) == (303, back)

    def test_takes_nothing_else(self, me: Browser) -> None:
        assert me.post("/plug", state="sideways").status == 400
        assert me.post("/plug").status == 400

    def test_says_when_the_whole_process_is_gone(self, me: Browser, app: Flask) -> None:
        me.get("/")
        app.config["UPSTREAM_CONTROL_URL"] = f"http://127.0.0.1:{free_port()}"
        assert "process is gone" in me.get("/").text
        assert "The plug does not answer" in me.post("/plug", state="out").text

    def test_is_not_there_without_a_control_port(self, me: Browser, app: Flask) -> None:
        app.config["UPSTREAM_CONTROL_URL"] = None
        page = me.get("/")
        assert (page.status, "plug" in page.text) == (200, False)
        assert me.post("/plug", state="out").status == 400


class TestNonsense:
    @pytest.mark.parametrize(
        "path",
        [
            "/nowhere",
            "/people/99",
            "/people/nobody/edit",
            "/people/99/delete",
            "/people/1/notes/99/edit",
            "/people/..",
            "/people/%2e%2e%2fadmin",
            "/people/1%3Fx",
            "/people/a%23b",
            "/people/%00",
            "/people/%FF",
            "/people/" + "9" * 10_000,
            "/people/-1",
            "/people/tmp-" + "0" * 32,
            "/people/tmp-" + "0" * 32 + "/notes/new",
        ],
    )
    def test_addresses_are_a_404_with_a_page(self, me: Browser, path: str) -> None:
        page = me.get(path)
        assert page.status == 404
        assert "All people" in page.text

    @pytest.mark.parametrize("path", ["/people/new", "/people/1/edit", "/people/1/delete", "/people/1/notes/new"])
    def test_a_form_without_its_fields_is_a_400(self, me: Browser, path: str) -> None:
        page = me.post(path)
        assert page.status == 400
        assert "That can not be right" in page.text

    @pytest.mark.parametrize("name", ["x" * 100_000, "\x00", "‮\ufffe", "🦆", "tmp-" + "0" * 32, "{{ 7777 * 1111 }}"])
    def test_names_are_taken_or_refused_and_never_break_a_page(self, me: Browser, name: str) -> None:
        page = me.fill_in("/people/new", name=name)
        assert page.status in (200, 422)
        assert "8640247" not in page.text
        assert me.get("/").status == 200

    def test_too_large_a_record_is_refused_with_the_form(self, me: Browser) -> None:
        page = me.fill_in("/people/new", name="A", role="x" * 400_000, city="y" * 90_000)
        assert page.status == 422

    def test_the_app_asks_nobody_to_repeat_a_post(self, me: Browser) -> None:
        for path in ("/plug", "/login", "/changes/x/retry"):
            assert me.get(path).status == 405
        assert me.post("/changes/x/retry").status == 404

    def test_a_page_of_errors_opens_without_its_storage(self, me: Browser, app: Flask) -> None:
        me.get("/")
        outbox = Path(app.instance_path) / "dualstorage.sqlite3"
        for file in outbox.parent.glob("dualstorage.sqlite3*"):
            file.unlink()
        outbox.mkdir()
        fresh = Browser(create_app({"DUALSTORAGE_UPSTREAM_URL": "http://127.0.0.1:9"}, Path(app.instance_path)))
        assert fresh.get("/").status == 503


class TestTheDemo:
    """``make demo``: both processes, started and ended together."""

    @pytest.fixture
    def ports(self) -> dict[str, str]:
        return {name: str(free_port()) for name in ("PORT", "UPSTREAM_PORT", "UPSTREAM_CONTROL_PORT")}

    @pytest.fixture
    def start(self, ports: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
        with ExitStack() as stack:

            def start(instance: Path = tmp_path / "instance", **changed: str) -> subprocess.Popen[str]:
                process = subprocess.Popen(
                    [sys.executable, "-m", "example_app", "--instance", str(instance)],
                    cwd=Path(__file__).parents[2],
                    env={**os.environ, **ports, **changed},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                stack.callback(process.communicate)
                stack.callback(process.kill)
                return process

            yield start

    def test_says_where_it_is_and_ctrl_c_ends_both(self, start: Any, ports: dict[str, str]) -> None:
        home = f"http://127.0.0.1:{ports['PORT']}"
        for people in (12, 11):  # the second start finds what the first one left
            demo = start()
            assert f"The directory is at  {home}\n" in demo.stdout.readline()
            with requests.Session() as browser:
                assert f'<span class="count">{people}</span>' in browser.get(home, timeout=FOREVER).text
                form = browser.get(f"{home}/people/{people}/delete", timeout=FOREVER).text
                nonce = re.search(r'name="dualstorage_nonce" value="([^"]+)"', form)
                assert nonce
                fields = {"dualstorage_nonce": nonce[1]}
                assert browser.post(f"{home}/people/{people}/delete", fields, timeout=FOREVER).ok
            demo.send_signal(signal.SIGINT)
            assert demo.wait(FOREVER) == 0
            assert not any(taken(int(port)) for port in ports.values())

    def test_however_the_app_dies_its_upstream_ends_with_it(self, start: Any, ports: dict[str, str]) -> None:
        demo = start()
        demo.stdout.readline()
        demo.kill()
        until(lambda: not any(taken(int(port)) for port in ports.values()), "the end of both")

    @pytest.mark.parametrize("name", ["PORT", "UPSTREAM_PORT", "UPSTREAM_CONTROL_PORT"])
    def test_a_taken_port_is_said_plainly(self, start: Any, name: str, upstream: Upstream) -> None:
        port = upstream.url.rpartition(":")[2]
        demo = start(**{name: port})
        out, err = demo.communicate(timeout=FOREVER)
        assert (demo.returncode, out) == (1, "")
        assert f"Port {port} can not be had" in err
        assert f"make demo {name}=" in err
        assert "Traceback" not in err

    @pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "\N{SUPERSCRIPT TWO}"])
    def test_so_is_a_port_that_is_none(self, start: Any, port: str) -> None:
        demo = start(PORT=port)
        assert f"PORT is {port!r}; it takes the number of a port" in demo.communicate(timeout=FOREVER)[1]
        assert demo.returncode == 1

    def test_and_a_folder_that_can_not_be(self, start: Any, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        demo = start(instance=tmp_path / "file" / "instance")
        err = demo.communicate(timeout=FOREVER)[1]
        assert "can not be made: Not a directory" in err
        assert "Traceback" not in err
