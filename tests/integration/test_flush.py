"""What a flush does with all that is pending: order, references, budget, company, late answers. Over sockets."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import Behaviour, Line, Then, answer, drop
from tests.upstreams.rest import RestUpstream
from tests.waiting import PATIENCE, until
from tests.whole import PATIENT, Clock, MakeApp, User, storage_of


def nested() -> DualStorage:
    """People, their notes, and the notes' comments, each nested under the one before."""
    dualstorage = DualStorage()
    for name, url in (
        ("notes", "/people/{person_id}/notes"),
        ("comments", "/people/{person_id}/notes/{note_id}/comments"),
    ):
        dualstorage.register(type(name.title(), (Collection,), {"name": name, "url": url}))
    return dualstorage


def requests_of(upstream: RestUpstream) -> list[tuple[str, str]]:
    """Method and target of every write that arrived, in order."""
    return [(one.method, one.target) for one in upstream.sent]


class Gate:
    """A behaviour that holds its answer back until the test lets it go."""

    def __init__(self, then: Behaviour) -> None:
        self._then = then
        self._here, self._open = threading.Event(), threading.Event()

    def __call__(self, line: Line) -> Then:
        self._here.set()
        self._open.wait(PATIENCE)
        return self._then(line)

    def wait(self) -> None:
        """Return once the request is here."""
        assert self._here.wait(PATIENCE)

    def open(self) -> None:
        """Let the answer go."""
        self._open.set()


class TestUnanswered:
    """One that is not answered holds back nothing but what must go behind it."""

    @pytest.mark.parametrize("place", [0, 12], ids=["the first", "a later one"])
    def test_all_others_are_sent_and_settled_meanwhile(self, user: User, upstream: RestUpstream, place: int):
        alice = user()
        for number in range(30):
            alice.collection("people").create(name=f"Person {number}", remote=False)
        handle, gate = upstream._handle, Gate(answer(201, {"id": 7, "name": f"Person {place}"}))
        upstream._handler = lambda got: gate if got.json()["name"] == f"Person {place}" else handle(got)
        with ThreadPoolExecutor(1) as pool:
            flush = pool.submit(alice.sync)
            gate.wait()
            until(lambda: len(alice.pending()) == 1, "all others are settled")
            gate.open()
            assert flush.result(PATIENCE).applied == 30

    def test_what_was_answered_beside_it_is_not_taken_over(self, user: User, upstream: RestUpstream, clock: Clock):
        """An update that is compared first may take twice as long as the lease of the creates beside it."""

        def storage() -> UserStorage:
            dualstorage = DualStorage()
            dualstorage.register(type("People", (Collection,), {"read_before_write": True}))
            dualstorage.register(type("Pets", (Collection,), {"in_doubt": "resend"}))
            return user(dualstorage=dualstorage)

        alice, worker = storage(), storage()
        alice.collection("people").fetch()[0].save(age=41, remote=False)
        for number in range(3):
            alice.collection("pets").create(name=f"Rex {number}", remote=False)
        handle, gate = upstream._handle, Gate(answer(200, {"id": 1, "name": "Ada", "age": 36}))
        upstream._handler = lambda got: gate if (got.method, got.target) == ("GET", "/people/1") else handle(got)
        with ThreadPoolExecutor(1) as pool:
            flush = pool.submit(alice.sync)
            gate.wait()
            until(lambda: len(alice.pending()) == 1, "the creates are settled")
            clock.advance(PATIENT[1] + 11)
            worker.sync()
            gate.open()
            flush.result(PATIENCE)
        assert [sent.method for sent in upstream.sent].count("POST") == 3

    def test_an_error_that_a_signal_raises_ends_the_flush(self, user: User, upstream: RestUpstream):
        """Celery's soft time limit, RQ's timeout: raised in the thread that syncs, and no write's own."""

        class SoftTimeLimitExceeded(Exception):
            pass

        def limit(number: int, frame: object) -> None:
            gate.open()
            raise SoftTimeLimitExceeded

        alice = user()
        for number in range(30):
            alice.collection("people").create(name=f"Person {number}", remote=False)
        gate = Gate(answer(201, {"id": 7, "name": "Person 0"}))
        upstream.then(gate)
        before = signal.signal(signal.SIGALRM, limit)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(SoftTimeLimitExceeded):
                alice.sync()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


