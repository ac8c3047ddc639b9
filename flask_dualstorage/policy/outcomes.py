"""What an answer, or the lack of one, means: for a write (the table of DESIGN §4.7) and for a read (§4.2).

Nothing else in the package looks at a status code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

from ..types import Answer, Attributes, Failure, Fault, Json, Kind, Meaning, Outcome, RecordId
from .backoff import retry_after
from .problems import problem_of
from .values import MAX_DEPTH, BadAnswer, as_record, has_all, is_too_deep, usable_id

NOT_NOW = frozenset({425, 429, 503})
ANOTHER = "The upstream's record is another than the edit was made on."
DOUBT = "it may have applied it."
#: The id by which the only record of a URL is known here: it needs none upstream.
ONLY = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the table must know of the write that was sent.

    ``wanted`` is the whole record as it should be, ``changed`` what of it this write sets, ``chosen_id`` the id
    that we gave a create, or the record's.
    """

    kind: Kind
    wanted: Attributes
    changed: Attributes
    chosen_id: RecordId | None
    id_attribute: str
    parse: Callable[[Json], Json]


def is_reachable(answer: Answer | Failure, offline_codes: Collection[int]) -> bool:
    """Say whether this counts for the breaker as an upstream that is there."""
    if isinstance(answer, Failure):
        return answer.fault is Fault.TOO_LARGE
    return answer.status_code not in offline_codes


def write_outcome(sent: Sent, answer: Answer | Failure, offline_codes: Collection[int], now: float) -> Outcome:
    """Give the outcome of a sent write. The rows are tried in the table's order."""
    if isinstance(answer, Failure):
        return _failed(answer)
    status = answer.status_code
    if status in NOT_NOW:
        return _not_now(answer, now)
    if status in offline_codes:
        reason = f"The upstream is offline (status {status})."
        return Outcome(Meaning.UNREACHABLE, status, reason=reason, response=answer)
    if 200 <= status < 300:
        return _applied(sent, answer)
    return _not_applied(sent, answer)


def _not_applied(sent: Sent, answer: Answer) -> Outcome:
    """Give the outcome of an error status: the lower half of the table, each case one of its rows."""
    status = answer.status_code
    match sent.kind, status:
        case _, 401:
            return _with_problem(Meaning.UNAUTHORIZED, answer, "The upstream wants a fresh credential.")
        case Kind.DELETE, 404 | 410:
            return Outcome(Meaning.APPLIED, status, record_id=sent.chosen_id, response=answer)
        case Kind.UPDATE, 404 | 410:
            return _with_problem(Meaning.CONFLICT, answer, "The record was deleted upstream.")
        case (Kind.UPDATE | Kind.DELETE, 409 | 412 | 428):
            return _with_problem(Meaning.CONFLICT, answer, ANOTHER)
        case Kind.CREATE, 409 | 412 if sent.chosen_id is not None:
            return _with_problem(Meaning.CONFLICT, answer, ANOTHER)
        case _ if status >= 500 and status not in (501, 505):
            return _with_problem(Meaning.IN_DOUBT, answer, f"The upstream failed (status {status}); {DOUBT}")
        case _:
            return _with_problem(Meaning.REJECTED, answer, f"The upstream refused it (status {status}).")


def _failed(failure: Failure) -> Outcome:
    if failure.fault is Fault.UNSENT:
        return Outcome(Meaning.UNREACHABLE, unsent=True, reason=failure.reason)
    return Outcome(Meaning.IN_DOUBT, reason=failure.reason)


def _not_now(answer: Answer, now: float) -> Outcome:
    return Outcome(
        Meaning.NOT_NOW,
        answer.status_code,
        retry_after=retry_after(answer.headers.get("Retry-After"), now),
        reason=f"The upstream asks to wait (status {answer.status_code}).",
        response=answer,
    )


def _with_problem(meaning: Meaning, answer: Answer, reason: str) -> Outcome:
    problem = problem_of(answer)
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
    if record_id is None and location_id(answer) is None:
        return _unreadable(answer, f"it names no {sent.id_attribute!r} for the new record")
    record = {**sent.wanted, **told}
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
    return {} if body is None else as_record(sent.parse(body))


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
    if is_too_deep(body):
        raise BadAnswer(f"the answer is nested deeper than {MAX_DEPTH} levels")
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


def location_id(answer: Answer) -> str | None:
    """Give the id that a create's ``Location`` ends in (RFC 9110 §10.2.2), still to be read again."""
    path = answer.headers.get("Location", "").partition("?")[0].partition("#")[0].rstrip("/")
    text = unquote(path.rpartition("/")[2])
    return text if usable_id(text) else None


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Give the ETag if it is strong: only such a one may go out as ``If-Match`` (RFC 9110 §13.1.1)."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else None


def settle_conflict(sent: Sent, outcome: Outcome, theirs: Attributes | None, validator: str | None) -> Outcome:
    """Complete a conflict by the record as it is now: applied after all where it equals what we want."""
    meaning = Meaning.CONFLICT
    if theirs is None and sent.kind is Kind.DELETE:
        meaning = Meaning.APPLIED
    if theirs is not None and sent.kind is not Kind.DELETE and has_all(theirs, sent.changed):
        meaning = Meaning.APPLIED
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


class ReadMeaning(StrEnum):
    """What an answer means for a read."""

    FRESH = "fresh"
    NOT_MODIFIED = "not_modified"
    #: Unreachable, offline, not now, or a 2xx that is none: the copy, with the reason.
    UNAVAILABLE = "unavailable"
    GONE = "gone"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ReadOutcome:
    """What a GET brought: ``body`` decoded, ``records`` once taken out of it, or the ``reason`` why there are none."""

    meaning: ReadMeaning
    body: Json = None
    records: list[Attributes] = field(default_factory=list)
    reason: str | None = None
    retry_after: float | None = None
    answer: Answer | None = None


def read_outcome(answer: Answer | Failure, offline_codes: Collection[int], now: float) -> ReadOutcome:
    """Give the outcome of a read (DESIGN §4.2, steps 3 to 5)."""
    if isinstance(answer, Failure):
        return ReadOutcome(ReadMeaning.UNAVAILABLE, reason=answer.reason)
    status = answer.status_code
    if status in NOT_NOW or status in offline_codes:
        wait = retry_after(answer.headers.get("Retry-After"), now)
        return ReadOutcome(
            ReadMeaning.UNAVAILABLE,
            reason=f"The upstream is offline (status {status}).",
            retry_after=wait,
            answer=answer,
        )
    if status == 304:
        return ReadOutcome(ReadMeaning.NOT_MODIFIED, answer=answer)
    if status in (404, 410):
        return ReadOutcome(ReadMeaning.GONE, reason=f"The upstream has nothing there (status {status}).", answer=answer)
    if not 200 <= status < 300:
        return ReadOutcome(ReadMeaning.ERROR, reason=f"The upstream answered with status {status}.", answer=answer)
    try:
        return ReadOutcome(ReadMeaning.FRESH, body_of(answer), answer=answer)
    except BadAnswer as error:
        return ReadOutcome(
            ReadMeaning.UNAVAILABLE, reason=f"The upstream's answer can not be used: {error}.", answer=answer
        )
