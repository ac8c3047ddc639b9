"""Writes that go together: several claimed writes in one request to the bulk endpoint of their upstream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..bulk import Bulk
from ..errors import ConfigurationError, ValidationFailed
from ..logs import log_failure
from ..policy import outcomes
from ..policy.values import BadAnswer
from ..types import Answer, Declaration, Failure, Meaning, Outcome, Request, State, Write
from ..upstream import batches
from ..upstream.client import check_request
from .engine import Engine, Exchanged
from .sending import answered, deadline_of, not_sent, prepared, renew, send
from .understanding import Call, Sending, by_table, is_compared_first

#: A claimed write, and what it was declared as.
Claimed = tuple[Write, Declaration]

#: What the answer to the whole means for each of its writes. Anything else refuses the bulk request, and no write.
_FOR_EACH = frozenset({Meaning.UNREACHABLE, Meaning.NOT_NOW, Meaning.UNAUTHORIZED, Meaning.IN_DOUBT})
#: After these nothing more goes out just now.
_STOP = frozenset({Meaning.UNREACHABLE, Meaning.NOT_NOW, Meaning.UNAUTHORIZED})


def bulk_of(write: Write, declared: Declaration) -> Bulk | None:
    """Give the endpoint by which a write that is due may go together with others; None: it goes alone.

    What may have arrived goes alone: it is looked for, or what made the whole fail is found out. So does what is
    compared with the upstream's record first.
    """
    in_doubt = write.may_have_arrived or write.state is not State.QUEUED
    return None if in_doubt or is_compared_first(write, declared) else declared.dialect.bulk


def send_together(engine: Engine, bulk: Bulk, claimed: Sequence[Claimed], auth: Any) -> list[Outcome]:
    """Send writes of one upstream in one request, and say what came of each, in their order. Touches no storage."""
    sendings = [Sending(engine, write, declared._replace(url=write.url), auth, Call()) for write, declared in claimed]
    requests = [_request(sending) for sending in sendings]
    going = [(sending, each) for sending, each in zip(sendings, requests, strict=True) if isinstance(each, Request)]
    came = iter(_exchanged(engine, bulk, going, auth) if going else [])
    return [each if isinstance(each, Outcome) else next(came) for each in requests]


def _request(sending: Sending) -> Request | Outcome:
    """Give what goes into the bulk request: what could not be sent alone is not sent among others."""
    request = prepared(sending)
    if isinstance(request, Outcome):
        return request
    try:
        check_request(request)
    except ValidationFailed as error:
        return not_sent(str(error))
    return request


def _exchanged(engine: Engine, bulk: Bulk, going: Sequence[tuple[Sending, Request]], auth: Any) -> list[Outcome]:
    sendings = [sending for sending, _ in going]
    upstream = sendings[0].write.upstream
    try:
        whole = batches.packed(bulk, [request for _, request in going], _shared_headers(sendings))
    except Exception as error:  # noqa: BLE001  # the app's Bulk.body or headers() failed, before a byte went out
        log_failure("no bulk request could be made for upstream %r: its writes go alone", upstream, error=error)
        return _one_by_one(sendings)
    try:
        exchanged = engine.exchange(upstream, whole, auth, None)
    except (ValidationFailed, ConfigurationError) as error:
        return [not_sent(str(error))] * len(going)
    answer = exchanged.answer
    if isinstance(answer, Failure) or not outcomes.is_success(answer, exchanged.offline_codes):
        return _failed(sendings, exchanged)
    try:
        answers = batches.unpacked(bulk, answer, len(going))
    except BadAnswer as error:
        return [_in_doubt(answer, str(error))] * len(going)
    return [_of_its_own(sending, request, answer, own) for (sending, request), own in zip(going, answers, strict=True)]


def _shared_headers(sendings: Sequence[Sending]) -> dict[str, str]:
    """Give those of the app's headers that all of the writes have: the whole goes with them, too."""
    first, *others = [dict(sending.declared.headers()) for sending in sendings]
    return {name: value for name, value in first.items() if all(each.get(name) == value for each in others)}


def _of_its_own(sending: Sending, request: Request, whole: Answer, own: Answer | None) -> Outcome:
    if own is None:
        return _in_doubt(whole, "its own answer is not there, or can not be read")
    return answered(sending, sending.engine.heard_within(sending.write.upstream, request, own, sending.auth))


def _in_doubt(whole: Answer, reason: str) -> Outcome:
    text = f"The bulk request was answered {whole.status_code}, but {reason}: {outcomes.DOUBT}"
    return Outcome(Meaning.IN_DOUBT, whole.status_code, reason=text, response=whole)


def _failed(sendings: Sequence[Sending], exchanged: Exchanged) -> list[Outcome]:
    """No answers of their own: each has the whole's, unless that refused the bulk request itself."""
    for_each = [by_table(sending, exchanged) for sending in sendings]
    refused = [sending for sending, each in zip(sendings, for_each, strict=True) if each.meaning not in _FOR_EACH]
    alone = iter(_one_by_one(refused))
    return [each if each.meaning in _FOR_EACH else next(alone) for each in for_each]


def _one_by_one(sendings: Sequence[Sending]) -> list[Outcome]:
    """Send each alone, under a lease of its own, until nothing more may go out."""
    came: list[Outcome] = []
    stopped: str | None = None
    for sending in sendings:
        came.append(_alone(sending) if stopped is None else not_sent(stopped))
        if stopped is None and came[-1].meaning in _STOP:
            stopped = f"one sent before it: {came[-1].reason}"
    return came


def _alone(sending: Sending) -> Outcome:
    engine, write, declared = sending.engine, sending.write, sending.declared
    if not renew(engine, write, deadline_of(engine, declared, sending.call)):
        return not_sent("another worker has taken it over")
    return send(engine, write, declared, sending.auth, sending.call)
