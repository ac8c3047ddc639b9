"""What an answer, or the lack of one, means: for a write (the table of DESIGN §4.7) and for a read (§4.2).

Nothing else in the package looks at a status code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import field
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote

from ..dialect import Dialect
from ..types import (
    PLAIN,
    WHOLE,
    Answer,
    Attributes,
    Failure,
    Fault,
    Json,
    Kind,
    Meaning,
    Outcome,
    PageInfo,
    RecordId,
)
from . import envelopes
from .backoff import wait_of
from .freshness import validator_in
from .problems import problem_of
from .values import MAX_DEPTH, BadAnswer, as_record, has_all, has_big_integer, is_too_deep, usable_id

NOT_NOW = frozenset({425, 429, 503})
ANOTHER = "The upstream's record is another than the edit was made on."
DOUBT = "it may have applied it."
#: The id by which the only record of a URL is known here: it needs none upstream.
ONLY = ""


class Sent(NamedTuple):
    """What the table must know of the write that was sent.

    ``wanted`` is the whole record as it should be, ``changed`` what of it this write sets, ``chosen_id`` the id
    that we gave a create, or the record's, ``left_out`` the fields that it takes away. ``parse`` takes the record out
    of a 2xx: None where it tells none. ``repeated``: an earlier send under its key may have arrived, and the upstream
    knows keys.
    """

    kind: Kind
    wanted: Attributes
    changed: Attributes
    chosen_id: RecordId | None
    id_attribute: str
    parse: Callable[[Json], Json]
    dialect: Dialect = PLAIN
    left_out: frozenset[str] = frozenset()
    repeated: bool = False


def is_reachable(answer: Answer | Failure, offline_codes: Collection[int]) -> bool:
    """Say whether this counts for the breaker as an upstream that is there."""
    if isinstance(answer, Failure):
        return answer.fault is Fault.TOO_LARGE
    return answer.status_code not in offline_codes


def is_success(answer: Answer, offline_codes: Collection[int]) -> bool:
    """Say whether an answer to several requests holds the answers to each, rather than why there are none."""
    return 200 <= answer.status_code < 300 and answer.status_code not in offline_codes


def write_outcome(sent: Sent, answer: Answer | Failure, offline_codes: Collection[int], now: float) -> Outcome:
    """Give the outcome of a sent write. The rows are tried in the table's order."""
    if isinstance(answer, Failure):
        return _failed(answer)
    status = answer.status_code
    succeeded = 200 <= status < 300
    if not (succeeded and _is_replayed(sent.dialect, answer)):
        try:
            named = envelopes.override(sent.dialect, sent.kind, answer)
        except BadAnswer as error:
            return _unreadable(answer, str(error))
        if named is not None:
            return _as_named(sent, answer, named, now)
    if status in NOT_NOW:
        return _not_now(answer, now)
    if status in offline_codes:
        return _offline(answer)
    return _applied(sent, answer) if succeeded else _not_applied(sent, answer)


def _is_replayed(dialect: Dialect, answer: Answer) -> bool:
    """Say whether this is the first answer to the key again: its success counts as the first one did."""
    return dialect.replayed_header is not None and dialect.replayed_header in answer.headers


def _offline(answer: Answer) -> Outcome:
    reason = f"The upstream is offline (status {answer.status_code})."
    return Outcome(Meaning.UNREACHABLE, answer.status_code, reason=reason, response=answer)


def _as_named(sent: Sent, answer: Answer, named: str, now: float) -> Outcome:
    """Give the outcome that the dialect names for an answer."""
    if named == "not_now":
        return _not_now(answer, now)
    if named == "unreachable":
        return _offline(answer)
    return _NAMED[named](sent, answer)


def _unauthorized(sent: Sent, answer: Answer) -> Outcome:
    """A credential is refused, and the problem says so by 401: under whatever status it came, that holds the queue."""
    outcome = _with_problem(sent, Meaning.UNAUTHORIZED, answer, "The upstream wants a fresh credential.")
    return outcome._replace(problem={**(outcome.problem or {}), "status": 401})


def _doubtful(sent: Sent, answer: Answer) -> Outcome:
    return _with_problem(sent, Meaning.IN_DOUBT, answer, f"The upstream failed (status {answer.status_code}); {DOUBT}")


