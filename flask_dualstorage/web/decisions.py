"""``POST /writes/<id>/retry``, ``discard``, ``resolve``, ``edit``: what an owner decides over a pending change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, UnprocessableEntity

from ..errors import RecordGone, ValidationFailed, WriteBusy
from . import pages
from .answers import is_program, problem, with_problems
from .fields import attributes_of
from .safety import safe_next
from .telling import tell
from .words import decision

_EDIT = 'Send {"attributes": {…}}, or a form with fields named attributes[…].'
_RESOLVE = 'Send {"choice": "mine"}, {"choice": "theirs"}, or {"attributes": {…}}; or a form with the same names.'


@with_problems
def decide(write_id: str, what: str) -> ResponseReturnValue:
    """Carry out what the owner decides. A form goes on to ``next``, else to the pending page; JSON gets the write."""
    storage = current_app.extensions["dualstorage"]
    if is_program():
        return _for_program(storage, write_id, what)
    if "seen" in request.form and what in ("edit", "resolve"):
        return pages.decided(write_id, what)
    if "seen" in request.form and (answer := pages.stale(write_id)) is not None:
        return answer
    try:
        tell(decision(_decided(storage, write_id, what)))
    except WriteBusy:
        return ("seen" in request.form and pages.stale(write_id)) or pages.busy(write_id)
    except RecordGone:
        return pages.settled(pages.find(write_id)[0])
    except ValidationFailed as error:
        tell(str(error))
    return _back()


def _for_program(storage: Any, write_id: str, what: str) -> ResponseReturnValue:
    try:
        return current_app.json.response(_decided(storage, write_id, what).to_dict())
    except ValidationFailed as error:
        return problem(UnprocessableEntity(str(error)), {"errors": error.errors})


def _back() -> ResponseReturnValue:
    return redirect(safe_next(request.form.get("next")) or url_for(".pending"), 303)


def _decided(storage: Any, write_id: str, what: str) -> Any:
    match what:
        case "retry":
            return storage.retry(write_id, **_seen())
        case "discard":
            return storage.discard(write_id, **_seen())[0]
        case "edit":
            return storage.edit(write_id, _attributes(storage, write_id, _EDIT))
        case _:
            choice = _member("choice")
            if choice is None:
                return storage.resolve(write_id, _attributes(storage, write_id, _RESOLVE))
            if choice not in ("mine", "theirs"):
                raise BadRequest(_RESOLVE)
            return storage.resolve(write_id, choice)


def _seen() -> dict[str, str]:
    return {"seen": request.form["seen"]} if "seen" in request.form else {}


def _member(name: str) -> Any:
    """Give a member of the JSON object, or a form's field of that name; None where it is not there."""
    if not request.is_json:
        return request.form.get(name)
    body = request.get_json()
    return body.get(name) if isinstance(body, dict) else None


def _attributes(storage: Any, write_id: str, takes: str) -> Mapping[str, Any]:
    """Give the attributes of the JSON object, or of a form: as JSON in one field, or each in a field of its own."""
    given = _member("attributes")
    if not request.is_json:
        given = _from_json(given) if given is not None else _from_fields(storage, write_id)
    if not isinstance(given, dict) or not given:
        raise BadRequest(takes)
    return given


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _from_fields(storage: Any, write_id: str) -> Mapping[str, Any]:
    """A form's fields are text; what each of them is, the write's own record tells."""
    write = next((each for each in storage.pending() if each.id == write_id), None)
    if write is None:
        raise RecordGone(f"There is no pending write {write_id!r} of this owner.")
    return attributes_of(request.form.items(), write.attributes, write.theirs, write.base)
