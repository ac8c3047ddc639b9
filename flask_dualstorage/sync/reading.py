"""Reading: fetch, fall back to the copy, lay the owner's writes over it (DESIGN §4.2).

A list and a single record are read the same way; what differs is in ``subject.Subject``.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import NotCached, UpstreamError, UpstreamUnreachable, ValidationFailed
from ..policy.freshness import validator_in
from ..policy.outcomes import ReadMeaning, ReadOutcome, read_outcome, strong_validator
from ..policy.problems import problem_of
from ..policy.references import find_in
from ..policy.values import BadAnswer
from ..policy.views import Seen, View, kept_validators, key_of, lay_over
from ..types import WHOLE, Attributes, Declaration, Envelope, Request
from ..upstream.dialects import accept_of
from . import paging
from .engine import Credentials, Engine
from .subject import ALL_KNOWN, ONLY_PENDING, Here, Loaded, Subject

HELD = "Changes made here wait to be sent."
UNASKED = "The call asked for no request."
UNNUMBERED = "The upstream does not have the record yet that this belongs to."
AWAY = "The upstream is out of reach."


# --- without a request ---------------------------------------------------------------------------------------


def look_again(subject: Subject, loaded: Loaded) -> Loaded:
    """Lay what is pending now over what was loaded: how a list follows the writes of its own request. One SELECT."""
    state = subject.state(ALL_KNOWN if loaded.envelope is None else loaded.envelope.began)
    return loaded._replace(view=subject.view(loaded.envelope, state), seen=state.settled_seq)


def from_here(subject: Subject, here: Here, reason: str | None) -> Loaded:
    """Give what is here, and why it is not asked for anew."""
    source = "local" if here.envelope is None else "cache"
    age = None if here.envelope is None else age_of(subject.engine, here.envelope)
    view = subject.view(here.envelope, here.state)
    page = WHOLE if here.envelope is None else here.envelope.page
    return Loaded(view, source, here.state.settled_seq, age, reason, here.envelope, page)


def age_of(engine: Engine, envelope: Envelope) -> float:
    """Give the age of a copy, seconds."""
    return max(0.0, engine.clock() - envelope.asked_at)


# --- with one ------------------------------------------------------------------------------------------------


def without_asking(subject: Subject, here: Here) -> Loaded | None:
    """Give what is here where the upstream is not to be asked, whatever its age; None where it is."""
    if find_in(subject.path, *subject.fetch.params.values()):
        # A collection under, or a record, that the upstream has not numbered: no temporary id ever goes there.
        return from_here(subject, here, UNNUMBERED)
    return from_here(subject, here, HELD) if subject.is_held(here) else None


def ask(subject: Subject, here: Here, credentials: Credentials | None = None) -> Loaded:
    """Ask for a list or a record, or give the copy with the reason why; empty where the upstream has no such record.

    ``credentials`` are asked of the app where none are given.
    Raises ``NotCached`` where nothing is here, ``UpstreamError`` for an error status, ``NoCredentials``.
    """
    asked_at = subject.engine.clock()
    outcome = _get(subject, here.validated, credentials)
    match outcome.meaning:
        case ReadMeaning.FRESH | ReadMeaning.NOT_MODIFIED:
            return _keep(subject, here, outcome, asked_at)
        case ReadMeaning.UNAVAILABLE:
            return _fall_back(subject, here, outcome)
        case ReadMeaning.GONE if subject.record_id is not None:
            subject.engine.bases.forget(subject.owner, subject.declared.store, subject.query)
            return _gone(subject, outcome)
        case _:
            raise _error(outcome)


def _gone(subject: Subject, outcome: ReadOutcome) -> Loaded:
    """The upstream has no such record; what the owner has pending of it is still to be seen."""
    state = subject.state(ONLY_PENDING)
    return Loaded(
        subject.view(None, state), "local" if state.writes else "upstream", state.settled_seq, None, outcome.reason
    )


def fetch_remote(subject: Subject) -> Loaded:
    """Read past every copy: nothing is cached, every failure raises."""
    for temp_id in find_in(subject.path, *subject.fetch.params.values()):
        raise ValidationFailed({temp_id: "is the id of a record that the upstream does not have yet; sync it first."})
    outcome = _get(subject, None)
    match outcome.meaning:
        case ReadMeaning.FRESH:
            validators = _validators(subject, outcome)
            view = lay_over(outcome.records, [], subject.declared.key_attribute, validators)
            return Loaded(view, "upstream", 0, 0.0, page=outcome.page)
        case ReadMeaning.GONE if subject.record_id is not None:
            return Loaded(View([], {}), "upstream", 0, 0.0, outcome.reason)
        case ReadMeaning.UNAVAILABLE:
            raise UpstreamUnreachable(outcome.reason or AWAY, outcome.retry_after)
        case _:
            raise _error(outcome)


def _get(subject: Subject, validated: Envelope | None, credentials: Credentials | None = None) -> ReadOutcome:
    """Ask the upstream, unless it is known to be away: one GET, or one for each page."""
    engine, declared, options = subject.engine, subject.declared, subject.fetch
    upstream = engine.upstream(declared.upstream)
    if not engine.may_ask(declared.upstream):
        return ReadOutcome(ReadMeaning.UNAVAILABLE, reason=AWAY, retry_after=upstream.breaker.open_for() or None)
    credentials = credentials or engine.credentials(subject.owner, declared.upstream)
    if credentials.is_away:
        return ReadOutcome(ReadMeaning.UNAVAILABLE, reason=credentials.refusal)
    auth = credentials.require()
    listed = declared.dialect if subject.record_id is None else None
    operation = "list" if subject.record_id is None else "record"

    def ask(path: str, params: Mapping[str, str], conditions: Mapping[str, str]) -> ReadOutcome:
        headers = {**accept_of(declared.dialect), **declared.headers(), **conditions, **options.headers}
        request = Request("GET", path, headers, params=params or None)
        exchanged = engine.exchange(declared.upstream, request, auth, options.timeout, listed)
        outcome = read_outcome(exchanged.answer, exchanged.offline_codes, engine.clock(), declared.dialect, operation)
        return _with_records(subject, outcome)

    if subject.pages is not None and options.all_pages:
        limit = paging.Limit(upstream.config.url, upstream.config.max_response_bytes, declared.key_attribute)
        return paging.read_all(ask, subject.pages, subject.path, options.params, limit)
    asked = options.params if subject.pages is None else subject.pages.first(options.params)
    outcome = ask(subject.path, asked, _conditions(subject, validated))
    if outcome.meaning is ReadMeaning.NOT_MODIFIED:
        return _not_modified(outcome, validated)
    return outcome if subject.pages is None else paging.with_page(outcome, subject.pages, subject.path, asked)


def _not_modified(outcome: ReadOutcome, validated: Envelope | None) -> ReadOutcome:
    if validated is None:
        reason = "The upstream answered 304 to a request without a condition."
        return outcome._replace(meaning=ReadMeaning.UNAVAILABLE, reason=reason)
    return outcome._replace(records=validated.records, page=validated.page)


def _conditions(subject: Subject, envelope: Envelope | None) -> dict[str, str]:
    """Ask only for what changed, where a validator is known (RFC 9110 §13.1) and covers all that we need to know.

    A 304 of one page says nothing of the others, nor of a header that names the next page or the total.
    """
    if envelope is None or (subject.pages is not None and not subject.pages.told_in_body):
        return {}
    known = {"If-None-Match": envelope.etag, "If-Modified-Since": envelope.last_modified}
    return {name: value for name, value in known.items() if value}


def _with_records(subject: Subject, outcome: ReadOutcome) -> ReadOutcome:
    """Take the records out of a fresh answer; one that holds none counts as unreachable (DESIGN §4.2, 5)."""
    if outcome.meaning is not ReadMeaning.FRESH:
        return outcome
    try:
        return outcome._replace(records=subject.records_of(outcome.body))
    except BadAnswer as error:
        reason = f"The upstream's answer can not be used: {error}."
        return outcome._replace(meaning=ReadMeaning.UNAVAILABLE, reason=reason)


def _validators(subject: Subject, outcome: ReadOutcome) -> dict[str, str]:
    """A record's own strong validator; a list's is never a record's."""
    if subject.record_id is None or outcome.answer is None:
        return {}
    validator = strong_validator(outcome.answer.headers)
    return {} if validator is None else {str(subject.record_id): validator}


