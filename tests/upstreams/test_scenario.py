"""One scenario on Kinto, Django REST framework and json-server: nothing differs but what ``grounds.py`` declares.

What the app shows is compared with what the upstream itself tells somebody else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from flask_dualstorage import Collection, DualStorage, Rejected, UpstreamError
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.grounds import CAN, PAGE, Can, DrfGround, Gadgets, Ground, KintoGround, names
from tests.whole import Clock, MakeApp, storage_of

Record = dict[str, Any]
#: Start the app in front of the ground, and give Alice's storage in it; again, and it is the app after a restart.
Start = Callable[..., UserStorage]

#: The whole answer's deadline of the tests' apps, and the grace of a lease: then a create in doubt is looked for.
LEASE = 30.5
#: Seconds to connect, and for the whole answer: where an answer is not to be waited for.
IMPATIENT = (1.0, 0.3)


def on(chosen: list[str]) -> pytest.MarkDecorator:
    """Play on these grounds only."""
    return pytest.mark.parametrize("ground", chosen, indirect=True)


@pytest.fixture
def start(make_app: MakeApp, ground: Ground) -> Start:
    def start(people: type[Collection] | None = None, **config: Any) -> UserStorage:
        dualstorage = DualStorage()
        dualstorage.register(people or ground.people)
        dualstorage.upstream_auth(lambda owner, upstream: ground.credential)
        # One lane at a time: some number a new record by what is there, so that the order decides its id.
        app = make_app(dualstorage, **{"url": ground.url_by_line, "DUALSTORAGE_SYNC_CONCURRENCY": 1, **config})
        return storage_of(app).for_user("alice")

    return start


@pytest.fixture
def alice(start: Start) -> UserStorage:
    return start()


def people(alice: UserStorage) -> Collection:
    """The list as a page of the app loads it."""
    return alice.collection("people").fetch(all_pages=True)


def people_here(alice: UserStorage) -> Collection:
    """The list as it is here, without a request."""
    return alice.collection("people").fetch(all_pages=True, max_age=1e9)


def shown(collection: Collection) -> list[tuple[Any, str, str]]:
    """What a page shows of everybody, by name: id, name and city."""
    return sorted(((each.id, each["name"], each["city"]) for each in collection), key=lambda each: each[1])


def held(ground: Ground) -> list[tuple[Any, str, str]]:
    """The same of the upstream."""
    return sorted(((each["id"], each["name"], each["city"]) for each in ground.held()), key=lambda each: each[1])


def called(collection: Collection, name: str) -> Any:
    """The one person of that name."""
    (found,) = collection.where(name=name)
    return found


class TestOnline:
    def test_load(self, alice: UserStorage, ground: Ground):
        """The list is the upstream's, and each of its records can be loaded for itself."""
        collection = people(alice)
        assert (collection.source, [each[1:] for each in shown(collection)]) == (
            "upstream",
            [("Ada", "London"), ("Grace", "New York")],
        )
        assert shown(collection) == held(ground)
        ada = called(collection, "Ada")
        assert alice.collection("people").load(ada.id)["city"] == "London"

    def test_page(self, alice: UserStorage, ground: Ground):
        """Page by page, or all of them at once."""
        for name in ("Turing", "Zuse"):
            ground.add(name=name, city="Berlin")
        first = alice.collection("people").fetch()
        assert (len(first), first.page.has_next) == (PAGE, True)
        assert (first.page.total == 4) == CAN[_name(ground)].count
        second = alice.collection("people").fetch(first.page.next_params)
        assert (len(second), second.page.has_next) == (1, False)
        assert sorted([*first.pluck("name"), *second.pluck("name")]) == ["Ada", "Grace", "Turing", "Zuse"]
        assert shown(people(alice)) == held(ground)

    def test_create_update_and_delete(self, alice: UserStorage, ground: Ground):
        collection = people(alice)
        turing = collection.create(name="Turing", city="London")
        assert (turing.dirty, turing.has_temp_id) == (False, False)
        assert turing.save(city="Wilmslow").state == "applied"
        assert called(collection, "Ada").save({"city": "Ockham"}, patch=True).state == "applied"
        assert called(collection, "Grace").destroy().state == "applied"
        assert [each[1:] for each in held(ground)] == [("Ada", "Ockham"), ("Turing", "Wilmslow")]
        assert shown(people(alice)) == held(ground)

    def test_the_app_shows_its_own_writes_before_it_asks_again(self, alice: UserStorage, ground: Ground):
        collection = people(alice)
        collection.create(name="Turing", city="London")
        called(collection, "Ada").save(city="Ockham")
        called(collection, "Grace").destroy()
        before = held(ground)
        ground.line.pull()
        assert shown(people(alice)) == before

    def test_an_unchanged_record_is_not_sent_again(
        self, alice: UserStorage, ground: Ground, caplog: pytest.LogCaptureFixture
    ):
        ada = called(people(alice), "Ada")
        alice.collection("people").load(ada.id)
        with caplog.at_level(logging.DEBUG, logger="urllib3"):
            assert alice.collection("people").load(ada.id)["city"] == "London"
        assert any(" 304 " in record.getMessage() for record in caplog.records) == CAN[_name(ground)].answer_304


