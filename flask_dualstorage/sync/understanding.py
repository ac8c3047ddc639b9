"""What the answer to a sent write comes to, with what must be read again to know it. Keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..logs import log_failure
from ..policy import envelopes, outcomes
from ..policy.outcomes import ReadMeaning
from ..policy.values import BadAnswer, as_record, changes, has_all, same, usable_id
from ..types import Attributes, Declaration, Json, Kind, Meaning, Outcome, RecordId, Request, Write
from ..upstream.dialects import accept_of, chosen_id, path_of
from .engine import Engine, Exchanged


class Call(NamedTuple):
    """The options of one call: ``timeout`` in seconds (to connect, whole answer), ``headers`` for this send only."""

    remote: bool = True
    timeout: tuple[float, float] | None = None
    headers: Mapping[str, str] = {}
    nonce: str | None = None


class There(NamedTuple):
    """One record as the upstream has it now, and its strong validator; neither, where it could not be read."""

    record: Attributes | None = None
    validator: str | None = None
    gone: bool = False


class Sending(NamedTuple):
    """One write on its way, for what may have to be read to understand its answer."""

    engine: Engine
    write: Write
    declared: Declaration
    auth: Any
    call: Call

    def headers(self) -> dict[str, str]:
        """Give the headers of every request of this write's, read or written."""
        return {**accept_of(self.declared.dialect), **self.declared.headers(), **self.call.headers}

    def sent(self) -> outcomes.Sent:
        """Give what the table of outcomes must know of it."""
        write, declared = self.write, self.declared
        wanted = write.attributes or {}
        return outcomes.Sent(
            kind=write.kind,
            wanted=wanted,
            changed=envelopes.writable(declared.dialect, changes(write.base, wanted)),
            chosen_id=chosen_id(write, declared),
            id_attribute=declared.id_attribute,
            parse=self._told,
            dialect=declared.dialect,
            left_out=frozenset(envelopes.writable(declared.dialect, write.base or {})) - wanted.keys(),
            repeated=write.may_have_arrived and self.engine.rules(declared).honours_keys is not False,
        )

    def _told(self, body: Json) -> Json:
        told = envelopes.told_in(self.declared.dialect, body)
        return None if told is None else guarded(self.declared.parse_record)(told)

    def get(self, record_id: RecordId) -> Exchanged:
        """GET one record."""
        request = Request("GET", path_of(self.declared, record_id), self.headers())
        return self.engine.exchange(self.write.upstream, request, self.auth, self.call.timeout)

    def read(self, record_id: RecordId) -> There:
        """Read one record: what a conflict, or an answer without a record, leaves open."""
        return self.found(self.get(record_id))

    def found(self, exchanged: Exchanged) -> There:
        """Give what the answer to a GET of one record tells."""
        declared = self.declared
        outcome = outcomes.read_outcome(
            exchanged.answer, exchanged.offline_codes, self.engine.clock(), declared.dialect, "record"
        )
        if outcome.meaning is ReadMeaning.GONE:
            return There(gone=True)
        if outcome.meaning is not ReadMeaning.FRESH or outcome.answer is None:
            return There()
        try:
            told = envelopes.record_in(declared.dialect, outcome.body)
            record = as_record(guarded(declared.parse_record)(told))
        except BadAnswer:
            return There()
        return There(record, outcomes.strong_validator(outcome.answer.headers))


def understand(sending: Sending, exchanged: Exchanged) -> Outcome:
    """Give the outcome of a sent write, reading the record where its answer leaves something open."""
    sent, outcome = sending.sent(), by_table(sending, exchanged)
    match outcome.meaning:
        case Meaning.APPLIED if outcome.record_id is None:
            return _read_new_record(sending, sent, outcome)
        case Meaning.APPLIED if sending.declared.dialect.after_write == "read" and sent.kind is not Kind.DELETE:
            return _read_again(sending, outcome)
        case Meaning.CONFLICT if outcome.record is None and not outcome.gone:
            return _read_theirs(sending, sent, outcome)
        case Meaning.REJECTED if sent.kind is Kind.CREATE and sending.write.may_have_arrived:
            return _look_whether_made(sending, sent, outcome)
        case _:
            return outcome


def by_table(sending: Sending, exchanged: Exchanged) -> Outcome:
    """Give what the answer alone says of a sent write."""
    clock = sending.engine.clock
    return outcomes.write_outcome(sending.sent(), exchanged.answer, exchanged.offline_codes, clock())


