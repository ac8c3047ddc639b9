"""Lists that come in pages: every style, all of a list or nothing, and what an outage leaves of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_dualstorage import (
    BodyPages,
    Collection,
    ConfigurationError,
    CursorPages,
    Dialect,
    DualStorage,
    HeaderPages,
    LinkPages,
    NotCached,
    NumberedPages,
    OffsetPages,
    UpstreamError,
)
from flask_dualstorage.upstream.paging import Pages
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import HostileUpstream, answer, cut, drop
from tests.upstreams.paged import BODY, CURSOR, HEADER, LINK, NUMBER, OFFSET, PagedUpstream, numbered
from tests.whole import Clock, MakeApp, storage_of

STYLES: dict[str, Pages] = {
    LINK: LinkPages(page="page", per_page="limit", total_header="X-Total-Count"),
    HEADER: HeaderPages("Next-Page", total_header="X-Total-Count"),
    BODY: BodyPages(page="page", per_page="limit", total_at="count"),
    NUMBER: NumberedPages("page", "limit", total_header="X-Total-Count"),
    OFFSET: OffsetPages("limit", "offset", total_header="X-Total-Count"),
    CURSOR: CursorPages("cursor", "meta.next"),
}

Start = Callable[..., tuple[PagedUpstream, UserStorage]]


def unwrapped(response: Any) -> Any:
    return response["results"] if isinstance(response, dict) else response


def storage(make_app: MakeApp, url: str, pages: Pages | None, **config: Any) -> UserStorage:
    """An owner of an app whose people come in pages."""
    dualstorage = DualStorage()

    @dualstorage.register
    class People(Collection):
        dialect = Dialect(pages=pages)

        def parse(self, response: Any) -> Any:
            return unwrapped(response)

    return storage_of(make_app(dualstorage, url=url, **config)).for_user("alice")


@pytest.fixture
def start(make_app: MakeApp) -> Iterator[Start]:
    """Start an upstream of a style, 25 people on pages of 10, and an app in front of it."""
    running: list[PagedUpstream] = []

    def begin(
        style: str, pages: Pages | None = None, count: int = 25, **options: Any
    ) -> tuple[PagedUpstream, UserStorage]:
        upstream = PagedUpstream(style, numbered(count), **options)
        running.append(upstream.__enter__())
        return upstream, storage(make_app, upstream.url, pages or STYLES[style])

    yield begin
    for upstream in running:
        upstream.__exit__(None, None, None)


def ids(people: Collection) -> list[Any]:
    return [person.id for person in people]


def targets(upstream: HostileUpstream) -> list[str]:
    return [one.target for one in upstream.received]


# --- every style ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
class TestEveryStyle:
    def test_all_pages_are_one_complete_list(self, start: Start, style: str):
        upstream, alice = start(style)
        people = alice.collection("people").fetch(all_pages=True)
        assert ids(people) == list(range(1, 26))
        assert (people.source, people.page.complete, people.page.total, people.page.has_next) == (
            "upstream",
            True,
            25,
            False,
        )
        assert upstream.lists == 3

    def test_all_pages_are_there_in_an_outage(self, start: Start, style: str):
        upstream, alice = start(style)
        alice.collection("people").fetch(all_pages=True)
        upstream.unplug()
        people = alice.collection("people").fetch(all_pages=True)
        assert (people.source, len(people), people.page.complete) == ("cache", 25, True)

    def test_one_page_says_that_there_are_more(self, start: Start, style: str):
        upstream, alice = start(style)
        people = alice.collection("people").fetch()
        assert ids(people) == list(range(1, 11))
        assert (people.page.has_next, people.page.has_prev, people.page.complete) == (True, False, False)
        assert upstream.lists == 1

    def test_the_next_page_is_fetched_with_the_parameters_that_the_page_gives(self, start: Start, style: str):
        _, alice = start(style)
        people = alice.collection("people").fetch()
        seen = ids(people)
        while people.page.has_next:
            people.fetch(params=people.page.next_params)
            seen += ids(people)
        assert seen == list(range(1, 26))

    def test_a_page_fetched_alone_takes_nothing_from_the_whole_list(self, start: Start, style: str):
        """A list that was not complete never prunes: the other pages' records are still there in an outage."""
        upstream, alice = start(style)
        alice.collection("people").fetch(all_pages=True)
        alice.collection("people").fetch()
        upstream.unplug()
        assert len(alice.collection("people").fetch(all_pages=True)) == 25
        assert alice.collection("people").load(25)["name"] == "Person 00025"

    def test_the_page_is_known_in_an_outage_too(self, start: Start, style: str):
        upstream, alice = start(style)
        page = alice.collection("people").fetch().page
        upstream.unplug()
        people = alice.collection("people").fetch()
        assert (people.source, people.page) == ("cache", page)

    def test_a_filter_holds_on_every_page(self, start: Start, style: str):
        upstream, alice = start(style)
        for number in range(1, 26, 2):
            upstream.edit("/people", number, status="closed")
        people = alice.collection("people").fetch(params={"status": "closed"}, all_pages=True)
        assert ids(people) == list(range(1, 26, 2))
        assert all("status=closed" in target for target in targets(upstream))

    def test_a_page_that_fails_in_the_middle_leaves_the_copy(self, start: Start, style: str):
        """Never a cut list as though it were complete."""
        upstream, alice = start(style)
        alice.collection("people").fetch(all_pages=True)
        upstream.edit("/people", 1, name="Changed")
        upstream.answers(3, cut(5))
        people = alice.collection("people").fetch(all_pages=True)
        assert (people.source, len(people), people[0]["name"]) == ("cache", 25, "Person 00001")
        assert people.reason is not None

    def test_a_page_that_fails_in_the_middle_where_no_copy_is_is_a_clear_error(self, start: Start, style: str):
        upstream, alice = start(style)
        upstream.answers(2, drop())
        with pytest.raises(NotCached):
            alice.collection("people").fetch(all_pages=True)

    def test_records_that_move_to_a_later_page_are_taken_once(self, start: Start, style: str):
        """Somebody makes a record in front while the pages are read."""
        upstream, alice = start(style)
        upstream.before(2, lambda: upstream.records["/people"].insert(0, {"id": 99, "name": "New"}))
        people = alice.collection("people").fetch(all_pages=True)
        assert sorted(ids(people)) == list(range(1, 26))
        assert people.source == "upstream"

    def test_an_error_status_in_the_middle_is_raised_and_touches_no_copy(self, start: Start, style: str):
        upstream, alice = start(style)
        alice.collection("people").fetch(all_pages=True)
        upstream.answers(2, answer(403, {"title": "Forbidden"}))
        with pytest.raises(UpstreamError):
            alice.collection("people").fetch(all_pages=True)
        upstream.unplug()
        assert len(alice.collection("people").fetch(all_pages=True)) == 25