class TestOrder:
    def test_a_record_goes_after_those_it_refers_to(self, user: User, upstream: RestUpstream):
        alice = user()
        person = alice.collection("people").create(name="Turing", remote=False)
        alice.collection("pets").create(owner_id=person.id, name="Rex", remote=False)
        assert alice.sync().applied == 2
        assert upstream.writes == [
            ("POST", "/people", {"name": "Turing"}),
            ("POST", "/pets", {"owner_id": 101, "name": "Rex"}),
        ]

    def test_a_reference_may_stand_anywhere(self, user: User, upstream: RestUpstream):
        """A field that is the id takes it with its type; inside a text, and as a key, its text stands."""
        alice = user()
        temp_id = alice.collection("people").create(name="Turing", remote=False).id
        alice.collection("pets").create(
            {"owners": [{"id": temp_id}], "link": f"/people/{temp_id}?x=1", "by": {temp_id: "Rex"}}, remote=False
        )
        alice.sync()
        assert upstream.writes[1][2] == {"owners": [{"id": 101}], "link": "/people/101?x=1", "by": {"101": "Rex"}}

    def test_a_chain_of_nested_records(self, user: User, upstream: RestUpstream):
        alice = user(dualstorage=nested())
        person = alice.collection("people").create(name="Turing", remote=False)
        note = alice.collection("notes", person_id=person.id).create(text="one", remote=False)
        alice.collection("comments", person_id=person.id, note_id=note.id).create(text="yes", remote=False)
        assert [len(write.waits_for) for write in alice.pending()] == [0, 1, 2]
        assert alice.sync().applied == 3
        assert requests_of(upstream) == [
            ("POST", "/people"),
            ("POST", "/people/101/notes"),
            ("POST", "/people/101/notes/102/comments"),
        ]

    def test_a_parents_delete_goes_after_its_childrens(self, user: User, upstream: RestUpstream):
        upstream.records["/people/1/notes"] = [{"id": 5}, {"id": 6}]
        alice = user(dualstorage=nested())
        people, notes = alice.collection("people").fetch(), alice.collection("notes", person_id=1).fetch()
        notes.get(5).destroy(remote=False)
        notes.get(6).destroy(remote=False)
        people.get(1).destroy(remote=False)
        assert alice.sync().applied == 3
        assert requests_of(upstream)[-1] == ("DELETE", "/people/1")
        assert sorted(requests_of(upstream)[:-1]) == [("DELETE", "/people/1/notes/5"), ("DELETE", "/people/1/notes/6")]

    def test_even_if_it_was_made_before_them(self, user: User, upstream: RestUpstream):
        """The parent is deleted in one window, its child in another that was still open."""
        upstream.records["/people/1/notes"] = [{"id": 5}]
        alice = user(dualstorage=nested())
        people, notes = alice.collection("people").fetch(), alice.collection("notes", person_id=1).fetch()
        people.get(1).destroy(remote=False)
        notes.get(5).destroy(remote=False)
        assert alice.sync().applied == 2
        assert requests_of(upstream) == [("DELETE", "/people/1/notes/5"), ("DELETE", "/people/1")]

    def test_even_if_it_is_the_one_that_was_asked_for(self, user: User, upstream: RestUpstream):
        """An online destroy with children waiting: they go first."""
        upstream.records["/people/1/notes"] = [{"id": 5}]
        alice = user(dualstorage=nested())
        people, notes = alice.collection("people").fetch(), alice.collection("notes", person_id=1).fetch()
        notes.get(5).destroy(remote=False)
        assert people.get(1).destroy().state == "applied"
        assert requests_of(upstream) == [("DELETE", "/people/1/notes/5"), ("DELETE", "/people/1")]

    def test_a_write_takes_what_must_go_before_it_along(self, user: User, upstream: RestUpstream):
        alice = user()
        person = alice.collection("people").create(name="Turing", remote=False)
        alice.collection("people").create(name="Hopper", remote=False)
        alice.collection("pets").create(owner_id=person.id, remote=False)
        assert alice.collection("pets").sync_dirty().remaining == 0
        assert [body.get("name") for *_, body in upstream.writes] == ["Turing", None]
        assert [write.attributes["name"] for write in alice.pending()] == ["Hopper"]

    def test_records_that_refer_to_each_other_stay_apart(self, user: User, upstream: RestUpstream):
        """A, then B that names A, then A that names B: three writes, or the two would wait for each other."""
        alice = user()
        people = alice.collection("people")
        one = people.create(name="one", remote=False)
        two = people.create(name="two", friend=one.id, remote=False)
        one.save(friend=two.id, remote=False)
        assert alice.sync().applied == 3
        assert upstream.writes == [
            ("POST", "/people", {"name": "one"}),
            ("POST", "/people", {"name": "two", "friend": 101}),
            ("PUT", "/people/101", {"id": 101, "name": "one", "friend": 102}),
        ]

    def test_unrelated_lanes_go_at_once(self, user: User, upstream: RestUpstream):
        """Each of the four answers only when all four are there."""
        together = threading.Barrier(4)

        def meet(line: Line) -> Then:
            together.wait(PATIENCE)
            return answer(201, {"id": line.received.json()["number"]})(line)

        alice = user()
        for number in range(1, 5):
            alice.collection("people").create(number=number, remote=False)
        upstream.then(*[meet] * 4)
        assert alice.sync().applied == 4


