"""Temporary ids: where they stand, how real ones take their place, and what waits for what (DESIGN §4.6, §3.3)."""

from __future__ import annotations

import graphlib
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.errors import ValidationFailed
from flask_dualstorage.policy import references
from flask_dualstorage.types import Json, Kind, Write
from tests.unit.policy.builders import a_write, json_values, temp_id

ONE, TWO, THREE = temp_id(1), temp_id(2), temp_id(3)


# --- how they look -------------------------------------------------------------------------------------------


def test_a_new_one_is_tmp_and_32_hexadecimal_digits_and_never_the_same():
    made = {references.new_temp_id() for _ in range(100)}
    assert len(made) == 100
    assert all(references.is_temp_id(each) and len(each) == 36 for each in made)


@pytest.mark.parametrize(
    "other",
    [
        "tmp-1",
        "tmp-" + "a" * 31,
        "tmp-" + "a" * 33,
        "tmp-" + "A" * 32,
        "tmp-" + "g" * 32,
        "TMP-" + "a" * 32,
        ONE + "\n",
        " " + ONE,
        "",
        7,
        None,
        True,
        [ONE],
    ],
)
def test_nothing_else_looks_like_one(other: Any):
    assert not references.is_temp_id(other)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param({"friend": ONE}, {ONE}, id="a field that is one"),
        pytest.param({"text": f"see /people/{ONE}/notes?by={TWO}#x"}, {ONE, TWO}, id="inside longer text"),
        pytest.param({"a": [{"b": [{"c": ONE}]}]}, {ONE}, id="at any depth"),
        pytest.param({ONE: 1, "a": {f"x {TWO}": 2}}, {ONE, TWO}, id="in keys"),
        pytest.param({"a": f'"{ONE}"\n\\{TWO}'}, {ONE, TWO}, id="beside characters that JSON escapes"),
        pytest.param({"a": f"é{ONE}é"}, {ONE}, id="beside letters beyond ASCII"),
        pytest.param([ONE, ONE], {ONE}, id="twice"),
        pytest.param({"a": ONE + "f", "b": "tmp-", "c": "tmp-xyz"}, set(), id="what only begins like one"),
        pytest.param({"a": ["tmp-" + "a" * 16, "a" * 16]}, set(), id="halves in two strings"),
        pytest.param({}, set(), id="none"),
        pytest.param(None, set(), id="null"),
    ],
)
def test_every_one_in_any_string_is_found(value: Json, found: set[str]):
    assert references.find(value) == found


def test_several_values_are_searched_at_once():
    assert references.find({"a": ONE}, None, f"/people/{TWO}/notes", 7) == {ONE, TWO}


# --- binding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        pytest.param({"friend": ONE}, {"friend": 42}, id="exactly one: the real id with its type, a number"),
        pytest.param({"friend": TWO}, {"friend": "a/ü b"}, id="exactly one: the real id as it is, a text"),
        pytest.param({"url": f"/people/{ONE}"}, {"url": "/people/42"}, id="inside text: its text"),
        pytest.param(
            {"url": f"/people/{TWO}/x"}, {"url": "/people/a%2F%C3%BC%20b/x"}, id="inside text: percent-encoded"
        ),
        pytest.param({ONE: 1}, {"42": 1}, id="a key: its text"),
        pytest.param({TWO: 1}, {"a/ü b": 1}, id="a key that is exactly one: not encoded, for it is the id"),
        pytest.param({f"by {TWO}": 1}, {"by a%2F%C3%BC%20b": 1}, id="inside a key: percent-encoded"),
        pytest.param([[{"a": [ONE]}]], [[{"a": [42]}]], id="at any depth"),
        pytest.param(f"{ONE},{TWO},{ONE}", "42,a%2F%C3%BC%20b,42", id="several in one text"),
        pytest.param(
            {"a": THREE, "b": f"x{THREE}"}, {"a": THREE, "b": f"x{THREE}"}, id="one that has no real id yet stays"
        ),
        pytest.param({"a": ONE + "0"}, {"a": ONE + "0"}, id="what only begins like one"),
        pytest.param([1, 1.5, True, None, ""], [1, 1.5, True, None, ""], id="what is no text"),
    ],
)
def test_real_ids_take_the_place_of_temporary_ones(value: Json, bound: Json):
    real = {ONE: 42, TWO: "a/ü b"}
    assert references.bind(value, real) == bound
    assert references.bind(references.bind(value, real), real) == bound


