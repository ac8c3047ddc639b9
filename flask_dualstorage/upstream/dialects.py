"""How an API speaks: what turns a write into the request that this API takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from ..errors import ConfigurationError, ValidationFailed
from ..policy.coalescing import Edit
from ..policy.references import TEMP_ID, is_temp_id, record_path
from ..policy.values import changes, check_json
from ..types import Attributes, Declaration, Json, Kind, RecordId, Write


@dataclass(frozen=True, slots=True, init=False)
class Dialect:
    """What a collection declares of its API: the field that holds the id, and PUT or PATCH for updates."""

    id_attribute: str
    update_method: str

    def __init__(self, *, id_attribute: str = "id", update_method: str = "PUT", **later: Any) -> None:
        for name in later:
            raise ConfigurationError(f"Dialect({name}=…) is not there; it takes id_attribute and update_method.")
        if update_method not in ("PUT", "PATCH"):
            raise ConfigurationError(f"Dialect.update_method is {update_method!r}; it takes 'PUT' or 'PATCH'.")
        if not id_attribute:
            raise ConfigurationError("Dialect.id_attribute is empty; it takes the name of the field that holds the id.")
        object.__setattr__(self, "id_attribute", id_attribute)
        object.__setattr__(self, "update_method", update_method)


def path_of(declared: Declaration, record_id: RecordId) -> str:
    """Give the path of one record."""
    return declared.url if declared.singleton else record_path(declared.url, record_id)


def request_of(write: Write, declared: Declaration) -> tuple[str, str, bytes | None]:
    """Give method, path and body of a write whose references are bound. Raises ``ValidationFailed`` for a bad id."""
    if write.kind is Kind.CREATE:
        return "POST", declared.url, _encoded(body_of(write, declared))
    path = path_of(declared, write.record_id)
    if write.kind is Kind.DELETE:
        return "DELETE", path, None
    method = "PATCH" if write.patch else declared.update_method
    return method, path, _encoded(body_of(write, declared))


def check_no_temp_id(path: str, body: bytes | None) -> None:
    """Raise ``ValidationFailed`` where a request still holds a temporary id: none ever reaches the upstream."""
    found = TEMP_ID.search(path) or TEMP_ID.search((body or b"").decode())
    if found:
        raise ValidationFailed({found.group(): "is the id of a record that the upstream does not have."})


def check_body(declared: Declaration, edit: Edit) -> None:
    """Raise ``ValidationFailed`` where the app's ``to_json`` gives something that JSON can not hold."""
    if edit.attributes is None:
        return
    body = declared.serialize(edit.attributes)
    if body is not edit.attributes:
        check_json(body, "to_json()")


def body_of(write: Write, declared: Declaration) -> Json:
    """Give what is sent of a record [toJSON]: all of it, or with ``patch`` only what changed; never a temporary id."""
    attributes: Attributes = dict(write.attributes or {})
    if is_temp_id(attributes.get(declared.id_attribute)):
        del attributes[declared.id_attribute]
    body = _serialized(declared, attributes)
    if write.patch and isinstance(body, dict):
        changed = changes(write.base, attributes)
        return {name: value for name, value in body.items() if name in changed or name not in attributes}
    return body


def _serialized(declared: Declaration, attributes: Attributes) -> Json:
    """Run the app's hook again, long after the save that tried it first; it may have changed since."""
    try:
        return declared.serialize(attributes)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValidationFailed({"to_json()": f"failed on this record ({type(error).__name__}: {error})."}) from error


def _encoded(body: Json) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise ValidationFailed({"to_json()": f"gave something that JSON can not hold ({error})."}) from error
