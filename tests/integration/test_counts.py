"""What a page and a write cost, in counts that are the same on every machine.

Statements and transactions are counted by SQLite's own trace, cache calls at the app's Flask-Caching backend,
connections at the upstream's listener.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask_caching import Cache

from flask_dualstorage import Collection, Model, Rejected
from flask_dualstorage.storage.database import Database
from flask_dualstorage.sync import senders
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.waiting import PATIENCE
from tests.whole import MakeApp, storage_of


@dataclass
class Counts:
    """What happened since ``since`` was entered."""

    upstream: RestUpstream
    sql: list[str] = field(default_factory=list)
    cache: list[str] = field(default_factory=list)
    _connections: int = 0
    _requests: int = 0

    @contextmanager
    def since(self) -> Iterator[Counts]:
        """Count from here on."""
        self.sql.clear()
        self.cache.clear()
        self._connections = self.upstream.connections
        self._requests = len(self.upstream.received)
        yield self

    @property
    def selects(self) -> int:
        """SELECTs, in or outside a transaction."""
        return sum(statement.lstrip().startswith("SELECT") for statement in self.sql)

    @property
    def transactions(self) -> int:
        """Transactions that were begun."""
        return sum(statement.startswith("BEGIN") for statement in self.sql)

    @property
    def commits(self) -> int:
        """Transactions that were committed."""
        return self.sql.count("COMMIT")

    @property
    def statements(self) -> int:
        """Statements of every kind."""
        return len(self.sql)

    @property
    def connections(self) -> int:
        """Connections that the upstream accepted."""
        return self.upstream.connections - self._connections

    @property
    def requests(self) -> int:
        """Requests that the upstream received."""
        return len(self.upstream.received) - self._requests


@pytest.fixture
def counts(upstream: RestUpstream, monkeypatch: pytest.MonkeyPatch) -> Counts:
    counts = Counts(upstream)
    open_sqlite = Database._open_sqlite

    def traced(self: Database, *arguments: Any) -> Any:
        raw = open_sqlite(self, *arguments)
        raw.set_trace_callback(counts.sql.append)
        return raw

    monkeypatch.setattr(Database, "_open_sqlite", traced)
    return counts


@pytest.fixture
def alice(make_app: MakeApp, upstream: RestUpstream, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> UserStorage:
    """An owner who has written before. Every cache call is counted, and the breaker opens at the first failure."""
    cache = Cache(config={"CACHE_TYPE": "SimpleCache"})
    app = make_app(url=upstream.url, cache=cache, DUALSTORAGE_BREAKER_THRESHOLD=1)
    backend = app.extensions["cache"][cache]
    for name in ("get", "set", "delete", "get_many", "set_many", "has", "add"):
        monkeypatch.setattr(backend, name, _counted(counts, name, getattr(backend, name)))
    alice = storage_of(app).for_user("alice")
    alice.collection("people").create(name="Turing")
    return alice


def _counted(counts: Counts, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **options: Any) -> Any:
        counts.cache.append(name)
        return call(*args, **options)

    return counted


def view(people: Collection) -> list[dict[str, Any]]:
    """All that a page shows of a list."""
    return [{**person, "dirty": person.dirty} for person in people]


class TestACachedList:
    def is_cheap(self, counts: Counts) -> bool:
        return (counts.selects, counts.statements, counts.transactions, counts.cache, counts.connections) == (
            1,
            1,
            0,
            ["get"],
            0,
        )

    def test_in_an_outage(self, alice: UserStorage, upstream: RestUpstream, counts: Counts):
        """One SELECT, no transaction, one cache call, no connection."""
        alice.collection("people").fetch()
        upstream.unplug()
        alice.collection("people").fetch()
        with counts.since():
            people = alice.collection("people").fetch()
            assert (people.source, len(view(people))) == ("cache", 3)
        assert self.is_cheap(counts), counts

    def test_with_changes_that_wait(self, alice: UserStorage, counts: Counts):
        people = alice.collection("people").fetch()
        for person in people:
            person.save(age=50, remote=False)
        people.create(name="Hopper", remote=False)
        with counts.since():
            people = alice.collection("people").fetch()
            assert (people.source, sum(row["dirty"] for row in view(people))) == ("cache", 4)
        assert self.is_cheap(counts), counts

    def test_that_is_young(self, alice: UserStorage, counts: Counts):
        alice.collection("people").fetch()
        with counts.since():
            assert len(view(alice.collection("people").fetch(max_age=60))) == 3
        assert self.is_cheap(counts), counts

    def test_whatever_its_length(self, alice: UserStorage, upstream: RestUpstream, counts: Counts):
        upstream.records["/people"] = [{"id": number, "name": f"Person {number}"} for number in range(1, 1001)]
        alice.collection("people").fetch()
        with counts.since():
            assert len(view(alice.collection("people").fetch(remote=False))) == 1000
        assert self.is_cheap(counts), counts

    def test_looked_at_in_every_way_it_is_read_once(self, alice: UserStorage, counts: Counts):
        alice.collection("people").fetch()
        with counts.since():
            people = alice.collection("people").fetch(remote=False)
            assert (people[0].id, people.get(2).id) == (1, 2)
            assert (len(people.where(name="Ada")), people.pluck("id")) == (1, [1, 2, 101])
        assert self.is_cheap(counts), counts

    def test_what_is_dirty_needs_no_more(self, alice: UserStorage, counts: Counts):
        """One SELECT each, and no connection."""
        people = alice.collection("people").fetch()
        people.get(1).save(age=41, remote=False)
        people.get(2).destroy(remote=False)
        with counts.since():
            assert [person.id for person in alice.collection("people").dirty_models()] == [1]
            assert alice.collection("people").destroyed_model_ids() == [2]
        assert (counts.selects, counts.transactions, counts.connections) == (2, 0, 0)


class TestAFetch:
    def test_costs_no_transaction(self, alice: UserStorage, counts: Counts):
        """Two SELECTs (before and after the request), three cache calls, one request over the kept connection."""
        with counts.since():
            assert len(view(alice.collection("people").fetch())) == 3
        assert (counts.selects, counts.transactions, counts.cache) == (2, 0, ["get", "get", "set"])
        assert (counts.connections, counts.requests) == (0, 1)


class TestAWrite:
    def test_offline_create_is_one_transaction(self, alice: UserStorage, upstream: RestUpstream, counts: Counts):
        people = alice.collection("people").fetch()
        upstream.unplug()
        people.fetch()
        with counts.since():
            assert people.create(name="Hopper").dirty
        assert (counts.transactions, counts.commits, counts.cache, counts.connections) == (1, 1, [], 0)

    @pytest.mark.parametrize("what", ["create", "save", "destroy"])
    def test_kept_for_later_it_is_one_transaction(self, alice: UserStorage, counts: Counts, what: str):
        people = alice.collection("people").fetch()
        ada = people.get(1)
        with counts.since():
            match what:
                case "create":
                    people.create(name="Hopper", remote=False)
                case "save":
                    ada.save(age=41, remote=False)
                case _:
                    ada.destroy(remote=False)
        assert (counts.transactions, counts.commits, counts.cache, counts.connections) == (1, 1, [], 0)

    @pytest.mark.parametrize("what", ["create", "save", "destroy"])
    def test_online_it_is_at_most_three(self, alice: UserStorage, counts: Counts, what: str):
        """Two, in fact: enqueue and claim are one, settle is the other."""
        people = alice.collection("people").fetch()
        ada = people.get(1)
        with counts.since():
            match what:
                case "create":
                    people.create(name="Hopper")
                case "save":
                    ada.save(age=41)
                case _:
                    ada.destroy()
        assert counts.transactions == counts.commits == 2
        assert (counts.cache, counts.connections, counts.requests) == ([], 0, 1)

    def test_a_withdrawn_one_too(self, alice: UserStorage, upstream: RestUpstream, counts: Counts):
        ada = alice.collection("people").fetch().get(1)
        upstream.then(answer(422))
        with counts.since(), pytest.raises(Exception, match="refused"):
            ada.save(age=41)
        assert counts.transactions == counts.commits == 2


class TestAFlush:
    @pytest.fixture(autouse=True)
    def patient_company(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Settles wait for all that is on its way: then it does not matter how busy the machine is."""
        monkeypatch.setattr(senders, "COMPANY", PATIENCE)

    def kept(self, alice: UserStorage, number: int) -> None:
        people = alice.collection("people").fetch()
        for count in range(number):
            people.create(name=f"Person {count}", remote=False)

    @pytest.mark.parametrize("number", [8, 80, 160])
    def test_of_n_is_at_most_an_eighth_of_n_transactions_and_a_few(
        self, alice: UserStorage, counts: Counts, number: int
    ):
        self.kept(alice, number)
        with counts.since():
            assert alice.sync().applied == number
        assert counts.transactions == counts.commits
        assert counts.transactions <= number / 8 + 3
        assert (counts.requests, counts.connections <= 8) == (number, True)

    def test_costs_the_same_for_each_write(self, alice: UserStorage, counts: Counts):
        statements = []
        for number in (40, 80, 160):
            self.kept(alice, number)
            with counts.since():
                alice.sync()
            statements.append(counts.statements)
        first, second, third = statements
        assert third - second <= 2 * (second - first) + 8
        assert (second - first) / 40 <= 12

    def test_of_nothing_sends_nothing(self, alice: UserStorage, counts: Counts):
        with counts.since():
            assert alice.sync().applied == 0
        assert (counts.transactions <= 1, counts.cache, counts.requests) == (True, [], 0)

    def test_of_what_fails_costs_no_more(self, alice: UserStorage, upstream: RestUpstream, counts: Counts):
        self.kept(alice, 16)
        upstream.then(*[answer(422)] * 16)
        with counts.since():
            assert alice.sync().rejected == 16
        assert counts.transactions <= 16 / 8 + 3


