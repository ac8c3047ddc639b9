"""Several requests in one, as a dialect's ``Bulk`` has them, and the answers that come in its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from requests.structures import CaseInsensitiveDict

from ..bulk import Bulk
from ..policy import envelopes
from ..policy.outcomes import body_of
from ..policy.values import BadAnswer
from ..types import Answer, Json, Request


def packed(bulk: Bulk, requests: Sequence[Request], headers: Mapping[str, str]) -> Request:
    """Give the one request that holds them all, each as it would go alone; ``headers`` go with the whole.

    Raises whatever the app's function does.
    """
    body = orjson.dumps(bulk.body([_item(each) for each in requests]))
    return Request("POST", bulk.path, {**headers, "Content-Type": "application/json"}, body)


def unpacked(bulk: Bulk, whole: Answer, count: int) -> list[Answer | None]:
    """Give the answers to ``count`` requests, in their order; None for one that is missing, or can not be read.

    Raises ``BadAnswer`` where it can not be told which answer is whose: it can not be read, or has another number.
    """
    items = envelopes.take(bulk.answers, body_of(whole))
    if not isinstance(items, list):
        raise BadAnswer("it holds no list of answers")
    if len(items) != count:
        raise BadAnswer(f"it holds {len(items)} answers to {count} requests")
    return [_answer(item, whole.url) for item in items]


def _item(request: Request) -> dict[str, Any]:
    item = {"method": request.method, "path": request.path, "headers": dict(request.headers)}
    return item if request.body is None else {**item, "body": orjson.loads(request.body)}


def _answer(item: Json, url: str) -> Answer | None:
    if not isinstance(item, dict):
        return None
    status, headers, body = item.get("status"), item.get("headers") or {}, item.get("body")
    if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
        return None
    if not isinstance(headers, dict) or not all(isinstance(text, str) for pair in headers.items() for text in pair):
        return None
    try:
        content = b"" if body in (None, "") else orjson.dumps(body)
    except TypeError:  # the app's function gave what is no JSON
        return None
    return Answer(status, CaseInsensitiveDict(headers), content, url)
