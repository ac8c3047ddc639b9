"""Claim and send: a write is fixed, leased, sent, and its answer turned into an outcome. The one place that sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError, ValidationFailed
from ..logs import log_failure
from ..policy import references
from ..policy.backoff import LONGEST_RETRY_AFTER
from ..policy.planning import is_due, is_held, lease_end
from ..policy.settling import Step, next_step
from ..storage.database import new_id
from ..storage.outbox import OwnerTransaction
from ..types import Declaration, Meaning, Outcome, RecordId, Request, State, Write
from ..upstream.dialects import fixed, headers_of
from .conflicts import decided
from .engine import Engine, Exchanged
from .understanding import Call, Sending, compared, is_compared_first, understand


def deadline_of(engine: Engine, declared: Declaration, call: Call) -> float:
    """Give how long an answer may take in all, seconds."""
    return (call.timeout or engine.upstream(declared.upstream).config.timeout)[1]


def claim(
    engine: Engine, change: OwnerTransaction, write: Write, declared: Declaration, deadline: float, *, explicit: bool
) -> Write | None:
    """Take a write for sending: lease, fence, and for a first send key and bytes. None where it may not go now.

    ``deadline`` is how long its answer may take, seconds.
    """
    if not is_due(write, change.now, explicit=explicit):
        return None
    asked = change.asked_to_wait(write.upstream)
    if is_held(asked, change.now, LONGEST_RETRY_AFTER):
        # It was out of the queue when the upstream asked its owner to wait.
        change.update(write, write._replace(retry_after=asked))
        return None
    if next_step(write, engine.rules(declared), change.now) is Step.HOLD:
        change.decide(write, _held(write))
        return None
    claimed = write if write.frozen else _freeze(change, write, declared)
    if claimed is None:
        return None
    requests = 2 if is_compared_first(claimed, declared) else 1
    lease = lease_end(change.now, requests * deadline)
    in_doubt = write.state in (State.SENDING, State.IN_DOUBT)
    arrived = claimed.may_have_arrived or in_doubt
    claimed = claimed._replace(state=State.SENDING, fence=write.fence + 1, lease=lease, may_have_arrived=arrived)
    return change.update(write, claimed._replace(doubts=_doubts(write)))


def renew(engine: Engine, write: Write, deadline: float) -> bool:
    """Let a claimed write's lease begin anew; False where it is not this worker's, or not this owner's, any more."""
    with engine.outbox.transaction(write.owner) as change:
        now = change.find(write.id)
        if now is None or now.fence != write.fence or now.state is not State.SENDING or change.owner != write.owner:
            return False
        change.update(now, now._replace(lease=lease_end(change.now, deadline)))
        return True


def _held(write: Write) -> Write:
    reason = write.reason or "Its answer never came: the process that sent it ended, or lost its way."
    return write._replace(state=State.IN_DOUBT, not_before=None, lease=0.0, reason=reason, doubts=_doubts(write))


def _doubts(write: Write) -> int:
    """Count its sends in doubt; that a write is still being sent after its lease is one more."""
    return write.doubts + (write.state is State.SENDING)


def _freeze(change: OwnerTransaction, write: Write, declared: Declaration) -> Write | None:
    """Fix its request: from here on, the same key carries the same bytes. None while it refers to a temporary id."""
    if write.refers and references.of_write(write.attributes, write.url, write.record_id):
        return None
    declared = declared._replace(url=write.url, store=write.store)
    try:
        # Rebased since, it may have lost the field that referred.
        claimed = fixed(write._replace(refers=False), declared)
    except ValidationFailed as error:
        change.decide(write, write._replace(state=State.REJECTED, not_before=None, reason=str(error), refers=False))
        return None
    return claimed._replace(key=new_id(), key_since=change.now)


def with_real_ids(write: Write, real: Mapping[str, RecordId]) -> Write:
    """Put real ids in place in all that a write holds, and say whether it still refers to others."""
    bound = write._replace(
        store=references.bind_text(write.store, real),
        url=references.bind_text(write.url, real),
        params=references.bind(dict(write.params), real),
        record_id=references.bind(write.record_id, real),
        attributes=references.bind(write.attributes, real),
        base=references.bind(write.base, real),
    )
    return bound._replace(refers=bool(references.of_write(bound.attributes, bound.url, bound.record_id)))


def send(engine: Engine, write: Write, declared: Declaration, auth: Any, call: Call) -> Outcome:
    """Send a claimed write and say what came of it. Touches no storage; runs in any thread.

    Whatever the app's hooks raise becomes an outcome: the write is claimed, and must not be stuck until its lease ends.
    """
    sending = Sending(engine, write, declared._replace(url=write.url), auth, call)
    request = prepared(sending)
    if isinstance(request, Outcome):
        return request
    try:
        exchanged = engine.exchange(write.upstream, request, auth, call.timeout)
    except (ValidationFailed, ConfigurationError) as error:
        return not_sent(str(error))
    return answered(sending, exchanged)


def prepared(sending: Sending) -> Request | Outcome:
    """Give the request of a claimed write, or the outcome where it is not to be sent."""
    write, declared = sending.write, sending.declared
    try:
        before = compared(sending) if is_compared_first(write, declared) else write
        if isinstance(before, Outcome):
            return decided(sending.engine, write, declared, before)
        return _request(sending._replace(write=before))
    except Exception as error:  # noqa: BLE001  # the app's headers() failed, before a byte of it went out
        log_failure("headers() failed for store %s", write.store, error=error)
        return not_sent(f"headers() failed: {type(error).__name__}")


def answered(sending: Sending, exchanged: Exchanged) -> Outcome:
    """Give the outcome of a write that was answered, or was not; reads what is still to be known."""
    write, declared = sending.write, sending.declared
    try:
        return decided(sending.engine, write, declared, understand(sending, exchanged))
    except Exception as error:  # noqa: BLE001  # the app's parse() failed as guarded() does not expect it to
        log_failure("an answer for store %s could not be understood", write.store, error=error)
        reason = f"It was answered, but the answer could not be understood here ({type(error).__name__})."
        return Outcome(Meaning.IN_DOUBT, reason=reason)


def not_sent(why: str) -> Outcome:
    """Give the outcome of a write of which no byte went out."""
    return Outcome(Meaning.UNREACHABLE, unsent=True, reason=f"It could not be sent ({why}).")


def _request(sending: Sending) -> Request:
    write, declared = sending.write, sending.declared
    if write.method is None or write.path is None:
        raise ValueError("a write is claimed before it is sent")
    headers = {**sending.headers(), **headers_of(write, declared)}
    key_header = sending.engine.key_header(declared)
    if key_header and write.key:
        headers[key_header] = write.key
    return Request(write.method, write.path, headers, write.body)
