"""The threads that send a flush's jobs: one while the upstream answers at once, else one for each job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic, perf_counter, thread_time
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..types import Outcome
from .jobs import Job

#: For how long one job may hold back those behind it, seconds; then these have threads of their own.
STALL = 0.005
#: After so many jobs it is tried again whether one thread will do.
TRY_AGAIN = 1024
#: How long a finished send waits for others, so that one transaction settles them together, seconds. Their lanes stand
#: idle meanwhile; those that take longer are settled while these send on.
COMPANY = 0.0001


class Came(NamedTuple):
    """What became of one job: the outcome of each of its writes, or what was raised."""

    job: Job
    outcomes: list[Outcome]
    error: BaseException | None = None


class Senders:
    """Sends jobs, at most ``at_most`` at once, each with its credential, in the context that this was made in.

    Threads that hardly wait for an answer only fight for the interpreter: where most jobs work longer than they wait,
    one thread sends them one after the other.
    """

    def __init__(self, run: Callable[[Job, Any], list[Outcome]], at_most: int) -> None:
        self._run = run
        self._at_most = at_most
        self._context = copy_context()
        self._pool = ThreadPoolExecutor(at_most, "dualstorage")
        self._lock = Lock()
        self._waiting: deque[tuple[Job, Any]] = deque()
        self._busy = 0
        self._done: deque[Came] = deque()
        #: Rings when so many jobs are done: not for each, since whoever waits would wake only to wait again.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._awaited = 1
        self._given = self._last = 0
        self._is_quick = True
        self._waits: list[bool] = []
        #: The jobs whose answer is not there yet.
        self.in_flight: list[Job] = []

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.__exit__(kind, error, at)

    def give(self, jobs: Sequence[tuple[Job, Any]]) -> None:
        """Let jobs be sent."""
        before, self._given, self._last = self._given, self._given + len(jobs), len(jobs)
        if before // TRY_AGAIN != self._given // TRY_AGAIN:
            self._is_quick = True
        self._awaited = len(jobs) if self._is_quick else 1
        self.in_flight += [job for job, _ in jobs]
        self._waiting.extend(jobs)
        self._start(1 if self._is_quick else len(jobs))

    def finished(self) -> list[Came]:
        """Wait for the first answer, and a moment for company; for all of them, while they come at once."""
        if self._is_quick:
            self._wait_while_they_get_on()
        self._awaited = 1
        while self.in_flight and not self._done:
            if not self._waiting:
                self._bell.get()
            elif not self._rings(STALL):
                self._start(len(self._waiting))
        self._awaited, until = len(self.in_flight), monotonic() + COMPANY
        while len(self._done) < len(self.in_flight) and self._rings(until - monotonic()):
            pass
        found = [self._done.popleft() for _ in range(len(self._done))]
        for came in found:
            self.in_flight.remove(came.job)
        waits, self._waits = self._waits, []
        if waits and self._is_quick:
            # Most of them: one that was held up says nothing.
            self._is_quick = 2 * sum(waits) < len(waits)
        return found

    def _wait_while_they_get_on(self) -> None:
        """Wait for those that were given last; where one is stuck, threads send what stands behind it."""
        while len(self._done) < self._last:
            before = len(self._done)
            if not self._rings(STALL) and len(self._done) == before:
                self._start(len(self._waiting))
                return

    def _rings(self, seconds: float) -> bool:
        """Wait at most so long for the bell. It may ring for what is known already."""
        try:
            self._bell.get(timeout=max(0.0, seconds))
        except Empty:
            return False
        return True

    def _start(self, threads: int) -> None:
        for _ in range(threads):
            with self._lock:
                if self._busy >= self._at_most or not self._waiting:
                    return
                self._busy += 1
            self._pool.submit(self._send)

    def _send(self) -> None:
        while (given := self._next()) is not None:
            job, auth = given
            began, worked = perf_counter(), thread_time()
            try:
                came = Came(job, self._context.copy().run(self._run, job, auth))
            # Whatever it is, it is told where the answer is waited for.
            except BaseException as error:  # noqa: BLE001
                came = Came(job, [], error)
            took, worked = perf_counter() - began, thread_time() - worked
            with self._lock:
                self._waits.append(took - worked > worked)
                self._done.append(came)
                rings = len(self._done) >= self._awaited
            if rings:
                self._bell.put(None)

    def _next(self) -> tuple[Job, Any] | None:
        with self._lock:
            # Under one lock with what starts threads: no job is left for a thread that has just seen none.
            if self._waiting:
                return self._waiting.popleft()
            self._busy -= 1
            return None
