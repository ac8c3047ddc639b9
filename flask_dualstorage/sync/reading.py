"""Reading: fetch, fall back to the copy, lay the owner's writes over it (DESIGN §4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from ..errors import NotCached, UpstreamError, UpstreamUnreachable
from ..policy.outcomes import ReadMeaning, ReadOutcome, read_outcome, strong_validator
from ..policy.problems import problem_of
from ..policy.references import find
from ..policy.values import BadAnswer, as_record, as_records
from ..policy.views import Seen, View, kept_validators, key_of, lay_over, newer
from ..storage.outbox import StoreState
from ..types import Answer, Attributes, Declaration, Envelope, Json, RecordId, Request
from ..upstream.dialects import path_of
from .engine import Engine
from .sending import guarded

NO_BASE = -1
HELD = "Changes made here wait to be sent."
UNNUMBERED = "The upstream does not have the record yet that this belongs to."


@dataclass(frozen=True, slots=True)
class Fetch:
    """The options of one read: ``timeout`` in seconds (to connect, whole answer), ``max_age`` in seconds."""

    params: Mapping[str, str] = field(default_factory=dict)
    add: bool = False
    when_dirty: str | None = None
    max_age: float = 0.0
    timeout: tuple[float, float] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """The name under which this list is kept beside others of its store."""
        return urlencode(sorted(self.params.items()))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a read gives: the view, ``source`` (``"upstream"``, ``"cache"``, ``"local"``), ``age`` in seconds, why."""

    view: View
    source: str
    seen: int
    age: float | None = None
    reason: str | None = None
    envelope: Envelope | None = None


@dataclass(frozen=True, slots=True)
class _Here:
    """What is here of a store or a record: the copy, if it is of this epoch, and what lies over it."""

    envelope: Envelope | None
    state: StoreState

    @property
    def has_something(self) -> bool:
        return self.envelope is not None or bool(self.state.writes)


def _list_here(engine: Engine, owner: str, declared: Declaration, query: str) -> _Here:
    """One cache call, one SELECT."""
    envelope = engine.bases.get(owner, declared.store, query)
    state = engine.outbox.store_state(owner, declared.store, NO_BASE if envelope is None else envelope.began)
    if envelope is not None and envelope.epoch != state.epoch:
        return _Here(None, engine.outbox.store_state(owner, declared.store, NO_BASE))
    return _Here(envelope, state)


def _record_here(engine: Engine, owner: str, declared: Declaration, record_id: RecordId) -> _Here:
    """The record's own copy or the list's, whichever began later, cut down to this record."""
    state = engine.outbox.record_state(owner, declared.store, record_id, NO_BASE)
    own = engine.bases.get(owner, declared.store, record_query(record_id))
    listed = _cut(engine.bases.get(owner, declared.store), declared, record_id)
    of_epoch = [each if each is not None and each.epoch == state.epoch else None for each in (own, listed)]
    envelope = newer(*of_epoch)
    if envelope is None:
        return _Here(None, state)
    over = [write for write in state.writes if write.settled_seq > envelope.began]
    return _Here(envelope, replace(state, writes=over))


def _cut(envelope: Envelope | None, declared: Declaration, record_id: RecordId) -> Envelope | None:
    if envelope is None:
        return None
    text = str(record_id)
    found = [record for record in envelope.records if str(record.get(declared.id_attribute)) == text]
    return replace(envelope, records=found, etag=None, last_modified=None) if found else None


def record_query(record_id: RecordId) -> str:
    """The name under which one record is kept beside its list; no query string looks so."""
    return f"\0{record_id}"


def _view(here: _Here, declared: Declaration) -> View:
    base, validators = ([], {}) if here.envelope is None else (here.envelope.records, here.envelope.validators)
    return lay_over(base, here.state.writes, declared.key_attribute, validators)


# --- a list --------------------------------------------------------------------------------------------------


def view_list(engine: Engine, owner: str, declared: Declaration, fetch: Fetch) -> Loaded:
    """Give the view from what is here, without a request; empty where nothing is."""
    return _from_here(
        engine, _list_here(engine, owner, declared, fetch.query), declared, "The call asked for no request."
    )


