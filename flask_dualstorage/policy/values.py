"""What may be stored: JSON values, ids that can stand in a path, and what an answer must look like."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from ..errors import ValidationFailed
from ..types import Attributes, Json, RecordId

#: orjson writes 254 levels; we stop well before, where no form or API is.
MAX_DEPTH = 100
_ORJSON_DEPTH = 254
MAX_ID_LENGTH = 255
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
#: Every integer up to here is within them.
_PLAIN = 2**62
#: The shortest integer beyond 64 bits has 19 digits; finding so many in a row costs a fifth of decoding.
_DIGITS, _BIG = bytes.maketrans(b"123456789", b"000000000"), b"0" * 19
_BAD_IN_ID = re.compile(r"[/\\?#\x00-\x1f\x7f-\x9f]|\.\.")


class BadAnswer(ValueError):
    """A 2xx that can not be a list or a record; its text is the reason."""


def check_attributes(attributes: Any, max_bytes: int) -> Attributes:
    """Give a plain copy of ``attributes``, JSON all through and at most ``max_bytes`` when encoded.

    Raises ``ValidationFailed`` whose ``errors`` name the path to each value that can not be kept.
    """
    if not isinstance(attributes, Mapping):
        raise ValidationFailed(f"A record's attributes are a mapping of fields, not {_kind_of(attributes)}.")
    errors: dict[str, str] = {}
    copied = _copy(dict(attributes), "", 0, errors)
    if errors:
        raise ValidationFailed(errors)
    size = len(orjson.dumps(copied))
    if size > max_bytes:
        raise ValidationFailed(
            f"The record has {size:,} bytes as JSON; at most {max_bytes:,} are kept (DUALSTORAGE_MAX_RECORD_BYTES)."
        )
    return copied  # type: ignore[no-any-return]  # a dict in, a dict out


def check_json(value: Any, where: str) -> None:
    """Raise ``ValidationFailed`` where ``value`` is not JSON all through; ``where`` begins the path to what is not."""
    errors: dict[str, str] = {}
    _copy(value, where, 0, errors)
    if errors:
        raise ValidationFailed(errors)


def copy_json(value: Json) -> Json:
    """Copy what is already known to be JSON: lists and dicts anew, scalars as they are."""
    if type(value) is dict:
        # Most fields are scalars, and a page copies hundreds of records.
        return {key: copy_json(item) if type(item) in _CONTAINERS else item for key, item in value.items()}
    if type(value) is list:
        return [copy_json(item) if type(item) in _CONTAINERS else item for item in value]
    return value


_CONTAINERS = (dict, list)


def is_too_deep(value: Json, content: bytes) -> bool:
    """Say whether JSON, decoded from ``content``, is nested deeper than what may be stored.

    orjson reads more levels than it writes.
    """
    if content.count(b"[") + content.count(b"{") <= MAX_DEPTH:
        return False
    for _ in range(_ORJSON_DEPTH - MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


def has_big_integer(content: bytes) -> bool:
    """Say whether JSON holds an integer beyond 64 bits: orjson makes a float of it, which is another number."""
    if _BIG not in content.translate(_DIGITS):
        return False
    try:
        json.loads(content, parse_int=_small)
    except OverflowError:
        return True
    return False


def _small(digits: str) -> int:
    # Python itself refuses to read one of more than 4,300 digits, by a ValueError.
    if len(digits) > len(str(_SMALLEST)) or not _SMALLEST <= int(digits) <= _LARGEST:
        raise OverflowError(digits)
    return 0


def _copy(value: Any, path: str, depth: int, errors: dict[str, str]) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path, errors)
    if isinstance(value, int):
        return _integer(value, path, errors)
    if isinstance(value, float):
        return _number(value, path, errors)
    if isinstance(value, dict | list):
        return _container(value, path, depth, errors)
    errors[path] = f"{_kind_of(value)} is no JSON value; use text, a number, true, false, null, a list or a dict."
    return None


def _is_plain(value: Any) -> bool:
    """Say quickly of what most fields hold that there is nothing to look at more closely."""
    kind = type(value)
    if kind is str:
        return value.isascii()  # type: ignore[no-any-return]
    return kind is bool or value is None or (kind is int and -_PLAIN < value < _PLAIN)


def _text(value: str, path: str, errors: dict[str, str]) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            errors[path] = "holds a lone surrogate, which is no character: JSON can not carry it."
    return value if type(value) is str else str.__str__(value)


def _integer(value: int, path: str, errors: dict[str, str]) -> int:
    if not _SMALLEST <= value <= _LARGEST:
        errors[path] = "is an integer beyond 64 bits; send it as text."
    return int(value)


def _number(value: float, path: str, errors: dict[str, str]) -> float:
    if not math.isfinite(value):
        errors[path] = f"is {value}, which JSON does not have."
    return float(value)


def _container(value: dict[Any, Any] | list[Any], path: str, depth: int, errors: dict[str, str]) -> Json:
    if depth >= MAX_DEPTH:
        errors[path[:80] + "…"] = f"is nested deeper than {MAX_DEPTH} levels."
        return None
    if isinstance(value, list):
        return [
            item if _is_plain(item) else _copy(item, f"{path}[{index}]", depth + 1, errors)
            for index, item in enumerate(value)
        ]
    result = {}
    for key, item in value.items():
        if type(key) is str and key.isascii() and _is_plain(item):
            result[key] = item
            continue
        if not isinstance(key, str):
            errors[path] = f"has the key {key!r}; keys of a JSON object are text."
            continue
        name = key.encode("utf-8", "backslashreplace").decode()
        below = f"{path}.{name}" if path else name
        result[_text(key, below, errors)] = _copy(item, below, depth + 1, errors)
    return result


def _kind_of(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def check_id(value: Any, field: str = "id") -> RecordId:
    r"""Take an id that the app gives: an integer, or text that can stand in one segment of a path.

    Raises ``ValidationFailed`` for anything else: empty, ``/``, ``\``, ``?``, ``#``, ``..``, control characters,
    more than 255 characters.
    """
    reason = _why_no_id(value)
    if reason is None and isinstance(value, str) and (value == "." or _BAD_IN_ID.search(value)):
        reason = "an id can not hold '/', '\\', '?', '#', '..' or control characters"
    if reason is not None:
        raise ValidationFailed({field: f"{_shown(value)} is no id: {reason}."})
    return value if type(value) in (str, int) else (int(value) if isinstance(value, int) else str.__str__(value))


def _why_no_id(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return "an id is text or an integer"
    if isinstance(value, int):
        return None if _SMALLEST <= value <= _LARGEST else "it is beyond 64 bits"
    if not value:
        return "it is empty"
    if len(value) > MAX_ID_LENGTH:
        return f"it has {len(value):,} characters, and an id at most {MAX_ID_LENGTH}"
    errors: dict[str, str] = {}
    _text(value, "", errors)
    return errors.get("")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def is_number(text: str) -> bool:
    """Say whether an id's text may be that of a number: ``"7"`` is, ``"07"`` is not."""
    return text.isascii() and text.removeprefix("-").isdigit() and str(int(text)) == text


