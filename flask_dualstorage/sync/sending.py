"""Claim and send: a write is fixed, leased, sent, and its answer turned into an outcome. The one place that sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ConfigurationError, ValidationFailed
from ..logs import log_failure
from ..policy import envelopes, outcomes, references
from ..policy.planning import is_due
from ..policy.settling import Step, next_step
from ..policy.values import BadAnswer, as_record, changes, has_all, same, usable_id
from ..storage.database import new_id
from ..storage.outbox import OwnerTransaction
from ..types import (
    Answer,
    Attributes,
    Declaration,
    Json,
    Kind,
    Meaning,
    Outcome,
    RecordId,
    Request,
    State,
    Write,
)
from ..upstream.dialects import accept_of, chosen_id, fixed, headers_of, path_of
from .conflicts import decided
from .engine import LEASE_GRACE, Engine, Exchanged


@dataclass(frozen=True, slots=True)
class Call:
    """The options of one call: ``timeout`` in seconds (to connect, whole answer), ``headers`` for this send only."""

    remote: bool = True
    timeout: tuple[float, float] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    nonce: str | None = None


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
    if asked > change.now:
        # It was out of the queue when the upstream asked its owner to wait.
        change.update(write, replace(write, retry_after=asked))
        return None
    if next_step(write, engine.rules(declared), change.now) is Step.HOLD:
        change.decide(write, _held(write))
        return None
    claimed = write if write.frozen else _freeze(change, write, declared)
    if claimed is None:
        return None
    lease = change.now + deadline + LEASE_GRACE
    in_doubt = write.state in (State.SENDING, State.IN_DOUBT)
    arrived = claimed.may_have_arrived or in_doubt
    claimed = replace(claimed, state=State.SENDING, fence=write.fence + 1, lease=lease, may_have_arrived=arrived)
    return change.update(write, replace(claimed, doubts=_doubts(write)))


def renew(engine: Engine, write: Write, deadline: float) -> bool:
    """Let a claimed write's lease begin anew; False where it is not this worker's, or not this owner's, any more."""
    with engine.outbox.transaction(write.owner) as change:
        now = change.find(write.id)
        if now is None or now.fence != write.fence or now.state is not State.SENDING or change.owner != write.owner:
            return False
        change.update(now, replace(now, lease=change.now + deadline + LEASE_GRACE))
        return True


def _held(write: Write) -> Write:
    reason = write.reason or "Its answer never came: the process that sent it ended, or lost its way."
    return replace(write, state=State.IN_DOUBT, not_before=None, lease=0.0, reason=reason, doubts=_doubts(write))


def _doubts(write: Write) -> int:
    """Count its sends in doubt; that a write is still being sent after its lease is one more."""
    return write.doubts + (write.state is State.SENDING)


def _freeze(change: OwnerTransaction, write: Write, declared: Declaration) -> Write | None:
    """Fix its request: from here on, the same key carries the same bytes. None while it refers to a temporary id."""
    if write.refers and references.of_write(write.attributes, write.url, write.record_id):
        return None
    # Rebased since, it may have lost the field that referred.
    write = replace(write, refers=False)
    declared = replace(declared, url=write.url, store=write.store)
    try:
        write = fixed(write, declared)
    except ValidationFailed as error:
        change.decide(write, replace(write, state=State.REJECTED, not_before=None, reason=str(error)))
        return None
    return replace(write, key=new_id(), key_since=change.now)


def with_real_ids(write: Write, real: Mapping[str, RecordId]) -> Write:
    """Put real ids in place in all that a write holds, and say whether it still refers to others."""
    bound = replace(
        write,
        store=references.bind_text(write.store, real),
        url=references.bind_text(write.url, real),
        params=references.bind(dict(write.params), real),
        record_id=references.bind(write.record_id, real),
        attributes=references.bind(write.attributes, real),
        base=references.bind(write.base, real),
    )
    return replace(bound, refers=bool(references.of_write(bound.attributes, bound.url, bound.record_id)))


