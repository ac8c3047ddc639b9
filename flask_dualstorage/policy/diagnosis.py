"""What an API's answers tell of how it speaks: the rules of ``flask dualstorage doctor``, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from ..types import Answer, Attributes, Failure, Json
from .outcomes import body_of, strong_validator
from .values import BadAnswer, usable_id

#: The names under which APIs hand out ids, the likeliest first.
_IDS = ("id", "_id", "uuid", "objectId", "guid", "key", "pk", "number", "slug")
#: The names under which lists stand, the likeliest first.
_LISTS = ("data", "results", "items", "records", "value", "objects", "rows", "content", "hits", "_embedded")


class Weight(StrEnum):
    """How much a finding matters."""

    GOOD = "good"
    NOTE = "note"
    RISK = "risk"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about an API or an app, and how much it matters."""

    weight: Weight
    text: str


@dataclass(slots=True)
class Diagnosis:
    """What was found: ``findings`` in order, and ``dialect``, the recommended fields as Python source by name.

    ``doubled`` names the writes that could be applied twice, or is None where nobody looked.
    """

    findings: list[Finding] = field(default_factory=list)
    dialect: dict[str, str] = field(default_factory=dict)
    doubled: tuple[str, ...] | None = None

    def good(self, text: str) -> None:
        """Add what is as it should be."""
        self.findings.append(Finding(Weight.GOOD, text))

    def note(self, text: str) -> None:
        """Add what is to be known."""
        self.findings.append(Finding(Weight.NOTE, text))

    def risk(self, text: str) -> None:
        """Add what can do harm."""
        self.findings.append(Finding(Weight.RISK, text))

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON object."""
        return {
            "findings": [{"weight": finding.weight.value, "text": finding.text} for finding in self.findings],
            "dialect": dict(self.dialect),
            "doubled": None if self.doubled is None else list(self.doubled),
        }


# --- what stands where ----------------------------------------------------------------------------------------


def find_list(body: Json) -> tuple[str | None, list[Attributes]] | None:
    """Find the list of records in an answer: its place (None: all of it) and the records; None: there is none."""
    if isinstance(body, list):
        return None, [record for record in body if isinstance(record, dict)]
    if not isinstance(body, dict):
        return None
    found = {name: value for name, value in body.items() if isinstance(value, list) and _are_records(value)}
    for name, below in body.items():
        if isinstance(below, dict):
            found |= {f"{name}.{inner}": value for inner, value in below.items() if _is_filled(value)}
    if not found:
        return None
    place = min(found, key=lambda name: (not found[name], _rank(name.partition(".")[0], _LISTS)))
    return place, found[place]


def _are_records(value: list[Any]) -> bool:
    return all(isinstance(item, dict) for item in value)


def _is_filled(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and _are_records(value)


def _rank(name: str, known: Sequence[str]) -> int:
    return known.index(name) if name in known else len(known)


def find_id(records: Sequence[Attributes]) -> str | None:
    """Find the field that tells records apart; None where no field does."""
    if not records:
        return None
    fields = [name for name in records[0] if all(usable_id(record.get(name)) for record in records)]
    unique = [name for name in fields if len({str(record[name]) for record in records}) == len(records)]
    likely = [name for name in unique if name in _IDS or name.lower().endswith("id")]
    return min(likely, key=lambda name: _rank(name, _IDS)) if likely else None


def find_record(body: Json, id_attribute: str, record_id: Any) -> tuple[str | None, Attributes] | None:
    """Find the record of an id in an answer: its place (None: the answer itself) and the record."""
    if not isinstance(body, dict):
        return None
    if str(body.get(id_attribute)) == str(record_id):
        return None, body
    for name, value in body.items():
        if isinstance(value, dict) and str(value.get(id_attribute)) == str(record_id):
            return name, value
    return None


def decoded(answer: Answer | Failure) -> Json:
    """Give the JSON of an answer, None where there is none."""
    if isinstance(answer, Failure):
        return None
    try:
        return body_of(answer)
    except BadAnswer:
        return None


# --- what an answer says ---------------------------------------------------------------------------------------


def describe(answer: Answer | Failure) -> str:
    """Give an answer in a few words."""
    return answer.reason if isinstance(answer, Failure) else f"status {answer.status_code}"


def is_success(answer: Answer | Failure) -> bool:
    """Say whether an answer is a 2xx."""
    return isinstance(answer, Answer) and 200 <= answer.status_code < 300


def about_validators(diagnosis: Diagnosis, what: str, headers: Mapping[str, str]) -> None:
    """Say what the validators of an answer are good for (RFC 9110 §8.8)."""
    if strong_validator(headers) is not None:
        diagnosis.good(f"{what} has a strong ETag: it can go back as If-Match.")
    elif headers.get("ETag"):
        diagnosis.note(f"{what} has a weak ETag: it saves transfers (304), and never goes back as If-Match.")
    elif headers.get("Last-Modified"):
        diagnosis.note(f"{what} has only Last-Modified: it saves transfers, and tells no two edits of a second apart.")
    else:
        diagnosis.note(f"{what} has no validator: every fetch transfers it whole.")


def about_habits(diagnosis: Diagnosis, headers: Mapping[str, str]) -> None:
    """Say what of an answer's headers is ignored on purpose."""
    if "no-store" in headers.get("Cache-Control", ""):
        diagnosis.note(
            "It says Cache-Control: no-store. That is for HTTP caches; the user's own copy is kept all the same."
        )
    if headers.get("Set-Cookie"):
        diagnosis.note("It sets a cookie. Cookies are never kept, so that no user is sent with another's.")


