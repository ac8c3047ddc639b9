"""What happens when a lane's tail meets a new edit: the table of DESIGN §4.5, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.errors import RecordGone, ValidationFailed
from flask_dualstorage.policy.coalescing import Action, Decision, Edit, coalesce, conflicting_fields, edit_of, mends
from flask_dualstorage.policy.values import same
from flask_dualstorage.types import Attributes, Kind, State, Write
from tests.unit.policy.builders import a_write, frozen

BASE = {"id": 7, "name": "Eve", "age": 40}
THEIRS = {"id": 7, "name": "Eva", "age": 40, "city": "Turin"}
GONE = RecordGone
ERROR = ValidationFailed
NOTHING = Decision(Action.NOTHING)
VANISH = Decision(Action.VANISH)


def an_update(**changed: Any) -> Edit:
    """Make an update of somebody who saw the base, and the tail laid over it or not."""
    return Edit(Kind.UPDATE, {**BASE, **changed}, changed, base=BASE, validator='"v1"')


A_DELETE = Edit(Kind.DELETE, base=BASE, validator='"v1"')
A_CREATE = Edit(Kind.CREATE, {"id": 7, "name": "Ada"}, {"id": 7, "name": "Ada"})

TAILS = {
    "create": a_write(Kind.CREATE, attributes={"name": "Ada", "age": 40}),
    "update": a_write(attributes={**BASE, "name": "Ada"}, base=BASE, validator='"v0"'),
    "delete": a_write(Kind.DELETE, base=BASE, validator='"v0"'),
    "conflict update": a_write(
        state=State.CONFLICT, attributes={**BASE, "name": "Ada"}, base=BASE, theirs=THEIRS, validator='"v2"'
    ),
    "rejected update": a_write(
        state=State.REJECTED, attributes={**BASE, "name": "Ada"}, base=BASE, validator='"v0"', problem={"status": 422}
    ),
    "rejected create": a_write(Kind.CREATE, State.REJECTED, attributes={"name": "Ada", "age": 40}),
}


def fold(kind: Kind, attributes: Attributes | None, state: State = State.QUEUED, **rest: Any) -> Decision:
    return Decision(Action.FOLD, Edit(kind, attributes, **rest), state)


# --- the table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edit", [an_update(age=41), A_DELETE, A_CREATE], ids=["update", "delete", "create"])
@pytest.mark.parametrize("folds", [True, False])
def test_an_edit_that_meets_no_tail_is_enqueued_as_it_is(edit: Edit, folds: bool):
    assert coalesce([], edit, fold=folds) == Decision(Action.ENQUEUE, edit)


@pytest.mark.parametrize(
    ("tail", "edit", "becomes"),
    [
        pytest.param(
            "create", an_update(age=41), fold(Kind.CREATE, {"name": "Ada", "age": 41}), id="create + update: fold in"
        ),
        pytest.param("create", A_DELETE, VANISH, id="create + delete: both vanish"),
        pytest.param("create", A_CREATE, ERROR, id="create + create: error"),
        pytest.param(
            "update",
            an_update(age=41),
            fold(Kind.UPDATE, {**BASE, "name": "Ada", "age": 41}, base=BASE, validator='"v0"'),
            id="update + update: merge; keep the earliest base",
        ),
        pytest.param("update", an_update(name="Eve"), VANISH, id="update + update: equal to the base: vanish"),
        pytest.param(
            "update",
            A_DELETE,
            fold(Kind.DELETE, None, base=BASE, validator='"v0"'),
            id="update + delete: becomes delete, earliest base",
        ),
        pytest.param("update", A_CREATE, ERROR, id="update + create: error"),
        pytest.param("delete", an_update(age=41), GONE, id="delete + update: RecordGone"),
        pytest.param("delete", A_DELETE, NOTHING, id="delete + delete: nothing"),
        pytest.param(
            "delete",
            A_CREATE,
            fold(Kind.UPDATE, {"id": 7, "name": "Ada"}, base=BASE, validator='"v0"'),
            id="delete + create: same id: update by difference",
        ),
        pytest.param(
            "delete",
            Edit(Kind.CREATE, BASE, BASE),
            VANISH,
            id="delete + create: the very record: nothing is left to send",
        ),
        pytest.param(
            "conflict update",
            an_update(age=41),
            fold(Kind.UPDATE, {**BASE, "name": "Ada", "age": 41}, State.CONFLICT, base=BASE, validator='"v2"'),
            id="conflict update + update: folds in, stays conflict",
        ),
        pytest.param(
            "conflict update",
            an_update(name="Ava"),
            fold(Kind.UPDATE, {**THEIRS, "name": "Ava"}, base=THEIRS, validator='"v2"'),
            id="conflict update + update: every conflicting field set anew: queued on the current base",
        ),
        pytest.param(
            "conflict update",
            A_DELETE,
            fold(Kind.DELETE, None, base=THEIRS, validator='"v2"'),
            id="conflict update + delete: delete, current base",
        ),
        pytest.param("conflict update", A_CREATE, ERROR, id="conflict update + create: error"),
        pytest.param(
            "rejected update",
            an_update(age=41),
            fold(Kind.UPDATE, {**BASE, "name": "Ada", "age": 41}, base=BASE, validator='"v0"'),
            id="rejected update + update: folds in",
        ),
        pytest.param(
            "rejected update", an_update(name="Eve"), VANISH, id="rejected update + update: equal to the base: vanish"
        ),
        pytest.param(
            "rejected update",
            A_DELETE,
            fold(Kind.DELETE, None, base=BASE, validator='"v0"'),
            id="rejected update + delete: delete",
        ),
        pytest.param("rejected update", A_CREATE, ERROR, id="rejected update + create: error"),
        pytest.param(
            "rejected create",
            an_update(name="Ada L."),
            fold(Kind.CREATE, {"name": "Ada L.", "age": 40}),
            id="rejected create + update: folds in",
        ),
        pytest.param("rejected create", A_DELETE, VANISH, id="rejected create + delete: both vanish"),
        pytest.param("rejected create", A_CREATE, ERROR, id="rejected create + create: error"),
    ],
)
def test_a_tail_not_yet_sent_meets_a_new_edit(tail: str, edit: Edit, becomes: Any):
    if becomes in (GONE, ERROR):
        with pytest.raises(becomes):
            coalesce([TAILS[tail]], edit)
    else:
        assert coalesce([TAILS[tail]], edit) == becomes


def test_the_error_says_what_to_do_instead():
    with pytest.raises(ValidationFailed, match="save"):
        coalesce([TAILS["update"]], A_CREATE)
    with pytest.raises(RecordGone, match="discard that delete"):
        coalesce([TAILS["delete"]], an_update(age=41))


# --- two tabs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["update", "rejected update", "create"])
def test_an_edit_from_a_tab_that_did_not_see_the_tail_keeps_what_the_tail_set(tail: str):
    """Its whole record still has the old name; only what it changed is merged."""
    blind = Edit(Kind.UPDATE, {**BASE, "age": 41}, {"age": 41}, base=BASE)
    decision = coalesce([TAILS[tail]], blind)
    assert decision.edit is not None
    assert decision.edit.attributes is not None
    assert (decision.edit.attributes["name"], decision.edit.attributes["age"]) == ("Ada", 41)


def test_of_two_tabs_that_set_one_field_the_later_one_has_it():
    decision = coalesce([TAILS["update"]], an_update(name="Ava"))
    assert decision == fold(Kind.UPDATE, {**BASE, "name": "Ava"}, base=BASE, validator='"v0"')


def test_a_tab_that_saves_what_it_did_not_change_changes_nothing():
    decision = coalesce([TAILS["update"]], Edit(Kind.UPDATE, BASE, {}, base=BASE))
    assert decision == fold(Kind.UPDATE, TAILS["update"].attributes, base=BASE, validator='"v0"')


# --- vanishing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "attributes", "changed", "vanishes"),
    [
        pytest.param({"a": 1}, {"a": 2}, {"a": 1}, True, id="set back"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 3}, False, id="set on"),
        pytest.param({"a": 1}, {"a": 2}, {"a": True}, False, id="True is not 1"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 1, "b": None}, False, id="a new field, though null"),
        pytest.param(
            {"a": 1, "b": 2}, {"a": 2}, {"a": 1}, False, id="a field that was left out is still to be taken out"
        ),
        pytest.param(None, {"a": 2}, {"a": 1}, False, id="no base is known, so nothing equals it"),
        pytest.param({"a": {"x": 1}}, {"a": {"x": 2}}, {"a": {"x": 1}}, True, id="set back at depth"),
    ],
)
def test_an_update_vanishes_iff_what_is_wanted_equals_its_base(
    base: Any, attributes: Any, changed: Any, vanishes: bool
):
    tail = a_write(base=base, attributes=attributes)
    edit = Edit(Kind.UPDATE, {**attributes, **changed}, changed)
    assert (coalesce([tail], edit) == VANISH) is vanishes


def test_a_create_never_vanishes_by_an_update():
    tail = a_write(Kind.CREATE, attributes={"name": "Ada"})
    assert coalesce([tail], an_update(name="Ada")).action is Action.FOLD


@pytest.mark.parametrize(("tail", "edit", "patch"), [(True, True, True), (True, False, False), (False, True, False)])
def test_a_merged_update_is_sent_as_a_patch_only_if_both_were(tail: bool, edit: bool, patch: bool):
    write = TAILS["update"]._replace(patch=tail)
    decision = coalesce([write], an_update(age=41)._replace(patch=edit))
    assert decision.edit is not None
    assert decision.edit.patch is patch


# --- a frozen head -------------------------------------------------------------------------------------------

FROZEN_STATES = [State.SENDING, State.IN_DOUBT, State.QUEUED]


def heads(kind: Kind) -> list[Write]:
    return [TAILS[kind.value]._replace(state=state, **frozen()) for state in FROZEN_STATES]


@pytest.mark.parametrize("head", heads(Kind.CREATE) + heads(Kind.UPDATE), ids=lambda head: f"{head.kind} {head.state}")
@pytest.mark.parametrize("folds", [True, False])
class TestAFrozenHead:
    """The same key always carries the same bytes, so an edit beside it makes a tail."""

    def test_an_update_becomes_a_tail_on_what_the_head_will_have_made(self, head: Write, folds: bool):
        assert head.attributes is not None
        decision = coalesce([head], an_update(age=41), fold=folds)
        tail = Edit(Kind.UPDATE, {**head.attributes, "age": 41}, base=head.attributes)
        assert decision == Decision(Action.ENQUEUE, tail)

    def test_a_delete_becomes_a_tail_and_nothing_vanishes(self, head: Write, folds: bool):
        decision = coalesce([head], A_DELETE, fold=folds)
        assert decision == Decision(Action.ENQUEUE, Edit(Kind.DELETE, base=head.attributes))

    def test_a_create_is_an_error(self, head: Write, folds: bool):
        with pytest.raises(ValidationFailed):
            coalesce([head], A_CREATE, fold=folds)


@pytest.mark.parametrize("head", heads(Kind.DELETE), ids=lambda head: head.state)
class TestAFrozenDelete:
    def test_an_update_finds_the_record_gone(self, head: Write):
        with pytest.raises(RecordGone):
            coalesce([head], an_update(age=41))

    def test_another_delete_is_nothing(self, head: Write):
        assert coalesce([head], A_DELETE) == NOTHING

    def test_a_create_of_the_id_comes_behind_it(self, head: Write):
        decision = coalesce([head], A_CREATE)
        assert decision == Decision(Action.ENQUEUE, Edit(Kind.CREATE, A_CREATE.attributes))


def test_an_update_that_asks_for_what_a_frozen_head_will_have_made_is_nothing():
    head = TAILS["update"]._replace(**frozen())
    assert coalesce([head], an_update(name="Ada")) == NOTHING


def test_behind_a_frozen_head_edits_meet_the_tail_alone():
    head = TAILS["update"]._replace(state=State.IN_DOUBT, **frozen())
    tail = a_write(base=head.attributes, attributes={**BASE, "name": "Ada", "age": 41})
    assert coalesce([head, tail], an_update(age=40)) == VANISH
    assert coalesce([head, tail], A_DELETE) == fold(Kind.DELETE, None, base=head.attributes)
    assert coalesce([head, tail], an_update(age=42)).edit == Edit(
        Kind.UPDATE, {**BASE, "name": "Ada", "age": 42}, base=head.attributes
    )


def test_a_create_behind_a_frozen_delete_can_be_taken_back():
    head = TAILS["delete"]._replace(state=State.SENDING, **frozen())
    tail = a_write(Kind.CREATE)
    assert coalesce([head, tail], A_DELETE) == VANISH


# --- fold=False: every write kept ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "edit", "behind"),
    [
        pytest.param(
            "create",
            an_update(age=41),
            Edit(Kind.UPDATE, {"name": "Ada", "age": 41}, base={"name": "Ada", "age": 40}),
            id="create + update",
        ),
        pytest.param("create", A_DELETE, Edit(Kind.DELETE, base={"name": "Ada", "age": 40}), id="create + delete"),
        pytest.param(
            "update",
            an_update(age=41),
            Edit(Kind.UPDATE, {**BASE, "name": "Ada", "age": 41}, base={**BASE, "name": "Ada"}),
            id="update + update",
        ),
        pytest.param(
            "update",
            an_update(name="Eve"),
            Edit(Kind.UPDATE, BASE, base={**BASE, "name": "Ada"}),
            id="update + update: set back, and both are sent",
        ),
        pytest.param(
            "update",
            an_update(name="Ada"),
            Edit(Kind.UPDATE, {**BASE, "name": "Ada"}, base={**BASE, "name": "Ada"}),
            id="update + update: the same command twice is two commands",
        ),
        pytest.param("update", A_DELETE, Edit(Kind.DELETE, base={**BASE, "name": "Ada"}), id="update + delete"),
        pytest.param("delete", A_CREATE, Edit(Kind.CREATE, A_CREATE.attributes), id="delete + create"),
    ],
)
def test_without_folding_every_write_is_kept(tail: str, edit: Edit, behind: Edit):
    assert coalesce([TAILS[tail]], edit, fold=False) == Decision(Action.ENQUEUE, behind)


@pytest.mark.parametrize("tail", ["conflict update", "rejected update", "rejected create"])
def test_without_folding_what_was_refused_can_still_be_put_right(tail: str):
    assert coalesce([TAILS[tail]], an_update(age=41), fold=False).action is Action.FOLD


def test_without_folding_a_second_delete_is_still_nothing():
    assert coalesce([TAILS["delete"]], A_DELETE, fold=False) == NOTHING


# --- conflicts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        pytest.param({"name": "Ava", "age": 43}, State.QUEUED, id="both conflicting fields"),
        pytest.param({"name": "Ava", "age": 43, "city": "Rome"}, State.QUEUED, id="both, and another"),
        pytest.param({"name": "Ava"}, State.CONFLICT, id="one of two"),
        pytest.param({"city": "Rome"}, State.CONFLICT, id="none of them"),
        pytest.param({}, State.CONFLICT, id="nothing at all"),
    ],
)
def test_a_conflict_stays_one_unless_every_conflicting_field_was_set_anew(changed: Attributes, state: State):
    tail = a_write(
        state=State.CONFLICT,
        base={"name": "Eve", "age": 40},
        attributes={"name": "Ada", "age": 41},
        theirs={"name": "Eva", "age": 42, "note": "!"},
        validator='"v2"',
    )
    decision = coalesce([tail], Edit(Kind.UPDATE, {**tail.attributes, **changed}, changed))
    assert decision.state is state
    assert decision.edit is not None
    if state is State.QUEUED:
        assert decision.edit.base == tail.theirs
        assert decision.edit.attributes == {**tail.theirs, **changed}
    else:
        assert decision.edit.base == tail.base
        assert decision.edit.attributes == {**tail.attributes, **changed}
    assert decision.edit.validator == '"v2"'


def test_what_only_one_side_changed_is_combined_when_the_conflict_is_settled():
    tail = a_write(
        state=State.CONFLICT,
        base={"name": "Eve", "age": 40, "city": "Rome"},
        attributes={"name": "Ada", "age": 41, "city": "Rome"},
        theirs={"name": "Eva", "age": 40, "city": "Turin"},
    )
    decision = coalesce([tail], Edit(Kind.UPDATE, {**tail.attributes, "name": "Ava"}, {"name": "Ava"}))
    assert decision == fold(Kind.UPDATE, {"name": "Ava", "age": 41, "city": "Turin"}, base=tail.theirs)


def test_so_is_what_each_side_changed_within_one_object():
    tail = a_write(
        state=State.CONFLICT,
        base={"name": "Eve", "address": {"city": "Rome", "zip": "1"}},
        attributes={"name": "Ada", "address": {"city": "Turin", "zip": "1"}},
        theirs={"name": "Eva", "address": {"city": "Rome", "zip": "2"}},
    )
    decision = coalesce([tail], Edit(Kind.UPDATE, {**tail.attributes, "name": "Ava"}, {"name": "Ava"}))
    wanted = {"name": "Ava", "address": {"city": "Turin", "zip": "2"}}
    assert decision == fold(Kind.UPDATE, wanted, base=tail.theirs)


def test_a_field_that_one_side_deleted_and_the_other_changed_is_open():
    base, left_out = {"name": "Eve", "age": 40}, {"name": "Eve"}
    assert conflicting_fields(base, left_out, {**base, "age": 41}) == {"age"}
    assert conflicting_fields(base, {**base, "age": 41}, left_out) == {"age"}


def test_a_conflict_with_a_record_deleted_upstream_stays_until_it_is_decided():
    tail = TAILS["conflict update"]._replace(theirs=None)
    decision = coalesce([tail], an_update(name="Ava", age=1))
    assert decision.state is State.CONFLICT
    assert coalesce([tail], A_DELETE) == fold(Kind.DELETE, None, validator='"v2"')


def test_a_create_that_met_a_record_of_its_id_becomes_an_update_of_it():
    tail = a_write(Kind.CREATE, State.CONFLICT, attributes={"id": 7, "name": "Ada"}, theirs={"id": 7, "name": "Eve"})
    decision = coalesce([tail], Edit(Kind.UPDATE, {"id": 7, "name": "Ava"}, {"name": "Ava"}))
    assert decision == fold(Kind.UPDATE, {"id": 7, "name": "Ava"}, base={"id": 7, "name": "Eve"})


@pytest.mark.parametrize(
    ("state", "base", "validator"),
    [(State.REJECTED, BASE, '"v0"'), (State.CONFLICT, THEIRS, '"v0"')],
)
def test_a_refused_delete_given_again_is_a_delete_on_what_is_there_now(state: State, base: Attributes, validator: str):
    tail = TAILS["delete"]._replace(state=state, theirs=THEIRS if state is State.CONFLICT else None)
    assert coalesce([tail], A_DELETE) == fold(Kind.DELETE, None, base=base, validator=validator)


@pytest.mark.parametrize(
    ("base", "mine", "theirs", "fields"),
    [
        pytest.param({"a": 1}, {"a": 2}, {"a": 3}, {"a"}, id="both changed it"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 2}, set(), id="both to the same value"),
        pytest.param({"a": 1}, {"a": 2}, {"a": 1}, set(), id="only I changed it"),
        pytest.param({"a": 1}, {"a": 1}, {"a": 2}, set(), id="only they changed it"),
        pytest.param({}, {"a": 1}, {"a": True}, {"a"}, id="both added it; True is not 1"),
        pytest.param(None, {"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a"}, id="no base: all that differs"),
        pytest.param({"a": 1}, {"a": 2}, None, set(), id="it is gone"),
    ],
)
def test_a_field_conflicts_where_both_sides_changed_it_and_not_to_the_same(
    base: Any, mine: Any, theirs: Any, fields: set[str]
):
    assert conflicting_fields(base, mine, theirs) == fields


# --- a write as an edit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "changed"),
    [("update", {"name": "Ada"}), ("create", {"name": "Ada", "age": 40}), ("delete", None)],
)
def test_a_write_is_the_edit_that_made_it(tail: str, changed: Any):
    write = TAILS[tail]._replace(patch=True)
    assert edit_of(write) == Edit(
        write.kind, write.attributes, changed, base=write.base, validator=write.validator, patch=True
    )


def test_a_write_that_joins_another_lane_brings_only_what_it_changed():
    """As when a visitor's edits follow them into their account (``adopt``)."""
    theirs = a_write(base=BASE, attributes={**BASE, "age": 41})
    assert coalesce([TAILS["update"]], edit_of(theirs)).edit == Edit(
        Kind.UPDATE, {**BASE, "name": "Ada", "age": 41}, base=BASE, validator='"v0"'
    )


