"""What an owner decides over a pending change: retry, edit, resolve, discard; in Python, HTTP and CLI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, get_flashed_messages

from flask_dualstorage import Collection, DualStorage, Model, RecordGone, ValidationFailed, WriteBusy
from flask_dualstorage.cli import dualstorage as commands
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer, drop
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, User, storage_of

ADA = {"id": 1, "name": "Ada", "age": 36, "address": {"city": "London", "zip": "N1"}}
ALICE = {"X-User": "alice"}
BROWSER = {**ALICE, "Accept": "text/html,*/*;q=0.8"}


class Person(Model):
    def validate(self, attributes: dict[str, Any]) -> Any:
        return {"age": "is negative"} if (attributes.get("age") or 0) < 0 else None


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [dict(ADA)]}, etags=True) as upstream:
        yield upstream


@pytest.fixture
def dualstorage() -> DualStorage:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"model": Person}))
    dualstorage.register(type("Notes", (Collection,), {"url": "/people/{person_id}/notes"}))
    return dualstorage


@pytest.fixture
def app(make_app: MakeApp, dualstorage: DualStorage, upstream: RestUpstream) -> Flask:
    return make_app(dualstorage, url=upstream.url)


@pytest.fixture
def alice(app: Flask) -> UserStorage:
    return storage_of(app).for_user("alice")


def held(upstream: RestUpstream) -> Any:
    return upstream.find("/people", 1)


def load(storage: UserStorage) -> Model:
    found = storage.collection("people").load(1)
    assert found is not None
    return found


@pytest.fixture
def conflict(alice: UserStorage, upstream: RestUpstream) -> str:
    """Alice and somebody else changed the age; she the name too, they the address."""
    ada = load(alice)
    upstream.edit("/people", 1, age=40, address={"city": "London", "zip": "N2"})
    result = ada.save(age=41, name="Lovelace")
    assert (result.state, result.write_id is not None) == ("conflict", True)
    return str(result.write_id)


@pytest.fixture
def rejected(alice: UserStorage, upstream: RestUpstream) -> str:
    load(alice).save(age=1000, remote=False)
    upstream.then(answer(422))
    alice.sync()
    [write] = alice.pending()
    assert write.state == "rejected"
    return write.id


@pytest.fixture
def queued(alice: UserStorage) -> str:
    return str(load(alice).save(age=41, remote=False).write_id)


@pytest.fixture
def gone(alice: UserStorage, upstream: RestUpstream) -> str:
    ada = load(alice)
    upstream.remove("/people", 1)
    return str(ada.save(age=41).write_id)


class TestResolve:
    def test_what_clashes_is_told_value_by_value(self, alice: UserStorage, conflict: str):
        [write] = alice.pending()
        assert write.to_dict()["conflicts"] == [{"path": ["age"], "base": 36, "mine": 41, "theirs": 40}]

    def test_mine_is_sent_on_theirs(self, alice: UserStorage, upstream: RestUpstream, conflict: str):
        assert alice.resolve(conflict, "mine").state == "applied"
        assert held(upstream) == {"id": 1, "name": "Lovelace", "age": 41, "address": {"city": "London", "zip": "N2"}}
        keys = [one.headers["Idempotency-Key"] for one in upstream.sent]
        assert len(set(keys)) == len(keys)

    def test_theirs_gives_mine_up_and_keeps_it_in_the_history(
        self, alice: UserStorage, upstream: RestUpstream, conflict: str
    ):
        before = len(upstream.received)
        assert alice.resolve(conflict, "theirs").state == "discarded"
        assert (alice.pending(), len(upstream.received)) == ([], before)
        [write] = alice.history()
        assert (write.attributes["age"], write.theirs["age"], "chose" in write.reason) == (41, 40, True)
        assert load(alice)["age"] == 40

    def test_values_of_ones_own_are_sent_on_theirs(self, alice: UserStorage, upstream: RestUpstream, conflict: str):
        assert alice.resolve(conflict, {"age": 42}).state == "applied"
        assert held(upstream) == {"id": 1, "name": "Lovelace", "age": 42, "address": {"city": "London", "zip": "N2"}}

    def test_every_field_that_clashes_must_be_named(self, alice: UserStorage, upstream: RestUpstream, conflict: str):
        with pytest.raises(ValidationFailed) as refused:
            alice.resolve(conflict, {"name": "Byron"})
        assert list(refused.value.errors) == ["age"]
        assert (alice.pending()[0].state, len(upstream.sent)) == ("conflict", 1)

    def test_what_equals_theirs_is_theirs(self, alice: UserStorage, upstream: RestUpstream, conflict: str):
        assert alice.resolve(conflict, {"age": 40, "name": "Ada"}).state == "discarded"
        assert len(upstream.sent) == 1

    def test_it_may_meet_the_next_change(self, alice: UserStorage, upstream: RestUpstream, conflict: str):
        upstream.edit("/people", 1, age=50)
        assert alice.resolve(conflict, "mine").state == "conflict"
        assert alice.pending()[0].theirs["age"] == 50

    def test_offline_it_is_kept_and_goes_later(self, alice: UserStorage, upstream: RestUpstream, conflict: str):
        upstream.unplug()
        assert alice.resolve(conflict, "mine").state == "queued"
        upstream.plug()
        alice.sync()
        assert held(upstream)["age"] == 41

    @pytest.mark.parametrize("decided", ["mine", {"age": 41}])
    def test_a_record_that_is_gone_is_made_anew(
        self, alice: UserStorage, upstream: RestUpstream, gone: str, decided: Any
    ):
        assert alice.resolve(gone, decided).state == "applied"
        assert (held(upstream), upstream.sent[-1].method) == ({**ADA, "age": 41}, "POST")

    def test_or_left_alone(self, alice: UserStorage, upstream: RestUpstream, gone: str):
        assert alice.resolve(gone, "theirs").state == "discarded"
        assert (alice.pending(), held(upstream)) == ([], None)

    @pytest.mark.parametrize(
        ("decided", "state", "there"),
        [
            ("mine", "applied", None),
            ("theirs", "discarded", {**ADA, "age": 40}),
            ({"name": "Byron"}, "applied", {**ADA, "age": 40, "name": "Byron"}),
        ],
    )
    def test_a_delete_of_what_changed(
        self, alice: UserStorage, upstream: RestUpstream, decided: Any, state: str, there: Any
    ):
        ada = load(alice)
        upstream.edit("/people", 1, age=40)
        write_id = str(ada.destroy().write_id)
        assert (alice.resolve(write_id, decided).state, held(upstream)) == (state, there)

    @pytest.mark.parametrize("decided", ["theirs", "mine", {"age": 42}])
    def test_only_a_conflict_is_resolved(self, alice: UserStorage, queued: str, decided: Any):
        with pytest.raises(ValidationFailed, match="not in conflict, but queued"):
            alice.resolve(queued, decided)

    @pytest.mark.parametrize("decided", ["ours", {"age": -1}, {"age": float("nan")}, {"id": 2, "age": 1}, 7])
    def test_what_can_not_be_is_refused_and_changes_nothing(self, alice: UserStorage, conflict: str, decided: Any):
        before = alice.pending()
        with pytest.raises(ValidationFailed):
            alice.resolve(conflict, decided)
        assert alice.pending() == before


class TestEdit:
    def test_a_rejected_write_goes_again_as_another(self, alice: UserStorage, upstream: RestUpstream, rejected: str):
        assert alice.edit(rejected, {"age": 100}).state == "applied"
        first, second = upstream.sent
        assert (held(upstream)["age"], first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]) == (
            100,
            True,
        )

    def test_a_queued_one_is_sent_once(self, alice: UserStorage, upstream: RestUpstream, queued: str):
        assert alice.edit(queued, {"name": "Lovelace"}).state == "applied"
        assert upstream.writes == [("PUT", "/people/1", {**ADA, "age": 41, "name": "Lovelace"})]

    def test_one_that_may_have_arrived_keeps_its_bytes(self, alice: UserStorage, upstream: RestUpstream):
        upstream.then(drop())
        alice.collection("people").create(name="Turing")
        [first] = alice.pending()
        upstream.unplug()
        edited = alice.edit(first.id, {"name": "Alan"})
        assert (edited.id != first.id, edited.kind, edited.waits_for) == (True, "update", ())
        assert [write.attributes["name"] for write in alice.pending()] == ["Turing", "Alan"]

    def test_back_to_what_it_was_leaves_nothing(self, alice: UserStorage, upstream: RestUpstream, queued: str):
        assert alice.edit(queued, {"age": 36}).state == "discarded"
        assert (alice.pending(), upstream.sent) == ([], [])

    def test_a_conflict_stays_one_until_every_clash_is_set(
        self, alice: UserStorage, upstream: RestUpstream, conflict: str
    ):
        assert alice.edit(conflict, {"name": "Byron"}).state == "conflict"
        assert alice.edit(conflict, {"age": 42}).state == "applied"
        assert held(upstream) == {"id": 1, "name": "Byron", "age": 42, "address": {"city": "London", "zip": "N2"}}

    def test_what_stands_behind_it_follows(self, user: User, upstream: RestUpstream):
        dualstorage = DualStorage()
        dualstorage.register(type("People", (Collection,), {"coalesce": False}))
        alice = user("alice", dualstorage)
        ada = load(alice)
        first = str(ada.save(age=41, remote=False).write_id)
        ada.save(name="Lovelace", remote=False)
        alice.edit(first, {"age": 42})
        alice.sync()
        assert (held(upstream), len(upstream.sent)) == ({**ADA, "age": 42, "name": "Lovelace"}, 2)

    def test_children_of_a_rejected_create_follow_it(self, alice: UserStorage, upstream: RestUpstream):
        upstream.records["/people/101/notes"] = []
        person = alice.collection("people").create(name="", remote=False)
        alice.collection("notes", person_id=person.id).create(text="A note", remote=False)
        upstream.then(answer(422))
        assert alice.sync().rejected == 1
        [create, _] = alice.pending()
        assert alice.edit(create.id, {"name": "Turing"}).state == "applied"
        assert (alice.pending(), upstream.sent[-1].target) == ([], "/people/101/notes")

    def test_a_delete_has_nothing_to_edit(self, alice: UserStorage):
        write_id = str(load(alice).destroy(remote=False).write_id)
        with pytest.raises(ValidationFailed, match="discard it"):
            alice.edit(write_id, {"age": 1})

    @pytest.mark.parametrize(
        "given", [{"age": -1}, {"id": 2}, {"age": object()}, {"boss": "tmp-" + "0" * 32}, [], "age"]
    )
    def test_what_can_not_be_is_refused_and_changes_nothing(self, alice: UserStorage, rejected: str, given: Any):
        before = alice.pending()
        with pytest.raises(ValidationFailed):
            alice.edit(rejected, given)
        assert alice.pending() == before

    def test_of_a_model_that_stands_alone(self, app: Flask, upstream: RestUpstream):
        class Profile(Model):
            url = "/people/1"

        alice = storage_of(app).for_user("alice")
        write_id = str(alice.model(Profile).fetch().save(age=41, remote=False).write_id)
        assert (alice.edit(write_id, {"age": 42}).state, held(upstream)["age"]) == ("applied", 42)

    def test_of_a_plain_collection(self, app: Flask, upstream: RestUpstream):
        upstream.records["/pets"] = []
        alice = storage_of(app).for_user("alice")
        alice.collection("pets").create(name="Rex", remote=False)
        assert alice.edit(alice.pending()[0].id, {"name": "Max"}).state == "applied"
        assert upstream.records["/pets"] == [{"id": 101, "name": "Max"}]


DECISIONS: dict[str, Callable[[UserStorage, str], Any]] = {
    "retry": lambda storage, write_id: storage.retry(write_id),
    "discard": lambda storage, write_id: storage.discard(write_id),
    "edit": lambda storage, write_id: storage.edit(write_id, {"age": 1}),
    "resolve": lambda storage, write_id: storage.resolve(write_id, "mine"),
}


class TestAll:
    @pytest.mark.parametrize("what", DECISIONS)
    def test_anothers_is_none(self, app: Flask, conflict: str, what: str):
        with pytest.raises(RecordGone):
            DECISIONS[what](storage_of(app).for_user("bob"), conflict)

    @pytest.mark.parametrize("what", DECISIONS)
    def test_nothing_is_decided_while_it_is_being_sent(
        self, app: Flask, alice: UserStorage, upstream: RestUpstream, queued: str, what: str
    ):
        refused: list[bool] = []

        def decide(received: Any) -> Any:
            with pytest.raises(WriteBusy):
                DECISIONS[what](storage_of(app).for_user("alice"), queued)
            refused.append(True)
            return answer(200, {**ADA, "age": 41})

        upstream._handler = decide
        alice.sync()
        assert refused == [True]

    @pytest.mark.parametrize("what", ["edit", "resolve"])
    def test_what_changed_while_it_was_checked_is_looked_at_again(
        self, alice: UserStorage, conflict: str, monkeypatch: pytest.MonkeyPatch, what: str
    ):
        def validate(model: Model, attributes: Any) -> None:
            monkeypatch.undo()
            alice.edit(conflict, {"name": "Meanwhile"})

        monkeypatch.setattr(Person, "validate", validate)
        with pytest.raises(WriteBusy, match="just changed"):
            DECISIONS[what](alice, conflict)
        assert alice.pending()[0].attributes["name"] == "Meanwhile"

    def test_the_current_users_by_name(self, app: Flask, dualstorage: DualStorage, conflict: str):
        with app.test_request_context(headers=ALICE):
            assert dualstorage.edit(conflict, {"name": "Byron"}).state == "conflict"
            assert dualstorage.resolve(conflict, "mine").state == "applied"


@pytest.fixture
def client(app: Flask) -> Any:
    return app.test_client()


def url(write_id: str, what: str) -> str:
    return f"/dualstorage/writes/{write_id}/{what}"


class TestHttp:
    @pytest.mark.parametrize(
        ("what", "body", "state", "age"),
        [
            ("retry", None, "applied", 41),
            ("discard", None, "discarded", 40),
            ("resolve", {"choice": "mine"}, "applied", 41),
            ("resolve", {"choice": "theirs"}, "discarded", 40),
            ("resolve", {"attributes": {"age": 42}}, "applied", 42),
            ("edit", {"attributes": {"age": 42}}, "applied", 42),
        ],
    )
    def test_a_program_gets_the_write(
        self, client: Any, upstream: RestUpstream, conflict: str, what: str, body: Any, state: str, age: int
    ):
        told = client.post(url(conflict, what), json=body, headers=ALICE)
        assert (told.status_code, told.json["id"], told.json["state"]) == (200, conflict, state)
        assert held(upstream)["age"] == age
        assert told.headers["Cache-Control"] == "private, no-store"

    @pytest.mark.parametrize(
        ("what", "form", "sentence", "age"),
        [
            ("retry", {}, "The change was sent.", 41),
            ("discard", {}, "The change was given up.", 40),
            ("resolve", {"choice": "mine"}, "The change was sent.", 41),
            ("resolve", {"choice": "theirs"}, "The change was given up.", 40),
            ("resolve", {"attributes[age]": "42"}, "The change was sent.", 42),
            ("resolve", {"attributes": '{"age": 42}'}, "The change was sent.", 42),
            ("edit", {"attributes[age]": "42"}, "The change was sent.", 42),
            ("edit", {"attributes[age]": "old"}, "age: 'old' is not a number.", 40),
            ("edit", {"attributes[age]": "-1"}, "age: is negative", 40),
            ("edit", {"attributes[name]": "Byron"}, "The change still meets one that somebody else made.", 40),
        ],
    )
    def test_a_form_goes_on_to_the_pending_page(
        self, client: Any, upstream: RestUpstream, conflict: str, what: str, form: Any, sentence: str, age: int
    ):
        with client:
            told = client.post(url(conflict, what), data=form, headers=BROWSER)
            assert (told.status_code, told.location) == (303, "/dualstorage/")
            [flashed] = get_flashed_messages()
            assert flashed.startswith(sentence)
        assert held(upstream)["age"] == age

    def test_or_to_where_it_says(self, client: Any, conflict: str):
        told = client.post(url(conflict, "discard"), data={"next": "/people/1"}, headers=BROWSER)
        assert told.location == "/people/1"
        told = client.post(url(conflict, "discard"), data={"next": "//evil.example"}, headers=ALICE)
        assert (told.status_code, told.content_type) == (404, "application/problem+json")

    @pytest.mark.parametrize("what", DECISIONS)
    def test_anothers_is_a_404(self, client: Any, conflict: str, what: str):
        body = {"attributes": {"age": 1}}
        for headers in ({"X-User": "bob"}, {}):
            told = client.post(url(conflict, what), json=body, headers=headers)
            assert (told.status_code, told.content_type) == (404, "application/problem+json")
        form = client.post(url(conflict, what), data={"attributes[age]": "1"}, headers={**BROWSER, "X-User": "bob"})
        assert form.status_code == 404

    @pytest.mark.parametrize("what", DECISIONS)
    def test_one_that_is_being_sent_is_a_409(
        self, app: Flask, alice: UserStorage, upstream: RestUpstream, queued: str, what: str
    ):
        told: list[Any] = []

        def decide(received: Any) -> Any:
            body = {"attributes": {"age": 1}}
            told.append(app.test_client().post(url(queued, what), json=body, headers=ALICE))
            return answer(200, {**ADA, "age": 41})

        upstream._handler = decide
        alice.sync()
        assert [(one.status_code, one.content_type) for one in told] == [(409, "application/problem+json")]

    @pytest.mark.parametrize("what", ["edit", "resolve"])
    def test_what_the_model_refuses_is_a_422_with_its_errors(self, client: Any, conflict: str, what: str):
        told = client.post(url(conflict, what), json={"attributes": {"age": -1}}, headers=ALICE)
        assert (told.status_code, told.content_type) == (422, "application/problem+json")
        assert told.get_json(force=True)["errors"] == {"age": ["is negative"]}

    @pytest.mark.parametrize("what", ["edit", "resolve"])
    @pytest.mark.parametrize(
        "body",
        [{}, [], 7, {"attributes": {}}, {"attributes": []}, {"attributes": "age"}, {"choice": "ours"}, {"choice": 7}],
    )
    def test_what_makes_no_sense_is_a_400(self, client: Any, conflict: str, what: str, body: Any):
        told = client.post(url(conflict, what), json=body, headers=ALICE)
        assert (told.status_code, told.content_type) == (400, "application/problem+json")

    @pytest.mark.parametrize("form", [{}, {"attributes": "{"}, {"attributes": "[]"}, {"choice": "ours"}])
    def test_nor_does_such_a_form(self, client: Any, conflict: str, form: Any):
        assert client.post(url(conflict, "resolve"), data=form, headers=BROWSER).status_code == 400

    @pytest.mark.parametrize("what", DECISIONS)
    def test_another_site_decides_nothing(self, client: Any, alice: UserStorage, conflict: str, what: str):
        headers = {**ALICE, "Sec-Fetch-Site": "cross-site"}
        assert client.post(url(conflict, what), json={"choice": "mine"}, headers=headers).status_code == 403
        client.get(url(conflict, what), headers=ALICE)  # a page that asks, or none: it decides nothing
        assert alice.pending()[0].state == "conflict"

    def test_nothing_else_can_be_done(self, client: Any, conflict: str):
        assert client.post(url(conflict, "apply"), headers=ALICE).status_code == 404


class TestCommands:
    @pytest.mark.parametrize(
        ("command", "says", "code", "age"), [("retry", "applied", 0, 41), ("discard", "discarded", 0, 40)]
    )
    def test_decide_over_anybodys(
        self, app: Flask, upstream: RestUpstream, conflict: str, command: str, says: str, code: int, age: int
    ):
        done = app.test_cli_runner().invoke(commands, [command, conflict])
        assert (done.exit_code, done.output) == (code, f"{conflict}: {says}\n")
        assert held(upstream)["age"] == age

    def test_what_remains_is_exit_code_1(self, app: Flask, upstream: RestUpstream, conflict: str):
        upstream.edit("/people", 1, age=50)
        done = app.test_cli_runner().invoke(commands, ["retry", conflict])
        assert (done.exit_code, done.output.startswith(f"{conflict}: conflict")) == (1, True)

    @pytest.mark.parametrize("command", ["retry", "discard"])
    def test_what_is_not_there_is_misuse(self, app: Flask, command: str):
        done = app.test_cli_runner().invoke(commands, [command, "nothing"])
        assert (done.exit_code, "There is no pending write 'nothing'" in done.output) == (2, True)