def _rejected(sent: Sent, answer: Answer) -> Outcome:
    return _with_problem(sent, Meaning.REJECTED, answer, f"The upstream refused it (status {answer.status_code}).")


def _gone(sent: Sent, answer: Answer) -> Outcome:
    """The upstream has no such record: so it is deleted, and can not be updated; of a create it says nothing good."""
    match sent.kind:
        case Kind.DELETE:
            return Outcome(Meaning.APPLIED, answer.status_code, record_id=sent.chosen_id, response=answer)
        case Kind.UPDATE:
            lost = _with_problem(sent, Meaning.CONFLICT, answer, "The record was deleted upstream.")
            return lost._replace(gone=True)
        case _:
            return _rejected(sent, answer)


def _conflict(sent: Sent, answer: Answer) -> Outcome:
    """Another record is there, or another version of it: the answer may tell it, else it is still to be read."""
    if sent.chosen_id is None and sent.repeated and answer.status_code == 409:
        # As the draft on the Idempotency-Key header has it (§2.6). A refusal for good says so again, until it is held.
        reason = "The upstream is still at the first send, or refuses it."
        return _with_problem(sent, Meaning.IN_DOUBT, answer, reason)
    if sent.chosen_id is None:
        return _rejected(sent, answer)
    outcome = _with_problem(sent, Meaning.CONFLICT, answer, ANOTHER)
    there = envelopes.existing_in(sent.dialect, _json(answer))
    return outcome if there is None else settle_conflict(sent, outcome, there, strong_validator(answer.headers))


def _existing(sent: Sent, answer: Answer) -> Outcome:
    """A success that may have changed nothing: it tells the record that is there, which is compared."""
    try:
        there = _told(sent, answer)
    except BadAnswer as error:
        return _unreadable(answer, str(error))
    outcome = Outcome(Meaning.CONFLICT, answer.status_code, reason=ANOTHER, response=answer)
    return settle_conflict(sent, outcome, there, strong_validator(answer.headers)) if there else outcome


def _json(answer: Answer) -> Json:
    try:
        return body_of(answer)
    except BadAnswer:
        return None


def _not_applied(sent: Sent, answer: Answer) -> Outcome:
    """Give the outcome of an error status: the lower half of the table, each case one of its rows."""
    status = answer.status_code
    match sent.kind, status:
        case _, 401:
            return _unauthorized(sent, answer)
        case Kind.DELETE, 404 | 410:
            return _gone(sent, answer)
        case Kind.UPDATE, 404 | 410:
            return _gone(sent, answer)
        case (Kind.UPDATE | Kind.DELETE, 409 | 412 | 428) | (Kind.CREATE, 409 | 412):
            return _conflict(sent, answer)
        case _ if status >= 500 and status not in (501, 505):
            return _doubtful(sent, answer)
        case _:
            return _rejected(sent, answer)


def _failed(failure: Failure) -> Outcome:
    if failure.fault in (Fault.UNSENT, Fault.NO_CREDENTIAL):
        lacks = failure.fault is Fault.NO_CREDENTIAL
        return Outcome(Meaning.UNREACHABLE, unsent=True, reason=failure.reason, no_credential=lacks)
    return Outcome(Meaning.IN_DOUBT, reason=failure.reason)


def _not_now(answer: Answer, now: float) -> Outcome:
    return Outcome(
        Meaning.NOT_NOW,
        answer.status_code,
        retry_after=wait_of(answer.headers, now),
        reason=f"The upstream asks to wait (status {answer.status_code}).",
        response=answer,
    )


def _with_problem(sent: Sent, meaning: Meaning, answer: Answer, reason: str) -> Outcome:
    problem = problem_of(answer, sent.dialect.errors_at)
    detail = problem.get("detail")
    text = f"{reason} {detail:.300}" if isinstance(detail, str) and detail else reason
    return Outcome(meaning, answer.status_code, reason=text, problem=problem, response=answer)