def is_compared_first(write: Write, declared: Declaration) -> bool:
    """Say whether the record is read before this is sent: where the upstream can not compare it for us."""
    if not declared.read_before_write or write.kind is Kind.CREATE or write.base is None:
        return False
    return envelopes.version_of(declared.dialect, write.base, write.validator) is None


def compared(sending: Sending) -> Write | Outcome:
    """Read the record before it is changed: the write to send where it is what the write was made on, else a conflict.

    Where it can not be read nothing was sent, and the write waits.
    """
    write, declared, sent = sending.write, sending.declared, sending.sent()
    exchanged = sending.get(write.record_id)
    there = sending.found(exchanged)
    if there.record is None:
        return outcomes.not_compared(sent, exchanged.answer, exchanged.offline_codes, sending.engine.clock())
    if same(there.record, write.base) or (declared.conflict == "manual" and has_all(there.record, write.base or {})):
        return write._replace(validator=there.validator)
    conflict = Outcome(Meaning.CONFLICT, reason=outcomes.ANOTHER, response=exchanged.answer)
    return outcomes.settle_conflict(sent, conflict, there.record, there.validator)


def guarded(hook: Any) -> Any:
    """Run an app's parse hook; where it stumbles over an answer, that answer is a bad one, not our crash."""

    def parse(value: Json) -> Json:
        try:
            return hook(value)
        # Validation libraries have exceptions of their own.
        except Exception as error:
            log_failure("parse hook %r failed", hook, error=error)
            raise BadAnswer(f"the app's parse hook failed on it ({type(error).__name__}: {error})") from error

    return parse


def _read_new_record(sending: Sending, sent: outcomes.Sent, outcome: Outcome) -> Outcome:
    """A create that answered with a ``Location`` alone: read the record there, or be in doubt."""
    record_id = outcomes.location_id(outcome.response, sending.declared.dialect)
    there = There() if record_id is None else sending.read(record_id)
    found = None if there.record is None else there.record.get(sending.declared.id_attribute)
    if there.record is None or not usable_id(found):
        return outcome._replace(meaning=Meaning.IN_DOUBT, reason="It was taken, but the new record could not be read.")
    cached = sending.engine.bases.get(sending.write.owner, sending.write.store)
    known = set() if cached is None else {str(each.get(sending.declared.id_attribute)) for each in cached.records}
    if not outcomes.may_be_new(sent, there.record, known):
        reason = f"It was taken, but the Location in the answer is that of another record ({found!r:.60})."
        return outcome._replace(meaning=Meaning.IN_DOUBT, reason=reason)
    return outcome._replace(record=there.record, record_id=found, validator=there.validator)


def _read_again(sending: Sending, outcome: Outcome) -> Outcome:
    """The dialect says that an answer does not tell all: the record is read, or else what was told stands."""
    there = sending.read(sending.write.record_id if outcome.record_id is None else outcome.record_id)
    if there.record is None:
        return outcome
    return outcome._replace(record={**there.record, **_own_id(sending, outcome)}, validator=there.validator)


def _own_id(sending: Sending, outcome: Outcome) -> Attributes:
    return {} if sending.declared.singleton else {sending.declared.id_attribute: outcome.record_id}


def _read_theirs(sending: Sending, sent: outcomes.Sent, outcome: Outcome) -> Outcome:
    """The upstream holds another version: read it, so that it can be compared and shown."""
    there = sending.read(sending.write.record_id if sent.chosen_id is None else sent.chosen_id)
    if there.gone:
        return outcomes.settle_conflict(sent, outcome, None, None)
    if there.record is None:
        reason = f"{outcome.reason} It could not be read just now."
        return Outcome(Meaning.UNREACHABLE, outcome.status, reason=reason, response=outcome.response)
    return outcomes.settle_conflict(sent, outcome, there.record, there.validator)


def _look_whether_made(sending: Sending, sent: outcomes.Sent, outcome: Outcome) -> Outcome:
    """A refusal of what may have arrived before can mean that it is there: some call that a validation error."""
    there = There() if sent.chosen_id is None else sending.read(sent.chosen_id)
    if there.record is None or not has_all(there.record, sent.changed):
        return outcome
    return outcomes.settle_conflict(sent, outcome, there.record, there.validator)
