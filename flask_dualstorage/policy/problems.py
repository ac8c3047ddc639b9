"""What an upstream says of its refusal: one RFC 9457 object, and the errors by field."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from ..dialect import Place
from ..types import Answer, Attributes, Json
from .envelopes import take
from .values import BadAnswer, is_too_deep

#: A refusal longer than this is kept by its status alone.
MAX_PROBLEM_BYTES = 64 * 1024
#: Where APIs put their list of errors, in the order in which they are asked.
_LISTS = ("errors", "details", "_issues", "detail")
#: Members whose texts are about the whole record; here they stand under the field ``""``.
_GENERAL = frozenset({"errors", "error", "message", "non_field_errors"})


def problem_of(answer: Answer, errors_at: Place = None) -> Attributes:
    """Give the answer's problem as an object (RFC 9457 §3): its own members, ``status`` and ``title`` made sure.

    ``errors`` is the API's own, or holds what it says of fields elsewhere. ``errors_at`` is the place of its errors by
    field, where the dialect names one.
    """
    body = _body(answer)
    problem: Attributes = dict(body) if isinstance(body, dict) else {}
    if errors_at is not None and (named := _named_errors(errors_at, body)):
        problem["errors"] = named
    elif isinstance(body, list):
        problem["errors"] = body
    if "errors" not in problem and (found := field_errors(problem)):
        # In one place for whoever shows it; and a field called title or status is about to be overwritten below.
        problem["errors"] = found
    if not isinstance(problem.get("title"), str):
        problem["title"] = _title(answer.status_code)
    problem["status"] = answer.status_code
    location = answer.headers.get("Location")
    if location and 300 <= answer.status_code < 400:
        problem.setdefault("detail", f"It redirects to {location[:500]}, which a write does not follow.")
    return problem


def _named_errors(errors_at: Place, body: Json) -> dict[str, list[str]]:
    """Read what stands where the dialect says, in any of the known shapes; empty where nothing does."""
    try:
        return field_errors({"errors": take(errors_at, body)})
    except BadAnswer:
        return {}


def _body(answer: Answer) -> Json:
    if len(answer.content) > MAX_PROBLEM_BYTES:
        return None
    try:
        body = answer.json()
    except ValueError:
        return None
    return None if is_too_deep(body, answer.content) else body


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def field_errors(problem: Mapping[str, Json]) -> dict[str, list[str]]:
    """Read the errors by field out of the shapes that real APIs use; empty where there are none.

    ``errors: {field: […]}``, ``errors: [{pointer | source.pointer, detail}]`` (RFC 9457 §3, JSON:API),
    ``errors: [text]``, ``details: [{name, description}]``, ``_issues: {field: …}``, ``detail: [{loc, msg}]``,
    ``data: {field: {code, message}}``, or ``{field: […]}`` at the top. What is about no field stands under ``""``.
    """
    for name in _LISTS:
        found = problem.get(name)
        if isinstance(found, dict) and name != "detail":
            return {str(field): _texts(texts) for field, texts in found.items()}
        if isinstance(found, list) and (listed := _listed(found)):
            return listed
    data = problem.get("data")
    if isinstance(data, dict) and data and all(_is_error(item) for item in data.values()):
        return {field: _texts(item) for field, item in data.items()}
    return _at_the_top(problem)


def _is_error(item: Json) -> bool:
    return isinstance(item, dict) and ("code" in item or "message" in item)


def _at_the_top(problem: Mapping[str, Json]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for name, value in problem.items():
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            result.setdefault("" if name in _GENERAL else name, []).extend(value)
    return result


def _texts(value: Json) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return [str(value.get("detail") or value.get("message") or value.get("code") or value)]
    return [str(value)]


def _listed(items: list[Json]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for item in items:
        if isinstance(item, dict) and (text := _first(item, "detail", "description", "message", "msg", "title")):
            result.setdefault(_field(item), []).append(text)
    return result


def _first(item: Mapping[str, Json], *names: str) -> str:
    """Give the first of these members that says something."""
    return next((str(item[name]) for name in names if item.get(name)), "")


def _field(item: Mapping[str, Json]) -> str:
    source = item.get("source")
    pointer = item.get("pointer") or (source.get("pointer") if isinstance(source, dict) else None)
    if isinstance(pointer, str):
        return pointer.lstrip("#").removeprefix("/data/attributes").strip("/").replace("/", ".")
    place = item.get("loc")
    if isinstance(place, list):
        return ".".join(str(part) for part in (place[1:] if place[:1] == ["body"] else place))
    name = item.get("name") or item.get("field") or item.get("param")
    return name if isinstance(name, str) else ""
