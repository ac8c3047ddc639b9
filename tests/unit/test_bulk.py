"""What a bulk endpoint takes, and how requests and answers stand in it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from requests.structures import CaseInsensitiveDict

from flask_dualstorage import Bulk, ConfigurationError
from flask_dualstorage.policy.values import BadAnswer
from flask_dualstorage.types import Answer, Request
from flask_dualstorage.upstream.batches import packed, unpacked

CREATE = Request("POST", "/people", {"Idempotency-Key": "k1", "Content-Type": "application/json"}, b'{"name": "Ada"}')
DELETE = Request("DELETE", "/people/7", {"Idempotency-Key": "k2", "If-Match": '"3"'})


def whole(content: Any, status: int = 200) -> Answer:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Answer(status, CaseInsensitiveDict({"Content-Type": "application/json"}), body, "http://api/batch")


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"path": "/v1/$batch?atomic=no"},
        {"at_most": 2},
        {"at_most": 1000},
        {"parallel": False},
        {"body": list, "answers": list},
    ],
    ids=str,
)
def test_what_it_takes(good: dict[str, Any]):
    assert all(getattr(Bulk(**good), name) == value for name, value in good.items())


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "batch"},
        {"path": "/a b"},
        {"path": "/a#b"},
        {"path": None},
        {"at_most": 1},
        {"at_most": "25"},
        {"at_most": True},
        {"parallel": 1},
        {"body": "requests"},
        {"answers": "responses"},
        {"answers": None},
    ],
    ids=str,
)
def test_a_wrong_field_is_named_with_what_it_got_and_what_it_takes(wrong: dict[str, Any]):
    [(name, value)] = wrong.items()
    with pytest.raises(ConfigurationError) as caught:
        Bulk(**wrong)
    assert str(caught.value).startswith(f"Bulk.{name} is {value!r}; it takes ")


def test_requests_stand_in_it_as_kinto_has_them():
    request = packed(Bulk(), [CREATE, DELETE], {"X-Tenant": "acme"})
    assert (request.method, request.path) == ("POST", "/batch")
    assert request.headers == {"X-Tenant": "acme", "Content-Type": "application/json"}
    assert orjson.loads(request.body or b"") == {
        "requests": [
            {"method": "POST", "path": "/people", "headers": dict(CREATE.headers), "body": {"name": "Ada"}},
            {"method": "DELETE", "path": "/people/7", "headers": dict(DELETE.headers)},
        ]
    }


def test_answers_are_taken_out_in_order_as_if_each_had_come_alone():
    told = [
        {"status": 201, "path": "/people", "headers": {"etag": '"1"'}, "body": {"id": 7}},
        {"status": 204, "path": "/people/7", "headers": {}, "body": ""},
        {"status": 404},
    ]
    first, second, third = unpacked(Bulk(), whole({"responses": told}), 3)
    assert first is not None
    assert (first.status_code, first.headers["ETag"], first.json()) == (201, '"1"', {"id": 7})
    assert [(each.status_code, each.content) for each in (second, third) if each] == [(204, b""), (404, b"")]


@pytest.mark.parametrize(
    "item",
    [
        None,
        "201",
        {},
        {"status": "201"},
        {"status": True},
        {"status": 99},
        {"status": 200, "headers": ["ETag"]},
        {"status": 200, "headers": {"ETag": 7}},
    ],
    ids=str,
)
def test_one_that_can_not_be_read_is_none_and_the_others_are_read(item: Any):
    good = {"status": 200, "body": {"id": 1}}
    assert [each is None for each in unpacked(Bulk(), whole({"responses": [good, item, good]}), 3)] == [
        False,
        True,
        False,
    ]


def test_what_a_function_gives_that_is_no_json_is_none():
    odd = Bulk(answers=lambda body: [{"status": 200, "body": object()}, {"status": 200, "headers": {7: "x"}}])
    assert unpacked(odd, whole({}), 2) == [None, None]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"responses": [{"status": 200}]}, "it holds 1 answers to 2 requests"),
        ({"responses": [{"status": 200}] * 3}, "it holds 3 answers to 2 requests"),
        ({"responses": {"0": {"status": 200}}}, "it holds no list of answers"),
        ({"answers": []}, "could not take it apart"),
        (b"<html>", "is not JSON"),
        (b"", "could not take it apart"),
        (
            b'{"responses": [{"status": 201}, {"status": 201, "body": {"id": 1180591620717411303424}}]}',
            "beyond 64 bits",
        ),
    ],
    ids=str,
)
def test_where_it_can_not_be_told_which_is_whose_there_are_none(content: Any, why: str):
    with pytest.raises(BadAnswer, match=why):
        unpacked(Bulk(), whole(content), 2)
