"""Three-way merging: what either side changed is there, and what both changed differently is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.policy.merging import MISSING, ByKey, Clash, Conflict, Merged, Policy, merge
from flask_dualstorage.policy.values import same
from flask_dualstorage.types import Attributes, Json
from tests.unit.policy.builders import records

BASE = {"id": 7, "name": "Ada", "age": 36, "address": {"city": "London", "zip": "N1"}, "tags": ["a"]}


def clash(*path: str | int, base: Any = MISSING, mine: Any = MISSING, theirs: Any = MISSING) -> Clash:
    return Clash(path, base, mine, theirs)


def without(*names: str) -> Attributes:
    return {name: value for name, value in BASE.items() if name not in names}


# --- the rules, one by one -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "theirs", "merged", "clashes"),
    [
        pytest.param(BASE, BASE, BASE, (), id="nobody changed anything"),
        pytest.param({**BASE, "age": 37}, BASE, {**BASE, "age": 37}, (), id="mine alone"),
        pytest.param(BASE, {**BASE, "age": 37}, {**BASE, "age": 37}, (), id="theirs alone"),
        pytest.param(
            {**BASE, "age": 37}, {**BASE, "name": "Eve"}, {**BASE, "age": 37, "name": "Eve"}, (), id="one field each"
        ),
        pytest.param({**BASE, "age": 37}, {**BASE, "age": 37}, {**BASE, "age": 37}, (), id="the same edit on both"),
        pytest.param(
            {**BASE, "age": 37},
            {**BASE, "age": 38},
            {**BASE, "age": 37},
            (clash("age", base=36, mine=37, theirs=38),),
            id="the same field, differently: named, and mine stands",
        ),
        pytest.param(
            {**BASE, "address": {"city": "Paris", "zip": "N1"}},
            {**BASE, "address": {"city": "London", "zip": "N2"}},
            {**BASE, "address": {"city": "Paris", "zip": "N2"}},
            (),
            id="inside of a nested object",
        ),
        pytest.param(
            {**BASE, "address": {"city": "Paris", "zip": "N1"}},
            {**BASE, "address": {"city": "Rome", "zip": "N2"}},
            {**BASE, "address": {"city": "Paris", "zip": "N2"}},
            (clash("address", "city", base="London", mine="Paris", theirs="Rome"),),
            id="a clash inside of a nested object is named by its path",
        ),
        pytest.param(
            without("age"), {**BASE, "name": "Eve"}, {**without("age"), "name": "Eve"}, (), id="mine left out"
        ),
        pytest.param(
            {**BASE, "name": "Eve"}, without("age"), {**without("age"), "name": "Eve"}, (), id="theirs left out"
        ),
        pytest.param(without("age"), without("age"), without("age"), (), id="both left it out"),
        pytest.param(
            without("age"),
            {**BASE, "age": 38},
            without("age"),
            (clash("age", base=36, theirs=38),),
            id="left out here, changed there",
        ),
        pytest.param(
            {**BASE, "age": 37},
            without("age"),
            {**BASE, "age": 37},
            (clash("age", base=36, mine=37),),
            id="changed here, left out there",
        ),
        pytest.param(
            {**BASE, "new": 1},
            {**BASE, "new": 2},
            {**BASE, "new": 1},
            (clash("new", mine=1, theirs=2),),
            id="both added",
        ),
        pytest.param(
            {**BASE, "new": {"a": 1}},
            {**BASE, "new": {"b": 2}},
            {**BASE, "new": {"a": 1, "b": 2}},
            (),
            id="both added an object",
        ),
        pytest.param(
            {**BASE, "tags": ["a", "b"]},
            {**BASE, "tags": ["a", "c"]},
            {**BASE, "tags": ["a", "b"]},
            (clash("tags", base=["a"], mine=["a", "b"], theirs=["a", "c"]),),
            id="a list is one value",
        ),
        pytest.param(
            {**BASE, "age": True},
            {**BASE, "age": 1},
            {**BASE, "age": True},
            (clash("age", base=36, mine=True, theirs=1),),
            id="true is not 1",
        ),
        pytest.param({**BASE, "age": 37}, {**BASE, "age": 37.0}, {**BASE, "age": 37}, (), id="but 1 is 1.0"),
        pytest.param(
            {**BASE, "address": None},
            {**BASE, "address": {"city": "London", "zip": "N2"}},
            {**BASE, "address": None},
            (
                clash(
                    "address",
                    base={"city": "London", "zip": "N1"},
                    mine=None,
                    theirs={"city": "London", "zip": "N2"},
                ),
            ),
            id="an object that became null",
        ),
    ],
)
def test_merge(mine: Attributes, theirs: Attributes, merged: Attributes, clashes: tuple[Clash, ...]):
    assert merge(BASE, mine, theirs) == Merged(merged, clashes)


def test_without_a_base_every_field_was_changed_by_both():
    merged = merge(None, {"id": 7, "age": 37}, {"id": 7, "age": 36, "name": "Ada"})
    assert merged == Merged({"id": 7, "age": 37, "name": "Ada"}, (clash("age", mine=37, theirs=36),))


def test_a_clash_as_json_leaves_out_the_side_that_has_no_such_field():
    assert clash("age", base=36, mine=None).to_dict() == {"path": ["age"], "base": 36, "mine": None}


# --- policies ------------------------------------------------------------------------------------------------

MINE = {**BASE, "name": "Eve", "age": 37, "address": {"city": "Paris", "zip": "N1"}}
THEIRS = {**BASE, "age": 38, "tags": ["b"], "address": {"city": "Rome", "zip": "N2"}}
CLASHES = (
    clash("age", base=36, mine=37, theirs=38),
    clash("address", "city", base="London", mine="Paris", theirs="Rome"),
)


def test_client_takes_mine_where_both_changed_and_theirs_elsewhere():
    merged = {**BASE, "name": "Eve", "age": 37, "tags": ["b"], "address": {"city": "Paris", "zip": "N2"}}
    assert merge(BASE, MINE, THEIRS, "client") == Merged(merged)


def test_server_takes_theirs_where_both_changed_and_says_what_was_given_up():
    assert merge(BASE, MINE, THEIRS, "server") == Merged({**THEIRS, "name": "Eve"}, (), CLASHES)


def test_manual_looks_into_no_object():
    assert merge(BASE, MINE, THEIRS, "manual").clashes[1].path == ("address",)


def test_each_field_may_have_a_policy_of_its_own():
    merged = merge(BASE, MINE, THEIRS, {"*": "server", "age": "client"})
    assert (merged.record["age"], merged.given_up) == (37, CLASHES[1:])


def test_a_field_that_is_not_named_is_merged():
    assert merge(BASE, MINE, THEIRS, {"age": "client"}).clashes == CLASHES[1:]


def test_a_callable_is_asked_only_for_what_both_changed():
    asked: list[Any] = []

    def larger(*values: int) -> int:
        asked.append(values)
        return max(values[1:])

    assert merge(BASE, MINE, THEIRS, {"age": larger, "name": larger}).record["age"] == 38
    assert asked == [(36, 37, 38)]


@pytest.mark.parametrize("answer", [Conflict, Conflict("too far apart")])
def test_a_callable_may_leave_it_to_the_owner(answer: Any):
    merged = merge(BASE, MINE, THEIRS, {"*": "client", "age": lambda *_: answer})
    assert (merged.record["age"], merged.clashes) == (37, CLASHES[:1])


def phones(*numbers: tuple[Any, str]) -> Attributes:
    return {"phones": [{"id": key, "no": number} for key, number in numbers]}


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "merged", "paths"),
    [
        pytest.param(
            phones((1, "a"), (2, "b")),
            phones((1, "A"), (2, "b")),
            phones((1, "a"), (2, "B")),
            phones((1, "A"), (2, "B")),
            [],
            id="another element each",
        ),
        pytest.param(
            phones((1, "a")),
            phones((1, "a"), (2, "b")),
            phones((1, "a"), (3, "c")),
            phones((1, "a"), (2, "b"), (3, "c")),
            [],
            id="one added each",
        ),
        pytest.param(
            phones((1, "a"), (2, "b")), phones((1, "a")), phones((2, "b")), phones(), [], id="one removed each"
        ),
        pytest.param(
            phones((1, "a"), (2, "b")),
            phones((2, "b"), (1, "a")),
            phones((1, "a"), (2, "B")),
            phones((2, "B"), (1, "a")),
            [],
            id="my order, their value",
        ),
        pytest.param(
            phones((1, "a"), (2, "b")),
            phones((1, "A"), (2, "b")),
            phones((2, "b"), (1, "a")),
            phones((2, "b"), (1, "A")),
            [],
            id="their order, my value",
        ),
        pytest.param(
            phones((1, "a")), phones((1, "A")), phones((1, "x")), phones((1, "A")), [("phones", 1, "no")], id="a clash"
        ),
        pytest.param(
            phones((1, "a")), phones(), phones((1, "x")), phones(), [("phones", 1)], id="removed here, changed there"
        ),
        pytest.param({}, phones((1, "a")), phones((2, "b")), phones((1, "a"), (2, "b")), [], id="both made the list"),
        pytest.param(
            phones((1, "a")),
            phones((1, "a"), (1, "b")),
            phones((1, "x")),
            phones((1, "a"), (1, "b")),
            [("phones",)],
            id="a key that is there twice tells nothing: one value",
        ),
        pytest.param(
            phones((None, "a")),
            phones((None, "b")),
            phones((None, "c")),
            phones((None, "b")),
            [("phones",)],
            id="no key",
        ),
        pytest.param(phones((1, "a")), {"phones": 1}, phones((1, "x")), {"phones": 1}, [("phones",)], id="no list"),
    ],
)
def test_a_list_whose_elements_have_a_key(base: Any, mine: Any, theirs: Any, merged: Any, paths: list[Any]):
    result = merge(base, mine, theirs, {"phones": ByKey("id")})
    assert (result.record, [each.path for each in result.clashes]) == (merged, paths)


# --- what holds for all --------------------------------------------------------------------------------------

_LEAVES = st.integers(0, 2) | st.none() | st.lists(st.integers(0, 1), max_size=2)
#: Few names and few values, so that the sides meet in the same ones.
_OBJECTS = st.recursive(
    st.dictionaries(st.sampled_from("ab"), _LEAVES, max_size=2),
    lambda below: st.dictionaries(st.sampled_from("abc"), below | _LEAVES, max_size=3),
    max_leaves=8,
)
sides = st.sampled_from((_OBJECTS, records())).flatmap(lambda one: st.tuples(one, one, one))
policies: st.SearchStrategy[Policy] = st.sampled_from(("merge", "client", "server", "manual", {"a": "server"}))


def leaves(value: Json, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Json]:
    """Every value of a record that holds no others, by its path."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {where: leaf for name, below in value.items() for where, leaf in leaves(below, (*path, name)).items()}


