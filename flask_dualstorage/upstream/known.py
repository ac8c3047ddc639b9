"""Dialects that come ready-made: ``from flask_dualstorage import dialects``, then ``dialect = dialects.drf``."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import unquote

from ..bulk import Bulk
from ..dialect import Dialect
from ..types import Answer, Attributes, Json
from .paging import BodyPages, HeaderPages, LinkPages

__all__ = ["Dialect", "drf", "hal", "json_api", "json_server", "kinto"]


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


#: "Integrity constraint violated, please retry": two wrote to one collection in the same moment.
_KINTO_RETRY = 122


def _kinto_outcome(operation: str, answer: Answer) -> str | None:
    """A create of an id that exists tells the record that is there; a 409 is about the moment, not the record."""
    if answer.status_code == 200:
        return "existing" if operation == "create" else None
    if answer.status_code != 409:
        return None
    try:
        body: Any = answer.json()
    except ValueError:
        return None
    return "not_now" if isinstance(body, dict) and body.get("errno") == _KINTO_RETRY else None


def _kinto_answers(body: Json) -> list[Json]:
    """Take the answers out of a batch. A 409 undoes what came before it: what else is called a success is not known."""
    answers: list[Json] = body["responses"]
    undone = any(each["status"] == 409 for each in answers)
    return [None if undone and each["status"] < 300 else each for each in answers]


#: Kinto: ``{"data": …}`` everywhere, versions in ``last_modified``, new records put under an id that is made here, so
#: that none can be made twice. A POST of an id that exists would be answered with the old record and 200. Batches that
#: write to one collection at once undo each other: they go one after the other.
kinto = Dialect(
    new_id="uuid4",
    create_method="PUT",
    list_at="data",
    record_at="data",
    wrap="data",
    read_only=("schema",),
    version_from="last_modified",
    existing_at="details.existing",
    outcomes=_kinto_outcome,
    pages=HeaderPages("Next-Page", per_page="_limit"),
    bulk=Bulk(parallel=False, answers=_kinto_answers),
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


# --- JSON:API 1.1 ----------------------------------------------------------------------------------------------


def json_api(type_name: str) -> Dialect:
    """Give the dialect of JSON:API for the records of one type, which every write must name.

    A record is its attributes with ``id``, and ``relationships`` as they stand in the resource.
    """
    return Dialect(
        media_type="application/vnd.api+json",
        update_method="PATCH",
        list_at="data",
        item_at=_flat,
        record_at=lambda body: _flat(body["data"]),
        wrap=partial(_resource, type_name),
        pages=BodyPages("links.next", "links.prev"),
    )


def _flat(resource: Json) -> Json:
    if resource is None:
        return None
    record = {**resource.get("attributes", {}), "id": resource["id"]}
    if resource.get("relationships"):
        record["relationships"] = resource["relationships"]
    return record


def _resource(type_name: str, record: Attributes) -> Json:
    """Links and the like of a relationship are the server's: only what it links to goes back."""
    resource: Attributes = {"type": type_name}
    if "id" in record:
        resource["id"] = str(record["id"])
    resource["attributes"] = {name: value for name, value in record.items() if name not in ("id", "relationships")}
    links = record.get("relationships") or {}
    related = {name: {"data": link["data"]} for name, link in links.items() if "data" in link}
    return {"data": {**resource, "relationships": related} if related else resource}


# --- HAL -------------------------------------------------------------------------------------------------------


def _embedded_list(body: Json) -> Json:
    """Take the one list that is embedded, under whatever name; an empty list may embed nothing."""
    lists = [value for value in body.get("_embedded", {}).values() if isinstance(value, list)]
    if len(lists) > 1:
        raise ValueError("it embeds several lists; name one: dialects.hal.but(list_at='_embedded.people')")
    return lists[0] if lists else []


def _with_linked_id(record: Json) -> Json:
    """Some name a record by its link alone (Spring Data REST): the id is what the link ends in."""
    if "id" in record:
        return record
    href = record["_links"]["self"]["href"].partition("{")[0].partition("?")[0].rstrip("/")
    return {**record, "id": unquote(href.rpartition("/")[2])}


#: HAL: a list in ``_embedded``, links in ``_links`` that are shown and never sent.
hal = Dialect(
    media_type="application/hal+json",
    list_at=_embedded_list,
    item_at=_with_linked_id,
    record_at=_with_linked_id,
    read_only=("_links", "_embedded"),
    pages=BodyPages("_links.next.href", "_links.prev.href"),
)