@dataclass(frozen=True)
class Cost:
    """What one path costs, exactly: ``statements`` of every kind, ``BEGIN`` and ``COMMIT`` among them.

    ``connections`` are new ones, and at most so many: how many threads are at it at once is not the same each time.
    """

    transactions: int = 0
    statements: int = 0
    cache: tuple[str, ...] = ()
    requests: int = 0
    connections: int = 0


@dataclass
class Path:
    """What is there before, and what is counted: both are given Alice's storage and the upstream."""

    name: str
    act: Callable[[UserStorage, RestUpstream, Any], Any]
    cost: Cost
    before: Callable[[UserStorage, RestUpstream], Any] = lambda alice, upstream: None


def loaded(alice: UserStorage, upstream: RestUpstream) -> Collection:
    """A page showed the list."""
    return alice.collection("people").fetch()


def loaded_alone(alice: UserStorage, upstream: RestUpstream) -> Model:
    """A page showed one record."""
    return alice.collection("people").get_or_404(1)


def in_an_outage(before: Callable[[UserStorage, RestUpstream], Any]) -> Callable[[UserStorage, RestUpstream], Any]:
    """The same, and then the upstream was lost, and that was noticed."""

    def lost(alice: UserStorage, upstream: RestUpstream) -> Any:
        result = before(alice, upstream)
        upstream.unplug()
        alice.collection("people").fetch(when_dirty="rebase")
        return result

    return lost


