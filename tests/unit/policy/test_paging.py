"""Where the next page is, how many there are, and what a template shows of them."""

from __future__ import annotations

from typing import Any

import pytest

from flask_dualstorage.policy.paging import (
    at,
    count_of,
    is_more,
    links,
    page_of,
    pages_of,
    params_of,
    target_of,
)
from flask_dualstorage.policy.values import BadAnswer
from flask_dualstorage.types import WHOLE, PageInfo


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        ('</p?page=2>; rel="next"', {"next": "/p?page=2"}),
        ("</p?page=2>; rel=next", {"next": "/p?page=2"}),
        ('</p?page=2>;rel="NEXT"', {"next": "/p?page=2"}),
        ('</p?page=2>; REL="next"', {"next": "/p?page=2"}),
        ('</p?page=2>; rel="next last"', {"next": "/p?page=2", "last": "/p?page=2"}),
        ('</a,b;c?page=2>; rel="next", </p>; rel="prev"', {"next": "/a,b;c?page=2", "prev": "/p"}),
        ('</a>; title="a, \\"b\\"; rel=x"; rel="next", </b>; rel=prev', {"next": "/a", "prev": "/b"}),
        ('</a>; rel="next", </b>; rel="next"', {"next": "/a"}),
        ('</a>; rel="next"; rel="prev"', {"next": "/a"}),
        ('</other>; anchor="#x"; rel="next", </b>; rel="next"', {"next": "/b"}),
        ("</a>", {}),
        ('<>; rel="next"', {"next": ""}),
        ('next="/a"', {}),
        ("</a>; rel, </b>; rel=next", {"next": "/b"}),
    ],
)
def test_a_link_header_is_read_as_rfc_8288_has_it(header: str, found: dict[str, str]):
    assert links(header) == found


@pytest.mark.parametrize(
    "header",
    [
        "<" * 60_000,
        '</a>; rel="' + "\\" * 60_000,
        "</a>" + "; a=b" * 12_000,
        ", " * 30_000,
        " " * 60_000,
        '<a>"' * 15_000,
    ],
)
def test_a_link_header_that_is_none_takes_no_time(header: str):
    """Patterns that back up over what they read would take minutes for these."""
    assert links(header) == {}


BASE = "http://api.example/v1"
ASKED = "http://api.example/v1/people?page=1"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://api.example/v1/people?page=2", "/people?page=2"),
        ("http://API.example:80/v1/people?page=2", "/people?page=2"),
        ("/v1/people?page=2", "/people?page=2"),
        ("?page=2", "/people?page=2"),
        ("people?page=2#top", "/people?page=2"),
        ("//api.example/v1/people", "/people"),
        ("/v1/people?q=a%20b&c=%C3%BC", "/people?q=a%20b&c=%C3%BC"),
        ("/v1/people?q=a b&c=ü", "/people?q=a%20b&c=%C3%BC"),
        (" /v1/people?page=2 ", "/people?page=2"),
    ],
)
def test_a_next_page_is_asked_for_under_the_upstreams_url(url: str, target: str):
    assert target_of(url, ASKED, BASE) == target


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://evil.example/v1/people", "another origin"),
        ("//evil.example/v1/people", "another origin"),
        ("https://api.example/v1/people", "another origin"),
        ("http://api.example:8080/v1/people", "another origin"),
        ("http://api.example@evil.example/v1/people", "another origin"),
        ("http://api.example.evil.example/v1/people", "another origin"),
        ("file:///v1/people", "another origin"),
        ("javascript:alert(1)", "another origin"),
        ("http://api.example:x/v1/people", "is none"),
        ("http://[/v1", "is none"),
        ("/people?page=2", "outside"),
        ("/v1", "outside"),
        ("/v11/people", "outside"),
        ("/v1/../admin", "outside"),
        ("/v1/%2e%2e/admin", "outside"),
        ("/v1/" + "x" * 9000, "characters"),
    ],
)
def test_a_next_page_elsewhere_is_never_asked_for(url: str, why: str):
    with pytest.raises(BadAnswer, match=why):
        target_of(url, ASKED, BASE)


@pytest.mark.parametrize(
    ("url", "params"),
    [
        (None, None),
        ("http://api.example/v1/people?page=2&limit=10", {"page": "2", "limit": "10"}),
        ("?cursor=a%2Bb&q=", {"cursor": "a+b", "q": ""}),
        ("/v1/people/?page=2", {"page": "2"}),
        ("/v1/people/page/2", None),
        ("?tag=a&tag=b", None),
        ("http://[", None),
    ],
)
def test_the_parameters_of_a_next_page_are_those_of_its_url(url: str | None, params: Any):
    assert params_of(url, "/people") == params