def fetch_list(engine: Engine, owner: str, declared: Declaration, fetch: Fetch) -> Loaded:
    """Fetch a list, or give the copy with the reason why.

    Raises ``NotCached`` where nothing is here, ``UpstreamError`` for an error status, ``NoCredentials``.
    """
    here = _list_here(engine, owner, declared, fetch.query)
    if _is_unnumbered(declared):
        return _from_here(engine, here, declared, UNNUMBERED)
    if _is_held(here, declared, fetch):
        return _from_here(engine, here, declared, HELD)
    if _is_young(engine, here, fetch):
        return _from_here(engine, here, declared, None)
    outcome = _get(engine, owner, declared, declared.url, fetch, here.envelope)
    if outcome.meaning is ReadMeaning.NOT_MODIFIED and here.envelope is not None:
        return _keep(engine, owner, declared, fetch, here, here.envelope.records, outcome)
    if outcome.meaning is ReadMeaning.FRESH:
        try:
            records = as_records(guarded(declared.parse_list)(outcome.body), declared.id_attribute)
            return _keep(engine, owner, declared, fetch, here, records, outcome)
        except BadAnswer as error:
            outcome = replace(outcome, meaning=ReadMeaning.UNAVAILABLE, reason=_unusable(error))
    if outcome.meaning is ReadMeaning.UNAVAILABLE:
        return _fall_back(engine, here, declared, outcome)
    raise _error(outcome)


def _is_unnumbered(declared: Declaration) -> bool:
    """A collection under a record that the upstream has not numbered: no temporary id ever reaches the upstream."""
    return bool(find(declared.url))


def _unusable(error: BadAnswer) -> str:
    return f"The upstream's answer can not be used: {error}."


def _is_held(here: _Here, declared: Declaration, fetch: Fetch) -> bool:
    """Writes that wait hold a fetch, unless there is no copy to show them on [Backbone: dirty collections]."""
    when_dirty = fetch.when_dirty or declared.when_dirty
    return when_dirty == "local" and here.envelope is not None and here.state.waiting


def _is_young(engine: Engine, here: _Here, fetch: Fetch) -> bool:
    return fetch.max_age > 0 and here.envelope is not None and _age(engine, here.envelope) < fetch.max_age


def _age(engine: Engine, envelope: Envelope) -> float:
    return max(0.0, engine.clock() - envelope.fetched_at)


def _get(
    engine: Engine, owner: str, declared: Declaration, path: str, fetch: Fetch, envelope: Envelope | None
) -> ReadOutcome:
    """One GET, conditional where a validator is known (RFC 9110 §13.1), unless the upstream is known to be away."""
    if not engine.may_ask(declared.upstream):
        wait = engine.upstream(declared.upstream).breaker.open_for() or None
        return ReadOutcome(ReadMeaning.UNAVAILABLE, reason="The upstream is out of reach.", retry_after=wait)
    credentials = engine.credentials(owner, declared.upstream)
    credentials.require()
    conditions = {}
    if envelope is not None and envelope.etag:
        conditions["If-None-Match"] = envelope.etag
    if envelope is not None and envelope.last_modified:
        conditions["If-Modified-Since"] = envelope.last_modified
    headers = {**declared.headers(), **conditions, **fetch.headers}
    request = Request("GET", path, headers, params=fetch.params or None)
    answer = engine.exchange(declared.upstream, request, credentials.auth, fetch.timeout)
    codes = engine.upstream(declared.upstream).offline_codes(answer) if isinstance(answer, Answer) else ()
    outcome = read_outcome(answer, codes, engine.clock())
    if outcome.meaning is ReadMeaning.NOT_MODIFIED and envelope is None:
        return replace(
            outcome, meaning=ReadMeaning.ERROR, reason="The upstream answered 304 to an unconditional request."
        )
    return outcome


def _keep(
    engine: Engine,
    owner: str,
    declared: Declaration,
    fetch: Fetch,
    here: _Here,
    records: list[Attributes],
    outcome: ReadOutcome,
) -> Loaded:
    """Replace the copy by what came, and lay over it what was settled since the request began, or waits."""
    answer = outcome.answer
    before = _view(here, declared)
    if fetch.add and here.envelope is not None:
        records = _merged(here.envelope.records, records, declared.id_attribute)
    envelope = Envelope(
        records=records,
        epoch=here.state.epoch,
        began=here.state.settled_seq,
        fetched_at=engine.clock(),
        complete=not fetch.params,
        validators=kept_validators(records, before, declared.key_attribute),
        etag=None if answer is None or fetch.add else answer.headers.get("ETag"),
        last_modified=None if answer is None or fetch.add else answer.headers.get("Last-Modified"),
    )
    engine.bases.put(owner, declared.store, envelope, fetch.query)
    state = engine.outbox.store_state(owner, declared.store, envelope.began)
    return Loaded(_view(_Here(envelope, state), declared), "upstream", state.settled_seq, 0.0, envelope=envelope)


