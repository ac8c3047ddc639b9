"""A write that may have been applied already: what makes it one, and that nothing of it is sent twice blindly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_dualstorage import Collection, Dialect, DualStorage, Model, UpstreamError
from flask_dualstorage.sync.sending import claim
from flask_dualstorage.tokens import make_nonce
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, User, storage_of

#: The whole answer's deadline of the tests' apps, and the grace of a lease.
LEASE = 30.5


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    """No keys are honoured: what is sent twice is made twice."""
    with RestUpstream({"/people": [{"id": 1, "name": "Ada", "age": 36}]}) as upstream:
        yield upstream


def registered(**declared: Any) -> DualStorage:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"name": "people", **declared}))
    return dualstorage


def names(upstream: RestUpstream) -> list[str]:
    return [row["name"] for row in upstream.records["/people"]]


class TestTheDoubtLasts:
    """A send whose answer was lost is not made good by a later one that did not arrive."""

    @pytest.mark.parametrize("how", ["unplugged", "refused"])
    def test_past_a_resend_that_came_to_nothing_until_the_key_is_forgotten(
        self, user: User, upstream: RestUpstream, clock: Clock, how: str
    ):
        alice = user(DUALSTORAGE_HONOURS_KEYS=60)
        people = alice.collection("people").fetch()
        upstream.then(drop(), applied=True)
        people.create(name="Turing")
        clock.advance(10)
        if how == "unplugged":
            upstream.unplug()
            alice.sync()
            upstream.plug()
        else:
            upstream.then(answer(401))
            alice.sync()
        clock.advance(3600)
        alice.sync()
        assert (names(upstream).count("Turing"), alice.pending()) == (1, [])

    def test_in_a_form_that_is_sent_again_long_after(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """Its key is as old as its first send."""
        app = make_app(url=upstream.url, DUALSTORAGE_HONOURS_KEYS=60)
        alice = storage_of(app).for_user("alice")
        people = alice.collection("people").fetch()
        nonce = make_nonce(app, clock)
        upstream.then(answer(500), applied=True)
        with pytest.raises(UpstreamError):
            people.create(name="Turing", nonce=nonce)
        clock.advance(3600)
        people.create(name="Turing", nonce=nonce)
        clock.advance(LEASE)
        alice.sync()
        assert (names(upstream).count("Turing"), alice.pending()) == (1, [])

    def test_in_a_form_where_keys_mean_nothing(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """It is in doubt, says so, and is looked for when what answered 500 has surely ended."""
        app = make_app(url=upstream.url)
        alice = storage_of(app).for_user("alice")
        people = alice.collection("people").fetch()
        nonce = make_nonce(app, clock)
        upstream.then(answer(500), applied=True)
        with pytest.raises(UpstreamError) as error:
            people.create(name="Turing", nonce=nonce)
        assert error.value.in_doubt
        assert people.create(name="Turing", nonce=nonce).pending_write.state == "in_doubt"
        clock.advance(LEASE)
        alice.sync()
        assert (names(upstream).count("Turing"), alice.pending()) == (1, [])

    def test_but_a_form_that_was_refused_is_a_new_request(
        self, make_app: MakeApp, upstream: RestUpstream, clock: Clock
    ):
        app = make_app(url=upstream.url)
        people = storage_of(app).for_user("alice").collection("people")
        nonce = make_nonce(app, clock)
        upstream.then(answer(422))
        with pytest.raises(UpstreamError):
            people.create(name="Turing", nonce=nonce)
        assert people.create(name="Turing", nonce=nonce).id == 101
        first, second = upstream.sent
        assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]

    def test_in_what_is_refused_the_second_time(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """500, and the same form again is refused: the first may have been applied, so it is not withdrawn."""
        app = make_app(url=upstream.url, DUALSTORAGE_HONOURS_KEYS=True)
        alice = storage_of(app).for_user("alice")
        nonce = make_nonce(app, clock)
        for status in (500, 422):
            upstream.then(answer(status))
            with pytest.raises(UpstreamError) as error:
                alice.collection("people").create(name="Turing", nonce=nonce)
        assert error.value.pending_write is not None
        assert [write.state for write in alice.pending()] == ["rejected"]

    @pytest.mark.parametrize("status", [504, 502, 408])
    def test_when_a_gateway_gave_up_waiting(self, user: User, upstream: RestUpstream, clock: Clock, status: int):
        """The status says offline, and the backend may be at it still: not sent, nor looked for, before that ended."""
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(answer(status), applied=True)
        assert people.create(name="Turing").pending_write.state == "queued"
        asked = len(upstream.received)
        alice.sync()
        assert len(upstream.received) == asked
        clock.advance(LEASE)
        alice.sync()
        assert (names(upstream).count("Turing"), alice.pending()) == (1, [])

    @pytest.mark.parametrize("status", [425, 429, 503])
    def test_not_when_the_upstream_said_not_now(self, user: User, upstream: RestUpstream, status: int):
        alice = user()
        upstream.then(answer(status))
        alice.collection("people").create(name="Turing")
        alice.sync()
        assert [method for method, _ in upstream.requests] == ["POST", "POST"]

    def test_whatever_its_owner_asks_for_before_it_was_looked_for(
        self, user: User, upstream: RestUpstream, clock: Clock
    ):
        """A retry answers the doubt of what was held for its owner, and of nothing else."""
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(drop(), applied=True)
        people.create(name="Turing")
        assert alice.retry(alice.pending()[0].id).state == "in_doubt"
        clock.advance(LEASE)
        assert alice.retry(alice.pending()[0].id).state == "applied"
        assert names(upstream).count("Turing") == 1

    def test_until_it_is_put_where_only_it_can_be(self, user: User, upstream: RestUpstream):
        """A record that is put at an id of our own goes again without a look: twice is once."""
        dialect = Dialect(new_id="uuid4", create_method="PUT")
        alice = user(dualstorage=registered(dialect=dialect))
        upstream.then(drop(), answer(201))
        alice.collection("people").create(name="Turing")
        alice.sync()
        assert [method for method, _ in upstream.requests] == ["PUT", "PUT"]


class TestAnswersToTheSecond:
    def test_409_is_no_refusal_of_the_first(self, make_app: MakeApp, clock: Clock):
        """The Idempotency-Key draft (§2.6): 409 while the first request is still being worked on."""
        with RestUpstream({"/people": []}, keys=True) as upstream:
            alice = storage_of(make_app(url=upstream.url, DUALSTORAGE_HONOURS_KEYS=True)).for_user("alice")
            upstream.then(drop(), applied=True)
            alice.collection("people").create(name="Turing")
            upstream.then(answer(409, {"title": "A request is outstanding for this Idempotency-Key"}))
            clock.advance(60)
            alice.sync()
            assert alice.pending()[0].state == "in_doubt"
            alice.sync()
            assert (names(upstream), alice.pending()) == (["Turing"], [])

    def test_409_to_a_first_send_is_a_refusal(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_HONOURS_KEYS=True)
        alice.collection("people").create(name="Turing", remote=False)
        upstream.then(answer(409))
        alice.sync()
        assert alice.pending()[0].state == "rejected"

    def test_an_applied_answer_to_the_first_that_comes_after_a_refusal_of_the_second_counts(
        self, make_app: MakeApp, upstream: RestUpstream, clock: Clock
    ):
        """Lease lost, looked for, sent again, refused as a duplicate, and then the first answer arrives: 201."""
        one, other = (storage_of(make_app(url=upstream.url)).for_user("alice") for _ in range(2))
        people = one.collection("people").fetch()
        handle = upstream._handler

        def handler(received: Any) -> Any:
            if received.method == "POST":
                upstream._handler = lambda again: answer(422) if again.method == "POST" else handle(again)
                clock.advance(3600)
                other.sync()
            return handle(received)

        upstream._handler = handler
        people.create(name="Turing")
        assert (names(upstream).count("Turing"), one.pending()) == (1, [])


class TestBounds:
    def test_a_write_whose_sender_dies_each_time_is_held_in_the_end(self, user: User, clock: Clock):
        """A lease that ended is a send that ended in doubt; this one kills its worker each time."""
        alice = user(DUALSTORAGE_MAX_ATTEMPTS=3)
        result = alice.collection("people").fetch().get(1).save(age=41, remote=False)
        engine, sends = alice._engine, 0
        for _ in range(8):
            with engine.outbox.transaction(alice.owner) as change:
                write = change.get(result.write_id)
                sends += claim(engine, change, write, alice.declaration(write), 5.0, explicit=True) is not None
            clock.advance(3600)
        assert sends == 3
        assert alice.pending()[0].state == "in_doubt"

    def test_looking_in_an_outage_is_no_send(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(drop(), applied=True)
        people.create(name="Turing")
        upstream.unplug()
        for _ in range(10):
            clock.advance(600)
            alice.sync()
        upstream.plug()
        clock.advance(600)
        alice.sync()
        assert (names(upstream).count("Turing"), alice.pending()) == (1, [])


class TestWhoseRecordIsIt:
    """One record is made by one write: what may be another's is its owner's to judge."""

    @pytest.fixture
    def alice(self, user: User) -> UserStorage:
        alice = user()
        alice.collection("people").fetch()
        return alice

    def test_not_that_of_an_equal_create_just_before(self, alice: UserStorage, upstream: RestUpstream, clock: Clock):
        """The first was applied, the second never arrived: it is not taken for the first."""
        people = alice.collection("people")
        people.create(name="Coffee")
        upstream.then(drop())
        assert people.create(name="Coffee").pending_write.state == "in_doubt"
        clock.advance(60)
        alice.sync()
        assert (names(upstream).count("Coffee"), alice.pending()) == (2, [])

    def test_not_of_either_where_two_equal_ones_are_in_doubt(
        self, alice: UserStorage, upstream: RestUpstream, clock: Clock
    ):
        people = alice.collection("people")
        upstream.then(drop(), applied=True)
        people.create(name="Coffee")
        upstream.then(drop())
        people.create(name="Coffee")
        clock.advance(60)
        alice.sync()
        assert [write.not_before for write in alice.pending()] == [None, None]

    def test_both_go_again_where_neither_was_made(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user(DUALSTORAGE_SYNC_CONCURRENCY=1)
        people = alice.collection("people").fetch()
        for _ in range(2):
            upstream.then(drop())
            people.create(name="Coffee")
        clock.advance(60)
        alice.sync()
        assert (names(upstream).count("Coffee"), alice.pending()) == (2, [])

    def test_not_twice_what_a_hook_finds(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """The app's hook can not tell them apart: the first keeps it, the second is held."""
        dualstorage = DualStorage()
        dualstorage.reconcile(lambda write, reader: {"id": 101, "name": "Coffee"})
        alice = storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")
        for _ in range(2):
            upstream.then(drop())
            alice.collection("people").create(name="Coffee")
        clock.advance(60)
        assert alice.sync().applied == 1
        assert [(write.state, write.not_before) for write in alice.pending()] == [("in_doubt", None)]

    def test_a_copy_from_before_the_owner_was_forgotten_is_no_evidence(
        self, alice: UserStorage, upstream: RestUpstream, clock: Clock
    ):
        upstream.then(drop(), applied=True)
        alice.collection("people").create(name="Turing")
        alice.forget("alice")
        clock.advance(60)
        alice.sync()
        assert alice.pending()[0].not_before is None
        assert names(upstream).count("Turing") == 1