def refused(alice: UserStorage, upstream: RestUpstream, people: Collection) -> None:
    """A save that the upstream will not take."""
    upstream.then(answer(422))
    with pytest.raises(Rejected):
        people.get(1).save(age=-1)


def a_waiting_lane(alice: UserStorage, upstream: RestUpstream) -> Collection:
    """An edit of a record was kept, and another is to be made."""
    people = loaded(alice, upstream)
    people.get(1).save(name="Lovelace", remote=False)
    return people


def a_frozen_lane(alice: UserStorage, upstream: RestUpstream) -> Collection:
    """An edit of a record was sent, and came back with "not now"."""
    people = loaded(alice, upstream)
    upstream.then(answer(425))
    people.get(1).save(name="Lovelace")
    return people


def kept_creates(number: int) -> Callable[[UserStorage, RestUpstream], Any]:
    """Some records were made in an outage."""

    def keep(alice: UserStorage, upstream: RestUpstream) -> None:
        people = loaded(alice, upstream)
        for count in range(number):
            people.create(name=f"Person {count}", remote=False)

    return keep


def kept_updates(alice: UserStorage, upstream: RestUpstream) -> None:
    """Three records were changed in an outage."""
    for person in loaded(alice, upstream):
        person.save(age=50, remote=False)


def asked_to_wait(alice: UserStorage, upstream: RestUpstream) -> None:
    """Eight wait, and nothing may go."""
    kept_creates(8)(alice, upstream)
    upstream.then(*[answer(429, headers={"Retry-After": "60"})] * 8)
    alice.sync()


def show(alice: UserStorage, upstream: RestUpstream, _: Any) -> None:
    """A page within one web request: two lists, one of their records, and the badge."""
    with alice._engine.app.test_request_context():
        for name in ("people", "pets"):
            view(alice.collection(name).fetch())
        assert alice.collection("people").get(1) is not None
        alice.status()


def two_lists(alice: UserStorage, upstream: RestUpstream) -> None:
    """A page showed two lists."""
    upstream.records["/pets"] = [{"id": 1, "name": "Rex"}]
    for name in ("people", "pets"):
        alice.collection(name).fetch()


