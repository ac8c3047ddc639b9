"""The path of one write, online or not: enqueue, claim, send, settle (DESIGN §4.3).

An online save walks it at once for its own lane; a flush walks it for all lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from ..errors import OutboxUnavailable, RecordGone, Rejected, UpstreamError, UpstreamUnreachable, ValidationFailed
from ..logs import log_failure
from ..policy.coalescing import Edit
from ..policy.conflicts import merges_of
from ..policy.planning import lease_end
from ..policy.problems import field_errors
from ..policy.references import bind, bind_text, find, former_urls, of_write, parents
from ..policy.settling import Step, next_step, resend_is_safe
from ..storage.database import new_id
from ..storage.outbox import NOTHING_LEFT, OwnerTransaction, Used, request_digest
from ..types import UNSETTLED, Declaration, Kind, Meaning, Outcome, RecordId, State, Write
from ..upstream.dialects import check_body, fixed
from .engine import Credentials, Engine
from .enqueuing import Enqueued, Entry, enqueue, new_write, with_known_ids
from .reports import pending_write
from .sending import claim, deadline_of, send
from .settling import Settled, changing, recording, settle, tell
from .understanding import Call

#: How long a form's nonce is remembered, seconds; a little longer than the form itself is taken.
NONCE_KEPT = 13 * 3600.0


class Written(NamedTuple):
    """What became of one call's edit: the ``write`` as it stands (None: nothing is left of it), and the outcome."""

    write: Write | None
    outcome: Outcome | None = None
    reason: str | None = None
    #: Writes that vanished with a record that was deleted before it was sent.
    vanished: tuple[Write, ...] = ()


class Target(NamedTuple):
    """Where an edit goes: the owner, what the collection declares, the record, and since when it was seen."""

    owner: str
    declared: Declaration
    record_id: RecordId
    seen: int


#: Try an owner's lane in order, that of a write that could not go at once (``flush.try_lane``).
TryLane = Callable[[Engine, str, str], dict[str, Outcome]]


def write(engine: Engine, target: Target, edit: Edit, call: Call, try_lane: TryLane) -> Written:
    """Keep an edit durably, and send it at once where that is possible.

    Raises what ``enqueue`` raises, before anything is stored; ``Rejected`` or ``UpstreamError`` where the upstream
    refused; ``OutboxUnavailable`` where it could not be kept.
    """
    declared = target.declared
    check_body(declared, edit)
    credentials, reason = _may_send(engine, target, call)
    with changing(engine, target.owner) as change:
        if change.owner != target.owner:
            # The storage was adopted: its new owner's flush sends this, with that owner's credential. The model was
            # seen by the numbers of its first owner: all that is known may be newer, the history handed over too.
            credentials, reason = None, "It is kept for the account that took these changes over."
            target = target._replace(seen=-2)
        joined = _enqueue_once(engine, change, target, edit, call, reason)
        claimed = _claim_at_once(engine, change, joined, declared, call) if credentials else None
    if joined.write is None:
        return Written(None, vanished=joined.vanished)
    if claimed is not None and credentials is not None:
        return _send_at_once(engine, claimed, declared, credentials, call)
    if joined.repeated:
        return Written(joined.write)
    if joined.write.state is State.QUEUED:
        tell(engine, Settled(joined.write))
    if credentials is None:
        return Written(joined.write, reason=reason)
    outcomes = try_lane(engine, target.owner, joined.write.id)
    now = _as_it_stands(engine, target.owner, joined.write.id) or joined.write
    settled = Settled(now, withdrawn=now is joined.write)
    return _result(declared, settled, outcomes.get(joined.write.id))


def _as_it_stands(engine: Engine, owner: str, write_id: str) -> Write | None:
    """Read a write again, from its new owner where the storage was adopted meanwhile.

    Where the one before it in its lane was refused, it joined that one: give that.
    """
    found = engine.outbox.write(owner, write_id)
    if found is None:
        with engine.outbox.transaction(owner) as change:
            return change.find(write_id)
    if found.state is not State.DISCARDED:
        return found
    lane = engine.outbox.record_state(owner, found.store, found.record_id, UNSETTLED - 1).writes
    return lane[0] if lane and lane[0].seq < found.seq else found


def _may_send(engine: Engine, target: Target, call: Call) -> tuple[Credentials | None, str | None]:
    """Say whether this call may go upstream at once, and if not, why it is kept."""
    if not call.remote:
        return None, "It is kept here, as the call asked (remote=False)."
    if not engine.may_ask(target.declared.upstream):
        return None, "The upstream is out of reach."
    credentials = engine.credentials(target.owner, target.declared.upstream)
    if credentials.refusal is not None:
        return None, credentials.refusal
    return credentials, None


