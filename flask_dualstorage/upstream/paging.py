"""How an API cuts its lists into pages: what a ``Dialect(pages=…)`` declares, and how the next page is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace

from ..errors import ConfigurationError
from ..policy.paging import MAX_NEXT, at, count_of, is_more, links, number_of, pages_of, params_of
from ..policy.values import BadAnswer
from ..types import Json, PageInfo


@dataclass(frozen=True)
class Heard:
    """One page as it came: the collection's path and the parameters that were asked, the answer, its records' count.

    ``collected`` is how many records were read so far where all pages are read, else None.
    """

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: Json
    count: int
    collected: int | None = None


@dataclass(frozen=True)
class Pages:
    """What all styles have in common; declare one of the classes below.

    ``page`` and ``per_page`` name the parameters for a page's number and size, None where the API has none; the first
    page is number ``start``. ``size`` is asked for in every list that does not name one. The total stands in the header
    ``total_header``, or in the body at ``total_at`` (``"count"``, ``"meta.total"``).
    """

    _: KW_ONLY
    page: str | None = None
    per_page: str | None = None
    start: int = 1
    size: int | None = None
    total_header: str | None = None
    total_at: str | None = None

    def __post_init__(self) -> None:
        """Check what was declared. Raises ``ConfigurationError``."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("start", "size"):
                least, takes = int(field.name == "size"), "a whole number"
                fits = (type(value) is int and value >= least) or (value is None and field.name == "size")
            else:
                takes, fits = "a name", value is None or (isinstance(value, str) and value != "")
            if not fits:
                raise ConfigurationError(f"{type(self).__name__}.{field.name} is {value!r}; it takes {takes}.")
        if self.size is not None and not self.per_page:
            raise ConfigurationError(f"{type(self).__name__}.size needs per_page, the parameter that carries it.")

    # --- what the styles have of their own ---------------------------------------------------------------------

    @property
    def told_in_body(self) -> bool:
        """Whether a list's validator covers all that is told of its pages: an ETag says nothing of other headers."""
        return self.total_header is None

    def links(self, heard: Heard) -> PageInfo:
        """Give the neighbours of a page. Raises ``BadAnswer`` for what can be none."""
        raise NotImplementedError

    def names(self) -> frozenset[str]:
        """Name the parameters that choose a page, and select no record."""
        return frozenset(filter(None, (self.page, self.per_page)))

    def starts(self) -> frozenset[str]:
        """Name the parameters that say where a list begins."""
        return self.names() - {self.per_page}

    def first(self, params: Mapping[str, str]) -> dict[str, str]:
        """Give the parameters of a list's first request."""
        if self.size is None or self.per_page is None or self.per_page in params:
            return dict(params)
        begin = {} if self.page is None or self.page in params else {self.page: str(self.start)}
        return {**params, **begin, self.per_page: str(self.size)}

    # --- the same for all ---------------------------------------------------------------------------------------

    def told(self, heard: Heard) -> PageInfo:
        """Give what an answer tells of its page. Raises ``BadAnswer`` where that can not be so."""
        info = self.links(heard)
        is_alone = not info.has_next and not info.has_previous
        return replace(info, complete=is_alone and (info.total is None or info.total <= heard.count))

    def total(self, heard: Heard) -> int | None:
        """Give how many records the whole list has, None where that is not told."""
        if self.total_header is not None:
            told = count_of(heard.headers.get(self.total_header))
        else:
            told = None if self.total_at is None else count_of(at(heard.body, self.total_at))
        # Less than stand on this very page is no total.
        return None if told is None or told < heard.count else told

    def number(self, params: Mapping[str, str]) -> int:
        """Give a page's number, counted from 1."""
        return max(1, (number_of(params, self.page, self.start) or 0) - self.start + 1)

    def per_page_of(self, heard: Heard) -> int | None:
        """Give the size of a page as it was asked for."""
        return number_of(heard.params, self.per_page) or self.size


class _Linked(Pages):
    """The answer names the URL of the next page."""

    def urls(self, heard: Heard) -> dict[str, Json]:
        """Give what the answer names: ``next``, ``prev``, ``last``, as far as it does."""
        raise NotImplementedError

    def links(self, heard: Heard) -> PageInfo:
        """Give the neighbours of a page."""
        named = {name: _url(url) for name, url in self.urls(heard).items()}
        url, before = named.get("next"), named.get("prev")
        following = params_of(url, heard.path)
        total, size = self.total(heard), self.per_page_of(heard)
        if size is None:
            size = number_of(following, self.per_page) or (heard.count if url and heard.count else None)
        # An API that pages by another parameter than the one declared still says whether this is the first page.
        is_told = self.page in heard.params or before is None
        number = self.number(heard.params) if self.page and is_told else None
        last = params_of(named.get("last"), heard.path) or {}
        return PageInfo(
            number=number,
            per_page=size,
            total=total,
            pages=pages_of(total, size)
            or (self.number(last) if self.page in last else None)
            or (number if url is None else None),
            has_next=url is not None,
            has_previous=before is not None or (number or 1) > 1,
            next=following,
            previous=params_of(before, heard.path),
            next_url=url,
            numbering=(self.page, self.start, 1) if self.page else None,
        )


