"""The rules of pages: where the next one is (RFC 8288, RFC 3986), how many there are, what a template shows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urljoin, urlsplit

from ..types import Json, PageInfo
from .values import BadAnswer

#: A list of more pages than this is too long to be read at once.
MAX_PAGES = 1000
#: The URL or cursor of a next page may have so many characters.
MAX_NEXT = 8000

#: One link-value of RFC 8288 §3, and its parameters.
_LINK = re.compile(r'[\s,]*+<([^<>]*+)>((?:[^",]++|"(?:\\.|[^"\\])*+")*+)(?:,|\Z)')
_LINK_PARAMETER = re.compile(r';\s*([^\s=;,"]+)\s*(?:=\s*(?:"((?:\\.|[^"\\])*)"|([^\s;,"]*)))?')


# --- where the next page is ----------------------------------------------------------------------------------


def links(header: str) -> dict[str, str]:
    """Give the targets of a ``Link`` header by their relation, in lower case; of two alike the first (RFC 8288 §3.3).

    A link that has an ``anchor`` is about something else than what was asked (§3.2).
    """
    found: dict[str, str] = {}
    for target, rest in _link_values(header):
        parameters: dict[str, str] = {}
        for name, quoted, token in _LINK_PARAMETER.findall(rest):
            parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or token)
        if "anchor" not in parameters:
            for relation in parameters.get("rel", "").lower().split():
                found.setdefault(relation, target)
    return found


def _link_values(header: str) -> Iterator[tuple[str, str]]:
    """Walk over the links as far as they can be read; each character is looked at once."""
    link = _LINK.match(header)
    while link is not None:
        yield link[1], link[2]
        link = _LINK.match(header, link.end())


def at(body: Json, path: str) -> Json:
    """Give what stands in an answer at ``path`` (``"meta.next"``); None where nothing does."""
    for name in path.split("."):
        if not isinstance(body, Mapping):
            return None
        body = body.get(name)
    return body


def count_of(value: Json) -> int | None:
    """Read a total that an API tells, as a number or its text; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value.strip()):
        return int(value)
    return value if type(value) is int and 0 <= value < 10**15 else None


def target_of(url: str, asked: str, base: str) -> str:
    """Give the path and query of a next page, to be joined to the upstream's ``base`` URL.

    ``asked`` is the URL of the answer that named it. Raises ``BadAnswer`` for one on another origin, outside of
    ``base``, or that can not be asked for: no credential goes there.
    """
    try:
        parts, here, home = urlsplit(urljoin(asked, url.strip())), urlsplit(asked), urlsplit(base)
        same = _origin(parts) == _origin(here)
    except ValueError as error:
        raise BadAnswer("the URL of its next page is none") from error
    if not same:
        raise BadAnswer("its next page is on another origin, where nothing is sent")
    under, path = home.path.rstrip("/"), parts.path or "/"
    if not path.startswith(under + "/") or ".." in unquote(path).split("/"):
        raise BadAnswer("its next page is outside of the upstream's URL")
    target = path.removeprefix(under) + (f"?{parts.query}" if parts.query else "")
    if len(target) > MAX_NEXT:
        raise BadAnswer(f"the URL of its next page has more than {MAX_NEXT:,} characters")
    return quote(target, safe="/%:=&?~+!$,;'@()*[]-._")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port (RFC 6454 §4). Raises ``ValueError`` where the port is no number."""
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def params_of(url: str | None, path: str) -> dict[str, str] | None:
    """Give the parameters of a page's URL, None where they do not say it all: another path, or a name twice."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return None
    there = unquote(parts.path).rstrip("/")
    if there and not there.endswith(unquote(path).rstrip("/")):
        return None
    found = dict(pairs)
    return found if len(found) == len(pairs) else None


# --- how many there are --------------------------------------------------------------------------------------


def number_of(params: Mapping[str, str] | None, name: str | None, default: int | None = None) -> int | None:
    """Read a parameter that is a number."""
    value = None if params is None or name is None else count_of(params.get(name))
    return default if value is None else value


def pages_of(total: int | None, per_page: int | None) -> int | None:
    """Give how many pages hold ``total`` records; an empty list has one."""
    return None if total is None or not per_page else max(1, -(-total // per_page))


def is_more(count: int, collected: int | None, before: int, total: int | None, per_page: int | None) -> bool:
    """Say whether an API that does not say so itself has a page after this one of ``count`` records.

    ``collected`` is how many records were read so far where all pages are; ``before`` how many stand on pages before
    this one. Where every page is read only the total or an empty page ends it: a server may cap the size of a page,
    so that a short one says nothing.
    """
    if count == 0:
        return False
    if collected is not None:
        return total is None or collected < total
    if total is not None:
        return before + count < total
    return per_page is None or count >= per_page


# --- what a template shows -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, for a template; names as in Flask-SQLAlchemy's ``Pagination``.

    ``page`` counts from 1; ``page``, ``per_page``, ``total`` and ``pages`` are None where the API does not tell.
    ``total`` counts what is pending too. ``next_params`` and ``prev_params`` are for ``fetch(params=…)`` or
    ``url_for``, None where there is no such page or its parameters are not known. ``complete``: this is the whole list.
    """

    page: int | None
    per_page: int | None
    total: int | None
    pages: int | None
    has_next: bool
    has_prev: bool
    next_params: Mapping[str, str] | None
    prev_params: Mapping[str, str] | None
    complete: bool
    _params: Mapping[str, str]
    _numbering: tuple[str, int, int] | None

    @property
    def next_num(self) -> int | None:
        """The number of the next page, None where there is none or pages have no numbers."""
        return self.page + 1 if self.has_next and self.page is not None else None

    @property
    def prev_num(self) -> int | None:
        """The number of the page before, None where there is none or pages have no numbers."""
        return self.page - 1 if self.has_prev and self.page is not None and self.page > 1 else None

    def params_for(self, number: int) -> dict[str, str] | None:
        """Give the parameters of the page with that number; None where this API's pages have no numbers."""
        if self._numbering is None:
            return None
        name, first, step = self._numbering
        return {**self._params, name: str(first + (number - 1) * step)}

    def iter_pages(
        self, *, left_edge: int = 2, left_current: int = 2, right_current: int = 4, right_edge: int = 2
    ) -> Iterator[int | None]:
        """Walk over the numbers to show in a pager; None stands for those left out. Empty where ``pages`` is None."""
        if self.pages is None:
            return
        here, last = self.page or 1, 0
        for number in range(1, self.pages + 1):
            near = here - left_current <= number <= here + right_current
            if number <= left_edge or near or number > self.pages - right_edge:
                if number != last + 1:
                    yield None
                last = number
                yield number


def page_of(info: PageInfo, params: Mapping[str, str], shown: int, added: int) -> Page:
    """Give the page of what was told of it, the parameters it was asked with, and what the pending writes add."""
    total = None if info.total is None else max(shown, info.total + added)
    if info.complete and not info.has_next and not info.has_previous:
        total = shown
    return Page(
        info.number,
        info.per_page,
        total,
        info.pages,
        info.has_next,
        info.has_previous,
        info.next,
        info.previous,
        info.complete,
        params,
        info.numbering,
    )
