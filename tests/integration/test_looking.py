"""A create whose answer was lost, on an upstream that honours no keys: it is looked for before it goes again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flask_dualstorage import Collection, CursorPages, Dialect, DualStorage, PendingWrite
from flask_dualstorage.sync.looking import UpstreamReader
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import Behaviour, answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, User

#: The whole answer's deadline of the tests' apps, and the grace of a lease.
LEASE = 30.5


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [{"id": 1, "name": "Ada"}]}) as upstream:
        yield upstream


@pytest.fixture
def dualstorage() -> DualStorage:
    return DualStorage()


@pytest.fixture
def alice(user: User, dualstorage: DualStorage) -> UserStorage:
    alice = user(dualstorage=dualstorage)
    alice.collection("people").fetch()
    return alice


def states(alice: UserStorage) -> list[str]:
    return [write.state for write in alice.pending()]


def test_one_that_was_made_is_found_and_not_sent_again(alice: UserStorage, upstream: RestUpstream, clock: Clock):
    upstream.then(drop(), applied=True)
    person = alice.collection("people").create(name="Turing")
    clock.advance(LEASE)
    assert alice.sync().applied == 1
    assert [record["name"] for record in upstream.records["/people"]] == ["Ada", "Turing"]
    assert alice.collection("people").load(person.id)["id"] == upstream.records["/people"][1]["id"]
    assert len(upstream.writes) == 1


def test_one_that_was_not_made_goes_again_with_the_same_key_and_bytes(
    alice: UserStorage, upstream: RestUpstream, clock: Clock
):
    upstream.then(drop())
    alice.collection("people").create(name="Turing")
    clock.advance(LEASE)
    assert alice.sync().applied == 1
    first, second = (request for request in upstream.sent if request.method == "POST")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body


def test_it_is_not_looked_for_while_it_may_still_be_on_its_way(
    alice: UserStorage, upstream: RestUpstream, clock: Clock
):
    upstream.then(drop())
    alice.collection("people").create(name="Turing")
    requests = len(upstream.requests)
    assert alice.sync().in_doubt == 1
    clock.advance(LEASE - 1)
    assert alice.sync().in_doubt == 1
    assert len(upstream.requests) == requests


def test_one_like_it_that_was_there_before_is_the_owners_to_judge(user: User, upstream: RestUpstream, clock: Clock):
    upstream.records["/people"].append({"id": 2, "name": "Turing"})
    alice = user()
    alice.collection("people").fetch()
    upstream.then(drop())
    alice.collection("people").create(name="Turing")
    clock.advance(LEASE)
    report = alice.sync()
    assert (report.in_doubt, len(upstream.writes)) == (1, 1)
    assert "lists records like this one" in alice.pending()[0].reason
    clock.advance(10_000)
    assert (alice.sync().in_doubt, len(upstream.writes)) == (1, 1)


def test_its_owner_may_then_send_it_with_its_key(alice: UserStorage, upstream: RestUpstream, clock: Clock):
    upstream.records["/people"] += [{"id": 2, "name": "Turing"}, {"id": 3, "name": "Turing"}]
    upstream.then(drop())
    alice.collection("people").create(name="Turing")
    clock.advance(LEASE)
    alice.sync()
    assert alice.retry(alice.pending()[0].id).state == "applied"
    first, second = (request for request in upstream.sent if request.method == "POST")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_a_list_that_can_not_be_read_is_asked_again_later(alice: UserStorage, upstream: RestUpstream, clock: Clock):
    upstream.then(drop(), answer(500))
    alice.collection("people").create(name="Turing")
    clock.advance(LEASE)
    assert (alice.sync().in_doubt, len(upstream.writes)) == (1, 1)
    clock.advance(LEASE)
    assert (alice.sync().applied, len(upstream.writes)) == (1, 2)


@pytest.mark.parametrize(
    "page",
    [
        answer(200, [{"id": 1, "name": "Ada"}], headers={"Link": '</people?page=2>; rel="next"'}),
        answer(200, [{"id": 1, "name": "Ada"}], headers={"Link": "</people?page=2>; rel=next"}),
        answer(200, [{"id": 1, "name": "Ada"}], headers={"Next-Page": "/people?page=2"}),
        answer(200, {"results": [{"id": 1, "name": "Ada"}], "next": "/people?page=2"}),
    ],
)
def test_a_list_of_several_pages_is_too_long_to_tell(
    user: User, upstream: RestUpstream, clock: Clock, dualstorage: DualStorage, page: Behaviour
):
    """However the upstream says that there are more."""

    @dualstorage.register
    class People(Collection):
        parse = staticmethod(lambda response: response["results"] if isinstance(response, dict) else response)

    alice = user(dualstorage=dualstorage)
    alice.collection("people").fetch()
    upstream.then(drop(), page)
    alice.collection("people").create(name="Turing")
    clock.advance(LEASE)
    assert (alice.sync().in_doubt, len(upstream.writes)) == (1, 1)
    assert alice.pending()[0].not_before is None


def test_a_list_whose_pages_are_declared_says_itself_that_there_are_more(
    user: User, upstream: RestUpstream, clock: Clock, dualstorage: DualStorage
):
    @dualstorage.register
    class People(Collection):
        dialect = Dialect(list_at="rows", pages=CursorPages("after", "cursor"))

    upstream.then(answer(200, {"rows": [], "cursor": None}))
    alice = user(dualstorage=dualstorage)
    alice.collection("people").fetch()
    upstream.then(drop(), answer(200, {"rows": [{"id": 1, "name": "Ada"}], "cursor": "x"}))
    alice.collection("people").create(name="Turing")
    clock.advance(LEASE)
    assert (alice.sync().in_doubt, len(upstream.writes)) == (1, 1)


def test_a_process_that_died_while_it_sent_leaves_one_to_look_for(
    user: User, upstream: RestUpstream, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    alice = user()
    alice.collection("people").fetch()

    def die(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flask_dualstorage.sync.writing.send", die)
        with pytest.raises(KeyboardInterrupt):
            alice.collection("people").create(name="Turing")
    assert states(alice) == ["sending"]
    assert alice.sync().applied == 0
    clock.advance(LEASE)
    assert (alice.sync().applied, len(upstream.writes)) == (1, 1)


class TestReconcile:
    """The app knows better how to find it."""

    def test_the_hook_gives_the_record_that_was_made(
        self, alice: UserStorage, dualstorage: DualStorage, upstream: RestUpstream, clock: Clock
    ):
        asked: list[PendingWrite] = []

        @dualstorage.reconcile
        def find(write: PendingWrite, reader: UpstreamReader) -> object:
            asked.append(write)
            found = reader.get("/people", {"name": str(write.attributes["name"])}).json()
            return next((record for record in found if record["name"] == write.attributes["name"]), None)

        upstream.then(drop(), applied=True)
        person = alice.collection("people").create(name="Turing")
        clock.advance(LEASE)
        assert (alice.sync().applied, len(upstream.writes)) == (1, 1)
        assert [write.record_id for write in asked] == [person.id]

    def test_none_says_that_it_made_nothing(
        self, alice: UserStorage, dualstorage: DualStorage, upstream: RestUpstream, clock: Clock
    ):
        dualstorage.reconcile(lambda write, reader: None)
        upstream.then(drop())
        alice.collection("people").create(name="Turing")
        clock.advance(LEASE)
        assert (alice.sync().applied, len(upstream.writes)) == (1, 2)

    def test_where_it_fails_the_write_stays_in_doubt(
        self, alice: UserStorage, dualstorage: DualStorage, upstream: RestUpstream, clock: Clock
    ):
        dualstorage.reconcile(lambda write, reader: {}["nothing"])
        upstream.then(drop())
        alice.collection("people").create(name="Turing")
        clock.advance(LEASE)
        assert (alice.sync().in_doubt, len(upstream.writes)) == (1, 1)


@pytest.mark.parametrize(("policy", "sent"), [("resend", 2), ("hold", 1)])
def test_other_policies_do_not_look(user: User, upstream: RestUpstream, clock: Clock, policy: str, sent: int):
    alice = user(DUALSTORAGE_IN_DOUBT=policy)
    upstream.then(drop())
    alice.collection("people").create(name="Turing")
    clock.advance(LEASE)
    alice.sync()
    assert (len(upstream.writes), [method for method, _ in upstream.requests]) == (sent, ["POST"] * sent)