def _claim_at_once(
    engine: Engine, change: OwnerTransaction, joined: Enqueued, declared: Declaration, call: Call
) -> Write | None:
    """Claim in the transaction that enqueued, so that no flush comes between; only where the lane was free."""
    write = joined.write
    if write is None or not joined.lane_free:
        return None
    return claim(engine, change, write, declared, deadline_of(engine, declared, call), explicit=True)


def _send_at_once(
    engine: Engine,
    claimed: Write,
    declared: Declaration,
    credentials: Credentials,
    call: Call,
    *,
    may_go_again: bool = True,
) -> Written:
    until = engine.ticks() + deadline_of(engine, declared, call)
    outcome = send(engine, claimed, declared, credentials.auth, call)
    try:
        with recording([claimed]), changing(engine, claimed.owner) as change:
            settled = settle(engine, change, claimed, outcome, declared, own_call=True)
            left = until - engine.ticks()
            again = _claim_merged(engine, change, settled, declared, left) if may_go_again else None
    except OutboxUnavailable as error:
        # It was accepted, and so it is kept: its lease will be over, and then the next flush goes on with it.
        log_failure("the answer to write %s could not be recorded", claimed.id, error=error)
        return Written(claimed, outcome, str(error))
    tell(engine, settled)
    if again is not None:
        connect, total = call.timeout or engine.upstream(declared.upstream).config.timeout
        rest = call._replace(timeout=(min(connect, left), min(total, left)))
        return _send_at_once(engine, again, declared, credentials, rest, may_go_again=False)
    return _result(declared, settled, outcome)


def _claim_merged(
    engine: Engine, change: OwnerTransaction, settled: Settled, declared: Declaration, left: float
) -> Write | None:
    """Claim what was combined with the upstream's record, once more within the call's deadline."""
    combined = settled.write.state is State.QUEUED and merges_of(settled.write) > 0
    if not combined or settled.late or settled.withdrawn or left <= 0 or change.owner != settled.write.owner:
        return None
    return claim(engine, change, settled.write, declared, left, explicit=True)


def _result(declared: Declaration, settled: Settled, outcome: Outcome | None) -> Written:
    """Give what the view gets, or raise what it must hear: in doubt and conflict are kept and returned."""
    if outcome is None or settled.late:
        return Written(settled.write, outcome, settled.write.reason)
    refused = outcome.meaning in (Meaning.REJECTED, Meaning.UNAUTHORIZED)
    if refused or (settled.withdrawn and outcome.meaning is Meaning.IN_DOUBT):
        raise refusal(outcome, None if settled.withdrawn else settled.write)
    return Written(settled.write, outcome, settled.write.reason)


def refusal(outcome: Outcome, kept: Write | None) -> UpstreamError:
    """Make the error that tells a view of a refusal; ``kept`` is the write where it could not be withdrawn."""
    known: dict[str, Any] = {
        "status": outcome.status,
        "upstream_response": outcome.response,
        "problem": outcome.problem,
        "pending_write": None if kept is None else pending_write(kept),
    }
    message = outcome.reason or "The upstream refused it."
    if outcome.meaning is Meaning.IN_DOUBT:
        return UpstreamError(message, in_doubt=True, **known)
    return Rejected(message, errors=field_errors(outcome.problem or {}), **known)


# --- a form sent twice ---------------------------------------------------------------------------------------


def _enqueue_once(
    engine: Engine, change: OwnerTransaction, target: Target, edit: Edit, call: Call, reason: str | None
) -> Enqueued:
    """Enqueue, unless this form did already: same nonce and content give the first result and the same key."""
    if call.nonce is None:
        return _enqueue(engine, change, target, edit, reason)
    used = _used_by(change, target, edit, call.nonce)
    if used is not None:
        return _again(engine, change, target, edit, used, reason)
    joined = _enqueue(engine, change, target, edit, reason)
    _remember(change, target, edit, call.nonce, joined.write)
    return joined


def _used_by(change: OwnerTransaction, target: Target, edit: Edit, nonce: str) -> Used | None:
    """Read what this form, with this content, was used for."""
    content = _content_of(edit, target.declared.url, target.record_id)
    return change.nonce(nonce, content) or _used_before(change, target, edit, nonce)


def _remember(change: OwnerTransaction, target: Target, edit: Edit, nonce: str, made: Write | None) -> None:
    """Keep what a form made, or that it came to nothing: sent again it must not undo what was edited since."""
    content = _content_of(edit, target.declared.url, target.record_id)
    change.add_nonce(nonce, content, NOTHING_LEFT if made is None else made.id, change.now + NONCE_KEPT)