def usable_id(value: Any) -> bool:
    """Say whether a record that the upstream names so can be told apart and asked for."""
    # PostgreSQL's text has no NUL.
    return _why_no_id(value) is None and value not in (".", "..") and "\0" not in str(value)


def as_record(value: Json) -> Attributes:
    """Take a decoded answer as one record. Raises ``BadAnswer``."""
    if not isinstance(value, dict):
        raise BadAnswer(f"the answer is {_kind_of(value)} where a record was expected")
    return value


def as_records(value: Json, id_attribute: str) -> list[Attributes]:
    """Take a decoded answer as a list of records, each with an id of its own. Raises ``BadAnswer``."""
    if not isinstance(value, list):
        raise BadAnswer(f"the answer is {_kind_of(value)} where a list was expected; unwrap it in parse()")
    seen: set[str] = set()
    for position, record in enumerate(value):
        if not isinstance(record, dict):
            raise BadAnswer(f"item {position} of the list is {_kind_of(record)}, not a record")
        record_id = record.get(id_attribute)
        if not usable_id(record_id):
            raise BadAnswer(
                f"item {position} of the list has no usable {id_attribute!r} (id_attribute): {record_id!r:.60}"
            )
        text = str(record_id)
        if text in seen:
            raise BadAnswer(f"the list has two records with the {id_attribute} {text!r:.60}")
        seen.add(text)
    return value


def same(one: Json, other: Json) -> bool:
    """Compare as JSON does: ``True`` is not ``1``, but ``1.0`` is, and the order of keys does not matter."""
    if one is other:
        return True
    if one != other:
        return False
    if type(one) is str:
        return True
    # Equal to Python, which also takes True for 1: look for that alone.
    if isinstance(one, dict):
        return all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return all(map(same, one, other))
    return isinstance(one, bool) is isinstance(other, bool)


def has_all(record: Mapping[str, Json], wanted: Mapping[str, Json]) -> bool:
    """Say whether a record has every field of ``wanted``, with the same value."""
    return all(name in record and same(record[name], value) for name, value in wanted.items())


def changes(base: Mapping[str, Json] | None, mine: Attributes) -> Attributes:
    """Give the fields of ``mine`` that differ from ``base``, or that it lacks [changedAttributes]."""
    if base is None:
        return dict(mine)
    changed = {}
    for name, value in mine.items():
        if name in base:
            old = base[name]
            # Equal scalars of one type need no second look.
            if old == value and (type(old) is type(value) not in _CONTAINERS or same(old, value)):
                continue
        changed[name] = value
    return changed


def put_on(onto: Attributes, base: Attributes | None, mine: Attributes) -> Attributes:
    """Give ``onto`` with what ``mine`` did to ``base``: the fields that it set, without those that it left out."""
    shown = {**onto, **changes(base, mine)}
    if base is not None and not base.keys() <= mine.keys():
        for left_out in base.keys() - mine.keys():
            shown.pop(left_out, None)
    return shown