@pytest.mark.parametrize(
    ("body", "path", "found"),
    [
        ({"next": 1}, "next", 1),
        ({"meta": {"next": "x"}}, "meta.next", "x"),
        ({"meta": None}, "meta.next", None),
        ([1], "next", None),
        (None, "next", None),
    ],
)
def test_something_is_found_in_a_body_by_its_path(body: Any, path: str, found: Any):
    assert at(body, path) == found


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *[(0, 0), (25, 25), ("25", 25), (" 25 ", 25)],
        *[(value, None) for value in (-1, True, 2.5, "many", None, [], 10**20, "9" * 20, "٣")],
    ],
)
def test_a_total_is_a_number_or_its_text(value: Any, count: int | None):
    assert count_of(value) == count


@pytest.mark.parametrize(
    ("total", "per_page", "pages"),
    [(0, 10, 1), (1, 10, 1), (10, 10, 1), (11, 10, 2), (None, 10, None), (10, None, None), (10, 0, None)],
)
def test_how_many_pages_there_are(total: int | None, per_page: int | None, pages: int | None):
    assert pages_of(total, per_page) == pages


@pytest.mark.parametrize(
    ("count", "collected", "before", "total", "per_page", "more"),
    [
        pytest.param(0, None, 0, 25, 10, False, id="an empty page is the end, whatever the total"),
        pytest.param(10, None, 10, 25, 10, True, id="page 2 of 3"),
        pytest.param(5, None, 20, 25, 10, False, id="page 3 of 3"),
        pytest.param(10, None, 0, None, 10, True, id="no total: a full page"),
        pytest.param(5, None, 0, None, 10, False, id="no total: a short page"),
        pytest.param(5, None, 0, None, None, True, id="no total and no size"),
        pytest.param(5, 5, 0, None, 10, True, id="all of it: a short page may be a server's cap"),
        pytest.param(0, 5, 0, None, 10, False, id="all of it: an empty page"),
        pytest.param(5, 25, 0, 25, 10, False, id="all of it: the total is there"),
        pytest.param(5, 24, 20, 25, 10, True, id="all of it: one is missing"),
    ],
)
def test_whether_there_is_a_next_page_where_the_api_does_not_say_so(
    count: int, collected: int | None, before: int, total: int | None, per_page: int | None, more: bool
):
    assert is_more(count, collected, before, total, per_page) is more


# --- what a template shows -----------------------------------------------------------------------------------

SECOND = PageInfo(
    number=2,
    per_page=10,
    total=25,
    pages=3,
    has_next=True,
    has_previous=True,
    next={"page": "3"},
    previous={"page": "1"},
    numbering=("page", 1, 1),
    complete=False,
)


def test_a_page_tells_of_its_neighbours():
    page = page_of(SECOND, {"page": "2", "q": "x"}, shown=10, added=0)
    assert (page.page, page.per_page, page.total, page.pages, page.complete) == (2, 10, 25, 3, False)
    assert (page.has_next, page.next_num, page.next_params) == (True, 3, {"page": "3"})
    assert (page.has_prev, page.prev_num, page.prev_params) == (True, 1, {"page": "1"})
    assert page.params_for(7) == {"page": "7", "q": "x"}


def test_numbers_may_be_counted_from_0_or_by_offsets():
    assert page_of(PageInfo(numbering=("page", 0, 1)), {}, 1, 0).params_for(3) == {"page": "2"}
    assert page_of(PageInfo(numbering=("offset", 0, 20)), {}, 1, 0).params_for(3) == {"offset": "40"}


def test_where_pages_have_no_numbers_there_are_none():
    page = page_of(PageInfo(number=None, pages=None, has_next=True, has_previous=True), {}, 10, 0)
    assert (page.next_num, page.prev_num, page.params_for(2), list(page.iter_pages())) == (None, None, None, [])


@pytest.mark.parametrize(("added", "total"), [(0, 25), (3, 28), (-2, 23), (-99, 10)])
def test_the_total_counts_what_is_pending_and_never_less_than_is_shown(added: int, total: int):
    assert page_of(SECOND, {}, 10, added).total == total


def test_a_list_in_one_piece_is_one_page_of_what_it_shows():
    page = page_of(WHOLE, {}, 12, 3)
    assert (page.page, page.pages, page.total, page.has_next, page.has_prev, page.complete) == (
        1,
        1,
        12,
        False,
        False,
        True,
    )


@pytest.mark.parametrize(
    ("number", "pages", "shown"),
    [
        (1, 1, [1]),
        (1, 5, [1, 2, 3, 4, 5]),
        (1, 20, [1, 2, 3, 4, 5, None, 19, 20]),
        (10, 20, [1, 2, None, 8, 9, 10, 11, 12, 13, 14, None, 19, 20]),
        (20, 20, [1, 2, None, 18, 19, 20]),
    ],
)
def test_a_pager_shows_the_edges_and_what_is_near(number: int, pages: int, shown: list[int | None]):
    page = page_of(PageInfo(number=number, pages=pages, has_next=number < pages), {}, 1, 0)
    assert list(page.iter_pages()) == shown