def _used_before(change: OwnerTransaction, target: Target, edit: Edit, nonce: str) -> Used | None:
    """Read what a form was used for when its record, or one above it, went by another of its ids.

    It was sent before that one was numbered, or with an old link since.
    """
    real = change.aliases(find(target.declared.url, target.record_id))
    url, record_id = bind_text(target.declared.url, real), bind(target.record_id, real)
    own = set() if edit.kind is Kind.CREATE else {str(record_id)}
    temp_ids = change.temp_ids(own | {above for _, above in parents(url)})
    for each in former_urls(url, temp_ids):
        for known in [record_id, *temp_ids.get(str(record_id), ())]:
            used = change.nonce(nonce, _content_of(edit, each, known))
            if used is not None:
                return used
    return None


def _again(
    engine: Engine, change: OwnerTransaction, target: Target, edit: Edit, used: Used, reason: str | None
) -> Enqueued:
    """Give a form's first result, or make it anew where its write was withdrawn, or given up by its owner since."""
    if used.write_id == NOTHING_LEFT:
        return Enqueued(None, repeated=True)
    first = change.find(used.write_id)
    if first is not None and first.state is not State.DISCARDED:
        return Enqueued(first, repeated=True)
    write_id = used.write_id if first is None else new_id()
    joined = _enqueue(engine, change, target, edit, reason, write_id=write_id)
    change.form_makes(used, NOTHING_LEFT if joined.write is None else joined.write.id)
    if joined.write is None or joined.write.id != write_id or joined.write.refers:
        return joined
    if joined.write.kind is not Kind.CREATE and not joined.lane_free:
        # Behind another it must be free to be rebased; a create alone would do harm under another key.
        return joined
    # It was taken back, but may have been applied all the same: the same key and bytes let the upstream tell.
    again = fixed(joined.write, target.declared._replace(url=joined.write.url))
    # The form is as old as its key, or older.
    known = again._replace(key=used.key, key_since=min(change.now, used.expires_at - NONCE_KEPT))
    if used.key is None or request_digest(known) != used.sent:
        return joined
    known = known._replace(may_have_arrived=True)
    if next_step(known, engine.rules(target.declared), change.now) is not Step.SEND:
        # The first may still be on its way, behind whoever answered for it: looked for now, it could be missed.
        lease = lease_end(change.now, deadline_of(engine, target.declared, Call()))
        reason = "The same form was sent before, and that may have been applied."
        known = known._replace(state=State.IN_DOUBT, lease=lease, reason=reason)
    return joined._replace(write=change.update(joined.write, known))


def _enqueue(
    engine: Engine,
    change: OwnerTransaction,
    target: Target,
    edit: Edit,
    reason: str | None,
    write_id: str | None = None,
) -> Enqueued:
    entry = Entry(target.declared, target.record_id, edit, target.seen, write_id or new_id(), reason)
    return enqueue(change, entry, engine.config.max_pending)


def _content_of(edit: Edit, url: str, record_id: RecordId) -> str:
    """Tell one content from another: what a form says, without the id that we made up for it."""
    known = None if edit.kind is Kind.CREATE else str(record_id)
    content = [url, known, edit.kind, edit.given]
    return sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


# --- one side only -------------------------------------------------------------------------------------------


def write_local(engine: Engine, target: Target, edit: Edit, call: Call) -> Write | None:
    """Keep a record of a local collection: durable, never dirty, never sent. None for a delete."""
    with engine.outbox.transaction(target.owner) as change:
        used = None if call.nonce is None else _used_by(change, target, edit, call.nonce)
        if used is not None and used.write_id == NOTHING_LEFT:
            return None
        first = None if used is None else change.find(used.write_id)
        if first is not None:
            return first
        kept = _keep_local(change, with_known_ids(change, _entry(target, edit)))
        if used is not None:
            change.form_makes(used, NOTHING_LEFT if kept is None else kept.id)
        elif call.nonce is not None:
            _remember(change, target, edit, call.nonce, kept)
        return kept


def _keep_local(change: OwnerTransaction, entry: Entry) -> Write | None:
    edit, declared = entry.edit, entry.declared
    lane = change.lane(declared.store, entry.record_id)
    there = lane[-1] if lane else None
    if edit.kind is Kind.DELETE:
        if there is not None:
            change.remove(there)
        return None
    if edit.kind is Kind.CREATE and there is not None:
        raise ValidationFailed({declared.id_attribute: f"There is a record {entry.record_id!r} already."})
    if there is not None:
        wanted = {**(there.attributes or {}), **(edit.changed or {})}
        refers = bool(of_write(wanted, there.url, there.record_id))
        return change.update(there, there._replace(attributes=wanted, refers=refers, edits=there.edits + 1))
    own = {} if declared.singleton else {declared.id_attribute: entry.record_id}
    kept = edit._replace(kind=Kind.CREATE, attributes={**(edit.attributes or {}), **own}, base=None)
    return change.insert(new_write(entry._replace(edit=kept), change.owner, change.now, State.LOCAL))


