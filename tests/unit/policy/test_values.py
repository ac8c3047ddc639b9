"""What may be stored, and what an answer must look like to be taken."""

from __future__ import annotations

import copy
import enum
from collections import OrderedDict
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.errors import ValidationFailed
from flask_dualstorage.policy import values
from flask_dualstorage.types import Json
from tests.unit.policy.builders import json_values, records

MIB = 1024 * 1024


def nested(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


class Text(str):
    """What markupsafe and others make of a text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


class Colour(enum.StrEnum):
    RED = "red"


# --- attributes: what JSON can hold --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "path", "says"),
    [
        pytest.param({"a": float("nan")}, "a", "nan", id="NaN"),
        pytest.param({"a": [1, float("inf")]}, "a[1]", "inf", id="infinity"),
        pytest.param({"a": {"b": {1, 2}}}, "a.b", "a set is no JSON value", id="a set"),
        pytest.param({"a": b"x"}, "a", "a bytes is no JSON value", id="bytes"),
        pytest.param({"a": (1, 2)}, "a", "a tuple is no JSON value", id="a tuple, which would come back as a list"),
        pytest.param({"a": date(2026, 1, 2)}, "a", "a date is no JSON value", id="a date"),
        pytest.param({"a": Decimal("1.1")}, "a", "a Decimal is no JSON value", id="a Decimal"),
        pytest.param({"a": object()}, "a", "an object is no JSON value", id="any object"),
        pytest.param({"a": [{"b": "\ud800"}]}, "a[0].b", "lone surrogate", id="a lone surrogate"),
        pytest.param({"a": {"\udfff": 1}}, "a.\\udfff", "lone surrogate", id="a lone surrogate in a key"),
        pytest.param({"a": 2**64}, "a", "beyond 64 bits", id="an integer beyond 64 bits"),
        pytest.param({"a": -(2**63) - 1}, "a", "beyond 64 bits", id="a negative integer beyond 64 bits"),
        pytest.param({"a": {1: 2}}, "a", "the key 1", id="a key that is no text"),
        pytest.param({1: 2}, "", "the key 1", id="a field's name that is no text"),
    ],
)
def test_what_json_can_not_hold_is_refused_by_the_path_to_it(bad: dict[Any, Any], path: str, says: str):
    with pytest.raises(ValidationFailed) as refused:
        values.check_attributes(bad, MIB)
    assert list(refused.value.errors) == [path]
    assert says in refused.value.errors[path][0]


def test_every_bad_value_is_named_at_once():
    with pytest.raises(ValidationFailed) as refused:
        values.check_attributes({"a": {1}, "b": [float("nan"), 1, b""], "c": 1}, MIB)
    assert set(refused.value.errors) == {"a", "b[0]", "b[2]"}


def test_the_message_can_be_printed_even_where_a_key_can_not():
    with pytest.raises(ValidationFailed) as refused:
        values.check_attributes({"\ud800": 1}, MIB)
    assert str(refused.value).encode()


@pytest.mark.parametrize("bad", [None, [1], "text", 7, [("a", 1)]])
def test_attributes_are_a_mapping(bad: Any):
    with pytest.raises(ValidationFailed, match="mapping of fields"):
        values.check_attributes(bad, MIB)


@pytest.mark.parametrize("mapping", [OrderedDict(a=1), MappingProxyType({"a": 1})])
def test_any_mapping_will_do_and_a_plain_dict_comes_out(mapping: Any):
    assert type(values.check_attributes(mapping, MIB)) is dict


def test_a_record_may_be_nested_a_hundred_levels_and_no_more():
    assert values.check_attributes({"a": nested(values.MAX_DEPTH - 1)}, MIB)
    with pytest.raises(ValidationFailed, match="nested deeper than 100"):
        values.check_attributes({"a": nested(values.MAX_DEPTH)}, MIB)


def test_a_record_that_holds_itself_is_nested_too_deep():
    record: dict[str, Any] = {}
    record["me"] = record
    with pytest.raises(ValidationFailed, match="nested deeper"):
        values.check_attributes(record, MIB)


def test_a_record_is_measured_as_it_would_be_sent():
    assert values.check_attributes({"a": "é"}, len('{"a":"é"}'.encode()))
    with pytest.raises(ValidationFailed, match=r"10 bytes.*at most 9.*DUALSTORAGE_MAX_RECORD_BYTES"):
        values.check_attributes({"a": "é"}, 9)


def test_a_record_of_5_mb_is_too_large():
    with pytest.raises(ValidationFailed, match=r"5,242,\d+ bytes"):
        values.check_attributes({"a": "x" * 5 * MIB}, MIB)


@pytest.mark.parametrize("good", [2**64 - 1, -(2**63), -0.0, 1e308, "", "\x00", "\U0001f600", [], {}, "\u2028"])
def test_the_edges_of_what_json_holds_are_kept(good: Json):
    assert values.check_attributes({"a": good}, MIB) == {"a": good}


def test_subclasses_come_out_as_the_plain_values_that_they_are():
    kept = values.check_attributes({"text": Text("Ada"), "colour": Colour.RED, "number": enum.IntEnum("N", "A").A}, MIB)
    assert [type(value) for value in kept.values()] == [str, str, int]
    assert kept == {"text": "Ada", "colour": "red", "number": 1}


@given(records())
def test_what_is_taken_survives_storage_unchanged(record: dict[str, Json]):
    kept = values.check_attributes(record, MIB)
    assert values.same(kept, record)
    assert values.same(orjson.loads(orjson.dumps(kept)), kept)


@given(records())
def test_what_is_taken_is_a_copy_at_every_depth(record: dict[str, Json]):
    kept = values.check_attributes(record, MIB)
    before = copy.deepcopy(kept)
    spoil(record)
    assert kept == before


@given(json_values())
def test_a_copy_shares_nothing_that_can_change(value: Json):
    copied = values.copy_json(value)
    before = copy.deepcopy(value)
    assert copied == before
    spoil(value)
    assert copied == before


def spoil(value: Json) -> None:
    """Change every list and dict in place."""
    if isinstance(value, dict | list):
        for below in list(value.values() if isinstance(value, dict) else value):
            spoil(below)
        value.clear()


def test_what_a_hook_gives_is_checked_by_the_path_from_its_name():
    values.check_json({"a": [1]}, "to_json()")
    with pytest.raises(ValidationFailed) as refused:
        values.check_json({"a": [{1}]}, "to_json()")
    assert list(refused.value.errors) == ["to_json().a[0]"]


# --- ids -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        pytest.param("a/b", "can not hold '/'", id="/"),
        pytest.param("a\\b", "can not hold", id="backslash"),
        pytest.param("..", "can not hold", id=".."),
        pytest.param("../admin", "can not hold", id="../admin"),
        pytest.param("a..b", "can not hold", id=".. inside"),
        pytest.param(".", "can not hold", id="."),
        pytest.param("a?b", "can not hold", id="?"),
        pytest.param("a#b", "can not hold", id="#"),
        pytest.param("a\x00b", "control characters", id="NUL"),
        pytest.param("a\r\nb", "control characters", id="line break"),
        pytest.param("a\x7f", "control characters", id="DEL"),
        pytest.param("a\x9f", "control characters", id="a C1 control character"),
        pytest.param("x" * 10_000, "10,000 characters", id="10,000 characters"),
        pytest.param("", "empty", id="empty"),
        pytest.param("\ud800", "lone surrogate", id="a lone surrogate"),
        pytest.param(True, "text or an integer", id="True, which Python takes for 1"),
        pytest.param(None, "text or an integer", id="None"),
        pytest.param(1.5, "text or an integer", id="a float"),
        pytest.param(["a"], "text or an integer", id="a list"),
        pytest.param(b"a", "text or an integer", id="bytes"),
        pytest.param(2**64, "beyond 64 bits", id="beyond 64 bits"),
    ],
)
def test_an_id_that_can_not_stand_in_a_path_is_refused(bad: Any, says: str):
    with pytest.raises(ValidationFailed) as refused:
        values.check_id(bad, "slug")
    assert list(refused.value.errors) == ["slug"]
    assert says in str(refused.value)
    assert len(str(refused.value)) < 300
    assert str(refused.value).encode()


@pytest.mark.parametrize("good", ["ada", "42", 42, 0, -1, 2**64 - 1, "a.b", "a b", "Ödön", "a%2Fb", "x" * 255, "tmp-1"])
def test_an_id_keeps_its_type(good: str | int):
    taken = values.check_id(good)
    assert taken == good
    assert type(taken) is type(good)


def test_an_id_of_a_subclass_comes_out_plain():
    assert type(values.check_id(Text("ada"))) is str
    assert values.check_id(Text("ada")) == "ada"
    assert type(values.check_id(enum.IntEnum("N", "A").A)) is int


@pytest.mark.parametrize(
    ("found", "usable"),
    [
        (1, True),
        ("1", True),
        ("a/b", True),
        ("..x", True),
        ("", False),
        (".", False),
        ("..", False),
        (None, False),
        (True, False),
        (1.0, False),
        ({}, False),
        ([], False),
        ("x" * 256, False),
        ("\ud800", False),
    ],
)
def test_an_upstream_may_name_its_records_as_it_likes_if_we_can_ask_for_them(found: Any, usable: bool):
    assert values.usable_id(found) is usable


# --- answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [[], [{"id": 1}], "x", 1, True, None])
def test_one_record_is_an_object(bad: Json):
    with pytest.raises(values.BadAnswer, match="where a record was expected"):
        values.as_record(bad)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        pytest.param({"data": []}, "a dict where a list was expected; unwrap it in parse", id="an envelope"),
        pytest.param(None, "a list was expected", id="null"),
        pytest.param("x", "a list was expected", id="text"),
        pytest.param([{"_id": 1}, 2], "item 1 of the list is an int", id="a number among the records"),
        pytest.param([{"_id": 1}, {"id": 2}], "item 1 of the list has no usable '_id'", id="a record without an id"),
        pytest.param([{"_id": None}], "no usable '_id'", id="a record whose id is null"),
        pytest.param([{"_id": 1.5}], "no usable '_id'", id="an id of a wrong type"),
        pytest.param([{"_id": {"$oid": "x" * 500}}], "no usable '_id'", id="an id that is an object"),
        pytest.param([{"_id": 1}, {"_id": 1}], "two records with the _id '1'", id="duplicate ids"),
        pytest.param([{"_id": 1}, {"_id": "1"}], "two records with the _id '1'", id="ids that are the same text"),
    ],
)
def test_a_list_is_taken_whole_or_not_at_all(bad: Json, says: str):
    with pytest.raises(values.BadAnswer) as refused:
        values.as_records(bad, "_id")
    assert says in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_good_list_is_given_as_it_came():
    listed = [{"_id": 1, "name": "Ada"}, {"_id": "b"}]
    assert values.as_records(listed, "_id") is listed
    assert values.as_records([], "_id") == []


@pytest.mark.parametrize(
    ("levels", "deep"), [(0, False), (1, False), (100, False), (101, True), (254, True), (1000, True)]
)
def test_an_answer_nested_deeper_than_can_be_stored_is_known(levels: int, deep: bool):
    assert values.is_too_deep(nested(levels), b"[" * levels + b"1" + b"]" * levels) is deep


# --- comparing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        pytest.param(1, 1, True, id="1 and 1"),
        pytest.param(True, 1, False, id="True is not 1"),
        pytest.param(False, 0, False, id="False is not 0"),
        pytest.param([True], [1], False, id="nor in a list"),
        pytest.param({"a": {"b": False}}, {"a": {"b": 0}}, False, id="nor in an object"),
        pytest.param(1, 1.0, True, id="JSON has one kind of number"),
        pytest.param([1], [1.0], True, id="in a list too"),
        pytest.param(2**53 + 1, float(2**53), False, id="and compares it exactly"),
        pytest.param("1", 1, False, id="text is not a number"),
        pytest.param(None, False, False, id="null is not false"),
        pytest.param(None, None, True, id="null is null"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, True, id="the order of keys does not matter"),
        pytest.param([1, 2], [2, 1], False, id="the order of a list does"),
        pytest.param([1], [1, 1], False, id="lists of different lengths"),
        pytest.param({"a": None}, {}, False, id="null is not absent"),
        pytest.param([], {}, False, id="an empty list is not an empty object"),
    ],
)
def test_values_are_compared_as_json_does(one: Json, other: Json, equal: bool):
    assert values.same(one, other) is equal
    assert values.same(other, one) is equal


@given(json_values())
def test_a_value_is_the_same_as_its_copy(value: Json):
    assert values.same(value, copy.deepcopy(value))


@given(json_values(), json_values())
def test_values_are_the_same_iff_their_json_is(one: Json, other: Json):
    def text(value: Json) -> bytes:
        return orjson.dumps(floats(value), option=orjson.OPT_SORT_KEYS)

    if values.same(one, other):
        assert text(one) == text(other)


def floats(value: Json) -> Json:
    """Write every number one way."""
    if isinstance(value, list):
        return [floats(item) for item in value]
    if isinstance(value, dict):
        return {key: floats(item) for key, item in value.items()}
    return float(value) + 0.0 if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize(
    ("base", "mine", "changed"),
    [
        pytest.param(None, {"a": 1}, {"a": 1}, id="no base: everything"),
        pytest.param({"a": 1}, {"a": 1}, {}, id="nothing"),
        pytest.param({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2}, id="one field"),
        pytest.param({"a": 1}, {"a": 1, "b": None}, {"b": None}, id="a field that the base lacks, though null"),
        pytest.param({"a": 1, "b": 1}, {"a": 1}, {}, id="a field left out is no change"),
        pytest.param({"a": 1}, {"a": True}, {"a": True}, id="True for 1"),
        pytest.param({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, {}, id="keys in another order"),
    ],
)
def test_changes_are_the_fields_that_differ(base: Any, mine: Any, changed: Any):
    assert values.changes(base, mine) == changed


@pytest.mark.parametrize(
    ("onto", "base", "mine", "result"),
    [
        pytest.param({"a": 9, "b": 9}, {"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 2, "b": 9}, id="only what was set"),
        pytest.param({"a": 9, "b": 9}, {"a": 1, "b": 1}, {"a": 1}, {"a": 9}, id="what was left out goes"),
        pytest.param({"a": 9, "c": 9}, {"a": 1}, {"a": 1}, {"a": 9, "c": 9}, id="what is new there stays"),
        pytest.param({"a": 9}, None, {"b": 1}, {"a": 9, "b": 1}, id="no base: nothing was left out"),
    ],
)
def test_what_was_done_to_a_base_is_done_to_another(onto: Any, base: Any, mine: Any, result: Any):
    assert values.put_on(onto, base, mine) == result


@given(records(), records())
def test_put_on_its_own_base_a_record_is_itself(base: dict[str, Json], mine: dict[str, Json]):
    assert values.same(values.put_on(base, base, mine), mine)


@given(records(), st.none() | records(), records())
def test_comparing_changes_nothing(onto: dict[str, Json], base: dict[str, Json] | None, mine: dict[str, Json]):
    before = copy.deepcopy((onto, base, mine))
    values.put_on(onto, base, mine)
    values.same(base, mine)
    assert (onto, base, mine) == before


@pytest.mark.parametrize(
    ("content", "big"),
    [
        pytest.param(b"[18446744073709551615, -9223372036854775808]", False, id="the largest and the smallest kept"),
        pytest.param(b"[18446744073709551616]", True, id="one more"),
        pytest.param(b"[-9223372036854775809]", True, id="one less"),
        pytest.param(b'{"a": [{"b": 1180591620717411303425}]}', True, id="at any depth"),
        pytest.param(b"[" + b"9" * 5000 + b"]", True, id="longer than Python reads"),
        pytest.param(b"[0.1000000000000000055511151231257827, 1e400, 123456789012345678901.5]", False, id="floats"),
        pytest.param(b'["99999999999999999999", {"99999999999999999999": 1}]', False, id="text"),
        pytest.param(b"[12345]", False, id="nothing so long"),
    ],
)
def test_an_integer_that_would_become_another_number_is_noticed(content: bytes, big: bool):
    assert values.has_big_integer(content) is big
