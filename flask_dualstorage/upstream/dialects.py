"""What turns a write into the request that its API takes, and a record into its address."""

from __future__ import annotations

from collections.abc import Set
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import orjson

from ..dialect import Dialect
from ..errors import ValidationFailed
from ..policy import envelopes
from ..policy.coalescing import Edit
from ..policy.references import TEMP_ID, is_temp_id, path_segment
from ..policy.values import changes, check_id, check_json
from ..types import Attributes, Declaration, Json, Kind, RecordId, Write

__all__ = [
    "accept_of",
    "check_body",
    "check_no_temp_id",
    "fixed",
    "headers_of",
    "list_path",
    "path_of",
    "without_temp_id",
]


# --- addresses -------------------------------------------------------------------------------------------------


def list_path(declared: Declaration, operation: str = "list") -> str:
    """Give where a list is read, or with ``"create"`` where new records are posted."""
    dialect = declared.dialect
    template = dialect.urls.get(operation) or dialect.urls.get("list") or "{url}"
    return _filled(declared, template, "")


def path_of(declared: Declaration, record_id: RecordId, operation: str = "record") -> str:
    """Give where one record is read, updated or deleted. Raises ``ValidationFailed`` for a bad id."""
    dialect = declared.dialect
    if declared.singleton:
        return _filled(declared, "{url}", "")
    template = dialect.urls.get(operation) or dialect.urls.get("record") or "{url}/{id}"
    return _filled(declared, template, path_segment(record_id))


def _filled(declared: Declaration, template: str, segment: str) -> str:
    path = template.replace("{url}", declared.url.rstrip("/")).replace("{id}", segment)
    return path.rstrip("/") + declared.dialect.suffix + ("/" if declared.dialect.slash else "")


# --- requests --------------------------------------------------------------------------------------------------


def fixed(write: Write, declared: Declaration) -> Write:
    """Fix method, path and body of a write whose references are bound.

    A create that gets its id here has it among its ``attributes`` from then on. Raises ``ValidationFailed`` for a bad
    id, for what is no JSON, and where a temporary id is left: none ever reaches the upstream.
    """
    write = _with_new_id(write, declared)
    method, path = _method_and_path(write, declared)
    body = None if write.kind is Kind.DELETE else _encoded(body_of(write, declared, method))
    check_no_temp_id(path, body)
    return write._replace(method=method, path=path, body=body)


def _with_new_id(write: Write, declared: Declaration) -> Write:
    """Number a new record here, where the dialect says so: the same write always gets the same UUID."""
    generate = declared.dialect.new_id
    if generate is None or write.kind is not Kind.CREATE or chosen_id(write, declared) is not None:
        return write
    if callable(generate):
        try:
            made: Any = generate()
        except Exception as error:
            reason = f"Dialect.new_id failed ({type(error).__name__}: {error})."
            raise ValidationFailed({declared.id_attribute: reason}) from error
    else:
        made = str(UUID(hex=write.id, version=4))
    attributes = {**(write.attributes or {}), declared.id_attribute: check_id(made, declared.id_attribute)}
    return write._replace(attributes=attributes)


def chosen_id(write: Write, declared: Declaration) -> RecordId | None:
    """Give the id that a write's record has, or will have; None where the upstream gives it one."""
    if not is_temp_id(write.record_id):
        return write.record_id
    known: RecordId | None = (write.attributes or {}).get(declared.id_attribute)
    return None if is_temp_id(known) else known


def _method_and_path(write: Write, declared: Declaration) -> tuple[str, str]:
    dialect = declared.dialect
    query = envelopes.version_in_query(dialect, write.base)
    after = f"?{urlencode(query, quote_via=quote)}" if query else ""
    match write.kind:
        case Kind.CREATE:
            known = chosen_id(write, declared)
            if dialect.create_method == "PUT" and known is not None:
                return "PUT", path_of(declared, known, "create" if "create" in dialect.urls else "record")
            return "POST", list_path(declared, "create" if dialect.create_method == "POST" else "list")
        case Kind.DELETE:
            return dialect.delete_method, path_of(declared, write.record_id, "delete") + after
        case Kind.UPDATE:
            partial = write.patch and dialect.patch_method
            return partial or dialect.update_method, path_of(declared, write.record_id, "update") + after


def headers_of(write: Write, declared: Declaration) -> dict[str, str]:
    """Give the headers that a write's request must have; the same ones at each send of it."""
    dialect = declared.dialect
    headers: dict[str, str] = {}
    if write.body is not None:
        patch_type = dialect.patch_type if write.method == "PATCH" else None
        headers["Content-Type"] = patch_type or dialect.media_type
    if write.kind is Kind.CREATE:
        if write.method == "PUT":
            headers["If-None-Match"] = "*"
        return headers
    version = envelopes.if_match(dialect, write.base, write.validator)
    if version is not None:
        headers["If-Match"] = version
    return headers


def accept_of(dialect: Dialect) -> dict[str, str]:
    """Give the header that asks for the dialect's media type; the client asks for plain JSON by itself."""
    return {} if dialect.media_type == "application/json" else {"Accept": dialect.media_type}


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


def body_of(write: Write, declared: Declaration, method: str) -> Json:
    """Give what is sent of a record [toJSON]: all of it, or with ``patch`` only what changed; never a temporary id."""
    dialect = declared.dialect
    attributes = without_temp_id(write, declared)
    body = _serialized(declared, attributes)
    if not isinstance(body, dict):
        return _wrapped(dialect, body)
    body = envelopes.writable(dialect, body)
    as_merge = write.kind is Kind.UPDATE and method == "PATCH" and dialect.patch_type == envelopes.MERGE_PATCH
    if as_merge or (write.patch and dialect.patch_method is not None):
        body = _changed(write, attributes, body, {declared.id_attribute} if callable(dialect.wrap) else frozenset())
    if as_merge and write.base is not None:
        left_out = write.base.keys() - attributes.keys()
        of_base = {name: value for name, value in write.base.items() if name in body or name in left_out}
        body = envelopes.merge_patch(envelopes.writable(dialect, of_base), body)
    return _wrapped(dialect, {**body, **envelopes.version_in_body(dialect, write.base)})


def without_temp_id(write: Write, declared: Declaration) -> Attributes:
    """Give a write's attributes as they may leave this house."""
    attributes: Attributes = dict(write.attributes or {})
    if is_temp_id(attributes.get(declared.id_attribute)):
        del attributes[declared.id_attribute]
    return attributes


def _changed(write: Write, attributes: Attributes, body: Attributes, always: Set[str]) -> Attributes:
    """Give what changed of a body, and what a function that wraps it ``always`` needs: the id."""
    changed = changes(write.base, attributes).keys() | always
    return {name: value for name, value in body.items() if name in changed or name not in attributes}


def _serialized(declared: Declaration, attributes: Attributes) -> Json:
    """Run the app's hook again, long after the save that tried it first; it may have changed since."""
    try:
        return declared.serialize(attributes)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValidationFailed({"to_json()": f"failed on this record ({type(error).__name__}: {error})."}) from error


def _wrapped(dialect: Dialect, body: Json) -> Json:
    try:
        return envelopes.wrapped(dialect, body)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValidationFailed({"wrap": f"failed on this record ({type(error).__name__}: {error})."}) from error


def _encoded(body: Json) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise ValidationFailed({"to_json()": f"gave something that JSON can not hold ({error})."}) from error
