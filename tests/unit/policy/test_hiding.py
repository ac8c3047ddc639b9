"""Which answers may hide what is there, and what a probe says of a credential."""

from __future__ import annotations

import pytest

from flask_dualstorage.policy.hiding import Credential, credential_of, may_hide
from flask_dualstorage.types import Answer, Failure, Fault


def an_answer(status: int, content: bytes = b"", content_type: str = "application/json") -> Answer:
    return Answer(status, {"Content-Type": content_type}, content, "http://crm.example/")


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (404, b""),
        (410, b'{"detail": "gone"}'),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"data": []}'),
        (200, b'{"page": 1, "count": 0, "items": []}'),
    ],
)
def test_what_shows_nothing_may_hide_something(status: int, content: bytes):
    assert may_hide(an_answer(status, content))


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b'[{"id": 1}]'),
        (200, b'{"data": [{"id": 1}], "included": []}'),
        (200, b'{"id": 1, "name": "Ada"}'),
        (200, b""),
        (204, b""),
        (200, b"not JSON"),
        (401, b""),
        (403, b""),
        (422, b"[]"),
        (503, b"[]"),
    ],
)
def test_what_shows_something_or_is_refused_hides_nothing(status: int, content: bytes):
    assert not may_hide(an_answer(status, content))


@pytest.mark.parametrize(
    ("probe", "credential"),
    [
        (an_answer(200, b'{"name": "alice"}'), Credential.GOOD),
        (an_answer(204), Credential.GOOD),
        (an_answer(200, b"[]"), Credential.BAD),
        (an_answer(401), Credential.BAD),
        (an_answer(403), Credential.BAD),
        (an_answer(404), Credential.BAD),
        (an_answer(302), Credential.BAD),
        (an_answer(429), Credential.UNKNOWN),
        (an_answer(408), Credential.UNKNOWN),
        (an_answer(500), Credential.UNKNOWN),
        (an_answer(503), Credential.UNKNOWN),
        (Failure(Fault.UNSENT, "refused"), Credential.UNKNOWN),
        (Failure(Fault.CUT, "too late"), Credential.UNKNOWN),
    ],
)
def test_what_a_probe_tells(probe: Answer | Failure, credential: Credential):
    assert credential_of(probe, {408, 502, 503, 504}) is credential