class TestOutage:
    """The server itself is killed, or stopped: no line in between that would take connections in its place."""

    @pytest.fixture
    def alice(self, start: Start, ground: Ground) -> UserStorage:
        return start(url=ground.url)

    def test_the_whole_story(self, alice: UserStorage, ground: Ground):
        """Load, kill, read, create, edit, delete, start again, sync: both sides hold the same."""
        before = shown(people(alice))
        ground.server.stop()
        collection = people(alice)
        assert (collection.source, shown(collection)) == ("cache", before)
        turing = collection.create(name="Turing", city="London")
        assert (turing.dirty, turing.has_temp_id) == (True, True)
        assert turing.save(city="Wilmslow").dirty
        assert called(collection, "Ada").save(city="Ockham").dirty
        assert called(collection, "Grace").destroy().dirty
        assert [each[1:] for each in shown(people(alice))] == [("Ada", "Ockham"), ("Turing", "Wilmslow")]
        ground.server.start()
        report = alice.sync()
        assert (report.applied, report.remaining) == (3, 0)
        assert shown(people(alice)) == held(ground)
        assert [each[1:] for each in held(ground)] == [("Ada", "Ockham"), ("Turing", "Wilmslow")]
        assert alice.collection("people").load(turing.id)["name"] == "Turing"
        assert alice.sync().applied == 0

    def test_both_sides_are_started_again(self, alice: UserStorage, start: Start, ground: Ground):
        """What was accepted in the outage outlives the app, and the upstream knows what it acknowledged before."""
        called(people(alice), "Ada").save(city="Ockham")
        ground.server.stop()
        collection = people(alice)
        collection.create(name="Turing", city="London")
        called(collection, "Ada").save(city="Paris")
        again = start(url=ground.url)
        ground.server.start()
        assert again.sync().applied == 2
        assert [each[1:] for each in held(ground)] == [
            ("Ada", "Paris"),
            ("Grace", "New York"),
            ("Turing", "London"),
        ]
        assert shown(people(again)) == held(ground)

    def test_it_takes_connections_and_says_nothing(self, alice: UserStorage, ground: Ground, clock: Clock):
        """The page opens from the copy once the deadline is over, and an edit goes out when it speaks again."""
        before = shown(people(alice))
        ground.server.freeze()
        collection = alice.collection("people").fetch(timeout=IMPATIENT, all_pages=True)
        assert (collection.source, shown(collection)) == ("cache", before)
        result = called(collection, "Ada").save(city="Ockham", timeout=IMPATIENT)
        assert (result.dirty, result.state) == (True, "in_doubt")
        assert shown(people_here(alice))[0][2] == "Ockham"
        ground.server.thaw()
        clock.advance(LEASE)
        assert alice.sync().remaining == 0
        assert [each[1:] for each in held(ground)] == [("Ada", "Ockham"), ("Grace", "New York")]
        assert shown(people(alice)) == held(ground)


