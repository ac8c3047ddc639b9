"""What an upstream says of its refusal, in the shapes that real ones use."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.policy.problems import MAX_PROBLEM_BYTES, field_errors, problem_of
from flask_dualstorage.types import Answer, Json
from tests.unit.policy.builders import HTML, an_answer, json_answer, json_values


def said(body: Json, status: int = 400) -> dict[str, list[str]]:
    """Read the field errors out of an answer with this body, on the path that a refusal takes."""
    return field_errors(problem_of(json_answer(status, orjson.dumps(body))))


# --- the problem object --------------------------------------------------------------------------------------


def test_an_rfc_9457_problem_is_kept_with_all_its_members():
    problem = {
        "type": "https://example.com/probs/out-of-credit",
        "title": "You do not have enough credit.",
        "status": 403,
        "detail": "Your balance is 30, but that costs 50.",
        "instance": "/account/12345/msgs/abc",
        "balance": 30,
    }
    assert problem_of(json_answer(403, orjson.dumps(problem))) == problem


def test_the_status_is_the_answers_own_whatever_the_body_says():
    assert problem_of(json_answer(422, b'{"status": 200}'))["status"] == 422


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(an_answer(404), id="no body"),
        pytest.param(an_answer(404, b"<h1>Not Found</h1>", HTML), id="HTML"),
        pytest.param(json_answer(404, b'{"cut": '), id="cut JSON"),
        pytest.param(json_answer(404, b"\xff\x00"), id="bytes"),
        pytest.param(json_answer(404, b"null"), id="null"),
        pytest.param(json_answer(404, b'"gone"'), id="text"),
        pytest.param(json_answer(404, b"7"), id="a number"),
        pytest.param(json_answer(404, b'{"a":' * 300 + b"1" + b"}" * 300), id="nested deeper than can be kept"),
        pytest.param(json_answer(404, b"[" * 9000), id="nested deeper than can be read"),
        pytest.param(json_answer(404, b'{"x": "' + b"x" * MAX_PROBLEM_BYTES + b'"}'), id="a huge body"),
    ],
)
def test_nonsense_leaves_the_status_and_its_name(answer: Answer):
    assert problem_of(answer) == {"title": "Not Found", "status": 404}


def test_a_status_without_a_name_is_named_by_its_number():
    assert problem_of(an_answer(599)) == {"title": "Status 599", "status": 599}


def test_a_problem_just_small_enough_is_kept():
    body = b'{"x": "' + b"x" * (MAX_PROBLEM_BYTES - 9) + b'"}'
    assert len(body) == MAX_PROBLEM_BYTES
    assert "x" in problem_of(json_answer(400, body))


def test_what_is_said_of_fields_elsewhere_stands_in_errors_too():
    """Whoever shows a refusal finds them in one place, whatever the API's shape."""
    problem = problem_of(json_answer(400, b'{"email": ["Enter a valid email address."]}'))
    assert problem == {
        "email": ["Enter a valid email address."],
        "errors": {"email": ["Enter a valid email address."]},
        "status": 400,
        "title": "Bad Request",
    }


def test_a_list_of_errors_is_kept_as_errors():
    assert problem_of(json_answer(400, b'["a", "b"]'))["errors"] == ["a", "b"]


@pytest.mark.parametrize("title", [None, 7, ["a"], {"a": 1}])
def test_a_title_is_always_a_text(title: Json):
    assert problem_of(json_answer(404, orjson.dumps({"title": title})))["title"] == "Not Found"


def test_a_redirect_says_where_it_leads_in_few_words():
    answer = an_answer(302, headers={"location": "/login?" + "x" * 9000})
    assert problem_of(answer)["detail"].startswith("It redirects to /login?")
    assert len(problem_of(answer)["detail"]) < 600
    assert "detail" not in problem_of(an_answer(400, headers={"Location": "/x"}))


