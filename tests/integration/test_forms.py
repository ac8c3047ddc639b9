"""A form that is sent twice is one write, whatever became of the first one meanwhile (DESIGN §8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_dualstorage import Collection, DualStorage, Rejected, UpstreamError, UpstreamUnreachable
from flask_dualstorage.sync import settling
from flask_dualstorage.tokens import make_nonce
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, storage_of

MakeNonce = Callable[[], str]


class Drafts(Collection):
    """Never sent."""

    name = "drafts"
    local = True


class Direct(Collection):
    """Upstream only."""

    name = "direct"
    url = "/people"
    remote = True


@pytest.fixture
def open_storage(make_app: MakeApp, upstream: RestUpstream) -> Callable[..., Any]:
    def open_(*more: type[Collection], **config: Any) -> Any:
        dualstorage = DualStorage()
        for each in (Drafts, Direct, *more):
            dualstorage.register(each)
        return storage_of(make_app(dualstorage, url=upstream.url, **config))

    return open_


@pytest.fixture
def storage(open_storage: Callable[..., Any]) -> Any:
    return open_storage()


@pytest.fixture
def alice(storage: Any) -> UserStorage:
    return storage.for_user("alice")


@pytest.fixture
def nonce(storage: Any, clock: Clock) -> str:
    return make_nonce(storage._app, clock)


def names(upstream: RestUpstream) -> list[str]:
    return [row["name"] for row in upstream.records["/people"]]


def keys_of(upstream: RestUpstream) -> list[str | None]:
    return [sent.headers.get("Idempotency-Key") for sent in upstream.sent]


#: So many settles of an owner, and its history is pruned; fewer than by default.
PRUNE_EVERY = 16


class TestRemembered:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(settling, "PRUNE_EVERY", PRUNE_EVERY)

    def test_as_long_as_the_form_is_taken(self, open_storage: Any, upstream: RestUpstream, clock: Clock):
        """History that is pruned sooner keeps what forms made, which is not made again."""
        storage = open_storage(DUALSTORAGE_KEEP_APPLIED=60, DUALSTORAGE_CACHE_TIMEOUT=60)
        alice, nonce = storage.for_user("alice"), make_nonce(storage._app, clock)
        alice.collection("people").create(name="Turing", nonce=nonce)
        clock.advance(3600)
        for age in range(PRUNE_EVERY):
            alice.collection("people").load(1).save(age=age + 100)
        assert len(alice.history()) == PRUNE_EVERY + 1
        assert alice.collection("people").create(name="Turing", nonce=nonce).id == 101
        assert names(upstream).count("Turing") == 1

    def test_and_no_longer(self, open_storage: Any, clock: Clock):
        storage = open_storage(DUALSTORAGE_KEEP_APPLIED=60, DUALSTORAGE_CACHE_TIMEOUT=60)
        alice, nonce = storage.for_user("alice"), make_nonce(storage._app, clock)
        alice.collection("people").create(name="Turing", nonce=nonce)
        clock.advance(14 * 3600)
        for age in range(PRUNE_EVERY):
            alice.collection("people").load(1).save(age=age + 100)
        assert "create" not in [write.kind for write in alice.history()]


class TestThatCameToNothing:
    def test_it_does_not_undo_a_later_edit(self, alice: UserStorage, nonce: str):
        """It took an unsent edit back; the owner has edited the field again since."""
        people = alice.collection("people").fetch()
        people.get(1).save(age=41, remote=False)
        assert people.get(1).save(age=36, remote=False, nonce=nonce).state is None
        people.get(1).save(age=50, remote=False)
        assert people.get(1).save(age=36, remote=False, nonce=nonce).state is None
        assert people.get(1)["age"] == 50

    def test_nor_does_one_whose_edit_was_taken_back(self, alice: UserStorage, nonce: str):
        people = alice.collection("people").fetch()
        people.get(1).save(age=41, remote=False, nonce=nonce)
        people.get(1).save(age=36, remote=False)
        assert people.get(1).save(age=41, remote=False, nonce=nonce).state is None
        assert (people.get(1)["age"], alice.pending()) == (36, [])

    def test_what_a_tail_had_left_to_say_was_said_by_its_head(
        self, alice: UserStorage, upstream: RestUpstream, nonce: str, clock: Clock
    ):
        """The head's answer holds it already: the form is that write's now, and not made anew."""
        people = alice.collection("people").fetch()
        upstream.then(drop())
        people.get(1).save(name="Augusta")
        people.get(1).save(age=41, remote=False, nonce=nonce)
        upstream.then(answer(200, {"id": 1, "name": "Augusta", "age": 41}))
        clock.advance(600)
        alice.sync()
        assert alice.pending() == []
        alice.collection("people").load(1).save(age=50)
        assert alice.collection("people").load(1).save(age=41, nonce=nonce).state == "applied"
        assert upstream.find("/people", 1)["age"] == 50  # type: ignore[index]

    def test_nor_does_one_whose_conflict_the_upstream_won(
        self, open_storage: Callable[..., Any], upstream: RestUpstream, clock: Clock, nonce: str
    ):
        """The collection's policy gave it up for what somebody else saved; clicked twice, that stands."""

        class Theirs(Collection):
            name = "theirs"
            url = "/people"
            conflict = "server"

        storage = open_storage(Theirs)
        alice = storage.for_user("alice")
        ada = alice.collection("theirs").load(1)
        upstream.records["/people"][0]["age"] = 38
        upstream.then(answer(412))
        ada.save(age=41, nonce=nonce)
        alice.collection("theirs").fetch().get(1).save(age=41, nonce=nonce)
        assert upstream.find("/people", 1)["age"] == 38  # type: ignore[index]


