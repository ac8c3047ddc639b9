"""Which writes may go now, and in what order (DESIGN §4.4, §7)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from flask_dualstorage.policy.planning import Plan, is_due, with_those_it_waits_for
from flask_dualstorage.types import Kind, State, Write
from tests.unit.policy.builders import NOON, a_write

PAST, NOW, FUTURE = NOON - 1, NOON, NOON + 1


@pytest.mark.parametrize(
    ("state", "times", "by_itself", "asked_for"),
    [
        pytest.param(State.QUEUED, {"not_before": PAST}, True, True, id="queued, its backoff over"),
        pytest.param(State.QUEUED, {"not_before": NOW}, True, True, id="queued, to the second"),
        pytest.param(
            State.QUEUED, {"not_before": FUTURE}, False, True, id="queued, its backoff running: who asks passes over it"
        ),
        pytest.param(
            State.QUEUED,
            {"retry_after": FUTURE},
            False,
            False,
            id="queued, and the upstream asked to wait: nobody passes",
        ),
        pytest.param(State.QUEUED, {"retry_after": NOW}, True, True, id="queued, and that wait is over"),
        pytest.param(State.IN_DOUBT, {"not_before": PAST}, True, True, id="in doubt, and safe to send again"),
        pytest.param(State.IN_DOUBT, {"not_before": FUTURE}, False, True, id="in doubt, its backoff running"),
        pytest.param(State.IN_DOUBT, {"not_before": None}, False, False, id="in doubt, and held for its owner"),
        pytest.param(
            State.IN_DOUBT, {"retry_after": FUTURE}, False, False, id="in doubt, and the upstream asked to wait"
        ),
        pytest.param(State.SENDING, {"lease": FUTURE}, False, False, id="being sent"),
        pytest.param(State.SENDING, {"lease": NOW}, True, True, id="being sent, but its lease is over"),
        pytest.param(
            State.SENDING, {"lease": PAST, "not_before": None}, True, True, id="its lease is over, though it was held"
        ),
        pytest.param(
            State.SENDING,
            {"lease": PAST, "retry_after": FUTURE},
            False,
            False,
            id="its lease is over, but we are to wait",
        ),
        pytest.param(State.CONFLICT, {"not_before": None}, False, False, id="conflict"),
        pytest.param(State.REJECTED, {"not_before": None}, False, False, id="rejected"),
        pytest.param(State.REJECTED, {"not_before": PAST}, False, False, id="rejected, whatever its time"),
        pytest.param(State.APPLIED, {}, False, False, id="applied"),
        pytest.param(State.DISCARDED, {}, False, False, id="discarded"),
        pytest.param(State.LOCAL, {}, False, False, id="local: never due"),
    ],
)
@pytest.mark.parametrize("kind", Kind)
def test_a_write_is_due(kind: Kind, state: State, times: dict[str, Any], by_itself: bool, asked_for: bool):
    write = a_write(kind, state, **times)
    assert is_due(write, NOW, explicit=False) is by_itself
    assert is_due(write, NOW, explicit=True) is asked_for


def named(*names: str) -> list[Write]:
    return [a_write(id=name, seq=number) for number, name in enumerate(names, 1)]


def test_what_is_due_and_waits_for_nothing_goes_first_in_first_out():
    writes = [*named("a", "b", "c"), a_write(id="d", seq=4, not_before=FUTURE)]
    waits = {"a": [], "b": ["a"], "c": [], "d": []}
    assert [write.id for write in Plan(writes, waits, set(waits), NOW, explicit=False).due] == ["a", "c"]
    assert [write.id for write in Plan(writes, waits, set(waits), NOW, explicit=True).due] == ["a", "c", "d"]


def test_one_stuck_write_holds_up_only_what_depends_on_it():
    stuck = a_write(id="stuck", state=State.REJECTED, not_before=None)
    writes = [stuck, *named("behind", "free")]
    waits = {"stuck": [], "behind": ["stuck"], "free": []}
    assert [write.id for write in Plan(writes, waits, set(waits), NOW, explicit=True).due] == ["free"]


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        pytest.param("a", {"a"}, id="one that waits for nothing"),
        pytest.param("b", {"a", "b"}, id="one, and what it waits for"),
        pytest.param("d", {"a", "b", "c", "d"}, id="and what those wait for"),
        pytest.param("de", {"a", "b", "c", "d", "e"}, id="several"),
        pytest.param("", set(), id="none"),
    ],
)
def test_with_a_write_goes_all_that_must_go_before_it(chosen: str, wanted: set[str]):
    waits = {"a": [], "b": ["a"], "c": ["b", "a"], "d": ["c", "b"], "e": []}
    found = with_those_it_waits_for(named(*"abcde"), waits, lambda write: write.id in chosen)
    assert found == wanted


def test_a_circle_is_walked_once():
    waits = {"a": ["b"], "b": ["a"]}
    assert with_those_it_waits_for(named("a", "b"), waits, lambda write: write.id == "a") == {"a", "b"}


def test_a_long_chain_is_no_deep_recursion():
    names = [f"w{number}" for number in range(5000)]
    waits = {name: [before] for before, name in pairwise(names)} | {names[0]: []}
    assert len(with_those_it_waits_for(named(*names), waits, lambda write: write.id == names[-1])) == 5000


def test_what_waited_is_due_once_all_that_it_waited_for_is_gone():
    writes = [a_write(id=name, seq=seq) for seq, name in enumerate("abc")]
    plan = Plan(writes, {"a": [], "b": [], "c": ["a", "b"]}, {"a", "b", "c"}, NOW, explicit=True)
    assert [write.id for write in plan.due] == ["a", "b"]
    plan.gone("a")
    assert len(plan.due) == 2
    plan.gone("b")
    plan.gone("b")
    assert [write.id for write in plan.due] == ["a", "b", "c"]


def test_what_waits_for_one_that_may_not_go_stays():
    writes = [a_write(id="a", state=State.REJECTED), a_write(id="b")]
    plan = Plan(writes, {"a": [], "b": ["a"]}, {"a", "b"}, NOW, explicit=True)
    assert list(plan.due) == []


def test_what_nobody_chose_stays():
    assert list(Plan([a_write(id="a")], {"a": []}, set(), NOW, explicit=True).due) == []