def send(engine: Engine, write: Write, declared: Declaration, auth: Any, call: Call) -> Outcome:
    """Send a claimed write and say what came of it. Touches no storage; runs in any thread.

    Whatever the app's hooks raise becomes an outcome: the write is claimed, and must not be stuck until its lease ends.
    """
    declared = replace(declared, url=write.url)
    sending = _Sending(engine, write, declared, auth, call)
    try:
        compared = _compared(sending) if _is_compared_first(write, declared) else None
        if isinstance(compared, Outcome):
            return decided(engine, write, declared, compared)
        request = _request(engine, write if compared is None else compared, declared, call)
    except Exception as error:  # noqa: BLE001  # the app's headers() failed, before a byte of it went out
        log_failure("headers() failed for store %s", write.store, error=error)
        return _not_sent(f"headers() failed: {type(error).__name__}")
    try:
        exchanged = engine.exchange(write.upstream, request, auth, call.timeout)
    except (ValidationFailed, ConfigurationError) as error:
        return _not_sent(str(error))
    try:
        return decided(engine, write, declared, _understand(sending, exchanged))
    except Exception as error:  # noqa: BLE001  # the app's parse() failed as guarded() does not expect it to
        log_failure("an answer for store %s could not be understood", write.store, error=error)
        reason = f"It was answered, but the answer could not be understood here ({type(error).__name__})."
        return Outcome(Meaning.IN_DOUBT, reason=reason)


def _not_sent(why: str) -> Outcome:
    return Outcome(Meaning.UNREACHABLE, unsent=True, reason=f"It could not be sent ({why}).")


@dataclass(frozen=True, slots=True)
class _Sending:
    """One write on its way, for what may have to be read to understand its answer."""

    engine: Engine
    write: Write
    declared: Declaration
    auth: Any
    call: Call

    def get(self, record_id: RecordId) -> Exchanged:
        """GET one record."""
        request = Request("GET", path_of(self.declared, record_id), _asking(self.declared, self.call))
        return self.engine.exchange(self.write.upstream, request, self.auth, self.call.timeout)

    def read(self, record_id: RecordId) -> Answer | None:
        """Read one record: what a conflict, or a create without a body, leaves open. None where that fails."""
        answer = self.get(record_id).answer
        return answer if isinstance(answer, Answer) else None

    def sent(self) -> outcomes.Sent:
        """Give what the table of answers must know of the write."""
        write, declared = self.write, self.declared
        wanted = write.attributes or {}
        return outcomes.Sent(
            kind=write.kind,
            wanted=wanted,
            changed=envelopes.writable(declared.dialect, changes(write.base, wanted)),
            chosen_id=chosen_id(write, declared),
            id_attribute=declared.id_attribute,
            parse=lambda body: _told_in(declared, body),
            dialect=declared.dialect,
            left_out=frozenset(envelopes.writable(declared.dialect, write.base or {})) - wanted.keys(),
            repeated=write.may_have_arrived and self.engine.rules(declared).honours_keys is not False,
        )


def _is_compared_first(write: Write, declared: Declaration) -> bool:
    """Say whether the record is read before this is sent: where the upstream can not compare it for us."""
    if not declared.read_before_write or write.kind is Kind.CREATE or write.base is None:
        return False
    return envelopes.version_of(declared.dialect, write.base, write.validator) is None


def _compared(sending: _Sending) -> Write | Outcome:
    """Read the record before it is changed: the write to send where it is what the write was made on, else a conflict.

    Where it can not be read nothing was sent, and the write waits.
    """
    write, declared, sent = sending.write, sending.declared, sending.sent()
    exchanged = sending.get(write.record_id)
    answer = exchanged.answer
    found = _record_of(answer, declared) if isinstance(answer, Answer) else None
    if found is None or not isinstance(answer, Answer) or not outcomes.is_reachable(answer, exchanged.offline_codes):
        return outcomes.not_compared(sent, answer, exchanged.offline_codes, sending.engine.clock())
    validator = outcomes.strong_validator(answer.headers)
    if same(found, write.base) or (declared.conflict == "manual" and has_all(found, write.base or {})):
        return replace(write, validator=validator)
    conflict = Outcome(Meaning.CONFLICT, reason=outcomes.ANOTHER, response=answer)
    return outcomes.settle_conflict(sent, conflict, found, validator)


