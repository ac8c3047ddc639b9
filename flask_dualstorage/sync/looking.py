"""Looking for a create in doubt before it goes again: the app's ``reconcile`` hook, or the upstream's list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ..errors import OutboxUnavailable, UpstreamUnreachable
from ..logs import log, log_failure
from ..policy import envelopes
from ..policy.backoff import wait_of
from ..policy.doubt import Search, Trace, as_listed, is_whole, look_for
from ..policy.outcomes import NOT_NOW, ReadMeaning, ReadOutcome, is_reachable, read_outcome
from ..policy.values import BadAnswer, as_record, as_records, has_all, usable_id
from ..policy.views import newer
from ..types import (
    Answer,
    Attributes,
    Declaration,
    Envelope,
    Failure,
    Json,
    Kind,
    Meaning,
    Outcome,
    RecordId,
    Request,
    State,
    Write,
)
from ..upstream.dialects import accept_of, chosen_id, list_path, path_of, without_temp_id
from ..upstream.paging import Heard, Pages
from .engine import Engine
from .reports import pending_write
from .sending import deadline_of, renew, send
from .understanding import Call, guarded

#: The ``settled_seq`` before all others: everything that is known of a store is later.
_ALL_KNOWN = -1


@dataclass(frozen=True, slots=True)
class UpstreamReader:
    """What a ``reconcile`` hook reads the upstream with: under the owner's credential, each GET within the deadline."""

    engine: Engine
    upstream: str
    auth: Any
    headers: Mapping[str, str]

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """GET ``path``, percent-encoded and joined to the upstream's URL.

        Raises ``UpstreamUnreachable`` where no answer came, an offline code, or "not now" (425, 429, 503).
        """
        request = Request("GET", path, self.headers, params=params)
        exchanged = self.engine.exchange(self.upstream, request, self.auth, None)
        answer = exchanged.answer
        if isinstance(answer, Failure):
            raise UpstreamUnreachable(answer.reason)
        if answer.status_code in NOT_NOW:
            wait = wait_of(answer.headers, self.engine.clock())
            raise UpstreamUnreachable(f"The upstream asks to wait (status {answer.status_code}).", wait)
        if not is_reachable(answer, exchanged.offline_codes):
            raise UpstreamUnreachable(f"The upstream is offline (status {answer.status_code}).")
        return answer


def look_and_send(engine: Engine, write: Write, declared: Declaration, auth: Any, call: Call) -> Outcome:
    """Look for what a create in doubt may have made; send it again, with its key, where it made nothing.

    Looking takes as long as it takes: the send has a lease of its own, and is left out where another worker has
    taken the write over meanwhile.
    """
    declared = declared._replace(url=write.url)
    headers = {**accept_of(declared.dialect), **declared.headers()}
    reader = UpstreamReader(engine, write.upstream, auth, headers)
    try:
        hook = engine.hooks.get("reconcile")
        search = _search(engine, write, declared, reader) if hook is None else _ask_app(hook, write, reader)
        if search.trace is Trace.NOT_MADE and not renew(engine, write, deadline_of(engine, declared, call)):
            return _not_sent("It was looked for, but another worker has taken it over.")
    except UpstreamUnreachable as error:
        wait = error.retry_after if isinstance(error.retry_after, int) else None
        return _not_sent(f"It could not be looked for: {error}")._replace(retry_after=wait)
    except (BadAnswer, OutboxUnavailable) as error:
        return _not_sent(f"It could not be looked for: {error}")
    if search.trace is Trace.NOT_MADE:
        return send(engine, write, declared, auth, call)
    found = None if search.record is None else search.record.get(declared.id_attribute)
    if search.trace is Trace.UNCLEAR or not usable_id(found):
        return UNCLEAR
    log.info("write %s of store %s was found upstream", write.id, write.store)
    record = {**(write.attributes or {}), **(search.record or {})}
    return Outcome(Meaning.APPLIED, record=record, record_id=found, found=True)


#: The owner must say: looking could not tell.
UNCLEAR = Outcome(
    Meaning.IN_DOUBT,
    reason="The upstream may have it: it lists records like this one, or does not list all that it has. "
    "Look there, then retry or discard this.",
    unsent=True,
    hold=True,
)


def _not_sent(reason: str) -> Outcome:
    return Outcome(Meaning.IN_DOUBT, reason=reason, unsent=True)


def _ask_app(hook: Callable[..., Any], write: Write, reader: UpstreamReader) -> Search:
    try:
        record = hook(pending_write(write), reader)
        return Search(Trace.NOT_MADE) if record is None else Search(Trace.MADE, dict(record))
    except UpstreamUnreachable:
        raise
    # The hook is the app's: the write must not be stuck until its lease ends, nor is this a send that was lost.
    except Exception as error:
        log_failure("the reconcile hook failed for write %s of store %s", write.id, write.store, error=error)
        raise BadAnswer(f"the app's reconcile hook failed ({type(error).__name__}).") from error