# --- undelete ------------------------------------------------------------------------------------------------


def test_an_undelete_without_a_known_base_sends_the_whole_record():
    tail = a_write(Kind.DELETE, base=None)
    assert coalesce([tail], A_CREATE) == fold(Kind.UPDATE, A_CREATE.attributes)


def test_an_undelete_of_a_conflicting_delete_is_on_what_the_upstream_holds_now():
    tail = TAILS["delete"]._replace(state=State.CONFLICT, theirs=THEIRS, validator='"v2"')
    assert coalesce([tail], A_CREATE) == fold(Kind.UPDATE, A_CREATE.attributes, base=THEIRS, validator='"v2"')


# --- sequences -----------------------------------------------------------------------------------------------


class Lane:
    """A lane as the outbox keeps it, for edits made one after another on what the owner sees."""

    def __init__(self, base: Attributes | None, writes: list[Write]) -> None:
        self.base = base
        self.writes = writes

    @property
    def shown(self) -> Attributes | None:
        """What the record is once everything is applied."""
        record = self.base
        for write in self.writes:
            record = None if write.kind is Kind.DELETE else write.attributes
        return record

    def give(self, edit: Edit, *, folds: bool = True) -> Action:
        decision = coalesce(self.writes, edit, fold=folds)
        match decision.action:
            case Action.ENQUEUE:
                assert decision.edit is not None
                self.writes.append(_written(decision.edit))
            case Action.FOLD:
                assert decision.edit is not None
                self.writes[-1] = _written(decision.edit)
            case Action.VANISH:
                self.writes.pop()
            case Action.NOTHING:
                pass
        return decision.action


