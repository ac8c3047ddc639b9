"""Settle: what became of a sent write is recorded, with all that hangs on it. The one place that settles."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from blinker import NamedSignal

from .. import signals
from ..errors import OutboxUnavailable, RecordGone, ValidationFailed
from ..logs import log
from ..policy import references
from ..policy.coalescing import Action, coalesce, edit_of
from ..policy.settling import applied, given_up, rebase, transition
from ..storage.outbox import NOTHING_LEFT, OwnerTransaction
from ..types import Declaration, Kind, Meaning, Outcome, RecordId, State, Write
from .engine import Engine
from .enqueuing import fold_into, refers_to_later, take_back
from .looking import UNCLEAR
from .numbering import bind, number, rename

#: Before every ``settled_seq``, that of what was hidden or adopted too.
EVER = -2
#: Every so many settles of an owner, the history that no cached copy can be older than is dropped: all of it is looked
#: through for that.
PRUNE_EVERY = 512


#: A sent write, what it was declared as, and what came of it.
Done = tuple[Write, Declaration, Outcome]


@dataclass(slots=True)
class Settled:
    """What settling did: ``write`` as it is now, ``withdrawn`` if it is out of the outbox again."""

    write: Write
    withdrawn: bool = False
    late: bool = False
    #: The policy gave it up, or a part of it: the upstream's version was chosen.
    given_up: bool = False


@contextmanager
def recording(sent: Sequence[object]) -> Iterator[None]:
    """Say what is true where the answers to what was ``sent`` can not be recorded: all of it stays in the outbox."""
    try:
        yield
    except OutboxUnavailable as error:
        if not sent:
            raise
        message = "What was sent stays in the outbox, but its answer could not be recorded; a later sync finds out."
        raise OutboxUnavailable(message) from error


@contextmanager
def changing(engine: Engine, owner: str) -> Iterator[OwnerTransaction]:
    """Change an owner's writes in one transaction, and after its commit tell what came of others on the way."""
    with engine.outbox.transaction(owner) as change:
        yield change
    for write in change.news:
        tell(engine, Settled(write))


def settle_all(engine: Engine, change: OwnerTransaction, done: Sequence[Done], own_call: str | None) -> list[Settled]:
    """Record what became of sent writes, with all that hangs on them, in one transaction.

    ``own_call`` names the write whose own call waits for this: a refusal then withdraws it, since the view still has
    the form, unless the write holds more than that call's edit.
    """
    numbered: dict[str, RecordId] = {}
    settled = [
        _settle(engine, change, sent, outcome, declared, numbered, own_call=sent.id == own_call)
        for sent, declared, outcome in done
    ]
    if numbered:
        bind(change, change.referring(), numbered)
    return settled


def settle(
    engine: Engine, change: OwnerTransaction, sent: Write, outcome: Outcome, declared: Declaration, *, own_call: bool
) -> Settled:
    """Record what became of one sent write."""
    return settle_all(engine, change, [(sent, declared, outcome)], sent.id if own_call else None)[0]


def _settle(
    engine: Engine,
    change: OwnerTransaction,
    sent: Write,
    outcome: Outcome,
    declared: Declaration,
    numbered: dict[str, RecordId],
    *,
    own_call: bool,
) -> Settled:
    now = change.find(sent.id)
    if now is None:
        return Settled(sent, withdrawn=True, late=True)
    outcome = _believed(change, now, outcome)
    if outcome.meaning is Meaning.APPLIED and now.key == sent.key:
        return _settle_applied(engine, change, now, outcome, numbered)
    if now.fence != sent.fence or now.state is not State.SENDING:
        return Settled(now, late=True)
    if outcome.retry_after is not None:
        change.postpone(now.upstream, change.now + outcome.retry_after)
    after = transition(now, outcome, engine.rules(declared), now=change.now, jitter=engine.jitter())
    after = after._replace(retry_after=max(after.retry_after, change.asked_to_wait(now.upstream)))
    tail = _tail(change, now)
    if own_call and tail is None and _may_be_withdrawn(change, now, outcome):
        return _withdraw(change, now, after)
    lost = outcome.verdict is not None and bool(outcome.verdict.given_up)
    return Settled(_keep(change, declared, now, after, tail), given_up=lost or after.state is State.DISCARDED)


def _keep(change: OwnerTransaction, declared: Declaration, now: Write, after: Write, tail: Write | None) -> Write:
    """Store what became of it, and let the write behind follow."""
    if after.state is State.DISCARDED:
        # The upstream's version was chosen, and is what the write behind goes on from. The form sent again stays out.
        change.form_made(NOTHING_LEFT, after.id)
        done = change.update(now, given_up(after, after.reason or "", change.now))
        if tail is not None and done.theirs is not None:
            _rebase_tail(change, tail, done)
        return done
    after = change.update(now, after)
    if tail is not None and not after.frozen and not tail.frozen and tail.state is not State.CONFLICT:
        return _fold_tail(change, declared, after, tail)
    return after


