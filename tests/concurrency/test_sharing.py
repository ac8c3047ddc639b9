"""Who finds a copy stale at the same moment: one asks, the others do not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask_caching import Cache

from flask_dualstorage import Collection, DualStorage, NoCredentials, NotCached
from flask_dualstorage.sync import sharing
from flask_dualstorage.sync.freshening import REFRESHING
from tests.concurrency.conftest import AtOnce, Worker
from tests.concurrency.gates import PATIENCE, Gate, beside, in_a_worker
from tests.concurrency.peers import MakePeer, peer
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.waiting import until
from tests.whole import Clock

__all__ = ["peer"]

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PEOPLE = [{"id": 1, "name": "Ada"}]


def declared(**attributes: Any) -> DualStorage:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"name": "people", **attributes}))
    return dualstorage


def looking(storage: Any, owner: str = "alice") -> Callable[[], tuple[str | None, str | None]]:
    """A page that looks at the list."""

    def look() -> tuple[str | None, str | None]:
        people = storage.for_user(owner).collection("people")
        assert people.pluck("id")
        return people.source, people.reason

    return look


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each that waits for another's read would wait: appended when it begins to."""
    begun: list[float] = []
    wait = sharing.Flight.wait

    def told(self: Any, seconds: float) -> bool:
        begun.append(seconds)
        return wait(self, seconds)

    monkeypatch.setattr(sharing.Flight, "wait", told)
    return begun


@on_sqlite
class TestThreads:
    """In one process."""

    def test_without_a_copy_they_wait_for_one(
        self, worker: Worker, upstream: RestUpstream, at_once: AtOnce, waiting: list[float]
    ):
        """Eight pages at once are one request; the wait is bounded by the deadline and a second."""
        storage = worker()
        gate = Gate(answer(200, PEOPLE))
        upstream.then(gate)

        def let_go() -> tuple[str | None, str | None]:
            gate.wait()
            until(lambda: len(waiting) >= 7, "the others wait")
            gate.open()
            return "upstream", None

        assert at_once(*[looking(storage)] * 8, let_go) == [("upstream", None)] * 9
        assert len(upstream.received) == 1
        assert set(waiting) == {21.0}

    def test_a_copy_is_given_meanwhile_where_the_app_takes_one(
        self, worker: Worker, upstream: RestUpstream, clock: Clock
    ):
        storage = worker(declared(max_age=60))
        looking(storage)()
        clock.advance(61)
        gate = Gate(answer(200, PEOPLE))
        upstream.then(gate)
        with beside(looking(storage), gate) as first:
            assert [looking(storage)() for _ in range(3)] == [("cache", REFRESHING)] * 3
        assert first.result() == ("upstream", None)
        assert len(upstream.received) == 2
        assert looking(storage)() == ("cache", None)

    def test_an_error_is_heard_by_all(
        self, worker: Worker, upstream: RestUpstream, at_once: AtOnce, waiting: list[float]
    ):
        """Without a copy, an outage is one request too, and a 503 for each."""
        storage = worker()
        gate = Gate(answer(504))
        upstream.then(gate)

        def failing() -> str:
            with pytest.raises(NotCached):
                looking(storage)()
            return "503"

        def let_go() -> str:
            gate.wait()
            until(lambda: len(waiting) >= 3, "the others wait")
            gate.open()
            return "503"

        assert at_once(*[failing] * 4, let_go) == ["503"] * 5
        assert len(upstream.received) == 1

    def test_owners_wait_for_nobody_elses(self, worker: Worker, upstream: RestUpstream):
        storage = worker()
        gate = Gate(answer(200, PEOPLE))
        upstream.then(gate)
        with beside(looking(storage), gate):
            assert looking(storage, "bob")() == ("upstream", None)
        assert len(upstream.received) == 2

    def test_who_waited_sees_what_it_wrote(self, worker: Worker, upstream: RestUpstream, waiting: list[float]):
        """What came is laid under what the waiting page's user has pending."""
        storage = worker()
        gate = Gate(answer(200, [{"id": 1, "name": "Ada", "age": 36}]))
        upstream.then(gate)
        people = storage.for_user("alice").collection("people")
        with beside(looking(storage), gate):
            people.new({"id": 1}).save(age=41, remote=False)
            with ThreadPoolExecutor(1) as pool:
                ages = pool.submit(
                    in_a_worker, lambda: storage.for_user("alice").collection("people").fetch(when_dirty="rebase")
                )
                until(lambda: waiting, "the second page waits")
                gate.open()
                assert ages.result(PATIENCE).pluck("age") == [41]
        assert len(upstream.received) == 1

    def test_a_hook_that_fails_leaves_the_others_to_themselves(
        self, worker: Worker, upstream: RestUpstream, at_once: AtOnce, waiting: list[float]
    ):
        """The app has no credential in one thread, as it may have one in another."""
        leads = threading.Event()

        def credential(owner: str, name: str) -> None:
            if not leads.is_set():
                leads.set()
                until(lambda: waiting, "the other waits")
                raise NoCredentials("not in this thread")

        dualstorage = declared()
        dualstorage.upstream_auth(credential)
        storage = worker(dualstorage)

        def first() -> str:
            with pytest.raises(NoCredentials):
                looking(storage)()
            return "401"

        def second() -> str:
            assert leads.wait(PATIENCE)
            return str(looking(storage)()[0])

        assert at_once(first, second) == ["401", "upstream"]


