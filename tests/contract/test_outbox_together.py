"""Several threads and processes at one outbox: an owner's changes are made one after the other, and none is lost."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from flask_dualstorage.errors import OutboxUnavailable
from flask_dualstorage.storage import schema
from flask_dualstorage.storage.outbox import Outbox
from flask_dualstorage.types import Kind
from tests.contract.conftest import SERVERS, on_the_side
from tests.contract.writes import ALICE, BOB, PEOPLE, Clock, a_write, insert, pending_counter
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
OpenOutbox = Callable[[str], Outbox]


def settle_a_few(outbox: Outbox, owner: str, times: int = 10) -> list[int]:
    numbers = []
    for _ in range(times):
        with outbox.transaction(owner) as change:
            numbers.append(change.next_settled_seq())
            change.insert(a_write(owner=owner))
    return numbers


def drop_connection(outbox: Outbox) -> None:
    outbox.database._drop()


def in_threads(outbox: Outbox, *tasks: Callable[[], object]) -> list[object]:
    """Run each in a thread of its own, all at once; their connections end with them."""
    ready = threading.Barrier(len(tasks))

    def run(task: Callable[[], object]) -> object:
        ready.wait(PATIENCE)
        try:
            return task()
        finally:
            drop_connection(outbox)

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(run, task) for task in tasks]]


def test_two_threads_on_one_owner_go_one_after_the_other(outbox: Outbox):
    one, other = in_threads(outbox, *[lambda: settle_a_few(outbox, ALICE)] * 2)
    assert sorted([*one, *other]) == list(range(1, 21))
    assert outbox.store_state(ALICE, PEOPLE, -1).settled_seq == 20
    assert pending_counter(outbox, ALICE) == len(outbox.pending(ALICE)) == 20


PROCESS = """
import sys, time
from tests.contract.writes import Clock
from flask_dualstorage.storage.database import Database
from flask_dualstorage.storage.outbox import Outbox
from tests.contract.test_outbox_together import settle_a_few
outbox = Outbox(Database(sys.argv[1], Clock()))
print("ready", flush=True)
sys.stdin.readline()
print(*settle_a_few(outbox, "user:alice"))
"""


def test_two_processes_on_one_owner_go_one_after_the_other(outbox: Outbox, database_url: str):
    """Also where both make the SQLite file, or the owner's row, at the same moment."""
    command = [sys.executable, "-c", PROCESS, database_url]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    numbers = [int(number) for process in processes for number in process.communicate(timeout=PATIENCE)[0].split()]
    assert sorted(numbers) == list(range(1, 21))
    assert outbox.store_state(ALICE, PEOPLE, -1).settled_seq == 20
    assert pending_counter(outbox, ALICE) == len(outbox.pending(ALICE)) == 20


def test_many_new_owners_at_once_do_not_stop_each_other(outbox: Outbox):
    """MariaDB's gap locks would make two first transactions a deadlock."""
    outbox.owners()
    owners = [f"user:{number:03}" for number in range(40)]

    def begin(mine: list[str]) -> None:
        for owner in mine:
            insert(outbox, owner=owner)

    in_threads(outbox, *[lambda part=part: begin(owners[part::4]) for part in range(4)])
    assert sorted(outbox.owners()) == owners


def test_first_transactions_of_one_owner_at_once_do_not_stop_each_other(outbox: Outbox):
    outbox.owners()
    owners = [f"user:{number:03}" for number in range(20)]
    in_threads(outbox, *[lambda: [settle_a_few(outbox, owner, times=2) for owner in owners]] * 4)
    assert [outbox.store_state(owner, PEOPLE, -1).settled_seq for owner in owners] == [8] * 20


def test_two_adoptions_the_opposite_way_do_not_stop_each_other(outbox: Outbox):
    def adopt(first: str, second: str) -> None:
        for _ in range(10):
            with outbox.adoption(first, second) as (left, right):
                left.next_settled_seq()
                right.next_settled_seq()

    in_threads(outbox, lambda: adopt(ALICE, BOB), lambda: adopt(BOB, ALICE))
    assert [outbox.store_state(owner, PEOPLE, -1).settled_seq for owner in (ALICE, BOB)] == [20, 20]


def test_a_reader_waits_for_no_writer_and_sees_nothing_half_done(outbox: Outbox):
    kept = insert(outbox)
    with outbox.transaction(ALICE) as change:
        change.insert(a_write())
        [seen] = in_threads(outbox, lambda: outbox.pending(ALICE))
    assert seen == [kept]
    assert len(outbox.pending(ALICE)) == 2


