"""Bulk: an endpoint that takes several requests in one and answers each of them, as one declaration."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ConfigurationError

_PATH = re.compile(r"/[!\"$-~]*")


def _as_requests(items: list[dict[str, Any]]) -> Any:
    return {"requests": items}


def _responses(body: Any) -> list[Any]:
    found: list[Any] = body["responses"]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """An endpoint to which a flush sends writes that wait together: one POST, with an answer for each of them.

    ``path``: where it is, joined to the upstream's URL. ``at_most``: how many requests one holds, at least 2.
    ``parallel``: False where one such request goes after the other.

    ``body``: a function that makes the body of a list of requests, each ``{"method", "path", "headers", "body"}`` as it
    would go alone: its ``path`` goes on from the upstream's URL, and a delete has no ``"body"``. ``answers``: a
    function that takes the list of answers out of the decoded body, in the order of the requests, each ``{"status",
    "headers", "body"}``, or None for one that is missing. Without them it is as Kinto has it: ``{"requests": […]}``
    and ``{"responses": […]}``.

    Raises ``ConfigurationError`` that names a wrong field.
    """

    path: str = "/batch"
    at_most: int = 25
    parallel: bool = True
    body: Callable[[list[dict[str, Any]]], Any] = _as_requests
    answers: Callable[[Any], list[Any]] = _responses

    def __post_init__(self) -> None:
        for name, (takes, fits) in _TAKES.items():
            value = getattr(self, name)
            if not fits(value):
                raise ConfigurationError(f"Bulk.{name} is {value!r}; it takes {takes}.")


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and _PATH.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 2


_TAKES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "path": ("a path such as '/batch', percent-encoded", _is_path),
    "at_most": ("a number of requests, at least 2", _is_number),
    "parallel": ("True or False", lambda value: isinstance(value, bool)),
    "body": ("a function that makes the body of a list of requests", callable),
    "answers": ("a function that takes the list of answers out of the decoded body", callable),
}
