"""The outbox's own file can not be used: what is not kept is not said to be, and it heals without a restart."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_dualstorage import OutboxUnavailable
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.storage import database
from tests.concurrency.gates import PATIENCE, Gate, beside, in_a_worker
from tests.outages.conftest import OpenStorage, page, post
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the outbox of ``open_storage`` is."""
    return tmp_path / "instance" / "dualstorage.sqlite3"


def names(storage: AppDualStorage) -> list[str]:
    return [write.attributes["name"] for write in storage.for_user("alice").pending() if write.attributes]


def is_refused(storage: AppDualStorage, upstream: RestUpstream, reason: str) -> None:
    """A write is refused before a byte goes out, in a script and on a page, and both say why."""
    sent = len(upstream.sent)
    with pytest.raises(OutboxUnavailable, match=f"(?s){reason}.*Nothing was kept"):
        storage.for_user("alice").collection("people").create(name="lost")
    with pytest.raises(OutboxUnavailable, match=reason):
        storage.for_user("alice").collection("people").create(name="lost", remote=False)
    shown = post(storage, "/people/lost")
    assert (shown.status_code, len(upstream.sent)) == (503, sent)
    assert "outbox" in shown.text


def works(storage: AppDualStorage, upstream: RestUpstream) -> None:
    """Without a restart: a save, a sync, and nothing of what was refused."""
    assert post(storage, "/people/again").json == {"dirty": False}
    storage.for_user("alice").sync()
    assert names(storage) == []
    assert "lost" not in str(upstream.records)
    assert page(storage).status_code == 200


# --- locked --------------------------------------------------------------------------------------------------

LOCK = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
other.execute("ROLLBACK")
print("free", flush=True)
"""


@pytest.fixture
def lock(path: Path) -> Iterator[Callable[[], Callable[[], None]]]:
    """Have another process lock the file; gives what lets it go."""
    processes: list[Any] = []

    def lock() -> Callable[[], None]:
        command = [sys.executable, "-c", LOCK, str(path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "locked\n"

        def let_go() -> None:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "free\n"

        return let_go

    yield lock
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("impatient")
class TestLockedByAnotherProcess:
    def test_a_write_is_refused_and_pages_go_on(
        self, open_storage: OpenStorage, upstream: RestUpstream, lock: Callable[[], Callable[[], None]]
    ):
        storage = open_storage()
        assert page(storage).status_code == 200
        let_go = lock()
        is_refused(storage, upstream, "database is locked")
        assert page(storage).json == {"people": ["Ada", "Grace"]}
        let_go()
        works(storage, upstream)

    def test_at_the_settle_the_write_is_kept_and_said_to_be(
        self, open_storage: OpenStorage, upstream: RestUpstream, lock: Callable[[], Callable[[], None]], clock: Any
    ):
        """It was accepted and sent: the view gets it as kept, and after its lease a flush finds out."""
        storage = open_storage()
        let_go: list[Callable[[], None]] = []
        upstream.then(lambda line: let_go.append(lock()) or answer(201, {"id": 101, "name": "Eve"})(line), applied=True)
        person = storage.for_user("alice").collection("people").create(name="Eve")
        assert person.dirty
        assert "could not be recorded" in (person.pending_write.reason or "") or person.has_temp_id
        let_go[0]()
        assert [write.state for write in storage.for_user("alice").pending()] == ["sending"]
        clock.advance(1000)
        assert storage.for_user("alice").sync().applied == 1
        assert [row["name"] for row in upstream.records["/people"]].count("Eve") == 1

    def test_at_the_settle_of_a_flush_it_does_not_say_that_nothing_was_kept(
        self, open_storage: OpenStorage, upstream: RestUpstream, lock: Callable[[], Callable[[], None]], clock: Any
    ):
        storage = open_storage()
        storage.for_user("alice").collection("people").create(name="Eve", remote=False)
        let_go: list[Callable[[], None]] = []
        upstream.then(lambda line: let_go.append(lock()) or answer(201, {"id": 101, "name": "Eve"})(line), applied=True)
        shown = post(storage, "/dualstorage/sync")
        assert shown.status_code == 503
        assert "stays in the outbox" in shown.text
        assert "Nothing was kept" not in shown.text
        let_go[0]()
        clock.advance(1000)
        assert storage.for_user("alice").sync().applied == 1
        assert [row["name"] for row in upstream.records["/people"]].count("Eve") == 1

    def test_writers_behind_one_that_does_not_end_do_not_wait_for_ever(
        self, open_storage: OpenStorage, upstream: RestUpstream
    ):
        storage = open_storage()
        database = storage.engine.outbox.database
        with database.transaction():
            gate = Gate(answer())
            gate._here.set()
            with beside(lambda: is_refused(storage, upstream, "is busy"), gate):
                pass
        works(storage, upstream)


# --- gone ----------------------------------------------------------------------------------------------------


class TestDeletedUnderUs:
    def test_a_write_is_refused_instead_of_kept_in_a_file_without_a_name(
        self, open_storage: OpenStorage, upstream: RestUpstream, path: Path
    ):
        """SQLite itself would go on writing to it, and all would be lost with the process."""
        storage = open_storage()
        storage.for_user("alice").collection("people").create(name="Eve", remote=False)
        moved = path.with_name("moved")
        path.rename(moved)
        is_refused(storage, upstream, f"{path} is gone")
        with pytest.raises(OutboxUnavailable, match="is gone"):
            in_a_worker(lambda: storage.for_user("alice").pending())
        assert not path.exists(), "no empty file in its place, which would hide what comes back"
        assert page(storage).status_code == 503
        moved.rename(path)
        assert names(storage) == ["Eve"]
        works(storage, upstream)

    def test_with_its_folder_too(self, open_storage: OpenStorage, upstream: RestUpstream, path: Path):
        """A disk that was unmounted."""
        storage = open_storage()
        assert page(storage).status_code == 200
        storage.for_user("alice").collection("people").create(name="Eve", remote=False)
        elsewhere = path.parent.with_name("elsewhere")
        path.parent.rename(elsewhere)
        is_refused(storage, upstream, f"{path} is gone")
        elsewhere.rename(path.parent)
        assert names(storage) == ["Eve"]
        works(storage, upstream)

    def test_another_file_in_its_place_is_used_from_then_on(
        self, open_storage: OpenStorage, upstream: RestUpstream, path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """A backup that was put back: from the next read on that looks, or the next write."""
        monkeypatch.setattr(database, "LOOK_EVERY", 0.0)
        storage = open_storage()
        storage.for_user("alice").collection("people").create(name="in the backup", remote=False)
        backup = path.with_name("backup")
        with sqlite3.connect(path) as here, sqlite3.connect(backup) as there:
            here.backup(there)
        for each in (here, there):
            each.close()
        storage.for_user("alice").collection("people").create(name="after it", remote=False)
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        backup.rename(path)
        assert names(storage) == ["in the backup"]
        works(storage, upstream)

    def test_a_restart_begins_an_empty_one(self, open_storage: OpenStorage, upstream: RestUpstream, path: Path):
        open_storage().for_user("alice").collection("people").create(name="Eve", remote=False)
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        works(open_storage(), upstream)


# --- full, and read-only -------------------------------------------------------------------------------------

CHILD = """
import os, resource, signal, stat, sys
from pathlib import Path
from flask_dualstorage import DualStorage, OutboxUnavailable
from flask import Flask
from flask.testing import FlaskClient  # before the process gives up its rights
import encodings.idna, click.testing

