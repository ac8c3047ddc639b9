"""What becomes of one write: withdrawn, refused, in doubt, in conflict, sent again. Over real sockets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from flask import render_template_string

from flask_dualstorage import (
    Collection,
    DualStorage,
    Model,
    NoCredentials,
    OutboxFull,
    Rejected,
    UpstreamError,
    ValidationFailed,
    WriteBusy,
)
from flask_dualstorage.tokens import make_nonce
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import Behaviour, Line, Received, Then, answer, cut, cut_json, drop, html, redirect, reset
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, User, storage_of

LOST: list[Behaviour] = [drop(), reset(), cut(3), cut_json({"id": 101, "name": "Turing"}), html(201), answer(500)]
LOST_NAMES = ["drop", "reset", "cut", "cut_json", "html", "500"]

NotesOf = Callable[[Any], Collection]


def key_of(sent: Received) -> str:
    """The idempotency key that a write carried."""
    return sent.headers["Idempotency-Key"]


def meanwhile(do: Callable[[], Any], then: Behaviour) -> Behaviour:
    """While the upstream has the request, and before it answers, something else happens."""

    def behave(line: Line) -> Then:
        do()
        return then(line)

    return behave


def states(alice: UserStorage) -> list[str]:
    """The states of all that is pending, in order."""
    return [write.state for write in alice.pending()]


class TestAccepted:
    def test_a_write_is_durable_before_a_byte_goes_upstream(self, user: User, upstream: RestUpstream):
        """What the upstream sees in the outbox while it has the request: another process would see the same."""
        alice, other = user(), user()
        seen: list[Any] = []
        upstream.then(meanwhile(lambda: seen.extend(other.pending()), answer(201, {"id": 7})))
        alice.collection("people").create(name="Turing")
        assert [(write.state, write.kind, write.attributes["name"]) for write in seen] == [
            ("sending", "create", "Turing")
        ]
        assert alice.pending() == []

    def test_what_is_being_sent_can_not_be_discarded_or_retried(self, user: User, upstream: RestUpstream):
        alice, other = user(), user()
        refused: list[type[Exception]] = []

        def try_both() -> None:
            for verb in (other.discard, other.retry):
                try:
                    verb(other.pending()[0].id)
                except WriteBusy as error:
                    refused.append(type(error))

        upstream.then(meanwhile(try_both, answer(201, {"id": 7})))
        alice.collection("people").create(name="Turing")
        assert refused == [WriteBusy, WriteBusy]

    def test_an_owner_has_room_for_so_many(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_MAX_PENDING=2)
        people = alice.collection("people")
        first = people.create(name="one", remote=False)
        people.create(name="two", remote=False)
        with pytest.raises(OutboxFull) as raised:
            people.create(name="three", remote=False)
        assert raised.value.code == 507
        first.save(name="still edited", remote=False)
        assert len(alice.pending()) == 2

    def test_an_answer_with_a_location_alone_is_read_again(self, user: User, upstream: RestUpstream):
        upstream.then(
            answer(201, headers={"Location": "/people/7"}),
            answer(200, {"id": 7, "name": "Turing", "made": "today"}),
        )
        person = user().collection("people").create(name="Turing")
        assert dict(person) == {"id": 7, "name": "Turing", "made": "today"}
        assert upstream.requests == [("POST", "/people"), ("GET", "/people/7")]

    def test_a_create_that_names_no_id_is_in_doubt(self, user: User, upstream: RestUpstream):
        upstream.then(answer(200, {"ok": True}))
        person = user().collection("people").create(name="Turing")
        assert person.pending_write.state == "in_doubt"

    @pytest.mark.parametrize("status", [307, 308])
    def test_redirects_that_keep_the_method_are_followed(self, user: User, upstream: RestUpstream, status: int):
        upstream.then(redirect("/people/", status), answer(201, {"id": 7}))
        assert user().collection("people").create(name="Turing").id == 7
        assert [target for _, target, _ in upstream.writes] == ["/people", "/people/"]

    @pytest.mark.parametrize("status", [301, 302, 303])
    def test_others_are_not_for_the_write_would_be_lost(self, user: User, upstream: RestUpstream, status: int):
        upstream.then(redirect("/people/", status))
        with pytest.raises(Rejected, match="redirects to /people/"):
            user().collection("people").create(name="Turing")
        assert len(upstream.received) == 1


class TestWithdrawn:
    """The call that made a write hears of its refusal, and the write is as if it had never been."""

    @pytest.mark.parametrize("status", [400, 401, 403, 405, 406, 409, 413, 414, 415, 418, 422, 501, 505])
    def test_a_refused_create(self, user: User, upstream: RestUpstream, status: int):
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(answer(status, {"detail": "No."}))
        with pytest.raises(Rejected, match=r"No\.") as raised:
            people.create(name="Turing")
        assert (raised.value.status, raised.value.in_doubt, raised.value.pending_write) == (status, False, None)
        assert (alice.pending(), people.pluck("name")) == ([], ["Ada", "Grace"])

    @pytest.mark.parametrize("verb", ["save", "destroy"])
    def test_a_refused_save_or_destroy(self, user: User, upstream: RestUpstream, verb: str):
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(answer(403))
        with pytest.raises(Rejected):
            people.get(1).save(age=41) if verb == "save" else people.get(1).destroy()
        again = alice.collection("people").fetch(remote=False)
        assert (alice.pending(), again.get(1)["age"], again.dirty_models()) == ([], 36, [])

    def test_a_5xx_says_that_it_may_have_been_applied(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(answer(500), applied=True)
        with pytest.raises(UpstreamError) as raised:
            people.create(name="Turing")
        assert (raised.value.in_doubt, raised.value.pending_write, alice.pending()) == (True, None, [])

    def test_the_answer_is_there_for_the_form(self, user: User, upstream: RestUpstream):
        upstream.then(answer(422, {"errors": [{"pointer": "#/age", "detail": "too young"}]}))
        with pytest.raises(Rejected) as raised:
            user().collection("people").create(age=-1)
        assert raised.value.errors == {"age": ["too young"]}
        assert raised.value.upstream_response.status_code == 422
        assert raised.value.code == 502

    def test_the_model_keeps_what_was_typed_and_can_be_saved_again(self, user: User, upstream: RestUpstream):
        ada = user().collection("people").fetch().get(1)
        upstream.then(answer(422))
        with pytest.raises(Rejected):
            ada.save(age=-1)
        ada.save(age=41)
        assert upstream.find("/people", 1)["age"] == 41
        assert key_of(upstream.sent[0]) != key_of(upstream.sent[1])


class TestNotWithdrawn:
    """What holds more than this call's edit is kept, and the error carries the write."""

    def test_where_it_had_folded_into_an_earlier_edit(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        ada.save(name="Lovelace", remote=False)
        upstream.then(answer(422))
        with pytest.raises(Rejected) as raised:
            ada.save(age=-1)
        assert raised.value.pending_write is not None
        [write] = alice.pending()
        assert (write.state, write.attributes) == ("rejected", {"id": 1, "name": "Lovelace", "age": -1})

    def test_where_another_edit_joined_meanwhile(self, user: User, upstream: RestUpstream):
        """The tail folds into the refused head, and goes with a new key."""
        alice, other = user(), user()
        ada = alice.collection("people").fetch().get(1)
        theirs = other.collection("people").fetch().get(1)
        upstream.then(meanwhile(lambda: theirs.save(name="Lovelace", remote=False), answer(422)))
        with pytest.raises(Rejected) as raised:
            ada.save(age=-1)
        assert raised.value.pending_write is not None
        [write] = alice.pending()
        assert write.attributes == {"id": 1, "name": "Lovelace", "age": -1}
        alice.collection("people").fetch(remote=False).get(1).save(age=41)
        assert upstream.writes[-1][2] == {"id": 1, "name": "Lovelace", "age": 41}
        assert key_of(upstream.sent[0]) != key_of(upstream.sent[1])
        assert alice.pending() == []

    def test_where_something_refers_to_it(self, user: User, upstream: RestUpstream):
        alice, other = user(), user()

        def refer() -> None:
            other.collection("notes").create(person_id=other.pending()[0].record_id, remote=False)

        upstream.then(meanwhile(refer, answer(422)))
        with pytest.raises(Rejected):
            alice.collection("people").create(name="")
        parent, child = alice.pending()
        assert (parent.state, child.state, child.waits_for) == ("rejected", "queued", (parent.id,))

    def test_unauthorized_it_stays_queued(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        ada.save(name="Lovelace", remote=False)
        upstream.then(answer(401))
        with pytest.raises(UpstreamError) as raised:
            ada.save(age=41)
        assert (raised.value.status, states(alice)) == (401, ["queued"])

    @pytest.mark.parametrize("lost", LOST[:-1], ids=LOST_NAMES[:-1])
    def test_in_doubt_is_kept_and_returned(self, user: User, upstream: RestUpstream, lost: Behaviour):
        alice = user()
        upstream.then(lost)
        person = alice.collection("people").create(name="Turing")
        assert (person.dirty, person.pending_write.state, states(alice)) == (True, "in_doubt", ["in_doubt"])

    @pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
    def test_not_now_is_kept_with_its_key_and_bytes(self, user: User, upstream: RestUpstream, status: int):
        alice = user(DUALSTORAGE_HONOURS_KEYS=True)
        upstream.then(answer(status))
        person = alice.collection("people").create(name="Turing")
        assert (person.dirty, states(alice)) == (True, ["queued"])
        assert alice.sync().applied == 1
        first, second = upstream.sent
        assert (key_of(first), first.body) == (key_of(second), second.body)

    def test_refused_connections_drop_the_key(self, user: User, upstream: RestUpstream):
        """No byte can have arrived: an edit folds in, and nothing is frozen."""
        alice = user()
        upstream.unplug()
        person = alice.collection("people").create(name="Turing")
        person.save(age=41)
        upstream.plug()
        assert alice.sync().applied == 1
        assert upstream.writes == [("POST", "/people", {"name": "Turing", "age": 41})]


class TestCredentials:
    def test_after_a_401_in_a_flush_writes_wait_and_it_is_no_attempt(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_SYNC_CONCURRENCY=1)
        people = alice.collection("people")
        people.create(name="Turing", remote=False)
        people.create(name="Hopper", remote=False)
        upstream.then(answer(401))
        report = alice.sync()
        assert (report.applied, report.queued, len(upstream.writes)) == (0, 2, 1)
        assert [(write.state, write.attempts) for write in alice.pending()] == [("queued", 0), ("queued", 0)]
        assert alice.sync().applied == 2

    def test_the_next_flush_tries_one_write(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people")
        for count in range(20):
            people.create(name=f"Person {count}", remote=False)
        upstream.then(*[answer(401)] * 8)
        alice.sync()
        before = len(upstream.writes)
        upstream.then(*[answer(401)] * 20)
        alice.sync()
        assert len(upstream.writes) == before + 1

    def test_without_a_credential_a_save_is_kept_and_a_fetch_is_a_401(self, user: User, upstream: RestUpstream):
        dualstorage = DualStorage()
        known: dict[str, Any] = {"user:alice": {"Authorization": "Bearer one"}}

        @dualstorage.upstream_auth
        def auth(owner: str, name: str) -> Any:
            if owner not in known:
                raise NoCredentials
            assert name == "default"
            return known[owner]

        alice = user(dualstorage=dualstorage)
        people = alice.collection("people").fetch()
        assert upstream.received[-1].headers["Authorization"] == "Bearer one"
        credential = known.pop("user:alice")
        assert people.get(1).save(age=41).dirty
        with pytest.raises(NoCredentials) as raised:
            alice.collection("people").fetch(when_dirty="rebase")
        assert raised.value.code == 401
        assert (alice.sync().queued, upstream.writes, alice.pending()[0].attempts) == (1, [], 0)
        known["user:alice"] = credential
        assert alice.sync().applied == 1

    def test_it_is_asked_for_once_for_each_call_or_flush(self, user: User, upstream: RestUpstream):
        dualstorage = DualStorage()
        asked: list[str] = []

        @dualstorage.upstream_auth
        def auth(owner: str, name: str) -> None:
            asked.append(owner)

        alice = user(dualstorage=dualstorage)
        people = alice.collection("people").fetch()
        people.get(1).save(age=41)
        assert len(asked) == 2
        for count in range(5):
            people.create(name=f"Person {count}", remote=False)
        alice.sync()
        assert len(asked) == 3

    def test_it_is_never_stored(self, user: User, upstream: RestUpstream, tmp_path: Any):
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, name: {"Authorization": "Bearer very-secret"})
        alice = user(dualstorage=dualstorage)
        upstream.then(drop())
        alice.collection("people").create(name="Turing")
        alice.collection("people").fetch()
        files = [path for path in (tmp_path / "instance").rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if b"very-secret" in path.read_bytes()]


class TestInDoubt:
    """An answer was lost: what is known to be unknown."""

    @pytest.mark.parametrize("lost", LOST, ids=LOST_NAMES)
    def test_a_create_is_held_and_not_sent_again(self, user: User, upstream: RestUpstream, lost: Behaviour):
        alice = user()
        alice.collection("people").create(name="Turing", remote=False)
        upstream.then(lost, applied=True)
        assert alice.sync().in_doubt == 1
        report = alice.sync()
        assert (report.in_doubt, report.applied, len(upstream.writes)) == (1, 0, 1)

    def test_its_owner_may_send_it_again_with_the_same_key_and_bytes(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_IN_DOUBT="hold")
        upstream.then(drop())
        person = alice.collection("people").create(name="Turing")
        assert alice.retry(person.pending_write.id).state == "applied"
        first, second = upstream.sent
        assert (key_of(first), first.body) == (key_of(second), second.body)

    def test_or_give_it_up(self, user: User, upstream: RestUpstream):
        alice = user()
        people = alice.collection("people")
        upstream.then(drop(), applied=True)
        person = people.create(name="Turing")
        alice.discard(person.pending_write.id)
        assert (alice.pending(), people.fetch().pluck("name")) == ([], ["Ada", "Grace", "Turing"])

    @pytest.mark.parametrize("lost", LOST, ids=LOST_NAMES)
    def test_where_keys_are_honoured_it_goes_again_and_is_there_once(self, user: User, lost: Behaviour):
        with RestUpstream({"/people": []}, keys=True) as upstream:
            alice = user(url=upstream.url, DUALSTORAGE_HONOURS_KEYS=True)
            alice.collection("people").create(name="Turing", remote=False)
            upstream.then(lost, applied=True)
            assert alice.sync().in_doubt == 1
            assert alice.sync().applied == 1
            first, second = upstream.sent
            assert (key_of(first), first.body) == (key_of(second), second.body)
            assert upstream.records["/people"] == [{"id": 101, "name": "Turing"}]

    def test_but_not_after_the_upstream_has_forgotten_the_key(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user(DUALSTORAGE_HONOURS_KEYS=60)
        upstream.then(drop(), applied=True)
        alice.collection("people").create(name="Turing")
        clock.advance(61)
        assert alice.sync().in_doubt == 1
        assert len(upstream.writes) == 1

    def test_a_worker_comes_back_to_it_in_its_time(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        """The backoff is ours: an explicit sync passes over it, a worker asks who is due."""
        app = make_app(url=upstream.url)
        storage = storage_of(app)
        storage.engine.jitter = lambda: 0.5
        people = storage.for_user("alice").collection("people").fetch()
        upstream.then(drop())
        people.get(1).save(age=41)
        assert storage.owners(due=True) == []
        clock.advance(1)
        assert storage.owners(due=True) == ["user:alice"]

    @pytest.mark.parametrize("lost", LOST, ids=LOST_NAMES)
    @pytest.mark.parametrize("verb", ["save", "destroy"])
    def test_an_update_or_delete_goes_again_with_the_same_key_and_bytes(
        self, user: User, upstream: RestUpstream, verb: str, lost: Behaviour
    ):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        ada.save(age=41, remote=False) if verb == "save" else ada.destroy(remote=False)
        upstream.then(lost, applied=True)
        alice.sync()
        assert alice.sync().remaining == 0
        first = upstream.sent[0]
        assert {(one.method, one.target, key_of(one), one.body) for one in upstream.sent} == {
            (first.method, first.target, key_of(first), first.body)
        }
        assert upstream.find("/people", 1) == (None if verb == "destroy" else {"id": 1, "name": "Ada", "age": 41})

    def test_so_many_times_and_then_it_is_its_owners(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_MAX_ATTEMPTS=3)
        ada = alice.collection("people").fetch().get(1)
        upstream.then(*[drop()] * 3)
        ada.save(age=41)
        alice.sync()
        alice.sync()
        assert (alice.sync().in_doubt, len(upstream.writes), alice.pending()[0].attempts) == (1, 3, 3)
        assert alice.retry(alice.pending()[0].id).state == "applied"
        assert len({key_of(one) for one in upstream.sent}) == 1

    @pytest.mark.parametrize(("policy", "sends"), [("resend", 2), ("hold", 1)])
    @pytest.mark.parametrize("how", ["config", "collection"])
    def test_an_app_may_decide_otherwise(self, user: User, upstream: RestUpstream, how: str, policy: str, sends: int):
        dualstorage = DualStorage()
        dualstorage.register(type("Pets", (Collection,), {"name": "pets", "in_doubt": policy}))
        config = {"DUALSTORAGE_IN_DOUBT": policy} if how == "config" else {}
        alice = user(dualstorage=dualstorage, **config)
        name = "people" if how == "config" else "pets"
        upstream.then(drop())
        alice.collection(name).create(name="Turing")
        alice.sync()
        assert len(upstream.writes) == sends


class TestTails:
    """A new edit beside a write whose bytes are fixed already."""

    def test_it_waits_for_its_head_and_is_rebased_on_the_answer(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(drop())
        ada.save(age=41)
        ada.save(name="Lovelace", remote=False)
        assert states(alice) == ["in_doubt", "queued"]
        upstream.then(answer(200, {"id": 1, "name": "Ada", "age": 41, "version": 2}))
        assert alice.sync().applied == 2
        head, again, tail = upstream.sent
        assert (key_of(head), head.body) == (key_of(again), again.body)
        assert key_of(tail) != key_of(head)
        assert tail.json() == {"id": 1, "name": "Lovelace", "age": 41, "version": 2}

    def test_a_save_that_finds_a_stuck_head_sends_both_in_order(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(drop())
        ada.save(age=41)
        result = ada.save(age=42)
        assert (result.dirty, alice.pending()) == (False, [])
        assert [body["age"] for *_, body in upstream.writes] == [41, 41, 42]

    def test_edits_of_a_tail_fold_into_it(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(drop())
        ada.save(age=41)
        for age in (42, 43, 44):
            ada.save(age=age, remote=False)
        assert len(alice.pending()) == 2
        alice.sync()
        assert [body["age"] for *_, body in upstream.writes] == [41, 41, 44]

    def test_it_is_dropped_if_nothing_is_left_of_it(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(drop())
        ada.save(age=41)
        ada.save(name="LOVELACE", remote=False)
        upstream.then(answer(200, {"id": 1, "name": "LOVELACE", "age": 41}))
        assert (alice.sync().remaining, len(upstream.writes)) == (0, 2)

    def test_while_a_create_is_in_doubt_its_tail_waits(self, user: User, upstream: RestUpstream):
        alice = user()
        upstream.then(drop(), applied=True)
        person = alice.collection("people").create(name="Turing")
        person.save(age=41)
        assert (states(alice), len(upstream.writes)) == (["in_doubt", "queued"], 1)
        assert alice.pending()[1].waits_for == (alice.pending()[0].id,)
        alice.sync()
        assert len(upstream.writes) == 1

    def test_and_goes_to_the_new_id_once_that_is_known(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_IN_DOUBT="hold")
        upstream.then(drop())
        person = alice.collection("people").create(name="Turing")
        person.save(age=41, remote=False)
        alice.retry(alice.pending()[0].id)
        alice.sync()
        assert upstream.writes[-1][:2] == ("PUT", "/people/101")
        assert upstream.find("/people", 101) == {"id": 101, "name": "Turing", "age": 41}

    def test_a_delete_behind_a_create_in_doubt_takes_it_away_again(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_IN_DOUBT="hold")
        upstream.then(drop())
        person = alice.collection("people").create(name="Turing")
        person.destroy(remote=False)
        assert [write.kind for write in alice.pending()] == ["create", "delete"]
        alice.retry(alice.pending()[0].id)
        alice.sync()
        assert [one[:2] for one in upstream.writes] == [
            ("POST", "/people"),
            ("POST", "/people"),
            ("DELETE", "/people/101"),
        ]
        assert (len(upstream.records["/people"]), alice.pending()) == (2, [])


class TestConflicts:
    """Somebody else changed the record."""

    @pytest.fixture
    def upstream(self):
        with RestUpstream({"/people": [{"id": 1, "name": "Ada", "age": 36}]}, etags=True) as upstream:
            yield upstream

    @pytest.fixture
    def alice(self, user: User) -> UserStorage:
        return user()

    @pytest.fixture
    def ada(self, alice: UserStorage) -> Model:
        loaded = alice.collection("people").load(1)
        assert loaded is not None
        return loaded

    def test_a_known_validator_goes_out_as_if_match(self, ada: Model, upstream: RestUpstream):
        ada.save(age=41)
        ada.save(age=42)
        assert upstream.find("/people", 1)["age"] == 42
        tags = [one.headers["If-Match"] for one in upstream.sent]
        assert len(set(tags)) == 2

    def test_an_answer_without_one_clears_it(self, ada: Model, upstream: RestUpstream):
        upstream.then(answer(200, {"id": 1, "name": "Ada", "age": 41}))
        ada.save(age=41)
        ada.save(age=42)
        assert "If-Match" not in upstream.sent[-1].headers

    def test_another_state_is_a_conflict_with_theirs(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        upstream.edit("/people", 1, age=40)
        result = ada.save(age=41)
        assert (result.dirty, result.state) == (True, "conflict")
        [write] = alice.pending()
        assert (write.base["age"], write.attributes["age"], write.theirs["age"]) == (36, 41, 40)
        assert upstream.requests[-1] == ("GET", "/people/1")

    def test_the_wanted_state_is_applied_already(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        """A lost answer, and keys that nobody honours: the second send meets what the first one made."""
        upstream.then(drop(), applied=True)
        ada.save(age=41)
        assert alice.sync().applied == 1
        assert (upstream.requests[-1], alice.pending()) == (("GET", "/people/1"), [])

    def test_no_sync_sends_it_again(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        upstream.edit("/people", 1, age=40)
        ada.save(age=41)
        assert alice.sync().conflict == 1
        assert len(upstream.writes) == 1

    def test_setting_the_conflicting_field_anew_decides_it(
        self, alice: UserStorage, ada: Model, upstream: RestUpstream
    ):
        upstream.edit("/people", 1, age=40, name="Lovelace")
        ada.save(age=41)
        assert ada.save(age=42).state == "applied"
        assert upstream.find("/people", 1) == {"id": 1, "name": "Lovelace", "age": 42}
        assert (key_of(upstream.sent[0]) != key_of(upstream.sent[1]), alice.pending()) == (True, [])

    def test_setting_another_field_leaves_it_one(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        upstream.edit("/people", 1, age=40)
        ada.save(age=41)
        assert ada.save(name="Lovelace").state == "conflict"
        assert alice.pending()[0].attributes == {"id": 1, "name": "Lovelace", "age": 41}
        assert len(upstream.writes) == 1

    def test_discarding_shows_theirs(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        upstream.edit("/people", 1, age=40)
        alice.discard(ada.save(age=41).write_id)
        assert (alice.pending(), alice.collection("people").fetch().get(1)["age"]) == ([], 40)

    def test_retrying_sends_mine_on_their_version(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        upstream.edit("/people", 1, age=40)
        assert alice.retry(ada.save(age=41).write_id).state == "applied"
        assert upstream.find("/people", 1)["age"] == 41

    def test_a_delete_of_what_changed_meanwhile(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        upstream.edit("/people", 1, age=40)
        assert ada.destroy().state == "conflict"
        assert alice.pending()[0].theirs["age"] == 40
        assert upstream.find("/people", 1) is not None

    def test_deleting_it_instead_uses_their_version(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        upstream.edit("/people", 1, age=40)
        ada.save(age=41)
        assert ada.destroy().state == "applied"
        assert (upstream.find("/people", 1), alice.pending()) == (None, [])

    @pytest.mark.parametrize("status", [404, 410])
    def test_an_update_of_what_is_gone(self, alice: UserStorage, ada: Model, upstream: RestUpstream, status: int):
        upstream.then(answer(status))
        assert ada.save(age=41).state == "conflict"
        [write] = alice.pending()
        assert (write.theirs, "deleted" in write.reason) == (None, True)

    @pytest.mark.parametrize("status", [409, 428])
    def test_other_words_for_it(self, alice: UserStorage, ada: Model, upstream: RestUpstream, status: int):
        upstream.then(answer(status))
        assert ada.save(age=41).state == "conflict"
        assert alice.pending()[0].theirs["age"] == 36

    def test_a_create_under_an_id_that_is_taken(self, alice: UserStorage, upstream: RestUpstream):
        person = alice.collection("people").create(id=1, name="Turing")
        assert (person.pending_write.state, person.pending_write.theirs["name"]) == ("conflict", "Ada")

    def test_or_that_was_made_by_the_lost_first_try(self, alice: UserStorage, upstream: RestUpstream):
        upstream.then(answer(503), applied=True)
        alice.collection("people").create(id=7, name="Turing")
        assert (alice.sync().applied, alice.pending()) == (1, [])

    def test_where_theirs_can_not_be_read_it_waits(self, alice: UserStorage, ada: Model, upstream: RestUpstream):
        upstream.edit("/people", 1, age=40)
        upstream.then(answer(412), answer(500))
        assert ada.save(age=41).state == "queued"
        assert alice.sync().conflict == 1


class TestForms:
    """A form that is sent twice is one write."""

    @pytest.fixture
    def app(self, make_app: MakeApp, upstream: RestUpstream):
        dualstorage = DualStorage()
        dualstorage.register(type("Notes", (Collection,), {"name": "notes", "url": "/people/{person_id}/notes"}))
        app = make_app(dualstorage, url=upstream.url)

        @app.get("/form")
        def form() -> str:
            return render_template_string("{{ dualstorage.nonce() }}")

        return app

    @pytest.fixture
    def notes_of(self, alice: UserStorage) -> NotesOf:
        return lambda person_id: alice.collection("notes", person_id=person_id)

    @pytest.fixture
    def alice(self, app: Any) -> UserStorage:
        return storage_of(app).for_user("alice")

    @pytest.fixture
    def nonce(self, app: Any) -> str:
        return app.test_client().get("/form", headers={"X-User": "alice"}).text

    def test_double_clicked_online_it_is_one_record(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        people = alice.collection("people")
        first = people.create(name="Turing", nonce=nonce)
        second = people.create(name="Turing", nonce=nonce)
        assert (first.id, second.id, len(upstream.writes)) == (101, 101, 1)

    def test_sent_twice_in_an_outage_too(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        upstream.unplug()
        first, second = (alice.collection("people").create(name="Turing", nonce=nonce) for _ in range(2))
        assert (first.id, len(alice.pending())) == (second.id, 1)
        upstream.plug()
        alice.sync()
        third = alice.collection("people").create(name="Turing", nonce=nonce)
        assert (third.id, len(upstream.writes)) == (101, 1)

    def test_an_edit_too(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        for _ in range(2):
            alice.collection("people").load(1).save(age=41, nonce=nonce)
        assert len(upstream.writes) == 1

    def test_sent_again_after_its_record_was_numbered(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        """It is the same form, and does not undo what was edited since."""
        people = alice.collection("people")
        temp_id = people.create(name="Turing", remote=False).id
        people.get(temp_id).save(age=41, remote=False, nonce=nonce)
        alice.sync()
        alice.collection("people").load(temp_id).save(age=42)
        assert alice.collection("people").load(temp_id).save(age=41, nonce=nonce).state == "applied"
        assert upstream.find("/people", 101)["age"] == 42

    @pytest.mark.parametrize("forgotten", [False, True])
    def test_sent_again_after_the_record_above_was_numbered(
        self, alice: UserStorage, notes_of: NotesOf, upstream: RestUpstream, nonce: str, forgotten: bool
    ):
        person = alice.collection("people").create(name="Turing", remote=False)
        notes_of(person.id).create(text="hm", remote=False, nonce=nonce)
        alice.sync()
        if forgotten:
            alice.forget("alice", pending=True)
        notes_of(person.id).create(text="hm", nonce=nonce)
        keys = [key_of(sent) for sent in upstream.sent if sent.target.endswith("/notes")]
        assert len(set(keys)) == 1

    def test_a_second_click_while_the_first_is_on_its_way(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        seen: list[Any] = []

        def click() -> None:
            seen.append(alice.collection("people").create(name="Turing", nonce=nonce))

        upstream.then(meanwhile(click, answer(201, {"id": 7})))
        alice.collection("people").create(name="Turing", nonce=nonce)
        assert (seen[0].dirty, len(upstream.writes), alice.pending()) == (True, 1, [])

    def test_after_a_withdrawal_it_goes_with_the_same_key(
        self, make_app: MakeApp, upstream: RestUpstream, clock: Clock
    ):
        """The 500 may have been applied: the key lets the upstream tell, where it minds keys."""
        app = make_app(url=upstream.url, DUALSTORAGE_HONOURS_KEYS=True)
        alice, nonce = storage_of(app).for_user("alice"), make_nonce(app, clock)
        upstream.then(answer(500))
        with pytest.raises(UpstreamError):
            alice.collection("people").create(name="Turing", nonce=nonce)
        assert alice.collection("people").create(name="Turing", nonce=nonce).id == 101
        first, second = upstream.sent
        assert (key_of(first), first.body) == (key_of(second), second.body)

    def test_with_other_content_it_is_a_new_write(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        upstream.then(answer(422))
        with pytest.raises(Rejected):
            alice.collection("people").create(name="", nonce=nonce)
        alice.collection("people").create(name="Turing", nonce=nonce)
        assert key_of(upstream.sent[0]) != key_of(upstream.sent[1])

    def test_a_refused_one_that_is_sent_unchanged_is_refused_again(
        self, alice: UserStorage, upstream: RestUpstream, nonce: str
    ):
        upstream.then(answer(422), answer(422))
        for _ in range(2):
            with pytest.raises(Rejected):
                alice.collection("people").create(name="", nonce=nonce)
        assert alice.pending() == []

    def test_a_forged_one_is_refused_and_nothing_kept(self, alice: UserStorage, upstream: RestUpstream, nonce: str):
        with pytest.raises(ValidationFailed) as raised:
            alice.collection("people").create(name="Turing", nonce=nonce + "x")
        assert (list(raised.value.errors), alice.pending(), upstream.writes) == (["nonce"], [], [])

    def test_two_forms_are_two_writes(self, app: Any, alice: UserStorage, upstream: RestUpstream):
        for _ in range(2):
            nonce = app.test_client().get("/form", headers={"X-User": "alice"}).text
            alice.collection("people").create(name="Turing", nonce=nonce)
        assert len(upstream.writes) == 2


class TestRetryAfter:
    """What the upstream asks for is kept, by an explicit sync too; our own backoff is not."""

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize("form", ["seconds", "date"])
    def test_no_sync_sends_before_it_is_over(
        self, user: User, upstream: RestUpstream, clock: Clock, status: int, form: str
    ):
        alice = user()
        date = format_datetime(datetime.fromtimestamp(clock() + 30, UTC), usegmt=True)
        upstream.then(answer(status, headers={"Retry-After": "30" if form == "seconds" else date}))
        alice.collection("people").create(name="Turing")
        clock.advance(29)
        report = alice.sync()
        assert (report.applied, report.retry_after, len(upstream.writes)) == (0, 1, 1)
        clock.advance(1)
        assert alice.sync().applied == 1

    @pytest.mark.parametrize("status", [425, 429, 503, 408])
    def test_without_one_an_explicit_sync_goes_at_once(self, user: User, upstream: RestUpstream, status: int):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(answer(status))
        ada.save(age=41)
        assert alice.sync().applied == 1

    def test_the_owners_other_writes_wait_too(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user(DUALSTORAGE_SYNC_CONCURRENCY=1)
        people = alice.collection("people")
        for count in range(3):
            people.create(name=f"Person {count}", remote=False)
        upstream.then(answer(429, headers={"Retry-After": "30"}))
        alice.sync()
        alice.sync()
        assert len(upstream.writes) == 1
        clock.advance(30)
        assert alice.sync().applied == 3

    def test_so_does_a_write_made_meanwhile(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user()
        people = alice.collection("people").fetch()
        upstream.then(answer(429, headers={"Retry-After": "30"}))
        people.create(name="Turing")
        assert people.get(1).save(age=41).dirty
        assert len(upstream.writes) == 1
        clock.advance(30)
        assert alice.sync().applied == 2

    def test_a_429_is_for_this_owner_alone(self, make_app: MakeApp, upstream: RestUpstream):
        storage = storage_of(make_app(url=upstream.url))
        upstream.then(answer(429, headers={"Retry-After": "30"}))
        storage.for_user("alice").collection("people").create(name="Turing")
        assert storage.for_user("bob").collection("people").create(name="Hopper").id == 101

    def test_a_503_is_for_the_upstream(self, make_app: MakeApp, upstream: RestUpstream, clock: Clock):
        storage = storage_of(make_app(url=upstream.url))
        upstream.then(answer(503, headers={"Retry-After": "30"}))
        storage.for_user("alice").collection("people").create(name="Turing")
        assert storage.for_user("bob").collection("people").create(name="Hopper").dirty
        assert len(upstream.writes) == 1
        clock.advance(30)
        assert storage.for_user("bob").sync().applied == 1

    def test_post_sync_passes_the_time_on(self, make_app: MakeApp, upstream: RestUpstream):
        app = make_app(url=upstream.url)
        storage_of(app).for_user("alice").collection("people").create(name="Turing", remote=False)
        upstream.then(answer(503, headers={"Retry-After": "30"}))
        told = app.test_client().post("/dualstorage/sync", json={}, headers={"X-User": "alice"})
        assert (told.status_code, told.content_type, told.headers["Retry-After"]) == (
            503,
            "application/problem+json",
            "30",
        )


class TestBreaker:
    @pytest.mark.parametrize("fault", [drop(), reset(), answer(503), answer(408)], ids=["drop", "reset", "503", "408"])
    def test_opens_after_three_failures_and_then_nothing_is_tried(
        self, user: User, upstream: RestUpstream, fault: Behaviour
    ):
        alice = user(DUALSTORAGE_BREAKER_THRESHOLD=3)
        people = alice.collection("people").fetch()
        upstream.then(*[fault] * 3)
        for _ in range(3):
            people.fetch()
        before, connections = len(upstream.received), upstream.connections
        for _ in range(5):
            assert people.fetch().source == "cache"
            assert people.create(name="Turing").dirty
            assert alice.sync().online is False
        assert (len(upstream.received), upstream.connections) == (before, connections)

    def test_after_the_cooldown_one_success_closes_it(self, user: User, upstream: RestUpstream, clock: Clock):
        alice = user(DUALSTORAGE_BREAKER_THRESHOLD=3, DUALSTORAGE_BREAKER_COOLDOWN=5)
        people = alice.collection("people").fetch()
        upstream.unplug()
        for _ in range(3):
            people.fetch()
        people.create(name="Turing")
        upstream.plug()
        assert alice.sync().applied == 0
        clock.advance(5)
        assert alice.sync().applied == 1

    def test_an_error_that_is_an_answer_does_not_count(self, user: User, upstream: RestUpstream):
        people = user(DUALSTORAGE_BREAKER_THRESHOLD=1).collection("people").fetch()
        upstream.then(*[answer(422)] * 3)
        for _ in range(3):
            with pytest.raises(Rejected):
                people.create(name="")
        assert people.create(name="Turing").id == 101

    def test_within_one_page_the_first_refused_connection_holds(self, make_app: MakeApp, upstream: RestUpstream):
        """Two lists on one page, a breaker that is still closed: the second does not try."""
        app = make_app(url=upstream.url)

        @app.get("/")
        def page() -> str:
            storage = storage_of(app)
            sources = [storage.collection(name).fetch(max_age=0).source for name in ("people", "pets")]
            return " ".join(str(source) for source in sources)

        upstream.records["/pets"] = []
        client = app.test_client()
        assert client.get("/", headers={"X-User": "alice"}).text == "upstream upstream"
        upstream.unplug()
        failed: list[str] = []
        engine = storage_of(app).engine
        send = engine.upstream("default").send

        def counted(*args: Any) -> Any:
            failed.append("tried")
            return send(*args)

        engine.upstream("default").send = counted  # type: ignore[method-assign]  # this app's alone
        assert client.get("/", headers={"X-User": "alice"}).text == "cache cache"
        assert failed == ["tried"]
