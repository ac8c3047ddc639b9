"""The macros that any page of an app may import, and the Jinja global behind them."""

from __future__ import annotations

import re
from html import unescape
from types import SimpleNamespace

import pytest
from flask import render_template_string

from flask_dualstorage.errors import ConfigurationError
from flask_dualstorage.tokens import check_nonce
from flask_dualstorage.web.globals import TemplateGlobal
from tests.unit.fakes import FakeStorage, FakeUser, Status, make_app


@pytest.fixture
def alice() -> FakeUser:
    return FakeUser("user:alice")


@pytest.fixture
def app(alice):
    return make_app(FakeStorage(alice))


def text(app, call: str, **values) -> str:
    with app.test_request_context():
        html = render_template_string(
            f'{{% import "dualstorage/macros.html" as macros %}}{{{{ macros.{call} }}}}', **values
        )
    return unescape(re.sub("<[^>]+>", "", html))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status(), "✓ All changes are sent"),
        (Status(online=True), "✓ All changes are sent"),
        (Status(online=False), "⚡ Offline: nothing is waiting"),
        (Status(pending=1), "1 change is not sent"),
        (Status(pending=3), "3 changes are not sent"),
        (Status(online=False, pending=3), "⚡ Offline: 3 changes are not sent"),
        (Status(pending=3, conflict=1), "3 changes are not sent, 1 of them needs you"),
        (Status(pending=4, conflict=1, rejected=1, in_doubt=1), "4 changes are not sent, 3 of them need you"),
    ],
)
def test_the_badge(app, alice, status, words):
    alice.figures = status
    assert text(app, "sync_badge()") == words


def test_the_badge_links_to_the_list_where_there_is_one(app, alice):
    source = '{% from "dualstorage/macros.html" import sync_badge %}{{ sync_badge() }}'
    with app.test_request_context():
        assert '<a href="/dualstorage/">' in render_template_string(source)
    without = make_app(FakeStorage(alice), None)
    with without.test_request_context():
        assert "<a" not in render_template_string(source)


def test_the_status_is_worked_out_once_a_request(app, alice):
    app.add_url_rule("/", view_func=lambda: render_template_string("{{ dualstorage.status().pending }}" * 3))
    client = app.test_client()
    with app.app_context():  # held open, as some tests do: `g` would outlive the request
        assert client.get("/").text == "000"
        assert alice.calls == ["status"]
        alice.figures = Status(pending=2)
        assert client.get("/").text == "222"


def test_after_a_log_in_it_is_the_other_ones_status(alice):
    storage = FakeStorage(alice, FakeUser("user:bob", figures=Status(pending=5)))
    with make_app(storage).test_request_context():
        assert TemplateGlobal().status().pending == 0
        storage.current = storage.users["user:bob"]
        assert TemplateGlobal().status().pending == 5


@pytest.mark.parametrize(
    ("source", "age", "reason", "words"),
    [
        ("upstream", 0.0, None, ""),
        (None, None, None, ""),
        ("cache", 10.0, None, ""),
        ("cache", 10.0, "out of reach", "◷ This is a copy, less than a minute old: out of reach"),
        ("cache", 60.0, "out of reach", "◷ This is a copy, 1 minute old: out of reach"),
        ("cache", 3599.0, "out of reach", "◷ This is a copy, 59 minutes old: out of reach"),
        ("cache", 3600.0, "out of reach", "◷ This is a copy, 1 hour old: out of reach"),
        ("cache", 80000.0, "out of reach", "◷ This is a copy, 22 hours old: out of reach"),
        ("cache", 86400.0, "out of reach", "◷ This is a copy, 1 day old: out of reach"),
        ("cache", 864000.0, "out of reach", "◷ This is a copy, 10 days old: out of reach"),
        ("cache", None, "out of reach", "◷ This is a copy: out of reach"),
        ("local", None, "changes wait", "◷ This is what is kept here: changes wait"),
    ],
)
def test_the_stale_notice(app, source, age, reason, words):
    collection = SimpleNamespace(source=source, age=age, reason=reason)
    assert text(app, "stale_notice(c)", c=collection) == words


@pytest.mark.parametrize(
    ("dirty", "state", "words"),
    [
        (False, None, ""),
        (True, None, "○ waiting to be sent"),
        (True, "queued", "○ waiting to be sent"),
        (True, "sending", "➤ being sent"),
        (True, "in_doubt", "? sent, but no answer came: it may have arrived"),
        (True, "conflict", "≠ somebody else changed this too"),
        (True, "rejected", "✗ refused"),
    ],
)
def test_the_pending_mark(app, dirty, state, words):
    model = SimpleNamespace(dirty=dirty, pending_write=state and SimpleNamespace(state=state))
    assert text(app, "pending_mark(person)", person=model) == words


def test_a_reason_is_text_not_markup(app):
    with app.test_request_context():
        html = render_template_string(
            '{% from "dualstorage/macros.html" import stale_notice %}{{ stale_notice(c) }}',
            c=SimpleNamespace(source="cache", age=1.0, reason="<img src=x onerror=alert(1)>"),
        )
    assert "<img" not in html


def test_the_nonce_field_holds_a_new_nonce_each_time(app):
    source = '{% from "dualstorage/macros.html" import nonce_field %}{{ nonce_field() }}'
    with app.test_request_context():
        one, other = render_template_string(source), render_template_string(source)
    assert one != other
    assert one.startswith('<input type="hidden" name="dualstorage_nonce" value="')
    assert check_nonce(app, one.split('"')[5])


def test_without_a_key_a_form_says_what_to_set(alice):
    app = make_app(FakeStorage(alice), SECRET_KEY=None)
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        text(app, "nonce_field()")


def test_the_macros_work_where_the_pages_are_left_off(alice):
    app = make_app(FakeStorage(alice), None)
    assert text(app, "sync_badge()") == "✓ All changes are sent"
