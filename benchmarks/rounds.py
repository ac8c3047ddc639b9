"""How things are measured: programs run in turn, round by round, and compared within each round.

A machine that is busy for a while slows all programs of that round: the median of the rounds' own ratios says more
than a ratio of two medians. Between programs the garbage is collected, so that none pays for the one before.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

#: Runs once and gives how many seconds each of its operations took; or just runs, and is timed from outside.
Program = Callable[[], float | None]


@dataclass(frozen=True)
class Options:
    """How thoroughly to measure: ``rounds`` for each comparison; ``tiny`` sizes only show that a program still runs."""

    rounds: int = 15
    #: How many rounds of what takes seconds each.
    long_rounds: int = 3
    tiny: bool = False

    def size(self, count: int, tiny: int) -> int:
        """Choose a size."""
        return tiny if self.tiny else count


@dataclass(frozen=True)
class Goal:
    """One line of the table: what was measured and what it should be; ``met`` None: nothing was promised."""

    name: str
    what: str
    figure: str
    wanted: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Line:
    """One line of a plot: (x, y) points."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Plot:
    """One panel of the figure; both axes are logarithmic."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]


@dataclass
class Report:
    """What a program of this folder found."""

    goals: list[Goal] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)

    def at_most(self, name: str, what: str, ratio: float, limit: float) -> None:
        """Add a goal that is met by a small ratio."""
        self._add(Goal(name, what, number(ratio), f"≤ {number(limit)}", ratio <= limit))

    def at_least(self, name: str, what: str, ratio: float, limit: float) -> None:
        """Add a goal that is met by a large ratio."""
        self._add(Goal(name, what, number(ratio), f"≥ {number(limit)}", ratio >= limit))

    def told(self, name: str, what: str, figure: str, wanted: str = "", met: bool | None = None) -> None:
        """Add a figure without a limit of its own, or a goal that is no ratio."""
        self._add(Goal(name, what, figure, wanted, met))

    def _add(self, goal: Goal) -> None:
        self.goals.append(goal)
        met = {True: "ok", False: "MISSED", None: ""}[goal.met]
        print(f"  {goal.name:3} {goal.what:88} {goal.figure:>12} {goal.wanted:8} {met}", flush=True)


class Rounds:
    """The seconds for one operation of each program, round by round."""

    def __init__(self, seconds: Mapping[str, list[float]]) -> None:
        self.seconds = seconds

    def median(self, name: str) -> float:
        """The median of one program, seconds."""
        return median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """The median of the ratios that the rounds had."""
        return median(one / two for one, two in zip(self.seconds[name], self.seconds[other], strict=True))

    def __str__(self) -> str:
        return "    " + " · ".join(f"{name} {duration(self.median(name))}" for name in self.seconds)


def compare(programs: Mapping[str, Program], rounds: int) -> Rounds:
    """Run the programs in turn, ``rounds`` times; every other round goes backwards. One more warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for number_ in range(-1 if rounds > 1 else 0, rounds):
        order = list(programs) if number_ % 2 else list(reversed(programs))
        for name in order:
            with _without_garbage():
                began = time.perf_counter()
                told = programs[name]()
                took = time.perf_counter() - began
            if number_ >= 0:
                seconds[name].append(took if told is None else told)
    found = Rounds(seconds)
    print(found, flush=True)
    return found


@contextmanager
def _without_garbage() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def repeated(program: Callable[[], object], about: float = 0.05) -> Program:
    """Run a short program many times a round, for ``about`` so many seconds; gives the seconds of one."""
    program()
    began = time.perf_counter()
    program()
    times = max(1, min(10_000, int(about / max(time.perf_counter() - began, 1e-7))))

    def run() -> float:
        began = time.perf_counter()
        for _ in range(times):
            program()
        return (time.perf_counter() - began) / times

    return run


def number(value: float) -> str:
    """Two to three digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """A time as people read it."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{number(seconds * factor)} {unit}"
    return f"{number(seconds * 1e9)} ns"


def exponent(small: tuple[float, float], large: tuple[float, float]) -> float:
    """With which power of x a cost grows between two points: 1 is in proportion, 2 with the square."""
    return math.log(large[1] / small[1]) / math.log(large[0] / small[0])


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
