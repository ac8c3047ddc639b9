"""Lists fetched with parameters: what is pending shows where it belongs, in order, and is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from flask_dualstorage import Collection, Dialect, DualStorage, LinkPages, NotCached
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.paged import LINK, PagedUpstream, numbered
from tests.whole import MakeApp, storage_of

PAGES = LinkPages(page="page", per_page="limit", total_header="X-Total-Count")
OPEN, CLOSED = {"status": "open"}, {"status": "closed"}


@pytest.fixture
def upstream() -> Iterator[PagedUpstream]:
    """25 people on pages of 10; those with even ids are closed."""
    with PagedUpstream(LINK, numbered(25), size=10) as upstream:
        for number in range(2, 26, 2):
            upstream.edit("/people", number, status="closed")
        yield upstream


@pytest.fixture
def alice(make_app: MakeApp, upstream: PagedUpstream) -> UserStorage:
    dualstorage = DualStorage()

    @dualstorage.register
    class People(Collection):
        dialect = Dialect(pages=PAGES)

    @dualstorage.register
    class Todos(Collection):
        local = True

    @dualstorage.register
    class Searched(Collection):
        url = "/people"
        dialect = Dialect(pages=PAGES)

        def matches(self, record: dict[str, Any], params: Mapping[str, str]) -> bool:
            return params.get("q", "").lower() in record.get("name", "").lower()

        def sort_key(self, record: dict[str, Any], params: Mapping[str, str]) -> Any:
            return record.get("name", "")

    return storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")


def all_of(alice: UserStorage, params: dict[str, Any], name: str = "people") -> Collection:
    return alice.collection(name).fetch(params=params, all_pages=True)


def names(people: Collection) -> list[str]:
    return [person["name"] for person in people]


class TestAFilteredList:
    def test_a_new_record_shows_where_it_matches_and_nowhere_else(self, alice: UserStorage, upstream: PagedUpstream):
        """Last, marked as pending, and counted."""
        all_of(alice, OPEN)
        all_of(alice, CLOSED)
        upstream.unplug()
        alice.collection("people").create(name="Turing", status="open")
        opened, closed = all_of(alice, OPEN), all_of(alice, CLOSED)
        assert (opened[-1]["name"], opened[-1].dirty, opened.page.total) == ("Turing", True, 14)
        assert ("Turing" in names(closed), len(closed)) == (False, 12)

    def test_an_edit_moves_a_record_to_the_list_where_it_belongs_now(self, alice: UserStorage, upstream: PagedUpstream):
        opened = all_of(alice, OPEN)
        all_of(alice, CLOSED)
        upstream.unplug()
        opened.get(1).save(status="closed")
        assert opened.get(1) is None
        opened, closed = all_of(alice, OPEN), all_of(alice, CLOSED)
        assert (opened.get(1), len(opened)) == (None, 12)
        assert (closed[-1].id, closed[-1].dirty, len(closed)) == (1, True, 13)

    def test_an_edit_of_something_else_leaves_it_where_it_is(self, alice: UserStorage, upstream: PagedUpstream):
        opened = all_of(alice, OPEN)
        all_of(alice, CLOSED)
        upstream.unplug()
        opened.get(3).save(name="Ada")
        assert [one.id for one in all_of(alice, OPEN)] == list(range(1, 26, 2))
        assert all_of(alice, CLOSED).get(3) is None

    def test_what_it_does_not_show_is_dirty_all_the_same(self, alice: UserStorage, upstream: PagedUpstream):
        opened = all_of(alice, OPEN)
        upstream.unplug()
        opened.get(1).save(status="closed")
        assert [one.id for one in all_of(alice, OPEN).dirty_models()] == [1]

    def test_an_edit_that_was_applied_moves_it_in_older_copies_too(self, alice: UserStorage, upstream: PagedUpstream):
        """The copies of both lists are older than the edit; the upstream is away when they are looked at."""
        opened = all_of(alice, OPEN)
        all_of(alice, CLOSED)
        assert not opened.get(1).save(status="closed").dirty
        upstream.unplug()
        assert all_of(alice, OPEN).get(1) is None
        assert all_of(alice, CLOSED).get(1)["status"] == "closed"

    def test_parameters_that_name_no_field_say_nothing(self, alice: UserStorage, upstream: PagedUpstream):
        all_of(alice, {"sort": "name"})
        upstream.unplug()
        alice.collection("people").create(name="Turing")
        assert names(all_of(alice, {"sort": "name"}))[-1] == "Turing"

    def test_the_apps_own_rule_and_order(self, alice: UserStorage, upstream: PagedUpstream):
        people = all_of(alice, {"q": "person"}, "searched")
        upstream.unplug()
        people.create(name="Person 00002b")
        people.create(name="Somebody")
        people.get(9).save(name="Person 00000")
        assert [one[-3:] for one in names(people)][:5] == ["000", "001", "002", "02b", "003"]
        assert len(people) == 26
        assert names(all_of(alice, {"q": "person"}, "searched")) == names(people)

    def test_where_nothing_is_here_what_matches_is_shown(self, alice: UserStorage, upstream: PagedUpstream):
        upstream.unplug()
        alice.collection("people").create(name="Turing", status="open")
        assert (names(all_of(alice, OPEN)), all_of(alice, OPEN).source) == (["Turing"], "local")
        with pytest.raises(NotCached):
            all_of(alice, CLOSED)

    def test_a_local_collection_is_filtered_here(self, alice: UserStorage):
        todos = alice.collection("todos")
        todos.create(name="Shop", status="open")
        todos.create(name="Wash", status="closed")
        assert names(todos.fetch(params=OPEN)) == ["Shop"]
        assert len(todos.fetch()) == 2


class TestPages:
    def page(self, alice: UserStorage, number: int) -> Collection:
        return alice.collection("people").fetch(params={"page": number})

    def test_new_records_stand_on_the_last_page_and_are_counted_on_each(
        self, alice: UserStorage, upstream: PagedUpstream
    ):
        for number in (1, 2, 3):
            self.page(alice, number)
        upstream.unplug()
        alice.collection("people").create(name="Turing")
        assert [("Turing" in names(self.page(alice, number))) for number in (1, 2, 3)] == [False, False, True]
        assert [self.page(alice, number).page.total for number in (1, 2, 3)] == [26, 26, 26]

    def test_a_delete_and_an_edit_show_on_their_own_page_only(self, alice: UserStorage, upstream: PagedUpstream):
        for number in (1, 2, 3):
            self.page(alice, number)
        upstream.unplug()
        self.page(alice, 2).get(12).destroy()
        self.page(alice, 2).get(13).save(name="Ada")
        assert [len(self.page(alice, number)) for number in (1, 2, 3)] == [10, 9, 5]
        assert [("Ada" in names(self.page(alice, number))) for number in (1, 2, 3)] == [False, True, False]
        assert {self.page(alice, number).page.total for number in (1, 2, 3)} == {24}

    def test_a_filtered_page_counts_what_moves_in_and_out(self, alice: UserStorage, upstream: PagedUpstream):
        first = {**OPEN, "page": "1"}
        people = alice.collection("people").fetch(params=first)
        upstream.unplug()
        people.get(1).save(status="closed")
        people.fetch(params=first)
        assert (people.get(1), people.page.total, people.page.pages) == (None, 12, 2)


def test_a_field_called_as_a_page_parameter_is_not_filtered_by(make_app: MakeApp, upstream: PagedUpstream):
    """``page=2`` chooses the second page, not the records whose ``page`` is 2."""
    dualstorage = DualStorage()

    @dualstorage.register
    class People(Collection):
        dialect = Dialect(pages=PAGES)

    alice = storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")
    alice.collection("people").fetch(params={"page": 3})
    upstream.unplug()
    alice.collection("people").create(name="Turing", page=77)
    assert names(alice.collection("people").fetch(params={"page": 3}))[-1] == "Turing"


def test_5000_records_with_200_pending_writes(make_app: MakeApp):
    """Each pending change is in its place, none is lost or doubled, and the numbers are right."""
    with PagedUpstream(LINK, numbered(5000), size=500, cap=500) as upstream:
        dualstorage = DualStorage()

        @dualstorage.register
        class People(Collection):
            dialect = Dialect(pages=PAGES)

        alice = storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")
        people = alice.collection("people").fetch(all_pages=True)
        opened = alice.collection("people").fetch(params=OPEN, all_pages=True)
        assert (len(people), len(opened), upstream.lists) == (5000, 5000, 20)
        upstream.unplug()
        everyone = {person.id: person for person in people}
        for number in range(10, 1010, 20):
            everyone[number].save(status="closed", remote=False)
            everyone[number + 1].destroy(remote=False)
            everyone[number + 2].save(name="Edited", remote=False)
            people.create(name="New", status="open" if number % 40 == 10 else "closed", remote=False)
        people = alice.collection("people").fetch(all_pages=True)
        opened = alice.collection("people").fetch(params=OPEN, all_pages=True)
        assert (len(alice.pending()), len(people), people.page.total) == (200, 5000, 5000)
        assert (len(opened), opened.page.total) == (5000 - 50 - 50 + 25, 4925)
        kept = [person.id for person in people][:4950]
        assert kept == sorted(kept)
        assert [person["name"] for person in people][4950:] == ["New"] * 50
        assert sum(person["name"] == "Edited" for person in opened) == 50
        assert {person["status"] for person in opened} == {"open"}
        assert len({person.id for person in people}) == 5000