def _applied(sent: Sent, answer: Answer) -> Outcome:
    if sent.kind is Kind.DELETE:
        if _is_html(answer):
            return _unreadable(answer, "the answer is HTML where JSON was asked")
        return Outcome(Meaning.APPLIED, answer.status_code, record_id=sent.chosen_id, response=answer)
    try:
        told = _told(sent, answer)
    except BadAnswer as error:
        return _unreadable(answer, str(error))
    record_id = _id_of(sent, told)
    if record_id is None and location_id(answer, sent.dialect) is None:
        return _unreadable(answer, f"it names no {sent.id_attribute!r} for the new record")
    record = {**sent.wanted, **told}
    if sent.dialect.version_from is not None and sent.dialect.version_from not in told:
        record.pop(sent.dialect.version_from, None)
    if record_id not in (None, ONLY):
        record[sent.id_attribute] = record_id
    return Outcome(
        Meaning.APPLIED,
        answer.status_code,
        record=record,
        record_id=record_id,
        validator=strong_validator(answer.headers),
        response=answer,
    )


def _told(sent: Sent, answer: Answer) -> Attributes:
    """Read the record out of a 2xx: nothing, a part, or all of it. Raises ``BadAnswer``."""
    body = body_of(answer)
    told = None if body is None else sent.parse(body)
    return {} if told is None else as_record(told)


def body_of(answer: Answer) -> Json:
    """Decode an answer's JSON, None where it is empty. Raises ``BadAnswer``."""
    if not answer.content.strip():
        return None
    if _is_html(answer):
        raise BadAnswer("the answer is HTML where JSON was asked")
    try:
        body = answer.json()
    except ValueError as error:
        raise BadAnswer(f"the answer is not JSON ({error})") from error
    if is_too_deep(body, answer.content):
        raise BadAnswer(f"the answer is nested deeper than {MAX_DEPTH} levels")
    if has_big_integer(answer.content):
        raise BadAnswer("the answer holds an integer beyond 64 bits, which can not be kept exactly; send it as text")
    return body


def _is_html(answer: Answer) -> bool:
    return "html" in answer.headers.get("Content-Type", "").lower() and bool(answer.content.strip())


def _unreadable(answer: Answer, reason: str) -> Outcome:
    text = f"The upstream answered {answer.status_code}, but {reason}: {DOUBT}"
    return Outcome(Meaning.IN_DOUBT, answer.status_code, reason=text, response=answer)


def _id_of(sent: Sent, told: Attributes) -> RecordId | None:
    if sent.kind is Kind.UPDATE:
        return sent.chosen_id
    found = told.get(sent.id_attribute)
    if usable_id(found):
        return found
    return sent.chosen_id


def location_id(answer: Answer, dialect: Dialect = PLAIN) -> str | None:
    """Give the id in a create's ``Location`` (RFC 9110 §10.2.2), still to be read again."""
    path = answer.headers.get("Location", "").partition("?")[0].partition("#")[0].rstrip("/")
    behind = dialect.urls.get("record", "").partition("{id}")[2].rstrip("/")
    path = path.removesuffix(dialect.suffix).removesuffix(behind)
    text = unquote(path.rpartition("/")[2])
    return text if usable_id(text) else None


