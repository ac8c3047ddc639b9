"""Several processes of one app: at first use, with one form, after a fork, with clocks that disagree."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.concurrency.conftest import Worker
from tests.concurrency.gates import Gate
from tests.concurrency.peers import ROOT, MakePeer, peer, run_script
from tests.contract.conftest import SERVERS
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream

__all__ = ["peer"]

HOUR = 3600.0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_two_that_make_the_first_file_at_once_both_keep_their_writes(peer: MakePeer, tmp_path: Path):
    peers = [peer(), peer()]
    for turn in range(6):
        fresh = f"open_storage({str(tmp_path / f'fresh {turn}')!r}, None, 'http://127.0.0.1:9').for_user('alice')"
        for each in peers:
            each.tell(f"[(a := {fresh}).collection('people').create(name='x', remote=False).dirty, len(a.pending())]")
        heard = [each.hear() for each in peers]
        assert [dirty for dirty, _ in heard] == [True, True]
        assert max(pending for _, pending in heard) == 2


def test_one_form_from_two_at_the_same_moment_is_one_write(peer: MakePeer, upstream: RestUpstream):
    peers = [peer(), peer()]
    for turn in range(6):
        nonce = peers[0].ask("__import__('flask_dualstorage.tokens').tokens.make_nonce(storage._app)")
        remote = turn % 2 == 0
        for each in peers:
            each.tell(f"people.create(name='T{turn}', nonce={nonce!r}, remote={remote}).id")
        ids = [each.hear() for each in peers]
        peers[0].ask("alice.sync().remaining")
        assert sum(one.json()["name"] == f"T{turn}" for one in upstream.sent) == 1
        assert len({peers[1].ask(f"people.get({record_id!r}).id") for record_id in ids}) == 1
    assert len(upstream.records["/people"]) == 2 + 6


# --- a preloading server -------------------------------------------------------------------------------------

PRELOAD = """
import json, os, sys
from tests.concurrency.writer import open_storage
storage = open_storage(*json.loads(sys.argv[1]))

def use(name, times=3):
    mine = storage.for_user(name)
    people = mine.collection("people")
    for n in range(times):
        people.create(name=f"{name} {n} online")
        people.create(name=f"{name} {n} kept", remote=False)
    assert people.fetch().source
    mine.sync()
    assert mine.pending() == []

if sys.argv[2] == "after first use":
    use("parent")
children = []
for number in range(2):
    child = os.fork()
    if child == 0:
        try:
            use(f"child{number}")
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(child)
use("parent")
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
use("parent")
for known in storage.engine.known_upstreams():
    known._client.close()
storage.engine.outbox.database._drop()
"""


@pytest.mark.parametrize("when", ["after init_app", "after first use"])
def test_a_preloading_server_forks_and_nobody_shares_a_connection(
    database_url: str, upstream: RestUpstream, tmp_path: Path, when: str
):
    """An adapter, a cookie or a database connection that two processes use would mix up their answers."""
    run_script(PRELOAD, json.dumps([str(tmp_path / "instance"), database_url, upstream.url]), when)
    names = [one.json()["name"] for one in upstream.sent]
    assert len(names) == len(upstream.records["/people"]) - 2
    used = {
        name: {one.connection for one in upstream.received if one.headers["X-Owner"] == f"user:{name}"}
        for name in ("parent", "child0", "child1")
    }
    assert not used["child0"] & used["child1"]
    assert not used["parent"] & (used["child0"] | used["child1"])
    for name in ("child0", "child1"):
        assert sorted(n for n in names if n.startswith(name)) == sorted(
            f"{name} {n} {how}" for n in range(3) for how in ("online", "kept")
        )


# --- a fork while another thread is at it --------------------------------------------------------------------

FORK_BESIDE_A_FLUSH = """
import json, os, sys, threading
from tests.concurrency.writer import open_storage
storage = open_storage(*json.loads(sys.argv[1]))
alice = storage.for_user("alice")
alice.collection("people").create(name="parent", remote=False)
applied = []

def flush():
    applied.append(alice.sync().applied)
    storage.engine.outbox.database._drop()

thread = threading.Thread(target=flush)
thread.start()
print("flushing", flush=True)
sys.stdin.readline()  # its request is at the upstream
child = os.fork()
if child == 0:
    mine = storage.for_user("alice")
    assert [write.state for write in mine.pending()] == ["sending"]
    mine.collection("people").create(name="child", remote=False)
    mine.collection("people").create(name="child online")
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("forked", flush=True)
thread.join()
assert applied == [1], applied
alice.sync()
assert alice.pending() == []
storage.engine.outbox.database._drop()
"""

#: The other thread is within a transaction, in a hook of the app's, until the fork has begun.
FORK_BESIDE_A_TRANSACTION = """
import json, os, sys, threading
from flask_dualstorage import Collection, Model
from tests.concurrency import writer

inside, forking = threading.Event(), threading.Event()

