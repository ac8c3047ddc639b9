"""What the kills have in common: a process that forks, an upstream, scenarios, and what must be so in the end."""

from __future__ import annotations

import copy
import http.client
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.kills.forks import Ended, Job
from tests.kills.tables import Tables
from tests.upstreams.hostile import Behaviour, Received, answer, drop
from tests.upstreams.rest import RestUpstream
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]

#: Longer than a lease: the deadline of the forks' apps, and ``flask_dualstorage.policy.planning.LEASE_GRACE``.
PAST_THE_LEASE = 1000.0

ADA = {"id": 1, "name": "Ada", "age": 36}
GRACE = {"id": 2, "name": "Grace", "age": 85}


class Forks:
    """The warm process that forks for each job."""

    def __init__(self, *database_url: str) -> None:
        command = [sys.executable, "-m", "tests.kills.forks", *database_url]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # Until then it uses the tables of a server itself.
        assert self._hear() == "warm\n"

    def run(self, job: Job) -> Ended:
        """Do a job in a process of its own."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._hear()))

    def _hear(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the forking process ended: its traceback is on stderr"
        return line

    def close(self) -> None:
        """Let it end by itself."""
        self._process.communicate(timeout=PATIENCE)


class Upstream(RestUpstream):
    """One that meets clients who die while they speak: half a request is none."""

    def __init__(self, *, keys: bool) -> None:
        super().__init__({"/people": [dict(ADA), dict(GRACE)], "/pets": []}, keys=keys)

    def again(self) -> Upstream:
        """Another one with the same records, requests and answers so far."""
        other = Upstream(keys=self._keys is not None)
        other.records = copy.deepcopy(self.records)
        other.received = list(self.received)
        other._keys = None if self._keys is None else dict(self._keys)
        other._numbers = copy.copy(self._numbers)
        return other

    def settle_down(self) -> None:
        """Return once all that a killed process sent has been worked on.

        Connections are accepted in order: when our own was, so were all of its. The first thread is the listener's.
        """
        probe = http.client.HTTPConnection("127.0.0.1", self.port)
        probe.request("GET", "/probe")
        probe.getresponse().read()
        probe.close()
        for conversation in self._threads[1:]:
            conversation.join(PATIENCE)
            assert not conversation.is_alive()

    def _behaviour(self, received: Received) -> Behaviour:
        if received.target == "/probe":
            return answer(200, {})
        if len(received.body) < int(received.headers.get("Content-Length", 0)):
            return drop()
        return super()._behaviour(received)

    def _answer(self, received: Received) -> Behaviour:
        if received.method == "GET" and received.target.endswith("/notes"):
            return answer(200, self.records.get(received.target, []))
        if received.method == "POST" and received.json().get("name") == "":
            return answer(422, {"detail": "A name, please."})
        return super()._answer(received)


@dataclass(frozen=True)
class Scenario:
    """What is there before (``first``), what is done until it is killed, and what the upstream then has.

    What it accepts, it accepts by committing an INSERT of a write; all that ``first`` left was accepted before.
    """

    name: str
    do: str
    first: str = "load"
    recover: str = "recover"
    #: A create whose process was killed before: right ``before`` the last bytes of it went out, or right ``after``.
    crashed: str | None = None
    at_least: int = 25
    at_once: bool = False

    @property
    def accepts_before(self) -> bool:
        return self.crashed is not None or self.first == "leave a graph"

    @property
    def is_form(self) -> bool:
        return self.do == "send form"

    @property
    def is_refused(self) -> bool:
        return self.do == "refused create"

    def wanted(self, *, accepted: bool) -> dict[str, list[dict[str, Any]]]:
        """What the upstream holds in the end, ids of new records left out."""
        turing, lovelace = {"name": "Turing"}, {**ADA, "name": "Lovelace", "age": 41}
        if self.first == "leave a frozen edit":
            return {"/people": [lovelace if accepted else {**ADA, "age": 41}, GRACE], "/pets": []}
        if self.is_form:
            return {"/people": [ADA, GRACE, turing], "/pets": []}
        if self.is_refused or not accepted:
            return {"/people": [ADA, GRACE], "/pets": []}
        if self.first == "leave a graph":
            notes = {"/people/101/notes": [{"text": "one"}]}
            return {"/people": [lovelace, turing], "/pets": [{"owner_id": 101, "name": "Rex"}], **notes}
        kind = "create" if self.crashed else self.do.split()[0]
        people = {
            "create": [ADA, GRACE, turing],
            "update": [{**ADA, "age": 41}, GRACE],
            "delete": [ADA],
        }[kind]
        return {"/people": people, "/pets": []}


@dataclass
class Ground:
    """A scenario's own: the state of an instance folder before it, and of the tables on a server, for each kill."""

    scenario: Scenario
    forks: Forks
    folder: Path
    keys: bool
    tables: Tables | None = None

    def __post_init__(self) -> None:
        self.rows = None
        if self.tables:
            self.tables.settle_down()
            self.tables.drop()
        self.first = self.folder / "first"
        self.upstream = Upstream(keys=self.keys)
        with self.upstream as upstream:
            if "leave" in self.scenario.first:
                upstream.then(answer(200, [ADA, GRACE]), answer(200, []), answer(503))
            self.form = None
            self.form = self.run(self.scenario.first, self.first, upstream).result
            if self.tables and not self.makes_tables:
                self.rows = self.tables.keep()
            if self.scenario.crashed:
                self._crash(self.scenario.crashed)

    @property
    def makes_tables(self) -> bool:
        """Whether the process that is killed makes the tables of a server too, and then the next."""
        return self.tables is not None and self.scenario.first == "nothing"

    def _crash(self, when: str) -> None:
        with self.upstream.again() as other, self.copy("whole") as instance:
            number = max(self.run("create", instance, other).numbers("send"))
        assert self.run("create", self.first, self.upstream, death=(number, when)).killed
        self.upstream.settle_down()

    @contextmanager
    def copy(self, name: str) -> Iterator[Path]:
        """An instance folder that is like the first one, as long as it is needed, and tables that are."""
        instance = self.folder / name
        if self.tables and self.rows:
            self.tables.put_back(self.rows)
        elif self.tables:
            self.tables.drop()
        if self.first.exists():
            shutil.copytree(self.first, instance)
        yield instance
        shutil.rmtree(instance)

    def run(self, do: str, instance: Path, upstream: Upstream, **options: Any) -> Ended:
        """Do a job in a process of its own."""
        one_by_one = {} if self.scenario.at_once else {"DUALSTORAGE_SYNC_CONCURRENCY": 1}
        config = {"DUALSTORAGE_HONOURS_KEYS": self.keys, "FORM": self.form, **one_by_one}
        # The very first process of the ground makes them, as "flask dualstorage init-db" does.
        makes_tables = self.makes_tables or (self.tables is not None and not self.first.exists())
        job = Job(do, str(instance), upstream.url, makes_tables=makes_tables, config=config, **options)
        return self.forks.run(job)

    def settle_down(self, upstream: Upstream) -> None:
        """Return once all that a killed process sent has been worked on."""
        upstream.settle_down()
        if self.tables:
            self.tables.settle_down()

    def number(self) -> int:
        """Run it once, count its effects, and see that it does what it should."""
        kill = Kill(self, None)
        assert kill.problem() is None, kill
        return kill.ended.effects


