"""An id that the upstream gives and that can not be kept, or is not the one that was chosen, holds nothing else up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of


class Notes(Collection):
    """Nested under people."""

    name = "notes"
    url = "/people/{person_id}/notes"


@pytest.fixture
def open_storage(make_app: MakeApp, upstream: RestUpstream) -> Callable[..., Any]:
    def open_(**config: Any) -> Any:
        dualstorage = DualStorage()
        dualstorage.register(Notes)
        return storage_of(make_app(dualstorage, url=upstream.url, **config))

    return open_


@pytest.fixture(params=["sqlite", "postgresql"])
def alice(
    request: pytest.FixtureRequest, open_storage: Callable[..., Any], upstream: RestUpstream
) -> Iterator[UserStorage]:
    """An account whose writes are sent one at a time."""
    where = {}
    if request.param == "postgresql":
        where = {"DUALSTORAGE_DATABASE_URL": request.getfixturevalue("postgresql_url")}
    storage = open_storage(DUALSTORAGE_SYNC_CONCURRENCY=1, **where)
    storage.init_db()
    yield storage.for_user(request.node.name[:100])
    storage.engine.outbox.database._drop()


def names(alice: UserStorage) -> list[str]:
    return [str((write.attributes or {}).get("name")) for write in alice.pending()]


def test_an_id_with_a_nul_leaves_its_own_write_in_doubt(alice: UserStorage, upstream: RestUpstream):
    alice.collection("people").create(name="Strange", remote=False)
    alice.collection("people").create(name="Plain", remote=False)
    upstream.then(answer(201, {"id": "a\0b", "name": "Strange"}))
    alice.sync()
    (left,) = alice.pending()
    assert (left.state, left.attributes["name"]) == ("in_doubt", "Strange")
    assert "no 'id'" in str(left.reason)


@pytest.mark.parametrize("odd", ["\u00e9" * 250, "%" * 255])
def test_an_id_too_long_for_what_is_nested_under_it_is_that_ones_alone(
    alice: UserStorage, upstream: RestUpstream, odd: str
):
    """Percent-encoded in the name of a store it is three to six times as long."""
    strange = alice.collection("people").create(name="Strange", remote=False)
    alice.collection("notes", person_id=strange.id).create(text="under it", remote=False)
    alice.collection("people").create(name="Plain", remote=False)
    upstream.then(answer(201, {"id": odd, "name": "Strange"}))
    alice.sync()
    (note,) = alice.pending()
    assert (note.state, note.store.endswith("/notes")) == ("rejected", True)
    assert "a store at most 512" in str(note.reason)
    assert alice.retry(note.id).state == "rejected", "retried, it is not queued for ever"
    alice.discard(note.id)
    assert alice.pending() == []


class TestAChosenIdThatTheUpstreamWritesOtherwise:
    """A slug: "Turing" was chosen, and the upstream answers with "turing"."""

    @pytest.fixture
    def meanwhile(self, upstream: RestUpstream) -> list[Callable[[], object]]:
        """What others do while the create is on its way."""
        todo: list[Callable[[], object]] = []
        handle = upstream._handler

        def handler(received: Any) -> Any:
            if received.method != "POST" or "id" not in received.json():
                return handle(received)
            for each in todo:
                each()
            record = {**received.json(), "id": received.json()["id"].lower()}
            upstream.records["/people"].append(record)
            upstream.records["/people/turing/notes"] = []
            return answer(201, record)

        upstream._handler = handler
        return todo

    def test_stays_one_record(
        self, open_storage: Callable[..., Any], upstream: RestUpstream, meanwhile: list[Callable[[], object]]
    ):
        """The edit made meanwhile under the chosen id belongs to it."""
        one, other = (open_storage().for_user("alice") for _ in range(2))
        meanwhile.append(lambda: other.collection("people").load("Turing", remote=False).save(age=41, remote=False))
        person = one.collection("people").fetch().create({"id": "Turing", "name": "Turing"})
        assert person.id == "turing"
        assert [write.record_id for write in one.pending()] == ["turing"]
        assert one.collection("people").get("turing")["age"] == 41
        one.sync()
        assert one.pending() == []
        assert upstream.find("/people", "turing") == {"id": "turing", "name": "Turing", "age": 41}

    def test_has_what_is_nested_under_it(
        self, open_storage: Callable[..., Any], upstream: RestUpstream, meanwhile: list[Callable[[], object]]
    ):
        alice = open_storage().for_user("alice")
        alice.collection("people").create({"id": "Turing", "name": "Turing"}, remote=False)
        alice.collection("notes", person_id="Turing").create(text="hm", remote=False)
        assert alice.sync().remaining == 0
        assert [path for _, path, _ in upstream.writes] == ["/people", "/people/turing/notes"]
        assert alice.collection("notes", person_id="turing").pluck("text") == ["hm"]