def test_binding_changes_no_value_in_place():
    value = {"a": [ONE]}
    references.bind(value, {ONE: 42})
    assert value == {"a": [ONE]}


def test_a_url_is_bound_as_text():
    assert references.bind_text(f"/people/{ONE}/notes", {ONE: "a b"}) == "/people/a%20b/notes"
    assert references.bind_text("/people/7/notes", {ONE: 42}) == "/people/7/notes"


_temp_ids = st.sampled_from([ONE, TWO, THREE])
_texts = st.builds("{}{}{}".format, st.sampled_from(["", "x ", "/"]), _temp_ids, st.sampled_from(["", "/y", " é"]))
_referring = st.recursive(
    json_values(3) | _texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_texts | st.text("ab", max_size=2), below, max_size=3),
    max_leaves=8,
)


#: Two records never have one id, nor is one of them the name of a field: fields would fall together.
_real_ids = st.dictionaries(_temp_ids, st.integers(0, 99) | st.text("c/%é", min_size=1, max_size=3)).filter(
    lambda real: len(set(map(str, real.values()))) == len(real)
)


@given(_referring, _real_ids)
def test_what_has_a_real_id_is_gone_after_binding_and_the_rest_is_still_there(value: Json, real: dict[str, Any]):
    found = references.find(value)
    bound = references.bind(value, real)
    assert references.find(bound) == found - set(real)
    assert references.bind(bound, real) == bound


@given(_referring)
def test_once_all_are_bound_no_temporary_id_is_left_to_reach_the_upstream(value: Json):
    assert references.find(references.bind(value, {ONE: 1, TWO: "two", THREE: "t/3"})) == set()


@pytest.mark.parametrize(
    ("attributes", "url", "own", "found"),
    [
        pytest.param({"id": ONE, "friend": TWO}, "/people", ONE, {TWO}, id="the record's own id is no reference"),
        pytest.param({"text": "x"}, f"/people/{ONE}/notes", TWO, {ONE}, id="the URL of a nested collection is one"),
        pytest.param({"friend": ONE}, "/people", 7, {ONE}, id="a record with a number"),
        pytest.param(None, "/people", ONE, set(), id="a delete"),
    ],
)
def test_what_a_write_refers_to(attributes: Any, url: str, own: Any, found: set[str]):
    assert references.of_write(attributes, url, own) == found


@pytest.mark.parametrize(
    ("url", "former"),
    [
        pytest.param("/people", [], id="under no record"),
        pytest.param("/people/7/notes", [], id="under one that was never temporary"),
        pytest.param("/people/42/notes", [f"/people/{ONE}/notes"], id="under one that was"),
        pytest.param("/people/a%2Fb/notes", [f"/people/{TWO}/notes"], id="whatever its id looks like"),
        pytest.param(
            "/people/42/notes/a%2Fb/lines",
            [
                f"/people/42/notes/{TWO}/lines",
                f"/people/{ONE}/notes/a%2Fb/lines",
                f"/people/{ONE}/notes/{TWO}/lines",
            ],
            id="under two, numbered one after the other",
        ),
        pytest.param("/v42/people/1", [], id="not inside longer text"),
    ],
)
def test_what_a_url_was_before_the_records_in_it_were_numbered(url: str, former: list[str]):
    assert references.former_urls(url, {"42": [ONE], "a/b": [TWO]}) == [url, *former]


# --- the path of a record ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record_id", "path"),
    [
        (42, "/people/42"),
        ("tmp-1", "/people/tmp-1"),
        ("../admin", "/people/..%2Fadmin"),
        ("a b?c#d%e", "/people/a%20b%3Fc%23d%25e"),
        ("Ödön", "/people/%C3%96d%C3%B6n"),
        ("...", "/people/..."),
    ],
)
def test_an_id_stays_in_one_segment(record_id: str | int, path: str):
    assert references.record_path("/people", record_id) == path


def test_a_slash_at_the_end_of_the_url_is_not_doubled():
    assert references.record_path("/people/", 1) == "/people/1"


@pytest.mark.parametrize("record_id", ["", ".", "..", "\ud800"])
def test_an_id_that_no_encoding_protects_is_refused(record_id: str):
    with pytest.raises(ValidationFailed) as refused:
        references.record_path("/people", record_id)
    assert list(refused.value.errors) == ["id"]


# --- what waits for what -------------------------------------------------------------------------------------


def create(number: int, **rest: Any) -> Write:
    """Make the create of the record with the temporary id ``number``, named ``c<number>``."""
    return a_write(Kind.CREATE, id=f"c{number}", record_id=temp_id(number), **rest)