def _understand(sending: _Sending, exchanged: Exchanged) -> Outcome:
    sent = sending.sent()
    outcome = outcomes.write_outcome(sent, exchanged.answer, exchanged.offline_codes, sending.engine.clock())
    if outcome.meaning is Meaning.APPLIED and outcome.record_id is None:
        return _read_new_record(sending, outcome)
    if outcome.meaning is Meaning.CONFLICT and outcome.record is None and not outcome.gone:
        return _read_theirs(sending, sent, outcome)
    return outcome


def _told_in(declared: Declaration, body: Json) -> Json:
    """Take out of an answer to a write what it tells of the record, None where that is nothing."""
    told = envelopes.told_in(declared.dialect, body)
    return None if told is None else guarded(declared.parse_record)(told)


def _request(engine: Engine, write: Write, declared: Declaration, call: Call) -> Request:
    if write.method is None or write.path is None:
        raise ValueError("a write is claimed before it is sent")
    headers = {**_asking(declared, call), **headers_of(write, declared)}
    key_header = engine.key_header(declared)
    if key_header and write.key:
        headers[key_header] = write.key
    return Request(write.method, write.path, headers, write.body)


def _asking(declared: Declaration, call: Call) -> dict[str, str]:
    return {**accept_of(declared.dialect), **declared.headers(), **call.headers}


def guarded(hook: Any) -> Any:
    """Run an app's parse hook; where it stumbles over an answer, that answer is a bad one, not our crash."""

    def parse(value: Json) -> Json:
        try:
            return hook(value)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            log_failure("parse hook %r failed", hook, error=error)
            raise BadAnswer(f"the app's parse hook failed on it ({type(error).__name__}: {error})") from error

    return parse


def _read_new_record(sending: _Sending, outcome: Outcome) -> Outcome:
    """A create that answered with a ``Location`` alone: read the record there, or be in doubt."""
    record_id = outcomes.location_id(outcome.response, sending.declared.dialect)
    answer = None if record_id is None else sending.read(record_id)
    record = None if answer is None else _record_of(answer, sending.declared)
    found = None if record is None else record.get(sending.declared.id_attribute)
    if answer is None or record is None or not usable_id(found):
        return replace(outcome, meaning=Meaning.IN_DOUBT, reason="It was taken, but the new record could not be read.")
    return replace(outcome, record=record, record_id=found, validator=outcomes.strong_validator(answer.headers))


def _record_of(answer: Answer, declared: Declaration) -> Attributes | None:
    if not 200 <= answer.status_code < 300:
        return None
    try:
        told = envelopes.record_in(declared.dialect, outcomes.body_of(answer))
        return as_record(guarded(declared.parse_record)(told))
    except BadAnswer:
        return None


def _read_theirs(sending: _Sending, sent: outcomes.Sent, outcome: Outcome) -> Outcome:
    """The upstream holds another version: read it, so that it can be compared and shown."""
    answer = sending.read(sending.write.record_id if sent.chosen_id is None else sent.chosen_id)
    if answer is not None and answer.status_code in (404, 410):
        return outcomes.settle_conflict(sent, outcome, None, None)
    record = None if answer is None else _record_of(answer, sending.declared)
    if answer is None or record is None:
        reason = f"{outcome.reason} It could not be read just now."
        return Outcome(Meaning.UNREACHABLE, outcome.status, reason=reason, response=outcome.response)
    return outcomes.settle_conflict(sent, outcome, record, outcomes.strong_validator(answer.headers))