def _keep(subject: Subject, here: Here, outcome: ReadOutcome, asked_at: float) -> Loaded:
    """Replace the copy by what came, and lay over it what was settled since the request began, or waits."""
    key = subject.declared.key_attribute
    records = outcome.records
    if subject.fetch.add and here.envelope is not None:
        records = _merged(here.envelope.records, records, key)
    elif outcome.page.gaps and here.envelope is not None:
        # Records moved while the pages were read: what is missing now may only have been passed over.
        records = _merged(here.envelope.records, records, key)
    validators = kept_validators(records, subject.view(here.envelope, here.state), key)
    headers: Mapping[str, str] = {} if outcome.answer is None or subject.fetch.add else outcome.answer.headers
    before = here.validated if outcome.meaning is ReadMeaning.NOT_MODIFIED else None
    envelope = Envelope(
        records=records,
        epoch=here.state.epoch,
        began=here.state.settled_seq,
        asked_at=asked_at,
        validators={**validators, **_validators(subject, outcome)},
        etag=validator_in(headers, "ETag") or (before.etag if before else None),
        last_modified=validator_in(headers, "Last-Modified") or (before.last_modified if before else None),
        page=outcome.page,
    )
    now = subject.engine.clock()
    subject.engine.bases.put(subject.owner, subject.declared.store, envelope, subject.query, now)
    if subject.record_id is None and subject.fetch.params:
        subject.engine.bases.note_query(subject.owner, subject.declared.store, subject.query)
    state = subject.state(envelope.began)
    return Loaded(
        subject.view(envelope, state), "upstream", state.settled_seq, 0.0, envelope=envelope, page=envelope.page
    )


