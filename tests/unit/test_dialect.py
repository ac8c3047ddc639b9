"""What a dialect takes: each field is checked when it is declared; an error names it, what it got, what it takes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from flask_dualstorage import Bulk, ConfigurationError, Dialect, LinkPages, dialects


def _title(name: str, value: Any) -> str:
    if isinstance(value, Bulk):
        return f"{name} at {value.path}"
    return f"{name} a function" if callable(value) else f"{name}={value!r}"


#: For each field what is good, and what is not.
CASES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "id_attribute": (("id", "_id", "objectId"), ("", None, 7)),
    "new_id": ((None, "uuid4", lambda: "a"), ("uuid", 4, True)),
    "urls": (
        ({}, {"update": "{url}/{id}/edit", "list": "/all/people"}, {"delete": "/people/{id};gone"}),
        (
            {"update": "{url}"},
            {"record": "people/{id}"},
            {"patch": "{url}/{id}"},
            {"list": "{url}/{page}"},
            {"list": "{url}?all=1"},
            {"create": "{url}/{id}"},
            {"list": 7},
            "{url}",
        ),
    ),
    "slash": ((True, False), ("/", None, 1)),
    "suffix": (("", ".json"), ("/", "?x", None)),
    "create_method": (("POST", "PUT"), ("GET", "put", None)),
    "update_method": (("PUT", "PATCH", "POST"), ("DELETE", None)),
    "patch_method": (("PATCH", "PUT", "POST", None), ("GET",)),
    "delete_method": (("DELETE", "POST"), ("PUT", None)),
    "media_type": (("application/json", "application/vnd.api+json"), ("json", "", None, "a/b\r\nX: y")),
    "patch_type": ((None, "application/merge-patch+json"), ("merge", "")),
    "list_at": ((None, "data", "data.items", lambda body: body), ("", "data.", 7)),
    "item_at": ((None, "data", lambda body: body), ("", 7)),
    "record_at": ((None, "data", lambda body: body), ("", 7)),
    "wrap": ((None, "data", "a.b", lambda record: record), ("", 7)),
    "read_only": (((), ("created_at",), ["created_at"]), ("created_at", (7,), ("",))),
    "version_from": ((None, "_rev"), ("", 7)),
    "version_to": (("If-Match",), ("etag", "query", "query:", "query:a b", None)),
    "after_write": (("merge", "read"), ("replace", None)),
    "errors_at": ((None, "error.fields", lambda body: {}), ("", 7)),
    "existing_at": ((None, "details.existing", lambda body: None), ("", 7)),
    "outcomes": (
        ({}, {422: "conflict"}, {(200, "create"): "existing"}, lambda operation, answer: None),
        ({422: "stale"}, {99: "conflict"}, {(422, "save"): "conflict"}, {"422": "conflict"}, "conflict", None),
    ),
    "idempotency_header": ((None, False, "X-Request-Id"), (True, "", "a b")),
    "honours_keys": ((None, True, False, 3600), (0, -1, "yes")),
    "replayed_header": ((None, "Idempotent-Replayed"), ("", "a b", True)),
    "bulk": ((None, Bulk(), Bulk(path="/$batch", at_most=20)), (True, "/batch", Bulk)),
    "pages": ((None, LinkPages()), ("link", {"next": "next"}, LinkPages)),
}
GOOD = [pytest.param(name, value, id=_title(name, value)) for name, (good, _) in CASES.items() for value in good]
WRONG = [pytest.param(name, value, id=_title(name, value)) for name, (_, wrong) in CASES.items() for value in wrong]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_each_field_takes_what_it_says(name: str, value: Any):
    taken = getattr(Dialect(**{name: value}), name)
    assert taken == (tuple(value) if name == "read_only" else value)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_field_is_named_with_what_it_got_and_what_it_takes(name: str, value: Any):
    with pytest.raises(ConfigurationError) as caught:
        Dialect(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"Dialect.{name}")
    assert "; it takes " in message


def test_the_cases_name_every_field_there_is():
    assert set(CASES) == {field.name for field in fields(Dialect)}


def test_an_unknown_field_is_named_with_the_one_that_may_be_meant():
    with pytest.raises(
        ConfigurationError, match=r"Dialect\(update_methods=…\) is not there. Did you mean update_method\?"
    ):
        Dialect(update_methods="PUT")
    with pytest.raises(ConfigurationError, match=r"Dialect\(webhook=…\) is not there. It takes id_attribute, "):
        dialects.drf.but(webhook=True)


def test_but_gives_another_dialect_and_leaves_the_first_as_it_is():
    forum = dialects.drf.but(slash=False, id_attribute="uuid")
    assert (forum.slash, forum.id_attribute, forum.list_at) == (False, "uuid", dialects.drf.list_at)
    assert (dialects.drf.slash, dialects.drf.id_attribute) == (True, "id")


def test_a_version_that_goes_back_elsewhere_needs_the_field_it_stands_in():
    with pytest.raises(ConfigurationError, match=r"version_to is 'body', and version_from is not there"):
        Dialect(version_to="body")
    assert Dialect(version_from="_rev", version_to="query:rev").version_to == "query:rev"


def test_the_url_of_a_create_has_the_id_where_it_is_put_there():
    assert Dialect(create_method="PUT", urls={"create": "{url}/new/{id}"}).urls["create"] == "{url}/new/{id}"
    with pytest.raises(ConfigurationError, match=r"urls\['create'\]"):
        Dialect(create_method="PUT", urls={"create": "{url}/new"})