PATHS = [
    Path(
        "one record from its copy",
        lambda a, u, _: a.collection("people").load(1, remote=False),
        Cost(0, 1, ("get", "get")),
        loaded_alone,
    ),
    Path(
        "one record from the list's",
        lambda a, u, _: a.collection("people").load(1, remote=False),
        Cost(0, 1, ("get", "get")),
        loaded,
    ),
    Path(
        "one record, loaded",
        lambda a, u, _: a.collection("people").load(1),
        Cost(0, 2, ("get", "get", "get", "set"), 1),
    ),
    Path(
        "one record in an outage",
        lambda a, u, _: a.collection("people").load(1),
        Cost(0, 1, ("get", "get")),
        in_an_outage(loaded_alone),
    ),
    Path("a list, loaded", lambda a, u, _: a.collection("people").fetch(), Cost(0, 2, ("get", "get", "set"), 1)),
    Path(
        "a list, loaded again",
        lambda a, u, _: a.collection("people").fetch(),
        Cost(0, 2, ("get", "get", "set"), 1),
        loaded,
    ),
    Path("create in an outage", lambda a, u, people: people.create(name="Hopper"), Cost(1, 5), in_an_outage(loaded)),
    Path("update in an outage", lambda a, u, people: people.get(1).save(age=41), Cost(1, 6), in_an_outage(loaded)),
    Path("delete in an outage", lambda a, u, people: people.get(1).destroy(), Cost(1, 7), in_an_outage(loaded)),
    Path("create", lambda a, u, people: people.create(name="Hopper"), Cost(2, 16, (), 1), loaded),
    Path("update", lambda a, u, people: people.get(1).save(age=41), Cost(2, 14, (), 1), loaded),
    Path("delete", lambda a, u, people: people.get(1).destroy(), Cost(2, 15, (), 1), loaded),
    Path(
        "save that folds into a waiting one",
        lambda a, u, people: people.get(1).save(age=41),
        Cost(3, 20, (), 1),
        a_waiting_lane,
    ),
    Path(
        "save behind a frozen one", lambda a, u, people: people.get(1).save(age=41), Cost(4, 31, (), 2), a_frozen_lane
    ),
    Path("save that is withdrawn", refused, Cost(2, 14, (), 1), loaded),
    Path("flush of one", lambda a, u, _: a.sync(), Cost(2, 17, (), 1, connections=1), kept_creates(1)),
    Path("flush of eight", lambda a, u, _: a.sync(), Cost(2, 66, (), 8, connections=8), kept_creates(8)),
    Path("flush of sixteen", lambda a, u, _: a.sync(), Cost(3, 127, (), 16, connections=8), kept_creates(16)),
    Path("flush of three updates", lambda a, u, _: a.sync(), Cost(2, 24, (), 3, connections=3), kept_updates),
    Path("flush of nothing", lambda a, u, _: a.sync(), Cost(0, 2), loaded),
    Path("flush of nothing that is due", lambda a, u, _: a.sync(), Cost(0, 2), asked_to_wait),
    Path("page", show, Cost(0, 5, ("get", "get", "set", "get", "get", "set"), 2), two_lists),
    Path("page in an outage", show, Cost(0, 3, ("get", "get")), in_an_outage(two_lists)),
    Path("status", lambda a, u, _: a.status(), Cost(0, 1), kept_updates),
    Path("pending", lambda a, u, _: a.pending(), Cost(0, 1), kept_updates),
    Path("discard", lambda a, u, _: a.discard(a.pending()[0].id), Cost(1, 8), kept_updates),
    Path("adopt nothing", lambda a, u, _: a.adopt("anon:1", "alice"), Cost(1, 11)),
    Path("adopt three", lambda a, u, _: a.adopt("alice", "bob"), Cost(1, 22), kept_updates),
    Path("forget", lambda a, u, _: a.forget("alice"), Cost(1, 5), kept_updates),
    Path("forget what is pending too", lambda a, u, _: a.forget("alice", pending=True), Cost(1, 11), kept_updates),
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_the_cost_of_every_path(
    path: Path, alice: UserStorage, upstream: RestUpstream, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "COMPANY", PATIENCE)
    before = path.before(alice, upstream)
    with counts.since():
        path.act(alice, upstream, before)
    assert counts.commits == counts.transactions
    cost = Cost(counts.transactions, counts.statements, tuple(counts.cache), counts.requests, path.cost.connections)
    assert cost == path.cost, "\n".join(counts.sql)
    assert counts.connections <= path.cost.connections
