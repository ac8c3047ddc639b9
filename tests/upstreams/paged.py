"""An upstream whose lists come in pages, in each of the styles that APIs have.

    with PagedUpstream(LINK, [{"id": 1}, …], size=10) as upstream:
        upstream.before(2, lambda: upstream.remove("/people", 1))   # somebody deletes while page 2 is asked for

``/people`` is paged; everything else is a ``RestUpstream``'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from .hostile import Behaviour, Received, answer
from .rest import Record, RestUpstream

LINK, HEADER, BODY, NUMBER, OFFSET, CURSOR = "link", "header", "body", "number", "offset", "cursor"


class PagedUpstream(RestUpstream):
    """``size`` records a page; ``cap``: never more, whatever is asked. ``total``: whether it is told."""

    def __init__(
        self, style: str, records: list[Record], *, size: int = 10, cap: int = 100, total: bool = True
    ) -> None:
        super().__init__({"/people": records}, etags=True)
        self.style = style
        self.size = size
        self.cap = cap
        self.total = total
        #: What happens before the answer to a page, by how many lists were asked for so far; or that answer itself.
        self.happens: dict[int, Callable[[], Behaviour | None]] = {}
        self.lists = 0

    def before(self, number: int, happens: Callable[[], Any]) -> None:
        """Let something happen before list request ``number`` is answered, counted from now."""
        self.happens[self.lists + number] = happens

    def answers(self, number: int, behaviour: Behaviour) -> None:
        """Answer list request ``number``, counted from now, in another way."""
        self.happens[self.lists + number] = lambda: behaviour

    def _collection(self, received: Received, path: str) -> Behaviour:
        if received.method != "GET" or path != "/people":
            return super()._collection(received, path)
        self.lists += 1
        happens = self.happens.get(self.lists)
        other = None if happens is None else happens()
        return other if callable(other) else self._page(received, dict(parse_qsl(urlsplit(received.target).query)))

    def _page(self, received: Received, params: dict[str, str]) -> Behaviour:
        filters = {name: value for name, value in params.items() if name in ("status", "team")}
        rows = [row for row in self.records["/people"] if all(str(row.get(n)) == v for n, v in filters.items())]
        size = min(self.cap, int(params.get("limit", self.size)))
        if self.style in (OFFSET, CURSOR):
            start = int(params.get("offset" if self.style == OFFSET else "cursor", 0))
        else:
            start = (int(params.get("page", 1)) - 1) * size
        page, more = rows[start : start + size], start + size < len(rows)
        return self._cut(received, params, page, start=start, size=size, of=len(rows), more=more)

    def _cut(
        self,
        received: Received,
        params: dict[str, str],
        page: list[Record],
        *,
        start: int,
        size: int,
        of: int,
        more: bool,
    ) -> Behaviour:
        number = start // size + 1

        def url(number: int) -> str:
            return f"{self.url}/people?{urlencode({**params, 'page': number})}"

        total = {"X-Total-Count": str(of)} if self.total else {}
        if self.style == LINK:
            last = -(-of // size)
            named = [("first", 1), ("prev", number - 1), ("next", number + 1 if more else 0), ("last", last)]
            link = ", ".join(f'<{url(to)}>; rel="{name}"' for name, to in named if to > 0)
            return self._listed(received, page, {**total, "Link": link})
        if self.style == HEADER:
            return self._listed(received, page, {**total, **({"Next-Page": url(number + 1)} if more else {})})
        if self.style == BODY:
            body: Any = {
                "count": of,
                "next": url(number + 1) if more else None,
                "previous": url(number - 1) if number > 1 else None,
                "results": page,
            }
            return self._listed(received, body, {})
        if self.style == CURSOR:
            return self._listed(received, {"results": page, "meta": {"next": start + size if more else None}}, {})
        return self._listed(received, page, total)

    def _listed(self, received: Received, content: Any, headers: dict[str, str]) -> Behaviour:
        self._headers = headers
        return self._read(received, content)


def numbered(count: int, **fields: Any) -> list[Record]:
    """That many people, the first with the id 1."""
    return [{"id": number, "name": f"Person {number:05}", "status": "open", **fields} for number in range(1, count + 1)]


__all__ = ["BODY", "CURSOR", "HEADER", "LINK", "NUMBER", "OFFSET", "PagedUpstream", "answer", "numbered"]