@pytest.mark.parametrize("style", [LINK, HEADER, NUMBER, OFFSET, BODY])
def test_what_was_passed_over_in_a_list_that_shrank_is_not_taken_for_deleted(start: Start, style: str):
    """Two go from page 1 while page 2 is asked for, so that two others move to page 1, which was read."""
    upstream, alice = start(style)
    alice.collection("people").fetch(all_pages=True)
    upstream.before(2, lambda: (upstream.remove("/people", 1), upstream.remove("/people", 2)))
    people = alice.collection("people").fetch(all_pages=True)
    assert {11, 12} <= set(ids(people))
    assert not people.page.complete
    people.fetch(all_pages=True)
    assert (ids(people), people.page.complete) == (list(range(3, 26)), True)


@pytest.mark.parametrize("style", [NUMBER, OFFSET])
def test_without_a_total_an_empty_page_is_the_end(start: Start, style: str):
    """A short page is not: a server may give fewer than it was asked for."""
    pages = NumberedPages("page", "limit") if style == NUMBER else OffsetPages("limit", "offset", size=20)
    upstream, alice = start(style, pages, cap=10, total=False)
    assert len(alice.collection("people").fetch(all_pages=True)) == 25
    assert upstream.lists == 4


def test_a_404_past_the_last_page_is_the_end_where_nothing_else_tells_it(start: Start):
    upstream, alice = start(NUMBER, NumberedPages("page", "limit"), total=False)
    upstream.answers(4, answer(404, {"detail": "Invalid page."}))
    assert len(alice.collection("people").fetch(all_pages=True)) == 25


def test_a_next_page_that_was_promised_and_is_gone_leaves_the_copy(start: Start):
    upstream, alice = start(BODY)
    alice.collection("people").fetch(all_pages=True)
    upstream.answers(3, answer(404, {"detail": "Invalid page."}))
    people = alice.collection("people").fetch(all_pages=True)
    assert (people.source, len(people)) == ("cache", 25)
    assert "changed while it was read" in people.reason


def test_a_declared_size_is_asked_for(start: Start):
    upstream, alice = start(LINK, LinkPages(page="page", per_page="limit", size=20))
    assert len(alice.collection("people").fetch(all_pages=True)) == 25
    assert targets(upstream) == ["/people?page=1&limit=20", "/people?page=2&limit=20"]
    assert len(alice.collection("people").fetch(params={"limit": 5})) == 5


