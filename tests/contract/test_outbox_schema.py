"""The outbox's tables: made on first use or by hand, never those of another release."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from flask_dualstorage.errors import ConfigurationError, OutboxUnavailable
from flask_dualstorage.storage import schema
from flask_dualstorage.storage.database import Database
from flask_dualstorage.storage.outbox import Outbox
from tests.contract.conftest import SERVERS, on_the_side
from tests.contract.writes import ALICE, PEOPLE, Clock, insert
from tests.needs import free_port

OpenOutbox = Callable[[str], Outbox]


@pytest.fixture
def bare_url(database_url: str) -> Iterator[str]:
    """A database without a table; what a test makes in it is dropped."""
    if database_url.startswith("sqlite"):
        yield database_url
        return
    with on_the_side(database_url) as connection:
        schema.metadata.drop_all(connection)
    yield database_url
    with on_the_side(database_url) as connection:
        schema.metadata.drop_all(connection)


@pytest.mark.parametrize("database_url", SERVERS, indirect=True)
def test_missing_tables_on_a_server_say_how_to_make_them(bare_url: str, open_outbox: OpenOutbox):
    outbox = open_outbox(bare_url)
    for use in (lambda: outbox.pending(ALICE), lambda: insert(outbox), outbox.now):
        with pytest.raises(OutboxUnavailable, match="flask dualstorage init-db"):
            use()
    open_outbox(bare_url).database.prepare(create=True)
    insert(outbox)


@pytest.mark.parametrize("database_url", SERVERS, indirect=True)
def test_half_made_tables_on_a_server_are_missing_tables_and_can_be_completed(bare_url: str, open_outbox: OpenOutbox):
    """MariaDB commits each CREATE TABLE by itself, so that an init-db can be cut off in between."""
    with on_the_side(bare_url) as connection:
        schema.schema_version.create(connection)
        schema.owner.create(connection)
    with pytest.raises(OutboxUnavailable, match="flask dualstorage init-db"):
        open_outbox(bare_url).pending(ALICE)
    open_outbox(bare_url).database.prepare(create=True)
    insert(open_outbox(bare_url))


def test_making_them_again_keeps_what_is_there(database_url: str, outbox: Outbox, open_outbox: OpenOutbox):
    write = insert(outbox)
    open_outbox(database_url).database.prepare(create=True)
    assert open_outbox(database_url).pending(ALICE) == [write]


def test_tables_of_a_newer_release_are_refused_and_left_alone(bare_url: str, open_outbox: OpenOutbox):
    with on_the_side(bare_url) if not bare_url.startswith("sqlite") else _made(bare_url) as connection:
        schema.metadata.create_all(connection)
        connection.execute(schema.schema_version.delete())
        connection.execute(schema.schema_version.insert().values(version=schema.SCHEMA_VERSION + 1))
        schema.nonce.drop(connection)
    outbox = open_outbox(bare_url)
    message = f"have version {schema.SCHEMA_VERSION + 1}.*knows {schema.SCHEMA_VERSION}.*upgrade flask_dualstorage"
    for use in (
        lambda: outbox.store_state(ALICE, PEOPLE, -1),
        lambda: insert(outbox),
        lambda: outbox.database.prepare(create=True),
    ):
        with pytest.raises(ConfigurationError, match=message):
            use()
    with on_the_side(bare_url) as connection:
        assert not outbox.database.dialect.has_table(connection, "nonce")


def _made(url: str):
    Database(url, Clock()).prepare(create=True)
    return on_the_side(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://nobody@127.0.0.1:{port}/none?connect_timeout=5",
        "mysql+pymysql://nobody@127.0.0.1:{port}/none?connect_timeout=5",
        "mariadb+pymysql://nobody@127.0.0.1:{port}/none?connect_timeout=5",
    ],
)
def test_a_server_that_is_not_there_is_a_clear_error(url: str, open_outbox: OpenOutbox):
    outbox = open_outbox(url.format(port=free_port()))
    for use in (lambda: outbox.pending(ALICE), lambda: insert(outbox)):
        with pytest.raises(OutboxUnavailable, match="database can not be opened") as caught:
            use()
        assert caught.value.code == 503


@pytest.mark.parametrize(
    ("module", "url"), [("psycopg", "postgresql+psycopg://127.0.0.1/x"), ("pymysql", "mysql+pymysql://127.0.0.1/x")]
)
def test_a_missing_driver_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, module: str, url: str
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"DUALSTORAGE_DATABASE_URL.*{module}.*\[postgresql\].*\[mariadb\]"):
        Database(url, Clock())


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_mariadb_url_is_a_mysql_url(database_url: str, outbox: Outbox, open_outbox: OpenOutbox):
    write = insert(outbox, record_id="🐍", key="k")
    other = open_outbox(database_url.replace("mysql+pymysql", "mariadb+pymysql"))
    assert other.pending(ALICE) == [write]
    assert insert(other).seq > write.seq