def note(number: int, parent: str | int, **rest: Any) -> Write:
    """Make a create under ``parent``, named ``n<number>``."""
    refers = references.is_temp_id(parent)
    url = f"/people/{parent}/notes"
    return a_write(Kind.CREATE, id=f"n{number}", record_id=temp_id(100 + number), url=url, refers=refers, **rest)


def update(record_id: str | int, name: str, **rest: Any) -> Write:
    return a_write(id=name, record_id=record_id, **rest)


def delete(record_id: str | int, name: str, **rest: Any) -> Write:
    return a_write(Kind.DELETE, id=name, record_id=record_id, **rest)


def refers_to(*others: str) -> dict[str, Any]:
    return {"attributes": {"friends": list(others)}, "refers": True}


@pytest.mark.parametrize(
    ("writes", "waits"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param([update(7, "a"), update(8, "b")], {"a": [], "b": []}, id="unrelated lanes go in parallel"),
        pytest.param([update(7, "a"), update(7, "b")], {"a": [], "b": ["a"]}, id="first in, first out within a lane"),
        pytest.param(
            [update(7, "a"), update("7", "b")], {"a": [], "b": ["a"]}, id="ids are compared by their text: one lane"
        ),
        pytest.param(
            [update(7, "a"), update(7, "b", store="other")], {"a": [], "b": []}, id="one id in two stores: two lanes"
        ),
        pytest.param(
            [update(7, "a"), update(7, "b"), delete(7, "d")],
            {"a": [], "b": ["a"], "d": ["b"]},
            id="each waits for the one before it, and so for all",
        ),
        pytest.param(
            [create(1), update(7, "a", **refers_to(ONE))],
            {"c1": [], "a": ["c1"]},
            id="a record after those it refers to",
        ),
        pytest.param(
            [create(1), create(2), update(7, "a", **refers_to(TWO, ONE, TWO))],
            {"c1": [], "c2": [], "a": ["c1", "c2"]},
            id="each of them once",
        ),
        pytest.param(
            [update(7, "a", **refers_to(ONE))], {"a": []}, id="a create that is applied by now is waited for no more"
        ),
        pytest.param([create(1, attributes={"id": ONE, "me": ONE}, refers=True)], {"c1": []}, id="never for itself"),
        pytest.param(
            [create(1), note(1, ONE)], {"c1": [], "n1": ["c1"]}, id="a note after the person it is nested under"
        ),
        pytest.param(
            [a_write(Kind.CREATE, id="c", record_id="ada"), note(1, "ada")],
            {"c": [], "n1": ["c"]},
            id="also where the app chose the person's id",
        ),
        pytest.param(
            [note(1, "ada"), a_write(Kind.CREATE, id="c", record_id="ada")],
            {"n1": [], "c": []},
            id="but not for a person made later",
        ),
        pytest.param(
            [note(1, 7), delete(7, "d")], {"n1": [], "d": ["n1"]}, id="a parent's delete after its children's writes"
        ),
        pytest.param(
            [delete(3, "x", url="/people/7/notes"), delete(7, "d")],
            {"x": [], "d": ["x"]},
            id="a parent's delete after its children's deletes",
        ),
        pytest.param(
            [update(1, "a", url="/people/7/notes/3/tags/5/marks"), delete(7, "d")],
            {"a": [], "d": ["a"]},
            id="and after what is nested deep below",
        ),
        pytest.param(
            [note(1, 7), update(7, "a")], {"n1": [], "a": []}, id="a parent's update need not wait for its children"
        ),
        pytest.param([note(1, 77), delete(7, "d")], {"n1": [], "d": []}, id="77 is not under 7"),
        pytest.param(
            [note(1, "a%20b"), delete("a b", "d")], {"n1": [], "d": ["n1"]}, id="an id that is encoded in the URL"
        ),
        pytest.param(
            [update(1, "a", url="/people/7/notes/"), delete(7, "d", url="/people/")],
            {"a": [], "d": ["a"]},
            id="URLs that end in a slash",
        ),
        pytest.param(
            [update(1, "a", url="/profile/photos"), delete("", "d", url="/profile")],
            {"a": [], "d": ["a"]},
            id="the only record of a URL has what is below that URL",
        ),
        pytest.param(
            [note(1, 7), delete(7, "d", upstream="billing")],
            {"n1": [], "d": []},
            id="the same path at another upstream is another place",
        ),
        pytest.param(
            [delete(7, "d"), delete(3, "x", url="/people/7/notes")],
            {"x": [], "d": ["x"]},
            id="also where the children were deleted after it, in another window",
        ),
        pytest.param(
            [delete(7, "d"), note(1, 7)],
            {"d": [], "n1": []},
            id="but not after what was added to a deleted record: that is to be refused, not to vanish with it",
        ),
        pytest.param(
            [
                delete(7, "d"),
                a_write(Kind.CREATE, id="c", record_id=7),
                delete(3, "x", url="/people/7/notes"),
            ],
            {"d": [], "c": ["d"], "x": ["c"]},
            id="nor after what was deleted once the record was made again",
        ),
        pytest.param(
            [delete(7, "d"), a_write(Kind.CREATE, id="c", record_id=7), note(1, 7)],
            {"d": [], "c": ["d"], "n1": ["c"]},
            id="delete, make again, add a note: in that order",
        ),
        pytest.param(
            [create(1), create(2, **refers_to(ONE)), update(ONE, "u", **refers_to(TWO))],
            {"c1": [], "c2": ["c1"], "u": ["c1", "c2"]},
            id="A, then B→A, then A→B",
        ),
    ],
)
def test_a_write_waits_for_those_that_must_go_before_it(writes: list[Write], waits: dict[str, list[str]]):
    in_order = [_at(place, write) for place, write in enumerate(writes, 1)]
    assert references.waits_for(in_order) == waits
    assert references.waits_for(in_order[::-1]) == waits


