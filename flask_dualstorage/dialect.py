"""Dialect: what is to be known of how an API speaks, as one declaration that is checked when it is made."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from .bulk import Bulk
from .errors import ConfigurationError

#: Where something stands in a JSON text: a dotted path of members, a function that takes it out, or None: all of it.
Place = str | Callable[[Any], Any] | None

#: What may be asked of an API, each at a URL of its own.
OPERATIONS = ("list", "record", "create", "update", "delete")
#: What an outcome override may say that an answer means.
OUTCOMES = (
    "applied",
    "conflict",
    "existing",
    "gone",
    "in_doubt",
    "not_now",
    "rejected",
    "unauthorized",
    "unreachable",
)

_TEMPLATE = re.compile(r"(?:\{url\}|/)(?:[!$-;=@-~]|\{id\})*")
_BRACED = re.compile(r"\{[^}]*\}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:;[ -~]+)?", re.ASCII)
_SINK = re.compile(r"If-Match|body|query:[\w.-]+", re.ASCII)
_SUFFIX = re.compile(r"[A-Za-z0-9._~-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How an API speaks. What is left out is as most APIs have it; ``drf.but(slash=False)`` derives one from another.

    A *place* is a dotted path (``"data.items"``), a function that takes out what stands there, or None: the whole.
    ``docs/dialects.md`` tells how to write one. Raises ``ConfigurationError`` that names a wrong field.

    Names and addresses. ``id_attribute``: the field that holds the id. ``new_id``: None, the API numbers new records;
    ``"uuid4"``, or a function of no arguments that gives an id, numbers them here. ``urls``: templates with ``{url}``
    (the collection's path) and ``{id}``, by operation (``list``, ``record``, ``create``, ``update``, ``delete``).
    ``suffix`` (``".json"``) and then, with ``slash=True``, a slash end every path. ``create_method``: ``"PUT"`` puts
    a record whose id is known at its own URL, with ``If-None-Match: *``. ``update_method``: of a whole record.
    ``patch_method``: of only what changed; None where the API takes whole records only. ``delete_method``.

    Bodies. ``media_type``: of what is accepted and sent. ``patch_type``: of PATCH where it is another;
    ``application/merge-patch+json`` makes it one (RFC 7396). ``list_at`` and ``record_at``: the place of the list,
    and of the record, in an answer; ``item_at``: of each record within the list. ``wrap``: the place in the request
    to which a record goes, or a function that makes the body of it; given what changed only, it has the id too.
    ``read_only``: fields that are never sent.

    Versions. ``version_from``: the field that holds a record's version; None: its strong ETag. ``version_to``: how
    it goes back, ``"If-Match"``, ``"body"`` (in the same field), or ``"query:rev"`` (in the parameter ``rev``).

    Answers. ``after_write``: ``"merge"`` lays an answer over what was sent, ``"read"`` asks for the record again.
    ``errors_at``: the place of the errors by field in a refusal. ``existing_at``: the place of the record that is
    there, in a conflict's answer. ``outcomes``: what an answer means here that would mean something else: a dict of
    statuses, or (status, operation), to one of ``"applied"``, ``"conflict"``, ``"existing"`` (the answer is the
    record that was there: it is compared), ``"gone"``, ``"in_doubt"``, ``"not_now"``, ``"rejected"``,
    ``"unauthorized"``, ``"unreachable"``; or a function of operation and answer that gives one of them or None.

    Keys. ``idempotency_header``: its name, False: none is sent, None: as configured. ``honours_keys``: whether, or
    for how many seconds, a repeated key gets its first answer; None: as configured. ``replayed_header``: the header
    that tells such an answer, whose success counts as the first one did.

    ``pages`` says how a list goes on: ``LinkPages()``, ``BodyPages()`` or another style of ``docs/queries.md``; None: a
    list comes in one piece.

    ``bulk``: the endpoint that takes several writes in one request, ``Bulk()`` where it is as Kinto has it; None: there
    is none, and each write goes alone.
    """

    id_attribute: str = "id"
    new_id: str | Callable[[], str | int] | None = None
    urls: Mapping[str, str] = field(default_factory=dict)
    slash: bool = False
    suffix: str = ""
    create_method: str = "POST"
    update_method: str = "PUT"
    patch_method: str | None = "PATCH"
    delete_method: str = "DELETE"
    media_type: str = "application/json"
    patch_type: str | None = None
    list_at: Place = None
    item_at: Place = None
    record_at: Place = None
    wrap: Place = None
    read_only: tuple[str, ...] = ()
    version_from: str | None = None
    version_to: str = "If-Match"
    after_write: str = "merge"
    errors_at: Place = None
    existing_at: Place = None
    outcomes: Mapping[Any, str] | Callable[[str, Any], str | None] = field(default_factory=dict)
    idempotency_header: str | bool | None = None
    honours_keys: bool | float | None = None
    replayed_header: str | None = None
    pages: Any = None
    bulk: Bulk | None = None

    def __new__(cls, *args: object, **given: object) -> Self:
        """Refuse a field that is not there, by its name and with the one that may have been meant."""
        known = [each.name for each in fields(cls)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(known)}."
                raise ConfigurationError(f"Dialect({name}=…) is not there. {hint}")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        for name, (takes, fits) in _TAKES.items():
            value = getattr(self, name)
            if not fits(value):
                raise ConfigurationError(f"Dialect.{name} is {value!r}; it takes {takes}.")
        object.__setattr__(self, "read_only", tuple(self.read_only))
        if "create" in self.urls and ("{id}" in self.urls["create"]) is not (self.create_method == "PUT"):
            raise ConfigurationError(
                f"Dialect.urls['create'] is {self.urls['create']!r}; it takes the {{id}} with create_method='PUT' only."
            )
        if self.version_to != "If-Match" and self.version_from is None:
            raise ConfigurationError(
                f"Dialect.version_to is {self.version_to!r}, and version_from is not there; name the version's field."
            )

    def but(self, **changed: Any) -> Dialect:
        """Give this dialect with some fields changed. Raises ``ConfigurationError``."""
        return replace(self, **changed)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_place(value: Any) -> bool:
    return value is None or callable(value) or (isinstance(value, str) and all(value.split(".")))