def may_be_new(sent: Sent, record: Attributes, known_ids: Collection[str]) -> bool:
    """Say whether the record that a ``Location`` led to can be the one that was made: some point elsewhere.

    It is where it has all that was sent, or else, since upstreams rewrite what they are given, where it was not
    there before (``known_ids``, as text).
    """
    return has_all(record, sent.changed) or str(record.get(sent.id_attribute)) not in known_ids


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Give the ETag if it is strong: only such a one may go out as ``If-Match`` (RFC 9110 §13.1.1)."""
    etag = validator_in(headers, "ETag")
    return etag if etag and not etag.startswith("W/") else None


#: What the names of outcome overrides stand for; the two that need no write are beside it.
_NAMED: dict[str, Callable[[Sent, Answer], Outcome]] = {
    "applied": _applied,
    "conflict": _conflict,
    "existing": _existing,
    "gone": _gone,
    "in_doubt": _doubtful,
    "rejected": _rejected,
    "unauthorized": _unauthorized,
}


def settle_conflict(sent: Sent, outcome: Outcome, theirs: Attributes | None, validator: str | None) -> Outcome:
    """Complete a conflict by the record as it is now: applied after all where it equals what we want."""
    meaning = Meaning.CONFLICT
    if theirs is None and sent.kind is Kind.DELETE:
        meaning = Meaning.APPLIED
    if theirs is not None and sent.kind is not Kind.DELETE and has_all(theirs, sent.changed):
        meaning = meaning if sent.left_out & theirs.keys() else Meaning.APPLIED
    return Outcome(
        meaning,
        outcome.status,
        record=theirs,
        record_id=sent.chosen_id,
        validator=validator,
        reason=outcome.reason,
        problem=outcome.problem,
        response=outcome.response,
    )


def not_compared(sent: Sent, answer: Answer | Failure, offline_codes: Collection[int], now: float) -> Outcome:
    """Give the outcome of a write that was not sent, since the record could not be read to compare it first."""
    told = write_outcome(sent, answer, offline_codes, now)
    readable = isinstance(answer, Failure) or not 200 <= answer.status_code < 300
    as_they_are = (Meaning.UNREACHABLE, Meaning.NOT_NOW, Meaning.UNAUTHORIZED)
    if readable and (told.meaning in as_they_are or told.gone or told.meaning is Meaning.APPLIED):
        return told
    reason = f"The record could not be read to compare it first. {told.reason or ''}".strip()
    return Outcome(Meaning.UNREACHABLE, told.status, unsent=True, reason=reason, response=told.response)


class ReadMeaning(StrEnum):
    """What an answer means for a read."""

    FRESH = "fresh"
    NOT_MODIFIED = "not_modified"
    #: Unreachable, offline, not now, or a 2xx that is none: the copy, with the reason.
    UNAVAILABLE = "unavailable"
    GONE = "gone"
    ERROR = "error"


class ReadOutcome(NamedTuple):
    """What a GET brought: ``body`` decoded, ``records`` once taken out of it, or the ``reason`` why there are none."""

    meaning: ReadMeaning
    body: Json = None
    records: list[Attributes] = field(default_factory=list)
    reason: str | None = None
    retry_after: float | None = None
    answer: Answer | None = None
    page: PageInfo = WHOLE
    #: The credential is refused, says the dialect.
    unauthorized: bool = False


def read_outcome(
    answer: Answer | Failure,
    offline_codes: Collection[int],
    now: float,
    dialect: Dialect = PLAIN,
    operation: str = "record",
) -> ReadOutcome:
    """Give the outcome of a read (DESIGN §4.2, steps 3 to 5); ``operation`` is ``"list"`` or ``"record"``."""
    if isinstance(answer, Failure):
        return ReadOutcome(ReadMeaning.UNAVAILABLE, reason=answer.reason)
    try:
        named = envelopes.override(dialect, operation, answer)
        meaning = _READ_AS.get(named or "") or _read_meaning(answer.status_code, offline_codes)
        body = body_of(answer) if meaning is ReadMeaning.FRESH else None
    except BadAnswer as error:
        reason = f"The upstream's answer can not be used: {error}."
        return ReadOutcome(ReadMeaning.UNAVAILABLE, reason=reason, answer=answer)
    reason = _READ_REASONS[meaning].format(status=answer.status_code)
    if named == "unauthorized":
        reason = "The upstream wants a fresh credential."
    wait = wait_of(answer.headers, now) if meaning is ReadMeaning.UNAVAILABLE else None
    refused = named == "unauthorized"
    return ReadOutcome(meaning, body, reason=reason or None, retry_after=wait, answer=answer, unauthorized=refused)


#: What an outcome override means for a read; what it does not say of one is left to the table.
_READ_AS = {
    "applied": ReadMeaning.FRESH,
    "gone": ReadMeaning.GONE,
    "in_doubt": ReadMeaning.UNAVAILABLE,
    "not_now": ReadMeaning.UNAVAILABLE,
    "rejected": ReadMeaning.ERROR,
    "unauthorized": ReadMeaning.ERROR,
    "unreachable": ReadMeaning.UNAVAILABLE,
}
_READ_REASONS = {
    ReadMeaning.FRESH: "",
    ReadMeaning.NOT_MODIFIED: "",
    ReadMeaning.UNAVAILABLE: "The upstream is offline (status {status}).",
    ReadMeaning.GONE: "The upstream has nothing there (status {status}).",
    ReadMeaning.ERROR: "The upstream answered with status {status}.",
}


def _read_meaning(status: int, offline_codes: Collection[int]) -> ReadMeaning:
    if status in NOT_NOW or status in offline_codes:
        return ReadMeaning.UNAVAILABLE
    if status == 304:
        return ReadMeaning.NOT_MODIFIED
    if status in (404, 410):
        return ReadMeaning.GONE
    return ReadMeaning.FRESH if 200 <= status < 300 else ReadMeaning.ERROR