class Kill:
    """One kill, and what came after."""

    def __init__(self, ground: Ground, death: tuple[int, str] | None) -> None:
        self.death = death
        self._ground = ground
        ahead = PAST_THE_LEASE if ground.scenario.crashed else 0.0
        name = "whole" if death is None else f"{death[0]} {death[1]}"
        with ground.upstream.again() as upstream, ground.copy(name) as instance:
            self.ended = ground.run(ground.scenario.do, instance, upstream, ahead=ahead, death=death)
            ground.settle_down(upstream)
            self.sent_before = len(upstream.sent)
            self.after = ground.run(ground.scenario.recover, instance, upstream, ahead=ahead + PAST_THE_LEASE).result
            self.sent = upstream.sent
            self.requests = upstream.requests
            self.records = upstream.records
            ground.settle_down(upstream)

    @property
    def accepted(self) -> bool:
        """Whether the write was accepted before the kill."""
        return self._ground.scenario.accepts_before or self.ended.committed("INSERT INTO write")

    def problem(self) -> str | None:
        """Say what is wrong, None if nothing is."""
        known = 1 if self._ground.scenario.first == "leave a frozen edit" else 0
        if not self.accepted and (len(self.after["before"]) != known or self.sent_before != known):
            return "what was never accepted is there"
        if self.ended.killed and self.accepted and not self.after["before"] and not self.sent_before:
            return "what was accepted is not there"
        return self._wrong_requests() or self._wrong_end()

    def _wrong_requests(self) -> str | None:
        bodies = {(one.headers["Idempotency-Key"], one.method, one.target, one.body) for one in self.sent}
        if len(bodies) != len({key for key, *_ in bodies}):
            return "one key carried two requests"
        if any(b"tmp-" in one.body or "tmp-" in one.target for one in self.sent):
            return "a temporary id went upstream"
        lane = [one.headers["Idempotency-Key"] for one in self.sent if one.target == "/people/1"]
        if lane != sorted(lane, key=list(dict.fromkeys(lane)).index):
            return "a lane went out of order"
        return None

    def _wrong_end(self) -> str | None:
        return self._wrong_rest() or self._wrong_upstream()

    def _wrong_rest(self) -> str | None:
        left = self.after["pending"]
        if self._ground.scenario.is_refused:
            # Either the view heard of it, and it was withdrawn, or it waits for its owner.
            kept = self.accepted and not self.ended.committed("DELETE FROM write")
            return None if [write["state"] for write in left] == ["rejected"] * kept else "a refusal is not told once"
        if left and self._ground.keys:
            return "the outbox is not empty"
        if any(write["state"] != "in_doubt" or write["not_before"] is not None for write in left):
            return "what is left does not wait for its owner"
        return None

    def _wrong_upstream(self) -> str | None:
        if self.requests[-1] != ("GET", "/people"):
            return "a second flush sent something"
        if not self.after["pending"] and self.after["people"] != self.records["/people"]:
            return "a page does not show what the upstream has"
        wanted = self._ground.scenario.wanted(accepted=self.accepted)
        if _as_set(self.records) != _as_set(wanted):
            return "the upstream does not have each effect once"
        return None

    def __repr__(self) -> str:
        return (
            f"killed {self.death}: {self.problem()}\ntrace {self.ended.trace[-4:]}\n"
            f"sent {[(one.method, one.target, one.body) for one in self.sent]}, {self.sent_before} before the kill\n"
            f"records {self.records}\nafter {json.dumps(self.after, indent=1)}"
        )


def _as_set(records: dict[str, list[dict[str, Any]]]) -> dict[str, Counter[str]]:
    """Each path's records, new ones without their number, in any order."""

    def unnumbered(record: dict[str, Any]) -> str:
        known = record.get("id", 101) <= 100
        return json.dumps({name: value for name, value in record.items() if known or name != "id"}, sort_keys=True)

    return {path: Counter(map(unnumbered, rows)) for path, rows in records.items()}