def _is_suffix(value: Any) -> bool:
    return isinstance(value, str) and _SUFFIX.fullmatch(value) is not None


def _is_header(value: Any) -> bool:
    return isinstance(value, str) and _HEADER.fullmatch(value) is not None


def _is_media_type(value: Any) -> bool:
    return isinstance(value, str) and _MEDIA_TYPE.fullmatch(value) is not None


def _is_template(operation: Any, template: Any) -> bool:
    if operation not in OPERATIONS or not isinstance(template, str):
        return False
    braced = set(_BRACED.findall(template))
    if operation in ("update", "delete", "record") and "{id}" not in braced:
        return False
    return _TEMPLATE.fullmatch(template) is not None and braced <= {"{url}", "{id}"}


def _are_urls(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_is_template(*item) for item in value.items())


def _is_answer_key(key: Any) -> bool:
    status, operation = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
    is_status = isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 599
    return is_status and operation in (None, *OPERATIONS)


def _are_outcomes(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return callable(value)
    return all(_is_answer_key(key) and name in OUTCOMES for key, name in value.items())


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple | list | set | frozenset) and all(map(_is_name, value))


def _is_wait(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, int | float) and 0 < value < 1e10)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_pages(value: Any) -> bool:
    return value is None or (not isinstance(value, type) and callable(getattr(value, "told", None)))


def _one_of(*allowed: Any) -> tuple[str, Callable[[Any], bool]]:
    return " or ".join(repr(each) for each in allowed), lambda value: value in allowed


_PLACE = ("a dotted path such as 'data.items', a function, or None", _is_place)

#: What each field takes, and whether a value fits.
_TAKES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "id_attribute": ("the name of the field that holds the id", _is_name),
    "new_id": (
        "None, 'uuid4', or a function that gives an id",
        lambda value: value in (None, "uuid4") or callable(value),
    ),
    "urls": (
        f"templates by operation ({', '.join(OPERATIONS)}), each a path of {{url}} and {{id}}, such as "
        "{'update': '{url}/{id}/edit'}; record, update and delete need the {id}",
        _are_urls,
    ),
    "slash": ("True or False", _is_flag),
    "suffix": ("what ends a path, such as '.json'", _is_suffix),
    "create_method": _one_of("POST", "PUT"),
    "update_method": _one_of("PUT", "PATCH", "POST"),
    "patch_method": _one_of("PATCH", "PUT", "POST", None),
    "delete_method": _one_of("DELETE", "POST"),
    "media_type": ("a media type such as 'application/json'", _is_media_type),
    "patch_type": (
        "a media type such as 'application/merge-patch+json', or None",
        lambda value: value is None or _is_media_type(value),
    ),
    "list_at": _PLACE,
    "item_at": _PLACE,
    "record_at": _PLACE,
    "wrap": _PLACE,
    "read_only": ("the names of fields, as a tuple", _are_names),
    "version_from": ("the name of a field, or None for the ETag", lambda value: value is None or _is_name(value)),
    "version_to": (
        "'If-Match', 'body', or 'query:' and the name of a parameter",
        lambda value: isinstance(value, str) and _SINK.fullmatch(value) is not None,
    ),
    "after_write": _one_of("merge", "read"),
    "errors_at": _PLACE,
    "existing_at": _PLACE,
    "outcomes": (
        f"a dict of statuses, or (status, operation), to one of {', '.join(OUTCOMES)}; or a function",
        _are_outcomes,
    ),
    "idempotency_header": (
        "the name of a header, False to send none, or None",
        lambda value: value is None or value is False or _is_header(value),
    ),
    "honours_keys": ("True, False, a number of seconds, or None", lambda value: value is None or _is_wait(value)),
    "pages": ("LinkPages(), BodyPages() or another of the styles of pages, or None", _is_pages),
    "bulk": ("Bulk(), or None", lambda value: value is None or isinstance(value, Bulk)),
    "replayed_header": ("the name of a header, or None", lambda value: value is None or _is_header(value)),
}