class TestWhatIsCompared:
    """With the records of the list: what went out, as the list would show it."""

    @pytest.mark.parametrize("arrived", [True, False])
    def test_not_what_the_app_keeps_to_itself(self, user: User, upstream: RestUpstream, clock: Clock, arrived: bool):
        class Person(Model):
            def to_json(self, **options: Any) -> Any:
                return {name: value for name, value in self.items() if name != "colour_in_list"}

        alice = user(dualstorage=registered(model=Person))
        self.lose(alice, upstream, clock, arrived, colour_in_list="red")
        assert (names(upstream).count("Turing"), alice.pending()) == (1, [])

    @pytest.mark.parametrize("arrived", [True, False])
    @pytest.mark.parametrize("wrap", ["data.person", lambda record: {"person": record}], ids=["place", "function"])
    def test_not_the_envelope_of_the_request(
        self, user: User, upstream: RestUpstream, clock: Clock, wrap: Any, arrived: bool
    ):
        handle = upstream._handler

        def unwrap(received: Any) -> Any:
            body = received.json() if received.body else {}
            inner = body.get("person") or body.get("data", {}).get("person")
            if inner is None:
                return handle(received)
            upstream.records["/people"].append({"id": 101, **inner})
            return answer(201, {"id": 101, **inner})

        upstream._handler = unwrap
        alice = user(dualstorage=registered(dialect=Dialect(wrap=wrap)))
        self.lose(alice, upstream, clock, arrived)
        assert (names(upstream).count("Turing"), alice.pending()) == (1, [])

    def test_what_no_list_shows_can_not_be_told_by_it(self, user: User, upstream: RestUpstream, clock: Clock):
        """A password is sent and never shown: one with the same name is not "another", but unclear."""
        handle = upstream._handler

        def hide(received: Any) -> Any:
            told = handle(received)
            for row in upstream.records["/people"]:
                row.pop("password", None)
            return told

        upstream._handler = hide
        alice = user()
        self.lose(alice, upstream, clock, True, password="hunter2")
        assert (names(upstream).count("Turing"), alice.pending()[0].not_before) == (1, None)

    def test_through_the_apps_parse(self, user: User, upstream: RestUpstream, clock: Clock):
        class Person(Model):
            def parse(self, response: Any) -> Any:
                return {"id": response.get("id"), "called": response["name"], "seen": response.get("seen")}

            def to_json(self, **options: Any) -> Any:
                return {"name": self["called"]}

        alice = user(dualstorage=registered(model=Person))
        alice.collection("people").fetch()
        upstream.records["/people"][0]["seen"] = "today"
        upstream.then(drop(), applied=True)
        alice.collection("people").create(called="Turing")
        clock.advance(60)
        alice.sync()
        assert (names(upstream).count("Turing"), alice.pending()) == (1, [])

    def lose(self, alice: UserStorage, upstream: RestUpstream, clock: Clock, arrived: bool, **more: Any) -> None:
        people = alice.collection("people").fetch()
        upstream.then(drop(), applied=arrived)
        people.create(name="Turing", **more)
        clock.advance(60)
        alice.sync()


