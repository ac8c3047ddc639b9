"""Other processes of the app, that do what a test asks of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.concurrency.gates import PATIENCE
from tests.upstreams.rest import RestUpstream

ROOT = Path(__file__).parents[2]

#: Evaluates one line after the other, in sight of ``storage``, ``alice`` and ``people``.
PEER = """
import json, sys, time
ahead, *where = json.loads(sys.argv[1])
real = time.time
time.time = lambda: real() + ahead
from tests.concurrency.writer import open_storage
storage = open_storage(*where)
alice = storage.for_user("alice")
people = alice.collection("people")
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
"""


class Peer:
    """A process of the app, whose clock is ``ahead`` by so many seconds."""

    def __init__(self, stack: ExitStack, *where: str | None, ahead: float = 0.0) -> None:
        command = [sys.executable, "-c", PEER, json.dumps([ahead, *where])]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, **pipes))
        stack.callback(self._process.kill)
        assert self._process.stdout.readline() == "ready\n"  # type: ignore[union-attr]

    def tell(self, expression: str) -> None:
        """Have it evaluate something, and go on."""
        assert self._process.stdin
        self._process.stdin.write(expression + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Wait for what came of it."""
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def ask(self, expression: str) -> Any:
        """Have it evaluate something, and wait."""
        self.tell(expression)
        return self.hear()


MakePeer = Callable[..., Peer]


@pytest.fixture
def peer(tmp_path: Path, upstream: RestUpstream, database_url: str) -> Iterator[MakePeer]:
    """Start another process of the app on the same database."""
    with ExitStack() as stack:
        yield lambda **options: Peer(stack, str(tmp_path / "instance"), database_url, upstream.url, **options)


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script that forks, in a process of its own. Fails with what it wrote."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done
