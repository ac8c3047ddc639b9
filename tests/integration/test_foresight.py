"""Where a collection wants it, a record tells that somebody else's change of it waits: that, and nothing more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template_string

from flask_dualstorage import Collection, ConfigurationError, DualStorage, Model
from flask_dualstorage.storage import outbox
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    records = {"/people": [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Alan"}], "/pets": [{"id": 1, "name": "Rex"}]}
    with RestUpstream(records) as upstream:
        yield upstream


@pytest.fixture
def app(make_app: MakeApp, upstream: RestUpstream) -> Flask:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"foresight": True}))
    dualstorage.register(type("Pets", (Collection,), {"foresight": True}))
    dualstorage.register(type("Quiet", (Collection,), {"url": "/people"}))
    mine = {"foresight": True, "local": True, "store_name": "/people"}
    dualstorage.register(type("Drafts", (Collection,), mine))
    # The same names at another API are other records.
    dualstorage.register(type("Others", (Collection,), {"foresight": True, "url": "/people", "upstream": "other"}))
    return make_app(dualstorage, url=upstream.url, DUALSTORAGE_UPSTREAMS={"other": {"url": upstream.url}})


@pytest.fixture
def alice(app: Flask) -> UserStorage:
    return storage_of(app).for_user("alice")


@pytest.fixture
def bob(app: Flask) -> UserStorage:
    return storage_of(app).for_user("bob")


def load(storage: UserStorage, collection: str = "people", id: int = 1) -> Model:
    found = storage.collection(collection).load(id)
    assert found is not None
    return found


class TestIsTold:
    @pytest.mark.parametrize("state", ["queued", "rejected", "in_doubt", "conflict"])
    def test_while_anothers_change_of_the_record_waits(
        self, alice: UserStorage, bob: UserStorage, upstream: RestUpstream, state: str
    ):
        assert not load(alice).others_pending
        load(bob).save(name="Lovelace", remote=False)
        if state != "queued":
            status = {"rejected": 422, "in_doubt": 500, "conflict": 404}[state]
            upstream.then(answer(status))
            bob.sync()
        assert bob.pending()[0].state == state
        assert load(alice).others_pending
        assert not load(bob).others_pending, "one's own is no other's"

    def test_until_it_is_sent_or_discarded(self, alice: UserStorage, bob: UserStorage):
        load(bob).save(name="Lovelace", remote=False)
        bob.sync()
        assert not load(alice).others_pending
        load(bob).destroy(remote=False)
        assert load(alice).others_pending
        bob.discard(bob.pending()[0].id)
        assert not load(alice).others_pending

    def test_by_a_macro(self, app: Flask, alice: UserStorage, bob: UserStorage):
        load(bob).save(name="Secret", remote=False)
        source = '{% from "dualstorage/macros.html" import others_notice %}{{ others_notice(model) }}'
        with app.test_request_context():
            told = render_template_string(source, model=load(alice))
            assert "Somebody else has a change of this record that is not sent yet." in told
            assert "Secret" not in told
            assert "bob" not in told
            assert render_template_string(source, model=load(bob)) == ""


class TestIsNotTold:
    def test_of_other_records_collections_and_upstreams(self, alice: UserStorage, bob: UserStorage):
        load(bob).save(name="Lovelace", remote=False)
        assert not load(alice, id=2).others_pending
        assert not load(alice, "pets").others_pending
        assert not load(alice, "others").others_pending

    def test_where_the_collection_does_not_want_it(self, alice: UserStorage, bob: UserStorage):
        load(bob).save(name="Lovelace", remote=False)
        assert not load(alice, "quiet").others_pending

    def test_of_what_is_anothers_own_and_never_sent(self, alice: UserStorage, bob: UserStorage):
        bob.collection("drafts").create(id=1, name="mine")
        assert not load(alice).others_pending

    def test_of_records_that_are_not_there_yet(self, alice: UserStorage, bob: UserStorage):
        bob.collection("people").create(name="New", remote=False)
        assert not alice.collection("people").create(name="New", remote=False).others_pending
        assert not alice.collection("people").new(name="x").others_pending
        assert not Model({"id": 1}).others_pending


def test_it_costs_one_select_of_an_index_where_it_is_asked_and_none_elsewhere(app: Flask, alice: UserStorage):
    database = storage_of(app).engine.outbox.database
    ada, quiet = load(alice), load(alice, "quiet")
    run: list[Any] = []

    def read(statement: Any, values: Any, real: Any = database.read) -> Any:
        run.append((statement, values))
        return real(statement, values)

    database.read = read  # type: ignore[method-assign]
    assert not quiet.others_pending
    assert run == []
    assert not ada.others_pending
    assert len(run) == 1


@pytest.mark.parametrize("wrong", [None, "yes", 1])
def test_it_takes_true_or_false(wrong: Any):
    with pytest.raises(ConfigurationError, match="foresight"):
        DualStorage().register(type("People", (Collection,), {"foresight": wrong}))


@pytest.mark.parametrize("statement", [outbox._OTHERS, outbox._LANE, outbox._RECORD])
def test_one_index_finds_a_record_s_writes_anybody_s_and_one_s_own(app: Flask, alice: UserStorage, statement: Any):
    load(alice).save(name="Lovelace", remote=False)
    database = storage_of(app).engine.outbox.database
    sql, in_order, constants = statement.of(database.dialect)
    values = {"but": "", "owner": "user:alice", "upstream": "default", "store": "/people", "record_id": "1", "since": 0}
    with sqlite3.connect(Path(app.instance_path) / "dualstorage.sqlite3") as connection:
        given = in_order({**values, **constants})
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, given)]
    connection.close()
    assert any("USING INDEX write_by_record (record_id=?" in step for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan
