"""A form's text becomes what the record's field is."""

from __future__ import annotations

from typing import Any

import pytest

from flask_dualstorage.errors import ValidationFailed
from flask_dualstorage.web.fields import attributes_of

MINE = {
    "name": "Ada",
    "age": 36,
    "height": 1.6,
    "admin": True,
    "tags": ["a"],
    "address": {"city": "London"},
    "left": None,
}
THEIRS = {"left": 3, "only": 1}


def read(*form: tuple[str, str]) -> dict[str, Any]:
    return attributes_of(form, MINE, None, THEIRS)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("name", "42", "42"),
        ("name", "", ""),
        ("age", "37", 37),
        ("age", "36.5", 36.5),
        ("age", "", None),
        ("height", "2", 2),
        ("admin", "false", False),
        ("tags", '["b"]', ["b"]),
        ("address", '{"city": "Paris"}', {"city": "Paris"}),
        ("left", "4", 4),
        ("only", "2", 2),
        ("new", "5", "5"),
        ("odd]name[", "x", "x"),
    ],
)
def test_text_is_read_as_the_field_is(field: str, text: str, value: Any):
    found = read((f"attributes[{field}]", text))
    assert (found, type(found[field])) == ({field: value}, type(value))


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("age", "old", "a number"),
        ("age", "true", "a number"),
        ("age", '"36"', "a number"),
        ("admin", "1", "true or false"),
        ("tags", "a, b", "a list"),
        ("address", "[]", "an object"),
    ],
)
def test_what_is_not_of_its_type_is_refused_by_name(field: str, text: str, says: str):
    with pytest.raises(ValidationFailed) as refused:
        read((f"attributes[{field}]", text), ("attributes[name]", "Eve"))
    assert list(refused.value.errors) == [field]
    assert says in refused.value.errors[field][0]


def test_other_fields_of_the_form_are_none():
    assert read(("next", "/"), ("choice", "mine"), ("attributes", "{}"), ("attributes[]", "x")) == {}
