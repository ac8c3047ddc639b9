"""One value of a record as a form's input, and back, pure: typed by what the value was before.

Nothing that was typed is lost: what can not be read comes back as it was, with what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .texts import text

#: Longer text, and text of several lines, gets a box of several lines.
_LONG = 80


@dataclass(frozen=True, slots=True)
class Input:
    """What a template draws: ``kind`` is ``text``, ``lines``, ``number``, ``flag`` or ``json``."""

    name: str
    label: str
    kind: str
    text: str
    checked: bool = False
    errors: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What a label and an error refer to."""
        return "dualstorage-" + "".join(each if each.isalnum() else "-" for each in self.name)


def input_of(name: str, label: str, value: Any, *others: Any) -> Input:
    """Draw ``value``; its kind is told by the first of it and ``others`` (the same field elsewhere) that is there."""
    like = _like(value, *others)
    return Input(name, label, _kind(like), text_of(value), checked=value is True)


def typed_input(drawn: Input, form: Mapping[str, str], errors: list[str]) -> Input:
    """Draw an input anew with what was typed into it."""
    typed = form.get(drawn.name, "")
    return Input(drawn.name, drawn.label, drawn.kind, typed, checked=drawn.name in form, errors=errors)


def read(form: Mapping[str, str], name: str, value: Any, *others: Any) -> Any:
    """Read an input that was drawn for ``value``. Raises ``ValueError`` that says what is wrong.

    What was left as it was is the same value again, also where a browser can not hold it (line breaks, say).
    """
    like = _like(value, *others)
    kind, typed = _kind(like), _lines(form.get(name, ""))
    if kind == "flag":
        # A box has no third state: one that nobody ticked leaves null as it was.
        return None if value is None and name not in form else name in form
    if typed == _lines(text_of(value)):
        return value
    if kind == "number":
        return _number(typed.strip())
    if kind == "json":
        return _json(typed)
    return typed


def text_of(value: Any) -> str:
    """Give what stands in the input of a value."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return orjson.dumps(value).decode()


def _like(*values: Any) -> Any:
    return next((each for each in values if each is not None), None)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list | dict):
        return "json"
    return "lines" if isinstance(value, str) and ("\n" in value or len(value) > _LONG) else "text"


def _lines(typed: str) -> str:
    # Browsers send line breaks as CR LF, whatever they were before.
    return typed.replace("\r\n", "\n").replace("\r", "\n")


def _number(typed: str) -> int | float | None:
    if not typed:
        return None
    try:
        # Python takes 1_000, people do not.
        number = math.nan if "_" in typed else int(typed) if typed.lstrip("+-").isdecimal() else float(typed)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(text("This takes a number, such as 7 or 2.5."))
    return number


def _json(typed: str) -> Any:
    if not typed.strip():
        return None
    try:
        return orjson.loads(typed)
    except ValueError as error:
        raise ValueError(text("This is not valid JSON: %(why)s.", why=str(error).rstrip("."))) from error
