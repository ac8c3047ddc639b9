"""Four processes, 200 owners, 5,000 writes, random faults: each applied once, in order, none across owners.

DUALSTORAGE_TEST_SCALE=10 makes it 50,000 writes of 2,000 owners; DUALSTORAGE_TEST_SEED repeats a run's dice.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.types import Kind, State
from tests.concurrency.ledger import Ledger
from tests.concurrency.writer import open_storage

ROOT = Path(__file__).parents[2]
SCALE = float(os.environ.get("DUALSTORAGE_TEST_SCALE", "1"))
PROCESSES, OWNERS, WRITES = 4, int(200 * SCALE), int(5_000 * SCALE)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_each_is_applied_once_in_order_and_for_its_owner(database_url: str, tmp_path: Path):
    seed = int(os.environ.get("DUALSTORAGE_TEST_SEED", random.SystemRandom().randrange(2**32)))
    say(f"DUALSTORAGE_TEST_SEED={seed}")
    started = time.monotonic()
    with Ledger(seed, OWNERS) as upstream:
        asked = {
            "instance": str(tmp_path / "instance"),
            "database": database_url,
            "upstream": upstream.url,
            "owners": OWNERS,
            "seed": seed,
            "writes": WRITES // PROCESSES,
        }
        accepted = write(upstream, asked)
        upstream.hostile = False
        storage = open_storage(asked["instance"], database_url, upstream.url)
        written = time.monotonic()
        send_the_rest(storage)
        say(f"{len(accepted)} writes in {written - started:.1f} s, the rest sent in {time.monotonic() - written:.1f} s")
        say(f"{len(upstream.received)} requests, {upstream.connections} connections, {dict(upstream.faults)}")
        check(storage, upstream, accepted)
        sent = len(upstream.received)
        send_the_rest(storage)
        assert len(upstream.received) == sent, "a second flush sends nothing"
        for known in storage.engine.known_upstreams():
            known._client.close()
        storage.engine.outbox.database._drop()


def say(sentence: str) -> None:
    """Shown with ``pytest -s``, and where the test fails."""
    sys.stdout.write(sentence + "\n")


def write(upstream: Ledger, asked: dict[str, Any]) -> list[str]:
    """Let the processes write, all at once, while the upstream goes away now and then; gives the tokens of all."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.concurrency.writer", json.dumps({**asked, "number": number})],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        while any(process.poll() is None for process in processes):
            if upstream.tired.wait(0.05):
                upstream.tired.clear()
                upstream.unplug()
                upstream.plug()
        assert [process.returncode for process in processes] == [0] * PROCESSES
        return [token for process in processes for token in json.loads(process.stdout.read())]  # type: ignore[union-attr]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def send_the_rest(storage: AppDualStorage) -> None:
    for owner in storage.owners():
        storage.for_user(owner).sync()


def check(storage: AppDualStorage, upstream: Ledger, accepted: list[str]) -> None:
    assert upstream.wrong == []
    assert storage.owners() == []
    assert len(accepted) == WRITES
    applied = Counter(token for lane in upstream.lanes.values() for token in lane)
    assert applied == Counter(accepted), "each that was accepted once, and nothing else"
    lanes: dict[int, list[str]] = defaultdict(list)
    for number in range(OWNERS):
        owner = f"user:{number}"
        assert storage.for_user(owner).pending() == []
        for each in sorted(storage.engine.outbox.settled(owner, WRITES), key=lambda each: each.seq):
            assert each.state is State.APPLIED
            token = (
                f"{owner} deletes {each.record_id}" if each.kind is Kind.DELETE else (each.attributes or {})["token"]
            )
            lanes[int(each.record_id)].append(token)
    assert lanes == upstream.lanes, "in each lane, in the order in which they were accepted"
