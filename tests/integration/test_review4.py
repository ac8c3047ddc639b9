"""Reads, pages, credentials and breakers under answers and surroundings that a careful client must survive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask_caching import Cache

from flask_dualstorage import Collection, Dialect, DualStorage, NotCached, UpstreamError, dialects
from flask_dualstorage.testing import after_response
from flask_dualstorage.upstream.paging import LinkPages, NumberedPages
from flask_dualstorage.user_storage import UserStorage
from tests.integration.test_backbone import declare
from tests.integration.test_freshness import client
from tests.upstreams.hostile import HostileUpstream, answer, raw, silent
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, User, storage_of


@pytest.fixture
def hostile() -> Iterator[HostileUpstream]:
    with HostileUpstream() as hostile:
        yield hostile


@pytest.fixture
def of(make_app: MakeApp, hostile: HostileUpstream) -> Callable[..., UserStorage]:
    """Alice's storage in front of ``hostile``, of an extension and a config."""

    def give(dualstorage: DualStorage | None = None, **config: Any) -> UserStorage:
        return storage_of(make_app(dualstorage, url=hostile.url, **config)).for_user("alice")

    return give


Of = Callable[..., UserStorage]


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


# --- freshness -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ETag", "Last-Modified"])
@pytest.mark.parametrize("value", [b'"a\x01b"', b'"a\r\n b"', b'"' + b"a" * 60_000 + b'"'])
def test_a_validator_that_can_not_go_back_is_none(of: Of, hostile: HostileUpstream, name: str, value: bytes):
    """Kept, it would make every later request one that can not be sent, or is refused for its size."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n"
    hostile.then(raw(head + name.encode() + b": " + value + b'\r\n\r\n[{"id": 1}]'), answer(200, [{"id": 2}]))
    people = of().collection("people").fetch()
    assert people.fetch().pluck("id") == [2]
    assert people.source == "upstream"


class TestAClockThatIsPutBack:
    """A copy from a time that is still to come is of no known age, and not the younger one."""

    def test_it_is_not_young(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user().collection("people").fetch()
        clock.advance(-86_400)
        upstream.edit("/people", 1, name="Ada Lovelace")
        assert people.fetch(max_age=60).get(1)["name"] == "Ada Lovelace"

    def test_it_makes_way_for_a_newer_one(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user().collection("people").fetch()
        clock.advance(-86_400)
        upstream.edit("/people", 1, name="Ada Lovelace")
        people.fetch()
        upstream.unplug()
        assert people.fetch().get(1)["name"] == "Ada Lovelace"

    def test_a_few_seconds_are_no_matter(self, user: User, upstream: RestUpstream, clock: Clock):
        people = user().collection("people").fetch()
        clock.advance(-5)
        people.fetch(max_age=60)
        assert (people.source, people.age, len(upstream.received)) == ("cache", 0, 1)


class TestARefreshAfterTheResponse:
    @pytest.fixture
    def app(self, make_app: MakeApp, hostile: HostileUpstream) -> Flask:
        dialect = Dialect(outcomes={400: "unauthorized"}, pages=LinkPages())
        app = make_app(declare(stale_while_revalidate=300, dialect=dialect), url=hostile.url)

        @app.get("/")
        def people() -> Any:
            return storage_of(app).collection("people").fetch().pluck("id")

        @app.get("/one")
        def one() -> Any:
            return dict(storage_of(app).collection("people").get_or_404(1))

        @app.get("/leave")
        def leave() -> Any:
            storage_of(app).forget(storage_of(app).owner)
            return {}

        return app

    def test_brings_no_copy_back_after_the_log_out(self, app: Flask, hostile: HostileUpstream, clock: Clock):
        alice = client(app)
        hostile.then(answer(200, [{"id": 1}]), answer(200, [{"id": 1}]))
        alice.get("/").close()
        clock.advance(10)
        with after_response(app) as run:
            for page in ("/", "/leave"):
                alice.get(page).close()
            run()
        hostile.unplug()
        with pytest.raises(NotCached):
            storage_of(app).for_user("alice").collection("people").fetch()

    @pytest.mark.parametrize("page", ["/", "/one"])
    def test_that_is_refused_in_the_apis_own_way_forgets_the_copy(
        self, app: Flask, hostile: HostileUpstream, clock: Clock, page: str
    ):
        """The next page asks, and shows the error: as after a 401."""
        alice = client(app)
        hostile.then(answer(200, [{"id": 1}]), answer(400), answer(400))
        alice.get("/").close()
        clock.advance(10)
        with after_response(app) as run:
            assert alice.get(page).status_code == 200
            assert run() == 1
            assert alice.get(page).status_code == 502
        assert hostile.received[-1].target == ("/people" if page == "/" else "/people/1")


def test_a_refused_credential_is_a_401_under_whatever_status(of: Of, hostile: HostileUpstream):
    hostile.then(answer(400, {"title": "Bad token"}))
    with pytest.raises(UpstreamError, match="fresh credential") as refused:
        of(declare(dialect=Dialect(outcomes={400: "unauthorized"}))).collection("people").fetch()
    assert (refused.value.status, refused.value.upstream_response.status_code) == (401, 400)
    assert refused.value.problem == {"title": "Bad token", "status": 401}


# --- deadlines and breaker -------------------------------------------------------------------------------------


def test_a_page_waits_once_for_an_upstream_that_says_nothing(make_app: MakeApp, hostile: HostileUpstream):
    """Three lists, and one total deadline."""
    app = make_app(url=hostile.url, DUALSTORAGE_TIMEOUT=(10, 0.3))

    @app.get("/")
    def page() -> Any:
        return [storage_of(app).collection(name).fetch().source for name in ("people", "notes", "bills")]

    hostile.then(*[answer(200, [])] * 3, silent())
    sources = [client(app).get("/").get_json() for _ in range(2)]
    assert sources == [["upstream"] * 3, ["cache"] * 3]
    assert len(hostile.received) == 4


class Signer(requests.auth.AuthBase):
    """Asks another service for what it signs with, and that one is down."""

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        raise requests.ConnectionError("the token service is down")


class TestATokenServiceThatIsDown:
    @pytest.fixture
    def dualstorage(self) -> DualStorage:
        return DualStorage()

    def test_is_one_owners_trouble_and_no_outage(
        self, make_app: MakeApp, dualstorage: DualStorage, upstream: RestUpstream
    ):
        dualstorage.upstream_auth(lambda owner, name: Signer() if owner == "user:alice" else None)
        app = make_app(dualstorage, url=upstream.url, DUALSTORAGE_BREAKER_THRESHOLD=1)
        with pytest.raises(NotCached, match="credential"):
            storage_of(app).for_user("alice").collection("people").fetch()
        assert storage_of(app).for_user("bob").collection("people").fetch().source == "upstream"

    def test_is_asked_once_in_a_flush(self, make_app: MakeApp, dualstorage: DualStorage, upstream: RestUpstream):
        asked: list[str] = []

        class Counting(Signer):
            def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
                asked.append(prepared.method or "")
                return super().__call__(prepared)

        dualstorage.upstream_auth(lambda owner, name: Counting())
        alice = storage_of(make_app(dualstorage, url=upstream.url, DUALSTORAGE_SYNC_CONCURRENCY=1)).for_user("alice")
        for name in ("Turing", "Hopper", "Liskov"):
            alice.collection("people").create(name=name, remote=False)
        report = alice.sync()
        assert (report.queued, asked, upstream.received) == (3, ["POST"], [])

    @pytest.mark.parametrize("probe", [False, True])
    def test_costs_no_page_that_has_a_copy(
        self, make_app: MakeApp, dualstorage: DualStorage, upstream: RestUpstream, clock: Clock, probe: bool
    ):
        """Asked by the hook itself, it is as good as an upstream that is down: the copy, with the reason."""
        down: list[bool] = []

        @dualstorage.upstream_auth
        def credential(owner: str, name: str) -> Any:
            if down:
                raise requests.ConnectionError("the token service is down, secret=7")
            return {"Authorization": "Bearer good"}

        app = make_app(dualstorage, url=upstream.url, DUALSTORAGE_BREAKER_THRESHOLD=1)

        @app.get("/")
        def page() -> Any:
            people = storage_of(app).collection("people").fetch()
            return {"source": people.source, "reason": people.reason}

        client(app).get("/").close()
        down.append(True)
        with after_response(app) as run:
            if probe:
                storage_of(app).engine.upstream("default").breaker.failed()
                clock.advance(60)
            told = client(app).get("/").get_json()
            run()
        assert told["source"] == "cache"
        assert "secret" not in told["reason"]


# --- credentials that hide -------------------------------------------------------------------------------------


class TestAProbe:
    @pytest.fixture
    def guarded(self, of: Of) -> Of:
        def give(dialect: Dialect | None = None) -> UserStorage:
            dualstorage = declare(**({} if dialect is None else {"dialect": dialect}))
            dualstorage.upstream_auth(lambda owner, name: {"Authorization": "Bearer of alice"})
            return of(dualstorage, DUALSTORAGE_CREDENTIAL_PROBE="/me")

        return give

    @pytest.mark.parametrize(
        ("dialect", "full", "empty"),
        [
            (Dialect(list_at="data.items"), {"data": {"items": [{"id": 1}]}}, {"data": {"items": []}}),
            (dialects.hal, {"_embedded": {"people": [{"id": 1}]}}, {"_links": {"self": {"href": "/people"}}}),
            (dialects.hal, {"_embedded": {"people": [{"id": 1}]}}, {"_embedded": {"people": []}}),
        ],
    )
    def test_is_asked_whatever_an_empty_list_looks_like(
        self, guarded: Of, hostile: HostileUpstream, dialect: Dialect, full: Any, empty: Any
    ):
        hostile.then(answer(200, full), answer(200, empty), answer(403))
        people = guarded(dialect).collection("people").fetch()
        with pytest.raises(UpstreamError, match="status 401"):
            people.fetch()
        hostile.unplug()
        assert people.fetch().pluck("id") == [1]

    def test_does_not_undo_a_write_that_was_answered_with_the_record(self, guarded: Of, hostile: HostileUpstream):
        """It has an empty list of tags, as its owner wanted; sent again, it would be there twice."""
        hostile.then(answer(201, {"id": 5, "name": "Turing", "tags": []}), answer(403))
        alice = guarded()
        person = alice.collection("people").create(name="Turing", tags=[])
        assert (person.id, alice.pending(), len(hostile.received)) == (5, [], 1)

    def test_that_can_not_be_asked_makes_no_write_unsent(self, of: Of, hostile: HostileUpstream):
        """The write was taken, or was not: it is in doubt, whatever kept the probe from being sent."""
        once = iter([lambda prepared: prepared, Signer()])
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, name: lambda prepared: next(once)(prepared))
        alice = of(dualstorage, DUALSTORAGE_CREDENTIAL_PROBE="/me")
        hostile.then(answer(201, {}))
        alice.collection("people").create(name="Turing")
        assert [write.state for write in alice.pending()] == ["in_doubt"]


# --- pages -----------------------------------------------------------------------------------------------------


def test_a_total_that_is_not_reached_is_a_list_with_gaps(of: Of, hostile: HostileUpstream):
    """One was deleted and another made while the pages were read: the total stays, and one was passed over."""
    more = {"X-Total": "4", "Link": '</people?page=2>; rel="next"'}
    first = answer(200, [{"id": 1}, {"id": 2}], headers=more)
    rest = [answer(200, [{"id": 3}, {"id": 4}], headers={"X-Total": "4"}), answer(200, [{"id": 5}], headers=more)]
    hostile.then(first, rest[0], first, answer(200, [{"id": 5}], headers={"X-Total": "4"}))
    dialect = Dialect(pages=LinkPages(page="page", total_header="X-Total"))
    people = of(declare(dialect=dialect)).collection("people").fetch(all_pages=True)
    assert (people.pluck("id"), people.page.complete) == ([1, 2, 3, 4], True)
    people.fetch(all_pages=True)
    assert (people.pluck("id"), people.page.complete) == ([1, 2, 3, 4, 5], False)


def test_a_page_that_holds_less_than_the_total_is_not_the_whole_list(of: Of, hostile: HostileUpstream):
    """Something on the way took the Link header off."""
    hostile.then(answer(200, [{"id": 1}], headers={"X-Total": "40"}))
    people = of(declare(dialect=Dialect(pages=LinkPages(total_header="X-Total")))).collection("people").fetch()
    assert (people.page.complete, people.page.total) == (False, 40)


@pytest.mark.parametrize("total", [0, 1, -3, "many", None, 1.5])
def test_a_total_below_what_came_is_none(of: Of, hostile: HostileUpstream, total: Any):
    pages = [answer(200, {"items": items, "total": total}) for items in ([{"id": 1}, {"id": 2}], [{"id": 3}], [])]
    hostile.then(*pages)
    dialect = Dialect(pages=NumberedPages(total_at="total"), list_at="items")
    people = of(declare(dialect=dialect)).collection("people").fetch(all_pages=True)
    assert (people.pluck("id"), people.page.total) == ([1, 2, 3], 3)


def test_a_parameter_that_is_none_is_not_asked_for(user: User, upstream: RestUpstream):
    """``params={"q": request.args.get("q")}`` of a page without a search."""
    people = user().collection("people").fetch(params={"q": None})
    assert upstream.requests == [("GET", "/people")]
    upstream.unplug()
    assert len(people.fetch()) == 2


# --- what the app's own hooks do -------------------------------------------------------------------------------


class Invalid(Exception):
    """As validation libraries have it: an exception of no common kind."""


@pytest.mark.parametrize("where", ["parse", "list_at", "outcomes"])
def test_a_hook_that_fails_in_its_own_way_leaves_the_copy(user: User, upstream: RestUpstream, where: str):
    broken: list[bool] = []

    def hook(*given: Any) -> Any:
        if broken:
            raise Invalid("no such thing")
        return None if where == "outcomes" else given[-1]

    declared = {"parse": hook} if where == "parse" else {"dialect": Dialect(**{where: hook})}
    people = user(dualstorage=declare(**declared)).collection("people").fetch()
    broken.append(True)
    assert people.fetch().source == "cache"
    assert "Invalid" in str(people.reason)


# --- the doctor ------------------------------------------------------------------------------------------------


def test_the_doctor_leaves_records_alone_that_were_there(of: Of, hostile: HostileUpstream):
    """An API that answers a create with the record of that name which it has already."""
    hostile.then(
        *[answer(200, [{"id": 7, "name": "Test"}])] * 2,
        answer(200, {"id": 7, "name": "Test"}),
        *[answer(404)] * 1,
        *[answer(200, {"id": 7, "name": "Test"})] * 2,
        *[answer(405)] * 9,
    )
    found = of().examine("people", {"name": "Test"})
    assert "a record that was there before (7)" in json.dumps(found.to_dict())
    assert [one.method for one in hostile.received if one.target == "/people/7"] == ["GET"]
