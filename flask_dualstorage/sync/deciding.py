"""What an owner decides about a pending write: retry it, edit it, resolve its conflict, or discard it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import RecordGone, ValidationFailed, WriteBusy
from ..policy.coalescing import Edit
from ..policy.conflicts import clashes_of, with_mine
from ..policy.marks import mark_of
from ..policy.merging import Policy
from ..policy.references import is_temp_id, of_write, waits_for
from ..policy.settling import rebase
from ..policy.values import same
from ..storage.outbox import OwnerTransaction, check_fits
from ..types import AT_ONCE, PENDING, UNSETTLED, WAITING, Attributes, Declaration, Kind, State, Write
from .conflicts import policy_of
from .engine import Engine
from .enqueuing import amend, put_behind_on, settle_on, vanish
from .flush import Flush
from .sending import with_real_ids
from .settling import changing

#: Check what a write would hold, and give it as it may be stored, with what its collection declares.
Check = Callable[[Write, Attributes], tuple[Declaration, Attributes]]
MINE, THEIRS = "mine", "theirs"


def retry(engine: Engine, owner: str, write_id: str, shown: str | None = None) -> Write:
    """Let a write go again, and try it now, with what must go before it; a held one in doubt goes with its key.

    One in doubt that waits for nobody is not sent for that, but looked for when it is time. One that refers to a
    deleted record can not go, and stays refused until that field is edited.
    Raises ``RecordGone`` where this owner has no such pending write, ``WriteBusy`` while it is being sent.
    """
    with changing(engine, owner) as change:
        write = _bound(change, _shown(change, write_id, shown))
        if write.state is State.REJECTED and write.refers and not _will_be_bound(change, write):
            return write
        again = change.update(write, _again(write, policy_of(engine, write)))
    return _send(engine, owner, again)


def _again(write: Write, policy: Policy) -> Write:
    if write.state is State.IN_DOUBT:
        if write.not_before is None:
            # It was held for its owner, who has answered the doubt by this.
            write = write._replace(state=State.QUEUED, lease=0.0, may_have_arrived=False, key_stays=True)
        return write._replace(not_before=AT_ONCE)
    if write.state is State.QUEUED:
        return write._replace(not_before=AT_ONCE)
    again = write._replace(state=State.QUEUED, not_before=AT_ONCE, lease=0.0)
    return _on_theirs(again, policy) if write.state is State.CONFLICT else again


def _bound(change: OwnerTransaction, write: Write) -> Write:
    """Put real ids in place of those that it could not take when they came; else it stays as it is."""
    found = of_write(write.attributes, write.url, write.record_id) if write.refers and not write.frozen else set()
    real = change.aliases(found)
    bound = with_real_ids(write, real)
    try:
        check_fits(bound)
    except ValidationFailed:
        return write
    return change.update(write, bound) if real else write


def _will_be_bound(change: OwnerTransaction, write: Write) -> bool:
    """Say whether each record that a write refers to waits to be numbered; else it would be queued for ever."""
    made = [change.made(temp_id) for temp_id in of_write(write.attributes, write.url, write.record_id)]
    return all(create is not None and create.state in PENDING for create in made)


def _on_theirs(write: Write, policy: Policy) -> Write:
    """Put what the owner changed on the upstream's present state: mine wins, theirs stays elsewhere.

    Where the record is gone upstream there is nothing to put it on, and it goes as it is.
    """
    if write.theirs is None or is_temp_id(write.record_id):
        return write
    kind, wanted = with_mine(write, policy)
    return write._replace(kind=kind, attributes=wanted, base=write.theirs, theirs=None, key=None)


def edit(engine: Engine, owner: str, write_id: str, given: Attributes, check: Check, shown: str | None = None) -> Write:
    """Change what a pending write wants, and try it now as a new request.

    One that may have arrived keeps its bytes, and the edit goes behind it. In a conflict it is as a ``save``: every
    conflicting field must be set anew to settle it. Gives the write that holds the edit. Raises as ``retry`` does, and
    ``ValidationFailed``.
    """
    with changing(engine, owner) as change:
        seen = _shown(change, write_id, shown)
    if seen.kind is Kind.DELETE:
        raise ValidationFailed("This is a delete, which has nothing to edit; discard it to keep the record.")
    declared, wanted = check(seen, {**(seen.attributes or {}), **given})
    changed = {name: wanted[name] for name in given}
    with changing(engine, owner) as change:
        _check_unchanged(change, seen)
        edit = Edit(Kind.UPDATE, wanted, changed, changed, seen.base, seen.validator)
        edited = amend(change, declared, seen, edit, engine.config.max_pending)
    return _send(engine, owner, edited)


def resolve(
    engine: Engine, owner: str, write_id: str, decided: Attributes | str, check: Check, shown: str | None = None
) -> Write:
    """Decide over a conflict: for ``"mine"``, for ``"theirs"``, or by what the fields shall be; and try it now.

    Mine wins where both changed a value and the collection's policy leaves it to the owner; what only one side changed
    is combined; a record that is gone upstream is made anew. Of ``decided`` fields those that are left to the owner
    must be named. Raises as ``edit`` does.
    """
    with changing(engine, owner) as change:
        seen = _shown(change, write_id, shown)
        _check_is_conflict(seen)
        if decided == THEIRS:
            return _take_theirs(change, seen)
    given = {} if isinstance(decided, str) else decided
    kind, wanted = seen.kind, None
    if decided != MINE or seen.attributes is not None:
        kind, wanted = _resolved(seen, decided, given, policy_of(engine, seen))
    declared, checked = check(seen, wanted) if wanted is not None else (engine.declaration(seen), None)
    with changing(engine, owner) as change:
        _check_unchanged(change, seen)
        if seen.theirs is not None and same(checked, seen.theirs):
            return _take_theirs(change, seen)
        base = None if kind is Kind.CREATE else seen.theirs
        validator = None if kind is Kind.CREATE else seen.validator
        edit = Edit(kind, checked, base=base, validator=validator, patch=seen.patch)
        resolved = settle_on(change, declared, seen, edit)
        put_behind_on(change, checked, _behind(change, seen))
    return _send(engine, owner, resolved)


def _resolved(
    write: Write, decided: Attributes | str, given: Attributes, policy: Policy
) -> tuple[Kind, Attributes | None]:
    """Give what is to be sent where the fields ``given`` are decided so."""
    if write.attributes is None:
        return Kind.UPDATE, {**(write.theirs or {}), **given}
    undecided = {str(clash.path[0]) for clash in clashes_of(write, policy)} - given.keys()
    if decided != MINE and undecided:
        raise ValidationFailed(dict.fromkeys(sorted(undecided), "was changed on both sides; say what it shall be."))
    kind, wanted = (write.kind, write.attributes) if is_temp_id(write.record_id) else with_mine(write, policy)
    return kind, {**(wanted or {}), **given}


def _take_theirs(change: OwnerTransaction, write: Write) -> Write:
    """Give the owner's edit up for what the upstream holds; what stands behind it goes on from there."""
    if write.kind is Kind.CREATE and write.theirs is None:
        return vanish(change, write)[0]
    behind = _behind(change, write)
    gone = change.discard(write, "Its owner chose the upstream's version.")
    first = behind[0] if behind and write.theirs is not None and not behind[0].frozen else None
    if first is not None and first.state is not State.CONFLICT:
        rebased = rebase(first, write.theirs, write.validator)
        if rebased is None:
            change.discard(first, "The upstream has it already.")
        else:
            change.update(first, rebased)
        put_behind_on(change, write.theirs if rebased is None else rebased.attributes, behind[1:])
    return gone


