"""What an upstream says of its refusal: one RFC 9457 object, and the errors by field."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson

from ..types import Answer, Attributes, Json

#: A refusal longer than this is kept by its status alone.
MAX_PROBLEM_BYTES = 64 * 1024
_NOT_FIELDS = frozenset(
    {"type", "title", "status", "detail", "instance", "message", "error", "errno", "code", "non_field_errors"}
)


def problem_of(answer: Answer) -> Attributes:
    """Give the answer's problem as an object (RFC 9457 §3): its own members, ``status`` and ``title`` made sure."""
    body = _body(answer)
    problem: Attributes = dict(body) if isinstance(body, dict) else {}
    if isinstance(body, list):
        problem["errors"] = body
    problem.setdefault("title", _title(answer.status_code))
    problem["status"] = answer.status_code
    location = answer.headers.get("Location")
    if location and 300 <= answer.status_code < 400:
        problem.setdefault("detail", f"It redirects to {location[:500]}, which a write does not follow.")
    return problem


def _body(answer: Answer) -> Json:
    if len(answer.content) > MAX_PROBLEM_BYTES:
        return None
    try:
        body = answer.json()
        orjson.dumps(body)
    except (ValueError, TypeError):
        return None
    return body


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def field_errors(problem: Mapping[str, Json]) -> dict[str, list[str]]:
    """Read the errors by field out of the shapes that real APIs use; empty where there are none.

    ``errors: {field: […]}``, ``errors: [{pointer | source.pointer, detail}]`` (RFC 9457 §3, JSON:API),
    ``details: [{name, description}]``, ``_issues: {field: …}``, or ``{field: […]}`` at the top.
    """
    for name in ("errors", "details", "_issues"):
        found = problem.get(name)
        if isinstance(found, dict):
            return {str(field): _texts(texts) for field, texts in found.items()}
        if isinstance(found, list):
            listed = _listed(found)
            if listed:
                return listed
    return {
        name: _texts(value)
        for name, value in problem.items()
        if name not in _NOT_FIELDS and isinstance(value, list) and all(isinstance(item, str) for item in value)
    }


def _texts(value: Json) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return [str(value.get("detail") or value.get("message") or value.get("code") or value)]
    return [str(value)]


def _listed(items: list[Json]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for item in items:
        if isinstance(item, dict):
            field = _field(item)
            if field:
                text = item.get("detail") or item.get("description") or item.get("message") or item.get("title")
                result.setdefault(field, []).append(str(text))
    return result


def _field(item: Mapping[str, Json]) -> str:
    source = item.get("source")
    pointer = item.get("pointer") or (source.get("pointer") if isinstance(source, dict) else None)
    if isinstance(pointer, str):
        return pointer.lstrip("#").removeprefix("/data/attributes").strip("/").replace("/", ".")
    name = item.get("name") or item.get("field") or item.get("param")
    return name if isinstance(name, str) else ""