def _search(engine: Engine, write: Write, declared: Declaration, reader: UpstreamReader) -> Search:
    known = chosen_id(write, declared)
    return _search_list(engine, write, declared, reader) if known is None else _ask_for(known, write, declared, reader)


def _ask_for(known: RecordId, write: Write, declared: Declaration, reader: UpstreamReader) -> Search:
    """Ask for the record by the id that we gave it: nobody need guess."""
    outcome = _understood(reader, reader.get(path_of(declared, known)), declared, "record")
    if outcome.meaning is ReadMeaning.GONE:
        return Search(Trace.NOT_MADE)
    _require(outcome)
    record = as_record(guarded(declared.parse_record)(envelopes.record_in(declared.dialect, outcome.body)))
    record.setdefault(declared.id_attribute, known)
    shown = {name: value for name, value in _as_sent(write, declared).items() if name in record}
    return Search(Trace.MADE if has_all(record, shown) else Trace.UNCLEAR, record)


def _understood(reader: UpstreamReader, answer: Answer, declared: Declaration, operation: str) -> ReadOutcome:
    return read_outcome(answer, (), reader.engine.clock(), declared.dialect, operation)


def _is_out_of_sight(outcome: ReadOutcome) -> bool:
    """Say whether a list is gone, or was never there, or is not to be read: asking again tells no more."""
    if outcome.meaning is ReadMeaning.GONE:
        return True
    status = None if outcome.answer is None else outcome.answer.status_code
    return outcome.meaning is ReadMeaning.ERROR and status is not None and status < 500 and status != 401


def _require(outcome: ReadOutcome) -> None:
    if outcome.meaning is not ReadMeaning.FRESH:
        raise UpstreamUnreachable(outcome.reason or "it can not be read now.")


def _search_list(engine: Engine, write: Write, declared: Declaration, reader: UpstreamReader) -> Search:
    pages: Pages | None = declared.dialect.pages
    path, params = list_path(declared), {} if pages is None else pages.first({})
    answer = reader.get(path, params)
    outcome = _understood(reader, answer, declared, "list")
    if _is_out_of_sight(outcome):
        return Search(Trace.UNCLEAR)
    _require(outcome)
    found = envelopes.list_in(declared.dialect, outcome.body)
    listed = as_records(guarded(declared.parse_list)(found), declared.id_attribute)
    if answer.status_code == 206 or not _is_all(pages, Heard(path, params, answer.headers, outcome.body, len(listed))):
        return Search(Trace.UNCLEAR)
    # Read after the list: whatever made a record in it is known by now.
    cached = _whole_copy(engine, write, declared)
    state = engine.outbox.store_state(write.owner, write.store, _ALL_KNOWN)
    is_evidence = cached is not None and cached.epoch == state.epoch
    known = {str(record.get(declared.id_attribute)) for record in cached.records} if cached and is_evidence else None
    creates = [other for other in state.writes if other.kind is Kind.CREATE and other.id != write.id]
    made = {str(other.record_id) for other in creates if other.state is State.APPLIED}
    others = [_as_sent(other, declared) for other in creates if _may_be_there(other)]
    return look_for(_as_sent(write, declared), listed, known, declared.id_attribute, made, others)


def _whole_copy(engine: Engine, write: Write, declared: Declaration) -> Envelope | None:
    """Give the youngest copy of the whole list: where that is read by pages, its only page is one, too."""
    found: Envelope | None = None
    for query in ("",) if declared.dialect.pages is None else ("", "?"):
        copy = engine.bases.get(write.owner, write.store, query)
        found = newer(found, copy) if copy is not None and copy.page.complete else found
    return found


def _may_be_there(write: Write) -> bool:
    return write.state in (State.SENDING, State.IN_DOUBT) or (write.may_have_arrived and write.state is State.QUEUED)


def _is_all(pages: Pages | None, heard: Heard) -> bool:
    """Say whether this is all of a list; where its pages are not declared, by what most APIs say."""
    if pages is None:
        return is_whole(heard.headers, heard.body, heard.count)
    info = pages.told(heard)
    return info.complete and not info.has_next and (info.total or 0) <= heard.count


def _as_sent(write: Write, declared: Declaration) -> Attributes:
    """Give what went out, as a list would show it: what the app keeps to itself is not in it."""
    sent = _unwrapped(write, declared)
    try:
        parsed = declared.parse_record(sent)
    except (LookupError, TypeError, ValueError, AttributeError):
        # An envelope that answers have, and requests have not.
        parsed = sent
    return as_listed(sent, parsed)


def _unwrapped(write: Write, declared: Declaration) -> Json:
    """Take the record out of the body that was fixed; all of that where it can not be taken apart."""
    sent, dialect = orjson.loads(write.body or b"{}"), declared.dialect
    try:
        if not callable(dialect.wrap):
            return envelopes.take(dialect.wrap, sent)
        record = envelopes.writable(dialect, declared.serialize(without_temp_id(write, declared)))
        return record if envelopes.wrapped(dialect, record) == sent else sent
    except (LookupError, TypeError, ValueError, AttributeError):
        return sent
