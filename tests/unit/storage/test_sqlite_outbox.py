"""The outbox in a file of its own: made on first use, safe against a power cut, clear when it can not be used."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_dualstorage.errors import OutboxUnavailable
from flask_dualstorage.storage import database as database_module
from flask_dualstorage.storage.database import Database
from flask_dualstorage.storage.outbox import Outbox
from tests.contract.writes import ALICE, Clock, a_write, insert
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a folder? 100%" / "instance" / "outbox.sqlite3"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    database = Database(url_of(path), Clock())
    yield Outbox(database)
    database._drop()


def url_of(path: Path) -> str:
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def test_the_file_is_made_with_its_folder_on_first_use(outbox: Outbox, path: Path):
    assert not path.parent.exists()
    assert outbox.pending(ALICE) == []
    assert path.is_file()


def test_it_writes_ahead_and_reaches_the_disk_before_it_answers(outbox: Outbox, path: Path):
    """WAL and synchronous=FULL: a power cut loses no write that was accepted."""
    insert(outbox)
    kept = outbox.database._kept()
    assert kept is not None
    assert kept.raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert kept.raw.execute("PRAGMA synchronous").fetchone() == (2,)
    assert kept.raw.execute("PRAGMA busy_timeout").fetchone() == (10_000,)


def test_every_threads_connection_does_so(outbox: Outbox):
    insert(outbox)
    pragmas = []

    def look() -> None:
        outbox.pending(ALICE)
        kept = outbox.database._kept()
        assert kept is not None
        pragmas.extend(kept.raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))
        outbox.database._drop()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(PATIENCE)
    assert pragmas == ["wal", 2]


def test_an_older_file_that_does_not_write_ahead_is_switched(outbox: Outbox, path: Path):
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as older:
        older.execute("CREATE TABLE somebody_elses (x)")
    older.close()
    insert(outbox)
    kept = outbox.database._kept()
    assert kept is not None
    assert kept.raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def both_fail(outbox: Outbox, match: str) -> None:
    for use in (lambda: outbox.pending(ALICE), lambda: insert(outbox)):
        with pytest.raises(OutboxUnavailable, match=match) as caught:
            use()
        assert caught.value.code == 503


def test_a_file_in_place_of_the_folder_is_a_clear_error(outbox: Outbox, path: Path):
    path.parent.parent.mkdir()
    path.parent.write_text("not a folder")
    both_fail(outbox, "can not be opened.*instance")
    path.parent.unlink()
    insert(outbox)


@pytest.mark.parametrize("folder", ["/proc/dualstorage", "/proc/self/dualstorage/instance"])
def test_a_folder_that_can_not_be_written_is_a_clear_error(folder: str):
    """Root may write anywhere but there."""
    both_fail(Outbox(Database(f"sqlite:///{folder}/outbox.sqlite3", Clock())), "can not be opened.*/proc")


def test_a_folder_in_place_of_the_file_is_a_clear_error(outbox: Outbox, path: Path):
    path.mkdir(parents=True)
    both_fail(outbox, "unable to open database file")


def test_a_corrupted_file_is_a_clear_error_and_is_not_touched(outbox: Outbox, path: Path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"This is no database. " * 500)
    both_fail(outbox, "file is not a database")
    assert path.read_bytes() == b"This is no database. " * 500


def test_a_locked_file_is_a_clear_error_for_writing_and_can_still_be_read(
    outbox: Outbox, path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0.0)
    write = insert(outbox)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutboxUnavailable, match=r"database is locked.*Nothing was kept"):
        insert(outbox)
    assert outbox.pending(ALICE) == [write]
    other.execute("ROLLBACK")
    other.close()
    assert len([*outbox.pending(ALICE), insert(outbox)]) == 2


def test_a_file_that_is_locked_at_first_use_is_a_clear_error(
    outbox: Outbox, path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0.0)
    path.parent.mkdir(parents=True)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    both_fail(outbox, "database is locked")
    other.close()
    insert(outbox)


def test_a_full_disk_is_a_clear_error_and_nothing_is_kept(outbox: Outbox):
    write = insert(outbox)
    kept = outbox.database._kept()
    assert kept is not None
    [pages] = kept.raw.execute("PRAGMA page_count").fetchone()
    kept.raw.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutboxUnavailable, match=r"database or disk is full.*Nothing was kept"):
        insert(outbox, attributes={"text": "x" * 100_000})
    assert outbox.pending(ALICE) == [write]
    insert(outbox)


def test_tables_that_went_away_are_a_clear_error(outbox: Outbox, path: Path):
    insert(outbox)
    with sqlite3.connect(path) as other:
        other.execute('DROP TABLE "write"')
    other.close()
    both_fail(outbox, "no such table")


def test_a_thread_that_fails_lets_the_next_writer_in(outbox: Outbox):
    def fail() -> None:
        with outbox.transaction(ALICE):
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            fail()
    assert insert(outbox).seq == 1


# --- forks: a preloading server opens the outbox, then forks its workers -------------------------------------

FORK = """
import os, sys
from flask_dualstorage.storage.database import Database
from flask_dualstorage.storage.outbox import Outbox
from tests.contract.writes import ALICE, Clock, a_write, insert

