"""An adoption puts in order what a visitor and the account both have waiting for one record."""

from __future__ import annotations

import pytest

from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, storage_of

ADA = {"id": 1, "name": "Ada", "age": 36}


@pytest.fixture
def both(make_app: MakeApp, upstream: RestUpstream) -> tuple[UserStorage, UserStorage]:
    """A visitor's storage, and the account's that adopts it."""
    storage = storage_of(make_app(url=upstream.url))
    return storage.for_user("guest"), storage.for_user("alice")


def leave_in_doubt(guest: UserStorage, upstream: RestUpstream, *, applied: bool = False, **fields: object) -> None:
    ada = guest.collection("people").fetch().get(1)
    upstream.then(drop(), applied=applied)
    assert ada.save(**fields).state == "in_doubt"


def sync_until_done(alice: UserStorage, clock: Clock) -> None:
    for _ in range(4):
        clock.advance(600)
        alice.sync()


class TestAVisitorsWriteInDoubt:
    """Its bytes are fixed, and it may be upstream already."""

    @pytest.mark.parametrize("applied", [True, False])
    def test_does_not_undo_the_accounts_own_edit(
        self, both: tuple[UserStorage, UserStorage], upstream: RestUpstream, clock: Clock, applied: bool
    ):
        """It goes first, although the account's edit was made before it."""
        guest, alice = both
        alice.collection("people").fetch().get(1).save(name="Augusta", remote=False)
        leave_in_doubt(guest, upstream, applied=applied, age=41)
        alice.adopt("guest", "alice")
        assert alice.collection("people").get(1).items() >= {"name": "Augusta", "age": 41}.items()
        sync_until_done(alice, clock)
        assert alice.pending() == []
        assert upstream.find("/people", 1) == {"id": 1, "name": "Augusta", "age": 41}

    def test_nor_one_that_the_account_made_later(
        self, both: tuple[UserStorage, UserStorage], upstream: RestUpstream, clock: Clock
    ):
        guest, alice = both
        leave_in_doubt(guest, upstream, age=41)
        alice.collection("people").fetch().get(1).save(name="Augusta", remote=False)
        alice.adopt("guest", "alice")
        sync_until_done(alice, clock)
        assert upstream.find("/people", 1) == {"id": 1, "name": "Augusta", "age": 41}

    def test_nor_the_accounts_delete(self, both: tuple[UserStorage, UserStorage], upstream: RestUpstream, clock: Clock):
        guest, alice = both
        alice.collection("people").fetch().get(1).destroy(remote=False)
        leave_in_doubt(guest, upstream, age=41)
        alice.adopt("guest", "alice")
        sync_until_done(alice, clock)
        assert (alice.pending(), upstream.find("/people", 1)) == ([], None)

    def test_and_what_the_visitor_edited_behind_it_joins_what_the_account_did(
        self, both: tuple[UserStorage, UserStorage], upstream: RestUpstream, clock: Clock
    ):
        guest, alice = both
        alice.collection("people").fetch().get(1).save(name="Augusta", remote=False)
        leave_in_doubt(guest, upstream, age=41)
        guest.collection("people").get(1).save(city="London", remote=False)
        alice.adopt("guest", "alice")
        assert len(alice.pending()) == 2
        sync_until_done(alice, clock)
        assert upstream.find("/people", 1) == {"id": 1, "name": "Augusta", "age": 41, "city": "London"}

    def test_refused_in_the_end_it_is_one_write_with_the_accounts_edit(
        self, both: tuple[UserStorage, UserStorage], upstream: RestUpstream, clock: Clock
    ):
        """Both are there, for the owner to correct."""
        guest, alice = both
        alice.collection("people").fetch().get(1).save(name="Augusta", remote=False)
        leave_in_doubt(guest, upstream, age=-1)
        alice.adopt("guest", "alice")
        upstream.then(answer(422))
        clock.advance(600)
        alice.sync()
        (write,) = alice.pending()
        assert write.attributes == {**ADA, "name": "Augusta", "age": -1}

    def test_leaves_a_conflict_of_the_account_to_its_owner(
        self, both: tuple[UserStorage, UserStorage], upstream: RestUpstream, clock: Clock
    ):
        """It goes past it, and what it made stands beside it as theirs."""
        guest, alice = both
        ada = alice.collection("people").fetch().get(1)
        upstream.then(answer(412))
        ada.save(name="Augusta", remote=False)
        alice.sync()
        assert [write.state for write in alice.pending()] == ["conflict"]
        leave_in_doubt(guest, upstream, age=41)
        alice.adopt("guest", "alice")
        sync_until_done(alice, clock)
        (conflict,) = alice.pending()
        assert (conflict.state, conflict.theirs) == ("conflict", {**ADA, "age": 41})
        alice.retry(conflict.id)
        assert upstream.find("/people", 1) == {"id": 1, "name": "Augusta", "age": 41}

    def test_refused_it_leaves_that_conflict_alone_too(
        self, both: tuple[UserStorage, UserStorage], upstream: RestUpstream, clock: Clock
    ):
        """Folded into what was refused, it would go out with the next edit, decided by nobody."""
        guest, alice = both
        ada = alice.collection("people").fetch().get(1)
        ada.save(name="Augusta", remote=False)
        upstream.records["/people"][0]["name"] = "Ada L."
        upstream.then(answer(412))
        alice.sync()
        leave_in_doubt(guest, upstream, age=-1)
        alice.adopt("guest", "alice")
        upstream.then(answer(422))
        clock.advance(600)
        alice.sync()
        assert [write.state for write in alice.pending()] == ["rejected", "conflict"]


def test_an_adoption_is_not_refused_for_a_full_outbox(make_app: MakeApp, upstream: RestUpstream):
    """Nobody is locked out of the log-in view: what was accepted moves, however much it is."""
    storage = storage_of(make_app(url=upstream.url, DUALSTORAGE_MAX_PENDING=2))
    guest, alice = storage.for_user("guest"), storage.for_user("alice")
    alice.collection("people").create(name="One", remote=False)
    ada = alice.collection("people").fetch().get(1)
    upstream.then(drop())
    ada.save(age=41)
    guest.collection("people").fetch().get(1).save(age=42, remote=False)
    alice.adopt("guest", "alice")
    assert guest.pending() == []
    assert [(write.attributes or {}).get("age") for write in alice.pending()] == [None, 41, 42]
