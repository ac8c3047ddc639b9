"""What a policy decides about a write in conflict: sent again, given up, applied already, or its owner's."""

from __future__ import annotations

from typing import Any

import pytest

from flask_dualstorage.policy.conflicts import MOST_MERGES, BadDecision, clashes_of, judge, merges_of, with_mine
from flask_dualstorage.policy.merging import Conflict
from flask_dualstorage.policy.settling import Rules, applied, transition
from flask_dualstorage.types import Attributes, Kind, Meaning, Outcome, State, Verdict, Way, Write
from tests.unit.policy.builders import NOON, a_write, frozen, temp_id

BASE = {"id": 7, "name": "Eve", "age": 36}
MINE = {**BASE, "age": 37}
OTHER_FIELD = {**BASE, "name": "Eva"}
SAME_FIELD = {**BASE, "age": 38}
WRITES = {
    "update": a_write(attributes=MINE, base=BASE, validator='"v1"'),
    "delete": a_write(Kind.DELETE, base=BASE, validator='"v1"'),
    "create": a_write(Kind.CREATE, attributes=MINE),
}
AGAIN, DROP, APPLIED, OWNER = Way.AGAIN, Way.DROP, Way.APPLIED, Way.OWNER


def decide(policy: Any, write: Write, theirs: Attributes | None, validator: str | None = '"v2"') -> Verdict:
    return judge(policy, write, theirs, validator, "id", 1000)


@pytest.mark.parametrize(
    ("name", "theirs", "ways"),
    [
        # In the order of: merge, client, server, manual.
        ("update", OTHER_FIELD, (AGAIN, AGAIN, AGAIN, OWNER)),
        ("update", SAME_FIELD, (OWNER, AGAIN, DROP, OWNER)),
        ("update", MINE, (APPLIED, APPLIED, APPLIED, OWNER)),
        ("update", None, (OWNER, OWNER, DROP, OWNER)),
        ("delete", OTHER_FIELD, (OWNER, AGAIN, DROP, OWNER)),
        ("delete", BASE, (AGAIN, AGAIN, AGAIN, OWNER)),
        ("create", OTHER_FIELD, (OWNER, AGAIN, DROP, OWNER)),
        ("create", None, (OWNER, OWNER, OWNER, OWNER)),
    ],
)
def test_each_policy_has_a_word_for_each_case(name: str, theirs: Attributes | None, ways: tuple[Way, ...]):
    policies = ("merge", "client", "server", "manual")
    assert tuple(decide(policy, WRITES[name], theirs).way for policy in policies) == ways


@pytest.mark.parametrize(
    ("name", "policy", "theirs", "kind", "wanted"),
    [
        ("update", "merge", OTHER_FIELD, Kind.UPDATE, {**OTHER_FIELD, "age": 37}),
        ("update", "client", SAME_FIELD, Kind.UPDATE, MINE),
        ("delete", "client", OTHER_FIELD, Kind.DELETE, None),
        ("create", "client", {**OTHER_FIELD, "city": "Rome"}, Kind.UPDATE, {**MINE, "city": "Rome"}),
    ],
)
def test_what_goes_again_is_on_theirs(name: str, policy: str, theirs: Attributes, kind: Kind, wanted: Any):
    verdict = decide(policy, WRITES[name], theirs)
    assert (verdict.kind, verdict.wanted) == (kind, wanted)


@pytest.mark.parametrize("name", ["update", "delete"])
@pytest.mark.parametrize(("validator", "way"), [('"v1"', OWNER), ('"v2"', AGAIN)])
def test_the_same_request_is_not_sent_again(name: str, validator: str, way: Way):
    """The same record under the same version: it was refused for another reason."""
    assert decide("merge", WRITES[name], BASE, validator).way is way


def test_it_is_not_combined_for_ever():
    write = WRITES["update"]
    for count in range(MOST_MERGES):
        assert merges_of(write) == count
        outcome = Outcome(Meaning.CONFLICT, 412, record=OTHER_FIELD, verdict=decide("merge", write, OTHER_FIELD))
        again = transition(sending(write), outcome, Rules("auto", False, 8), now=NOON, jitter=0.0)
        write = a_write(attributes=MINE, base=BASE, validator='"v1"', problem=again.problem)
    assert decide("merge", write, OTHER_FIELD).way is OWNER


def test_a_create_under_a_temporary_id_is_its_owners():
    write = a_write(Kind.CREATE, record_id=temp_id(1), attributes={"id": "x", "name": "Ada"})
    assert decide("client", write, {"id": "x", "name": "Eve"}).way is OWNER