class TestStuck:
    def test_one_refused_write_holds_up_only_what_depends_on_it(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people")
        turing = people.create(name="Turing", remote=False)
        alice.collection("pets").create(owner_id=turing.id, remote=False)
        upstream.then(answer(422))
        people.sync_dirty()
        people.create(name="Hopper", remote=False)
        assert alice.sync().applied == 1
        refused, waiting = alice.pending()
        assert (refused.state, waiting.state, waiting.waits_for) == ("rejected", "queued", (refused.id,))

    def test_once_it_is_edited_both_go(self, user: User, upstream: RestUpstream):
        alice = user()
        turing = alice.collection("people").create(name="", remote=False)
        alice.collection("pets").create(owner_id=turing.id, remote=False)
        upstream.then(answer(422))
        alice.sync()
        turing.save(name="Turing")
        assert alice.sync().remaining == 0
        assert upstream.writes[-2:] == [("POST", "/people", {"name": "Turing"}), ("POST", "/pets", {"owner_id": 101})]

    def test_a_collection_that_this_process_does_not_know_waits_and_says_so(self, user: User, upstream: RestUpstream):
        user(dualstorage=nested()).collection("notes", person_id=1).create(text="one", remote=False)
        alice = user()
        alice.collection("people").create(name="Turing", remote=False)
        assert alice.sync().applied == 1
        assert "not registered" in alice.pending()[0].reason

    def test_a_hook_that_fails_leaves_its_write_in_doubt_and_the_others_go_on(self, user: User, upstream: RestUpstream):
        def stumble(self: Collection) -> Any:
            raise RuntimeError("the app's own bug")

        dualstorage = DualStorage()
        dualstorage.register(type("Pets", (Collection,), {"name": "pets", "headers": stumble}))
        alice = user(dualstorage=dualstorage)
        alice.collection("pets").create(name="Rex", remote=False)
        alice.collection("people").create(name="Turing", remote=False)
        report = alice.sync()
        assert (report.applied, report.remaining) == (1, 1)
        assert "headers() failed: RuntimeError" in alice.pending()[0].reason


class TestVanishing:
    """A record that was never sent is deleted here."""

    def test_what_is_nested_under_it_goes_along_and_is_listed(self, user: User, upstream: RestUpstream):
        alice = user(dualstorage=nested())
        person = alice.collection("people").create(name="Turing", remote=False)
        note = alice.collection("notes", person_id=person.id).create(text="one", remote=False)
        alice.collection("comments", person_id=person.id, note_id=note.id).create(text="yes", remote=False)
        writes = [write.id for write in alice.pending()]
        assert sorted(person.destroy().discarded) == sorted(writes)
        assert (alice.pending(), alice.sync().applied, upstream.connections) == ([], 0, 0)

    def test_what_else_refers_to_it_is_rejected(self, user: User, upstream: RestUpstream):
        alice = user()
        person = alice.collection("people").create(name="Turing", remote=False)
        alice.collection("pets").create(owner_id=person.id, name="Rex", remote=False)
        person.destroy()
        [write] = alice.pending()
        assert (write.state, "deleted record" in write.reason) == ("rejected", True)
        assert (alice.sync().rejected, upstream.connections) == (1, 0)

    def test_discarding_it_is_the_same(self, user: User, upstream: RestUpstream):
        alice = user(dualstorage=nested())
        person = alice.collection("people").create(name="Turing", remote=False)
        alice.collection("notes", person_id=person.id).create(text="one", remote=False)
        assert len(alice.discard(alice.pending()[0].id)) == 2
        assert alice.pending() == []


class TestBudget:
    def test_what_does_not_fit_stays_queued_and_the_report_says_so(
        self, user: User, upstream: RestUpstream, monkeypatch: pytest.MonkeyPatch
    ):
        """Each answer takes a second of a clock that only answers move."""
        passed = [0.0]
        monkeypatch.setattr("flask_dualstorage.sync.flush.monotonic", lambda: passed[0])

        def slow(line: Line) -> Then:
            passed[0] += 1
            return answer(201, {"id": line.received.json()["number"]})(line)

        upstream.then(*[slow] * 10)
        alice = user(DUALSTORAGE_SYNC_CONCURRENCY=1)
        for number in range(10):
            alice.collection("people").create(number=number, remote=False)
        report = alice.sync(budget=3)
        assert (report.applied, report.queued, report.remaining, report.online) == (3, 7, 7, True)
        assert len(report.writes) == 10
        assert alice.sync().applied == 7

    def test_none_at_all_sends_nothing(self, user: User, upstream: RestUpstream):
        alice = user()
        alice.collection("people").create(name="Turing", remote=False)
        assert (alice.sync(budget=0).remaining, upstream.connections) == (1, 0)

    def test_it_stops_sending_as_soon_as_the_breaker_opens(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_BREAKER_THRESHOLD=3, DUALSTORAGE_SYNC_CONCURRENCY=1)
        for number in range(10):
            alice.collection("people").create(number=number, remote=False)
        upstream.then(*[answer(504)] * 10)
        report = alice.sync()
        assert (report.applied, report.queued, report.online, len(upstream.writes)) == (0, 10, False, 3)

    def test_only_the_collections_that_are_named(self, user: User, upstream: RestUpstream):
        alice = user()
        for name in ("people", "pets"):
            alice.collection(name).create(name="one", remote=False)
        assert alice.sync(["pets"]).applied == 1
        assert requests_of(upstream) == [("POST", "/pets")]
        assert alice.status().stores == {"/people": 1}

    def test_a_second_flush_sends_nothing(self, user: User, upstream: RestUpstream):
        alice = user()
        for number in range(10):
            alice.collection("people").create(number=number, remote=False)
        assert alice.sync().applied == 10
        assert (alice.sync().applied, len(upstream.writes)) == (0, 10)


class TestCompany:
    """Several processes and threads at once: they cooperate through claims."""

    def test_flushes_at_once_send_each_write_once(self, user: User, upstream: RestUpstream):
        storages = [user() for _ in range(4)]
        people = storages[0].collection("people")
        for number in range(40):
            people.create(number=number, remote=False)
        start = threading.Barrier(4)

        def run(alice: UserStorage) -> int:
            start.wait(PATIENCE)
            return alice.sync().applied

        with ThreadPoolExecutor(4) as pool:
            applied = sum(pool.map(run, storages))
        assert (applied, len(upstream.writes)) == (40, 40)
        assert sorted(body["number"] for *_, body in upstream.writes) == list(range(40))
        assert storages[0].pending() == []

    def test_an_online_save_and_a_flush_do_not_send_it_twice(self, user: User, upstream: RestUpstream):
        alice, worker = user(), user()
        reports: list[Any] = []

        def flush_meanwhile(line: Line) -> Then:
            reports.append(worker.sync())
            return answer(201, {"id": 7})(line)

        upstream.then(flush_meanwhile)
        assert alice.collection("people").create(name="Turing").id == 7
        assert (reports[0].applied, reports[0].remaining, len(upstream.writes)) == (0, 1, 1)

    def test_an_edit_while_its_record_is_being_sent_goes_after_it(self, user: User, upstream: RestUpstream):
        alice, other = user(), user()
        upstream.then(gate := Gate(answer(200, {"id": 1, "name": "Ada", "age": 41})))
        ada = alice.collection("people").load(1, remote=False) or alice.collection("people").new({"id": 1})
        with ThreadPoolExecutor() as pool:
            first = pool.submit(lambda: ada.save(age=41))
            gate.wait()
            assert other.collection("people").new({"id": 1}).save(name="Lovelace").dirty
            gate.open()
            assert first.result(PATIENCE).state == "applied"
        assert len(upstream.writes) == 1
        assert alice.sync().applied == 1
        assert upstream.find("/people", 1)["name"] == "Lovelace"

    def test_owners_are_flushed_each_for_themselves(self, make_app: MakeApp, upstream: RestUpstream):
        storage = storage_of(make_app(url=upstream.url))
        for name in ("alice", "bob"):
            storage.for_user(name).collection("people").create(name=name, remote=False)
        assert storage.for_user("alice").sync().applied == 1
        assert [body["name"] for *_, body in upstream.writes] == ["alice"]
        assert storage.owners(due=True) == ["user:bob"]


class TestLateAnswers:
    """The process that sent a write was too slow, or is gone: its lease ends, and another takes over."""

    def test_an_update_goes_again_with_its_key_and_the_late_answer_changes_nothing(
        self, user: User, upstream: RestUpstream, clock: Clock
    ):
        alice, worker = user(), user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(gate := Gate(answer(200, {"id": 1, "name": "Ada", "age": 41})))
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(lambda: ada.save(age=41))
            gate.wait()
            assert worker.sync().applied == 0
            clock.advance(31)
            assert worker.sync().applied == 1
            gate.open()
            assert slow.result(PATIENCE).state == "applied"
        first, second = upstream.sent
        assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
        assert (first.body == second.body, alice.pending()) == (True, [])

    def test_a_create_is_in_doubt_and_its_late_answer_settles_it(
        self, user: User, upstream: RestUpstream, clock: Clock
    ):
        alice, worker = user(DUALSTORAGE_IN_DOUBT="hold"), user(DUALSTORAGE_IN_DOUBT="hold")
        upstream.then(gate := Gate(answer(201, {"id": 7, "name": "Turing"})))
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(lambda: alice.collection("people").create(name="Turing"))
            gate.wait()
            clock.advance(31)
            assert worker.sync().in_doubt == 1
            gate.open()
            person = slow.result(PATIENCE)
        assert (person.id, person.dirty, worker.pending(), len(upstream.writes)) == (7, False, [], 1)

    def test_a_late_failure_changes_nothing(self, user: User, upstream: RestUpstream, clock: Clock):
        """It is not the truth any more: another's answer has settled the write."""
        alice, worker = user(), user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(gate := Gate(answer(422)))
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(lambda: ada.save(age=41))
            gate.wait()
            clock.advance(31)
            assert worker.sync().applied == 1
            gate.open()
            assert slow.result(PATIENCE).dirty is False
        assert (alice.pending(), upstream.find("/people", 1)["age"]) == ([], 41)

    def test_a_second_answer_with_another_id_is_kept_as_a_problem(
        self, make_app: MakeApp, upstream: RestUpstream, clock: Clock
    ):
        """The upstream was said to honour keys, and did not."""
        config = {"url": upstream.url, "DUALSTORAGE_HONOURS_KEYS": True}
        storage, worker = storage_of(make_app(**config)), storage_of(make_app(**config))
        upstream.then(gate := Gate(answer(201, {"id": 7})))
        with ThreadPoolExecutor() as pool:
            people = storage.for_user("alice").collection("people")
            slow = pool.submit(lambda: people.create(name="Turing"))
            gate.wait()
            write_id = worker.for_user("alice").pending()[0].id
            clock.advance(31)
            assert worker.for_user("alice").sync().applied == 1
            gate.open()
            assert slow.result(PATIENCE).id == 101
        kept = storage.engine.outbox.write("user:alice", write_id)
        assert kept is not None
        assert kept.problem is not None
        assert "doubled" in kept.problem["title"]

    def test_a_restart_in_the_middle_leaves_an_update_to_the_next_flush(
        self, user: User, upstream: RestUpstream, clock: Clock
    ):
        """A process that was killed leaves a lease behind: nobody sends until it ends, and then somebody does."""
        alice, after = user(), user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(gate := Gate(drop()))
        with ThreadPoolExecutor() as pool:
            slow = pool.submit(lambda: ada.save(age=41))
            gate.wait()
            [write] = after.pending()
            assert (write.state, after.sync().queued, len(upstream.writes)) == ("sending", 1, 1)
            clock.advance(31)
            assert after.sync().applied == 1
            gate.open()
            slow.result(PATIENCE)
        assert (after.pending(), upstream.find("/people", 1)["age"]) == ([], 41)


class TestAliases:
    """Old links go on working: a temporary id stands for the real one for good."""

    @pytest.fixture
    def made(self, user: User, upstream: RestUpstream) -> tuple[UserStorage, str]:
        alice = user(dualstorage=nested())
        person = alice.collection("people").create(name="Turing", remote=False)
        temp_id = str(person.id)
        alice.sync()
        return alice, temp_id

    def test_in_get_and_load(self, made: tuple[UserStorage, str], upstream: RestUpstream):
        alice, temp_id = made
        assert alice.collection("people").get(temp_id).id == 101
        assert alice.collection("people").load(temp_id).id == 101
        assert alice.collection("people").get_or_404(temp_id)["name"] == "Turing"
        assert upstream.requests[-1] == ("GET", "/people/101")

    def test_in_the_url_of_a_nested_collection(self, made: tuple[UserStorage, str], upstream: RestUpstream):
        alice, temp_id = made
        assert alice.collection("notes", person_id=temp_id).create(text="one").id == 102
        assert upstream.requests[-1] == ("POST", "/people/101/notes")

    def test_in_what_is_written(self, made: tuple[UserStorage, str], upstream: RestUpstream):
        alice, temp_id = made
        alice.collection("pets").create(owner_id=temp_id)
        assert upstream.writes[-1] == ("POST", "/pets", {"owner_id": 101})

    def test_in_a_model_that_was_loaded_before(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people").fetch()
        person = people.create(name="Turing", remote=False)
        user().sync()
        person.save(age=41)
        person.destroy()
        assert requests_of(upstream) == [("POST", "/people"), ("PUT", "/people/101"), ("DELETE", "/people/101")]

    def test_after_a_restart_and_without_a_cache(self, made: tuple[UserStorage, str], user: User, upstream):
        _, temp_id = made
        assert user().collection("people").load(temp_id).id == 101

    def test_what_was_nested_while_it_had_none_is_found_under_the_real_one(self, user: User, upstream: RestUpstream):
        alice = user(dualstorage=nested())
        person = alice.collection("people").create(name="Turing", remote=False)
        temp_id = str(person.id)
        notes = alice.collection("notes", person_id=temp_id)
        notes.create(text="one", remote=False)
        assert notes.fetch().pluck("text") == ["one"]
        alice.sync()
        for person_id in (temp_id, 101):
            assert alice.collection("notes", person_id=person_id).fetch().pluck("text") == ["one"]

    def test_a_list_loaded_while_it_had_none_follows(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people").fetch()
        person = people.create(name="Turing", remote=False)
        assert people.pluck("id") == [1, 2, person.id]
        people.sync_dirty()
        assert people.pluck("id") == [1, 2, 101]

    def test_they_are_the_owners_own(self, made: tuple[UserStorage, str], user: User, upstream: RestUpstream):
        _, temp_id = made
        bob = user("bob")
        assert bob.collection("people").get(temp_id) is None
        with pytest.raises(Exception, match="never made here"):
            bob.collection("pets").create(owner_id=temp_id)


class TestReports:
    def test_what_was_applied_then_what_remains(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_SYNC_CONCURRENCY=1)
        for name in ("one", "two", "three"):
            alice.collection("people").create(name=name, remote=False)
        upstream.then(answer(201, {"id": 7}), answer(422), drop())
        report = alice.sync()
        assert (report.applied, report.rejected, report.in_doubt, report.remaining) == (1, 1, 1, 2)
        assert [write.state for write in report.writes] == ["applied", "rejected", "in_doubt"]
        assert report.writes[0].record_id == 7

    def test_out_of_reach(self, user: User, upstream: RestUpstream):
        alice = user()
        alice.collection("people").create(name="Turing", remote=False)
        upstream.unplug()
        report = alice.sync()
        assert (report.online, report.queued, alice.status().online) == (False, 1, False)

    def test_the_status_counts_by_store(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user()
        alice.collection("people").create(name="Turing", remote=False)
        clock.advance(60)
        alice.collection("pets").create(name="Rex", remote=False)
        status = alice.status()
        assert (status.pending, status.stores, status.online) == (2, {"/people": 1, "/pets": 1}, None)
        assert status.oldest == "2027-01-15T08:00:00Z"


class TestHistory:
    def test_the_app_reads_its_own_writes_in_every_worker(self, user: User, upstream: RestUpstream):
        """Applied writes lie over the cached list until a fetch that began later replaces it."""
        alice, worker = user(), user()
        people = alice.collection("people").fetch()
        people.get(1).save(age=41)
        people.create(name="Turing")
        people.get(2).destroy()
        seen = worker.collection("people").fetch(remote=False)
        assert [dict(each) for each in seen] == [
            {"id": 1, "name": "Ada", "age": 41},
            {"id": 101, "name": "Turing"},
        ]

    def test_a_fetch_that_began_before_the_write_does_not_hide_it(self, user: User, upstream: RestUpstream):
        """The list is on its way with the old state when the write is applied."""
        alice, other = user(), user()
        old = [dict(row) for row in upstream.records["/people"]]
        ada = other.collection("people").fetch().get(1)

        def write_meanwhile(line: Line) -> Then:
            ada.save(age=41)
            return answer(200, old)(line)

        upstream.then(write_meanwhile)
        assert alice.collection("people").fetch().get(1)["age"] == 41
        assert other.collection("people").fetch(remote=False).get(1)["age"] == 41

    def test_they_outlive_every_copy_that_is_older(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user(DUALSTORAGE_KEEP_APPLIED=1, DUALSTORAGE_CACHE_TIMEOUT=3600)
        people = alice.collection("people").fetch()
        people.get(1).save(age=41)
        clock.advance(3500)
        alice.sync()
        assert alice.collection("people").fetch(remote=False).get(1)["age"] == 41
