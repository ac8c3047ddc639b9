"""Answers that may hide what is there from a bad credential: 404, or 200 with an empty list, where others say 401.

Taken at their word they would wipe a cached list, or count as a delete that was done. For an upstream that is declared
to answer so (``credential_probe``) they are believed only after a GET that shows whether the credential is good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum

from ..dialect import Dialect
from ..types import Answer, Failure, Json
from .envelopes import list_in
from .outcomes import NOT_NOW, body_of
from .values import BadAnswer


class Credential(StrEnum):
    """What a probe says of a credential."""

    GOOD = "good"
    BAD = "bad"
    #: The probe itself was not answered, or not now.
    UNKNOWN = "unknown"


def may_hide(answer: Answer, listed: Dialect | None = None) -> bool:
    """Say whether this answer to a read could be what a bad credential is shown: nothing there, or no records.

    ``listed``: it is of a list, which this dialect takes out of it. A record whose only lists are empty looks alike;
    that costs one more request and does no harm.
    """
    if answer.status_code in (404, 410):
        return True
    if not 200 <= answer.status_code < 300:
        return False
    return _holds_nothing(answer) or (listed is not None and _lists_nothing(listed, answer))


def may_hide_write(answer: Answer) -> bool:
    """Say the same of the answer to a write: one that tells anything of the record was given by who knows it."""
    if answer.status_code in (404, 410):
        return True
    try:
        return 200 <= answer.status_code < 300 and _is_bare(body_of(answer))
    except BadAnswer:
        return False


def credential_of(probe: Answer | Failure, offline_codes: Collection[int]) -> Credential:
    """Say what the answer to a probe tells: any 2xx that holds something is a good credential."""
    if isinstance(probe, Failure) or probe.status_code in NOT_NOW or probe.status_code in offline_codes:
        return Credential.UNKNOWN
    if probe.status_code >= 500:
        return Credential.UNKNOWN
    return Credential.GOOD if 200 <= probe.status_code < 300 and not _holds_nothing(probe) else Credential.BAD


def _holds_nothing(answer: Answer) -> bool:
    """Say whether a body is an empty list, or an object whose lists are all empty, at any depth."""
    try:
        body = body_of(answer)
    except BadAnswer:
        return False
    return _is_empty(body)


def _is_empty(body: Json) -> bool:
    if isinstance(body, list | dict) and not body:
        return True
    lists = list(_lists(body))
    return bool(lists) and not any(lists)


def _lists(body: Json) -> Iterator[list[Json]]:
    """Give the lists of an answer, in whatever envelope."""
    if isinstance(body, list):
        yield body
    elif isinstance(body, dict):
        for value in body.values():
            yield from _lists(value)


def _lists_nothing(dialect: Dialect, answer: Answer) -> bool:
    """Say whether the dialect finds an empty list in it: HAL leaves it out."""
    try:
        found = list_in(dialect, body_of(answer))
    except BadAnswer:
        return False
    return isinstance(found, list) and not found


def _is_bare(body: Json) -> bool:
    if isinstance(body, dict):
        return all(value is None or _is_bare(value) for value in body.values())
    return isinstance(body, list) and not body