def look_again(engine: Engine, owner: str, declared: Declaration, loaded: Loaded) -> Loaded:
    """Lay what is pending now over what was loaded: how a list follows the writes of its own request. One SELECT."""
    since = NO_BASE if loaded.envelope is None else loaded.envelope.began
    state = engine.outbox.store_state(owner, declared.store, since)
    view = _view(_Here(loaded.envelope, state), declared)
    return replace(loaded, view=view, seen=state.settled_seq)


def _merged(old: list[Attributes], new: list[Attributes], id_attribute: str) -> list[Attributes]:
    """``add=True``: what is there stays, what came replaces its like or joins at the end."""
    by_id = {str(record.get(id_attribute)): record for record in old}
    by_id.update({str(record[id_attribute]): record for record in new})
    return list(by_id.values())


def _fall_back(engine: Engine, here: _Here, declared: Declaration, outcome: ReadOutcome) -> Loaded:
    limit = engine.config.stale_if_error
    if here.envelope is not None and limit is not None and _age(engine, here.envelope) > limit:
        here = _Here(None, here.state)
    if not here.has_something:
        raise NotCached(f"{outcome.reason} No copy of {declared.url} is kept here.", outcome.retry_after)
    return _from_here(engine, here, declared, outcome.reason)


def _from_here(engine: Engine, here: _Here, declared: Declaration, reason: str | None) -> Loaded:
    source = "local" if here.envelope is None else "cache"
    age = None if here.envelope is None else _age(engine, here.envelope)
    return Loaded(_view(here, declared), source, here.state.settled_seq, age, reason, here.envelope)


def _error(outcome: ReadOutcome) -> UpstreamError:
    answer = outcome.answer
    problem = None if answer is None else problem_of(answer)
    return UpstreamError(
        outcome.reason or "The upstream answered with an error.",
        status=None if answer is None else answer.status_code,
        upstream_response=answer,
        problem=problem,
    )


# --- one record ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoadedRecord:
    """What reading one record gives; ``seen`` is None where it is gone, or never was."""

    record: Seen | None
    source: str
    seen: int
    age: float | None = None
    reason: str | None = None


def view_record(engine: Engine, owner: str, declared: Declaration, record_id: RecordId) -> LoadedRecord:
    """Give one record from what is here, without a request."""
    here = _record_here(engine, owner, declared, record_id)
    return _record_from_here(engine, here, declared, record_id, "The call asked for no request.")


def fetch_record(engine: Engine, owner: str, declared: Declaration, record_id: RecordId, fetch: Fetch) -> LoadedRecord:
    """GET one record, or give the copy with the reason why; raises as ``fetch_list`` does."""
    here = _record_here(engine, owner, declared, record_id)
    if find(declared.url, record_id):
        return _record_from_here(engine, here, declared, record_id, UNNUMBERED)
    if _is_pending_here(here, declared, fetch) or _is_young(engine, here, fetch):
        reason = HELD if here.state.waiting else None
        return _record_from_here(engine, here, declared, record_id, reason)
    own = engine.bases.get(owner, declared.store, record_query(record_id))
    if own is not None and own.epoch != here.state.epoch:
        own = None
    outcome = _get(engine, owner, declared, path_of(declared, record_id), fetch, own)
    if outcome.meaning is ReadMeaning.NOT_MODIFIED and own is not None:
        return _keep_record(engine, owner, declared, record_id, here, own.records[0], outcome)
    if outcome.meaning is ReadMeaning.FRESH:
        try:
            record = _usable_record(outcome.body, declared, record_id)
            return _keep_record(engine, owner, declared, record_id, here, record, outcome)
        except BadAnswer as error:
            outcome = replace(outcome, meaning=ReadMeaning.UNAVAILABLE, reason=_unusable(error))
    if outcome.meaning is ReadMeaning.GONE:
        engine.bases.forget(owner, declared.store, record_query(record_id))
        return LoadedRecord(None, "upstream", here.state.settled_seq, 0.0, outcome.reason)
    if outcome.meaning is ReadMeaning.UNAVAILABLE:
        return _record_fall_back(engine, here, declared, record_id, outcome)
    raise _error(outcome)