@on_sqlite
class TestWorkers:
    """In several processes: two engines on one cache."""

    @pytest.fixture(params=["SimpleCache", "FileSystemCache", "RedisCache"])
    def both(self, request: pytest.FixtureRequest, worker: Worker, tmp_path: Any) -> tuple[Any, Any]:
        options: dict[str, Any] = {"CACHE_TYPE": request.param, "CACHE_KEY_PREFIX": str(tmp_path)}
        if request.param == "FileSystemCache":
            options["CACHE_DIR"] = str(tmp_path / "cache")
        if request.param == "RedisCache":
            options["CACHE_REDIS_URL"] = request.getfixturevalue("redis_url")
        first, second = (worker(declared(max_age=60), cache=Cache(config=options)) for _ in range(2))
        if request.param == "SimpleCache":
            second.engine.bases._backend = first.engine.bases.backend
        return first, second

    def test_one_asks_and_the_others_give_the_copy(self, both: tuple[Any, Any], upstream: RestUpstream, clock: Clock):
        first, second = both
        looking(first)()
        clock.advance(61)
        gate = Gate(answer(200, PEOPLE))
        upstream.then(gate)
        with beside(looking(first), gate):
            assert in_a_worker(looking(second)) == ("cache", REFRESHING)
        assert looking(second)() == ("cache", None)
        assert len(upstream.received) == 2

    def test_a_claim_ends_with_its_time(self, both: tuple[Any, Any], upstream: RestUpstream, clock: Clock):
        """Whoever dies while it asks holds the others back for its deadline and a second, no longer."""
        first, second = both
        looking(first)()
        clock.advance(61)
        first.engine.bases._claim(_key(first), clock(), clock() + 21, 21)
        assert looking(second)() == ("cache", REFRESHING)
        clock.advance(21)
        assert looking(second)() == ("upstream", None)

    def test_a_failure_lets_the_next_one_try(self, both: tuple[Any, Any], upstream: RestUpstream, clock: Clock):
        first, second = both
        looking(first)()
        clock.advance(61)
        upstream.then(answer(504))
        assert looking(first)()[0] == "cache"
        assert looking(second)() == ("upstream", None)

    def test_what_came_before_the_claim_is_taken(
        self, both: tuple[Any, Any], upstream: RestUpstream, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ):
        """The copy was stale at the first look, and fetched by another worker before this one could claim."""
        first, second = both
        looking(first)()
        clock.advance(61)
        claim = second.engine.bases._claim

        def late(*arguments: Any) -> bool:
            assert in_a_worker(looking(first)) == ("upstream", None)
            return bool(claim(*arguments))

        monkeypatch.setattr(second.engine.bases, "_claim", late)
        assert looking(second)() == ("cache", None)
        assert len(upstream.received) == 2


@on_sqlite
def test_one_of_three_processes_asks(peer: MakePeer, upstream: RestUpstream):
    """Real ones, on the private files of the instance folder, a while after the copy was made."""
    look = "[people.pluck('id'), people.source, people.reason]"
    people = "setattr(type(people), 'max_age', 60)"
    now, *later = peer(), *(peer(ahead=100.0) for _ in range(3))
    assert now.ask(look) == [[1, 2], "upstream", None]
    for each in later:
        each.ask(people)
    gate = Gate(answer(200, PEOPLE))
    upstream.then(gate)
    later[0].tell(look)
    gate.wait()
    assert [each.ask(look) for each in later[1:]] == [[[1, 2], "cache", REFRESHING]] * 2
    gate.open()
    assert later[0].hear() == [[1], "upstream", None]
    assert len(upstream.received) == 2


def _key(storage: Any) -> str:
    return str(storage.engine.bases._key("user:alice", "/people", "")) + ":claim"


@on_sqlite
def test_a_cache_that_can_not_tell_holds_nobody_back(worker: Worker, upstream: RestUpstream, clock: Clock):
    """One that fails, or has no ``add``: each worker asks for itself."""
    storage = worker(declared(max_age=60))
    looking(storage)()
    backend = storage.engine.bases.backend

    class WithoutAdd:
        get, set, delete = backend.get, backend.set, backend.delete

    class Failing(WithoutAdd):
        def add(self, *arguments: Any, **options: Any) -> bool:
            raise OSError

    for each in (WithoutAdd(), Failing()):
        storage.engine.bases._backend = each
        clock.advance(61)
        assert looking(storage)() == ("upstream", None)


def test_a_read_under_way_does_not_come_through_a_fork():
    flights: sharing.Flights[str] = sharing.Flights()
    with flights.join("people") as (_, is_mine):
        assert is_mine
        child = os.fork()
        if child == 0:
            with flights.join("people") as (_, is_mine):
                os._exit(0 if is_mine else 1)
        assert os.waitpid(child, 0)[1] == 0
        with flights.join("people") as (_, is_mine):
            assert not is_mine