class TestTheWholeList:
    @pytest.mark.parametrize("how", ["body", "link", "total"])
    def test_the_first_page_of_one_is_no_proof(self, user: User, upstream: RestUpstream, clock: Clock, how: str):
        """A paged list, as Django REST framework has it: the app's parse takes the page out of its envelope."""

        def parse(self: Any, response: Any) -> Any:
            return response["results"] if isinstance(response, dict) and "results" in response else response

        alice = user(dualstorage=registered(parse=parse))
        people = alice.collection("people").fetch()
        upstream.then(drop(), applied=True)
        people.create(name="Turing")
        clock.advance(60)
        first = upstream.records["/people"][:1]
        page = {
            "body": answer(200, {"count": 2, "next": "/people?page=2", "results": first}),
            "link": answer(200, first, headers={"Link": "</people?page=2>; rel=next"}),
            "total": answer(200, first, headers={"X-Total-Count": "2"}),
        }[how]
        upstream.then(page)
        alice.sync()
        assert (names(upstream).count("Turing"), alice.pending()[0].not_before) == (1, None)

    @pytest.mark.parametrize("status", [403, 404, 405, 410])
    def test_where_there_is_none_its_owner_is_asked(
        self, user: User, upstream: RestUpstream, clock: Clock, status: int
    ):
        """What it is nested under was deleted, or the API has no list: asking again and again tells no more."""
        alice = user()
        upstream.then(drop(), answer(status))
        alice.collection("people").create(name="Turing")
        clock.advance(60)
        alice.sync()
        assert (alice.pending()[0].state, alice.pending()[0].not_before) == ("in_doubt", None)


