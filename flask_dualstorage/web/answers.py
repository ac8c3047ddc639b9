"""Answers for programs and for people: who gets JSON, and errors as RFC 9457 problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

from flask import Response, current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, NotFound

from ..errors import CollectionUnknown

P = ParamSpec("P")
View = Callable[P, ResponseReturnValue]


def json_asked_for() -> bool:
    """Whether the client prefers JSON to a page, or speaks it itself."""
    best = request.accept_mimetypes.best_match(("text/html", "application/json"))
    return request.is_json or best == "application/json"


def is_program() -> bool:
    """Whether the client is no browser form: it asked for JSON, or does not name HTML (``*/*`` of curl is no name)."""
    return json_asked_for() or not any(kind == "text/html" and quality for kind, quality in request.accept_mimetypes)


def with_problems(view: View[P]) -> View[P]:
    """Errors of ``view`` that have an HTTP status become problems for a program, and stay what they are for a page."""

    @wraps(view)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        try:
            return view(*args, **kwargs)
        except CollectionUnknown as error:
            return _answer(NotFound(str(error)))
        except HTTPException as error:
            return _answer(error)

    return wrapped


def problem(error: HTTPException, extra: Mapping[str, Any] | None = None) -> Response:
    """``error`` as ``application/problem+json`` (RFC 9457 §3), with its headers and ``extra`` members."""
    body = {"type": "about:blank", "title": error.name, "status": error.code, "detail": error.description}
    headers = [(name, value) for name, value in error.get_headers() if name.lower() != "content-type"]
    answer = Response(current_app.json.dumps({**body, **(extra or {})}), error.code, headers)
    answer.content_type = "application/problem+json"
    return answer


def _answer(error: HTTPException) -> Response:
    # Raised for a page, so that the app's own error handlers see it.
    if error.code is None or error.response is not None or not is_program():
        raise error
    return problem(error)
