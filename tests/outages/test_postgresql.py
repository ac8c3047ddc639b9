"""The outbox's PostgreSQL stops, is killed, or goes away in the middle of a COMMIT; and comes back."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_dualstorage import OutboxUnavailable
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.storage import schema
from flask_dualstorage.tokens import make_nonce
from tests.contract.conftest import on_the_side
from tests.outages.conftest import OpenStorage, Server, page, post
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream

Own = tuple[Server, str]


@pytest.fixture
def server(own_postgresql: Own) -> Iterator[Server]:
    """Running, with the outbox's tables, all empty; and again at the end."""
    server, url = own_postgresql
    with on_the_side(url) as connection:
        schema.metadata.drop_all(connection)
    yield server
    if server._process is None:
        server.start()


@pytest.fixture
def storage(server: Server, own_postgresql: Own, open_storage: OpenStorage) -> AppDualStorage:
    storage = open_storage(DUALSTORAGE_DATABASE_URL=own_postgresql[1])
    storage.init_db()
    return storage


def names(storage: AppDualStorage) -> list[str]:
    return [write.attributes["name"] for write in storage.for_user("alice").pending() if write.attributes]


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGKILL], ids=["stopped", "killed"])
def test_while_it_is_away_writes_are_refused_and_then_all_works_without_a_restart(
    storage: AppDualStorage, server: Server, upstream: RestUpstream, how: signal.Signals
):
    people = storage.for_user("alice").collection("people")
    people.create(name="Eve", remote=False)
    server.stop(how)
    for remote in (True, False, True):
        with pytest.raises(OutboxUnavailable, match=r"(?s)can not be used.*Nothing was kept"):
            people.create(name="lost", remote=remote)
    shown = post(storage, "/people/lost")
    assert (shown.status_code, page(storage).status_code, upstream.sent) == (503, 503, [])
    assert "outbox" in shown.text
    server.start()
    assert names(storage) == ["Eve"]
    assert post(storage, "/people/again").json == {"dirty": False}
    assert storage.for_user("alice").sync().applied == 1
    assert sorted(one.json()["name"] for one in upstream.sent) == ["Eve", "again"]


def test_an_app_that_starts_while_it_is_away_works_when_it_is_there(
    storage: AppDualStorage, server: Server, open_storage: OpenStorage, own_postgresql: Own
):
    server.stop()
    fresh = open_storage(DUALSTORAGE_DATABASE_URL=own_postgresql[1])
    assert page(fresh).status_code == 503
    server.start()
    assert page(fresh).status_code == 200


def test_a_restart_between_two_requests_costs_nothing(storage: AppDualStorage, server: Server):
    people = storage.for_user("alice").collection("people")
    people.create(name="Eve", remote=False)
    server.stop()
    server.start()
    people.create(name="Ada", remote=False)
    assert names(storage) == ["Eve", "Ada"]


def test_at_the_settle_the_write_is_kept_and_said_to_be(
    storage: AppDualStorage, server: Server, upstream: RestUpstream, own_postgresql: Own
):
    upstream.then(lambda line: server.stop() or answer(201, {"id": 101, "name": "Eve"})(line), applied=True)
    person = storage.for_user("alice").collection("people").create(name="Eve")
    assert (person.dirty, person.has_temp_id) == (True, True)
    server.start()
    assert [write.state for write in storage.for_user("alice").pending()] == ["sending"]
    with on_the_side(own_postgresql[1]) as connection:
        connection.execute(schema.write.update().values(lease=0.0))
    assert storage.for_user("alice").sync().applied == 1
    assert [row["name"] for row in upstream.records["/people"]].count("Eve") == 1


# --- a COMMIT whose answer is lost ---------------------------------------------------------------------------


class Proxy:
    """Stands between the app and its database. With ``armed`` it hangs up at the next COMMIT.

    ``after`` says when: once the server has done it, or before it hears of it.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.armed = False
        self.after = True
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def _start(self, run: Callable[..., None], *args: Any) -> None:
        self._threads.append(threading.Thread(target=run, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [client, there]
            committed = threading.Event()
            self._start(self._forward, client, there, committed)
            self._start(self._back, there, client, committed)

    def _forward(self, client: socket.socket, there: socket.socket, committed: threading.Event) -> None:
        while data := _read(client):
            if self.armed and b"COMMIT\0" in data:
                self.armed = False
                if not self.after:
                    break
                committed.set()
            _write(there, data)
        _hang_up(there)
        _hang_up(client)

    def _back(self, there: socket.socket, client: socket.socket, committed: threading.Event) -> None:
        while data := _read(there):
            if committed.is_set():
                break
            _write(client, data)
        _hang_up(client)
        _hang_up(there)

    def close(self) -> None:
        for sock in (self._listener, *self._sockets):
            _hang_up(sock)
            sock.close()
        for thread in self._threads:
            thread.join()


def _read(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65_536)
    except OSError:
        return b""


def _write(sock: socket.socket, data: bytes) -> None:
    # The other side may have gone; the next read tells.
    with contextlib.suppress(OSError):
        sock.sendall(data)


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def proxied(proxy: Proxy, storage: AppDualStorage, own_postgresql: Own, open_storage: OpenStorage) -> AppDualStorage:
    url = own_postgresql[1].replace(f":{own_postgresql[0].port}/", f":{proxy.port}/")
    return open_storage(DUALSTORAGE_DATABASE_URL=url)


@pytest.mark.parametrize("done", [True, False], ids=["done all the same", "not done"])
def test_a_commit_whose_answer_is_lost_is_not_said_to_be_lost(
    proxied: AppDualStorage, proxy: Proxy, upstream: RestUpstream, done: bool
):
    """Nobody here can know, so nobody says; and nothing was sent. The form's nonce makes sending it again safe."""
    people = proxied.for_user("alice").collection("people")
    people.create(name="before", remote=False)
    nonce = make_nonce(proxied._app)
    proxy.after, proxy.armed = done, True
    with pytest.raises(OutboxUnavailable, match="It is not known whether this was kept") as caught:
        people.create(name="Eve", nonce=nonce, remote=False)
    assert "Nothing was kept" not in str(caught.value)
    assert names(proxied) == ["before", *["Eve"] * done]
    people.create(name="Eve", nonce=nonce, remote=False)
    assert names(proxied) == ["before", "Eve"]
    assert (proxied.for_user("alice").sync().applied, len(upstream.sent)) == (2, 2)


