"""What is newer of a record that stands in several copies."""

from __future__ import annotations

from typing import Any

from flask_dualstorage.policy.newest import with_newer
from flask_dualstorage.types import UNSETTLED, Envelope, Kind, State
from tests.unit.policy.builders import a_write

OLD, NEW = {"id": 7, "name": "Eve"}, {"id": 7, "name": "Eva"}
BOB = {"id": 8, "name": "Bob"}


def copy(began: int, *records: Any, **rest: Any) -> Envelope:
    return Envelope(list(records), "epoch", began, float(began), **rest)


def test_a_record_is_as_the_latest_copy_has_it_and_the_list_stays_as_it_came():
    mine = copy(1, OLD, BOB)
    shown, _ = with_newer(mine, [], [copy(2, {"id": 9}, NEW), copy(3, {"id": 7, "name": "Evi"})], "id")
    assert shown.records == [{"id": 7, "name": "Evi"}, BOB]
    assert mine.records == [OLD, BOB]


def test_an_older_copy_changes_nothing():
    mine = copy(2, NEW)
    assert with_newer(mine, [], [copy(1, OLD), mine], "id")[0] is mine


def test_a_write_that_the_newer_record_has_already_does_not_lie_over_it():
    """It was settled before that record was asked for; somebody else may have edited it since."""
    done = a_write(Kind.UPDATE, State.APPLIED, theirs=OLD, settled_seq=2)
    later = a_write(Kind.UPDATE, State.APPLIED, theirs=OLD, settled_seq=4)
    pending = a_write(Kind.UPDATE, settled_seq=UNSETTLED)
    other = a_write(Kind.UPDATE, State.APPLIED, record_id=8, theirs=BOB, settled_seq=2)
    absent = a_write(Kind.CREATE, State.APPLIED, record_id=9, theirs={"id": 9}, settled_seq=2)
    writes = [done, later, pending, other, absent]
    _, over = with_newer(copy(1, OLD, BOB), writes, [copy(3, NEW, {"id": 9})], "id")
    assert over == [later, pending, other, absent]


def test_a_newer_record_brings_its_validator_or_none():
    mine = copy(1, OLD, BOB, validators={"7": '"1"', "8": '"1"'})
    assert with_newer(mine, [], [copy(2, NEW)], "id")[0].validators == {"8": '"1"'}
    newer = copy(2, NEW, validators={"7": '"2"', "9": '"9"'})
    assert with_newer(mine, [], [newer], "id")[0].validators == {"8": '"1"', "7": '"2"'}