def is_in(path: tuple[str, ...], found: Merged) -> bool:
    named = [each.path for each in (*found.clashes, *found.given_up)]
    return any(path[: len(each)] == each or each[: len(path)] == path for each in named)


def kept(record: Attributes, path: tuple[str, ...], value: Json) -> bool:
    """Whether a value is there; an empty object, too, where the other side has put something into it."""
    now: Any = record
    for name in path:
        if not isinstance(now, dict) or name not in now:
            return False
        now = now[name]
    return same(now, value) or (value == {} and isinstance(now, dict))


@given(sides)
def test_no_change_of_either_side_is_lost(sides: tuple[Attributes, Attributes, Attributes]):
    """It is in the merged record, or named as a clash."""
    base, mine, theirs = sides
    merged = merge(base, mine, theirs)
    before = leaves(base)
    for side in (mine, theirs):
        for path, value in leaves(side).items():
            if path and not (path in before and same(before[path], value)):
                assert kept(merged.record, path, value) or is_in(path, merged), (path, merged)
        for path in before:
            gone = path and path not in leaves(side) and not kept(side, path, before[path])
            if gone and path in leaves(merged.record) and same(leaves(merged.record)[path], before[path]):
                assert is_in(path, merged), (path, merged)


@given(sides, policies)
def test_nothing_is_in_it_that_no_side_had(sides: tuple[Attributes, Attributes, Attributes], policy: Policy):
    base, mine, theirs = sides
    known = [*leaves(mine).items(), *leaves(theirs).items()]
    for path, value in leaves(merge(base, mine, theirs, policy).record).items():
        emptied = value == {}
        assert emptied or any(path == where and same(value, leaf) for where, leaf in known), (path, value)