# --- what one list knows, and another asks for ----------------------------------------------------------------


def test_a_record_of_a_page_opens_in_an_outage(start: Start):
    """Nothing else has it: no read of its own, not the whole list."""
    upstream, alice = start(LINK)
    alice.collection("people").fetch()
    alice.collection("people").fetch(params={"page": 2})
    alice.collection("people").fetch(params={"status": "open", "page": 3})
    upstream.unplug()
    for number in (1, 11, 25):
        person = alice.collection("people").load(number)
        assert (person["name"], person.freshness.source) == (f"Person {number:05}", "cache")
    with pytest.raises(NotCached):
        alice.collection("people").load(404)


def test_where_only_the_whole_list_is_here_it_is_shown_for_a_page(start: Start):
    upstream, alice = start(LINK)
    alice.collection("people").fetch(all_pages=True)
    upstream.unplug()
    people = alice.collection("people").fetch()
    assert (people.source, len(people), people.page.complete) == ("cache", 25, True)


def test_where_only_a_page_is_here_it_is_shown_for_the_whole_list_and_says_so(start: Start):
    upstream, alice = start(LINK)
    alice.collection("people").fetch()
    upstream.unplug()
    people = alice.collection("people").fetch(all_pages=True)
    assert (people.source, len(people), people.page.complete) == ("cache", 10, False)


def test_of_a_list_that_is_one_page_a_record_is_as_young_as_the_list(start: Start, clock: Clock):
    """Its own copy is older: what is shown is what the later read brought."""
    upstream, alice = start(BODY, count=5)
    alice.collection("people").load(3)
    clock.advance(1)
    upstream.edit("/people", 3, name="Changed")
    alice.collection("people").fetch()
    upstream.unplug()
    assert alice.collection("people").load(3)["name"] == "Changed"


def test_a_web_request_shows_no_record_older_than_it_showed_it_before(make_app: MakeApp, clock: Clock):
    """One list comes from the upstream, another from a copy: what both have is as the first had it."""
    dualstorage = DualStorage()

    @dualstorage.register
    class People(Collection):
        dialect = Dialect(pages=STYLES[LINK])

    with PagedUpstream(LINK, numbered(5)) as upstream:
        app = make_app(dualstorage, url=upstream.url)

        @app.get("/both")
        def both() -> Any:
            people = dualstorage.collection("people")
            first = people.fetch(params={"status": "open"}).pluck("name")
            upstream.unplug()
            return [first, people.fetch().pluck("name"), people.source]

        @app.get("/list")
        def listed() -> Any:
            return dualstorage.collection("people").fetch().pluck("name")

        client = app.test_client()
        client.get("/list", headers={"X-User": "alice"})
        clock.advance(1)
        upstream.edit("/people", 3, name="Changed")
        first, second, source = client.get("/both", headers={"X-User": "alice"}).json
        assert (source, second) == ("cache", first)
        assert second[2] == "Changed"


# --- hostile ones --------------------------------------------------------------------------------------------


@pytest.fixture
def hostile() -> Iterator[HostileUpstream]:
    with HostileUpstream() as upstream:
        yield upstream


def linked(records: list[Any], url: str) -> Any:
    return answer(200, records, headers={"Link": f'<{url}>; rel="next"'})


def test_pages_that_go_in_a_circle_are_no_list(make_app: MakeApp, hostile: HostileUpstream):
    alice = storage(make_app, hostile.url, LinkPages())
    hostile.then(linked([{"id": 1}], "/people?page=2"), linked([{"id": 2}], "/people?page=3"))
    hostile.then(linked([{"id": 3}], "/people?page=2"))
    with pytest.raises(NotCached, match="read already"):
        alice.collection("people").fetch(all_pages=True)
    assert len(hostile.received) == 3


def test_a_parameter_that_the_api_ignores_is_no_list(make_app: MakeApp, hostile: HostileUpstream):
    """Every page is the first one again."""
    alice = storage(make_app, hostile.url, NumberedPages())
    hostile.then(*[answer(200, [{"id": 1}])] * 3)
    with pytest.raises(NotCached, match="brought nothing"):
        alice.collection("people").fetch(all_pages=True)
    assert len(hostile.received) == 2


@pytest.mark.parametrize("where", ["/people?page=2", "http://user:secret@evil.example/people"])
def test_a_next_page_on_another_origin_is_never_asked_and_gets_no_credential(
    make_app: MakeApp, hostile: HostileUpstream, where: str
):
    with HostileUpstream() as other:
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, upstream: {"Authorization": "Bearer secret"})

        @dualstorage.register
        class People(Collection):
            dialect = Dialect(pages=BodyPages())
            parse = staticmethod(unwrapped)

        alice = storage_of(make_app(dualstorage, url=hostile.url)).for_user("alice")
        url = other.url + where if where.startswith("/") else where
        hostile.then(answer(200, {"results": [{"id": 1}], "next": url}))
        with pytest.raises(NotCached, match="another origin"):
            alice.collection("people").fetch(all_pages=True)
        assert other.connections == 0


