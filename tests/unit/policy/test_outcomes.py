"""What an answer means: the table of DESIGN §4.7 for a write, row by row, and §4.2 for a read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.policy import outcomes
from flask_dualstorage.policy.outcomes import ReadMeaning, Sent, read_outcome, settle_conflict, write_outcome
from flask_dualstorage.policy.values import BadAnswer
from flask_dualstorage.types import Answer, Failure, Fault, Json, Kind, Meaning, Outcome
from tests.unit.policy.builders import HTML, JSON, NOON, an_answer, json_answer, json_values

OFFLINE = (408, 502, 503, 504)
WANTED = {"name": "Ada", "age": 36}

CREATE = Sent(Kind.CREATE, WANTED, WANTED, None, "id", lambda value: value)
CHOSEN = Sent(Kind.CREATE, {"id": "ada", **WANTED}, WANTED, "ada", "id", lambda value: value)
UPDATE = Sent(Kind.UPDATE, {"id": 7, **WANTED}, {"name": "Ada"}, 7, "id", lambda value: value)
DELETE = Sent(Kind.DELETE, {}, {}, 7, "id", lambda value: value)
KINDS = {"create": CREATE, "create of a chosen id": CHOSEN, "update": UPDATE, "delete": DELETE}
ALL = tuple(KINDS)
CREATES = ("create", "create of a chosen id")


def outcome_of(kind: str, answer: Answer | Failure, offline: Any = OFFLINE) -> Outcome:
    return write_outcome(KINDS[kind], answer, offline, NOON)


def rows(*table: tuple[tuple[int, ...], tuple[str, ...], Meaning]) -> list[Any]:
    return [
        pytest.param(kind, status, meaning, id=f"{status} on {kind}: {meaning}")
        for statuses, kinds, meaning in table
        for status in statuses
        for kind in kinds
    ]


# --- the table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "meaning"),
    rows(
        ((425, 429, 503), ALL, Meaning.NOT_NOW),
        ((408, 502, 504), ALL, Meaning.UNREACHABLE),
        ((200, 201, 202, 204, 205), ("update", "delete", "create of a chosen id"), Meaning.APPLIED),
        ((301, 302, 303, 304, 307, 308), ALL, Meaning.REJECTED),
        ((401,), ALL, Meaning.UNAUTHORIZED),
        ((404, 410), ("delete",), Meaning.APPLIED),
        ((404, 410), ("update",), Meaning.CONFLICT),
        ((404, 410), CREATES, Meaning.REJECTED),
        ((409, 412), ("update", "delete", "create of a chosen id"), Meaning.CONFLICT),
        ((428,), ("update", "delete"), Meaning.CONFLICT),
        ((409, 412), ("create",), Meaning.REJECTED),
        ((428,), CREATES, Meaning.REJECTED),
        ((400, 402, 403, 405, 406, 413, 414, 415, 418, 422, 431, 451, 499), ALL, Meaning.REJECTED),
        ((501, 505), ALL, Meaning.REJECTED),
        ((500, 507, 508, 511, 520, 599), ALL, Meaning.IN_DOUBT),
    ),
)
def test_a_status_means(kind: str, status: int, meaning: Meaning):
    outcome = outcome_of(kind, an_answer(status))
    assert outcome.meaning is meaning
    assert outcome.status == status
    assert outcome.response.status_code == status
    assert meaning is Meaning.APPLIED or outcome.reason
    assert not outcome.unsent


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("fault", "meaning", "unsent"),
    [
        pytest.param(
            Fault.UNSENT, Meaning.UNREACHABLE, True, id="DNS, refused, connect timeout, TLS: nothing was sent"
        ),
        pytest.param(Fault.CUT, Meaning.IN_DOUBT, False, id="read timeout, reset after send, cut: in doubt"),
        pytest.param(Fault.TOO_LARGE, Meaning.IN_DOUBT, False, id="an answer too large to read: in doubt"),
    ],
)
def test_no_answer_means(kind: str, fault: Fault, meaning: Meaning, unsent: bool):
    assert outcome_of(kind, Failure(fault, "why")) == Outcome(meaning, unsent=unsent, reason="why")


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("status", [200, 201, 204, 302, 401, 404, 409, 422, 500])
def test_an_offline_code_is_one_whatever_else_it_would_mean(kind: str, status: int):
    """Even a 2xx, as in Backbone; key and bytes are kept, for it may have arrived."""
    outcome = outcome_of(kind, json_answer(status, b'{"id": 1}'), frozenset({status}))
    assert outcome.meaning is Meaning.UNREACHABLE
    assert not outcome.unsent
    assert outcome.record is None


@pytest.mark.parametrize("status", [425, 429, 503])
@pytest.mark.parametrize("offline", [(), (425, 429, 503)])
def test_not_now_comes_before_the_offline_codes_for_it_may_say_how_long(status: int, offline: tuple[int, ...]):
    outcome = outcome_of("update", an_answer(status, headers={"retry-after": "120"}), offline)
    assert outcome.meaning is Meaning.NOT_NOW
    assert outcome.retry_after == 120


@pytest.mark.parametrize(
    ("header", "wait"), [(None, None), ("soon", None), ("Fri, 15 Jan 2027 08:00:30 GMT", 30), ("9" * 30, 86_400)]
)
def test_how_long_to_wait_may_be_a_date_and_may_be_nonsense(header: str | None, wait: float | None):
    headers = {} if header is None else {"Retry-After": header}
    assert outcome_of("update", an_answer(503, headers=headers)).retry_after == wait


# --- 2xx: what is in it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "record"),
    [
        pytest.param(b"", {"id": 7, "name": "Ada", "age": 36}, id="an empty body"),
        pytest.param(b" \r\n", {"id": 7, "name": "Ada", "age": 36}, id="nothing but white space"),
        pytest.param(b"null", {"id": 7, "name": "Ada", "age": 36}, id="null"),
        pytest.param(b"{}", {"id": 7, "name": "Ada", "age": 36}, id="an empty object"),
        pytest.param(b'{"age": 37}', {"id": 7, "name": "Ada", "age": 37}, id="only what the server changed"),
        pytest.param(b'{"v": 2}', {"id": 7, "name": "Ada", "age": 36, "v": 2}, id="only what the server added"),
        pytest.param(b'{"age": null}', {"id": 7, "name": "Ada", "age": None}, id="null is a value"),
        pytest.param(b'{"id": "7", "x": 1}', {"id": 7, "name": "Ada", "age": 36, "x": 1}, id="the id keeps its type"),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_an_empty_null_or_partial_body_is_merged_over_what_we_sent(status: int, content: bytes, record: Any):
    outcome = outcome_of("update", json_answer(status, content))
    assert outcome.meaning is Meaning.APPLIED
    assert outcome.record == record
    assert outcome.record_id == 7


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(an_answer(200, b"<html>Log in</html>", HTML), "HTML", id="HTML with 200"),
        pytest.param(an_answer(200, b"{}", {"Content-Type": "application/xhtml+xml"}), "HTML", id="XHTML"),
        pytest.param(an_answer(200, b"<html>", JSON), "not JSON", id="HTML that says it is JSON"),
        pytest.param(json_answer(200, b'{"id": 7, "na'), "not JSON", id="cut JSON"),
        pytest.param(json_answer(200, b'{"id": NaN}'), "not JSON", id="NaN"),
        pytest.param(json_answer(200, b"\xff\xfe{}"), "not JSON", id="not UTF-8"),
        pytest.param(json_answer(200, b'[{"id": 7}]'), "a list where a record was expected", id="a list"),
        pytest.param(json_answer(200, b"[]"), "a list where a record was expected", id="an empty list"),
        pytest.param(json_answer(200, b'"ok"'), "a str where a record was expected", id="text"),
        pytest.param(json_answer(200, b"0"), "an int where a record was expected", id="a number"),
        pytest.param(
            json_answer(200, b'{"a":' * 300 + b"1" + b"}" * 300), "nested deeper", id="deeper than can be kept"
        ),
        pytest.param(json_answer(200, b"[" * 5000 + b"]" * 5000), "not JSON", id="deeper than can be read"),
        pytest.param(json_answer(200, b'{"id": 7, "n": 1%s}' % (b"0" * 20)), "beyond 64 bits", id="a big integer"),
    ],
)
@pytest.mark.parametrize("kind", ["create", "create of a chosen id", "update"])
def test_a_2xx_that_is_no_record_leaves_the_write_in_doubt(kind: str, answer: Answer, says: str):
    outcome = outcome_of(kind, answer)
    assert outcome.meaning is Meaning.IN_DOUBT
    assert outcome.status == 200
    assert says in str(outcome.reason)
    assert outcome.record is None


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"id": 7}', b"[]", b"ok", b'{"cu'])
def test_a_delete_needs_no_body(content: bytes):
    outcome = outcome_of("delete", json_answer(200, content))
    assert outcome.meaning is Meaning.APPLIED
    assert outcome.record is None
    assert outcome.record_id == 7


def test_a_delete_answered_by_a_page_is_in_doubt_for_it_may_be_a_log_in():
    assert outcome_of("delete", an_answer(200, b"<html>", HTML)).meaning is Meaning.IN_DOUBT
    assert outcome_of("delete", an_answer(204, b"", HTML)).meaning is Meaning.APPLIED


def test_a_parse_hook_takes_the_record_out_of_its_envelope_and_may_find_none():
    sent = Sent(Kind.UPDATE, WANTED, WANTED, 7, "id", lambda value: value["data"])
    outcome = write_outcome(sent, json_answer(200, b'{"data": {"age": 37}}'), (), NOON)
    assert outcome.record == {"id": 7, "name": "Ada", "age": 37}
    assert write_outcome(sent, json_answer(200, b'{"data": []}'), (), NOON).meaning is Meaning.IN_DOUBT


def test_a_parse_hook_that_refuses_an_answer_leaves_the_write_in_doubt():
    def parse(value: Json) -> Json:
        raise BadAnswer("it has no data")

    sent = Sent(Kind.UPDATE, WANTED, WANTED, 7, "id", parse)
    outcome = write_outcome(sent, json_answer(200, b"{}"), (), NOON)
    assert outcome.meaning is Meaning.IN_DOUBT
    assert "it has no data" in str(outcome.reason)


def test_the_only_record_of_a_url_needs_no_id_and_gets_none():
    sent = Sent(Kind.UPDATE, WANTED, WANTED, outcomes.ONLY, "id", lambda value: value)
    outcome = write_outcome(sent, json_answer(200, b'{"age": 37}'), (), NOON)
    assert outcome.meaning is Meaning.APPLIED
    assert outcome.record == {"name": "Ada", "age": 37}


def test_what_was_sent_is_not_changed_by_the_answer():
    wanted = {"name": "Ada"}
    sent = Sent(Kind.UPDATE, wanted, wanted, 7, "id", lambda value: value)
    write_outcome(sent, json_answer(200, b'{"age": 37}'), (), NOON)
    assert wanted == {"name": "Ada"}


# --- 2xx: the new record's id --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "record_id"),
    [
        pytest.param(json_answer(201, b'{"id": 42, "name": "Ada"}'), 42, id="a number"),
        pytest.param(json_answer(201, b'{"id": "u-1"}'), "u-1", id="a text"),
        pytest.param(json_answer(200, b'{"id": 42}'), 42, id="with 200"),
        pytest.param(json_answer(201, b'{"id": "a/b"}'), "a/b", id="one that needs encoding"),
        pytest.param(json_answer(201, b'{"id": 42}', Location="/people/99"), 42, id="the body before the Location"),
    ],
)
def test_a_create_learns_its_id_from_the_body(answer: Answer, record_id: Any):
    outcome = outcome_of("create", answer)
    assert outcome.meaning is Meaning.APPLIED
    assert outcome.record_id == record_id
    assert type(outcome.record_id) is type(record_id)
    assert outcome.record == {**WANTED, "id": record_id}


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"id": null}', b'{"id": true}', b'{"name": "Ada"}'])
def test_a_create_that_only_says_where_it_is_has_still_to_be_read(content: bytes):
    outcome = outcome_of("create", json_answer(201, content, Location="https://crm.example/people/42"))
    assert outcome.meaning is Meaning.APPLIED
    assert outcome.record_id is None


@pytest.mark.parametrize(
    "found", [b"null", b"true", b"1.5", b'""', b'"."', b'".."', b"[1]", b'{"$oid": "x"}', b'"' + b"x" * 300 + b'"']
)
def test_a_create_whose_id_is_no_id_and_that_says_no_place_is_in_doubt(found: bytes):
    outcome = outcome_of("create", json_answer(201, b'{"id": ' + found + b"}"))
    assert outcome.meaning is Meaning.IN_DOUBT
    assert "names no 'id'" in str(outcome.reason)


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"name": "Ada"}'])
def test_a_create_that_names_no_id_is_in_doubt(content: bytes):
    assert outcome_of("create", json_answer(201, content)).meaning is Meaning.IN_DOUBT


@pytest.mark.parametrize(
    ("content", "record_id"),
    [
        pytest.param(b"", "ada", id="nothing"),
        pytest.param(b'{"id": "ada"}', "ada", id="the same"),
        pytest.param(b'{"id": [1]}', "ada", id="one of a wrong type"),
        pytest.param(b'{"id": 42}', 42, id="the upstream's own in place of ours"),
    ],
)
def test_a_create_of_a_chosen_id_keeps_it_unless_the_upstream_names_another(content: bytes, record_id: Any):
    outcome = outcome_of("create of a chosen id", json_answer(201, content))
    assert outcome.meaning is Meaning.APPLIED
    assert outcome.record_id == record_id
    assert outcome.record == {**WANTED, "id": record_id}


def test_the_id_may_be_called_otherwise():
    sent = Sent(Kind.CREATE, WANTED, WANTED, None, "_id", lambda value: value)
    outcome = write_outcome(sent, json_answer(201, b'{"id": 1, "_id": "x"}'), (), NOON)
    assert outcome.record_id == "x"


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("/people/42", "42"),
        ("https://crm.example/api/people/42", "42"),
        ("/people/42/", "42"),
        ("/people/42?fresh=1#top", "42"),
        ("/people/a%2Fb", "a/b"),
        ("42", "42"),
        ("", None),
        ("/", None),
        ("/people/..", None),
        ("/people/%2E", None),
        ("/people/" + "x" * 300, None),
    ],
)
def test_a_location_ends_in_the_id(location: str, found: str | None):
    assert outcomes.location_id(an_answer(201, headers={"location": location})) == found


# --- validators ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        pytest.param({"ETag": '"v1"'}, '"v1"', id="a strong ETag"),
        pytest.param({"etag": '"v1"'}, '"v1"', id="a header in lower case"),
        pytest.param({"ETag": 'W/"v1"'}, None, id="a weak ETag: it serves the cache only"),
        pytest.param({"ETag": ""}, None, id="an empty one"),
        pytest.param({}, None, id="none: an applied answer without a validator clears the record's"),
        pytest.param({"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, None, id="a date is no strong validator"),
    ],
)
def test_only_a_strong_validator_may_go_out_as_if_match(headers: dict[str, str], validator: str | None):
    assert outcomes.strong_validator(an_answer(headers=headers).headers) == validator
    assert outcome_of("update", an_answer(204, headers=headers)).validator == validator


# --- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 404, 409, 422, 500])
def test_a_refusal_keeps_the_problem_and_says_its_detail(status: int):
    body = b'{"title": "No", "detail": "The name is taken.", "errors": {"name": ["taken"]}}'
    outcome = outcome_of("update", an_answer(status, body, {"Content-Type": "application/problem+json"}))
    assert outcome.problem == {
        "title": "No",
        "detail": "The name is taken.",
        "errors": {"name": ["taken"]},
        "status": status,
    }
    assert str(outcome.reason).endswith("The name is taken.")


def test_a_long_detail_is_shortened_in_the_reason():
    outcome = outcome_of("update", json_answer(422, b'{"detail": "' + b"x" * 5000 + b'"}'))
    assert len(str(outcome.reason)) < 400


@pytest.mark.parametrize("status", [301, 302, 303, 307])
def test_a_redirect_that_was_not_followed_says_where_it_leads(status: int):
    outcome = outcome_of("create", an_answer(status, headers={"Location": "https://crm.example/login"}))
    assert outcome.meaning is Meaning.REJECTED
    assert "https://crm.example/login" in str(outcome.reason)


# --- conflicts -----------------------------------------------------------------------------------------------

STALE = Outcome(Meaning.CONFLICT, 412, reason="Stale.", problem={"status": 412}, response="answer")


@pytest.mark.parametrize(
    ("kind", "theirs", "meaning"),
    [
        pytest.param("update", {"id": 7, "name": "Eve", "age": 36}, Meaning.CONFLICT, id="update: another record"),
        pytest.param(
            "update", {"id": 7, "name": "Ada", "age": 99}, Meaning.APPLIED, id="update: all that we set is there"
        ),
        pytest.param("update", {"id": 7, "age": 36}, Meaning.CONFLICT, id="update: what we set is missing"),
        pytest.param("update", {"id": 7, "name": True}, Meaning.CONFLICT, id="update: another type"),
        pytest.param("update", None, Meaning.CONFLICT, id="update: it is gone"),
        pytest.param(
            "create of a chosen id", {"id": "ada", **WANTED, "v": 1}, Meaning.APPLIED, id="create: ours arrived"
        ),
        pytest.param("create of a chosen id", {"id": "ada", "name": "Eve"}, Meaning.CONFLICT, id="create: another's"),
        pytest.param("create of a chosen id", None, Meaning.CONFLICT, id="create: refused, yet nothing is there"),
        pytest.param("delete", {"id": 7}, Meaning.CONFLICT, id="delete: it is there, and another"),
        pytest.param("delete", None, Meaning.APPLIED, id="delete: it is gone, as we want"),
    ],
)
def test_a_conflict_is_settled_by_the_record_as_it_is_now(kind: str, theirs: Any, meaning: Meaning):
    sent = KINDS[kind]
    assert settle_conflict(sent, STALE, theirs, '"v2"') == Outcome(
        meaning,
        412,
        record=theirs,
        record_id=sent.chosen_id,
        validator='"v2"',
        reason="Stale.",
        problem={"status": 412},
        response="answer",
    )


# --- the breaker ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reachable"),
    [
        pytest.param(Failure(Fault.UNSENT, ""), False, id="no connection"),
        pytest.param(Failure(Fault.CUT, ""), False, id="no whole answer"),
        pytest.param(Failure(Fault.TOO_LARGE, ""), True, id="too large an answer: it is there"),
        pytest.param(an_answer(503), False, id="an offline code"),
        pytest.param(an_answer(504), False, id="another"),
        pytest.param(an_answer(500), True, id="500: it answers"),
        pytest.param(an_answer(429), True, id="429: it answers"),
        pytest.param(an_answer(401), True, id="401: it answers"),
        pytest.param(an_answer(200, b"<html>", HTML), True, id="nonsense: it answers"),
    ],
)
def test_unreachable_and_offline_codes_count_for_the_breaker_and_nothing_else(answer: Any, reachable: bool):
    assert outcomes.is_reachable(answer, OFFLINE) is reachable


def test_which_codes_are_offline_is_the_apps_to_say():
    assert outcomes.is_reachable(an_answer(503), ())
    assert not outcomes.is_reachable(an_answer(200), frozenset({200}))


# --- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        pytest.param(Failure(Fault.UNSENT, "why"), ReadMeaning.UNAVAILABLE, id="unreachable: the copy"),
        pytest.param(Failure(Fault.CUT, "why"), ReadMeaning.UNAVAILABLE, id="cut: the copy"),
        pytest.param(Failure(Fault.TOO_LARGE, "why"), ReadMeaning.UNAVAILABLE, id="too large: the copy"),
        pytest.param(an_answer(408), ReadMeaning.UNAVAILABLE, id="408, an offline code: the copy"),
        pytest.param(an_answer(502), ReadMeaning.UNAVAILABLE, id="502: the copy"),
        pytest.param(an_answer(503), ReadMeaning.UNAVAILABLE, id="503: the copy"),
        pytest.param(an_answer(504), ReadMeaning.UNAVAILABLE, id="504: the copy"),
        pytest.param(an_answer(425), ReadMeaning.UNAVAILABLE, id="425 counts as unreachable: the copy"),
        pytest.param(an_answer(429), ReadMeaning.UNAVAILABLE, id="429 counts as unreachable: the copy"),
        pytest.param(an_answer(200, b"<html>", HTML), ReadMeaning.UNAVAILABLE, id="HTML: the copy"),
        pytest.param(json_answer(200, b'[{"id": 1}, {"i'), ReadMeaning.UNAVAILABLE, id="cut JSON: the copy"),
        pytest.param(
            json_answer(200, b"[" * 300 + b"]" * 300), ReadMeaning.UNAVAILABLE, id="nested too deep: the copy"
        ),
        pytest.param(json_answer(200, b"[1%s]" % (b"0" * 20)), ReadMeaning.UNAVAILABLE, id="a big integer: the copy"),
        pytest.param(json_answer(200, b"[]"), ReadMeaning.FRESH, id="an empty list is a list"),
        pytest.param(json_answer(200, b'[{"id": 1}]'), ReadMeaning.FRESH, id="a list"),
        pytest.param(an_answer(204), ReadMeaning.FRESH, id="nothing: for the caller to judge"),
        pytest.param(an_answer(304), ReadMeaning.NOT_MODIFIED, id="304"),
        pytest.param(an_answer(404), ReadMeaning.GONE, id="404"),
        pytest.param(an_answer(410), ReadMeaning.GONE, id="410"),
        pytest.param(an_answer(401), ReadMeaning.ERROR, id="401 never falls back to a cache"),
        pytest.param(an_answer(403), ReadMeaning.ERROR, id="403 never falls back to a cache"),
        pytest.param(an_answer(302), ReadMeaning.ERROR, id="a redirect that led nowhere"),
        pytest.param(an_answer(400), ReadMeaning.ERROR, id="any other error status raises: 400"),
        pytest.param(an_answer(500), ReadMeaning.ERROR, id="any other error status raises: 500"),
    ],
)
def test_what_an_answer_means_for_a_read(answer: Any, meaning: ReadMeaning):
    outcome = read_outcome(answer, OFFLINE, NOON)
    assert outcome.meaning is meaning
    assert outcome.answer is (None if isinstance(answer, Failure) else answer)
    assert outcome.reason or meaning in (ReadMeaning.FRESH, ReadMeaning.NOT_MODIFIED)


def test_a_fresh_read_brings_the_body_decoded():
    assert read_outcome(json_answer(200, b'[{"id": 1}]'), OFFLINE, NOON).body == [{"id": 1}]


def test_an_offline_code_hides_what_came_with_it():
    outcome = read_outcome(json_answer(200, b'[{"id": 1}]'), (200,), NOON)
    assert (outcome.meaning, outcome.body) == (ReadMeaning.UNAVAILABLE, None)


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_read_passes_on_how_long_to_wait(status: int):
    outcome = read_outcome(an_answer(status, headers={"Retry-After": "7"}), OFFLINE, NOON)
    assert outcome.retry_after == 7


# --- whatever comes ------------------------------------------------------------------------------------------

_answers = st.builds(
    an_answer,
    st.integers(200, 999),
    st.binary(max_size=40) | json_values().map(orjson.dumps),
    st.dictionaries(st.sampled_from(["Content-Type", "Retry-After", "Location", "ETag"]), st.text(max_size=20)),
)


@given(st.sampled_from(list(KINDS)), _answers, st.sets(st.sampled_from([200, 404, 500, 503])))
def test_every_answer_has_a_meaning_and_an_applied_write_knows_its_record(kind: str, answer: Answer, offline: set[int]):
    outcome = outcome_of(kind, answer, offline)
    assert outcome.status == answer.status_code
    if outcome.meaning is Meaning.APPLIED and kind != "delete":
        assert outcome.record is not None
        assert outcome.record_id is not None or outcomes.location_id(answer) is not None
    else:
        assert outcome.record is None


@given(_answers, st.sets(st.sampled_from([200, 404, 500, 503])))
def test_every_answer_has_a_meaning_for_a_read(answer: Answer, offline: set[int]):
    assert read_outcome(answer, offline, NOON).meaning in ReadMeaning
