"""Settle: what became of a sent write is recorded, with all that hangs on it. The one place that settles."""

from __future__ import annotations

from dataclasses import dataclass, replace

from blinker import NamedSignal

from .. import signals
from ..policy import references
from ..policy.coalescing import Action, coalesce, edit_of
from ..policy.settling import applied, rebase, transition
from ..storage.outbox import OwnerTransaction
from ..types import Declaration, Meaning, Outcome, State, Write
from .engine import Engine, log
from .enqueuing import fold_into, refers_to_later, vanish
from .sending import with_real_ids


@dataclass(slots=True)
class Settled:
    """What settling did: ``write`` as it is now, ``withdrawn`` if it is out of the outbox again."""

    write: Write
    withdrawn: bool = False
    late: bool = False


def settle(
    engine: Engine, change: OwnerTransaction, sent: Write, outcome: Outcome, declared: Declaration, *, own_call: bool
) -> Settled:
    """Record what became of a sent write, with all that hangs on it, in one transaction.

    ``own_call`` says that the call which made the write waits for this: a refusal then withdraws it, since the
    view still has the form, unless the write holds more than this call's edit.
    """
    now = change.find(sent.id)
    if now is None:
        return Settled(sent, withdrawn=True, late=True)
    if outcome.meaning is Meaning.APPLIED and now.key == sent.key:
        return Settled(_settle_applied(change, now, outcome))
    if now.fence != sent.fence or now.state is not State.SENDING:
        return Settled(now, late=True)
    if outcome.retry_after is not None:
        change.postpone(now.upstream, change.now + outcome.retry_after)
    after = transition(now, outcome, engine.rules(declared), now=change.now, jitter=engine.jitter())
    tail = _tail(change, now)
    if own_call and tail is None and _may_be_withdrawn(change, now, outcome):
        change.keep_key(now)
        change.remove(now)
        return Settled(after, withdrawn=True)
    after = change.update(now, after)
    if tail is not None and not after.frozen:
        after = _fold_tail(change, declared, after, tail)
    return Settled(after)


def _settle_applied(change: OwnerTransaction, now: Write, outcome: Outcome) -> Write:
    """Applied, whatever the fence: a late answer to the same key is still the truth."""
    if now.state is State.APPLIED:
        return _note_doubled(change, now, outcome)
    done = change.update(now, applied(now, outcome, settled_seq=change.next_settled_seq(), now=change.now))
    if references.is_temp_id(now.record_id) and done.record_id != now.record_id:
        _number(change, now, done)
    tail = _tail(change, done)
    if tail is not None:
        _rebase_tail(change, tail, done)
    return done


def _note_doubled(change: OwnerTransaction, now: Write, outcome: Outcome) -> Write:
    if outcome.record_id in (None, now.record_id):
        return now
    problem = {
        "title": "May be doubled",
        "detail": f"The upstream answered twice: with the id {now.record_id!r}, and with {outcome.record_id!r}.",
    }
    return change.update(now, replace(now, problem=problem))


def _number(change: OwnerTransaction, before: Write, done: Write) -> None:
    """The record has its real id: keep the alias, and put the id in place in the tail and in all that refers to it."""
    temp_id = str(before.record_id)
    change.add_alias(temp_id, before.store, done.record_id)
    real = {temp_id: done.record_id}
    for other in [*change.lane(before.store, temp_id), *change.referring()]:
        bound = with_real_ids(other, real)
        if bound != other and not other.frozen:
            change.update(other, bound)


def _tail(change: OwnerTransaction, head: Write) -> Write | None:
    """Give the write right behind ``head`` in its lane."""
    behind = [write for write in change.lane(head.store, head.record_id) if write.seq > head.seq]
    return behind[0] if behind else None


def _rebase_tail(change: OwnerTransaction, tail: Write, done: Write) -> None:
    rebased = rebase(tail, done.theirs, done.validator)
    if rebased is None:
        change.discard(tail, "The upstream has it already.")
    else:
        change.update(tail, rebased)


def _may_be_withdrawn(change: OwnerTransaction, write: Write, outcome: Outcome) -> bool:
    failed = outcome.meaning in (Meaning.REJECTED, Meaning.UNAUTHORIZED) or _is_error_5xx(outcome)
    return failed and write.edits == 1 and not _is_referred_to(change, write)


def _is_error_5xx(outcome: Outcome) -> bool:
    return outcome.meaning is Meaning.IN_DOUBT and (outcome.status or 0) >= 500


def _is_referred_to(change: OwnerTransaction, write: Write) -> bool:
    if not references.is_temp_id(write.record_id):
        return False
    return any(str(write.record_id) in references.find(other.attributes, other.url) for other in change.referring())


def _fold_tail(change: OwnerTransaction, declared: Declaration, head: Write, tail: Write) -> Write:
    """The head is no longer frozen: head and tail become one write again, by the ordinary table."""
    refers_to = references.of_write(tail.attributes, tail.url, tail.record_id) if tail.refers else set()
    decision = coalesce([head], edit_of(tail), fold=declared.coalesce, apart=refers_to_later(change, [head], refers_to))
    if decision.action is Action.ENQUEUE:
        return head
    if decision.action is Action.VANISH:
        change.discard(tail, "Taken back before it was sent.")
        return vanish(change, head)[0]
    change.discard(tail, "Joined the write before it.")
    if decision.edit is None:
        return head
    return fold_into(change, head, decision.edit, decision.state, head.reason)


_TOLD: dict[State, NamedSignal] = {
    State.QUEUED: signals.write_queued,
    State.APPLIED: signals.write_applied,
    State.REJECTED: signals.write_rejected,
    State.IN_DOUBT: signals.write_in_doubt,
    State.CONFLICT: signals.conflict_found,
}


def tell(engine: Engine, settled: Settled) -> None:
    """After the commit: log what became of a write, and let the app's receivers know."""
    write = settled.write
    if settled.withdrawn or settled.late:
        return
    log.info("write %s of store %s is %s: %s", write.id, write.store, write.state, write.reason)
    signal = _TOLD.get(write.state)
    if signal is not None:
        engine.emit(signal, owner=write.owner, write=write)
