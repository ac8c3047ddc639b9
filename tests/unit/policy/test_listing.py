"""Which records belong in a list, and where: what pending writes do to a filtered list, or to one page of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.policy.listing import Change, Listing, matches_by_fields, place, put_in_order
from flask_dualstorage.policy.views import lay_over
from flask_dualstorage.types import Attributes, Kind, State, Write
from tests.unit.policy.builders import a_write, temp_id

OPEN, CLOSED = {"id": 7, "status": "open"}, {"id": 7, "status": "closed"}


def is_open(record: Attributes) -> bool:
    return record.get("status") == "open"


def change(before: Any, now: Any, *, in_base: bool = False, is_new: bool = False) -> Change:
    return Change(before, now, in_base, is_new)


WHOLE = Listing(is_open)
MIDDLE = Listing(is_open, whole=False, takes_new=False)
LAST = Listing(is_open, whole=False)
UNFILTERED_PAGE = Listing(whole=False, takes_new=False)


@pytest.mark.parametrize(
    ("changed", "listing", "shown", "more"),
    [
        # in the list that came
        (change(OPEN, {**OPEN, "x": 1}, in_base=True), WHOLE, True, 0),
        (change(OPEN, CLOSED, in_base=True), WHOLE, False, -1),
        (change(OPEN, CLOSED, in_base=True), MIDDLE, False, -1),
        (change(OPEN, None, in_base=True), MIDDLE, False, -1),
        # listed for reasons of the upstream's own: an edit of something else leaves it there
        (change(CLOSED, {**CLOSED, "x": 1}, in_base=True), WHOLE, True, 0),
        # deleted, and made again: a new one
        (change(OPEN, OPEN, in_base=True, is_new=True), WHOLE, True, 0),
        (change(OPEN, CLOSED, in_base=True, is_new=True), WHOLE, False, -1),
        (change(OPEN, OPEN, in_base=True, is_new=True), MIDDLE, False, 0),
        # new: on the last page, counted on each
        (change(None, OPEN, is_new=True), WHOLE, True, 1),
        (change(None, OPEN, is_new=True), MIDDLE, False, 1),
        (change(None, OPEN, is_new=True), LAST, True, 1),
        (change(None, CLOSED, is_new=True), LAST, False, 0),
        (change(None, None, is_new=True), LAST, False, 0),
        # not in the list that came: it comes in by what the edit changed
        (change(CLOSED, OPEN), WHOLE, True, 1),
        (change(CLOSED, OPEN), MIDDLE, False, 1),
        (change(CLOSED, OPEN), LAST, True, 1),
        (change(OPEN, {**OPEN, "x": 1}), WHOLE, False, 0),
        (change(None, OPEN), WHOLE, False, 0),
        # on another page
        (change(OPEN, {**OPEN, "x": 1}), MIDDLE, False, 0),
        (change(OPEN, CLOSED), MIDDLE, False, -1),
        (change(OPEN, None), MIDDLE, False, -1),
        (change(OPEN, None), WHOLE, False, 0),
        (change(OPEN, {**OPEN, "x": 1}), UNFILTERED_PAGE, False, 0),
        (change(None, OPEN), UNFILTERED_PAGE, False, 0),
        # the whole list of a store: its copy may be older than the record
        (change(OPEN, {**OPEN, "x": 1}), Listing(), True, 1),
        # nothing is known of what the upstream lists
        (change(CLOSED, OPEN), Listing(is_open, known=False), True, 1),
        (change(OPEN, {**OPEN, "x": 1}), Listing(is_open, known=False), True, 1),
        (change(OPEN, CLOSED), Listing(is_open, known=False), False, 0),
    ],
)
def test_where_a_changed_record_goes(changed: Change, listing: Listing, shown: bool, more: int):
    assert place(changed, listing) == (shown, more)


@pytest.mark.parametrize(
    ("record", "params", "matches"),
    [
        ({"status": "open"}, {"status": "open"}, True),
        ({"status": "open"}, {"status": "closed"}, False),
        ({"status": "open"}, {}, True),
        ({"status": "open"}, {"q": "x", "sort": "name"}, True),
        ({"status": "open"}, {"status": "open", "q": "x"}, True),
        ({"status": "open", "age": 41}, {"status": "open", "age": "42"}, False),
        ({"age": 41}, {"age": "41"}, True),
        ({"done": True}, {"done": "true"}, True),
        ({"done": True}, {"done": "True"}, True),
        ({"done": True}, {"done": "1"}, False),
        ({"done": False}, {"done": "true"}, False),
        ({"team": None}, {"team": ""}, True),
        ({"team": None}, {"team": "null"}, True),
        ({"team": None}, {"team": "blue"}, False),
        ({"tags": ["a", "b"]}, {"tags": "b"}, True),
        ({"tags": ["a", "b"]}, {"tags": "c"}, False),
        ({"team": {"id": 7}}, {"team": "7"}, True),
    ],
)
def test_a_record_matches_by_its_fields(record: Attributes, params: dict[str, str], matches: bool):
    assert matches_by_fields(record, params) is matches


def test_touched_records_find_their_place_and_equal_ones_stand_behind():
    rest = [{"n": 1}, {"n": 3, "first": True}, {"n": 5}]
    put_in_order(rest, [{"n": 9}, {"n": 0}, {"n": 3}, {"n": 4}], lambda record: record["n"])
    assert rest == [{"n": 0}, {"n": 1}, {"n": 3, "first": True}, {"n": 3}, {"n": 4}, {"n": 5}, {"n": 9}]


# --- a list, its pages, and what is pending ------------------------------------------------------------------

_status = st.sampled_from(["open", "closed"])


@st.composite
def _stores(draw: st.DrawFn) -> tuple[list[Attributes], list[Write]]:
    """A store of numbered records, and pending writes of some and of new ones."""
    records = [{"id": number, "status": draw(_status)} for number in range(1, draw(st.integers(0, 12)) + 1)]
    writes = []
    for record in records:
        kind = draw(st.sampled_from([None, Kind.UPDATE, Kind.DELETE]))
        mine = {**record, "status": draw(_status)} if kind is Kind.UPDATE else None
        if kind is not None:
            writes.append(a_write(kind, record_id=record["id"], base=record, attributes=mine))
    for number in range(draw(st.integers(0, 4))):
        made = {"status": draw(_status)}
        writes.append(a_write(Kind.CREATE, record_id=temp_id(number), attributes=made))
    return records, writes


@given(_stores(), st.integers(1, 5), st.sampled_from([None, is_open]))
def test_the_pages_of_a_list_are_together_what_the_whole_list_is(
    store: tuple[list[Attributes], list[Write]], size: int, belongs: Any
):
    """With whatever is pending: no record is on two pages or on none, and every page counts the same total."""
    records, writes = store
    listed = [record for record in records if belongs is None or belongs(record)]
    whole = lay_over(listed, writes, "id", None, Listing(belongs))
    pages = [listed[start : start + size] for start in range(0, len(listed), size)] or [[]]
    views = [
        lay_over(page, writes, "id", None, Listing(belongs, whole=len(pages) == 1, takes_new=page is pages[-1]))
        for page in pages
    ]
    assert [record for view in views for record in view.records] == whole.records
    assert {len(listed) + view.added for view in views} == {len(whole.records)}


@given(_stores())
def test_a_filtered_list_is_the_filter_of_the_whole_one(store: tuple[list[Attributes], list[Write]]):
    records, writes = store
    everything = lay_over(records, writes, "id").records
    view = lay_over([record for record in records if is_open(record)], writes, "id", None, Listing(is_open))
    assert sorted(str(one["id"]) for one in view.records) == sorted(
        str(one["id"]) for one in everything if is_open(one)
    )


def test_what_a_list_does_not_show_is_pending_all_the_same():
    write = a_write(Kind.UPDATE, State.QUEUED, base=OPEN, attributes=CLOSED)
    view = lay_over([OPEN], [write], "id", None, Listing(is_open))
    assert (view.records, view.special["7"].write) == ([], write)


def test_a_list_with_an_order_puts_new_and_edited_records_where_they_belong():
    base = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Eve"}, {"id": 3, "name": "Zoe"}]
    writes = [
        a_write(Kind.UPDATE, record_id=3, base=base[2], attributes={"id": 3, "name": "Abe"}),
        a_write(Kind.CREATE, record_id=temp_id(1), attributes={"name": "Bob"}),
    ]
    view = lay_over(base, writes, "id", None, Listing(rank=lambda record: record["name"]))
    assert [record["name"] for record in view.records] == ["Abe", "Ada", "Bob", "Eve"]