def _written(edit: Edit) -> Write:
    return a_write(edit.kind, attributes=edit.attributes, base=edit.base, validator=edit.validator, patch=edit.patch)


_fields = st.dictionaries(st.sampled_from("abc"), st.integers(0, 2) | st.booleans(), max_size=3)
_edits = st.lists(st.tuples(st.sampled_from(Kind), _fields), max_size=12)


def _edit(kind: Kind, fields: Attributes, shown: Attributes | None, base: Attributes | None) -> Edit | None:
    """Make an edit that an owner who sees ``shown`` can make; None where there is nothing to edit, or already one."""
    if (kind is Kind.CREATE) is not (shown is None):
        return None
    if kind is Kind.DELETE:
        return Edit(kind, base=base)
    return Edit(kind, {**(shown or {}), **fields}, fields, base=base)


@pytest.mark.parametrize("folds", [True, False])
@given(base=st.none() | _fields, edits=_edits)
def test_edits_folded_step_by_step_make_the_record_that_they_make_one_after_another(
    folds: bool, base: Attributes | None, edits: list[tuple[Kind, Attributes]]
):
    lane, wanted = Lane(base, []), base
    for kind, fields in edits:
        edit = _edit(kind, fields, wanted, base)
        if edit is not None:
            lane.give(edit, folds=folds)
            wanted = edit.attributes
        assert same(lane.shown, wanted)