class TestLostAnswers:
    """The upstream did what it was asked, and nobody heard of it."""

    def test_an_update_goes_again(self, alice: UserStorage, ground: Ground, clock: Clock):
        ada = called(people(alice), "Ada")
        ground.line.loses_answers = True
        assert ada.save(city="Ockham").state == "in_doubt"
        assert held(ground)[0][2] == "Ockham"
        ground.line.loses_answers = False
        clock.advance(LEASE)
        assert (alice.sync().applied, alice.status().pending) == (1, 0)
        assert shown(people(alice)) == held(ground)

    def test_a_delete_goes_again_and_finds_that_it_is_done(self, alice: UserStorage, ground: Ground, clock: Clock):
        ada = called(people(alice), "Ada")
        ground.line.loses_answers = True
        assert ada.destroy().state == "in_doubt"
        ground.line.loses_answers = False
        clock.advance(LEASE)
        assert (alice.sync().applied, alice.status().pending) == (1, 0)
        assert shown(people(alice)) == held(ground) == [each for each in held(ground) if each[1] == "Grace"]

    @pytest.mark.parametrize("all_pages", [False, True])
    def test_a_create_makes_one_record(self, alice: UserStorage, ground: Ground, clock: Clock, all_pages: bool):
        """It is put where it was put the first time, or looked for, and found."""
        collection = alice.collection("people").fetch(all_pages=all_pages)
        ground.line.loses_answers = True
        turing = collection.create(name="Turing", city="London")
        assert turing.pending_write.state == "in_doubt"
        ground.line.loses_answers = False
        clock.advance(LEASE)
        assert (alice.sync().applied, alice.status().pending) == (1, 0)
        assert [each[1] for each in held(ground)] == ["Ada", "Grace", "Turing"]
        assert shown(people(alice)) == held(ground)
        assert alice.collection("people").load(turing.id)["name"] == "Turing"

    def test_a_create_makes_one_record_where_the_list_has_many_pages(
        self, alice: UserStorage, ground: Ground, clock: Clock
    ):
        """It may be held for its owner, who can look on all pages; it is never made twice."""
        for number in range(2 * PAGE):
            ground.add(name=f"Nobody {number}", city="Nowhere")
        collection = people(alice)
        ground.line.loses_answers = True
        collection.create(name="Turing", city="London")
        ground.line.loses_answers = False
        clock.advance(LEASE)
        alice.sync()
        assert [each[1] for each in held(ground)].count("Turing") == 1
        assert alice.status().in_doubt == alice.status().pending
        assert alice.status().pending == 0 or not CAN[_name(ground)].create_again

    def test_a_create_twice_alike_stays_two(self, alice: UserStorage, ground: Ground):
        """What looks the same is not the same: each has an id of its own."""
        collection = people(alice)
        ground.line.pull()
        for _ in range(2):
            collection.create(name="Turing", city="London")
        ground.line.push()
        assert alice.sync().applied == 2
        assert [each[1] for each in held(ground)] == ["Ada", "Grace", "Turing", "Turing"]


