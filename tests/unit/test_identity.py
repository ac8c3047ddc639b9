"""Owners are sealed off: who the owner is, and who it can never be."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest
from flask import Flask, session
from flask_login import LoginManager, UserMixin, login_user
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.errors import ConfigurationError, ValidationFailed
from flask_dualstorage.identity import MAX_LENGTH, SESSION_KEY, current_owner, normalise


def an_app(**config) -> Flask:
    app = Flask(__name__)
    app.config.update({"SECRET_KEY": "for tests", **config})
    return app


@pytest.mark.parametrize(
    ("given_as", "owner"),
    [
        ("alice", "user:alice"),
        ("user:alice", "user:alice"),
        ("anon:0f", "anon:0f"),
        ("7", "user:7"),
        ("a b", "user:a b"),
        ("Zoë", "user:Zoë"),
        ("admin:root", "user:admin:root"),
        ("USER:alice", "user:USER:alice"),
        ("x" * (MAX_LENGTH - 5), "user:" + "x" * (MAX_LENGTH - 5)),
    ],
)
def test_a_bare_name_is_a_user(given_as, owner):
    assert normalise(given_as) == owner


@pytest.mark.parametrize(
    "bad",
    [
        *("", "user:", "anon:", "x" * MAX_LENGTH, "user:" + "x" * (MAX_LENGTH - 4)),
        *("a\nb", "a\x00", "\x7f", "a\x85b", "\ud800"),
        *(None, 7, True, b"alice", ["alice"]),
    ],
)
def test_what_can_be_no_owner_is_refused(bad):
    with pytest.raises(ValidationFailed) as caught:
        normalise(bad)
    assert list(caught.value.errors) == ["owner"]
    assert str(caught.value).isprintable()


@given(st.text(max_size=MAX_LENGTH + 10))
def test_an_owner_stays_what_it_is(name):
    try:
        owner = normalise(name)
    except ValidationFailed:
        return
    assert normalise(owner) == owner
    assert len(owner) <= MAX_LENGTH


@pytest.mark.parametrize(
    ("loaded", "owner"),
    [
        ("alice", "user:alice"),
        (42, "user:42"),
        (0, "user:0"),
        ("anon:0f", "user:anon:0f"),
        ("user:bob", "user:user:bob"),
    ],
)
def test_a_user_never_reaches_somebody_elses_storage(loaded, owner):
    app = an_app()
    with app.test_request_context():
        assert current_owner(app, lambda: loaded) == owner


@pytest.mark.parametrize("loaded", [True, 1.5, b"alice", object(), uuid.UUID(int=1)])
def test_a_loader_that_returns_no_id_is_told_what_to_return(loaded):
    app = an_app()
    with app.test_request_context(), pytest.raises(ConfigurationError, match=r"return the user's id.*str\(user\.id\)"):
        current_owner(app, lambda: loaded)


@pytest.mark.parametrize("loaded", ["", "a\nb", "x" * MAX_LENGTH])
def test_an_id_that_can_be_no_owner_is_refused(loaded):
    app = an_app()
    with app.test_request_context(), pytest.raises(ValidationFailed):
        current_owner(app, lambda: loaded)


def an_app_that_tells_the_owner(user_loader=None, **config) -> Flask:
    app = an_app(**config)
    app.add_url_rule("/", view_func=lambda: current_owner(app, user_loader))
    return app


def test_an_anonymous_visitor_keeps_one_random_owner():
    app = an_app_that_tells_the_owner(lambda: None)
    client, stranger = app.test_client(), app.test_client()
    owner = client.get("/").text
    assert len(owner) == len("anon:") + 32
    assert client.get("/").text == owner
    assert stranger.get("/").text != owner
    assert normalise(owner) == owner


def test_a_forged_session_is_nobody():
    app = an_app_that_tells_the_owner()
    theirs = app.test_client().get("/").text
    client = app.test_client()
    client.set_cookie("session", "eyJfZHVhbHN0b3JhZ2VfYW5vbnltb3VzIjoieCJ9.aaaa.bbbb")
    assert client.get("/").text not in (theirs, "anon:x")


def test_how_long_the_session_lasts_is_left_to_the_app():
    app = an_app()
    with app.test_request_context():
        owner = current_owner(app, None)
        assert session[SESSION_KEY] == owner.removeprefix("anon:")
        assert not session.permanent


def test_an_anonymous_visitor_needs_a_key():
    app = an_app(SECRET_KEY=None)
    with app.test_request_context(), pytest.raises(ConfigurationError, match=r"set app\.config\['SECRET_KEY'\]"):
        current_owner(app, None)


def test_a_known_user_needs_no_key():
    app = an_app(SECRET_KEY=None)
    with app.test_request_context():
        assert current_owner(app, lambda: "alice") == "user:alice"


def test_outside_a_request_it_names_for_user():
    app = an_app()
    with pytest.raises(RuntimeError, match="for_user"):
        current_owner(app, lambda: "alice")
    with app.app_context(), pytest.raises(RuntimeError, match="for_user"):
        current_owner(app, lambda: "alice")


def test_the_request_of_another_app_has_no_user_here():
    app, other = an_app(), an_app()
    with other.test_request_context(), app.app_context(), pytest.raises(RuntimeError, match="for_user"):
        current_owner(app, lambda: "alice")


class Person(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


def an_app_with_flask_login() -> Flask:
    app = an_app_that_tells_the_owner()
    LoginManager(app).user_loader(Person)

    @app.get("/login/<name>")
    def login(name):
        login_user(Person(name))
        return current_owner(app, None)

    return app


def test_flask_logins_user_is_the_owner():
    client = an_app_with_flask_login().test_client()
    assert client.get("/").text.startswith("anon:")
    assert client.get("/login/alice").text == "user:alice"
    assert client.get("/").text == "user:alice"


def test_a_user_loader_goes_before_flask_login():
    app = an_app()
    LoginManager(app).user_loader(Person)
    with app.test_request_context():
        login_user(Person("alice"))
        assert current_owner(app, lambda: "bob") == "user:bob"


def test_flask_login_is_not_imported_for_an_app_without_it():
    code = """
import sys
from flask import Flask
from flask_dualstorage.identity import current_owner
app = Flask("x")
app.secret_key = "x"
with app.test_request_context():
    assert current_owner(app, None).startswith("anon:")
assert "flask_login" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
