"""The view: a base with its owner's writes laid over it (DESIGN §5)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.policy.values import same
from flask_dualstorage.policy.views import Seen, View, kept_validators, key_of, lay_over, newer
from flask_dualstorage.types import Attributes, Envelope, Kind, State, Write
from tests.unit.policy.builders import a_write, json_values, temp_id

EVE, BOB, ZOE = {"id": 7, "name": "Eve"}, {"id": 8, "name": "Bob"}, {"id": 9, "name": "Zoe"}
BASE = [EVE, BOB, ZOE]


def update(record_id: Any = 7, attributes: Any = None, base: Any = EVE, **rest: Any) -> Write:
    return a_write(record_id=record_id, attributes=attributes or {"id": 7, "name": "Ada"}, base=base, **rest)


def delete(record_id: Any = 7, **rest: Any) -> Write:
    return a_write(Kind.DELETE, record_id=record_id, **rest)


def create(record_id: Any, **rest: Any) -> Write:
    return a_write(Kind.CREATE, record_id=record_id, attributes={"name": "Ada"} | rest.pop("attributes", {}), **rest)


def applied(kind: Kind, record_id: Any, theirs: Any, **rest: Any) -> Write:
    return a_write(kind, State.APPLIED, record_id=record_id, theirs=theirs, settled_seq=3, **rest)


def shown(*writes: Write, base: list[Attributes] | None = None) -> list[Attributes]:
    return lay_over(BASE if base is None else base, writes, "id").records


# --- what is shown -------------------------------------------------------------------------------------------

TMP = temp_id(1)
ADA = {"id": 7, "name": "Ada"}


@pytest.mark.parametrize(
    ("writes", "records"),
    [
        pytest.param([], BASE, id="nothing pending: the base"),
        pytest.param([update()], [ADA, BOB, ZOE], id="an update, in its place"),
        pytest.param([update("7")], [{"id": "7", "name": "Ada"}, BOB, ZOE], id="ids are compared by their text"),
        pytest.param([delete()], [BOB, ZOE], id="a delete hides"),
        pytest.param([delete(404)], BASE, id="a delete of what is not there"),
        pytest.param([create(TMP)], [*BASE, {"name": "Ada", "id": TMP}], id="a new record last, with its temporary id"),
        pytest.param(
            [create(TMP), create(temp_id(2))],
            [*BASE, {"name": "Ada", "id": TMP}, {"name": "Ada", "id": temp_id(2)}],
            id="new records in the order in which they were made",
        ),
        pytest.param(
            [update(404, {"id": 404, "x": 1}, None)], [*BASE, {"id": 404, "x": 1}], id="absent from the base: last"
        ),
        pytest.param(
            [update(404, {"id": 404, "a": 1, "b": 2}, {"id": 404, "a": 1, "b": 1})],
            [*BASE, {"id": 404, "a": 1, "b": 2}],
            id="absent from the base: as it was edited",
        ),
        pytest.param([update(), delete()], [BOB, ZOE], id="an update, then a delete"),
        pytest.param([create(TMP), delete(TMP)], BASE, id="a create, then a delete"),
        pytest.param(
            [delete(), create(7, attributes={"id": 7})],
            [BOB, ZOE, {"name": "Ada", "id": 7}],
            id="deleted and made again: last",
        ),
        pytest.param([delete(), create(7), delete()], [BOB, ZOE], id="deleted, made again, deleted"),
        pytest.param(
            [create(TMP), update(TMP, {"name": "Ada", "age": 36}, {"name": "Ada"})],
            [*BASE, {"name": "Ada", "age": 36, "id": TMP}],
            id="a tail over its head",
        ),
        pytest.param(
            [update(8, {"id": 8, "name": "B"}, BOB), update(), delete(9)],
            [ADA, {"id": 8, "name": "B"}],
            id="several lanes at once",
        ),
    ],
)
def test_writes_lie_over_the_base(writes: list[Write], records: list[Attributes]):
    assert shown(*writes) == records


@pytest.mark.parametrize("state", [State.QUEUED, State.SENDING, State.IN_DOUBT, State.CONFLICT, State.REJECTED])
@pytest.mark.parametrize(
    ("write", "records"),
    [(update, [ADA, BOB, ZOE]), (delete, [BOB, ZOE])],
)
def test_what_is_pending_lies_over_in_every_state_also_refused_and_conflicting(state: State, write: Any, records: Any):
    made = write(state=state)
    view = lay_over(BASE, [made], "id")
    assert view.records == records
    if made.kind is not Kind.DELETE:
        assert view.seen(ADA, "id").write is made


@pytest.mark.parametrize(
    ("write", "records"),
    [
        pytest.param(
            applied(Kind.UPDATE, 7, {"id": 7, "name": "ADA", "v": 2}),
            [{"id": 7, "name": "ADA", "v": 2}, BOB, ZOE],
            id="update",
        ),
        pytest.param(applied(Kind.CREATE, 10, {"id": 10, "v": 1}), [*BASE, {"id": 10, "v": 1}], id="create: last"),
        pytest.param(
            applied(Kind.CREATE, 8, {"id": 8, "v": 1}),
            [EVE, {"id": 8, "v": 1}, ZOE],
            id="create that is in the base by now",
        ),
        pytest.param(applied(Kind.DELETE, 7, None), [BOB, ZOE], id="delete"),
    ],
)
def test_what_was_applied_since_the_base_began_is_shown_as_the_upstream_told_it(
    write: Write, records: list[Attributes]
):
    view = lay_over(BASE, [write], "id")
    assert view.records == records
    for record in records:
        assert view.seen(record, "id").write is None
        assert view.seen(record, "id").base == record


def test_a_pending_edit_lies_over_what_was_applied_before_it():
    done = applied(Kind.UPDATE, 7, {"id": 7, "name": "ADA", "age": 36, "v": 2}, validator='"v2"')
    tail = update(7, {"id": 7, "name": "ADA", "age": 37, "v": 2}, done.theirs)
    view = lay_over(BASE, [done, tail], "id")
    assert view.records[0] == {"id": 7, "name": "ADA", "age": 37, "v": 2}
    assert view.special["7"] == Seen(view.records[0], done.theirs, '"v2"', tail)


@pytest.mark.parametrize(
    ("base", "mine", "newer_base", "seen"),
    [
        pytest.param(
            {"id": 7, "a": 1, "b": 1},
            {"id": 7, "a": 2, "b": 1},
            {"id": 7, "a": 1, "b": 9, "c": 9},
            {"id": 7, "a": 2, "b": 9, "c": 9},
            id="only the fields that were changed",
        ),
        pytest.param(
            {"id": 7, "a": 1}, {"id": 7, "a": 2}, {"id": 7, "a": 3}, {"id": 7, "a": 2}, id="mine, where both changed it"
        ),
        pytest.param(
            {"id": 7, "a": 1, "b": 1},
            {"id": 7, "a": 1},
            {"id": 7, "a": 1, "b": 1},
            {"id": 7, "a": 1},
            id="what was left out is gone",
        ),
        pytest.param(
            None, {"id": 7, "a": 2}, {"id": 7, "b": 1}, {"id": 7, "a": 2, "b": 1}, id="no base is known: all of mine"
        ),
    ],
)
def test_an_update_over_a_newer_base(base: Any, mine: Any, newer_base: Any, seen: Any):
    write = update(7, mine, base)
    view = lay_over([newer_base], [write], "id")
    assert view.records == [seen]
    assert view.special["7"] == Seen(seen, newer_base, None, write)


def test_the_only_record_of_a_url_is_laid_over_without_an_id():
    write = a_write(record_id="", attributes={"theme": "dark"}, base={"theme": "light"})
    view = lay_over([{"theme": "light", "size": 1}], [write], None)
    assert view.records == [{"theme": "dark", "size": 1}]
    assert view.seen(view.records[0], None).write is write


def test_a_local_record_is_shown_and_never_pending():
    local = create(TMP, state=State.LOCAL)
    view = lay_over([], [local], "id")
    assert view.records == [{"name": "Ada", "id": TMP}]
    assert view.seen(view.records[0], "id").write is None


# --- what is known of each -----------------------------------------------------------------------------------


def test_a_record_without_a_write_is_its_own_base():
    assert lay_over(BASE, [], "id").seen(EVE, "id") == Seen(EVE, EVE)


def test_a_record_keeps_its_validator_with_a_write_and_without():
    write = update()
    view = lay_over(BASE, [write], "id", {"7": '"v1"', "8": '"v2"'})
    assert view.seen(ADA, "id") == Seen(ADA, EVE, '"v1"', write)
    assert view.seen(BOB, "id") == Seen(BOB, BOB, '"v2"')
    assert view.seen(ZOE, "id") == Seen(ZOE, ZOE)


def test_a_validator_of_a_record_that_is_not_in_the_base_says_nothing():
    assert lay_over(BASE, [], "id", {"404": '"v1"'}).special == {}
    assert lay_over(BASE, [create(404)], "id", {"404": '"v1"'}).special["404"].validator is None


def test_an_applied_answer_without_a_validator_clears_the_records():
    done = applied(Kind.UPDATE, 7, ADA, validator=None)
    assert lay_over(BASE, [done], "id", {"7": '"v1"'}).seen(ADA, "id").validator is None


def test_an_update_of_a_record_that_is_not_in_the_base_keeps_the_base_and_validator_it_was_made_on():
    write = update(404, {"id": 404, "a": 2}, {"id": 404, "a": 1}, validator='"v1"')
    assert lay_over(BASE, [write], "id").special["404"] == Seen({"id": 404, "a": 2}, write.base, '"v1"', write)


@pytest.mark.parametrize(
    ("record", "key", "text"),
    [({"id": 7}, "id", "7"), ({"id": "7"}, "id", "7"), ({"_id": "x"}, "_id", "x"), ({"id": 7}, None, "")],
)
def test_records_are_told_apart_by_the_text_of_their_id(record: Attributes, key: str | None, text: str):
    assert key_of(record, key) == text


# --- validators carried into a newer list --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        pytest.param(EVE, {"name": "Eve", "id": 7}, {"7": '"v1"'}, id="unchanged: kept"),
        pytest.param(EVE, {"id": 7, "name": "Eva"}, {}, id="changed: dropped"),
        pytest.param(EVE, {"id": 7, "name": "Eve", "x": 1}, {}, id="a field more: dropped"),
        pytest.param({"id": 7, "a": 1}, {"id": 7, "a": True}, {}, id="True is not 1: dropped"),
        pytest.param(EVE, {"id": 9, "name": "Eve"}, {}, id="gone: dropped"),
        pytest.param(EVE, {"id": "7", "name": "Eve"}, {}, id="an id of another type: dropped"),
    ],
)
def test_a_validator_is_carried_into_a_newer_list_if_its_record_did_not_change(old: Any, new: Any, kept: Any):
    view = lay_over([old], [], "id", {"7": '"v1"'})
    assert kept_validators([new, BOB], view, "id") == kept


def test_a_validator_belongs_to_the_base_not_to_the_edit_over_it():
    view = lay_over([EVE], [update()], "id", {"7": '"v1"'})
    assert kept_validators([EVE], view, "id") == {"7": '"v1"'}
    assert kept_validators([ADA], view, "id") == {}


def test_the_validator_of_an_applied_write_is_carried_too():
    view = lay_over([EVE], [applied(Kind.UPDATE, 7, ADA, validator='"v2"')], "id", {"7": '"v1"'})
    assert kept_validators([ADA], view, "id") == {"7": '"v2"'}


def test_without_validators_there_is_none_to_carry():
    assert kept_validators(BASE, View(BASE, {}), "id") == {}


# --- which copy is newer -------------------------------------------------------------------------------------


def envelope(began: int, fetched_at: float) -> Envelope:
    return Envelope([], "epoch", began, fetched_at)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(envelope(2, 10.0), envelope(1, 99.0), id="by number first, whatever the clock says"),
        pytest.param(envelope(1, 11.0), envelope(1, 10.0), id="by the clock between equals"),
        pytest.param(envelope(1, 1.0), None, id="any rather than none"),
    ],
)
def test_the_newer_of_two_copies_is_the_one_whose_request_began_later(one: Envelope, other: Envelope | None):
    assert newer(one, other) is one
    assert newer(other, one) is one


def test_of_none_there_is_none():
    assert newer(None, None) is None


# --- whatever is there ---------------------------------------------------------------------------------------

_ids = st.integers(1, 5)
_bases = st.lists(
    st.builds(
        lambda number, rest: {**rest, "id": number}, _ids, st.dictionaries(st.sampled_from("ab"), json_values(4))
    ),
    unique_by=lambda record: record["id"],
    max_size=5,
)
_fields = st.dictionaries(st.sampled_from("abc"), json_values(4), max_size=3)


@st.composite
def _writes(draw: st.DrawFn) -> Write:
    kind, state = draw(st.sampled_from(Kind)), draw(st.sampled_from([State.QUEUED, State.REJECTED, State.APPLIED]))
    record_id = draw(_ids)
    theirs = {**draw(_fields), "id": record_id} if state is State.APPLIED and kind is not Kind.DELETE else None
    attributes = None if kind is Kind.DELETE else {**draw(_fields), "id": record_id}
    base = None if kind is Kind.CREATE else {**draw(_fields), "id": record_id}
    return a_write(kind, state, record_id=record_id, attributes=attributes, base=base, theirs=theirs)


@given(_bases)
def test_a_view_without_writes_is_the_base_itself(base: list[Attributes]):
    view = lay_over(base, [], "id")
    assert all(one is other for one, other in zip(view.records, base, strict=True))
    assert view.special == {}


@given(_bases, st.lists(_writes(), max_size=6), st.dictionaries(st.sampled_from("12345"), st.just('"v"')))
def test_laying_over_changes_neither_base_nor_writes(
    base: list[Attributes], writes: list[Write], validators: dict[str, str]
):
    before = copy.deepcopy((base, writes, validators))
    lay_over(base, writes, "id", validators)
    assert (base, writes, validators) == before


@given(_bases, st.lists(_writes(), max_size=8))
def test_each_record_is_shown_once_and_the_rest_stays_in_the_upstreams_order(
    base: list[Attributes], writes: list[Write]
):
    view = lay_over(base, writes, "id")
    shown_ids = [record["id"] for record in view.records]
    assert len(set(shown_ids)) == len(shown_ids)
    last = {write.record_id: write for write in writes}
    touched = {write.record_id for write in writes}
    assert [number for number in shown_ids if number not in touched] == [
        record["id"] for record in base if record["id"] not in touched
    ]
    for number, write in last.items():
        assert (number in shown_ids) is (write.kind is not Kind.DELETE)
        if write.kind is not Kind.DELETE:
            record = view.records[shown_ids.index(number)]
            assert view.seen(record, "id").attributes is record
            assert view.seen(record, "id").write is (None if write.state is State.APPLIED else write)
    assert set(view.special) == {str(number) for number in last if number in shown_ids}


@given(_bases, st.lists(_writes(), max_size=6))
def test_laying_over_a_base_one_by_one_is_the_same_as_all_at_once(base: list[Attributes], writes: list[Write]):
    records = base
    for write in writes:
        records = lay_over(records, [write], "id").records
    assert same(lay_over(base, writes, "id").records, records)
