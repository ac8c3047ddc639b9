"""Form nonces: signed, for one app, for twelve hours."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from itsdangerous import URLSafeTimedSerializer

from flask_dualstorage.errors import ConfigurationError, ValidationFailed
from flask_dualstorage.tokens import NONCE_LIFETIME, check_nonce, make_nonce

NOON = 1_800_000_000.0


def an_app(key: str | None = "now", *older: str) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY=key, SECRET_KEY_FALLBACKS=list(older) or None)
    return app


def at(seconds: float):
    return lambda: seconds


def test_a_nonce_has_one_hash_however_often_it_is_checked():
    app = an_app()
    nonce = make_nonce(app)
    assert re.fullmatch("[0-9a-f]{64}", check_nonce(app, nonce))
    assert check_nonce(app, nonce) == check_nonce(app, nonce)


def test_each_form_has_its_own():
    app = an_app()
    hashes = {check_nonce(app, make_nonce(app, at(NOON)), clock=at(NOON)) for _ in range(20)}
    assert len(hashes) == 20


def test_it_can_stand_in_html_and_in_a_url():
    assert re.fullmatch(r"[\w.-]+", make_nonce(an_app()))


@pytest.mark.parametrize(
    ("age", "good"),
    [(0, True), (NONCE_LIFETIME, True), (NONCE_LIFETIME + 1, False), (10 * NONCE_LIFETIME, False), (-2, True)],
    ids=["new", "at the limit", "just too old", "old", "made by a host whose clock is ahead"],
)
def test_it_lives_for_twelve_hours(age, good):
    app = an_app()
    nonce = make_nonce(app, at(NOON))
    if good:
        assert check_nonce(app, nonce, clock=at(NOON + age))
    else:
        with pytest.raises(ValidationFailed) as caught:
            check_nonce(app, nonce, clock=at(NOON + age))
        assert caught.value.errors["nonce"] == [
            "This form has expired: nothing was saved yet. Your input is kept, send it again."
        ]


def test_a_shorter_life_can_be_asked_for():
    app = an_app()
    with pytest.raises(ValidationFailed):
        check_nonce(app, make_nonce(app, at(NOON)), max_age=60, clock=at(NOON + 61))


@pytest.mark.parametrize("forged", ["", "x", "a.b.c", "é.ü.ß", "\ud800", "\x00" * 10, "." * 10_000, None, 7, []])
def test_what_we_did_not_sign_is_refused(forged):
    with pytest.raises(ValidationFailed) as caught:
        check_nonce(an_app(), forged)
    assert "send it again" in caught.value.errors["nonce"][0]


def test_a_nonce_that_was_changed_is_refused():
    app = an_app()
    nonce = make_nonce(app)
    for place in (0, len(nonce) // 2):
        other = "A" if nonce[place] != "A" else "B"
        with pytest.raises(ValidationFailed):
            check_nonce(app, nonce[:place] + other + nonce[place + 1 :])


def test_another_app_and_another_use_of_the_key_are_refused():
    app = an_app()
    for foreign in (make_nonce(an_app("another")), URLSafeTimedSerializer("now", salt="cookie-session").dumps("x")):
        with pytest.raises(ValidationFailed):
            check_nonce(app, foreign)


def test_a_form_survives_a_change_of_key():
    nonce = make_nonce(an_app("old"))
    before = check_nonce(an_app("old"), nonce)
    assert check_nonce(an_app("new", "older", "old"), nonce) == before
    with pytest.raises(ValidationFailed):
        check_nonce(an_app("new"), nonce)


def test_new_nonces_are_signed_with_the_current_key():
    assert check_nonce(an_app("new"), make_nonce(an_app("new", "old")))


def test_without_a_key_it_says_what_to_set():
    for call in (lambda app: make_nonce(app), lambda app: check_nonce(app, "x")):
        with pytest.raises(ConfigurationError, match=r"set app\.config\['SECRET_KEY'\]"):
            call(an_app(None))