class TestSomebodyElse:
    @pytest.mark.parametrize("decision", ["discard", "retry"])
    def test_changes_the_same_record(self, start: Start, ground: Ground, decision: str):
        """Where the upstream checks versions it is a conflict, which shows theirs; where not, the last write wins."""
        alice = start(ground.people_by_hand)
        collection = people(alice)
        ada = called(collection, "Ada")
        ground.line.pull()
        ada.save(city="Ockham")
        ground.change(ada.id, city="Paris")
        ground.line.push()
        report = alice.sync()
        if CAN[_name(ground)].see_conflicts:
            assert (report.applied, report.conflict) == (0, 1)
            (write,) = alice.pending()
            assert (write.attributes["city"], write.base["city"], write.theirs["city"]) == ("Ockham", "London", "Paris")
            assert held(ground)[0][2] == "Paris"
            assert shown(people_here(alice))[0][2] == "Ockham"
            if decision == "discard":
                alice.discard(write.id)
                assert held(ground)[0][2] == "Paris"
            else:
                assert alice.retry(write.id).state == "applied"
                assert held(ground)[0][2] == "Ockham"
        else:
            assert (report.applied, report.conflict) == (1, 0)
            assert held(ground)[0][2] == "Ockham"
        assert shown(people(alice)) == held(ground)

    def test_changes_another_field_of_the_same_record(self, alice: UserStorage, ground: Ground):
        """Both changes stand where the upstream checks versions; where not, the whole record goes over theirs."""
        ada = called(people(alice), "Ada")
        ground.line.pull()
        ada.save(city="Ockham")
        ground.change(ada.id, name="Ada Lovelace")
        ground.line.push()
        assert (alice.sync().applied, alice.status().pending) == (1, 0)
        combined = "Ada Lovelace" if CAN[_name(ground)].see_conflicts else "Ada"
        assert held(ground)[0][1:] == (combined, "Ockham")
        assert shown(people(alice)) == held(ground)

    def test_changes_another_field_where_only_changes_are_sent(self, alice: UserStorage, ground: Ground):
        """A patch leaves alone what it does not name, on each of them."""
        ada = called(people(alice), "Ada")
        ground.line.pull()
        ada.save({"city": "Ockham"}, patch=True)
        ground.change(ada.id, name="Ada Lovelace")
        ground.line.push()
        assert (alice.sync().applied, alice.status().pending) == (1, 0)
        assert held(ground)[0][1:] == ("Ada Lovelace", "Ockham")
        assert shown(people(alice)) == held(ground)

    def test_writes_the_same(self, alice: UserStorage, ground: Ground):
        """That is no conflict: both want it so."""
        ada = called(people(alice), "Ada")
        ground.line.pull()
        ada.save(city="Ockham")
        ground.change(ada.id, city="Ockham")
        ground.line.push()
        assert (alice.sync().applied, alice.status().pending) == (1, 0)
        assert shown(people(alice)) == held(ground)

    def test_changes_what_was_deleted(self, start: Start, ground: Ground):
        """As with an edit: it is seen where the upstream checks versions."""
        alice = start(ground.people_by_hand)
        ada = called(people(alice), "Ada")
        ground.line.pull()
        ada.destroy()
        ground.change(ada.id, city="Paris")
        ground.line.push()
        report = alice.sync()
        seen = CAN[_name(ground)].see_conflicts
        assert (report.applied, report.conflict) == ((0, 1) if seen else (1, 0))
        assert ("Ada" in [each[1] for each in held(ground)]) == seen

    def test_deletes_what_was_edited(self, alice: UserStorage, ground: Ground):
        """A conflict on each of them; nothing comes back to life by itself."""
        ada = called(people(alice), "Ada")
        ground.line.pull()
        ada.save(city="Ockham")
        ground.remove(ada.id)
        ground.line.push()
        assert alice.sync().conflict == 1
        assert [each[1] for each in held(ground)] == ["Grace"]
        (write,) = alice.pending()
        assert (write.state, write.attributes["city"]) == ("conflict", "Ockham")

    def test_deletes_what_was_deleted(self, alice: UserStorage, ground: Ground):
        """The second delete meets a 404: it is gone, which is what was wanted."""
        ada = called(people(alice), "Ada")
        ground.line.pull()
        ada.destroy()
        ground.remove(ada.id)
        ground.line.push()
        assert (alice.sync().applied, alice.status().pending) == (1, 0)
        assert shown(people(alice)) == held(ground)


@on(["drf"])
class TestDjangoRestFramework:
    """What of the three only this one has."""

    def test_what_it_refuses_is_told_by_field(self, alice: UserStorage, ground: Ground):
        """At once where it is there; after an outage it stays in the owner's list with the reason."""
        wrong = {"name": "Turing", "city": "London", "email": "nowhere"}
        with pytest.raises(Rejected) as caught:
            people(alice).create(wrong)
        assert caught.value.errors == {"email": ["Enter a valid email address."]}
        assert alice.status().pending == 0
        ground.line.pull()
        alice.collection("people").create(wrong)
        ground.line.push()
        assert alice.sync().rejected == 1
        (write,) = alice.pending()
        assert (write.state, write.problem["errors"]) == ("rejected", {"email": ["Enter a valid email address."]})
        assert [each[1] for each in held(ground)] == ["Ada", "Grace"]

    def test_a_create_under_an_id_of_ours_makes_one_record(self, start: Start, ground: Ground, clock: Clock):
        """Its key is a UUID that is chosen here; a second create of it would be refused as a wrong field."""
        alice = start(Gadgets)
        gadgets = alice.collection("gadgets").fetch(all_pages=True)
        ground.line.loses_answers = True
        made = gadgets.create(name="Difference engine")
        ground.line.loses_answers = False
        clock.advance(LEASE)
        assert (alice.sync().applied, alice.status().pending) == (1, 0)
        (gadget,) = ground.ask("GET", "/gadgets/")
        assert dict(alice.collection("gadgets").load(made.id)) == gadget


