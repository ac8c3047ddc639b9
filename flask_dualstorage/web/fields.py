"""Attributes out of a form: ``attributes[age]`` is text, and becomes what the field is, pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ValidationFailed

_FIELD = re.compile(r"attributes\[(.+)\]", re.DOTALL)
_KINDS = {bool: "true or false", int: "a number", float: "a number", list: "a list as JSON", dict: "an object as JSON"}


def attributes_of(form: Iterable[tuple[str, str]], *known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the attributes that a form's fields named ``attributes[…]`` say.

    Each has the type that it has in the first of ``known`` that knows it; text where none does. Raises
    ``ValidationFailed`` for what is not of its type.
    """
    found = ((_FIELD.fullmatch(name), text) for name, text in form)
    named = {each.group(1): text for each, text in found if each is not None}
    wrong: dict[str, str] = {}
    result = {name: _typed(name, text, _like(name, known), wrong) for name, text in named.items()}
    if wrong:
        raise ValidationFailed(wrong)
    return result


def _like(name: str, known: Iterable[Mapping[str, Any] | None]) -> Any:
    return next((each[name] for each in known if each is not None and each.get(name) is not None), None)


def _typed(name: str, text: str, like: Any, wrong: dict[str, str]) -> Any:
    if like is None or isinstance(like, str):
        return text
    try:
        value = json.loads(text) if text.strip() else None
    except ValueError:
        value = text
    if value is None or _is_like(value, like):
        return value
    wrong[name] = f"{text!r:.60} is not {_KINDS[type(like)]}."
    return None


def _is_like(value: Any, like: Any) -> bool:
    number = isinstance(like, int | float) and not isinstance(like, bool)
    return type(value) in (int, float) if number else type(value) is type(like)