class TestThatJoinedInAnAdoption:
    def test_is_known_in_the_account(self, storage: Any, upstream: RestUpstream, nonce: str):
        guest, alice = storage.for_user("guest"), storage.for_user("alice")
        alice.collection("people").fetch().get(1).save(name="Augusta", remote=False)
        guest.collection("people").fetch().get(1).save(age=41, remote=False, nonce=nonce)
        alice.adopt("guest", "alice")
        alice.collection("people").get(1).save(age=60)
        alice.collection("people").fetch().get(1).save(age=41, nonce=nonce)
        assert upstream.find("/people", 1)["age"] == 60  # type: ignore[index]

    def test_so_is_one_of_a_local_record(self, storage: Any, nonce: str):
        guest, alice = storage.for_user("guest"), storage.for_user("alice")
        alice.collection("drafts").create(id="1", text="hers")
        guest.collection("drafts").create(id="1", text="mine", nonce=nonce)
        alice.adopt("guest", "alice")
        alice.collection("drafts").get("1").save(text="later")
        alice.collection("drafts").create(id="1", text="mine", nonce=nonce)
        assert alice.collection("drafts").pluck("text") == ["later"]


class TestGivenUpSince:
    """Discarded on the pending page, and then the browser sends the form again: its owner wants it after all."""

    def test_it_is_made_anew(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        ada = alice.collection("people").fetch().get(1)
        alice.discard(ada.save(age=41, remote=False, nonce=nonce).write_id)
        for _ in range(2):
            result = alice.collection("people").fetch().get(1).save(age=41, nonce=nonce)
            assert (result.dirty, result.state) == (False, "applied")
        assert [body["age"] for _, _, body in upstream.writes] == [41]

    def test_so_is_a_record_that_was_deleted_before_it_was_sent(
        self, alice: UserStorage, upstream: RestUpstream, nonce: str
    ):
        alice.collection("people").create(name="Turing", remote=False, nonce=nonce).destroy()
        for _ in range(2):
            alice.collection("people").create(name="Turing", nonce=nonce)
        assert names(upstream).count("Turing") == 1

    def test_of_two_forms_in_one_write_each_is_made_anew(self, alice: UserStorage, storage: Any, clock: Clock):
        people = alice.collection("people").fetch()
        one, other = make_nonce(storage._app, clock), make_nonce(storage._app, clock)
        people.get(1).save(age=41, remote=False, nonce=one)
        alice.discard(people.get(1).save(name="Augusta", remote=False, nonce=other).write_id)
        people.get(1).save(age=41, remote=False, nonce=one)
        people.get(1).save(name="Augusta", remote=False, nonce=other)
        assert people.get(1).items() >= {"name": "Augusta", "age": 41}.items()

    def test_with_the_same_key_where_it_may_be_upstream_already(self, open_storage: Any, clock: Clock):
        """Discarded in doubt: the first send may have arrived, and the upstream can tell."""
        with RestUpstream({"/people": []}, keys=True) as upstream:
            storage = open_storage(DUALSTORAGE_UPSTREAM_URL=upstream.url, DUALSTORAGE_HONOURS_KEYS=True)
            alice, nonce = storage.for_user("alice"), make_nonce(storage._app, clock)
            upstream.then(drop(), applied=True)
            alice.discard(alice.collection("people").create(name="Turing", nonce=nonce).pending_write.id)  # type: ignore[union-attr]
            alice.collection("people").create(name="Turing", nonce=nonce)
            assert names(upstream) == ["Turing"]
            assert len(set(keys_of(upstream))) == 1


class TestOfALocalCollection:
    def test_sent_twice_it_is_one_record(self, alice: UserStorage, nonce: str):
        drafts = alice.collection("drafts")
        one, two = (drafts.create(text="one", nonce=nonce) for _ in range(2))
        assert (len(drafts), one.id) == (1, two.id)

    def test_an_edit_sent_again_does_not_undo_a_later_one(self, alice: UserStorage, nonce: str):
        drafts = alice.collection("drafts")
        draft = drafts.create(text="one")
        drafts.get(draft.id).save(text="two", nonce=nonce)
        drafts.get(draft.id).save(text="three")
        drafts.get(draft.id).save(text="two", nonce=nonce)
        assert drafts.pluck("text") == ["three"]

    def test_a_delete_sent_again_deletes_nothing_that_was_made_since(self, alice: UserStorage, nonce: str):
        drafts = alice.collection("drafts")
        first = drafts.create(id="1", text="one")
        first.destroy(nonce=nonce)
        drafts.create(id="1", text="two")
        first.destroy(nonce=nonce)
        assert drafts.pluck("text") == ["two"]

    def test_deleted_since_it_is_made_anew(self, alice: UserStorage, nonce: str):
        drafts = alice.collection("drafts")
        drafts.create(text="one", nonce=nonce).destroy()
        for _ in range(2):
            drafts.create(text="one", nonce=nonce)
        assert drafts.pluck("text") == ["one"]


class TestOfAnUpstreamOnlyCollection:
    def test_sent_twice_it_is_sent_once(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        for _ in range(2):
            alice.collection("direct").create(name="Turing", nonce=nonce)
        assert names(upstream).count("Turing") == 1
        assert alice.pending() == []

    def test_a_second_click_while_the_first_is_on_its_way_is_in_doubt(
        self, alice: UserStorage, upstream: RestUpstream, nonce: str
    ):
        seen: list[bool] = []
        handle = upstream._handler

        def handler(received: Any) -> Any:
            upstream._handler = handle
            with pytest.raises(UpstreamError) as error:
                alice.collection("direct").create(name="Turing", nonce=nonce)
            seen.append(error.value.in_doubt)
            return handle(received)

        upstream._handler = handler
        alice.collection("direct").create(name="Turing", nonce=nonce)
        assert (seen, names(upstream).count("Turing")) == ([True], 1)

    def test_a_create_that_may_have_arrived_is_not_sent_blindly(
        self, alice: UserStorage, upstream: RestUpstream, nonce: str
    ):
        upstream.then(drop(), applied=True)
        for _ in range(2):
            with pytest.raises(UpstreamError) as error:
                alice.collection("direct").create(name="Turing", nonce=nonce)
            assert error.value.in_doubt
        assert names(upstream).count("Turing") == 1

    def test_an_update_goes_again_with_the_same_key(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        """It does no harm twice, and may not have arrived."""
        ada = alice.collection("direct").load(1)
        upstream.then(drop())
        with pytest.raises(UpstreamError):
            ada.save(age=41, nonce=nonce)
        alice.collection("direct").load(1).save(age=41, nonce=nonce)
        assert upstream.find("/people", 1)["age"] == 41  # type: ignore[index]
        assert len(set(keys_of(upstream))) == 1

    @pytest.mark.parametrize("how", ["refused", "unplugged"])
    def test_what_can_not_have_arrived_may_be_sent_again(
        self, alice: UserStorage, upstream: RestUpstream, nonce: str, how: str
    ):
        people = alice.collection("direct")
        if how == "refused":
            upstream.then(answer(422))
        else:
            upstream.unplug()
        with pytest.raises((Rejected, UpstreamUnreachable)):
            people.create(name="Turing", nonce=nonce)
        if how == "unplugged":
            upstream.plug()
        people.create(name="Turing", nonce=nonce)
        assert names(upstream).count("Turing") == 1