def test_a_second_transaction_sees_what_the_first_committed(outbox: Outbox):
    """It reads after it has the lock: two workers never decide on the same lane at once."""
    outbox.pending(ALICE)
    inside, seen = threading.Event(), []

    def second() -> None:
        inside.wait(PATIENCE)
        with outbox.transaction(ALICE) as change:
            seen.append(change.pending())

    def first() -> None:
        with outbox.transaction(ALICE) as change:
            inside.set()
            change.insert(a_write(id="first"))

    in_threads(outbox, first, second)
    assert [write.id for write in seen[0]] == ["first"]


def test_the_order_of_a_lane_is_the_order_of_its_commits(outbox: Outbox):
    in_threads(outbox, *[lambda: [insert(outbox, kind=Kind.UPDATE) for _ in range(10)]] * 2)
    numbers = [write.seq for write in outbox.pending(ALICE)]
    assert len(numbers) == 20
    assert all(before < after for before, after in pairwise(numbers))


# --- a connection that ends ----------------------------------------------------------------------------------


def hang_up(outbox: Outbox, url: str) -> None:
    """End the outbox's connection at the server, as a restart or an idle timeout would."""
    kept = outbox.database._kept()
    assert kept is not None
    with on_the_side(url) as connection:
        if outbox.database.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({kept.raw.info.backend_pid}, 5000)")
        else:
            connection.exec_driver_sql(f"KILL {kept.raw.thread_id()}")


@pytest.mark.parametrize("database_url", SERVERS, indirect=True)
def test_a_server_that_hung_up_meanwhile_is_connected_to_anew(outbox: Outbox, database_url: str):
    """After a restart, or a night: the first page must not pay for it."""
    write = insert(outbox)
    hang_up(outbox, database_url)
    assert outbox.pending(ALICE) == [write]
    hang_up(outbox, database_url)
    other = insert(outbox)
    assert outbox.pending(ALICE) == [write, other]


@pytest.mark.parametrize("database_url", SERVERS, indirect=True)
def test_a_server_that_hangs_up_within_a_transaction_is_an_error_and_nothing_is_kept(outbox: Outbox, database_url: str):
    def lose_it(how: Callable[[Outbox], object]) -> None:
        with outbox.transaction(ALICE) as change:
            change.insert(a_write())
            hang_up(outbox, database_url)
            how(outbox)

    for how in (lambda _: None, lambda outbox: outbox.now(), lambda outbox: outbox.pending(ALICE)):
        with pytest.raises(OutboxUnavailable, match="Nothing was kept"):
            lose_it(how)
    assert outbox.pending(ALICE) == []
    insert(outbox)
    assert pending_counter(outbox, ALICE) == 1


# --- time ----------------------------------------------------------------------------------------------------


def test_time_is_the_injected_clocks_on_sqlite(sqlite_url: str, open_outbox: OpenOutbox, clock: Clock):
    outbox = open_outbox(sqlite_url)
    assert outbox.now() == clock.now
    clock.now += 5
    with outbox.transaction(ALICE) as change:
        assert change.now == clock.now


@pytest.mark.parametrize("database_url", SERVERS, indirect=True)
def test_time_is_the_servers_own_where_there_is_one(outbox: Outbox, database_url: str, clock: Clock):
    """Hosts' clocks differ: leases and waits are compared by one."""
    clock.now = 5.0
    before = outbox.now()
    with outbox.transaction(ALICE) as change, on_the_side(database_url) as connection:
        theirs = connection.exec_driver_sql(
            "SELECT extract(epoch from clock_timestamp())"
            if outbox.database.dialect.name == "postgresql"
            else "SELECT unix_timestamp(now(6))"
        ).scalar_one()
        assert clock.now < before <= change.now <= float(theirs)


def test_the_time_of_a_transaction_is_read_when_it_has_its_lock(sqlite_url: str, open_outbox: OpenOutbox, clock: Clock):
    """A lease that began before a long wait would end too early."""
    outbox = open_outbox(sqlite_url)
    outbox.owners()
    inside, times = threading.Event(), []

    def second() -> None:
        inside.wait(PATIENCE)
        with outbox.transaction(ALICE) as change:
            times.append(change.now)

    def first() -> None:
        with outbox.transaction(ALICE):
            inside.set()
            clock.now += 60

    in_threads(outbox, first, second)
    assert times == [clock.now]


def test_the_tables_are_those_that_the_contract_empties():
    assert {table.name for table in schema.metadata.sorted_tables} == {
        "schema_version",
        "write",
        "alias",
        "nonce",
        "owner",
    }
