"""Who sends a flush's jobs: the flush's own thread while it works more than it waits, else a thread for each job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic, perf_counter, thread_time
from types import TracebackType
from typing import Any, Self

from ..types import Outcome
from .jobs import Job

#: For how long one job may hold back those behind it, seconds; then these are sent by threads.
STALL = 0.005
#: After so many jobs it is tried again whether threads are needed.
TRY_AGAIN = 1024
#: How long a finished send waits for others, so that one transaction settles them together, seconds. Their lanes stand
#: idle meanwhile; those that take longer are settled while these send on.
COMPANY = 0.0001

Came = tuple[Job, "Future[list[Outcome]]"]


class Senders:
    """Sends jobs, at most ``at_most`` at once, each with its credential.

    Threads that hardly wait for an answer only fight for the interpreter: from an upstream that answers within less
    time than a request costs here, the flush's own thread asks one after the other.
    """

    def __init__(self, run: Callable[[Job, Any], list[Outcome]], at_most: int) -> None:
        self._run = run
        self._at_most = at_most
        self._context = copy_context()
        self._pool = ThreadPoolExecutor(at_most, "dualstorage")
        self._watcher: Thread | None = None
        self._ended = Event()
        self._lock = Lock()
        self._waiting: deque[tuple[Job, Any]] = deque()
        self._busy = 0
        self._done: deque[Came] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._given = 0
        self._is_quick = True
        #: The jobs whose answer is not there yet.
        self.in_flight: list[Job] = []

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()
        self._pool.__exit__(kind, error, at)

    def give(self, jobs: Sequence[tuple[Job, Any]]) -> None:
        """Let jobs be sent."""
        before, self._given = self._given, self._given + len(jobs)
        if before // TRY_AGAIN != self._given // TRY_AGAIN:
            self._is_quick = True
        self.in_flight += [job for job, _ in jobs]
        self._waiting.extend(jobs)
        if not self._is_quick:
            self._start(len(jobs))

    def finished(self) -> list[Came]:
        """Wait for the first answer, and a moment for company."""
        if self._is_quick and self._waiting:
            self._send_here()
        while self.in_flight and not self._done:
            self._bell.get()
        until = monotonic() + COMPANY
        while len(self._done) < len(self.in_flight) and self._rings(until - monotonic()):
            pass
        found = [self._done.popleft() for _ in range(len(self._done))]
        for job, _ in found:
            self.in_flight.remove(job)
        return found

    def _rings(self, seconds: float) -> bool:
        """Wait at most so long for a job that is done. It may be one that is known already."""
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
            self._pool.submit(self._context.copy().run, self._send_there)

    def _send_there(self) -> None:
        while (given := self._next()) is not None:
            # Whatever it raises is told where the answer is waited for.
            self._send(*given, BaseException)

    def _next(self) -> tuple[Job, Any] | None:
        with self._lock:
            # Under one lock with what starts threads: no job is left for a thread that has just seen none.
            if self._waiting:
                return self._waiting.popleft()
            self._busy -= 1
            return None

    def _send_here(self) -> None:
        if self._watcher is None and len(self._waiting) > 1:
            self._watcher = Thread(target=self._watch, name="dualstorage-watch", daemon=True)
            self._watcher.start()
        with self._lock:
            self._busy += 1
        waits = []
        while (given := self._next()) is not None:
            began, worked = perf_counter(), thread_time()
            self._send(*given, Exception)
            took, worked = perf_counter() - began, thread_time() - worked
            waits.append(took - worked > worked)
        # Most of them: one that was held up says nothing.
        self._is_quick = 2 * sum(waits) < len(waits)

    def _send(self, job: Job, auth: Any, caught: type[BaseException]) -> None:
        came: Future[list[Outcome]] = Future()
        try:
            came.set_result(self._run(job, auth))
        except caught as error:
            came.set_exception(error)
        with self._lock:
            self._done.append((job, came))
            rings = len(self._done) in (1, len(self.in_flight))
        if rings:
            # Not for each: whoever waits would wake only to fight for the interpreter.
            self._bell.put(None)

    def _watch(self) -> None:
        """Let threads send what stands behind a job that takes long."""
        seen = 0
        while not self._ended.wait(STALL):
            waiting = len(self._waiting)
            if waiting and waiting == seen:
                self._start(waiting)
            seen = waiting