@given(sides, policies)
def test_equal_edits_never_clash(sides: tuple[Attributes, Attributes, Attributes], policy: Policy):
    base, mine, _ = sides
    assert merge(base, mine, mine, policy) == Merged(mine)


@given(sides, policies)
def test_what_one_side_left_alone_is_the_others(sides: tuple[Attributes, Attributes, Attributes], policy: Policy):
    base, mine, theirs = sides
    assert same(merge(base, mine, base, policy).record, mine)
    assert same(merge(base, base, theirs, policy).record, theirs)


@given(sides, policies)
def test_merging_again_changes_nothing(sides: tuple[Attributes, Attributes, Attributes], policy: Policy):
    base, mine, theirs = sides
    first = merge(base, mine, theirs, policy)
    assert merge(theirs, first.record, theirs, policy) == Merged(first.record)
    again = merge(base, first.record, theirs, policy)
    assert same(again.record, first.record)


@given(sides)
def test_the_sides_may_change_places_where_nothing_clashes(sides: tuple[Attributes, Attributes, Attributes]):
    base, mine, theirs = sides
    one, other = merge(base, mine, theirs), merge(base, theirs, mine)
    mirrored = {Clash(each.path, each.base, each.theirs, each.mine).path for each in other.clashes}
    assert {each.path for each in one.clashes} == mirrored
    if not one.clashes:
        assert same(one.record, other.record)


@given(sides)
def test_client_and_server_are_each_others_mirror(sides: tuple[Attributes, Attributes, Attributes]):
    base, mine, theirs = sides
    assert same(merge(base, mine, theirs, "client").record, merge(base, theirs, mine, "server").record)


@given(sides, policies)
def test_it_shares_no_part_with_the_sides(sides: tuple[Attributes, Attributes, Attributes], policy: Policy):
    """Who edits the merged record changes none of the three."""
    base, mine, theirs = sides
    parts = {id(each) for side in sides for each in _containers(side)}
    assert not parts & {id(each) for each in _containers(merge(base, mine, theirs, policy).record)}


def _containers(value: Json) -> list[Json]:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [each for part in below for each in _containers(part)]
    return [value, *found] if isinstance(value, dict | list) else found