def _behind(change: OwnerTransaction, write: Write) -> Sequence[Write]:
    return [each for each in change.lane(write.store, write.record_id, UNSETTLED - 1) if each.seq > write.seq]


def discard(engine: Engine, owner: str, write_id: str, shown: str | None = None) -> list[Write]:
    """Give a write up: nothing of it is sent. A create takes what is nested under it along; gives all of them.

    Raises as ``retry`` does.
    """
    with changing(engine, owner) as change:
        return vanish(change, _shown(change, write_id, shown))


def _send(engine: Engine, owner: str, write: Write) -> Write:
    """Try a write now, with what must go before it and what waits for it; give it as it stands then."""
    if write.state in WAITING:
        wanted = _with_those_that_wait(engine.outbox.pending(owner), write.id)
        Flush(engine, owner, lambda each: each.id in wanted).run()
    return engine.outbox.write(owner, write.id) or write


def _with_those_that_wait(writes: Sequence[Write], write_id: str) -> set[str]:
    """Give the ids of a write and of all that wait for it, however far behind."""
    waits = waits_for(writes)
    wanted = {write_id}
    while more := {each for each, others in waits.items() if each not in wanted and wanted & set(others)}:
        wanted |= more
    return wanted


def _check_is_conflict(write: Write) -> None:
    if write.state is not State.CONFLICT:
        raise ValidationFailed(f"This write is not in conflict, but {write.state.value}; edit, retry or discard it.")


def _check_unchanged(change: OwnerTransaction, seen: Write) -> None:
    """What was checked outside of the transaction is still what is there."""
    if _pending(change, seen.id) != seen:
        raise WriteBusy("This write has just changed; look at it again.")


def _shown(change: OwnerTransaction, write_id: str, shown: str | None) -> Write:
    """Give a pending write that still is what its owner was ``shown``, by its mark; None: whatever it is."""
    write = _pending(change, write_id)
    if shown is not None and shown != mark_of(write):
        raise WriteBusy("This write has changed since it was shown; look at it again.")
    return write


def _pending(change: OwnerTransaction, write_id: str) -> Write:
    write = change.find(write_id)
    if write is None or write.state in (State.APPLIED, State.DISCARDED, State.LOCAL):
        raise RecordGone(f"There is no pending write {write_id!r} of this owner.")
    if write.state is State.SENDING:
        raise WriteBusy("This write is being sent right now; look again in a moment.")
    return write
