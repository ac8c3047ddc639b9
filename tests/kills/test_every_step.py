"""``SIGKILL`` at every step of a save and of a flush: nothing accepted is lost, and nothing is applied twice.

The effects of a scenario are numbered by running it once (``forks.Effects``). Then a process is killed right before
the first, right after the first, right before the second …; each time, a new process whose clock is past the lease
flushes, and the upstream has what was accepted, once.
"""

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

import pytest

from tests.kills.forks import Ended, Job
from tests.upstreams.hostile import Behaviour, Received, answer, drop
from tests.upstreams.rest import RestUpstream
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]

#: Longer than a lease: the deadline of the forks' apps, and ``flask_dualstorage.sync.engine.LEASE_GRACE``.
PAST_THE_LEASE = 1000.0

ADA = {"id": 1, "name": "Ada", "age": 36}
GRACE = {"id": 2, "name": "Grace", "age": 85}


class Forks:
    """The warm process that forks for each job."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.kills.forks"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, job: Job) -> Ended:
        """Do a job in a process of its own."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the forking process ended: its traceback is on stderr"
        return Ended(**json.loads(line))

    def close(self) -> None:
        """Let it end by itself."""
        self._process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


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


SCENARIOS = [
    Scenario("online create", "create"),
    Scenario("online update", "update"),
    Scenario("online delete", "delete"),
    Scenario("offline create, flush", "create offline, flush"),
    Scenario("offline update, flush", "update offline, flush"),
    Scenario("offline delete, flush", "delete offline, flush"),
    Scenario("very first create", "create", first="nothing"),
    Scenario("refused create", "refused create"),
    Scenario("form, and sent again", "send form", recover="recover, the form sent again"),
    Scenario("save behind a frozen one", "save behind", "leave a frozen edit"),
    Scenario("flush after a crash, made", "flush", crashed="after"),
    Scenario("flush after a crash, not made", "flush", crashed="before"),
    Scenario("flush of a graph, one by one", "flush", "leave a graph", at_least=90),
    Scenario("flush of a graph, at once", "flush", "leave a graph", at_least=70, at_once=True),
]


@dataclass
class Ground:
    """A scenario's own: the state of an instance folder before it, copied for each kill."""

    scenario: Scenario
    forks: Forks
    folder: Path
    keys: bool

    def __post_init__(self) -> None:
        self.first = self.folder / "first"
        self.upstream = Upstream(keys=self.keys)
        with self.upstream as upstream:
            if "leave" in self.scenario.first:
                upstream.then(answer(200, [ADA, GRACE]), answer(200, []), answer(503))
            self.form = None
            self.form = self.run(self.scenario.first, self.first, upstream).result
            if self.scenario.crashed:
                self._crash(self.scenario.crashed)

    def _crash(self, when: str) -> None:
        with self.upstream.again() as other, self.copy("whole") as instance:
            number = self.run("create", instance, other).last("send")
        assert self.run("create", self.first, self.upstream, death=(number, when)).killed
        self.upstream.settle_down()

    @contextmanager
    def copy(self, name: str) -> Iterator[Path]:
        """An instance folder that is like the first one, as long as it is needed."""
        instance = self.folder / name
        if self.first.exists():
            shutil.copytree(self.first, instance)
        yield instance
        shutil.rmtree(instance)

    def run(self, do: str, instance: Path, upstream: Upstream, **options: Any) -> Ended:
        """Do a job in a process of its own."""
        one_by_one = {} if self.scenario.at_once else {"DUALSTORAGE_SYNC_CONCURRENCY": 1}
        config = {"DUALSTORAGE_HONOURS_KEYS": self.keys, "FORM": self.form, **one_by_one}
        return self.forks.run(Job(do, str(instance), upstream.url, config=config, **options))

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
            upstream.settle_down()
            self.sent_before = len(upstream.sent)
            self.after = ground.run(ground.scenario.recover, instance, upstream, ahead=ahead + PAST_THE_LEASE).result
            self.sent = upstream.sent
            self.requests = upstream.requests
            self.records = upstream.records

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


@pytest.mark.parametrize("keys", [True, False], ids=["keys honoured", "keys ignored"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_every_step(
    scenario: Scenario, keys: bool, forks: Forks, tmp_path: Path, record_property: Any
) -> None:
    ground = Ground(scenario, forks, tmp_path, keys)
    effects = ground.number()
    assert effects >= scenario.at_least
    # Between the end of one effect and the begin of the next nothing happens that anyone could see: where it is proven
    # for both moments, with keys and one by one, the later one is enough for the others.
    moments = ("before", "after") if keys and not scenario.at_once else ("after",)
    deaths = [(number, when) for number in range(1, effects + 1) for when in moments]
    kills = [Kill(ground, death) for death in deaths]
    wrong = [kill for kill in kills if kill.problem()]
    assert not wrong, f"{len(wrong)} of {len(kills)} kills: {wrong[0]!r}"
    killed = sum(kill.ended.killed for kill in kills)
    record_property("effects", effects)
    record_property("kills", killed)
    # Of several threads the effects are not as many each time.
    assert killed == len(kills) or (scenario.at_once and killed > 0.8 * len(kills))
    # It is killed both before and after what it does is accepted.
    assert scenario.accepts_before or {kill.accepted for kill in kills} == {True, False}