@on(names(log_in=True))
class TestBadCredential:
    """Revoked while somebody worked."""

    def test_the_copy_stays_and_writes_wait_for_a_better_one(self, alice: UserStorage, ground: Ground):
        good, before = ground.credential, shown(people(alice))
        ground.line.pull()
        called(people(alice), "Ada").save(city="Ockham")
        ground.line.push()
        ground.credential = ground.revoked
        with pytest.raises(UpstreamError) as caught:
            alice.collection("people").fetch(all_pages=True, when_dirty="rebase")
        assert caught.value.status == 401
        assert [each[0] for each in shown(people_here(alice))] == [each[0] for each in before]
        report = alice.sync()
        assert (report.applied, report.remaining) == (0, 1)
        (write,) = alice.pending()
        assert (write.state, write.unauthorized) == ("queued", True)
        ground.credential = good
        assert alice.sync().applied == 1
        assert [each[1:] for each in held(ground)] == [("Ada", "Ockham"), ("Grace", "New York")]
        assert shown(people(alice)) == held(ground)


class TestNotNow:
    """The upstream says that it can not, and for how long."""

    @on(["kinto"])
    def test_its_database_is_away(self, alice: UserStorage, ground: KintoGround, clock: Clock):
        """Kinto: 503, and Retry-After."""
        before = shown(people(alice))
        ground.server.lose_database()
        collection = people(alice)
        assert (collection.source, shown(collection)) == ("cache", before)
        assert called(collection, "Ada").save(city="Ockham").state == "queued"
        assert alice.sync().retry_after == pytest.approx(3.0)
        ground.server.find_database()
        assert alice.sync().applied == 0, "nothing passes over a Retry-After"
        clock.advance(3.0)
        assert alice.sync().applied == 1
        assert shown(people(alice)) == held(ground)

    @on(["drf"])
    def test_somebody_asks_too_much(self, start: Start, ground: DrfGround, clock: Clock):
        """Django REST framework: 429, and Retry-After; its throttle forgets when it is started again."""
        ground.server.stop()
        ground.server.start()
        alice = start(ground.throttled_people)
        collection = alice.collection("people").fetch()
        called(collection, "Ada").save(city="Ockham")
        called(collection, "Ada").save(city="Paris")
        assert called(collection, "Ada").save(city="Rome").state == "queued"
        assert held(ground)[0][2] == "Paris"
        report = alice.sync()
        assert (report.applied, report.remaining) == (0, 1)
        assert 0 < report.retry_after <= 60
        ground.server.stop()
        ground.server.start()
        assert alice.sync().applied == 0, "nothing passes over a Retry-After"
        clock.advance(report.retry_after)
        assert alice.sync().applied == 1
        assert held(ground)[0][2] == "Rome"


def test_the_readme_says_so():
    """Its table "Works with" has a row for each ability, and in it a yes where there is one."""
    lines = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8").splitlines()
    table = {
        cells[0]: cells[1:] for line in lines if len(cells := [cell.strip() for cell in line.split("|")[1:-1]]) == 4
    }
    for ability in fields(Can):
        told = [cell.split(":")[0].split(",")[0] == "yes" for cell in table[ability.metadata["row"]]]
        assert told == [getattr(CAN[name], ability.name) for name in ("json_server", "kinto", "drf")], ability.name


def _name(ground: Ground) -> str:
    return ground.server.name.replace("-", "_")
