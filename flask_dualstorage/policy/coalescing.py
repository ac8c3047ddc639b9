"""What happens when a lane's tail, not yet sent, meets a new edit (DESIGN §4.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from ..errors import RecordGone, ValidationFailed
from ..types import Attributes, Kind, State, Write
from .merging import ByKey, Policy, left_to_owner, merge
from .values import changes, same


class Action(StrEnum):
    """What to do with the lane."""

    #: Put a new write at the lane's end.
    ENQUEUE = "enqueue"
    #: Rewrite the tail.
    FOLD = "fold"
    #: Discard the tail: nothing of it is ever sent.
    VANISH = "vanish"
    #: Leave all as it is.
    NOTHING = "nothing"


class Edit(NamedTuple):
    """What one call wants: ``attributes`` the whole record, ``changed`` the fields this call set.

    ``given`` is what it was handed, changed or not: a form sent twice is told by it.
    ``base`` and ``validator`` are what the caller knew of the upstream's record.
    """

    kind: Kind
    attributes: Attributes | None = None
    changed: Attributes | None = None
    given: Attributes | None = None
    base: Attributes | None = None
    validator: str | None = None
    patch: bool = False


class Decision(NamedTuple):
    """What becomes of the lane: ``edit`` is what the new or the rewritten write holds, in ``state``."""

    action: Action
    edit: Edit | None = None
    state: State = State.QUEUED
    #: Which write of the lane vanishes: a create takes along those behind it.
    at: int = -1


NOTHING = Decision(Action.NOTHING)
VANISH = Decision(Action.VANISH)


def edit_of(write: Write) -> Edit:
    """Give the edit that a write is, for it to join another lane's tail."""
    changed = None if write.attributes is None else changes(write.base, write.attributes)
    return Edit(write.kind, write.attributes, changed, base=write.base, validator=write.validator, patch=write.patch)


def coalesce(
    lane: Sequence[Write], edit: Edit, *, fold: bool = True, apart: bool = False, policy: Policy = "merge"
) -> Decision:
    """Decide how ``edit`` joins ``lane``, the unsettled writes of its record in order.

    ``fold=False`` keeps every write (``coalesce = False`` on the collection), but for those that were refused.
    ``apart`` never folds: the edit refers to a record made later than the tail, so that the two would wait for each
    other. ``policy`` is the collection's for conflicts. Raises ``RecordGone`` for a deleted record and
    ``ValidationFailed`` for a second create of one id.
    """
    if not lane:
        return Decision(Action.ENQUEUE, edit)
    tail = lane[-1]
    if edit.kind is Kind.CREATE and tail.kind is not Kind.DELETE:
        raise ValidationFailed({"id": f"There is a record {tail.record_id!r} already; save() it instead."})
    if tail.kind is Kind.DELETE and edit.kind is Kind.UPDATE:
        raise RecordGone(f"The record {tail.record_id!r} was deleted here; discard that delete to edit it again.")
    if tail.kind is Kind.DELETE and edit.kind is Kind.DELETE:
        return _delete_again(tail)
    unsent = _unsent_create(lane) if edit.kind is Kind.DELETE else None
    if unsent is not None and (fold or _refused(lane[unsent])):
        return Decision(Action.VANISH, at=unsent)
    if tail.frozen or apart or not (fold or _refused(tail)):
        return _behind(tail, edit, fold)
    return _fold(tail, edit, policy)


def _unsent_create(lane: Sequence[Write]) -> int | None:
    """Give the place, from the end, of the create that nothing was sent of, nor of what stands behind it apart."""
    for place in range(-1, -len(lane) - 1, -1):
        if lane[place].frozen:
            return None
        if lane[place].kind is Kind.CREATE:
            return place
    return None


def mends(lane: Sequence[Write], edit: Edit) -> bool:
    """Say whether an edit is of a head that was refused, although others that could not fold stand behind it."""
    behind = lane[1:]
    waits = all(write.kind is Kind.UPDATE and not write.frozen for write in behind)
    return edit.kind is Kind.UPDATE and bool(behind) and _refused(lane[0]) and waits


def _refused(tail: Write) -> bool:
    return tail.state in (State.CONFLICT, State.REJECTED)


