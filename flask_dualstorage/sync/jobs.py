"""What a flush sends next: each job is one request, of one write, or of several that a bulk endpoint takes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ..bulk import Bulk
from ..types import Outcome
from .engine import Engine
from .looking import look_and_send
from .sending import send
from .together import Claimed, send_together
from .understanding import Call


@dataclass(slots=True)
class Job:
    """Claimed writes of one upstream that go in one request, mostly one; ``bulk`` is where several of them go."""

    upstream: str
    claimed: list[Claimed]
    bulk: Bulk | None = None
    #: It is looked for before it goes again.
    looks: bool = False

    def has_room(self) -> bool:
        """Say whether one more may go along."""
        return self.bulk is not None and len(self.claimed) < self.bulk.at_most


@dataclass(slots=True)
class Jobs:
    """The jobs of one claim, at most ``free`` of them; ``in_flight`` are those whose answer is not there yet."""

    free: int
    in_flight: Collection[Job] = ()
    made: list[Job] = field(default_factory=list)
    _open: dict[tuple[str, Bulk], Job] = field(default_factory=dict)

    def take_more(self) -> bool:
        """Say whether any write could still go in one of them."""
        return len(self.made) < self.free or any(job.has_room() for job in self._open.values())

    def has_room(self, upstream: str, bulk: Bulk | None) -> bool:
        """Say whether a write of this upstream may go in one of them."""
        if self._along(upstream, bulk) is not None:
            return True
        return len(self.made) < self.free and not (
            bulk is not None and not bulk.parallel and self._busy(upstream, bulk)
        )

    def add(self, claimed: Claimed, bulk: Bulk | None, *, looks: bool) -> None:
        """Let a claimed write go in one of them."""
        upstream = claimed[0].upstream
        job = self._along(upstream, bulk)
        if job is not None:
            job.claimed.append(claimed)
            return
        self.made.append(Job(upstream, [claimed], bulk, looks))
        if bulk is not None:
            self._open[upstream, bulk] = self.made[-1]

    def _busy(self, upstream: str, bulk: Bulk) -> bool:
        return any((job.upstream, job.bulk) == (upstream, bulk) for job in (*self.in_flight, *self.made))

    def _along(self, upstream: str, bulk: Bulk | None) -> Job | None:
        job = None if bulk is None else self._open.get((upstream, bulk))
        return job if job is not None and job.has_room() else None


def run(engine: Engine, job: Job, auth: Any) -> list[Outcome]:
    """Send what a job holds, and say what came of each of its writes. Runs in any thread."""
    if job.bulk is not None and len(job.claimed) > 1:
        return send_together(engine, job.bulk, job.claimed, auth)
    how = look_and_send if job.looks else send
    return [how(engine, write, declared, auth, Call()) for write, declared in job.claimed]
