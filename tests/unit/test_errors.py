"""The tree of API.md: what is caught by what, and the page that each becomes."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.exceptions import (
    BadGateway,
    Conflict,
    HTTPException,
    NotFound,
    ServiceUnavailable,
    Unauthorized,
)

import flask_dualstorage
from flask_dualstorage import errors
from flask_dualstorage.errors import (
    CollectionUnknown,
    ConfigurationError,
    DualStorageError,
    NoCredentials,
    NotCached,
    OutboxFull,
    OutboxUnavailable,
    RecordGone,
    Rejected,
    UpstreamError,
    UpstreamUnreachable,
    ValidationFailed,
    WriteBusy,
)

#: (what is raised, what is above it in the tree, its status or None where it is a mistake of the app's)
TREE: list[tuple[DualStorageError, tuple[type[BaseException], ...], int | None]] = [
    (ConfigurationError("why"), (), None),
    (CollectionUnknown("why"), (LookupError,), None),
    (ValidationFailed("why"), (), None),
    (RecordGone("why"), (NotFound,), 404),
    (UpstreamUnreachable("why"), (ServiceUnavailable,), 503),
    (NotCached("why"), (UpstreamUnreachable, ServiceUnavailable), 503),
    (UpstreamError("why"), (BadGateway,), 502),
    (Rejected("why"), (UpstreamError, BadGateway), 502),
    (NoCredentials("why"), (Unauthorized,), 401),
    (WriteBusy("why"), (Conflict,), 409),
    (OutboxFull("why"), (HTTPException,), 507),
    (OutboxUnavailable("why"), (ServiceUnavailable,), 503),
]
BY_NAME = pytest.mark.parametrize(
    ("error", "above", "status"), TREE, ids=[type(error).__name__ for error, _, _ in TREE]
)
PAGES = [(error, status) for error, _, status in TREE if status is not None]


@BY_NAME
def test_where_an_error_stands_in_the_tree(
    error: DualStorageError, above: tuple[type[BaseException], ...], status: int | None
):
    assert isinstance(error, (DualStorageError, *above)[0])
    for parent in above:
        assert isinstance(error, parent)
    for other in (OutboxUnavailable, NotCached, UpstreamUnreachable, UpstreamError):
        assert isinstance(error, other) is (other in above or type(error) is other)


@BY_NAME
def test_an_error_is_its_sentence_and_an_http_error_where_it_has_a_status(
    error: DualStorageError, above: tuple[type[BaseException], ...], status: int | None
):
    assert str(error) == "why"
    assert isinstance(error, HTTPException) is (status is not None)
    assert getattr(error, "code", None) == status


def test_the_tree_is_public_and_whole():
    kinds = {type(error) for error, _, _ in TREE} | {DualStorageError}
    assert kinds == {getattr(errors, name) for name in errors.__all__}
    for kind in kinds:
        assert getattr(flask_dualstorage, kind.__name__) is kind
        assert kind.__name__ in flask_dualstorage.__all__


# --- the pages -----------------------------------------------------------------------------------------------


def an_app(error: Exception) -> Flask:
    app = Flask("app")

    @app.get("/")
    def view() -> str:
        raise error

    return app


@pytest.mark.parametrize(("error", "status"), PAGES, ids=[type(error).__name__ for error, _ in PAGES])
def test_an_unhandled_one_becomes_that_page(error: DualStorageError, status: int):
    answer = an_app(error).test_client().get("/")
    assert answer.status_code == status
    assert answer.mimetype == "text/html"
    assert "<p>why</p>" in answer.text


def test_a_page_escapes_what_an_upstream_said():
    answer = an_app(UpstreamError("<script>alert(1)</script>")).test_client().get("/")
    assert "&lt;script&gt;" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize("error", [ConfigurationError("why"), CollectionUnknown("why"), ValidationFailed("why")])
def test_a_mistake_of_the_apps_is_no_page_of_its_own(error: DualStorageError):
    answer = an_app(error).test_client().get("/")
    assert answer.status_code == 500
    assert "why" not in answer.text


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (5, "5"), (5.1, "6"), (0, None), (None, None)])
@pytest.mark.parametrize("kind", [UpstreamUnreachable, NotCached])
def test_retry_after_is_whole_seconds_rounded_up(
    kind: type[UpstreamUnreachable], seconds: float | None, header: str | None
):
    answer = an_app(kind("away", seconds)).test_client().get("/")
    assert answer.headers.get("Retry-After") == header


def test_handlers_of_the_app_get_them_by_class_by_parent_and_by_status():
    caught: list[Any] = []
    for key in (NotCached, UpstreamUnreachable, DualStorageError, HTTPException, 503):
        app = an_app(NotCached("away"))
        app.register_error_handler(key, lambda error: (caught.append(error), "handled")[1])
        assert app.test_client().get("/").text == "handled"
    assert [type(error) for error in caught] == [NotCached] * 5


# --- what they carry -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "by_field", "sentence"),
    [
        ("too long", {"": ["too long"]}, "too long"),
        (["too long", "too old"], {"": ["too long", "too old"]}, "too long; too old"),
        (("a", 5), {"": ["a", "5"]}, "a; 5"),
        ({"name": "missing"}, {"name": ["missing"]}, "name: missing"),
        ({"name": ["a", "b"], "age": "c"}, {"name": ["a", "b"], "age": ["c"]}, "name: a; name: b; age: c"),
        ({"name": ("a", "b")}, {"name": ["a", "b"]}, "name: a; name: b"),
        ({"tags[2]": 5}, {"tags[2]": ["5"]}, "tags[2]: 5"),
        ({"": "whole", 7: None}, {"": ["whole"], "7": ["None"]}, "whole; 7: None"),
        ((text for text in ("a", "b")), {"": ["a", "b"]}, "a; b"),
        ({}, {}, ""),
    ],
)
def test_validation_errors_are_lists_of_texts_by_path(given: Any, by_field: dict[str, list[str]], sentence: str):
    error = ValidationFailed(given)
    assert error.errors == by_field
    assert str(error) == sentence


def test_an_upstreams_error_carries_what_the_upstream_said():
    answer, write = object(), object()
    known: dict[str, Any] = {
        "status": 422,
        "upstream_response": answer,
        "problem": {"title": "No"},
        "in_doubt": True,
        "pending_write": write,
    }
    for error in (UpstreamError("no", **known), Rejected("no", errors={"name": ["missing"]}, **known)):
        assert {name: getattr(error, name) for name in known} == known
    assert error.errors == {"name": ["missing"]}


def test_an_upstreams_error_may_know_nothing():
    error = Rejected("no")
    assert (error.status, error.upstream_response, error.problem, error.pending_write) == (None, None, None, None)
    assert error.in_doubt is False
    assert error.errors == {}


def test_missing_credentials_ask_to_log_in_again():
    assert "log in again" in str(NoCredentials())