def _merged(old: list[Attributes], new: list[Attributes], key: str | None) -> list[Attributes]:
    """``add=True``: what is there stays, what came replaces its like or joins at the end."""
    by_key = {key_of(record, key): record for record in old}
    by_key.update({key_of(record, key): record for record in new})
    return list(by_key.values())


def _fall_back(subject: Subject, here: Here, outcome: ReadOutcome) -> Loaded:
    here = subject.elsewhere(here)
    if here.envelope is not None and not is_showable(subject, here):
        here = here._replace(envelope=None, state=subject.state(ONLY_PENDING))
    filtered = subject.record_id is None and bool(subject.fetch.params)
    nothing = not subject.view(None, here.state).records if filtered else not here.state.writes
    if here.envelope is None and nothing:
        raise NotCached(f"{outcome.reason} No copy of {subject.path} is kept here.", outcome.retry_after)
    return from_here(subject, here, outcome.reason)


def is_showable(subject: Subject, here: Here) -> bool:
    """Whether there is a copy that may be shown although it is stale (RFC 5861 §4)."""
    limit = subject.engine.config.stale_if_error
    return here.envelope is not None and (limit is None or age_of(subject.engine, here.envelope) <= limit)


def _error(outcome: ReadOutcome) -> UpstreamError:
    """Give the error that a status is; of a refused credential it is 401, under whatever status that came."""
    answer = outcome.answer
    reason = outcome.reason or "The upstream answered with an error."
    if answer is None:
        return UpstreamError(reason)
    status = 401 if outcome.unauthorized else answer.status_code
    problem = {**problem_of(answer), "status": status}
    return UpstreamError(reason, status=status, upstream_response=answer, problem=problem)


def only(loaded: Loaded, declared: Declaration) -> Seen | None:
    """Give the one record that was read, None where there is none."""
    return loaded.view.seen(loaded.view.records[0], declared.key_attribute) if loaded.view.records else None