def _url(value: Json) -> str | None:
    """Take what names a page; nothing, in whatever form, names none. Raises ``BadAnswer``."""
    if value in (None, "", False):
        return None
    if not isinstance(value, str) or len(value) > MAX_NEXT:
        raise BadAnswer(f"its next page is named by {value!r:.60}, which is no URL")
    return value


@dataclass(frozen=True)
class LinkPages(_Linked):
    """A ``Link`` header with ``rel="next"`` (RFC 8288): GitHub, GitLab, json-server and many more."""

    @property
    def told_in_body(self) -> bool:
        """No: it is a header."""
        return False

    def urls(self, heard: Heard) -> dict[str, Json]:
        """Read the ``Link`` header."""
        found: dict[str, Json] = dict(links(heard.headers.get("Link") or ""))
        return {"prev": found.get("previous"), **found}


@dataclass(frozen=True)
class HeaderPages(_Linked):
    """A header that holds the URL of the next page: Kinto's ``Next-Page``."""

    header: str = "Next-Page"

    @property
    def told_in_body(self) -> bool:
        """No: it is a header."""
        return False

    def urls(self, heard: Heard) -> dict[str, Json]:
        """Read the header."""
        return {"next": heard.headers.get(self.header)}


@dataclass(frozen=True)
class BodyPages(_Linked):
    """The URL of the next page in the body: ``next`` in Django REST framework, ``links.next`` in JSON:API."""

    next_at: str = "next"
    previous_at: str | None = "previous"

    def urls(self, heard: Heard) -> dict[str, Json]:
        """Read the body."""
        before = None if self.previous_at is None else at(heard.body, self.previous_at)
        return {"next": at(heard.body, self.next_at), "prev": before}


@dataclass(frozen=True)
class NumberedPages(Pages):
    """A parameter that takes the page's number."""

    page: str | None = "page"
    per_page: str | None = "per_page"

    def links(self, heard: Heard) -> PageInfo:
        """Tell by the total, or else by how full the page is, whether there is a next one."""
        name = self.page or "page"
        number = self.number(heard.params)
        total, size = self.total(heard), self.per_page_of(heard)
        before = heard.count if size is None else size
        more = is_more(heard.count, heard.collected, (number - 1) * before, total, size)
        return _numbered(heard, name, (self.start, 1), number, size, total, more=more)


@dataclass(frozen=True)
class OffsetPages(Pages):
    """Parameters for how many records to give, and how many to pass over before."""

    per_page: str | None = "limit"
    offset: str = "offset"

    def names(self) -> frozenset[str]:
        """Name the parameters that choose a page."""
        return super().names() | {self.offset}

    def links(self, heard: Heard) -> PageInfo:
        """Tell by the total, or else by how full the page is, whether there is a next one."""
        offset = number_of(heard.params, self.offset, 0) or 0
        total, size = self.total(heard), self.per_page_of(heard)
        more = is_more(heard.count, heard.collected, offset, total, size)
        step = size or heard.count
        number = offset // step + 1 if step else 1
        info = _numbered(heard, self.offset, (0, step), number, size, total, more=more)
        # What follows is counted from what came: a server may give fewer than it was asked for.
        following = {**heard.params, self.offset: str(offset + heard.count)} if more else None
        return replace(info, next=following, has_previous=offset > 0)


def _numbered(
    heard: Heard,
    name: str,
    numbering: tuple[int, int],
    number: int,
    size: int | None,
    total: int | None,
    *,
    more: bool,
) -> PageInfo:
    first, step = numbering

    def params(wanted: int) -> dict[str, str]:
        return {**heard.params, name: str(first + (wanted - 1) * step)}

    return PageInfo(
        number=number,
        per_page=size or (heard.count if more else None),
        total=total,
        pages=pages_of(total, size or (heard.count if more else None)) or (None if more else number),
        has_next=more,
        has_previous=number > 1,
        next=params(number + 1) if more else None,
        previous=params(number - 1) if number > 1 else None,
        numbering=(name, first, step),
        certain=total is not None,
    )


@dataclass(frozen=True)
class CursorPages(Pages):
    """A cursor in the body, at ``next_at``, that goes into the parameter ``cursor`` of the next request."""

    cursor: str = "cursor"
    next_at: str = "next_cursor"

    def names(self) -> frozenset[str]:
        """Name the parameters that choose a page."""
        return super().names() | {self.cursor}

    def links(self, heard: Heard) -> PageInfo:
        """Read the cursor. Raises ``BadAnswer`` for what can be none."""
        found = at(heard.body, self.next_at)
        if isinstance(found, bool | None) or found == "":
            found = None
        elif not isinstance(found, str | int) or len(str(found)) > MAX_NEXT:
            raise BadAnswer(f"its next cursor is {found!r:.60}, which is none")
        total, size = self.total(heard), self.per_page_of(heard)
        is_first = self.cursor not in heard.params
        return PageInfo(
            number=1 if is_first else None,
            per_page=size,
            total=total,
            pages=pages_of(total, size) or (1 if is_first and found is None else None),
            has_next=found is not None,
            has_previous=not is_first,
            next=None if found is None else {**heard.params, self.cursor: str(found)},
        )