def slash_wanted(without: Answer | Failure, with_slash: Answer | Failure) -> bool | None:
    """Say whether paths must end in a slash: None where both forms are answered, or neither is.

    A read follows where it is redirected to; a write must not, so that there the slash is wanted all the same.
    """
    if isinstance(without, Answer) and is_success(without) and urlsplit(without.url).path.endswith("/"):
        return True
    plain, slashed = is_success(without), is_success(with_slash)
    return None if plain is slashed else slashed


def another_version(etag: str) -> str:
    """Give an ETag of the same make that is not this one: its last letter or digit is another."""
    for place in range(len(etag) - 1, -1, -1):
        if etag[place].isalnum():
            return f"{etag[:place]}{'1' if etag[place] == '0' else '0'}{etag[place + 1 :]}"
    return '"0"'


def create_is_safe(first: Answer | Failure, second: Answer | Failure, ids: Sequence[Any]) -> bool | None:
    """Say whether a create that is sent twice with one key makes one record; None where it can not be told."""
    if not is_success(first) or ids[0] is None:
        return None
    if isinstance(second, Answer) and second.status_code in (409, 422):
        return None
    return is_success(second) and str(ids[0]) == str(ids[1])


# --- the app ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setup:
    """What is to be known of an app's set-up: the cache's class name and size, the database's kind, the deadline."""

    cache: str
    threshold: int | None
    database: str
    has_secret_key: bool
    total_timeout: float
    eviction: str | None = None


def about_setup(diagnosis: Diagnosis, setup: Setup) -> None:
    """Say what of an app's set-up is risky once there are several workers, or an outage."""
    if setup.cache == "SimpleCache":
        diagnosis.risk(
            "The cache is a SimpleCache: each worker process has copies of its own, and a new one has none in an "
            "outage. Use RedisCache or FileSystemCache with several workers."
        )
    if setup.threshold:
        diagnosis.risk(
            f"The cache evicts from {setup.threshold} values on (CACHE_THRESHOLD), and a copy that was evicted is not "
            "there in an outage. Raise it, or use threshold 0 for a FileSystemCache."
        )
    if setup.eviction is not None and setup.eviction.startswith("allkeys"):
        diagnosis.risk(
            f"Redis evicts copies when its memory is full (maxmemory-policy {setup.eviction}), as an outage goes on. "
            "Writes are not in it and never lost; give copies a Redis of their own, or more memory."
        )
    if setup.database == "sqlite":
        diagnosis.note(
            "The outbox is an SQLite file: right for the workers of one host. With several hosts set "
            "DUALSTORAGE_DATABASE_URL to PostgreSQL or MariaDB."
        )
    if not setup.has_secret_key:
        diagnosis.risk("The app has no SECRET_KEY: no form nonces, and no anonymous visitors.")
    if setup.total_timeout >= 30:
        diagnosis.risk(
            f"An answer may take {setup.total_timeout:g} s (DUALSTORAGE_TIMEOUT). Most servers end a worker after "
            "30 s: a page would be cut before it could show its copy."
        )


# --- how a list goes on ----------------------------------------------------------------------------------------


def pages_source(headers: Mapping[str, str], body: Json) -> str | None:
    """Give what an answer says of its pages as the source of ``Dialect(pages=…)``; None: nothing does."""
    total = next((name for name in ("X-Total-Count", "Total-Records", "X-Total") if headers.get(name)), None)
    told = f"total_header={total!r}" if total else ""
    if 'rel="next"' in headers.get("Link", "") or "rel=next" in headers.get("Link", ""):
        return f"LinkPages({told})"
    if headers.get("Next-Page"):
        return f"HeaderPages({told})"
    return _pages_of_body(body, told) if isinstance(body, dict) else None


def _pages_of_body(body: Mapping[str, Json], told: str) -> str | None:
    count = next((name for name in ("count", "total", "totalItems", "total_count") if _is_count(body.get(name))), None)
    told = told or (f"total_at={count!r}" if count else "")
    for place, value in _nexts(body):
        if isinstance(value, str) and ("/" in value or "?" in value):
            own = [] if place == "next" else [f"next_at={place!r}"]
            return f"BodyPages({', '.join(filter(None, [*own, told]))})"
        if isinstance(value, str | int) and not isinstance(value, bool):
            return f"CursorPages({', '.join(filter(None, [f'next_at={place!r}', told]))})"
    if "page" in body and count:
        return f"NumberedPages({told})"
    if "offset" in body and count:
        return f"OffsetPages({told})"
    return None


def _nexts(body: Mapping[str, Json]) -> list[tuple[str, Json]]:
    """Give what is called "next" in an answer, by its place."""
    names = ("next", "next_cursor", "nextCursor", "next_page", "nextPageToken", "cursor")
    found = [(name, body[name]) for name in names if body.get(name)]
    for outer in ("links", "_links", "meta", "paging", "pagination"):
        inner = body.get(outer)
        if isinstance(inner, dict):
            found += [(f"{outer}.{name}", inner[name]) for name in names if inner.get(name)]
    return [
        (f"{place}.href", value["href"]) if isinstance(value, dict) and "href" in value else (place, value)
        for place, value in found
    ]


def _is_count(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
