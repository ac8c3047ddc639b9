"""Dialects that come ready-made: ``from flask_dualstorage import dialects``, then ``dialect = dialects.drf``."""

from __future__ import annotations

from typing import Any

from ..dialect import Dialect
from ..types import Answer, Json
from .paging import BodyPages, HeaderPages, LinkPages

__all__ = ["Dialect", "drf", "json_server", "kinto"]


# --- json-server 0.17 ------------------------------------------------------------------------------------------


def _json_server_outcome(operation: str, answer: Answer) -> str | None:
    """An id that exists is answered by a page about a crash."""
    if operation == "create" and answer.status_code == 500 and b"duplicate id" in answer.content:
        return "conflict"
    return None


#: json-server 0.17: bare lists and records, PUT and PATCH, weak ETags; pages where ``_page`` asks for them.
json_server = Dialect(
    outcomes=_json_server_outcome,
    pages=LinkPages(page="_page", per_page="_limit", total_header="X-Total-Count"),
)


# --- Kinto -----------------------------------------------------------------------------------------------------

#: Kinto: ``{"data": …}`` everywhere, versions in ``last_modified``, new records put under an id that is made here, so
#: that none can be made twice. A POST of an id that exists would be answered with the old record and 200.
kinto = Dialect(
    new_id="uuid4",
    create_method="PUT",
    list_at="data",
    record_at="data",
    wrap="data",
    read_only=("schema",),
    version_from="last_modified",
    existing_at="details.existing",
    outcomes={(200, "create"): "existing"},
    pages=HeaderPages("Next-Page", per_page="_limit"),
)


# --- Django REST framework -------------------------------------------------------------------------------------

#: What it says to a credential that is missing or wrong where its first way to log in has no challenge (a session).
_DRF_CREDENTIALS = (
    "Authentication credentials were not provided.",
    "Incorrect authentication credentials.",
    "Invalid token.",
)


def _drf_list(body: Json) -> Json:
    return body["results"] if isinstance(body, dict) else body


def _drf_outcome(operation: str, answer: Answer) -> str | None:
    if answer.status_code != 403:
        return None
    try:
        body: Any = answer.json()
    except ValueError:
        return None
    told = body.get("detail") if isinstance(body, dict) else None
    return "unauthorized" if told in _DRF_CREDENTIALS else None


#: Django REST framework: slashes at the end, lists bare or in ``results``, whichever of its paginators cuts them, a
#: missing credential answered with 403.
drf = Dialect(slash=True, list_at=_drf_list, outcomes=_drf_outcome, pages=BodyPages(page="page", total_at="count"))
