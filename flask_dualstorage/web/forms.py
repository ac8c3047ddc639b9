"""The forms of the page of one write, pure: correct its fields, or choose for each field that both sides changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..policy.conflicts import with_mine
from ..policy.merging import ByKey
from ..policy.problems import field_errors
from ..policy.values import copy_json
from .inputs import Input, input_of, read, text_of, typed_input
from .texts import text

Errors = Mapping[str, list[str]]
_FIELD = re.compile(r"[^.\[]+")


@dataclass(slots=True)
class EditForm:
    """The fields of a write: those that it changes or that are wrong, and the rest; ``general``: wrong with it all."""

    changed: list[Input] = field(default_factory=list)
    rest: list[Input] = field(default_factory=list)
    general: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> list[Input]:
        """All of them."""
        return [*self.changed, *self.rest]


def edit_form(write: Any, key: str | None, errors: Errors, sent: Any = None) -> EditForm:
    """Draw the form, filled with what the write holds, or with what was ``sent`` of it (werkzeug's MultiDict)."""
    form, told = EditForm(), by_field(errors, write.attributes or {})
    form.general = told.pop("", [])
    for name, value in (write.attributes or {}).items():
        if name == key:
            form.general += told.get(name, [])
            continue
        drawn = input_of(f"attributes[{name}]", name, value, *_elsewhere(write, name))
        wrong = told.get(name, [])
        drawn = typed_input(drawn, sent, wrong) if sent is not None else _with(drawn, wrong)
        changes = write.base is None or name not in write.base or write.base[name] != value
        (form.changed if changes or wrong else form.rest).append(drawn)
    return form


def read_edit(write: Any, key: str | None, sent: Any) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Read what was changed in the form, and what is wrong with it by field."""
    given: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for name in sent.getlist("shown"):
        if name == key or name not in (write.attributes or {}):
            continue
        before = write.attributes[name]
        try:
            value = read(sent, f"attributes[{name}]", before, *_elsewhere(write, name))
        except ValueError as error:
            errors[name] = [str(error)]
            continue
        if value is not before:
            given[name] = value
    return given, errors


def by_field(errors: Errors, record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Put errors where the form shows them: ``tags[2]`` at ``tags``; what is at none of its fields under ``""``."""
    result: dict[str, list[str]] = {}
    for path, texts in errors.items():
        found = _FIELD.match(path)
        name = path if path in record else found.group() if found else ""
        known = name in record
        told = [text(each) for each in texts]
        result.setdefault(name if known else "", []).extend(
            told if known or not path else [f"{path}: {each}" for each in told]
        )
    return result


def errors_of(write: Any) -> dict[str, list[str]]:
    """Give what the upstream said of a write's fields; what is about the whole stands under ``""``."""
    state = str(write.state)
    if state == "conflict":
        return _met(write)
    if state != "rejected":
        return {}
    found = field_errors(write.problem or {})
    whole = (write.problem or {}).get("detail") or write.reason
    return found or ({"": [str(whole)]} if whole else {})


def _met(write: Any) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for clash in (each.to_dict() for each in write.conflicts):
        told = text("Somebody else changed this too: there it is gone.")
        if "theirs" in clash:
            told = text("Somebody else changed this too: there it is “%(value)s”.", value=text_of(clash["theirs"]))
        result.setdefault(str(clash["path"][0]), []).append(told)
    return result


# --- a conflict -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """One value that both sides changed: ``sides`` as in ``Clash.to_dict``, what is ``chosen``, and another value."""

    name: str
    label: str
    sides: Mapping[str, Any]
    chosen: str
    other: Input
    errors: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What its error is referred to by."""
        return "dualstorage-" + self.name.replace(".", "-")


def questions_of(write: Any, sent: Any = None, errors: Errors | None = None) -> list[Question]:
    """Draw a question for each value that both sides changed, answered as it was ``sent``."""
    result = []
    for number, clash in enumerate(write.conflicts):
        sides, name = clash.to_dict(), f"choice.{number}"
        label = ".".join(map(str, sides["path"]))
        other = input_of(f"other.{number}", label, *_values(sides))
        if sent is not None:
            other = typed_input(other, sent, [])
        wrong = (errors or {}).get(name, [])
        result.append(Question(name, label, sides, "" if sent is None else sent.get(name, ""), other, wrong))
    return result


def read_conflict(write: Any, sent: Any) -> tuple[dict[str, Any] | str, dict[str, list[str]]]:
    """Read what was chosen, as ``ds.resolve`` takes it, and what is wrong by question."""
    questions = questions_of(write, sent)
    if not questions:
        return {}, {"": [text("Choose what this shall be.")]}
    if all(question.chosen == "mine" for question in questions):
        return "mine", {}
    errors: dict[str, list[str]] = {}
    record = copy_json(with_mine(write, write.policy)[1] or {})
    for question in questions:
        try:
            _put(record, question.sides, _answer(question, sent), _element_key(write, question.sides))
        except ValueError as error:
            errors[question.name] = [str(error)]
    names = {str(clash.to_dict()["path"][0]) for clash in write.conflicts}
    return {name: record[name] for name in record if name in names}, errors


_GONE = object()


def _answer(question: Question, sent: Any) -> Any:
    match question.chosen:
        case "mine" | "theirs":
            return question.sides.get(question.chosen, _GONE)
        case "other":
            return read(sent, question.other.name, *_values(question.sides))
        case _:
            raise ValueError(text("Choose what this shall be."))


def _element_key(write: Any, sides: Mapping[str, Any]) -> str | None:
    """Give what tells the elements of lists in a field apart, where it is declared (``ByKey``)."""
    declared = write.policy.get(sides["path"][0]) if isinstance(write.policy, Mapping) else None
    return declared.key if isinstance(declared, ByKey) else None


def _put(record: Any, sides: Mapping[str, Any], value: Any, key: str | None) -> None:
    """Put an answer where it belongs in the merged record; a path leads to an element by its ``key``."""
    *above, last = sides["path"]
    for name in above:
        record = record[_place(record, name, key)] if isinstance(record, list) else record[name]
    if isinstance(record, list):
        place = _place(record, last, key)
        record[place : place + 1] = [] if value is _GONE else [value]
    elif value is not _GONE:
        record[last] = value
    elif above:
        record.pop(last, None)
    else:
        raise ValueError(text("This side has no such field. Choose another value, or one side for the whole record."))


def _place(elements: list[Any], name: Any, key: str | None) -> int:
    return next((place for place, each in enumerate(elements) if each.get(key) == name), len(elements))


def _values(sides: Mapping[str, Any]) -> list[Any]:
    return [sides.get(side) for side in ("mine", "theirs", "base")]


def _elsewhere(write: Any, name: str) -> list[Any]:
    return [(side or {}).get(name) for side in (write.theirs, write.base)]


def _with(drawn: Input, errors: list[str]) -> Input:
    return Input(drawn.name, drawn.label, drawn.kind, drawn.text, drawn.checked, errors)