@pytest.mark.parametrize(
    ("name", "decided", "theirs", "way", "kind"),
    [
        ("update", {**BASE, "age": 50}, SAME_FIELD, AGAIN, Kind.UPDATE),
        ("update", SAME_FIELD, SAME_FIELD, DROP, None),
        ("update", {"age": 50}, SAME_FIELD, AGAIN, Kind.UPDATE),
        ("update", MINE, None, AGAIN, Kind.CREATE),
        ("update", None, None, DROP, None),
        ("delete", None, SAME_FIELD, AGAIN, Kind.DELETE),
        ("delete", SAME_FIELD, SAME_FIELD, DROP, None),
        ("update", Conflict, SAME_FIELD, OWNER, None),
    ],
)
def test_a_callable_says_what_the_record_shall_be(
    name: str, decided: Any, theirs: Attributes | None, way: Way, kind: Kind | None
):
    verdict = decide(lambda *_: decided, WRITES[name], theirs)
    assert verdict.way is way
    if kind is not None:
        assert (verdict.kind, (verdict.wanted or {}).get("id", 7)) == (kind, 7)


@pytest.mark.parametrize("decided", [None, {"id": 8}])
def test_what_a_callable_may_not_say(decided: Any):
    with pytest.raises(BadDecision):
        decide(lambda *_: decided, WRITES["update"], SAME_FIELD)


def test_a_callable_can_change_none_of_the_sides():
    def spoil(*sides: Any) -> Any:
        for side in sides:
            side["age"] = 0
        return Conflict

    decide(spoil, WRITES["update"], SAME_FIELD)
    assert (BASE["age"], MINE["age"], SAME_FIELD["age"]) == (36, 37, 38)


# --- what becomes of the write ---------------------------------------------------------------------------------


def sending(write: Write) -> Write:
    return a_write(
        write.kind,
        State.SENDING,
        attributes=write.attributes,
        base=write.base,
        validator=write.validator,
        problem=write.problem,
        **frozen(),
    )


def after(verdict: Verdict | None, theirs: Attributes | None = OTHER_FIELD) -> Write:
    outcome = Outcome(
        Meaning.CONFLICT,
        412,
        record=theirs,
        validator='"v2"',
        reason="Stale.",
        problem={"status": 412},
        verdict=verdict,
    )
    return transition(sending(WRITES["update"]), outcome, Rules("auto", False, 8), now=NOON, jitter=0.0)


def test_sent_again_it_is_a_new_request_on_the_new_version():
    wanted = {**OTHER_FIELD, "age": 37}
    now = after(Verdict(Way.AGAIN, Kind.UPDATE, wanted))
    assert (now.state, now.key, now.frozen, now.not_before) == (State.QUEUED, None, False, 0.0)
    assert (now.attributes, now.base, now.validator, now.theirs) == (wanted, OTHER_FIELD, '"v2"', None)
    assert merges_of(now) == 1


def test_the_count_outlives_an_outage_in_between():
    now = sending(after(Verdict(Way.AGAIN, Kind.UPDATE, MINE)))
    away = Outcome(Meaning.UNREACHABLE, unsent=True, reason="Refused.")
    assert merges_of(transition(now, away, Rules("auto", False, 8), now=NOON, jitter=0.0)) == 1


def test_given_up_it_keeps_what_it_wanted():
    now = after(Verdict(Way.DROP, reason="Theirs."))
    assert (now.state, now.attributes, now.theirs, now.reason) == (State.DISCARDED, MINE, OTHER_FIELD, "Theirs.")


def test_its_owners_it_says_why():
    assert after(Verdict(Way.OWNER, reason="Both.")).reason == "Stale. Both."
    assert after(None).state is State.CONFLICT


def test_what_a_merge_gave_up_stays_with_the_applied_write():
    lost = {"path": ["age"], "base": 36, "mine": 37, "theirs": 38}
    now = after(Verdict(Way.AGAIN, Kind.UPDATE, SAME_FIELD, (lost,)))
    done = applied(now, Outcome(Meaning.APPLIED, 200, record=SAME_FIELD), settled_seq=1, now=NOON)
    assert (done.problem or {})["given_up"] == [lost]
    plain = after(Verdict(Way.AGAIN, Kind.UPDATE, MINE))
    assert applied(plain, Outcome(Meaning.APPLIED, 200, record=MINE), settled_seq=1, now=NOON).problem is None


# --- for the owner ---------------------------------------------------------------------------------------------


def test_what_clashes_is_named_where_both_have_a_record():
    conflict = a_write(state=State.CONFLICT, attributes=MINE, base=BASE, theirs=SAME_FIELD)
    assert [clash.path for clash in clashes_of(conflict)] == [("age",)]
    assert clashes_of(a_write(Kind.DELETE, State.CONFLICT, base=BASE, theirs=SAME_FIELD)) == ()


@pytest.mark.parametrize(
    ("write", "sent"),
    [
        (a_write(attributes=MINE, base=BASE, theirs=OTHER_FIELD), (Kind.UPDATE, {**OTHER_FIELD, "age": 37})),
        (a_write(attributes=MINE, base=BASE, theirs=None), (Kind.CREATE, MINE)),
        (a_write(Kind.DELETE, base=BASE, theirs=OTHER_FIELD), (Kind.DELETE, None)),
    ],
)
def test_mine_is_put_on_theirs(write: Write, sent: Any):
    assert with_mine(write) == sent