def _delete_again(tail: Write) -> Decision:
    if not _refused(tail):
        return NOTHING
    base, validator = _current(tail)
    return Decision(Action.FOLD, Edit(Kind.DELETE, base=base, validator=validator))


def _behind(tail: Write, edit: Edit, fold: bool) -> Decision:
    """Make a tail behind a frozen head: its base is what the head will have made, until the answer tells.

    With ``fold=False`` the same edit again is a write of its own: a command given twice.
    """
    if edit.kind is not Kind.UPDATE:
        return Decision(Action.ENQUEUE, Edit(edit.kind, edit.attributes, base=tail.attributes))
    wanted = {**(tail.attributes or {}), **(edit.changed or {})}
    if fold and same(wanted, tail.attributes):
        return NOTHING
    return Decision(Action.ENQUEUE, Edit(Kind.UPDATE, wanted, base=tail.attributes, patch=edit.patch))


def _fold(tail: Write, edit: Edit, policy: Policy) -> Decision:
    if edit.kind is Kind.DELETE:
        base, validator = _current(tail)
        return Decision(Action.FOLD, Edit(Kind.DELETE, base=base, validator=validator))
    if tail.kind is Kind.DELETE:
        return _undelete(tail, edit)
    wanted = {**(tail.attributes or {}), **(edit.changed or {})}
    if tail.kind is Kind.UPDATE and tail.state is not State.CONFLICT:
        return _updated(tail, wanted, edit)
    if tail.state is State.CONFLICT:
        return _conflicting(tail, wanted, edit, policy)
    return Decision(Action.FOLD, Edit(Kind.CREATE, wanted))


def _undelete(tail: Write, edit: Edit) -> Decision:
    """A create of the id whose delete still waits: the record stays, changed by the difference."""
    base, validator = _current(tail)
    if base is not None and same(base, edit.attributes):
        return VANISH
    return Decision(Action.FOLD, Edit(Kind.UPDATE, edit.attributes, base=base, validator=validator))


def _updated(tail: Write, wanted: Attributes, edit: Edit) -> Decision:
    if tail.base is not None and same(tail.base, wanted):
        return VANISH
    patch = tail.patch and edit.patch
    return Decision(Action.FOLD, Edit(Kind.UPDATE, wanted, base=tail.base, validator=tail.validator, patch=patch))


def _conflicting(tail: Write, wanted: Attributes, edit: Edit, policy: Policy) -> Decision:
    """Every conflicting field set anew settles a conflict; anything less only adds to it."""
    open_fields = conflicting_fields(tail.base, tail.attributes or {}, tail.theirs, policy)
    if tail.theirs is None or not open_fields <= set(edit.changed or ()):
        kept = Edit(tail.kind, wanted, base=tail.base, validator=tail.validator, patch=tail.patch)
        return Decision(Action.FOLD, kept, State.CONFLICT)
    mine = merge(tail.base, wanted, tail.theirs, _set_anew(policy, edit.changed or {})).record
    return Decision(Action.FOLD, Edit(Kind.UPDATE, mine, base=tail.theirs, validator=tail.validator, patch=edit.patch))


def _set_anew(policy: Policy, changed: Attributes) -> Policy:
    """Give the policy for a record whose fields ``changed`` the owner has just set: those are decided by that."""
    left = left_to_owner(policy)
    by_field = left if isinstance(left, Mapping) else {"*": left}
    return {**by_field, **{name: "client" for name in changed if not isinstance(by_field.get(name), ByKey)}}


def _current(tail: Write) -> tuple[Attributes | None, str | None]:
    """What the upstream is known to hold: its word in a conflict, else the earliest base."""
    if tail.state is State.CONFLICT:
        return tail.theirs, tail.validator
    return tail.base, tail.validator


def conflicting_fields(
    base: Attributes | None, mine: Attributes, theirs: Attributes | None, policy: Policy = "merge"
) -> set[str]:
    """Give the fields in which both sides changed something, not to the same, that ``policy`` leaves to the owner."""
    if theirs is None:
        return set()
    return merge(base, mine, theirs, left_to_owner(policy)).fields
