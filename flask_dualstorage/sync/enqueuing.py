"""Enqueue: an edit joins its record's lane, within one transaction under the owner's lock (DESIGN §4.5)."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

from ..errors import RecordGone, ValidationFailed
from ..policy import references
from ..policy.coalescing import Action, Decision, Edit, coalesce, mends
from ..policy.settling import last_applied, thaw
from ..policy.values import changes, put_on
from ..storage.database import new_id
from ..storage.outbox import NOTHING_LEFT, OwnerTransaction
from ..types import AT_ONCE, UNSETTLED, Attributes, Declaration, Kind, RecordId, State, Write


class Enqueued(NamedTuple):
    """What enqueuing did: ``write`` as stored (None: nothing is left to send), and whether its lane was free."""

    write: Write | None
    lane_free: bool = False
    vanished: tuple[Write, ...] = ()
    #: The form was sent before: this is its first result.
    repeated: bool = False


class Entry(NamedTuple):
    """An edit on its way into a lane.

    ``seen`` is the ``settled_seq`` that the caller's model was made at, ``write_id`` the id of a write made for it,
    ``reason`` why it is not sent at once, ``unbound`` the temporary ids that it refers to.
    """

    declared: Declaration
    record_id: RecordId
    edit: Edit
    seen: int
    write_id: str
    reason: str | None = None
    unbound: frozenset[str] = frozenset()


def enqueue(change: OwnerTransaction, entry: Entry, at_most: float) -> Enqueued:
    """Let an edit join its record's lane; ``at_most`` is how many writes may be pending.

    Raises ``ValidationFailed`` for a reference to a record that this owner never made, ``RecordGone``, ``OutboxFull``.
    """
    entry = _bind(change, entry)
    edit, record_id = entry.edit, entry.record_id
    fresh = edit.kind is Kind.CREATE and references.is_temp_id(record_id)
    rows = [] if fresh else change.lane(entry.declared.store, record_id, entry.seen)
    lane = [row for row in rows if row.settled_seq == UNSETTLED]
    done = [row for row in rows if row.state is State.APPLIED]
    if edit.kind is not Kind.CREATE and references.is_temp_id(record_id) and not lane:
        raise RecordGone(f"There is no record {record_id!r} here: it was never made, or given up before it was sent.")
    if done and not lane:
        entry = entry._replace(edit=_on_top_of(edit, last_applied(done)))
    mended = _mend(change, entry, lane) if entry.declared.coalesce and mends(lane, entry.edit) else None
    if mended is not None:
        lane = [mended, *lane[1:]]
    apart = refers_to_later(change, lane, entry.unbound)
    policy = entry.declared.conflict
    decision = coalesce(lane, entry.edit, fold=entry.declared.coalesce, apart=apart, policy=policy)
    joined = _carry_out(change, entry, lane, decision, at_most)
    return joined if joined.write is not None or mended is None else joined._replace(write=mended)


def _mend(change: OwnerTransaction, entry: Entry, lane: Sequence[Write]) -> Write | None:
    """Let the fields that can go with a refused head correct it; None where there are none.

    What stands behind gets them too, and is rebased on the head's answer. What refers to a record made later than the
    head is left to the tail: that is what keeps the two apart.
    """
    changed = {
        name: value
        for name, value in (entry.edit.changed or {}).items()
        if not refers_to_later(change, lane[:1], references.find(name, value))
    }
    decision = coalesce(lane[:1], entry.edit._replace(changed=changed), policy=entry.declared.conflict)
    if not changed or decision.action is not Action.FOLD or decision.edit is None:
        return None
    return fold_into(change, lane[0], decision.edit, decision.state, entry.reason)


def amend(change: OwnerTransaction, declared: Declaration, write: Write, edit: Edit, at_most: float) -> Write:
    """Change a pending write as its owner says; gives the write that holds the edit. Raises as ``enqueue`` does.

    What is frozen keeps its bytes: the edit goes to the end of its lane.
    """
    entry = _bind(change, Entry(declared, write.record_id, edit, change.settled_seq, new_id()))
    lane = change.lane(write.store, write.record_id)
    upto = lane if write.frozen else [each for each in lane if each.seq <= write.seq]
    apart = refers_to_later(change, upto, entry.unbound)
    decision = coalesce(upto, entry.edit, apart=apart, policy=declared.conflict)
    done = _carry_out(change, entry, upto, decision, at_most)
    if done.write is None:
        return done.vanished[0]
    if decision.action is Action.FOLD:
        put_behind_on(change, done.write.attributes, [each for each in lane if each.seq > done.write.seq])
    return done.write


def settle_on(change: OwnerTransaction, declared: Declaration, write: Write, edit: Edit) -> Write:
    """Queue a write anew as its owner decided. Raises ``ValidationFailed`` for a reference to what was never made."""
    entry = _bind(change, Entry(declared, write.record_id, edit, change.settled_seq, write.id))
    return fold_into(change, write, entry.edit, State.QUEUED, None)


def _bind(change: OwnerTransaction, entry: Entry) -> Entry:
    """Put real ids in place of temporary ones; check that those that have none yet will get one."""
    bound = with_known_ids(change, entry)
    for temp_id in bound.unbound:
        _check_made_here(change, temp_id)
    return bound


def with_known_ids(change: OwnerTransaction, entry: Entry) -> Entry:
    """Put the real ids in place of the temporary ones that have one by now, and note the others."""
    edit, declared, record_id = entry.edit, entry.declared, entry.record_id
    if edit.kind is Kind.CREATE:
        # What it changes is all that it holds, and its own id is no reference.
        found = references.find(edit.attributes, declared.url) - {str(record_id)}
    else:
        found = references.find(edit.attributes, edit.changed, declared.url, record_id)
    if not found:
        return entry
    real = change.aliases(found)
    unbound = frozenset(found - set(real) - {str(record_id)})
    if not real:
        return entry._replace(unbound=unbound)
    store, url = references.bind_text(declared.store, real), references.bind_text(declared.url, real)
    params = references.bind(dict(declared.params), real)
    attributes, changed = references.bind(edit.attributes, real), references.bind(edit.changed, real)
    return entry._replace(
        declared=declared._replace(store=store, url=url, params=params),
        record_id=references.bind(record_id, real),
        edit=edit._replace(attributes=attributes, changed=changed),
        unbound=unbound,
    )


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
    return edit._replace(attributes=attributes, base=done.theirs, validator=done.validator)


def refers_to_later(change: OwnerTransaction, lane: Sequence[Write], unbound: Set[str]) -> bool:
    """Say whether an edit refers to a record made later than the tail: folded, the two would wait for each other."""
    made = [change.made(temp_id) for temp_id in unbound] if lane else []
    return any(create is not None and create.seq > lane[-1].seq for create in made)


def _carry_out(
    change: OwnerTransaction, entry: Entry, lane: Sequence[Write], decision: Decision, at_most: float
) -> Enqueued:
    if decision.action is Action.NOTHING:
        # One more call relies on it: a refusal of its first send is no longer that call's alone to hear.
        return Enqueued(change.update(lane[-1], lane[-1]._replace(edits=lane[-1].edits + 1)))
    if decision.action is Action.VANISH:
        return Enqueued(None, vanished=tuple(take_back(change, lane[decision.at])))
    if decision.edit is None:
        raise ValueError("a decision to enqueue or fold carries an edit")
    entry = entry._replace(edit=decision.edit)
    if decision.action is Action.FOLD:
        return Enqueued(fold_into(change, lane[-1], decision.edit, decision.state, entry.reason))
    change.check_room(at_most)
    write = change.insert(new_write(entry, change.owner, change.now, State.QUEUED))
    return Enqueued(write, lane_free=not lane and not _waits_for_others(change, entry))


def _waits_for_others(change: OwnerTransaction, entry: Entry) -> bool:
    """Say whether a write must go after others of other lanes (``policy.references.waits_for`` says which)."""
    if entry.unbound or change.is_under_new(entry.declared.url):
        return True
    if entry.edit.kind is not Kind.DELETE:
        return False
    declared = entry.declared
    place = declared.url if declared.singleton else references.record_path(declared.url, entry.record_id)
    return change.has_under(place)


def new_write(entry: Entry, owner: str, now: float, state: State) -> Write:
    """Make the write that an edit is, not stored yet."""
    declared, edit = entry.declared, entry.edit
    return Write(
        id=entry.write_id,
        seq=0,
        owner=owner,
        collection=declared.collection,
        store=declared.store,
        url=declared.url,
        params=declared.params,
        upstream=declared.upstream,
        record_id=entry.record_id,
        kind=edit.kind,
        state=state,
        attributes=edit.attributes,
        base=edit.base,
        validator=edit.validator,
        patch=edit.patch,
        refers=bool(entry.unbound),
        edits=1,
        created_at=now,
        not_before=None if state is State.LOCAL else AT_ONCE,
        reason=entry.reason,
    )


def fold_into(change: OwnerTransaction, tail: Write, edit: Edit, state: State, reason: str | None) -> Write:
    """Rewrite a tail to hold what it and the edit want together; ``reason`` is why it is not sent at once."""
    kept = state is State.CONFLICT
    folded = tail._replace(
        kind=edit.kind,
        state=state,
        attributes=edit.attributes,
        base=edit.base,
        validator=edit.validator,
        patch=edit.patch,
        refers=bool(references.of_write(edit.attributes, tail.url, tail.record_id)),
        edits=tail.edits + 1,
        not_before=None if kept else AT_ONCE,
        reason=tail.reason if kept else reason,
        problem=tail.problem if kept else None,
        theirs=tail.theirs if kept else None,
        # It is another request now: an answer to an earlier one does not settle it.
        key=None,
    )
    return change.update(tail, folded)


def take_back(change: OwnerTransaction, write: Write) -> list[Write]:
    """Discard a write that an edit made needless; gives all that went with it.

    The form that made it came to nothing: sent again it would undo that edit. Of a create, the record was given up.
    """
    if write.kind is not Kind.CREATE:
        change.form_made(NOTHING_LEFT, write.id)
    return vanish(change, write)


def vanish(change: OwnerTransaction, write: Write) -> list[Write]:
    """Discard a write that nothing will be sent of, or that its owner gives up; gives all that went with it.

    A create takes along what stands behind it in its lane and what is nested under its record; others that refer to
    the record are rejected. What stands behind any other write no longer holds what that one changed.
    """
    behind = [each for each in change.lane(write.store, write.record_id) if each.seq > write.seq]
    gone = [change.discard(write, "Taken back before it was sent.")]
    if write.kind is not Kind.CREATE:
        put_behind_on(change, write.base, behind)
        return gone
    gone += [change.discard(each, "Its record was given up before it was sent.") for each in behind]
    path = references.record_path(write.url, write.record_id) if write.record_id != "" else write.url
    for nested in change.under(path):
        if nested.state is State.LOCAL:
            change.remove(nested)
        elif nested.state is not State.SENDING:
            gone.append(change.discard(nested, "The record that it belongs to was deleted before it was sent."))
    _reject_referrers(change, str(write.record_id))
    return gone


def put_behind_on(change: OwnerTransaction, base: Attributes | None, behind: Sequence[Write]) -> None:
    """Lay writes over what goes before them now: each of them was made on the one before."""
    for write in behind:
        if write.frozen or write.attributes is None:
            return
        mine = changes(write.base, write.attributes) if base is None else put_on(base, write.base, write.attributes)
        change.update(write, write._replace(base=base, attributes=mine))
        base = mine


def _reject_referrers(change: OwnerTransaction, temp_id: str) -> None:
    for other in change.referring() if references.is_temp_id(temp_id) else []:
        if other.state is not State.LOCAL and temp_id in references.find(other.attributes):
            refused = other._replace(state=State.REJECTED, not_before=None, reason="It refers to a deleted record.")
            change.decide(other, thaw(refused))