@given(base=st.none() | _fields, edits=_edits)
def test_an_unfrozen_lane_holds_at_most_one_write_and_it_keeps_the_earliest_base(
    base: Attributes | None, edits: list[tuple[Kind, Attributes]]
):
    lane = Lane(base, [])
    for kind, fields in edits:
        edit = _edit(kind, fields, lane.shown, lane.shown)
        action = None if edit is None else lane.give(edit)
        assert len(lane.writes) <= 1
        for write in lane.writes:
            assert write.kind is Kind.CREATE or same(write.base, base)
            assert action is not Action.FOLD or not same(write.attributes, write.base)


@given(base=st.none() | _fields, head=_fields, edits=_edits)
def test_beside_a_frozen_head_there_is_at_most_one_tail_and_the_head_is_never_touched(
    base: Attributes | None, head: Attributes, edits: list[tuple[Kind, Attributes]]
):
    kind = Kind.CREATE if base is None else Kind.UPDATE
    first = a_write(kind, base=base, attributes={**(base or {}), **head}, state=State.SENDING, **frozen())
    lane = Lane(base, [first])
    wanted = lane.shown
    for kind, fields in edits:
        edit = _edit(kind, fields, wanted, base)
        if edit is not None:
            lane.give(edit)
            wanted = edit.attributes
        assert lane.writes[0] is first
        assert len(lane.writes) <= 2
        assert same(lane.shown, wanted)


