"""Answers that may hide what is there from a bad credential: 404, or 200 with an empty list, where others say 401.

Taken at their word they would wipe a cached list, or count as a delete that was done. For an upstream that is declared
to answer so (``credential_probe``) they are believed only after a GET that shows whether the credential is good.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from ..types import Answer, Failure, Json
from .outcomes import NOT_NOW, body_of
from .values import BadAnswer


class Credential(StrEnum):
    """What a probe says of a credential."""

    GOOD = "good"
    BAD = "bad"
    #: The probe itself was not answered, or not now.
    UNKNOWN = "unknown"


def may_hide(answer: Answer) -> bool:
    """Say whether this answer could be what a bad credential is shown: nothing there, or no records.

    A record whose only lists are empty looks alike; that costs one more request and does no harm.
    """
    if answer.status_code in (404, 410):
        return True
    return 200 <= answer.status_code < 300 and _holds_nothing(answer)


def credential_of(probe: Answer | Failure, offline_codes: Collection[int]) -> Credential:
    """Say what the answer to a probe tells: any 2xx that holds something is a good credential."""
    if isinstance(probe, Failure) or probe.status_code in NOT_NOW or probe.status_code in offline_codes:
        return Credential.UNKNOWN
    if probe.status_code >= 500:
        return Credential.UNKNOWN
    return Credential.GOOD if 200 <= probe.status_code < 300 and not _holds_nothing(probe) else Credential.BAD


def _holds_nothing(answer: Answer) -> bool:
    """Say whether a body is an empty list, or an object whose lists are all empty."""
    try:
        body = body_of(answer)
    except BadAnswer:
        return False
    return _is_empty(body)


def _is_empty(body: Json) -> bool:
    if isinstance(body, list):
        return not body
    if isinstance(body, dict):
        lists = [value for value in body.values() if isinstance(value, list)]
        return not body or (bool(lists) and not any(lists))
    return False
