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

from flask_dualstorage.collection import Collection
from flask_dualstorage.storage.database import Database
from flask_dualstorage.sync import flush
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
        monkeypatch.setattr(flush, "COMPANY", PATIENCE)

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