class TestOneLeaseEach:
    """Looking takes its time, and the send after it has a lease of its own: another worker keeps off."""

    def test_for_the_list_and_the_create(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """Each within its deadline of 20 s, the list in 18 and the create in 15."""
        one, other = (
            storage_of(make_app(url=upstream.url, DUALSTORAGE_TIMEOUT=(1.0, 20.0))).for_user("alice") for _ in range(2)
        )
        people = one.collection("people").fetch()
        upstream.then(drop())
        people.create(name="Turing")
        clock.advance(60)
        handle, slow = upstream._handler, iter([18.0, 15.0])

        def handler(received: Any) -> Any:
            seconds = next(slow, None)
            if seconds is not None:
                clock.advance(seconds)
                if received.method == "POST":
                    other.sync()
            return handle(received)

        upstream._handler = handler
        one.sync()
        assert names(upstream).count("Turing") == 1

    @pytest.mark.parametrize(("pages", "sends"), [(3, 1), (4, 1)], ids=["in time", "too long, so another took over"])
    def test_for_the_apps_hook_and_the_create(
        self, make_app: MakeApp, upstream: RestUpstream, clock: Clock, pages: int, sends: int
    ):
        """The hook reads pages, each within the deadline of 5 s: together they come near a lease, or outlast it."""
        dualstorage = DualStorage()

        @dualstorage.reconcile
        def find(write: Any, client: Any) -> Any:
            for page in range(pages):
                rows = client.get("/people", {"page": str(page)}).json()
            return next((row for row in rows if row["name"] == "Turing"), None)

        one, other = (
            storage_of(make_app(dualstorage, url=upstream.url, DUALSTORAGE_TIMEOUT=(1.0, 5.0))).for_user("alice")
            for _ in range(2)
        )
        people = one.collection("people").fetch()
        upstream.then(drop())
        people.create(name="Turing")
        clock.advance(60)
        handle, busy = upstream._handler, []

        def handler(received: Any) -> Any:
            if busy:
                return handle(received)
            if "page=" in received.target:
                clock.advance(4.9)
            if received.method == "POST" or "page=3" in received.target:
                busy.append(True)
                clock.advance(4.9)
                other.sync()
            return handle(received)

        upstream._handler = handler
        one.sync()
        assert names(upstream).count("Turing") == sends