# --- a server whose defaults are others -----------------------------------------------------------------------


@pytest.fixture
def defaults(server: Server, own_postgresql: Own) -> Iterator[Callable[[str, str], None]]:
    """Set what every connection to this database begins with; as it was at the end."""
    url = own_postgresql[1]
    changed: list[str] = []

    def alter(sentence: str) -> None:
        with on_the_side(url) as connection:
            name = connection.dialect.identifier_preparer.quote(connection.engine.url.database or "")
            connection.exec_driver_sql(f"ALTER DATABASE {name} {sentence}")

    def set_default(name: str, value: str) -> None:
        changed.append(name)
        alter(f"SET {name} = '{value}'")

    yield set_default
    for name in changed:
        alter(f"RESET {name}")


def setting(storage: AppDualStorage, name: str) -> str:
    """What a connection of ours has."""
    with storage.engine.outbox.database.transaction() as connection:
        return str(connection.execute(f"SELECT current_setting('{name}')").fetchall()[0][0])


def test_writers_of_one_owner_wait_for_each_other_whatever_its_isolation_is(
    defaults: Callable[[str, str], None], storage: AppDualStorage
):
    defaults("default_transaction_isolation", "repeatable read")
    failed: list[BaseException] = []
    ready = threading.Barrier(4)

    def write(number: int) -> None:
        ready.wait()
        try:
            for each in range(10):
                storage.for_user("alice").collection("people").create(name=f"{number}.{each}", remote=False)
        except OutboxUnavailable as error:
            failed.append(error)
        finally:
            storage.engine.outbox.database._drop()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(names(storage)) == 40


def test_a_commit_is_on_the_disk_whatever_its_default_is(
    defaults: Callable[[str, str], None], server: Server, own_postgresql: Own, open_storage: OpenStorage
):
    """With ``synchronous_commit = off`` a crash of the server could lose an accepted write."""
    defaults("synchronous_commit", "off")
    storage = open_storage(DUALSTORAGE_DATABASE_URL=own_postgresql[1])
    storage.init_db()
    assert setting(storage, "synchronous_commit") == "on"


def test_a_stricter_default_stays(
    defaults: Callable[[str, str], None], server: Server, own_postgresql: Own, open_storage: OpenStorage
):
    defaults("synchronous_commit", "remote_apply")
    defaults("lock_timeout", "3s")
    storage = open_storage(DUALSTORAGE_DATABASE_URL=own_postgresql[1])
    storage.init_db()
    assert (setting(storage, "synchronous_commit"), setting(storage, "lock_timeout")) == ("remote_apply", "3s")


class TestALockThatDoesNotEnd:
    """A worker that was stopped within its transaction, or whose host went away."""

    def test_is_waited_for_as_long_as_with_sqlite(self, storage: AppDualStorage):
        assert setting(storage, "lock_timeout") == "10s"
        assert setting(storage, "idle_in_transaction_session_timeout") == "1min"

    def test_is_an_outage(self, storage: AppDualStorage, own_postgresql: Own, open_storage: OpenStorage):
        storage.for_user("alice").collection("people").create(name="before", remote=False)
        hasty = open_storage(DUALSTORAGE_DATABASE_URL=f"{own_postgresql[1]}&options=-c%20lock_timeout%3D200")
        with on_the_side(own_postgresql[1]) as connection:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql("SELECT * FROM owner FOR UPDATE")
            with pytest.raises(OutboxUnavailable, match=r"lock timeout.*Nothing was kept"):
                hasty.for_user("alice").collection("people").create(name="lost", remote=False)
            connection.exec_driver_sql("ROLLBACK")
        hasty.for_user("alice").collection("people").create(name="after", remote=False)
        assert names(storage) == ["before", "after"]