def test_a_next_page_outside_of_the_upstreams_url_is_not_asked(make_app: MakeApp, hostile: HostileUpstream):
    alice = storage(make_app, hostile.url + "/api", LinkPages())
    hostile.then(linked([{"id": 1}], "/admin/people?page=2"))
    with pytest.raises(NotCached, match="outside"):
        alice.collection("people").fetch(all_pages=True)
    hostile.then(linked([{"id": 1}], "/api/people?page=2"), answer(200, [{"id": 2}]))
    assert len(alice.collection("people").fetch(all_pages=True)) == 2
    assert targets(hostile)[-1] == "/api/people?page=2"


def test_pages_are_bounded_in_bytes_together(make_app: MakeApp, hostile: HostileUpstream):
    alice = storage(make_app, hostile.url, LinkPages(), DUALSTORAGE_MAX_RESPONSE_BYTES=2000)
    for number in range(1, 9):
        hostile.then(linked([{"id": number, "text": "x" * 400}], f"/people?page={number + 1}"))
    with pytest.raises(NotCached, match="2,000 bytes together"):
        alice.collection("people").fetch(all_pages=True)
    assert len(hostile.received) == 5


def test_pages_without_end_are_bounded(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flask_dualstorage.sync.paging.MAX_PAGES", 20)

    def handler(received: Any) -> Any:
        number = int(received.target.partition("page=")[2] or 1)
        return linked([{"id": number}], f"/people?page={number + 1}")

    with HostileUpstream(handler) as upstream:
        alice = storage(make_app, upstream.url, LinkPages())
        with pytest.raises(NotCached, match="more than 20 pages"):
            alice.collection("people").fetch(all_pages=True)
        assert len(upstream.received) == 20


@pytest.mark.parametrize("named", [7, ["/people?page=2"], {"href": "/people"}, "http://[", "x" * 9000])
def test_a_next_page_that_is_none_is_no_list(make_app: MakeApp, hostile: HostileUpstream, named: Any):
    alice = storage(make_app, hostile.url, BodyPages())
    hostile.then(answer(200, {"results": [{"id": 1}], "next": named}))
    with pytest.raises(NotCached, match="next page"):
        alice.collection("people").fetch(all_pages=True)


def test_a_304_of_the_first_page_says_nothing_of_the_others(start: Start):
    """So the whole list is never asked for with a condition."""
    upstream, alice = start(BODY)
    alice.collection("people").fetch(all_pages=True)
    upstream.edit("/people", 25, name="Changed")
    people = alice.collection("people").fetch(all_pages=True)
    assert people[-1]["name"] == "Changed"
    assert not any("If-None-Match" in one.headers for one in upstream.received)


def test_a_page_that_says_all_in_its_body_is_asked_for_with_a_condition(start: Start):
    upstream, alice = start(BODY)
    page = alice.collection("people").fetch().page
    people = alice.collection("people").fetch()
    assert (people.source, people.page, len(people)) == ("upstream", page, 10)
    assert "If-None-Match" in upstream.received[-1].headers


def test_a_page_whose_next_one_is_named_in_a_header_is_not(start: Start):
    """The page may be the same, and a next one be there by now: no ETag covers another header."""
    upstream, alice = start(LINK, count=10)
    assert not alice.collection("people").fetch().page.has_next
    upstream.records["/people"].append({"id": 11, "name": "New"})
    assert alice.collection("people").fetch().page.has_next


# --- how it is asked for -------------------------------------------------------------------------------------


def test_all_pages_begin_at_the_first(start: Start):
    _, alice = start(OFFSET)
    with pytest.raises(ConfigurationError, match="leave 'offset' out"):
        alice.collection("people").fetch(params={"offset": 10}, all_pages=True)


def test_an_upstream_only_list_reads_all_pages_too(make_app: MakeApp):
    dualstorage = DualStorage()

    @dualstorage.register
    class People(Collection):
        remote = True
        dialect = Dialect(pages=STYLES[LINK])

    with PagedUpstream(LINK, numbered(25)) as upstream:
        alice = storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")
        people = alice.collection("people").fetch(all_pages=True)
        assert (len(people), people.page.complete) == (25, True)
        assert alice.collection("people").fetch().page.has_next