def _entry(target: Target, edit: Edit) -> Entry:
    return Entry(target.declared, target.record_id, edit, target.seen, new_id())


def write_remote(engine: Engine, target: Target, edit: Edit, call: Call) -> Outcome:
    """Send an edit past the outbox: nothing is queued, nothing cached, every failure raises."""
    declared = target.declared
    _check_numbered(target, edit)
    if not engine.may_ask(declared.upstream):
        raise UpstreamUnreachable(
            "The upstream is out of reach.", engine.upstream(declared.upstream).breaker.open_for() or None
        )
    credentials = engine.credentials(target.owner, declared.upstream)
    auth = credentials.require()
    # Nothing waits here to be combined and sent again: a conflict is the caller's to hear.
    alone = target._replace(declared=declared._replace(conflict="manual"))
    unqueued = _unqueued(engine, target, edit)
    if call.nonce is not None:
        outcome = _send_once(engine, alone, edit, unqueued, auth, call, call.nonce)
    else:
        outcome = send(engine, unqueued, alone.declared, auth, call)
    match outcome.meaning:
        case Meaning.APPLIED:
            return outcome
        case Meaning.UNREACHABLE | Meaning.NOT_NOW:
            raise UpstreamUnreachable(outcome.reason or "The upstream is out of reach.", outcome.retry_after)
        case Meaning.CONFLICT if outcome.gone:
            raise RecordGone(outcome.reason or "The record was deleted upstream.")
        case _:
            raise refusal(outcome, None)


def _send_once(engine: Engine, target: Target, edit: Edit, write: Write, auth: Any, call: Call, nonce: str) -> Outcome:
    """Send what no outbox holds, unless its form was sent before: that is kept with its key, before a byte goes out.

    A form whose first send may have arrived goes again with the same key, where the upstream can tell by that; else
    it is in doubt.
    """
    with engine.outbox.transaction(target.owner) as change:
        used = _used_by(change, target, edit, nonce)
        if used is None:
            _remember(change, target, edit, nonce, write)
            change.keep_key(write)
            used = _used_by(change, target, edit, nonce)
        elif used.write_id == NOTHING_LEFT:
            return Outcome(Meaning.APPLIED, reason="This form was sent before, and the upstream has it.")
        else:
            write = write._replace(id=used.write_id, key=used.key, key_since=0.0)
            if request_digest(write) != used.sent or not resend_is_safe(
                write, engine.rules(target.declared), change.now
            ):
                reason = "This form was sent before, and nobody knows whether the upstream took it. Look there first."
                return Outcome(Meaning.IN_DOUBT, reason=reason)
    outcome = send(engine, write, target.declared, auth, call)
    try:
        with engine.outbox.transaction(target.owner) as change:
            if outcome.meaning is Meaning.APPLIED:
                change.form_made(NOTHING_LEFT, write.id)
            elif used is not None and _can_not_have_arrived(outcome):
                change.forget_nonce(used)
    except OutboxUnavailable as error:
        # What came of it is true all the same; the form sent again is told by its key.
        log_failure("what a form came to could not be recorded", error=error)
    return outcome


def _can_not_have_arrived(outcome: Outcome) -> bool:
    """Say whether a send that was not applied never will be."""
    if outcome.meaning is Meaning.UNREACHABLE:
        return outcome.unsent
    return outcome.meaning is not Meaning.IN_DOUBT


def _check_numbered(target: Target, edit: Edit) -> None:
    """No temporary id ever reaches the upstream, past the outbox neither. Raises ``ValidationFailed``."""
    own = {str(target.record_id)} if edit.kind is Kind.CREATE else set()
    for temp_id in find(edit.attributes, target.declared.url, target.record_id) - own:
        raise ValidationFailed({temp_id: "is the id of a record that the upstream does not have yet; sync it first."})


def _unqueued(engine: Engine, target: Target, edit: Edit) -> Write:
    """Make a write that no outbox holds, ready to be sent once."""
    declared = target.declared
    now = engine.clock()
    write = new_write(_entry(target, edit), target.owner, now, State.SENDING)
    return fixed(write, declared)._replace(key=new_id(), key_since=now)
