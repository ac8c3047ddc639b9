"""Reads, pages, credentials and breakers under answers and surroundings that a careful client must survive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask_caching import Cache

from flask_dualstorage import Collection, DualStorage, NotCached
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, storage_of


class TestTwoUpstreamsWithThePathOfOne:
    """Both have ``/people``: records of the same ids, and nothing in common."""

    @pytest.fixture
    def staff(self) -> Iterator[RestUpstream]:
        with RestUpstream({"/people": [{"id": 1, "name": "Ada of staff"}]}) as staff:
            yield staff

    @pytest.fixture
    def alice(self, make_app: MakeApp, upstream: RestUpstream, staff: RestUpstream) -> UserStorage:
        dualstorage = DualStorage()
        dualstorage.register(type("People", (Collection,), {}))
        dualstorage.register(type("Staff", (Collection,), {"url": "/people", "upstream": "staff"}))
        app = make_app(dualstorage, url=upstream.url, DUALSTORAGE_UPSTREAMS={"staff": {"url": staff.url}})
        return storage_of(app).for_user("alice")

    def test_a_copy_of_one_is_none_of_the_other(self, alice: UserStorage, staff: RestUpstream):
        alice.collection("people").fetch()
        staff.unplug()
        with pytest.raises(NotCached):
            alice.collection("staff").fetch()

    def test_an_edit_goes_where_the_record_is(self, alice: UserStorage, upstream: RestUpstream, staff: RestUpstream):
        alice.collection("people").fetch().get(1).save(name="Ada Lovelace", remote=False)
        alice.collection("staff").fetch().get(1).save(name="Ada Byron", remote=False)
        alice.sync()
        assert [each.find("/people", 1)["name"] for each in (upstream, staff)] == ["Ada Lovelace", "Ada Byron"]
        assert alice.history()[0].store == "/people (staff)"

    def test_what_is_nested_under_a_new_record_moves_with_it(self, alice: UserStorage, staff: RestUpstream):
        registry = alice._registry
        registry.add(type("Notes", (Collection,), {"url": "/people/{person}/notes", "upstream": "staff"}))
        person = alice.collection("staff").create(name="Turing", remote=False)
        notes = alice.collection("notes", person=person.id)
        notes.create(text="first", remote=False)
        alice.sync()
        assert [target for _, target, _ in staff.writes] == ["/people", "/people/101/notes"]
        staff.unplug()
        assert alice.collection("notes", person=101).fetch().pluck("text") == ["first"]


def test_two_apps_of_one_name_share_a_cache_and_no_copy(make_app: MakeApp, upstream: RestUpstream, tmp_path: Path):
    """Every second app is called ``app``, and its first user is ``1``."""
    cache = Cache(config={"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": str(tmp_path / "cache")})
    database = f"sqlite:///{tmp_path}/other.sqlite3"
    storage_of(make_app(url=upstream.url, cache=cache)).for_user("1").collection("people").fetch()
    with RestUpstream() as elsewhere:
        upstream.unplug()
        for config in ({"DUALSTORAGE_DATABASE_URL": database, "url": upstream.url}, {"url": elsewhere.url}):
            elsewhere.unplug()
            with pytest.raises(NotCached):
                storage_of(make_app(cache=cache, **config)).for_user("1").collection("people").fetch()


def test_a_worker_whose_clock_is_ahead_holds_the_others_no_longer_than_itself(
    make_app: MakeApp, upstream: RestUpstream, clock: Clock
):
    """A breaker that is open for five seconds there is no outage of an hour here."""
    one, two = (storage_of(make_app(url=upstream.url, DUALSTORAGE_BREAKER_THRESHOLD=1)) for _ in range(2))
    two.engine.clock = lambda: clock() + 3600
    upstream.unplug()
    with pytest.raises(NotCached):
        two.for_user("alice").collection("people").fetch()
    assert not one.engine.may_ask("default")
    assert one.engine.upstream("default").breaker.open_for() == one.config.upstreams["default"].breaker_cooldown