class Slow(Model):
    def to_json(self):
        if threading.current_thread().name == "flush":
            inside.set()
            assert forking.wait(60)
        return super().to_json()

class People(Collection):
    model = Slow

storage = writer.open_storage(*json.loads(sys.argv[1]))
storage.registry.add(People)
alice = storage.for_user("alice")
alice.collection("people").create(name="parent", remote=False)
applied = []

def flush():
    applied.append(alice.sync().applied)
    storage.engine.outbox.database._drop()

thread = threading.Thread(target=flush, name="flush")
thread.start()
assert inside.wait(60)
os.register_at_fork(before=forking.set)  # these run last in, first out: before the package's own
child = os.fork()
if child == 0:
    mine = storage.for_user("bob")
    mine.collection("people").create(name="child", remote=False)
    mine.collection("people").create(name="child online")
    assert mine.sync().remaining == 0
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
thread.join()
assert applied == [1], applied
storage.engine.outbox.database._drop()
"""


def test_a_fork_beside_a_flush_in_another_thread_leaves_both_at_work(
    database_url: str, upstream: RestUpstream, tmp_path: Path
):
    upstream.then(gate := Gate(answer(201, {"id": 7, "name": "parent"})))
    where = json.dumps([str(tmp_path / "instance"), database_url, upstream.url])
    command = [sys.executable, "-c", FORK_BESIDE_A_FLUSH, where]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            gate.wait()
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            said = [process.stdout.readline(), process.stdout.readline()]  # type: ignore[union-attr]
            gate.open()
            errors = process.communicate(timeout=60)[1]
        finally:
            gate.open()
            process.kill()
    assert (said, process.returncode, errors) == (["flushing\n", "forked\n"], 0, "")
    assert sorted(one.json()["name"] for one in upstream.sent) == ["child", "child online", "parent"]


def test_a_fork_beside_a_transaction_in_another_thread_leaves_both_at_work(
    database_url: str, upstream: RestUpstream, tmp_path: Path
):
    """The child inherits no lock that nobody will ever release."""
    run_script(FORK_BESIDE_A_TRANSACTION, json.dumps([str(tmp_path / "instance"), database_url, upstream.url]))
    assert sorted(one.json()["name"] for one in upstream.sent) == ["child", "child online", "parent"]


# --- clocks that disagree ------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_url", SERVERS, indirect=True)
class TestClocksThatDisagreeByAnHour:
    def test_a_lease_goes_by_the_servers(self, peer: MakePeer, upstream: RestUpstream):
        slow, fast = peer(ahead=-HOUR / 2), peer(ahead=HOUR / 2)
        upstream.then(gate := Gate(answer(200, {"id": 1, "name": "Ada", "age": 41})))
        slow.tell("people.new({'id': 1}).save(age=41).state")
        gate.wait()
        assert fast.ask("[alice.sync().queued, alice.pending()[0].state]") == [1, "sending"]
        gate.open()
        assert slow.hear() == "applied"
        assert len(upstream.sent) == 1

    def test_the_backoff_goes_by_the_servers(self, peer: MakePeer, upstream: RestUpstream, worker: Worker):
        slow, fast = peer(ahead=-HOUR / 2), peer(ahead=HOUR / 2)
        upstream.then(answer(503), answer(503))
        assert slow.ask("people.new({'id': 1}).save(age=41).dirty")
        assert fast.ask("people.new({'id': 2}).save(age=86).dirty")
        outbox = worker().engine.outbox
        for write in outbox.pending("user:alice"):
            assert write.not_before is not None
            assert abs(write.not_before - outbox.now()) < HOUR / 4
            assert abs(write.created_at - outbox.now()) < HOUR / 4

    def test_a_wait_that_the_upstream_asked_for_goes_by_the_servers(self, peer: MakePeer, upstream: RestUpstream):
        slow, fast = peer(ahead=-HOUR / 2), peer(ahead=HOUR / 2)
        upstream.then(answer(429, headers={"Retry-After": "600"}))
        assert slow.ask("people.new({'id': 1}).save(age=41).dirty")
        assert fast.ask("alice.sync().applied") == 0
        assert fast.ask("0 < alice.sync().retry_after <= 600")
        assert fast.ask("storage.owners(due=True)") == []
        assert len(upstream.sent) == 1


# --- Retry-After ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_one_was_asked_for_holds_for_all(peer: MakePeer, upstream: RestUpstream, status: int, form: str):
    """Also for writes made later, by whichever process, and for a save as for a flush."""
    one, other = peer(), peer()
    asked = "600" if form == "seconds" else formatdate(time.time() + 600, usegmt=True)
    upstream.then(answer(status, headers={"Retry-After": asked}))
    assert one.ask("people.new({'id': 1}).save(age=41).dirty")
    for each in (other, one):
        assert each.ask("people.new({'id': 2}).save(age=86).dirty")
        assert each.ask("[alice.sync().applied, 500 < alice.sync().retry_after <= 601]") == [0, True]
        assert each.ask("storage.owners(due=True)") == []
    assert len(upstream.sent) == 1