instance, upstream = Path(sys.argv[1]), sys.argv[2]

def new_app():
    app = Flask("app", instance_path=str(instance))
    app.config.update(DUALSTORAGE_UPSTREAM_URL=upstream, DUALSTORAGE_TIMEOUT=(10, 20), TESTING=True, SECRET_KEY="x")
    dualstorage = DualStorage(app)
    dualstorage.user_loader(lambda: "alice")

    @app.get("/<name>")
    def create(name):
        return {"dirty": dualstorage.collection("people").create(name=name, text="x" * 200_000).dirty}

    return app.extensions["dualstorage"]

def refused(storage, name, reason=""):
    alice = storage.for_user("alice")
    try:
        alice.collection("people").create(name=name, text="x" * 200_000, remote=False)
    except OutboxUnavailable as error:
        assert reason in str(error), error
        assert "Nothing was kept" in str(error) or "can not be opened" in str(error), error
    else:
        raise AssertionError("kept")
    shown = storage._app.test_client().get("/" + name)
    assert shown.status_code == 503, shown.text

def names(storage):
    return [write.attributes["name"] for write in storage.for_user("alice").pending()]
"""

FULL = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
storage = new_app()
people = storage.for_user("alice").collection("people")
people.create(name="before", remote=False)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
biggest = max(each.stat().st_size for each in instance.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (biggest, hard))
refused(storage, "lost")
assert names(storage) == ["before"]
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
people.create(name="after", remote=False)
assert names(storage) == ["before", "after"]
assert names(new_app()) == ["before", "after"]
"""