outbox = Outbox(Database(sys.argv[1], Clock()))

def in_child(task):
    child = os.fork()
    if child == 0:
        task()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

FORKED = """
insert(outbox, id="before")
raw = outbox.database._kept().raw
read_end, write_end = os.pipe()
child = os.fork()
if child == 0:
    assert outbox.database._kept() is None
    os.read(read_end, 1)
    insert(outbox, id="child")
    os._exit(0)
# The parent, too, works on; and the child must not rely on locks that only the parent holds.
insert(outbox, id="after")
assert outbox.database._kept().raw is not raw
outbox.database._drop()
os.write(write_end, b"x")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert [write.id for write in outbox.pending(ALICE)] == ["before", "after", "child"]
"""

#: As uWSGI forks: Python hears of it only afterwards.
FORKED_IN_C = """
insert(outbox, id="before")
inherited = outbox.database._kept()
outbox.database._here.connection = None
outbox.database._connections.clear()

def child():
    outbox.database._here.connection = inherited
    outbox.pending(ALICE)
    assert outbox.database._kept() is not inherited
    inherited.raw.execute("SELECT 1")  # still open: to close it could end the parent's locks

in_child(child)
outbox.database._here.connection = inherited
assert [write.id for write in outbox.pending(ALICE)] == ["before"]
assert outbox.database._kept() is inherited
"""


@pytest.mark.parametrize("script", [FORKED, FORKED_IN_C], ids=["in Python", "in C"])
def test_a_forked_child_does_not_use_the_parents_connection(path: Path, script: str):
    subprocess.run([sys.executable, "-c", FORK + script, url_of(path)], cwd=ROOT, check=True, timeout=PATIENCE)


def test_a_write_outlives_a_process_that_is_killed_right_after_its_commit(path: Path, outbox: Outbox):
    script = FORK + "insert(outbox, id='kept')\nos.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script, url_of(path)], cwd=ROOT, check=False, timeout=PATIENCE)
    assert done.returncode == -9
    assert [write.id for write in outbox.pending(ALICE)] == ["kept"]


def test_a_write_of_a_process_that_is_killed_before_its_commit_is_not_there(path: Path, outbox: Outbox):
    script = FORK + (
        "with outbox.transaction(ALICE) as change:\n    change.insert(a_write())\n    os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, url_of(path)], cwd=ROOT, check=False, timeout=PATIENCE)
    assert done.returncode == -9
    assert outbox.pending(ALICE) == []
    with outbox.transaction(ALICE) as change:
        change.insert(a_write())
