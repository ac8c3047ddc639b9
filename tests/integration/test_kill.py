"""``kill -9`` of the example app while an online save waits for its answer: nothing is lost, nothing applied twice."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from example_app.upstream import start_upstream
from tests.needs import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
# Longer than any test takes: a test that waits it out fails.
FOREVER = 300

#: Serves the example app until it is killed. It lives `ahead` seconds in the future, so that the lease of a write that
#: an earlier process was sending is over, and no test needs to sleep for it.
APP = """
import sys, time
port, ahead, upstream, instance = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
real = time.time
time.time = lambda: real() + ahead
import pathlib
from werkzeug.serving import make_server
from example_app.app import create_app
config = {"DUALSTORAGE_UPSTREAM_URL": upstream, "DUALSTORAGE_TIMEOUT": (10, 300)}
server = make_server("127.0.0.1", port, create_app(config, pathlib.Path(instance)), threaded=True)
print("ready", flush=True)
server.serve_forever()
"""

#: Longer than the lease of a write: the deadline above, and the grace of `flask_dualstorage.sync.engine`.
PAST_THE_LEASE = 1000


@dataclass
class House:
    """The example's upstream, which stays, and its app, which is killed and started again on the same folder."""

    folder: Path
    stack: ExitStack
    port: int = field(default_factory=free_port)
    upstream_port: int = field(default_factory=free_port)
    control_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        # One browser all along: its cookie says whose the writes are.
        self.browser = self.stack.enter_context(requests.Session())
        self.browser.headers["Accept"] = "text/html"
        self.database = self.folder / "upstream.sqlite"
        self.stack.enter_context(start_upstream(self.upstream_port, self.control_port, self.database))

    def start_app(self, ahead: float = 0) -> None:
        argv = [str(self.port), str(ahead), f"http://127.0.0.1:{self.upstream_port}", str(self.folder / "instance")]
        command = [sys.executable, "-c", APP, *argv]
        self.app = self.stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        self.stack.callback(self.app.kill)
        assert self.app.stdout
        assert self.app.stdout.readline() == "ready\n"

    def kill_app(self) -> None:
        self.app.send_signal(signal.SIGKILL)
        self.app.wait()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str) -> requests.Response:
        return self.browser.get(self.url(path), timeout=FOREVER)

    def post(self, path: str, **fields: str) -> requests.Response:
        return self.browser.post(self.url(path), fields, timeout=FOREVER)

    def fill_in(self, path: str, **fields: str) -> requests.Response:
        nonce = re.search(r'name="dualstorage_nonce" value="([^"]+)"', self.get(path).text)
        assert nonce
        return self.post(path, dualstorage_nonce=nonce[1], **fields)

    def pending(self) -> list[dict[str, Any]]:
        answer = self.browser.get(self.url("/dualstorage/"), headers={"Accept": "application/json"}, timeout=FOREVER)
        return answer.json()["writes"]

    def people(self) -> list[dict[str, Any]]:
        return requests.get(f"http://127.0.0.1:{self.upstream_port}/people", timeout=FOREVER).json()

    def turn(self, **wish: Any) -> None:
        requests.post(f"http://127.0.0.1:{self.control_port}/plug", json=wish, timeout=FOREVER).raise_for_status()

    def keys(self) -> list[str]:
        """The idempotency keys that the upstream ever saw."""
        with closing(sqlite3.connect(self.database)) as db:
            return [key for (key,) in db.execute("SELECT key FROM answers")]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(tmp_path, stack)


def killed_half_way(house: House, path: str, fields: dict[str, str], arrived: str) -> None:
    """Save a form; the upstream applies it at once, but its answer does not come; then the app is killed."""
    house.start_app()
    house.get("/")
    house.turn(hang=FOREVER)
    with ThreadPoolExecutor() as threads:
        save: Future[requests.Response] = threads.submit(house.fill_in, path, **fields)
        until(lambda: arrived in str(house.people()), "the write's arrival at the upstream")
        assert not save.done(), "the save waits for its answer"
        house.kill_app()
        assert isinstance(save.exception(), requests.ConnectionError)
    house.turn(hang=0)


FORMS = {
    "create": ("/people/new", {"name": "Kathleen Booth", "city": "Birkbeck"}),
    "update": ("/people/1/edit", {"name": "Ada Lovelace", "city": "Birkbeck"}),
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_save_that_was_waiting_is_there_after_the_restart_and_is_applied_once(house: House, kind: str) -> None:
    killed_half_way(house, *FORMS[kind], arrived="Birkbeck")
    [key] = house.keys()
    upstream_then = house.people()

    house.start_app()
    [write] = house.pending()
    assert (write["kind"], write["state"], write["attributes"]["city"]) == (kind, "sending", "Birkbeck")
    assert "Birkbeck" in house.get("/").text
    assert "being sent" in house.get("/").text
    house.post("/dualstorage/sync")
    assert len(house.pending()) == 1, "as long as its lease lasts, the process that sent it may be alive"
    house.kill_app()

    house.start_app(ahead=PAST_THE_LEASE)
    assert [each["id"] for each in house.pending()] == [write["id"]]
    assert "1 change was sent." in house.post("/dualstorage/sync", next="/").text
    assert house.pending() == []
    assert house.people() == upstream_then, "the upstream applied it once, before the kill"
    assert house.keys() == [key], "it went again with its first key, and was answered from memory"
    assert house.get("/").text.count("Birkbeck") == 1
    house.post("/dualstorage/sync")
    assert house.keys() == [key], "a second sync sends nothing"


def test_a_save_that_never_left_is_sent_after_the_restart(house: House) -> None:
    house.start_app()
    house.get("/")
    house.turn(state="out")
    house.fill_in("/people/new", name="Kathleen Booth", city="Birkbeck")
    house.kill_app()
    house.turn(state="in")

    house.start_app()
    [write] = house.pending()
    assert (write["kind"], write["state"]) == ("create", "queued")
    assert "1 change was sent." in house.post("/dualstorage/sync", next="/").text
    assert [person["city"] for person in house.people()].count("Birkbeck") == 1
