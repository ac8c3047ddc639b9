"""What becomes of a write after its outcome: the transitions of DESIGN §4.4, and the tail behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.policy.backoff import LONGEST
from flask_dualstorage.policy.settling import (
    UNAUTHORIZED_WAIT,
    Rules,
    Step,
    applied,
    next_step,
    rebase,
    resend_is_safe,
    thaw,
    transition,
)
from flask_dualstorage.types import UNSETTLED, Kind, Meaning, Outcome, State, Write
from tests.unit.policy.builders import NOON, a_write, frozen

AUTO, HOLD, RESEND = Rules("auto", False, 8), Rules("hold", False, 8), Rules("resend", False, 8)
KEYS = Rules("auto", True, 8)
LATER = NOON + 60

#: What a claim fixes, and only a definitive refusal or an unsent request drops.
BYTES = ("key", "key_since", "method", "path", "body")

UNSENT = Outcome(Meaning.UNREACHABLE, unsent=True, reason="It could not be reached.")
OFFLINE = Outcome(Meaning.UNREACHABLE, 502, reason="It is offline.")
NOT_NOW = Outcome(Meaning.NOT_NOW, 503, retry_after=30.0, reason="It asks to wait.")
IN_DOUBT = Outcome(Meaning.IN_DOUBT, 500, reason="It failed.", problem={"status": 500})
REJECTED = Outcome(Meaning.REJECTED, 422, reason="It refused.", problem={"status": 422})
UNAUTHORIZED = Outcome(Meaning.UNAUTHORIZED, 401, reason="It wants a fresh credential.", problem={"status": 401})
CONFLICT = Outcome(
    Meaning.CONFLICT, 412, record={"id": 7, "name": "Eva"}, validator='"v2"', reason="Stale.", problem={"status": 412}
)
GONE = Outcome(Meaning.CONFLICT, 404, reason="It was deleted upstream.", problem={"status": 404})


def sending(kind: Kind = Kind.UPDATE, **rest: Any) -> Write:
    """Make a write that is being sent for the first time."""
    request = frozen(method="POST", path="/people") if kind is Kind.CREATE else frozen()
    return a_write(kind, State.SENDING, **{"fence": 1, "lease": NOON + 15, "validator": '"v1"'} | request | rest)


def after(write: Write, outcome: Outcome, rules: Rules = AUTO, jitter: float = 0.5) -> Write:
    return transition(write, outcome, rules, now=LATER, jitter=jitter)


def bytes_of(write: Write) -> tuple[Any, ...]:
    return tuple(getattr(write, name) for name in BYTES)


# --- out of sending ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("outcome", "state", "keeps_key", "is_attempt"),
    [
        pytest.param(UNSENT, State.QUEUED, False, True, id="unsent → queued, without key: no byte can have arrived"),
        pytest.param(OFFLINE, State.QUEUED, True, True, id="an offline code → queued, with key and bytes"),
        pytest.param(NOT_NOW, State.QUEUED, True, True, id="425, 429, 503 → queued, with key and bytes"),
        pytest.param(IN_DOUBT, State.IN_DOUBT, True, True, id="in doubt, with key and bytes"),
        pytest.param(REJECTED, State.REJECTED, False, True, id="rejected, a definitive refusal: without key"),
        pytest.param(CONFLICT, State.CONFLICT, False, True, id="conflict, a definitive refusal: without key"),
        pytest.param(GONE, State.CONFLICT, False, True, id="gone on update → conflict, without key"),
        pytest.param(UNAUTHORIZED, State.QUEUED, False, False, id="unauthorized → queued: not an attempt"),
    ],
)
def test_a_sending_write_becomes(kind: Kind, outcome: Outcome, state: State, keeps_key: bool, is_attempt: bool):
    before = sending(kind)
    now = after(before, outcome)
    assert now.state is state
    assert bytes_of(now) == (bytes_of(before) if keeps_key else (None, 0.0, None, None, None))
    assert now.frozen is keeps_key
    assert now.attempts == before.attempts + is_attempt
    looked_for = kind is Kind.CREATE and outcome in (OFFLINE, IN_DOUBT)
    assert now.lease == (before.lease if looked_for else 0.0)
    assert (now.reason, now.problem) == (outcome.reason, outcome.problem)
    assert now.settled_seq == UNSETTLED


@pytest.mark.parametrize("outcome", [UNSENT, OFFLINE, NOT_NOW, IN_DOUBT, REJECTED, CONFLICT, GONE, UNAUTHORIZED])
def test_what_the_owner_wants_is_never_touched(outcome: Outcome):
    before = sending(edits=3, patch=True, refers=True, created_at=1.0, fence=4)
    now = after(before, outcome)
    for name in (
        "id",
        "seq",
        "record_id",
        "kind",
        "attributes",
        "base",
        "patch",
        "refers",
        "edits",
        "created_at",
        "fence",
    ):
        assert getattr(now, name) == getattr(before, name)


@pytest.mark.parametrize("outcome", [REJECTED, CONFLICT, GONE])
def test_what_was_refused_waits_for_its_owner(outcome: Outcome):
    assert after(sending(), outcome).not_before is None


def test_a_conflict_keeps_what_the_upstream_holds_and_its_validator():
    now = after(sending(), CONFLICT)
    assert (now.theirs, now.validator) == ({"id": 7, "name": "Eva"}, '"v2"')
    gone = after(sending(), GONE)
    assert (gone.theirs, gone.validator) == (None, None)


def test_any_other_outcome_leaves_the_validator_alone():
    for outcome in (UNSENT, OFFLINE, NOT_NOW, IN_DOUBT, REJECTED, UNAUTHORIZED):
        assert after(sending(), outcome).validator == '"v1"'


def test_the_upstreams_wait_is_kept_beside_our_own_backoff():
    now = after(sending(attempts=1, fence=2), NOT_NOW, jitter=0.5)
    assert now.retry_after == LATER + 30
    assert now.not_before == LATER + 2
    assert after(now, OFFLINE).retry_after == 0.0


def test_a_write_without_a_fresh_credential_does_not_go_by_itself_for_a_minute():
    assert after(sending(), UNAUTHORIZED).not_before == LATER + UNAUTHORIZED_WAIT


@given(attempts=st.integers(0, 60), jitter=st.floats(0, 1, exclude_max=True))
def test_it_is_due_after_a_backoff_with_full_jitter(attempts: int, jitter: float):
    write = sending(attempts=attempts, fence=attempts + 1)
    for outcome in (UNSENT, OFFLINE, NOT_NOW):
        due = after(write, outcome, jitter=jitter).not_before
        assert due is not None
        assert LATER <= due <= LATER + LONGEST


def test_an_applied_write_is_not_settled_here():
    with pytest.raises(ValueError, match="applied"):
        after(sending(), Outcome(Meaning.APPLIED))


# --- the same key as long as it may have arrived -------------------------------------------------------------


def sent_again(write: Write) -> Write:
    """Claim a write again: the same bytes where it is frozen, new ones where it is not."""
    fixed = {} if write.frozen else frozen(key=f"key-{write.fence + 1}", key_since=LATER)
    unknown = write.state in (State.SENDING, State.IN_DOUBT) or write.may_have_arrived
    return write._replace(state=State.SENDING, fence=write.fence + 1, may_have_arrived=unknown, **fixed)


@pytest.mark.parametrize("first", [OFFLINE, NOT_NOW, IN_DOUBT], ids=["offline code", "503", "in doubt"])
@pytest.mark.parametrize("then", [UNSENT, UNAUTHORIZED], ids=["unsent", "401"])
def test_a_key_that_may_have_arrived_once_is_kept_when_a_later_send_did_not(first: Outcome, then: Outcome):
    """The second send left no trace, but the first may have: only its key lets the upstream tell them for one."""
    write = sent_again(after(sending(Kind.CREATE), first, RESEND))
    now = after(write, then, RESEND)
    assert now.state is State.QUEUED
    assert now.key == "key-1"
    assert bytes_of(now) == bytes_of(write)


@pytest.mark.parametrize("then", [UNSENT, UNAUTHORIZED], ids=["unsent", "401"])
def test_a_key_whose_process_died_is_kept_when_a_later_send_did_not_arrive(then: Outcome):
    """The lease ended without an outcome: nobody knows what became of that send."""
    assert after(sent_again(sending()), then).key == "key-1"


def test_a_request_that_never_left_gets_a_new_key_each_time():
    write = sending()
    for _ in range(5):
        write = after(write, UNSENT)
        assert not write.frozen
        write = sent_again(write)
    assert write.key == "key-6"


def test_a_refusal_in_between_makes_the_next_send_a_new_request():
    refused = after(sent_again(after(sending(), IN_DOUBT)), REJECTED)
    assert not refused.frozen
    assert not after(sent_again(refused), UNSENT).frozen


_outcomes = st.sampled_from([UNSENT, OFFLINE, NOT_NOW, IN_DOUBT, UNAUTHORIZED])


@given(st.lists(_outcomes, max_size=8), st.sampled_from(Kind))
def test_a_key_changes_only_while_nothing_sent_under_it_can_have_arrived(outcomes: list[Outcome], kind: Kind):
    write, arrived = sending(kind), False
    for outcome in outcomes:
        key = write.key
        arrived = arrived or outcome in (OFFLINE, NOT_NOW, IN_DOUBT)
        write = sent_again(after(write, outcome, RESEND))
        assert not arrived or write.key == key


# --- in doubt ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "honours", "kind", "safe"),
    [
        pytest.param("auto", False, Kind.UPDATE, True, id="auto: updates go again"),
        pytest.param("auto", False, Kind.DELETE, True, id="auto: deletes go again"),
        pytest.param("auto", False, Kind.CREATE, False, id="auto: creates are looked for …"),
        pytest.param("auto", True, Kind.CREATE, True, id="… but where the upstream honours keys they go again"),
        pytest.param("auto", 61, Kind.CREATE, True, id="… within the seconds for which it does"),
        pytest.param("auto", 60, Kind.CREATE, False, id="… and not after"),
        pytest.param("auto", 0, Kind.CREATE, False, id="… which may be none"),
        pytest.param("auto", 1, Kind.CREATE, False, id="1 is one second, not True"),
        pytest.param("hold", True, Kind.UPDATE, False, id="hold: updates ask the owner"),
        pytest.param("hold", True, Kind.DELETE, False, id="hold: deletes ask the owner"),
        pytest.param("hold", True, Kind.CREATE, False, id="hold: creates ask the owner"),
        pytest.param("resend", False, Kind.UPDATE, True, id="resend: updates"),
        pytest.param("resend", False, Kind.DELETE, True, id="resend: deletes"),
        pytest.param("resend", False, Kind.CREATE, True, id="resend: creates too, Backbone's way"),
    ],
)
def test_a_write_in_doubt_goes_again_by_itself_where_that_is_safe(policy: str, honours: Any, kind: Kind, safe: bool):
    rules = Rules(policy, honours, 8)
    write = sending(kind)
    assert resend_is_safe(write, rules, LATER) is safe
    now = after(write, IN_DOUBT, rules)
    assert now.state is State.IN_DOUBT
    assert now.not_before == (None if policy == "hold" else LATER + 1)
    assert now.lease == (0.0 if safe else write.lease), "what must be looked for is not while it may still be sent"
    assert bytes_of(now) == bytes_of(write)


def test_a_create_in_doubt_that_was_put_at_its_own_id_goes_again():
    put = sending(Kind.CREATE, method="PUT", path="/people/7")
    assert resend_is_safe(put, AUTO, LATER)
    assert after(put, IN_DOUBT).lease == 0.0
    assert not resend_is_safe(put, HOLD, LATER)


@pytest.mark.parametrize(
    ("state", "arrived", "rules", "step"),
    [
        pytest.param(State.QUEUED, False, AUTO, Step.SEND, id="what was never sent, or certainly not taken, is sent"),
        pytest.param(State.QUEUED, False, HOLD, Step.SEND, id="… whatever the policy"),
        pytest.param(
            State.QUEUED, True, AUTO, Step.LOOK, id="what may have arrived is looked for, though it is queued"
        ),
        pytest.param(State.QUEUED, True, KEYS, Step.SEND, id="… but where its key counts"),
        pytest.param(State.QUEUED, True, HOLD, Step.HOLD, id="… or held"),
        pytest.param(State.QUEUED, True, RESEND, Step.SEND, id="… or sent, as the policy says"),
        pytest.param(State.IN_DOUBT, True, AUTO, Step.LOOK, id="what is in doubt is looked for"),
        pytest.param(State.SENDING, False, AUTO, Step.LOOK, id="so is what a dead process may have sent"),
        pytest.param(State.SENDING, False, HOLD, Step.HOLD, id="… or held"),
        pytest.param(State.SENDING, False, KEYS._replace(max_attempts=1), Step.HOLD, id="… or held after so many"),
        pytest.param(State.IN_DOUBT, True, KEYS._replace(max_attempts=1), Step.SEND, id="in doubt it was held in time"),
    ],
)
def test_how_a_create_goes_on(state: State, arrived: bool, rules: Rules, step: Step):
    write = sending(Kind.CREATE)._replace(state=state, may_have_arrived=arrived)
    assert next_step(write, rules, LATER) is step


@pytest.mark.parametrize("rules", [AUTO, HOLD, KEYS, RESEND])
def test_an_update_that_a_gateway_gave_up_on_goes_again(rules: Rules):
    assert next_step(after(sending(), OFFLINE, rules), rules, LATER) is Step.SEND


def test_looking_is_no_send_and_may_be_tried_again_at_once():
    write = sending(Kind.CREATE, doubts=3, may_have_arrived=True)
    now = after(write, IN_DOUBT._replace(unsent=True))
    assert (now.state, now.doubts, now.lease) == (State.IN_DOUBT, 3, 0.0)


def test_not_now_leaves_no_doubt_and_keeps_the_key():
    now = after(sending(Kind.CREATE), NOT_NOW)
    assert (now.may_have_arrived, now.key_stays, next_step(now, AUTO, LATER)) == (False, True, Step.SEND)


def test_a_refusal_of_a_second_send_leaves_the_key_for_the_answer_to_the_first():
    refused = after(sent_again(after(sending(), IN_DOUBT)), REJECTED)
    assert (refused.key, refused.frozen) == ("key-1", False)


@pytest.mark.parametrize(("doubts", "goes_again"), [(0, True), (6, True), (7, False), (8, False), (99, False)])
def test_after_max_attempts_in_doubt_it_is_held_for_its_owner(doubts: int, goes_again: bool):
    """Sends that certainly did not arrive are none of them, however many there were in a long outage."""
    now = after(sending(attempts=1000, doubts=doubts), IN_DOUBT, Rules("auto", False, 8))
    assert (now.attempts, now.doubts) == (1001, doubts + 1)
    assert (now.not_before is not None) is goes_again
    assert now.state is State.IN_DOUBT


# --- thawed and applied --------------------------------------------------------------------------------------


def test_thawing_drops_key_and_bytes_and_nothing_else():
    write = sending()._replace(may_have_arrived=True)
    thawed = thaw(write)
    assert bytes_of(thawed) == (None, 0.0, None, None, None)
    told = ("may_have_arrived", "key_stays")
    others = [each for each in Write._fields if each not in (*BYTES, *told)]
    assert not thawed.may_have_arrived
    assert not thawed.key_stays
    assert [getattr(thawed, name) for name in others] == [getattr(write, name) for name in others]


@pytest.mark.parametrize(
    ("kind", "outcome", "theirs", "record_id"),
    [
        pytest.param(
            Kind.CREATE,
            Outcome(Meaning.APPLIED, 201, {"id": 42}, 42, '"v1"'),
            {"id": 42},
            42,
            id="a create gets the real id",
        ),
        pytest.param(Kind.UPDATE, Outcome(Meaning.APPLIED, 200, {"id": 7}, 7, '"v1"'), {"id": 7}, 7, id="an update"),
        pytest.param(
            Kind.UPDATE, Outcome(Meaning.APPLIED, 200, {"id": 7}, None, '"v1"'), {"id": 7}, 7, id="no id told"
        ),
        pytest.param(
            Kind.DELETE, Outcome(Meaning.APPLIED, 404, {"id": 7}, 7, '"v1"'), None, 7, id="a delete leaves none"
        ),
    ],
)
def test_an_applied_write_holds_what_the_upstream_has_now(kind: Kind, outcome: Outcome, theirs: Any, record_id: Any):
    write = sending(kind, reason="It was away.", problem={"status": 500}, not_before=NOON, attempts=2)
    done = applied(write, outcome, settled_seq=5, now=LATER)
    assert done.state is State.APPLIED
    assert (done.theirs, done.record_id, done.validator) == (theirs, record_id, '"v1"')
    assert (done.settled_seq, done.settled_at, done.attempts) == (5, LATER, 3)
    assert (done.not_before, done.lease, done.reason, done.problem) == (None, 0.0, None, None)
    assert done.attributes == write.attributes


def test_an_applied_answer_without_a_validator_clears_the_records():
    assert applied(sending(), Outcome(Meaning.APPLIED, 204, {"id": 7}, 7), settled_seq=5, now=LATER).validator is None


def test_an_applied_write_keeps_its_key_so_that_a_second_answer_to_it_is_known():
    assert applied(sending(), Outcome(Meaning.APPLIED, 200, {"id": 7}, 7), settled_seq=5, now=LATER).key == "key-1"


# --- the tail behind -----------------------------------------------------------------------------------------

MADE = {"id": 7, "name": "Ada", "age": 36, "v": 2}


@pytest.mark.parametrize(
    ("base", "mine", "becomes"),
    [
        pytest.param(
            {"name": "Ada", "age": 36},
            {"name": "Ada", "age": 37},
            {"id": 7, "name": "Ada", "age": 37, "v": 2},
            id="what it changes, on the answer",
        ),
        pytest.param({"age": 35}, {"age": 36}, None, id="the upstream has it already: dropped"),
        pytest.param({"age": 36}, {"age": True}, {"id": 7, "name": "Ada", "age": True, "v": 2}, id="True is a change"),
        pytest.param(
            {"name": "Ada"},
            {"name": "Ada", "x": 1},
            {"id": 7, "name": "Ada", "age": 36, "v": 2, "x": 1},
            id="a new field",
        ),
        pytest.param(
            {"name": "Ada", "age": 36},
            {"name": "Ada"},
            {"id": 7, "name": "Ada", "v": 2},
            id="what it leaves out is left out",
        ),
        pytest.param({"age": 36}, {"age": 36}, MADE, id="a command given twice changes nothing, and is kept"),
    ],
)
def test_a_tail_is_put_on_the_record_that_its_head_made(base: Any, mine: Any, becomes: Any):
    tail = a_write(base=base, attributes=mine, validator=None)
    now = rebase(tail, MADE, '"v2"')
    if becomes is None:
        assert now is None
    else:
        assert now == tail._replace(base=MADE, attributes=becomes, validator='"v2"')


def test_a_delete_behind_goes_with_the_new_validator():
    tail = a_write(Kind.DELETE)
    assert rebase(tail, MADE, '"v2"') == tail._replace(base=MADE, validator='"v2"')


@pytest.mark.parametrize("tail", [a_write(Kind.CREATE), a_write()], ids=["create", "update"])
def test_behind_a_delete_nothing_is_put_on_a_record_that_is_gone(tail: Write):
    assert rebase(tail, None, None) is tail


def test_a_create_behind_is_left_as_it_is():
    tail = a_write(Kind.CREATE)
    assert rebase(tail, MADE, '"v2"') is tail


def test_rebasing_changes_no_record_in_place():
    record, tail = dict(MADE), a_write(base={"age": 35}, attributes={"age": 40})
    rebase(tail, record, None)
    assert record == MADE
    assert tail.attributes == {"age": 40}
