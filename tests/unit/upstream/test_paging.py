"""The styles of pages: what they are declared with, and what they read out of an answer."""

from __future__ import annotations

from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from flask_dualstorage import (
    BodyPages,
    ConfigurationError,
    CursorPages,
    Dialect,
    HeaderPages,
    LinkPages,
    NumberedPages,
    OffsetPages,
)
from flask_dualstorage.policy.values import BadAnswer
from flask_dualstorage.types import PageInfo
from flask_dualstorage.upstream.paging import Heard, Pages


def told(
    pages: Pages, params: dict[str, str], count: int, body: Any = None, collected: int | None = None, **headers: str
) -> PageInfo:
    named = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return pages.told(Heard("/people", params, named, body, count, collected))


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: LinkPages(size=0), r"LinkPages\.size is 0; it takes a whole number"),
        (lambda: LinkPages(size=True), r"LinkPages\.size is True"),
        (lambda: NumberedPages(start=-1), r"NumberedPages\.start is -1"),
        (lambda: CursorPages(""), r"CursorPages\.cursor is ''; it takes a name"),
        (lambda: BodyPages(next_at=7), r"BodyPages\.next_at is 7; it takes a name"),
        (lambda: HeaderPages(size=10), r"HeaderPages\.size needs per_page"),
        (lambda: Dialect(pages="LinkPages"), r"Dialect\.pages is 'LinkPages'"),
        (lambda: Dialect(pages=LinkPages), r"Dialect\.pages is .*; it takes LinkPages\(\)"),
    ],
)
def test_a_wrong_declaration_is_refused_with_what_it_takes(declare: Any, message: str):
    with pytest.raises(ConfigurationError, match=message):
        declare()


@pytest.mark.parametrize(
    ("pages", "params", "first"),
    [
        (LinkPages(), {"q": "x"}, {"q": "x"}),
        (LinkPages(page="page", per_page="limit", size=5), {"q": "x"}, {"q": "x", "page": "1", "limit": "5"}),
        (LinkPages(page="page", per_page="limit", size=5), {"page": "3"}, {"page": "3", "limit": "5"}),
        (LinkPages(page="page", per_page="limit", size=5), {"limit": "9"}, {"limit": "9"}),
        (NumberedPages("p", "n", start=0, size=5), {}, {"p": "0", "n": "5"}),
        (OffsetPages(size=5), {}, {"limit": "5"}),
    ],
)
def test_a_size_is_asked_for_where_the_call_names_none(pages: Pages, params: Any, first: Any):
    assert pages.first(params) == first


NEXT, BOTH = '</people?page=2>; rel="next"', '</people?page=3>; rel="next", </people?page=1>; rel="prev"'


@pytest.mark.parametrize(
    ("info", "number", "pages", "next_params"),
    [
        pytest.param(told(LinkPages(page="page"), {}, 10, Link=NEXT), 1, None, {"page": "2"}, id="page 1 of a link"),
        pytest.param(told(LinkPages(page="page"), {"page": "2"}, 10, Link=BOTH), 2, None, {"page": "3"}, id="page 2"),
        pytest.param(told(LinkPages(page="page"), {"page": "3"}, 5), 3, 3, None, id="the last one"),
        pytest.param(
            told(LinkPages(page="page"), {}, 10, Link=NEXT + ', </people?page=7>; rel="last"'),
            *(1, 7, {"page": "2"}),
            id="a link to the last page tells how many there are",
        ),
        pytest.param(
            told(LinkPages(total_header="X-Total"), {}, 10, Link=NEXT, X_Total="25"),
            *(None, 3, {"page": "2"}),
            id="a total, and the size of a page that has a next one",
        ),
        pytest.param(
            told(BodyPages(page="page"), {"offset": "3"}, 3, {"next": None, "previous": "/people?limit=3"}),
            *(None, None, None),
            id="an API that pages by another parameter",
        ),
        pytest.param(
            told(NumberedPages(start=0, total_at="n", per_page="size"), {"page": "1", "size": "10"}, 10, {"n": 25}),
            *(2, 3, {"page": "2", "size": "10"}),
            id="numbers from 0",
        ),
        pytest.param(told(NumberedPages(), {"page": "nonsense"}, 0), 1, 1, None, id="a number that is none"),
        pytest.param(
            told(OffsetPages(total_at="n"), {"offset": "20", "limit": "10"}, 7, {"n": 90}),
            *(3, 9, {"offset": "27", "limit": "10"}),
            id="fewer than were asked for: the next ones begin where these end",
        ),
        pytest.param(
            told(CursorPages(), {"q": "x"}, 10, {"next_cursor": 7}), 1, None, {"q": "x", "cursor": "7"}, id="cursor"
        ),
        pytest.param(told(CursorPages(), {"cursor": "7"}, 1, {"next_cursor": ""}), None, None, None, id="its last"),
    ],
)
def test_what_an_answer_tells_of_its_page(info: PageInfo, number: Any, pages: Any, next_params: Any):
    assert (info.number, info.pages, info.next) == (number, pages, next_params)
    assert info.has_next is (next_params is not None)
    assert info.complete is (not info.has_next and not info.has_previous)


@pytest.mark.parametrize("named", [7, True, ["x"], {"href": "x"}, "x" * 9000])
def test_a_next_page_that_is_none_is_a_bad_answer(named: Any):
    with pytest.raises(BadAnswer):
        told(BodyPages(), {}, 1, {"next": named})


@pytest.mark.parametrize("named", [["x"], {"a": 1}, 1.5, "x" * 9000])
def test_a_cursor_that_is_none_is_a_bad_answer(named: Any):
    with pytest.raises(BadAnswer):
        told(CursorPages(), {}, 1, {"next_cursor": named})
