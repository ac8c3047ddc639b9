"""What an owner decides about a pending write: retry it, or discard it."""

from __future__ import annotations

from dataclasses import replace

from ..errors import RecordGone, ValidationFailed, WriteBusy
from ..policy.references import of_write
from ..policy.values import changes
from ..storage.outbox import OwnerTransaction, check_fits
from ..types import AT_ONCE, PENDING, Kind, State, Write
from .engine import Engine
from .enqueuing import vanish
from .flush import Flush
from .sending import with_real_ids
from .settling import changing


def retry(engine: Engine, owner: str, write_id: str) -> Write:
    """Let a write go again, and try it now, with what must go before it; a held one in doubt goes with its key.

    One in doubt that waits for nobody is not sent for that, but looked for when it is time. One that refers to a
    deleted record can not go, and stays refused until that field is edited.
    Raises ``RecordGone`` where this owner has no such pending write, ``WriteBusy`` while it is being sent.
    """
    with changing(engine, owner) as change:
        write = _bound(change, _pending(change, write_id))
        if write.state is State.REJECTED and write.refers and not _will_be_bound(change, write):
            return write
        again = change.update(write, _again(write))
    Flush(engine, owner, lambda each: each.id == write_id).run()
    return engine.outbox.write(owner, write_id) or again


def _again(write: Write) -> Write:
    if write.state is State.IN_DOUBT:
        if write.not_before is None:
            # It was held for its owner, who has answered the doubt by this.
            write = replace(write, state=State.QUEUED, lease=0.0, may_have_arrived=False, key_stays=True)
        return replace(write, not_before=AT_ONCE)
    if write.state is State.QUEUED:
        return replace(write, not_before=AT_ONCE)
    again = replace(write, state=State.QUEUED, not_before=AT_ONCE, lease=0.0)
    return _on_theirs(again) if write.state is State.CONFLICT else again


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


def _on_theirs(write: Write) -> Write:
    """Put what the owner changed on the upstream's present state: mine wins field by field, theirs stays elsewhere.

    Where the record is gone upstream there is nothing to put it on, and it goes as it is.
    """
    if write.theirs is None:
        return write
    kind = Kind.UPDATE if write.kind is Kind.CREATE else write.kind
    wanted = None if write.attributes is None else {**write.theirs, **changes(write.base, write.attributes)}
    return replace(write, kind=kind, attributes=wanted, base=write.theirs, theirs=None, key=None)


def discard(engine: Engine, owner: str, write_id: str) -> list[Write]:
    """Give a write up: nothing of it is sent. A create takes what is nested under it along; gives all of them.

    Raises as ``retry`` does.
    """
    with changing(engine, owner) as change:
        return vanish(change, _pending(change, write_id))


def _pending(change: OwnerTransaction, write_id: str) -> Write:
    write = change.find(write_id)
    if write is None or write.state in (State.APPLIED, State.DISCARDED, State.LOCAL):
        raise RecordGone(f"There is no pending write {write_id!r} of this owner.")
    if write.state is State.SENDING:
        raise WriteBusy("This write is being sent right now; look again in a moment.")
    return write
