"""``SIGKILL`` at every step of a save and of a flush: nothing accepted is lost, and nothing is applied twice.

The effects of a scenario are numbered by running it once (``forks.Effects``). Then a process is killed right before
the first, right after the first, right before the second …; each time, a new process whose clock is past the lease
flushes, and the upstream has what was accepted, once.

On PostgreSQL it is killed when the server has got the statement and has not answered: the worst moment of each, after
which it has the same effect as after the answer. The new process starts when the server is done with the old one; what
it meets if it does not wait for that is in ``test_left_behind``.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.kills.ground import Forks, Ground, Kill, Scenario
from tests.kills.tables import Tables

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
#: With keys and without, or with keys alone: what a save and a flush do on any database is proven on SQLite.
ON_POSTGRESQL = {
    "online create": (True, False),
    "offline create, flush": (True, False),
    "very first create": (True,),
    "flush of a graph, one by one": (True, False),
    "flush of a graph, at once": (True,),
}
#: So many runs in a row that end before it is their time to die: there is nothing more to kill.
SURVIVORS = 3


def kill_one_by_one(ground: Ground, moments: tuple[str, ...]) -> list[Kill]:
    """Kill it at each of its effects, which are the same ones in every run."""
    return [Kill(ground, (number, when)) for number in range(1, ground.number() + 1) for when in moments]


def kill_at_once(ground: Ground, when: str) -> list[Kill]:
    """The same where several threads make them.

    How many there are is not known before: answers that come in together are settled together.
    """
    ground.number()
    kills: list[Kill] = []
    survivors = 0
    for number in itertools.count(1):
        kill = Kill(ground, (number, when))
        survivors = 0 if kill.ended.killed else survivors + 1
        kills.append(kill)
        if survivors == SURVIVORS:
            return kills
    raise AssertionError("This is never reached.")


def check(kills: list[Kill], scenario: Scenario, record_property: Any) -> None:
    """See that it ended well, whenever it was killed."""
    wrong = [kill for kill in kills if kill.problem()]
    assert not wrong, f"{len(wrong)} of {len(kills)} kills: {wrong[0]!r}"
    killed = [kill for kill in kills if kill.ended.killed]
    record_property("kills", len(killed))
    assert len(killed) >= scenario.at_least
    assert scenario.at_once or len(killed) == len(kills)
    # It is killed both before and after what it does is accepted.
    assert scenario.accepts_before or {kill.accepted for kill in kills} == {True, False}


KEYS = {True: "keys honoured", False: "keys ignored"}


@pytest.mark.parametrize("keys", KEYS, ids=KEYS.get)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_every_step(
    scenario: Scenario, keys: bool, forks: Forks, tmp_path: Path, record_property: Any
) -> None:
    ground = Ground(scenario, forks, tmp_path, keys)
    # Between the end of one effect and the begin of the next nothing happens that anyone could see: where it is proven
    # for both moments, with keys and one by one, the later one is enough for the others.
    moments = ("before", "after") if keys else ("after",)
    kills = kill_at_once(ground, "after") if scenario.at_once else kill_one_by_one(ground, moments)
    check(kills, scenario, record_property)


@pytest.mark.parametrize(
    ("scenario", "keys"),
    [
        pytest.param(scenario, keys, id=f"{scenario.name}-{KEYS[keys]}")
        for scenario in SCENARIOS
        for keys in ON_POSTGRESQL.get(scenario.name, ())
    ],
)
def test_killed_at_every_step_on_postgresql(
    scenario: Scenario, keys: bool, forks_on_postgresql: Forks, tables: Tables, tmp_path: Path, record_property: Any
) -> None:
    ground = Ground(scenario, forks_on_postgresql, tmp_path, keys, tables)
    kills = kill_at_once(ground, "sent") if scenario.at_once else kill_one_by_one(ground, ("sent",))
    check(kills, scenario, record_property)