def _at(seq: int, write: Write) -> Write:
    return write._replace(seq=seq)


def test_what_waits_grows_with_the_writes_not_with_their_square():
    lane = [update(7, f"a{number}", seq=number) for number in range(1, 2001)]
    notes = [note(number, 8, seq=2000 + number) for number in range(1, 2001)]
    waits = references.waits_for([*lane, *notes, delete(8, "d", seq=5000)])
    assert sum(map(len, waits.values())) == 1999 + 2000


# Steps that an owner takes, each on what is there by then.
_steps = st.lists(
    st.tuples(st.sampled_from(["create", "note", "update", "delete", "again"]), st.integers(0, 9), st.integers(0, 9)),
    max_size=25,
)


@given(_steps, st.randoms(use_true_random=False))
def test_no_two_writes_wait_for_each_other(steps: list[tuple[str, int, int]], chance: Any):
    writes = built(steps)
    shuffled = list(writes)
    chance.shuffle(shuffled)
    waits = references.waits_for(shuffled)
    assert set(waits) == {write.id for write in writes}
    assert all(len(set(others)) == len(others) and name not in others for name, others in waits.items())
    assert set(graphlib.TopologicalSorter(waits).static_order()) == set(waits)


@given(_steps)
def test_within_a_lane_nothing_overtakes(steps: list[tuple[str, int, int]]):
    writes = built(steps)
    order = list(graphlib.TopologicalSorter(references.waits_for(writes)).static_order())
    for one, other in itertools.combinations(writes, 2):
        if (one.store, one.record_id) == (other.store, other.record_id):
            assert order.index(one.id) < order.index(other.id)


def built(steps: list[tuple[str, int, int]]) -> list[Write]:
    """Make the writes of an owner who creates, nests, edits and deletes, referring to what was made before."""
    seq = itertools.count(1)
    made: list[tuple[str, str | int]] = [("/people", 7), ("/people", "ada")]
    writes: list[Write] = []
    for verb, one, two in steps:
        number = next(seq)
        url, record_id = made[one % len(made)]
        friend = made[two % len(made)][1]
        attributes = {"friend": friend}
        refers = bool(references.find(attributes, url) - {str(record_id)})
        name = f"w{number}"
        if verb == "again" and not references.is_temp_id(record_id):
            writes.append(a_write(Kind.CREATE, id=name, seq=number, url=url, record_id=record_id))
            continue
        if verb == "note":
            url = f"{url}/{record_id}/notes"
        if verb in ("create", "note"):
            record_id = temp_id(number) if one % 2 else "ada"
            refers = bool(references.find(attributes, url))
            made.append((url, record_id))
            writes.append(
                a_write(
                    Kind.CREATE, id=name, seq=number, url=url, record_id=record_id, attributes=attributes, refers=refers
                )
            )
        elif verb == "update":
            writes.append(
                a_write(id=name, seq=number, url=url, record_id=record_id, attributes=attributes, refers=refers)
            )
        else:
            refers = bool(references.find(url))
            writes.append(a_write(Kind.DELETE, id=name, seq=number, url=url, record_id=record_id, refers=refers))
    return writes
