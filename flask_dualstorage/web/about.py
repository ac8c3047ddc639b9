"""What a page must know of a write beside what it holds: its collection's id field, and the app's own form for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import current_app, url_for
from werkzeug.routing import BuildError

from ..logs import log

#: The query's parameter and the form's field that name a write to the app's own form.
WRITE = "dualstorage_write"


def key_of(write: Any) -> str:
    """Give the field that holds the id, which no form changes."""
    storage = current_app.extensions["dualstorage"]
    cls = storage.registry.collections.get(write.collection)
    if cls is None:
        return "id"
    dialect = cls.dialect or storage.engine.dialect(cls.upstream)
    found: str = cls.id_attribute or cls.model.id_attribute or dialect.id_attribute
    return found


def own_form(write: Any) -> str | None:
    """Give the URL of the app's own form for a write (``edit_endpoint``), None where it names none.

    The URL's arguments are the collection's parameters, by their names, and the record's id: the one that is left.
    """
    storage = current_app.extensions["dualstorage"]
    cls = storage.registry.collections.get(write.collection)
    if cls is None or cls.edit_endpoint is None or str(write.kind) == "delete":
        return None
    try:
        return url_for(cls.edit_endpoint, **_arguments(cls.edit_endpoint, write), **{WRITE: write.id})
    except BuildError as error:
        log.error("%s.edit_endpoint: %s", cls.__name__, error)
        return None
    except ValueError:
        # <int:…> in its rule takes no temporary id: a record that has no number yet is corrected in our form.
        return None


def _arguments(endpoint: str, write: Any) -> Mapping[str, Any]:
    params = dict(write.params)
    for rule in current_app.url_map.iter_rules():
        left = rule.arguments - params.keys()
        if rule.endpoint == endpoint and len(left) == 1:
            return {**params, left.pop(): write.record_id}
    return params
