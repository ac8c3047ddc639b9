"""Two people edit one record: what becomes of either edit, by the collection's policy. Over real sockets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from flask_dualstorage import ByKey, Collection, Conflict, DualStorage, Model, Rejected, UpstreamError, signals
from flask_dualstorage.policy.conflicts import MOST_MERGES
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import Received, answer, drop, html
from tests.upstreams.rest import RestUpstream
from tests.whole import User

ADA = {"id": 1, "name": "Ada", "age": 36, "address": {"city": "London", "zip": "N1"}}

#: Give alice's storage in front of ``upstream``, where conflicts of people are decided by the policy.
Declare = Callable[..., UserStorage]


class People(RestUpstream):
    """Where somebody may do something while a request is on its way: ``before`` is called with each, first."""

    def __init__(self, **given: Any) -> None:
        super().__init__({"/people": [deepcopy(ADA)]}, **given)
        self.before: Callable[[Received], Any] = lambda _: None

    def _handle(self, received: Received) -> Any:
        self.before(received)
        return super()._handle(received)


@pytest.fixture(params=["versions", "no versions"])
def has_versions(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "versions")


@pytest.fixture
def upstream(has_versions: bool) -> Iterator[People]:
    """One person; with ETags, or without, where the record is read before it is written."""
    with People(etags=has_versions) as upstream:
        yield upstream


@pytest.fixture
def declare(user: User, has_versions: bool) -> Declare:
    def give(conflict: Any = None, name: str = "alice", hook: Any = None, **config: Any) -> UserStorage:
        dualstorage = DualStorage()
        declared = {"conflict": conflict, "read_before_write": not has_versions}
        dualstorage.register(type("People", (Collection,), declared))
        if hook is not None:
            dualstorage.on_conflict(hook)
        return user(name, dualstorage, **config)

    return give


def load(storage: UserStorage) -> Model:
    found = storage.collection("people").load(1)
    assert found is not None
    return found


def held(upstream: People) -> Any:
    return upstream.find("/people", 1)


def edited(*, age: int) -> Any:
    return {**ADA, "age": age}


def kept(storage: UserStorage) -> list[str]:
    return [write.state for write in storage.pending()]


class TestMerge:
    """The default: what only one side changed is combined, and sent again."""

    def test_another_field_each_is_combined_within_the_call(self, declare: Declare, upstream: People):
        alice = declare()
        ada = load(alice)
        upstream.edit("/people", 1, name="Lovelace")
        result = ada.save(age=41)
        assert (result.state, result.dirty, alice.pending()) == ("applied", False, [])
        assert held(upstream) == {**ADA, "name": "Lovelace", "age": 41}
        assert dict(ada) == held(upstream)

    def test_so_is_a_nested_field_each(self, declare: Declare, upstream: People):
        ada = load(declare())
        upstream.edit("/people", 1, address={"city": "London", "zip": "N2"})
        ada.save(address={"city": "Paris", "zip": "N1"})
        assert held(upstream)["address"] == {"city": "Paris", "zip": "N2"}

    def test_what_goes_again_is_another_request(self, declare: Declare, upstream: People, has_versions: bool):
        ada = load(declare())
        upstream.edit("/people", 1, name="Lovelace")
        ada.save(age=41)
        if has_versions:
            first, second = upstream.sent
            assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]
            assert (first.headers["If-Match"] != second.headers["If-Match"], first.body != second.body) == (True, True)
        else:
            assert [one.json()["name"] for one in upstream.sent] == ["Lovelace"]

    def test_a_flush_does_it_too(self, declare: Declare, upstream: People):
        alice = declare()
        load(alice).save(age=41, remote=False)
        upstream.edit("/people", 1, name="Lovelace")
        report = alice.sync()
        assert (report.applied, report.conflict, report.remaining) == (1, 0, 0)
        assert held(upstream) == {**ADA, "name": "Lovelace", "age": 41}

    def test_the_same_edit_on_both_sides_is_none(self, declare: Declare, upstream: People):
        ada = load(declare())
        upstream.edit("/people", 1, age=41, name="Lovelace")
        assert ada.save(age=41).state == "applied"
        assert held(upstream) == {**ADA, "name": "Lovelace", "age": 41}

    def test_so_is_the_same_edit_within_an_object(self, declare: Declare, upstream: People):
        ada = load(declare())
        upstream.edit("/people", 1, address={"city": "Paris", "zip": "N2"})
        assert ada.save(address={"city": "Paris", "zip": "N1"}).state == "applied"
        assert held(upstream)["address"] == {"city": "Paris", "zip": "N2"}

    def test_the_same_field_on_both_sides_is_the_owners(self, declare: Declare, upstream: People):
        alice = declare()
        ada = load(alice)
        upstream.edit("/people", 1, age=40, name="Lovelace")
        told: list[Any] = []
        with signals.conflict_found.connected_to(lambda app, *, owner, write: told.append(write.id)):
            result = ada.save(age=41)
        [write] = alice.pending()
        assert (result.state, write.base["age"], write.attributes["age"], write.theirs["age"]) == (
            "conflict",
            36,
            41,
            40,
        )
        assert ("age" in write.reason, "name" in write.reason) == (True, False)
        assert (held(upstream)["age"], told) == (40, [write.id])

    def test_a_busy_record_is_its_owners_after_a_while(self, declare: Declare, upstream: People):
        """It changes each time just before we send: combining goes on for so long, and not for ever."""
        alice = declare()
        ada = load(alice)
        numbers = itertools.count(1)

        upstream.before = lambda received: upstream.edit("/people", 1, name=f"Name {next(numbers)}")
        first = ada.save(age=41)
        assert (first.state, first.dirty) == ("queued", True)
        for _ in range(MOST_MERGES):
            alice.sync()
        assert (kept(alice), held(upstream)["age"]) == (["conflict"], 36)
        assert str(MOST_MERGES) in alice.pending()[0].reason
        assert len(upstream.received) <= 1 + 2 * (MOST_MERGES + 1)

    def test_an_edit_made_meanwhile_goes_along(self, declare: Declare, upstream: People):
        alice = declare()
        ada = load(alice)
        upstream.edit("/people", 1, name="Lovelace")
        other = declare()
        tab = other.collection("people").load(1, remote=False)
        upstream.before = lambda received: tab.save(address={"city": "Rome"}, remote=False)
        ada.save(age=41)
        upstream.before = lambda _: None
        alice.sync()
        assert held(upstream) == {**ADA, "name": "Lovelace", "age": 41, "address": {"city": "Rome"}}

    def test_a_lost_answer_to_the_combined_request_is_recognised(self, declare: Declare, upstream: People):
        alice = declare()
        load(alice).save(age=41, remote=False)
        upstream.edit("/people", 1, name="Lovelace")
        upstream.then(*[None] * 2, drop(), applied=True)
        alice.sync()
        alice.sync()
        assert (alice.pending(), held(upstream)["age"]) == ([], 41)


class TestPolicies:
    """``conflict`` of a collection, ``@on_conflict`` and ``DUALSTORAGE_CONFLICT`` of the app."""

    def test_client_is_mine_where_both_changed_it(self, declare: Declare, upstream: People):
        ada = load(declare("client"))
        upstream.edit("/people", 1, age=40, name="Lovelace")
        assert ada.save(age=41).state == "applied"
        assert held(upstream) == {**ADA, "name": "Lovelace", "age": 41}

    def test_server_is_theirs_where_both_changed_it(self, declare: Declare, upstream: People):
        """Given up, not forgotten: it is in the history, the app is told, and the page shows theirs."""
        alice = declare("server")
        ada = load(alice)
        upstream.edit("/people", 1, age=40)
        told: list[Any] = []
        with signals.conflict_found.connected_to(lambda app, *, owner, write: told.append(write.state)):
            result = ada.save(age=41)
        assert (result.state, result.dirty, alice.pending(), told) == ("discarded", False, [], ["discarded"])
        [write] = alice.history()
        assert (write.state, write.attributes["age"], write.theirs["age"]) == ("discarded", 41, 40)
        assert (held(upstream)["age"], ada["age"], ada.dirty) == (40, 40, False)

    def test_what_server_gives_up_of_a_larger_edit_is_in_the_history(self, declare: Declare, upstream: People):
        alice = declare("server")
        ada = load(alice)
        upstream.edit("/people", 1, age=40)
        told: list[Any] = []
        with signals.conflict_found.connected_to(lambda app, *, owner, write: told.append(write.state)):
            assert ada.save(age=41, name="Lovelace").state == "applied"
        assert held(upstream) == {**ADA, "age": 40, "name": "Lovelace"}
        assert alice.history()[0].problem["given_up"] == [{"path": ["age"], "base": 36, "mine": 41, "theirs": 40}]
        assert told == ["queued"]

    def test_an_edit_behind_one_that_was_given_up_goes_on_from_theirs(self, declare: Declare, upstream: People):
        alice = declare("server")
        ada = load(alice)
        tab = declare("server").collection("people").load(1, remote=False)
        upstream.edit("/people", 1, age=40)
        upstream.before = lambda received: tab.save(name="Lovelace", remote=False)
        ada.save(age=41)
        upstream.before = lambda _: None
        alice.sync()
        assert (held(upstream), alice.pending()) == ({**ADA, "age": 40, "name": "Lovelace"}, [])

    def test_manual_combines_nothing(self, declare: Declare, upstream: People):
        alice = declare("manual")
        ada = load(alice)
        upstream.edit("/people", 1, name="Lovelace")
        assert ada.save(age=41).state == "conflict"
        assert held(upstream)["age"] == 36

    def test_each_field_may_have_its_own(self, declare: Declare, upstream: People):
        ada = load(declare({"*": "client", "age": "server"}))
        upstream.edit("/people", 1, name="Lovelace", age=40)
        ada.save(name="Byron", age=41)
        assert held(upstream) == {**ADA, "name": "Byron", "age": 40}

    def test_elements_of_a_list_may_have_a_key(self, declare: Declare, upstream: People):
        upstream.edit("/people", 1, phones=[{"id": 1, "no": "1"}, {"id": 2, "no": "2"}])
        ada = load(declare({"phones": ByKey("id")}))
        upstream.edit("/people", 1, phones=[{"id": 1, "no": "1"}, {"id": 2, "no": "22"}])
        ada.save(phones=[{"id": 1, "no": "11"}, {"id": 2, "no": "2"}])
        assert held(upstream)["phones"] == [{"id": 1, "no": "11"}, {"id": 2, "no": "22"}]

    @pytest.mark.parametrize("where", ["collection", "method", "hook", "config"])
    def test_a_callable_decides(self, declare: Declare, upstream: People, where: str):
        asked: list[Any] = []

        def larger(base: Any, mine: Any, theirs: Any) -> Any:
            asked.append((base["age"], mine["age"], theirs["age"]))
            return {**theirs, "age": max(mine["age"], theirs["age"])}

        def as_method(self: Collection, base: Any, mine: Any, theirs: Any) -> Any:
            return larger(base, mine, theirs)

        how: dict[str, dict[str, Any]] = {
            "collection": {"conflict": larger},
            "method": {"conflict": as_method},
            "hook": {"hook": larger, "DUALSTORAGE_CONFLICT": "manual"},
            "config": {"DUALSTORAGE_CONFLICT": larger},
        }
        ada = load(declare(**how[where]))
        upstream.edit("/people", 1, name="Lovelace", age=42)
        assert ada.save(age=41, address=None).state in ("applied", "discarded")
        assert (asked, held(upstream)) == ([(36, 41, 42)], {**ADA, "name": "Lovelace", "age": 42})

    def test_a_collection_comes_before_the_hook(self, declare: Declare, upstream: People):
        ada = load(declare("client", hook=lambda *_: Conflict))
        upstream.edit("/people", 1, age=40)
        assert ada.save(age=41).state == "applied"

    @pytest.mark.parametrize(
        ("decided", "says"),
        [
            pytest.param(lambda *_: Conflict, "", id="the class"),
            pytest.param(lambda *_: Conflict("Ask Grace."), "Ask Grace.", id="with a reason"),
            pytest.param(lambda *_: 1 / 0, "ZeroDivisionError", id="it fails"),
            pytest.param(lambda *_: None, "gives a record, or Conflict", id="None, which would be a delete"),
            pytest.param(lambda *_: 3, "a mapping of fields", id="no record"),
            pytest.param(lambda *_: {"id": 2}, "another id", id="another record"),
        ],
    )
    def test_what_a_callable_does_not_decide_is_the_owners(
        self, declare: Declare, upstream: People, decided: Any, says: str
    ):
        alice = declare(hook=decided)
        ada = load(alice)
        upstream.edit("/people", 1, name="Lovelace")
        assert ada.save(age=41).state == "conflict"
        assert says in alice.pending()[0].reason

    def test_in_a_remote_collection_a_conflict_is_raised(self, user: User, upstream: People):
        """Nothing waits there that could be combined and sent again."""
        dualstorage = DualStorage()
        dualstorage.register(type("People", (Collection,), {"remote": True, "read_before_write": True}))
        ada = load(user("alice", dualstorage))
        upstream.edit("/people", 1, name="Lovelace")
        with pytest.raises(UpstreamError):
            ada.save(age=41)
        assert held(upstream)["age"] == 36


class TestDeletes:
    """Deleted on one side, edited on the other."""

    @pytest.mark.parametrize(
        ("policy", "state"), [("merge", "conflict"), ("client", "applied"), ("server", "discarded")]
    )
    def test_deleted_here_edited_there(self, declare: Declare, upstream: People, policy: str, state: str):
        alice = declare(policy)
        ada = load(alice)
        upstream.edit("/people", 1, age=40)
        assert ada.destroy().state == state
        assert (held(upstream) is None) == (policy == "client")
        assert kept(alice) == (["conflict"] if policy == "merge" else [])
        if policy == "merge":
            assert alice.pending()[0].theirs["age"] == 40

    @pytest.mark.parametrize(
        ("policy", "state"), [("merge", "conflict"), ("client", "conflict"), ("server", "discarded")]
    )
    def test_edited_here_deleted_there(self, declare: Declare, upstream: People, policy: str, state: str):
        """``client`` makes it anew only if the owner says so: a 404 may have other reasons."""
        alice = declare(policy)
        ada = load(alice)
        upstream.remove("/people", 1)
        assert ada.save(age=41).state == state
        assert upstream.records["/people"] == []
        assert kept(alice) == (["conflict"] if state == "conflict" else [])

    def test_a_callable_may_make_it_anew(self, declare: Declare, upstream: People):
        alice = declare(lambda base, mine, theirs: mine if theirs is None else Conflict)
        ada = load(alice)
        upstream.remove("/people", 1)
        assert ada.save(age=41).state == "applied"
        assert (held(upstream), upstream.sent[-1].method) == (edited(age=41), "POST")

    def test_a_callable_may_let_it_go(self, declare: Declare, upstream: People):
        alice = declare(lambda base, mine, theirs: None)
        ada = load(alice)
        upstream.remove("/people", 1)
        assert (ada.save(age=41).state, alice.pending()) == ("discarded", [])

    def test_a_callable_may_delete_it_all_the_same(self, declare: Declare, upstream: People):
        ada = load(declare(lambda base, mine, theirs: mine))
        upstream.edit("/people", 1, age=40)
        assert (ada.destroy().state, held(upstream)) == ("applied", None)

    @pytest.mark.parametrize("policy", ["merge", "server"])
    def test_deleted_on_both_sides_is_deleted(self, declare: Declare, upstream: People, policy: str):
        alice = declare(policy)
        ada = load(alice)
        upstream.remove("/people", 1)
        assert (ada.destroy().state, alice.pending()) == ("applied", [])

    def test_a_create_under_a_taken_id_is_never_combined(self, declare: Declare, upstream: People):
        alice = declare()
        person = alice.collection("people").create(id=1, phone="123")
        assert (person.pending_write.state, "phone" in held(upstream)) == ("conflict", False)

    @pytest.mark.parametrize(("policy", "name"), [("client", "Turing"), ("server", "Ada")])
    def test_unless_the_policy_names_a_side(self, declare: Declare, upstream: People, policy: str, name: str):
        alice = declare(policy)
        alice.collection("people").create(id=1, name="Turing")
        assert (held(upstream), alice.pending()) == ({**ADA, "name": name}, [])


class TestAnswers:
    """What an upstream says that is no change of the record."""

    @pytest.mark.parametrize("policy", ["merge", "client"])
    @pytest.mark.parametrize("status", [409, 412])
    def test_a_refusal_of_what_did_not_change_is_not_sent_again(
        self, declare: Declare, upstream: People, status: int, policy: str, has_versions: bool
    ):
        """A 409 may be about a name that is taken: sent again, it would be refused again."""
        alice = declare(policy)
        ada = load(alice)
        before = len(upstream.received)
        if not has_versions:
            upstream.then(None, applied=True)
        upstream.then(answer(status))
        assert (ada.save(age=41).state, held(upstream)["age"]) == ("conflict", 36)
        assert len(upstream.sent) == 1
        assert len(upstream.received) - before == (2 if has_versions else 3)

    def test_a_428_is_sent_again_with_the_version(self, declare: Declare, upstream: People, has_versions: bool):
        """A list tells no versions of its records: the refusal is what makes us read one."""
        if not has_versions:
            return
        ada = declare().collection("people").fetch().get(1)
        upstream.then(answer(428))
        assert (ada.save(age=41).state, "If-Match" in upstream.sent[-1].headers) == ("applied", True)


class TestReadBeforeWrite:
    """``read_before_write``: one request more, where the upstream compares nothing."""

    @pytest.fixture
    def has_versions(self) -> bool:
        return False

    def test_the_record_is_read_and_then_written(self, declare: Declare, upstream: People):
        ada = load(declare())
        ada.save(age=41)
        assert upstream.requests == [("GET", "/people/1"), ("GET", "/people/1"), ("PUT", "/people/1")]

    def test_its_lease_lasts_for_both_requests(self, declare: Declare, upstream: People):
        """So that no other worker takes it over while the first one is still at it."""
        alice = declare(DUALSTORAGE_TIMEOUT=(5.0, 20.0))
        ada = load(alice)
        leases: list[float] = []
        upstream.before = lambda received: leases.extend(
            write.lease - alice._engine.clock() for write in alice._engine.outbox.pending("user:alice")
        )
        ada.save(age=41)
        assert leases == [50.0, 50.0]

    def test_a_create_is_not(self, declare: Declare, upstream: People):
        declare().collection("people").create(name="Turing")
        assert upstream.requests == [("POST", "/people")]

    def test_a_known_version_is_compared_by_the_upstream_instead(self, declare: Declare, upstream: People):
        upstream._etags = True
        ada = load(declare())
        ada.save(age=41)
        assert upstream.requests == [("GET", "/people/1"), ("PUT", "/people/1")]

    def test_a_version_that_comes_with_the_reading_goes_out(self, declare: Declare, upstream: People):
        ada = load(declare())
        upstream._etags = True
        ada.save(age=41)
        assert upstream.sent[0].headers["If-Match"]

    @pytest.mark.parametrize(
        "bad", [answer(500), answer(403), html(), drop(), answer(503), answer(429), answer(200, [])]
    )
    @pytest.mark.parametrize("kind", ["update", "delete"])
    def test_nothing_is_sent_where_it_can_not_be_read(self, declare: Declare, upstream: People, bad: Any, kind: str):
        alice = declare()
        ada = load(alice)
        upstream.then(bad)
        result = ada.save(age=41) if kind == "update" else ada.destroy()
        assert (result.state, upstream.sent) == ("queued", [])
        alice._engine.clock.advance(3600)
        assert (alice.sync().remaining, len(upstream.sent)) == (0, 1)

    def test_a_refused_credential_is_heard(self, declare: Declare, upstream: People):
        alice = declare()
        ada = load(alice)
        upstream.then(answer(401))
        with pytest.raises(Rejected):
            ada.save(age=41)
        assert upstream.sent == []

    def test_manual_overlooks_what_the_list_does_not_show(self, declare: Declare, upstream: People):
        alice = declare("manual")
        upstream.then(answer(200, [{"id": 1, "name": "Ada"}]))
        ada = alice.collection("people").fetch().get(1)
        assert ada.save(name="Lovelace", patch=True).state == "applied"


ORDERS = [
    order
    for order in itertools.permutations(["alice saves", "alice syncs", "bob saves", "bob syncs"])
    if order.index("alice saves") < order.index("alice syncs") and order.index("bob saves") < order.index("bob syncs")
]


class TestTwoPeople:
    """Whoever saves first, online or not: nothing that either typed is lost without their decision."""

    @pytest.mark.parametrize(
        "offline", [(), ("alice",), ("bob",), ("alice", "bob")], ids=lambda who: "+".join(who) or "online"
    )
    @pytest.mark.parametrize("order", ORDERS, ids=lambda order: ", ".join(order))
    @pytest.mark.parametrize("fields", ["other fields", "the same field"])
    def test_edit_one_record(
        self, declare: Declare, upstream: People, offline: tuple[str, ...], order: tuple[str, ...], fields: str
    ):
        storages = {name: declare(name=name) for name in ("alice", "bob")}
        models = {name: load(storage) for name, storage in storages.items()}
        typed = {"alice": {"age": 41}, "bob": {"name": "Lovelace"} if fields == "other fields" else {"age": 42}}
        for step in order:
            name, does = step.split()
            if does == "saves":
                models[name].save(typed[name], remote=name not in offline)
            else:
                storages[name].sync()
        open_ones = [write for storage in storages.values() for write in storage.pending()]
        if fields == "other fields":
            assert (open_ones, held(upstream)) == ([], {**ADA, **typed["alice"], **typed["bob"]})
            return
        [conflict] = open_ones
        assert conflict.state == "conflict"
        assert {conflict.attributes["age"], held(upstream)["age"]} == {41, 42}
        assert conflict.theirs["age"] == held(upstream)["age"]