FULL_AT_FIRST = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
storage = new_app()
refused(storage, "lost")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
storage.for_user("alice").collection("people").create(name="after", remote=False)
assert names(storage) == names(new_app()) == ["after"]
"""

READ_ONLY = """
new_app().for_user("alice").collection("people").create(name="before", remote=False)
for each in [instance, *instance.iterdir()]:
    each.chmod(0o555 if each.is_dir() else 0o444)
child = os.fork()
if child == 0:
    if os.getuid() == 0:
        os.setuid(65534)  # to root, nothing is read-only
    storage = new_app()
    refused(storage, "lost")
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
for each in [instance, *instance.iterdir()]:
    each.chmod(0o755 if each.is_dir() else 0o644)
assert names(new_app()) == ["before"]
"""

READ_ONLY_FOR_A_WHILE = """
storage = new_app()
alice = storage.for_user("alice")
alice.collection("people").create(name="before", remote=False)
raw = storage.engine.outbox.database._kept().raw
raw.execute("PRAGMA query_only = 1")  # as a disk that the kernel remounted
refused(storage, "lost", "readonly database")
assert names(storage) == ["before"]
raw.execute("PRAGMA query_only = 0")
alice.collection("people").create(name="after", remote=False)
assert names(storage) == ["before", "after"]
"""

SCRIPTS = {
    "full": FULL,
    "full at first": FULL_AT_FIRST,
    "read-only": READ_ONLY,
    "read-only for a while": READ_ONLY_FOR_A_WHILE,
}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="dualstorage-") as folder:
        Path(folder).chmod(0o755)
        instance = Path(folder) / "instance"
        instance.mkdir()
        yield instance


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_a_disk_that_takes_no_more(open_folder: Path, upstream: RestUpstream, script: str):
    """In a process of its own, with limits of its own: what is refused is not there, and it heals by itself."""
    run([sys.executable, "-c", CHILD + script, str(open_folder), upstream.url])
    assert upstream.sent == []


REALLY_FULL = """
storage = new_app()
people = storage.for_user("alice").collection("people")
people.create(name="before", remote=False)
ballast = instance / "ballast"
with ballast.open("wb", buffering=0) as file:
    try:
        while file.write(b"x" * 4096):
            pass
    except OSError:
        pass
refused(storage, "lost", "disk is full")
assert names(storage) == ["before"]
ballast.unlink()
people.create(name="after", remote=False)
assert names(storage) == names(new_app()) == ["before", "after"]
"""


def test_a_disk_that_is_really_full(tmp_path: Path, upstream: RestUpstream):
    """A small disk in memory, in a mount namespace that ends with its process."""
    own = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    mount = [*own, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("No file system can be mounted here; the limits of the test above stand for a full disk.")
    script = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"'
    run([*own, "sh", "-c", script, str(tmp_path), sys.executable, "-c", CHILD + REALLY_FULL, str(tmp_path), "http://x"])
    assert list(tmp_path.iterdir()) == []


def run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


# --- a commit without an answer ------------------------------------------------------------------------------


class Failing:
    """A driver's connection, or cursor, whose COMMIT fails as SQLite does when a disk does not say that it has it."""

    def __init__(self, raw: Any, errorname: str) -> None:
        self._raw, self._errorname = raw, errorname

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def cursor(self) -> Any:
        return Failing(self._raw.cursor(), self._errorname)

    def execute(self, sql: str, values: Any = ()) -> Any:
        if sql == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self._errorname
            raise error
        return self._raw.execute(sql, values)


@pytest.mark.parametrize(
    ("errorname", "says"),
    [("SQLITE_IOERR_FSYNC", "It is not known whether"), ("SQLITE_IOERR_WRITE", "Nothing was kept")],
)
def test_a_commit_that_may_have_reached_the_disk_is_not_said_to_be_lost(
    open_storage: OpenStorage, upstream: RestUpstream, errorname: str, says: str
):
    storage = open_storage()
    storage.for_user("alice").pending()
    kept = storage.engine.outbox.database._kept()
    assert kept is not None
    whole, kept.raw = kept.raw, Failing(kept.raw, errorname)
    with pytest.raises(OutboxUnavailable, match=says):
        storage.for_user("alice").collection("people").create(name="lost")
    assert upstream.sent == []
    kept.raw = whole
    works(storage, upstream)


def test_a_relative_path_is_where_the_app_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_storage: OpenStorage
):
    """A process that changes its folder later, as daemons do, must not begin a second outbox there."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage(DUALSTORAGE_DATABASE_URL="sqlite:///outbox.sqlite3")
    storage.for_user("alice").collection("people").create(name="Eve", remote=False)
    monkeypatch.chdir("/")
    assert names(storage) == ["Eve"]
    assert in_a_worker(lambda: names(storage)) == ["Eve"]