# --- errors by field -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        pytest.param(
            {"name": ["Required."], "age": ["Too low.", "Odd."]},
            {"name": ["Required."], "age": ["Too low.", "Odd."]},
            id="{field: […]} (Django REST framework)",
        ),
        pytest.param({"detail": "Not allowed."}, {}, id="{detail} alone is about no field"),
        pytest.param(
            {"title": ["May not be blank."]}, {"title": ["May not be blank."]}, id="a field that is called title"
        ),
        pytest.param(
            {"status": ["No choice."], "name": ["Short."]},
            {"status": ["No choice."], "name": ["Short."]},
            id="a field that is called status",
        ),
        pytest.param(
            {"code": ["Taken."], "type": ["Unknown."]},
            {"code": ["Taken."], "type": ["Unknown."]},
            id="fields called code and type",
        ),
        pytest.param({"non_field_errors": ["Not both."]}, {"": ["Not both."]}, id="errors of no field"),
        pytest.param({"tags": []}, {}, id="an empty list says nothing"),
        pytest.param({"name": ["a", 1]}, {}, id="a list of other things is no error"),
        pytest.param(
            {"errors": {"name": ["Short."], "age": "Odd."}},
            {"name": ["Short."], "age": ["Odd."]},
            id="errors: {field: […]} (Rails, Laravel)",
        ),
        pytest.param(
            {"errors": {"name": {"message": "Short."}}},
            {"name": ["Short."]},
            id="errors: {field: {message}} (Mongoose)",
        ),
        pytest.param({"errors": {"name": [{"code": "blank"}]}}, {"name": ["blank"]}, id="errors: {field: [{code}]}"),
        pytest.param({"errors": ["Too short.", "Odd."]}, {"": ["Too short.", "Odd."]}, id="errors: [text]"),
        pytest.param(["Too short."], {"": ["Too short."]}, id="[text]"),
        pytest.param(
            {"message": ["name is short"], "error": "Bad Request"},
            {"": ["name is short"]},
            id="message: [text] (NestJS)",
        ),
        pytest.param(
            {"errors": [{"detail": "Short.", "pointer": "#/name"}]},
            {"name": ["Short."]},
            id="errors: [{pointer}] (RFC 9457 §3)",
        ),
        pytest.param(
            {"errors": [{"detail": "Odd.", "pointer": "#/address/zip"}]},
            {"address.zip": ["Odd."]},
            id="a pointer to depth",
        ),
        pytest.param(
            {"errors": [{"title": "Bad", "detail": "Short.", "source": {"pointer": "/data/attributes/name"}}]},
            {"name": ["Short."]},
            id="errors: [{source: {pointer}}] (JSON:API)",
        ),
        pytest.param(
            {"errors": [{"title": "Bad", "source": {"pointer": "/data/attributes/name"}}]},
            {"name": ["Bad"]},
            id="errors: [{source, title}]",
        ),
        pytest.param(
            {"errors": [{"field": "name", "message": "Short."}, {"field": "name", "message": "Odd."}]},
            {"name": ["Short.", "Odd."]},
            id="errors: [{field, message}] (GitHub, Spring)",
        ),
        pytest.param({"errors": [{"message": "No."}]}, {"": ["No."]}, id="errors: [{message}]"),
        pytest.param({"errors": [{"field": "name", "code": "x"}, 7, None]}, {}, id="errors that say nothing"),
        pytest.param(
            {"errno": 107, "details": [{"location": "body", "name": "data.name", "description": "Required"}]},
            {"data.name": ["Required"]},
            id="details: [{name, description}] (Kinto)",
        ),
        pytest.param({"details": [{"@type": "type.example/Info"}]}, {}, id="details of another kind"),
        pytest.param(
            {"_status": "ERR", "_issues": {"name": "required field"}},
            {"name": ["required field"]},
            id="_issues: {field: text} (Eve)",
        ),
        pytest.param(
            {
                "code": 400,
                "message": "Failed.",
                "data": {"name": {"code": "validation_required", "message": "Missing."}},
            },
            {"name": ["Missing."]},
            id="data: {field: {code, message}} (PocketBase)",
        ),
        pytest.param({"data": {"name": {"code": "required"}}}, {"name": ["required"]}, id="data: {field: {code}}"),
        pytest.param({"data": {"id": 7, "name": "Ada"}}, {}, id="data that is a record"),
        pytest.param(
            {"detail": [{"loc": ["body", "address", "zip"], "msg": "field required", "type": "missing"}]},
            {"address.zip": ["field required"]},
            id="detail: [{loc, msg}] (FastAPI)",
        ),
        pytest.param({"detail": {"code": "x"}}, {}, id="detail of another kind"),
        pytest.param({}, {}, id="nothing"),
    ],
)
def test_errors_by_field_are_read_at(body: Json, errors: dict[str, list[str]]):
    assert said(body) == errors


_likely = st.sampled_from(
    ["errors", "details", "_issues", "detail", "data", "title", "status", "source", "pointer", "loc", "name", "message"]
)
_bodies = st.recursive(
    json_values(3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_likely, below, max_size=4),
    max_leaves=10,
)


@given(_bodies, st.integers(300, 999))
def test_no_json_is_too_strange(body: Json, status: int):
    problem = problem_of(json_answer(status, orjson.dumps(body), Location="/x"))
    assert problem["status"] == status
    assert isinstance(problem["title"], str)
    assert orjson.loads(orjson.dumps(problem)) == problem
    check(field_errors(problem))


@given(_bodies)
def test_errors_can_be_read_out_of_whatever_was_kept(body: Json):
    check(field_errors(body if isinstance(body, dict) else {"errors": body}))


@given(st.binary(max_size=200), st.integers(100, 999))
def test_no_bytes_are_too_strange(content: bytes, status: int):
    check(field_errors(problem_of(an_answer(status, content))))


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"errors":', b"}"), (b'{"errors":[', b"]}"), (b'{"data":{"a":', b"}}")]
)
@pytest.mark.parametrize("levels", [40, 49, 50, 51, 99, 100, 101, 127, 128, 254, 255, 1023, 5000])
def test_no_depth_is_too_deep(opening: bytes, closing: bytes, levels: int):
    problem = problem_of(json_answer(400, opening * levels + b"1" + closing * levels))
    assert orjson.dumps({"problem": problem})
    check(field_errors(problem))


def check(errors: dict[Any, Any]) -> None:
    """Hold what everyone who shows errors relies on."""
    assert all(isinstance(field, str) for field in errors)
    assert all(isinstance(text, str) for texts in errors.values() for text in texts)