def _believed(change: OwnerTransaction, now: Write, outcome: Outcome) -> Outcome:
    """No two writes made one record: what was found for this one is not believed where another made it."""
    if not outcome.found or outcome.record_id is None:
        return outcome
    lane = change.lane(now.store, outcome.record_id, since=EVER)
    others = [each for each in lane if each.kind is Kind.CREATE and each.state is State.APPLIED and each.id != now.id]
    return UNCLEAR if others else outcome


def _withdraw(change: OwnerTransaction, now: Write, after: Write) -> Settled:
    """Take a write back whose call hears of the refusal; what may have been applied is remembered by its form."""
    if after.state is State.IN_DOUBT:
        change.keep_key(now)
    change.remove(now)
    return Settled(after, withdrawn=True)


def _settle_applied(
    engine: Engine, change: OwnerTransaction, now: Write, outcome: Outcome, numbered: dict[str, RecordId]
) -> Settled:
    """Applied, whatever the fence: a late answer to the same key is still the truth."""
    if now.state is State.APPLIED:
        # Two workers were answered: it was applied once, and is told of once.
        return Settled(_note_doubled(change, now, outcome), late=True)
    done = change.update(now, applied(now, outcome, settled_seq=change.next_settled_seq(), now=change.now))
    if references.is_temp_id(now.record_id) and done.record_id != now.record_id:
        numbered |= number(change, now, done)
    elif str(done.record_id) != str(now.record_id):
        rename(change, now, done)
    tail = _tail(change, done)
    if tail is not None:
        _rebase_tail(change, tail, done)
    if change.settled_seq % PRUNE_EVERY == 0:
        change.prune(change.now - engine.history_kept())
    return Settled(done)


def _note_doubled(change: OwnerTransaction, now: Write, outcome: Outcome) -> Write:
    if outcome.record_id in (None, now.record_id):
        return now
    problem = {
        "title": "May be doubled",
        "detail": f"The upstream answered twice: with the id {now.record_id!r}, and with {outcome.record_id!r}.",
    }
    return change.update(now, now._replace(problem=problem))


def _tail(change: OwnerTransaction, head: Write) -> Write | None:
    """Give the write right behind ``head`` in its lane."""
    behind = [write for write in change.lane(head.store, head.record_id) if write.seq > head.seq]
    return behind[0] if behind else None


def _rebase_tail(change: OwnerTransaction, tail: Write, done: Write) -> None:
    if tail.frozen:
        # Adopted beside another: its bytes and its If-Match are fixed, and the upstream may know its key.
        return
    if tail.state is State.CONFLICT:
        # Adopted behind another: its owner decides over it, with what the upstream holds by now beside it.
        change.update(tail, tail._replace(theirs=done.theirs, validator=done.validator))
        return
    rebased = rebase(tail, done.theirs, done.validator)
    if rebased is None:
        change.form_made(done.id, tail.id)
        change.discard(tail, "The upstream has it already.")
    else:
        change.update(tail, rebased)


def _may_be_withdrawn(change: OwnerTransaction, write: Write, outcome: Outcome) -> bool:
    failed = outcome.meaning in (Meaning.REJECTED, Meaning.UNAUTHORIZED) or _is_error_5xx(outcome)
    return failed and write.edits == 1 and not write.may_have_arrived and not _is_referred_to(change, write)


def _is_error_5xx(outcome: Outcome) -> bool:
    return outcome.meaning is Meaning.IN_DOUBT and (outcome.status or 0) >= 500


def _is_referred_to(change: OwnerTransaction, write: Write) -> bool:
    if not references.is_temp_id(write.record_id):
        return False
    return any(str(write.record_id) in references.find(other.attributes, other.url) for other in change.referring())


def _fold_tail(change: OwnerTransaction, declared: Declaration, head: Write, tail: Write) -> Write:
    """The head is no longer frozen: head and tail become one write again, by the ordinary table."""
    refers_to = references.of_write(tail.attributes, tail.url, tail.record_id) if tail.refers else set()
    apart = refers_to_later(change, [head], refers_to)
    try:
        fold, policy = declared.coalesce, declared.conflict
        decision = coalesce([head], edit_of(tail), fold=fold, apart=apart, policy=policy)
    except (RecordGone, ValidationFailed):
        # Adopted beside each other, as an update behind a delete: each goes in its turn.
        return head
    if decision.action is Action.ENQUEUE:
        return head
    if decision.action is Action.VANISH:
        take_back(change, tail)
        return take_back(change, head)[0]
    change.joined(tail, head)
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
    """After the commit: log what became of a write, and let the app's receivers know.

    The log has no name, body, credential or value of a record; a reason may quote one, so it has none either.
    """
    write = settled.write
    if log.isEnabledFor(logging.INFO):
        outcome = "withdrawn" if settled.withdrawn else "late" if settled.late else write.state.value
        owner = sha256(write.owner.encode()).hexdigest()
        extra = {"write_id": write.id, "owner": owner, "store": write.store, "outcome": outcome}
        log.info("write %s of store %s: %s", write.id, write.store, outcome, extra=extra)
    if settled.withdrawn or settled.late:
        return
    if settled.given_up:
        engine.emit(signals.conflict_found, owner=write.owner, write=write)
    signal = _TOLD.get(write.state)
    if signal is not None:
        engine.emit(signal, owner=write.owner, write=write)