@given(base=_fields, tail=_fields, edits=st.lists(_fields, max_size=6))
def test_without_folding_each_edit_is_one_write_more(base: Attributes, tail: Attributes, edits: list[Attributes]):
    lane = Lane(base, [a_write(base=base, attributes={**base, **tail})])
    for number, fields in enumerate(edits, 2):
        lane.give(Edit(Kind.UPDATE, {**(lane.shown or {}), **fields}, fields, base=base), folds=False)
        assert len(lane.writes) == number


# --- lanes whose writes could not fold: the tail refers to a record made later than the create ----------------

CREATE, APART = TAILS["create"], TAILS["update"]


@pytest.mark.parametrize("head", [CREATE, TAILS["rejected create"]], ids=["queued", "rejected"])
def test_a_delete_takes_the_create_along_from_behind_what_stands_apart(head: Write):
    assert coalesce([head, APART], A_DELETE) == Decision(Action.VANISH, at=-2)


@pytest.mark.parametrize(
    ("lane", "folds"),
    [
        pytest.param([CREATE._replace(**frozen()), APART], True, id="the create may be upstream"),
        pytest.param([CREATE, APART], False, id="every write is kept"),
    ],
)
def test_but_not_where_it_has_to_be_sent(lane: list[Write], folds: bool):
    assert coalesce(lane, A_DELETE, fold=folds).action is not Action.VANISH


@pytest.mark.parametrize(
    ("lane", "edit", "says"),
    [
        pytest.param([TAILS["rejected create"], APART], an_update(age=41), True, id="a refused create"),
        pytest.param([TAILS["conflict update"], APART], an_update(age=41), True, id="a conflict"),
        pytest.param([TAILS["rejected create"]], an_update(age=41), False, id="alone it is the tail"),
        pytest.param([CREATE, APART], an_update(age=41), False, id="it was not refused"),
        pytest.param(
            [TAILS["rejected create"], APART._replace(**frozen())], an_update(age=41), False, id="the tail is fixed"
        ),
        pytest.param([TAILS["rejected update"], TAILS["delete"]], an_update(age=41), False, id="it is deleted"),
        pytest.param([TAILS["rejected create"], APART], A_DELETE, False, id="a delete corrects nothing"),
    ],
)
def test_an_edit_mends_a_refused_head_past_what_stands_apart(lane: list[Write], edit: Edit, says: bool):
    assert mends(lane, edit) is says
