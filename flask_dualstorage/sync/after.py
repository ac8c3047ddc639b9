"""After the response: what a page leaves to be done when it is out, by a few threads of this process.

A page *promises* a job while it is made, and hands it over when its response is closed: to run in a thread, never in
the worker, which takes the next request then. Jobs of one owner run one at a time, each key is promised once, and no
more wait than ``AT_MOST``. Whatever is lost here (a process that ends, a response that nobody closes) is only done
later: writes have their leases, copies their age.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..logs import log_failure

#: How many jobs may be promised, wait or run at once; what a page would add is left to a later page.
AT_MOST = 100
#: How many threads there are at most, and for how long one waits for more to do before it ends, seconds.
THREADS, IDLE = 4, 30.0
#: How long a promise may be unkept before it is taken for lost, seconds: threads that do not run, a body never closed.
OVERDUE = 10.0
#: How long a process that ends waits for what is running, seconds.
LAST = 1.0

_JOBS = "after"


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to be done after a response: ``run`` needs no request."""

    key: Hashable
    owner: str
    run: Callable[[], None]


class After:
    """One app's jobs in this process. Safe to share between threads and across a fork.

    ``ticks`` gives seconds and must not go backwards. ``is_testing``: the app is under test, so that nothing happens
    behind its back. ``leave`` is called by each thread before it ends.
    """

    def __init__(self, ticks: Callable[[], float], is_testing: Callable[[], bool], leave: Callable[[], None]) -> None:
        self._ticks = ticks
        self._is_testing = is_testing
        self._leave = leave
        #: Where the jobs go that a test runs itself; None: it did not ask for any.
        self.collected: list[Job] | None = None
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        #: By key, when it was promised: in that order.
        self._promised: dict[Hashable, float] = {}
        self._queue: deque[Job] = deque()
        self._running: dict[Hashable, str] = {}
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._over = False

    def _own(self) -> threading.Condition:
        """Give the lock. After a fork all begins anew: threads and jobs are those of the process that has them."""
        if self._pid != os.getpid():
            self._begin()
        return self._changed

    # --- while the page is made -------------------------------------------------------------------------------

    def later(self, memo: MutableMapping[str, Any] | None, key: Hashable, make: Callable[[], Job]) -> bool:
        """Promise that a job will be done after the response of the web request that ``memo`` is of.

        ``make`` makes it, while the request is still there, unless another page promised the same. False: it will
        not be done, so that the caller has to do it: outside of a request, in tests, or where promises are not kept.
        """
        if memo is None or (self._is_testing() and self.collected is None):
            return False
        promised = self._promise(key)
        if promised is not None:
            return promised
        try:
            job = make()
        except BaseException:
            self._forget(key)
            raise
        memo.setdefault(_JOBS, []).append(job)
        if self.collected is not None:
            self.collected.append(job)
        return True

    def _promise(self, key: Hashable) -> bool | None:
        """None: it is the caller's to make. True: there is one, or no room for it. False: promises are not kept."""
        with self._own():
            now = self._ticks()
            first = next(iter(self._promised), None)
            if first is not None and now - self._promised[first] >= OVERDUE:
                del self._promised[first]
                return False
            if key in self._promised or key in self._running or len(self._promised) >= AT_MOST:
                return True
            self._promised[key] = now
            return None

    def _forget(self, key: Hashable) -> None:
        with self._own():
            self._promised.pop(key, None)

    # --- when it is out ---------------------------------------------------------------------------------------

    @staticmethod
    def has_jobs(memo: MutableMapping[str, Any]) -> bool:
        """Whether the web request that ``memo`` is of promised something."""
        return _JOBS in memo

    def start(self, memo: MutableMapping[str, Any]) -> None:
        """Begin what the web request promised that ``memo`` is of. Returns at once."""
        jobs: Iterable[Job] = memo.pop(_JOBS, ())
        if self.collected is not None:
            return
        with self._own():
            for job in jobs:
                if not self._over and len(self._queue) < AT_MOST:
                    self._queue.append(job)
                    self._call_thread()

    def _call_thread(self) -> None:
        """Wake a thread, or start one. The caller holds the lock."""
        if self._idle >= len(self._queue):
            self._changed.notify()
            return
        if len(self._threads) < THREADS:
            thread = threading.Thread(target=self._work, name="dualstorage-after", daemon=True)
            # Where none can be started, because the interpreter ends or the system has no more: it is done later.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._threads.add(thread)

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                self._run(job)
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())
            self._leave()

    def _run(self, job: Job) -> None:
        try:
            job.run()
        # Nobody waits for it, and the thread has other owners' jobs to do.
        except Exception as error:  # noqa: BLE001
            log_failure("what was to be done after a response failed", error=error)
        finally:
            with self._changed:
                self._running.pop(job.key, None)
                self._changed.notify_all()

    def _next(self) -> Job | None:
        """Take the next job whose owner has none running; None after a while without any: the thread ends."""
        with self._changed:
            self._idle += 1
            try:
                self._changed.wait_for(lambda: self._over or self._runnable() is not None, IDLE)
            finally:
                self._idle -= 1
            job = self._runnable()
            if self._over or job is None:
                # Under the same lock, so that who adds a job now starts another thread for it.
                self._threads.discard(threading.current_thread())
                return None
            self._queue.remove(job)
            self._begun(job)
            return job

    def _runnable(self) -> Job | None:
        owners = set(self._running.values())
        return next((job for job in self._queue if job.owner not in owners and job.key not in self._running), None)

    def _begun(self, job: Job) -> None:
        self._promised.pop(job.key, None)
        self._running[job.key] = job.owner

    # --- otherwise --------------------------------------------------------------------------------------------

    @contextmanager
    def collecting(self) -> Iterator[Callable[[], int]]:
        """For tests: within the block promise jobs, and run them only when what is given is called, in its thread."""
        before, self.collected = self.collected, []
        try:
            yield self._run_collected
        finally:
            for job in self.collected:
                self._forget(job.key)
            self.collected = before

    def _run_collected(self) -> int:
        count = 0
        while self.collected:
            job = self.collected.pop(0)
            count += 1
            self._forget(job.key)
            job.run()
        return count

    def close(self) -> None:
        """Begin nothing more, and wait a moment for what is running."""
        if self._pid != os.getpid():
            return
        with self._changed:
            self._over = True
            self._queue.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(LAST / THREADS)


_all: weakref.WeakSet[After] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for after in list(_all):
        after.close()