def _usable_record(body: Json, declared: Declaration, record_id: RecordId) -> Attributes:
    record = as_record(guarded(declared.parse_record)(body))
    if declared.singleton:
        return record
    found = record.get(declared.id_attribute)
    if found is None:
        return {**record, declared.id_attribute: record_id}
    if str(found) != str(record_id):
        raise BadAnswer(f"it holds the record {found!r:.60} where {record_id!r:.60} was asked")
    return record


def _is_pending_here(here: _Here, declared: Declaration, fetch: Fetch) -> bool:
    """Its own writes wait and there is something to show them on."""
    when_dirty = fetch.when_dirty or declared.when_dirty
    if when_dirty != "local" or not here.state.waiting:
        return False
    return here.envelope is not None or any(
        write.base is not None or write.kind == "create" for write in here.state.writes
    )


def _keep_record(
    engine: Engine,
    owner: str,
    declared: Declaration,
    record_id: RecordId,
    here: _Here,
    record: Attributes,
    outcome: ReadOutcome,
) -> LoadedRecord:
    headers: Mapping[str, str] = {} if outcome.answer is None else outcome.answer.headers
    validator = strong_validator(headers)
    envelope = Envelope(
        records=[record],
        epoch=here.state.epoch,
        began=here.state.settled_seq,
        fetched_at=engine.clock(),
        validators={} if validator is None else {key_of(record, declared.key_attribute): validator},
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
    )
    engine.bases.put(owner, declared.store, envelope, record_query(record_id))
    state = engine.outbox.record_state(owner, declared.store, record_id, envelope.began)
    view = _view(_Here(envelope, state), declared)
    return LoadedRecord(_only(view, declared), "upstream", state.settled_seq, 0.0)


def _only(view: View, declared: Declaration) -> Seen | None:
    return view.seen(view.records[0], declared.key_attribute) if view.records else None


def _record_fall_back(
    engine: Engine, here: _Here, declared: Declaration, record_id: RecordId, outcome: ReadOutcome
) -> LoadedRecord:
    limit = engine.config.stale_if_error
    if here.envelope is not None and limit is not None and _age(engine, here.envelope) > limit:
        here = _Here(None, here.state)
    if not here.has_something:
        raise NotCached(f"{outcome.reason} No copy of this record is kept here.", outcome.retry_after)
    return _record_from_here(engine, here, declared, record_id, outcome.reason)


def _record_from_here(
    engine: Engine, here: _Here, declared: Declaration, record_id: RecordId, reason: str | None
) -> LoadedRecord:
    loaded = _from_here(engine, here, declared, reason)
    return LoadedRecord(_only(loaded.view, declared), loaded.source, loaded.seen, loaded.age, reason)


# --- upstream only -------------------------------------------------------------------------------------------


def remote_list(engine: Engine, owner: str, declared: Declaration, fetch: Fetch) -> Loaded:
    """Read past every copy: nothing is cached, every failure raises."""
    outcome = _get(engine, owner, declared, declared.url, fetch, None)
    if outcome.meaning is ReadMeaning.FRESH:
        try:
            records = as_records(guarded(declared.parse_list)(outcome.body), declared.id_attribute)
        except BadAnswer as error:
            raise UpstreamUnreachable(_unusable(error)) from error
        return Loaded(View(records, {}), "upstream", 0, 0.0)
    if outcome.meaning is ReadMeaning.UNAVAILABLE:
        raise UpstreamUnreachable(outcome.reason or "The upstream is out of reach.", outcome.retry_after)
    raise _error(outcome)


def remote_record(engine: Engine, owner: str, declared: Declaration, record_id: RecordId, fetch: Fetch) -> LoadedRecord:
    """Read one record past every copy."""
    outcome = _get(engine, owner, declared, path_of(declared, record_id), fetch, None)
    if outcome.meaning is ReadMeaning.FRESH and outcome.answer is not None:
        try:
            record = _usable_record(outcome.body, declared, record_id)
        except BadAnswer as error:
            raise UpstreamUnreachable(_unusable(error)) from error
        return LoadedRecord(Seen(record, record, strong_validator(outcome.answer.headers)), "upstream", 0, 0.0)
    if outcome.meaning is ReadMeaning.GONE:
        return LoadedRecord(None, "upstream", 0, 0.0, outcome.reason)
    if outcome.meaning is ReadMeaning.UNAVAILABLE:
        raise UpstreamUnreachable(outcome.reason or "The upstream is out of reach.", outcome.retry_after)
    raise _error(outcome)
