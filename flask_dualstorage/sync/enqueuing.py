"""Enqueue: an edit joins its record's lane, within one transaction under the owner's lock (DESIGN §4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import RecordGone, ValidationFailed
from ..policy import references
from ..policy.coalescing import Action, Decision, Edit, coalesce
from ..policy.settling import thaw
from ..storage.outbox import OwnerTransaction
from ..types import AT_ONCE, UNSETTLED, Declaration, Kind, RecordId, State, Write
from ..upstream.dialects import path_of
from .engine import Engine


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What enqueuing did: ``write`` as stored (None: nothing is left to send), and whether its lane was free."""

    write: Write | None
    lane_free: bool = False
    vanished: tuple[Write, ...] = ()
    #: The form was sent before: this is its first result.
    repeated: bool = False


def enqueue(
    engine: Engine,
    change: OwnerTransaction,
    declared: Declaration,
    record_id: RecordId,
    edit: Edit,
    seen: int,
    write_id: str,
) -> Enqueued:
    """Let an edit join its record's lane.

    ``seen`` is the ``settled_seq`` that the caller's model was made at, ``write_id`` the id of a write made for it.
    Raises ``ValidationFailed`` for a reference to a record that this owner never made, ``RecordGone``, ``OutboxFull``.
    """
    declared, record_id, edit, unbound = _bind(change, declared, record_id, edit)
    fresh = edit.kind is Kind.CREATE and references.is_temp_id(record_id)
    rows = [] if fresh else change.lane(declared.store, record_id, seen)
    lane = [row for row in rows if row.settled_seq == UNSETTLED]
    done = [row for row in rows if row.state is State.APPLIED]
    if edit.kind is not Kind.CREATE and references.is_temp_id(record_id) and not lane:
        raise RecordGone(f"There is no record {record_id!r} here: it was never made, or given up before it was sent.")
    if done and not lane:
        edit = _on_top_of(edit, done[-1])
    apart = refers_to_later(change, lane, unbound)
    decision = coalesce(lane, edit, fold=declared.coalesce, apart=apart)
    return _carry_out(engine, change, declared, record_id, lane, decision, unbound, write_id)


def _bind(
    change: OwnerTransaction, declared: Declaration, record_id: RecordId, edit: Edit
) -> tuple[Declaration, RecordId, Edit, set[str]]:
    """Put the real ids in place of the temporary ones that have one; check that the rest are this owner's."""
    found = references.find(edit.attributes, edit.changed, declared.url, record_id)
    if edit.kind is Kind.CREATE and isinstance(record_id, str):
        found.discard(record_id)
    if not found:
        return declared, record_id, edit, set()
    real = change.aliases(found)
    unbound = found - set(real) - {str(record_id)}
    for temp_id in unbound:
        _check_made_here(change, temp_id)
    if real:
        store, url = references.bind_text(declared.store, real), references.bind_text(declared.url, real)
        declared = replace(declared, store=store, url=url, params=references.bind(dict(declared.params), real))
        record_id = references.bind(record_id, real)
        edit = replace(
            edit, attributes=references.bind(edit.attributes, real), changed=references.bind(edit.changed, real)
        )
    return declared, record_id, edit, unbound


def _check_made_here(change: OwnerTransaction, temp_id: str) -> None:
    made = change.made(temp_id)
    if made is None:
        raise ValidationFailed({temp_id: "refers to a record that was never made here."})
    if made.state is State.LOCAL:
        raise ValidationFailed({temp_id: "refers to a record of a local collection, which the upstream never gets."})
    if made.state is State.DISCARDED:
        raise ValidationFailed({temp_id: "refers to a record that was deleted here before it was sent."})


def _on_top_of(edit: Edit, done: Write) -> Edit:
    """The caller's model is older than the owner's own last write: put the edit on what that one made."""
    if done.kind is Kind.DELETE or done.theirs is None:
        return edit
    attributes = None if edit.changed is None else {**done.theirs, **edit.changed}
    return replace(edit, attributes=attributes, base=done.theirs, validator=done.validator)


def refers_to_later(change: OwnerTransaction, lane: Sequence[Write], unbound: set[str]) -> bool:
    """Say whether an edit refers to a record made later than the tail: folded, the two would wait for each other."""
    made = [change.made(temp_id) for temp_id in unbound] if lane else []
    return any(create is not None and create.seq > lane[-1].seq for create in made)


def _carry_out(
    engine: Engine,
    change: OwnerTransaction,
    declared: Declaration,
    record_id: RecordId,
    lane: Sequence[Write],
    decision: Decision,
    unbound: set[str],
    write_id: str,
) -> Enqueued:
    if decision.action is Action.NOTHING:
        return Enqueued(lane[-1])
    if decision.action is Action.VANISH:
        return Enqueued(None, vanished=tuple(vanish(change, lane[-1])))
    edit = decision.edit
    if edit is None:
        raise ValueError("a decision to enqueue or fold carries an edit")
    if decision.action is Action.FOLD:
        return Enqueued(fold_into(change, lane[-1], edit, decision.state, bool(unbound)))
    change.check_room(engine.config.max_pending)
    write = new_write(declared, change.owner, record_id, edit, now=change.now, write_id=write_id, state=State.QUEUED)
    waits = bool(unbound) or change.is_under_new(declared.url)
    waits = waits or (edit.kind is Kind.DELETE and change.has_under(path_of(declared, record_id)))
    return Enqueued(change.insert(replace(write, refers=bool(unbound))), lane_free=not lane and not waits)


def new_write(
    declared: Declaration, owner: str, record_id: RecordId, edit: Edit, *, now: float, write_id: str, state: State
) -> Write:
    """Make the write that an edit is, not stored yet."""
    return Write(
        id=write_id,
        seq=0,
        owner=owner,
        collection=declared.collection,
        store=declared.store,
        url=declared.url,
        params=declared.params,
        upstream=declared.upstream,
        record_id=record_id,
        kind=edit.kind,
        state=state,
        attributes=edit.attributes,
        base=edit.base,
        validator=edit.validator,
        patch=edit.patch,
        refers=False,
        edits=1,
        created_at=now,
        not_before=None if state is State.LOCAL else AT_ONCE,
    )


def fold_into(change: OwnerTransaction, tail: Write, edit: Edit, state: State, refers: bool) -> Write:
    """Rewrite a tail to hold what it and the edit want together."""
    folded = replace(
        tail,
        kind=edit.kind,
        state=state,
        attributes=edit.attributes,
        base=edit.base,
        validator=edit.validator,
        patch=edit.patch,
        refers=tail.refers or refers,
        edits=tail.edits + 1,
        not_before=None if state is State.CONFLICT else AT_ONCE,
        reason=tail.reason if state is State.CONFLICT else None,
        problem=tail.problem if state is State.CONFLICT else None,
        theirs=tail.theirs if state is State.CONFLICT else None,
    )
    return change.update(tail, folded)


def vanish(change: OwnerTransaction, tail: Write) -> list[Write]:
    """Discard a write that nothing will be sent of; a create takes what is nested under it along."""
    gone = [change.discard(tail, "Taken back before it was sent.")]
    if tail.kind is not Kind.CREATE or not references.is_temp_id(tail.record_id):
        return gone
    temp_id = str(tail.record_id)
    for other in change.referring():
        if temp_id in references.find(other.url):
            gone.append(change.discard(other, "The record that it belongs to was deleted before it was sent."))
        elif temp_id in references.find(other.attributes) and str(other.record_id) != temp_id:
            reason = "It refers to a deleted record."
            change.update(other, thaw(replace(other, state=State.REJECTED, not_before=None, reason=reason)))
    return gone
