"""Form resurrection for Flask-WTF: ``fill(form, dualstorage.typed())`` before the form is shown."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..web.forms import by_field
from ..web.inputs import text_of
from ..web.typed import Typed


def fill(form: Any, typed: Typed | None) -> None:
    """Fill the fields of a WTForms ``form`` with what was ``typed``, and put the upstream's errors at them.

    Nothing for None. Of a form that was submitted, what was typed stays as it is, and only the errors are added. What
    is wrong with no field of the form goes to ``form.form_errors``.
    """
    if typed is None:
        return
    if not form.is_submitted():
        for field in form:
            if field.short_name in typed.attributes:
                _fill(field, typed.attributes[field.short_name])
    fields = {field.short_name: field for field in form}
    for name, errors in by_field(typed.errors, fields).items():
        if name:
            fields[name].errors = [*fields[name].errors, *errors]
        else:
            form.form_errors.extend(errors)


def _fill(field: Any, value: Any) -> None:
    """Give a field a JSON value: as itself, or read as if it had been typed (a date, say)."""
    if value is None or isinstance(value, bool | Mapping) or hasattr(field, "entries"):
        field.process(None, data=value)
        return
    field.raw_data = [text_of(each) for each in value] if isinstance(value, list) else [text_of(value)]
    with suppress(ValueError):  # then it is shown as it was typed
        field.process_formdata(field.raw_data)
