"""Ways in which a write could be lost, doubled or changed that a review found: each is closed, and stays so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flask_dualstorage import (
    Collection,
    ConfigurationError,
    Dialect,
    DualStorage,
    Model,
    NotCached,
    PendingWrite,
    Rejected,
    UpstreamError,
    ValidationFailed,
)
from flask_dualstorage.policy.references import find
from flask_dualstorage.sync import settling
from flask_dualstorage.tokens import make_nonce
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, MakeApp, User, storage_of


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    records = {"/people": [{"id": 1, "name": "Ada", "age": 36}], "/people/1/notes": [{"id": 5, "text": "one"}]}
    with RestUpstream(records, keys=True) as upstream:
        yield upstream


class Notes(Collection):
    url = "/people/{person_id}/notes"


def nested(*more: type[Collection]) -> DualStorage:
    dualstorage = DualStorage()
    for each in (Notes, *more):
        dualstorage.register(type(each.__name__, (each,), {"name": each.__name__.lower()}))
    return dualstorage


def collection(name: str, /, **declared: Any) -> type[Collection]:
    return type(name, (Collection,), declared)


class TestForms:
    """The same key always carries the same bytes, whatever the lane holds meanwhile."""

    def test_a_form_sent_again_after_another_edit_does_not_lend_it_its_key(
        self, make_app: MakeApp, upstream: RestUpstream
    ):
        app = make_app(url=upstream.url)
        alice = storage_of(app).for_user("alice")
        nonce = make_nonce(app)
        ada = alice.collection("people").fetch().get(1)
        upstream.then(answer(500), applied=True)
        with pytest.raises(UpstreamError):
            ada.save(name="Lovelace", nonce=nonce)
        alice.collection("people").load(1, remote=False).save(age=99, remote=False)
        alice.collection("people").load(1, remote=False).save(name="Lovelace", nonce=nonce)
        alice.sync()
        assert upstream.find("/people", 1) == {"id": 1, "name": "Lovelace", "age": 99}
        bodies: dict[str, set[bytes]] = {}
        for request in upstream.sent:
            bodies.setdefault(request.headers["Idempotency-Key"], set()).add(request.body)
        assert [len(each) for each in bodies.values()] == [1] * len(bodies)

    def test_a_save_that_is_kept_is_not_withdrawn_when_the_same_save_is_refused(
        self, user: User, upstream: RestUpstream
    ):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.then(drop(), answer(500))
        assert ada.save(age=41).state == "in_doubt"
        ada.save()
        assert [write.attributes["age"] for write in alice.pending()] == [41]

    def test_nor_is_a_delete(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        ada.destroy(remote=False)
        upstream.then(answer(403))
        with pytest.raises(Rejected) as refused:
            ada.destroy()
        assert [write.state for write in alice.pending()] == ["rejected"]
        assert isinstance(refused.value.pending_write, PendingWrite)


class TestDeciding:
    """What an owner decides is what happens, and nothing else."""

    def test_a_retry_of_an_edit_whose_record_is_gone_upstream_sends_all_of_it(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.remove("/people", 1)
        assert ada.save(age=41).state == "conflict"
        alice.retry(alice.pending()[0].id)
        assert upstream.writes[-1][2] == {"id": 1, "name": "Ada", "age": 41}

    def test_a_create_in_doubt_takes_what_stands_behind_it_along(self, user: User, upstream: RestUpstream):
        alice = user()
        upstream.then(drop())
        person = alice.collection("people").create(name="Turing")
        person.save(age=41, remote=False)
        assert len(alice.discard(alice.pending()[0].id)) == 2
        assert (alice.sync().remaining, len(upstream.writes)) == (0, 1)

    def test_what_was_discarded_is_not_sent_by_the_write_behind_it(self, user: User, upstream: RestUpstream):
        alice = user(dualstorage=nested(collection("People", coalesce=False)))
        ada = alice.collection("people").fetch().get(1)
        ada.save(name="WRONG", remote=False)
        ada.save(age=50, remote=False)
        alice.discard(alice.pending()[0].id)
        alice.sync()
        assert upstream.find("/people", 1) == {"id": 1, "name": "Ada", "age": 50}

    def test_a_create_under_a_taken_id_is_retried_as_an_edit_of_the_record_that_is_there(
        self, user: User, upstream: RestUpstream
    ):
        alice = user()
        upstream.then(answer(409))
        alice.collection("people").create(id=1, age=99)
        assert alice.pending()[0].state == "conflict"
        assert alice.retry(alice.pending()[0].id).state == "applied"
        assert upstream.find("/people", 1) == {"id": 1, "name": "Ada", "age": 99}


class TestTemporaryIds:
    """None ever reaches the upstream, and nothing that refers to one is orphaned."""

    def test_local_records_follow_their_parent_to_its_real_id(self, user: User, upstream: RestUpstream):
        alice = user(dualstorage=nested(collection("Drafts", url="/people/{person_id}/drafts", local=True)))
        person = alice.collection("people").create(name="Turing", remote=False)
        alice.collection("drafts", person_id=person.id).create(text="later", about=person.id)
        alice.sync()
        real = alice.collection("people").load(person.id).id
        (draft,) = alice.collection("drafts", person_id=real)
        assert (draft["text"], draft["about"]) == ("later", real)
        assert len(alice.collection("drafts", person_id=person.id)) == 1

    def test_upstream_only_collections_refuse_them(self, user: User, upstream: RestUpstream):
        alice = user(
            dualstorage=nested(
                collection("Logs", remote=True), collection("Marks", url="/people/{person_id}/marks", remote=True)
            )
        )
        person = alice.collection("people").create(name="Turing", remote=False)
        with pytest.raises(ValidationFailed, match="sync it first"):
            alice.collection("logs").create(about=person.id)
        with pytest.raises(ValidationFailed, match="sync it first"):
            alice.collection("marks", person_id=person.id).fetch()
        assert upstream.requests == []

    def test_a_query_for_one_is_answered_from_here(self, user: User, upstream: RestUpstream):
        alice = user()
        person = alice.collection("people").create(name="Turing", remote=False)
        pets = alice.collection("pets").fetch(params={"owner": person.id})
        assert (len(pets), upstream.requests) == (0, [])

    def test_a_query_for_one_that_has_its_number_asks_for_that(self, user: User, upstream: RestUpstream):
        alice = user()
        upstream.records["/pets"] = []
        person = alice.collection("people").create(name="Turing", remote=False)
        alice.sync()
        alice.collection("pets").fetch(params={"owner": person.id})
        assert upstream.requests[-1][1].startswith("/pets?owner=1")
        assert not find([target for _, target in upstream.requests])


class TestHooks:
    """What the app's own code raises never strands a write, and never another's."""

    def test_headers_that_fail_leave_the_write_queued(self, user: User, upstream: RestUpstream):
        def headers(self: Collection) -> dict[str, str]:
            return {"X": {}["missing"]}

        alice = user(dualstorage=nested(collection("People", headers=headers)))
        result = alice.collection("people").create(name="Turing").pending_write
        assert (result.state, upstream.requests) == ("queued", [])
        assert "headers() failed: KeyError" in result.reason

    def test_a_credential_that_can_not_be_sent_leaves_it_queued(self, user: User, upstream: RestUpstream):
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, name: {"Authorization": "Bearer a\nb"})
        alice = user(dualstorage=dualstorage)
        assert alice.collection("people").create(name="Turing").pending_write.state == "queued"
        assert upstream.requests == []

    def test_offline_codes_that_fail_count_the_answer_as_it_is(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_OFFLINE_STATUS_CODES=lambda response: [1 / 0])
        assert alice.collection("people").create(name="Turing").dirty is False

    def test_a_parse_that_fails_oddly_leaves_it_in_doubt(self, user: User, upstream: RestUpstream):
        class Odd(Model):
            def parse(self, response: Any) -> Any:
                raise RuntimeError("odd")

        alice = user(dualstorage=nested(collection("People", model=Odd)))
        assert alice.collection("people").create(name="Turing").pending_write.state == "in_doubt"

    def test_a_declaration_that_fails_holds_up_only_its_own(self, user: User, upstream: RestUpstream):
        def broken(self: Collection) -> str:
            raise RuntimeError("no request here")

        good = user(dualstorage=nested(collection("Pets")))
        good.collection("pets").create(name="Rex", remote=False)
        good.collection("people").create(name="Turing", remote=False)
        worker = user(dualstorage=nested(collection("Pets", url=broken)))
        assert worker.sync().applied == 2, "where a write goes was fixed when it was stored"

    def test_a_hook_that_writes_while_a_write_is_kept_is_told_so(self, user: User, upstream: RestUpstream):
        class Nosy(Model):
            def to_json(self, **options: Any) -> Any:
                if upstream.requests:
                    alice.collection("logs").create(text="saved", remote=False)
                return dict(self)

        alice = user(dualstorage=nested(collection("People", model=Nosy)))
        ada = alice.collection("people").fetch().get(1)
        with pytest.raises(RuntimeError, match="leave writing to the view"):
            ada.save(age=41)
        assert [write.store for write in alice.pending()] in ([], ["/logs"])


class TestReading:
    """What is shown is what is there."""

    def test_walking_over_a_list_while_deleting_from_it_meets_every_record(self, user: User, upstream: RestUpstream):
        upstream.records["/people"] += [{"id": 2}, {"id": 3}, {"id": 4}]
        people = user().collection("people").fetch()
        for person in people:
            person.destroy()
        assert (len(people), upstream.records["/people"]) == (0, [])

    def test_a_field_called_age_is_the_records_in_a_template(self, make_app: MakeApp, upstream: RestUpstream):
        app = make_app(url=upstream.url)
        ada = storage_of(app).for_user("alice").collection("people").load(1)
        assert app.jinja_env.from_string("{{ p.age }} {{ p.source }}").render(p=ada) == "36 "

    def test_a_conflict_is_to_be_seen_where_the_record_is_gone(self, user: User, upstream: RestUpstream):
        alice = user()
        ada = alice.collection("people").fetch().get(1)
        upstream.remove("/people", 1)
        ada.save(age=41)
        shown = alice.collection("people").load(1)
        assert (shown["age"], shown.pending_write.state) == (41, "conflict")

    def test_what_was_forgotten_is_not_shown_in_an_outage(self, user: User, upstream: RestUpstream):
        alice = user()
        alice.collection("people").create(name="Turing")
        alice.forget("alice")
        upstream.unplug()
        with pytest.raises(NotCached):
            alice.collection("people").fetch()

    def test_the_id_is_in_the_field_that_the_collection_says(self, user: User, upstream: RestUpstream):
        class Named(Model):
            id_attribute = "id"

        upstream.id_attribute = "uuid"
        upstream.records["/people"] = [{"uuid": "a", "id": 7}]
        alice = user(dualstorage=nested(collection("People", model=Named, id_attribute="uuid")))
        alice.collection("people").fetch()[0].save(age=1)
        assert upstream.requests[-1] == ("PUT", "/people/a")


class TestLimits:
    """Small things that add up."""

    def test_applied_writes_do_not_pile_up_without_a_sync(
        self, user: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(settling, "PRUNE_EVERY", 64)
        alice = user(DUALSTORAGE_KEEP_APPLIED=60, DUALSTORAGE_CACHE_TIMEOUT=60)
        people = alice.collection("people")
        for number in range(130):
            people.create(number=number)
            clock.advance(10)
        outbox = alice._engine.outbox
        assert len(outbox.store_state("user:alice", "/people", -1).writes) < 80

    def test_one_429_stops_the_flush(self, user: User, upstream: RestUpstream):
        alice = user(DUALSTORAGE_SYNC_CONCURRENCY=2)
        for number in range(30):
            alice.collection("people").create(number=number, remote=False)
        upstream.then(*[answer(429)] * 30)
        assert (alice.sync().queued, len(upstream.writes)) == (30, 2)

    @pytest.mark.parametrize("depth", [1, 2, 3])
    def test_a_chain_goes_in_one_flush(self, user: User, upstream: RestUpstream, depth: int):
        """What waited goes as soon as it is free, without planning anew."""
        alice = user(dualstorage=nested(collection("Parts", coalesce=False)))
        parent = None
        for _ in range(depth):
            parent = alice.collection("parts").create(under=parent, remote=False).id
        assert alice.sync().applied == depth


class TestDeclarations:
    """What is not there yet, or makes no sense, is refused when it is declared."""

    @pytest.mark.parametrize("option", ["pagination", "trailing_slash", "bulk"])
    def test_a_dialect_takes_only_what_it_can_do(self, option: str):
        with pytest.raises(ConfigurationError, match=option):
            Dialect(**{option: True})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_age", "5"),
            ("max_age", -1),
            ("coalesce", "no"),
            ("url", 5),
            ("name", "a/b"),
            ("name", ""),
            ("local", "yes"),
            ("headers", "X: 1"),
            ("id_attribute", ""),
            ("upstream", None),
            ("in_doubt", "maybe"),
            ("when_dirty", "never"),
            ("dialect", "drf"),
        ],
    )
    def test_a_wrong_declaration_is_named(self, name: str, value: Any):
        with pytest.raises(ConfigurationError, match=rf"{name} is"):
            DualStorage().register(collection("Things", **{name: value}))


def test_the_visitor_after_the_log_out_is_somebody_new(make_app: MakeApp, upstream: RestUpstream):
    """The anonymous id that was adopted is given up, so that later writes of the browser do not follow it."""
    dualstorage = DualStorage()
    app = make_app(dualstorage, url=upstream.url)
    owners: list[str] = []

    @app.post("/log-in")
    def log_in() -> str:
        storage = storage_of(app)
        owners.append(storage.owner)
        storage.adopt(storage.owner, "alice")
        owners.append(storage.owner)
        return ""

    app.test_client().post("/log-in")
    assert owners[0] != owners[1]
    assert all(owner.startswith("anon:") for owner in owners)


def kinds(alice: UserStorage) -> list[str]:
    return [write.kind for write in alice.pending()]


def test_discarding_a_parent_that_was_never_sent_discards_its_notes(user: User, upstream: RestUpstream):
    alice = user(dualstorage=nested())
    person = alice.collection("people").create({"id": "chosen", "name": "Turing"}, remote=False)
    alice.collection("notes", person_id=person.id).create(text="one", remote=False)
    alice.discard(alice.pending()[0].id)
    assert kinds(alice) == []
