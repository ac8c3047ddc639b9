"""A database that an older release made is upgraded in place, with all that it holds; a newer one is left alone."""

from __future__ import annotations

import itertools
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy

from flask_dualstorage import ConfigurationError, OutboxUnavailable
from flask_dualstorage.storage import schema
from flask_dualstorage.storage.database import Database
from flask_dualstorage.storage.outbox import Outbox
from tests.contract.conftest import SERVERS, clock, database_url, on_the_side, open_outbox, server_url, sqlite_url
from tests.contract.databases.make import NOW, open_app
from tests.contract.writes import ALICE, PEOPLE, Clock, insert
from tests.upstreams.rest import RestUpstream
from tests.waiting import PATIENCE
from tests.whole import bare_environment

__all__ = ["bare_environment", "clock", "database_url", "open_outbox", "server_url", "sqlite_url"]

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
OLD = {int(path.stem.removeprefix("version-")): path for path in HERE.glob("version-?.sql")}
#: Version 1 stood in other forms on main before it was counted: by the commit that made them.
FIRST_FORMS = sorted(HERE.glob("version-1-*.sql"))

OpenOutbox = Callable[[str], Outbox]


def restored(path: Path, version: int, source: Path | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as made:
        made.executescript((source or OLD[version]).read_text())
    made.close()
    return path


def test_there_is_one_of_every_older_version():
    assert set(OLD) >= set(range(1, schema.SCHEMA_VERSION))
    assert set(schema.UPGRADES) == set(range(1, schema.SCHEMA_VERSION))


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    people = [
        {"id": 1, "name": "Ada", "age": 36},
        {"id": 2, "name": "Grace", "age": 85},
        {"id": 101, "name": "Applied"},
        {"id": 102, "name": "Rejected"},
    ]
    with RestUpstream({"/people": people}, keys=True) as upstream:
        upstream._numbers = itertools.count(103)
        yield upstream


@pytest.fixture(params=sorted(OLD))
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, upstream: RestUpstream, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The app that made the file, opened on it by this release."""
    restored(tmp_path / "dualstorage.sqlite3", request.param)
    stopped = SimpleNamespace(time=lambda: NOW, monotonic=lambda: NOW)
    monkeypatch.setattr("flask_dualstorage.extension.time", stopped)
    storage = open_app(str(tmp_path), upstream.url)
    yield storage
    storage.engine.outbox.database._drop()
    for known in storage.engine.known_upstreams():
        known._client.close()


def waiting(storage: Any, owner: str = "alice") -> list[tuple[str, str, Any]]:
    return [
        (write.kind.value, write.state.value, (write.attributes or {}).get("name", write.record_id))
        for write in storage.for_user(owner).pending()
    ]


def test_all_that_waits_is_there(storage: Any):
    pending = waiting(storage)
    assert pending[:4] == [
        ("update", "conflict", "Ada"),
        ("delete", "rejected", 2),
        ("create", "in_doubt", "In doubt 🐍"),
        ("create", "queued", "Queued"),
    ]
    assert [kind for kind, *_ in pending[4:]] == ["create", "create"]
    assert pending[5] == ("create", "queued", "Adopted")
    conflict, rejected, *_, note, _ = storage.for_user("alice").pending()
    assert (conflict.base["age"], conflict.attributes["age"], conflict.theirs["age"]) == (36, 37, 36)
    assert rejected.problem["errors"] == {"name": ["too odd"]}
    assert note.attributes["about"].startswith("tmp-")
    assert note.waits_for
    assert storage.for_user("alice").status().pending == 6


def test_history_aliases_local_records_nonces_and_waits_are_there(storage: Any, upstream: RestUpstream):
    alice = storage.for_user("alice")
    assert sorted(write.state for write in alice.history()) == ["applied", "applied", "discarded"]
    assert alice.collection("drafts").fetch().pluck("text") == ["A draft"]
    outbox = storage.engine.outbox
    with outbox.database.transaction() as connection:
        aliases = connection.execute("SELECT temp_id, record_id FROM alias ORDER BY record_id").fetchall()
        nonces = connection.execute("SELECT owner, nonce, content, key FROM nonce ORDER BY owner").fetchall()
    for temp_id, record_id in aliases:
        assert alice.collection("people").get(temp_id).id == int(record_id)
    (owner, nonce, content, _), (_, _, _, key) = nonces
    with outbox.transaction(owner) as change:
        assert change.find(change.nonce(nonce, content).write_id).record_id == 101
    # Of the form that was withdrawn; after version 1 a definite refusal leaves none.
    assert key is None or len(key) == 32
    assert waiting(storage, "bob") == [("create", "queued", "Told to wait")]
    assert storage.for_user("bob").sync().retry_after == 600
    assert upstream.sent == []
    storage.for_user("anon:0f").collection("people").create(name="Late", remote=False)
    assert waiting(storage)[-1] == ("create", "queued", "Late"), "the adoption holds"


def test_it_goes_on_where_it_was(storage: Any, upstream: RestUpstream):
    alice = storage.for_user("alice")
    for write in alice.pending()[:2]:
        alice.retry(write.id)
    report = alice.sync()
    assert report.remaining == 0, report
    assert sorted(row["name"] for row in upstream.records["/people"]) == [
        "Ada", "Adopted", "Applied", "In doubt 🐍", "Queued", "Rejected",
    ]  # fmt: skip
    assert upstream.find("/people", 1)["age"] == 37  # type: ignore[index]
    assert upstream.find("/people", 2) is None


def test_it_then_has_the_tables_of_a_new_one(tmp_path: Path):
    for version in OLD:
        old = restored(tmp_path / f"old {version}.sqlite3", version)
        new = tmp_path / "new.sqlite3"
        for path in (old, new):
            Database(f"sqlite:///{path}", Clock()).prepare(create=True)
        assert columns(f"sqlite:///{old}") == columns(f"sqlite:///{new}")


@pytest.mark.parametrize("form", FIRST_FORMS, ids=lambda path: path.stem)
def test_every_form_that_version_1_had_is_upgraded(
    tmp_path: Path, upstream: RestUpstream, monkeypatch: pytest.MonkeyPatch, form: Path
):
    """Its columns become those of a new one, and what waits in it is sent."""
    path = restored(tmp_path / "dualstorage.sqlite3", 1, form)
    stopped = SimpleNamespace(time=lambda: NOW, monotonic=lambda: NOW)
    monkeypatch.setattr("flask_dualstorage.extension.time", stopped)
    storage = open_app(str(tmp_path), upstream.url)
    alice = storage.for_user("alice")
    assert sorted(row["name"] for row in (write.attributes or {} for write in alice.pending()) if "name" in row) == [
        "Ada",
        "Queued",
    ]
    assert alice.sync(collections=["people"]).remaining == 0
    assert [row["name"] for row in upstream.records["/people"] if row["id"] in (1, 103)] == ["Ada", "Queued"]
    storage.engine.outbox.database._drop()
    Database(f"sqlite:///{tmp_path / 'new.sqlite3'}", Clock()).prepare(create=True)
    assert columns(f"sqlite:///{path}") == columns(f"sqlite:///{tmp_path / 'new.sqlite3'}")


def columns(url: str) -> dict[str, set[tuple[str, str, bool]]]:
    """Every table's columns, and indexes by name."""
    with on_the_side(url) as connection:
        look = sqlalchemy.inspect(connection)
        return {
            table: {(each["name"], str(each["type"]), each["nullable"]) for each in look.get_columns(table)}
            | {(each["name"] or "", "index", True) for each in look.get_indexes(table)}
            for table in look.get_table_names()
        }


# --- the mechanism, with a version that does not exist yet ---------------------------------------------------

NEXT = schema.SCHEMA_VERSION + 1


@pytest.fixture
def tables_are_dropped(database_url: str) -> Iterator[None]:
    yield
    if not database_url.startswith("sqlite"):
        with on_the_side(database_url) as connection:
            for table in reversed(sqlalchemy.inspect(connection).get_table_names()):
                connection.exec_driver_sql(f"DROP TABLE {connection.dialect.identifier_preparer.quote(table)}")


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose tables have one more column."""
    monkeypatch.setattr(schema, "SCHEMA_VERSION", NEXT)
    steps = ("ALTER TABLE alias ADD COLUMN made_up VARCHAR(10)", "UPDATE alias SET made_up = 'yes'")
    monkeypatch.setattr(schema, "UPGRADES", {**schema.UPGRADES, NEXT - 1: steps})


def version_in(url: str) -> int:
    with on_the_side(url) as connection:
        return int(connection.execute(sqlalchemy.select(schema.schema_version.c.version)).scalar_one())


@pytest.mark.usefixtures("tables_are_dropped")
class TestTheNextRelease:
    def test_upgrades_in_place_and_keeps_what_is_there(
        self, database_url: str, open_outbox: OpenOutbox, request: pytest.FixtureRequest
    ):
        old = open_outbox(database_url)
        old.database.prepare(create=True)
        write = insert(old)
        with old.transaction(ALICE) as change:
            change.add_alias("tmp-1", 7)
        request.getfixturevalue("next_version")
        new = open_outbox(database_url)
        new.database.prepare(create=True)
        assert version_in(database_url) == NEXT
        assert (new.pending(ALICE), new.alias(ALICE, "tmp-1")) == ([write], 7)
        with on_the_side(database_url) as connection:
            assert connection.exec_driver_sql("SELECT made_up FROM alias").fetchall() == [("yes",)]
        open_outbox(database_url).database.prepare(create=True)
        assert version_in(database_url) == NEXT

    @pytest.mark.parametrize("database_url", SERVERS, indirect=True)
    def test_a_server_is_upgraded_by_hand_alone(
        self, database_url: str, open_outbox: OpenOutbox, request: pytest.FixtureRequest
    ):
        """Workers of the old release may still be at it."""
        open_outbox(database_url).database.prepare(create=True)
        request.getfixturevalue("next_version")
        new = open_outbox(database_url)
        for use in (lambda: new.pending(ALICE), lambda: insert(new)):
            with pytest.raises(OutboxUnavailable, match=f"version {NEXT - 1}.*needs {NEXT}.*flask dualstorage init-db"):
                use()
        assert version_in(database_url) == NEXT - 1
        open_outbox(database_url).database.prepare(create=True)
        insert(new)

    @pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
    def test_a_step_that_fails_leaves_the_database_as_it_was(
        self,
        database_url: str,
        open_outbox: OpenOutbox,
        request: pytest.FixtureRequest,
        monkeypatch: pytest.MonkeyPatch,
    ):
        old = open_outbox(database_url)
        old.database.prepare(create=True)
        before, write = columns(database_url), insert(old)
        request.getfixturevalue("next_version")
        steps = (*schema.UPGRADES[NEXT - 1], "ALTER TABLE nothing ADD COLUMN x INTEGER")
        monkeypatch.setitem(schema.UPGRADES, NEXT - 1, steps)
        with pytest.raises(OutboxUnavailable, match=r"can not be opened.*nothing"):
            open_outbox(database_url).database.prepare(create=True)
        assert (version_in(database_url), columns(database_url)) == (NEXT - 1, before)
        assert old.pending(ALICE) == [write]

    def test_several_that_upgrade_at_once_do_it_once(
        self, database_url: str, open_outbox: OpenOutbox, request: pytest.FixtureRequest
    ):
        open_outbox(database_url).database.prepare(create=True)
        script = (
            "import sys; from flask_dualstorage.storage import schema; from flask_dualstorage.storage.database "
            f"import Database; schema.SCHEMA_VERSION = {NEXT}; schema.UPGRADES[{NEXT - 1}] = "
            "('ALTER TABLE alias ADD COLUMN made_up VARCHAR(10)',); print('ready', flush=True); sys.stdin.readline(); "
            "Database(sys.argv[1], lambda: 0.0).prepare(create=True)"
        )
        command = [sys.executable, "-c", script, database_url]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
        for process in processes:
            assert process.stdout.readline() == "ready\n"  # type: ignore[union-attr]
        for process in processes:
            process.stdin.write("go\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        for process in processes:
            process.communicate(timeout=PATIENCE)
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert version_in(database_url) == NEXT

    def test_leaves_one_that_is_newer_still_alone(self, database_url: str, open_outbox: OpenOutbox):
        open_outbox(database_url).database.prepare(create=True)
        with on_the_side(database_url) as connection:
            connection.execute(schema.schema_version.update().values(version=NEXT))
        message = re.escape(f"have version {NEXT}, this release knows {NEXT - 1}: upgrade flask_dualstorage")
        with pytest.raises(ConfigurationError, match=message):
            open_outbox(database_url).store_state(ALICE, PEOPLE, -1)
        assert version_in(database_url) == NEXT


def test_a_dump_is_whole(tmp_path: Path):
    """Git may not have changed a byte of it on the way: line ends, say."""
    for version in OLD:
        with sqlite3.connect(restored(tmp_path / f"{version}.sqlite3", version)) as made:
            assert made.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        made.close()
