"""The flush: the path of one write, walked for all of an owner's lanes (DESIGN §7).

Flushes of one owner need no lock among themselves: they cooperate through claims.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from .. import signals
from ..errors import CollectionUnknown
from ..logs import log_failure
from ..policy.planning import Plan, is_due, with_those_it_waits_for
from ..policy.references import waits_for
from ..policy.settling import Step, next_step
from ..storage.outbox import OwnerTransaction
from ..types import Declaration, Meaning, Outcome, State, Write
from .conflicts import policy_of
from .engine import Credentials, Engine
from .jobs import Job, Jobs, run
from .reports import SyncReport, sync_report
from .senders import Came, Senders
from .sending import claim, deadline_of
from .settling import Done, Settled, changing, recording, settle_all, tell
from .together import bulk_of
from .understanding import Call

Chosen = Callable[[Write], bool]


def everything(write: Write) -> bool:
    """Choose every write."""
    return True


@dataclass
class Flush:
    """One flush of one owner: what it may choose, how long it may take, and what it has done so far."""

    engine: Engine
    owner: str
    chosen: Chosen = everything
    #: Seconds; what does not fit stays queued. None: no limit.
    budget: float | None = None
    #: Somebody asked for it, so that it passes over our own backoff.
    explicit: bool = True
    #: The write whose own call waits for this flush: a refusal is that call's to hear, and withdraws it.
    own_call: str | None = None
    applied: list[Write] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    asked_to_wait: float = 0.0
    _stopped: set[str] = field(default_factory=set)
    #: Upstreams that refused the owner's credential last time: one write tries the new one before the rest go.
    _probing: set[str] = field(default_factory=set)
    _credentials: dict[str, Credentials] = field(default_factory=dict)

    def run(self) -> Flush:
        """Send what is due, in order, and what waited for it, until nothing more can go."""
        self._until = math.inf if self.budget is None else monotonic() + self.budget
        plan = self._plan()
        done: list[Done] = []
        with Senders(partial(run, self.engine), self.engine.config.sync_concurrency) as senders:
            while plan.due or senders.in_flight or done:
                jobs = self._settle_and_claim(done, plan, senders.in_flight)
                senders.give([(job, self._credentials_for(job.upstream).auth) for job in jobs])
                done = [each for came in senders.finished() for each in _done(came)]
        return self

    def _may_go_on(self) -> bool:
        return monotonic() < self._until

    def _plan(self) -> Plan:
        writes = self.engine.outbox.pending(self.owner)
        waits = waits_for(writes)
        wanted = with_those_it_waits_for(writes, waits, self.chosen)
        self._probing = {write.upstream for write in writes if write.unauthorized}
        now = self.engine.outbox.now()
        if not self.explicit:
            # One refused credential holds the whole queue that needs it, not the write alone that met it.
            self._stopped = {
                write.upstream for write in writes if write.unauthorized and not is_due(write, now, explicit=False)
            }
        self.asked_to_wait = max([0.0, *(write.retry_after - now for write in writes)])
        plan = Plan(writes, waits, wanted, now, explicit=self.explicit)
        plan.due = deque(write for write in plan.due if self._may_send(write.upstream))
        return plan

    def _may_send(self, upstream: str) -> bool:
        if upstream in self._stopped:
            return False
        if not self.engine.has_upstream(upstream):
            return True
        if not self.engine.may_ask(upstream) or self._credentials_for(upstream).refusal is not None:
            self._stopped.add(upstream)
            return False
        return True

    def _credentials_for(self, upstream: str) -> Credentials:
        if upstream not in self._credentials:
            self._credentials[upstream] = self.engine.credentials(self.owner, upstream)
        return self._credentials[upstream]

    def _settle_and_claim(self, done: list[Done], plan: Plan, in_flight: Sequence[Job]) -> list[Job]:
        """One transaction for both: no more are claimed than can be sent at once."""
        free = self.engine.config.sync_concurrency - len(in_flight)
        if not self._may_go_on():
            plan.due.clear()
        if not done and not plan.due:
            return []
        claimed: list[Job] = []
        with recording(done), changing(self.engine, self.owner) as change:
            settled = settle_all(self.engine, change, done, self.own_call)
            for each, (_, _, outcome) in zip(settled, done, strict=True):
                self._note(plan, each, outcome)
            if change.owner != self.owner:
                # Adopted meanwhile: what is not sent yet is another owner's, and goes with that one's credential.
                plan.due.clear()
            if self._may_go_on():
                claimed = self._claim_next(change, plan.due, Jobs(free, in_flight))
        done.clear()
        for each in settled:
            tell(self.engine, each)
        self.applied += [each.write for each in settled if each.write.state is State.APPLIED and not each.late]
        return claimed

    def _claim_next(self, change: OwnerTransaction, due: deque[Write], jobs: Jobs) -> list[Job]:
        """Claim what goes in the next requests; of an upstream that is probed only one write at a time."""
        held: list[Write] = []
        shut = {job.upstream for job in jobs.in_flight} & self._probing
        while due and jobs.take_more():
            write = due.popleft()
            if not self._may_send(write.upstream):
                continue
            if write.upstream in shut:
                held.append(write)
                continue
            shut |= {write.upstream} & self._probing
            found = change.find(write.id)
            declared = None if found is None else self._declared(change, found)
            if found is None or declared is None:
                continue
            bulk = None if self.own_call else bulk_of(found, declared)
            if not jobs.has_room(found.upstream, bulk):
                shut.add(write.upstream)
                held.append(write)
                continue
            deadline = deadline_of(self.engine, declared, Call())
            taken = claim(self.engine, change, found, declared, deadline, explicit=self.explicit)
            if taken is not None:
                looks = next_step(found, self.engine.rules(declared), change.now) is Step.LOOK
                jobs.add((taken, declared), bulk, looks=looks)
        due.extendleft(reversed(held))
        return jobs.made

    def _declared(self, change: OwnerTransaction, write: Write) -> Declaration | None:
        """Give what a write was declared as; where this process knows no such thing, it waits and says so."""
        if not self.engine.has_upstream(write.upstream):
            reason = f"No upstream {write.upstream!r} is configured any more (DUALSTORAGE_UPSTREAMS)."
            change.update(write, write._replace(reason=reason))
            return None
        try:
            return self.engine.declaration(write)
        except CollectionUnknown as error:
            change.update(write, write._replace(reason=str(error)))
            return None
        except Exception as error:  # noqa: BLE001  # what a class of the app's declares failed: the other lanes go on
            log_failure("what %r declares failed", write.collection, error=error)
            reason = f"What {write.collection!r} declares failed ({type(error).__name__})."
            change.update(write, write._replace(reason=reason))
            return None

    def _note(self, plan: Plan, settled: Settled, outcome: Outcome) -> None:
        write = settled.write
        self.outcomes[write.id] = outcome
        if settled.withdrawn or write.state in (State.APPLIED, State.DISCARDED):
            plan.gone(write.id)
        elif outcome.meaning is Meaning.CONFLICT and write.state is State.QUEUED and not settled.late:
            # Combined with what the upstream holds: it goes again at once.
            plan.due.append(write)
        self.asked_to_wait = max(self.asked_to_wait, outcome.retry_after or 0.0)
        if outcome.meaning is not Meaning.UNAUTHORIZED:
            self._probing.discard(write.upstream)
        if outcome.meaning in (Meaning.UNAUTHORIZED, Meaning.NOT_NOW) or outcome.no_credential:
            self._stopped.add(write.upstream)


def _done(came: Came) -> list[Done]:
    """A hook of the app's that failed half-way leaves its write in doubt; the other lanes go on."""
    job, outcomes, error = came
    if error is not None:
        if not isinstance(error, Exception):
            # What is no error, as an exit, ends the flush.
            raise error
        log_failure("sending a write failed", error=error)
        reason = f"Sending it failed here ({type(error).__name__})."
        outcomes = [Outcome(Meaning.IN_DOUBT, reason=reason)] * len(job.claimed)
    return [(*claimed, outcome) for claimed, outcome in zip(job.claimed, outcomes, strict=True)]


def flush(
    engine: Engine,
    owner: str,
    *,
    chosen: Chosen = everything,
    budget: float | None = None,
    explicit: bool = True,
    credentials: Mapping[str, Credentials] | None = None,
) -> SyncReport:
    """Flush an owner's chosen writes, and those they wait for, within ``budget`` seconds.

    ``credentials`` by upstream are taken rather than asked of the app.
    """
    done = Flush(engine, owner, chosen, budget, explicit, _credentials=dict(credentials or {})).run()
    left = [write for write in engine.outbox.pending(owner) if chosen(write)]
    report = sync_report(
        done.applied,
        left,
        lambda write: policy_of(engine, write),
        online=_is_online(engine, left),
        retry_after=_retry_after(engine, done, left),
    )
    engine.emit(signals.sync_finished, owner=owner, report=report)
    return report


def _is_online(engine: Engine, left: list[Write]) -> bool:
    """Out of reach is what left a write behind: its upstream did not answer, or the breaker is open."""
    return all(engine.may_ask(name) and engine.upstream(name).online is not False for name in _upstreams(engine, left))


def _upstreams(engine: Engine, left: list[Write]) -> set[str]:
    return {write.upstream for write in left if engine.has_upstream(write.upstream)}


def _retry_after(engine: Engine, done: Flush, left: list[Write]) -> int | None:
    if not left:
        return None
    waits = [engine.upstream(name).breaker.open_for() for name in _upstreams(engine, left)]
    seconds = max([done.asked_to_wait, *waits])
    return math.ceil(seconds) if seconds > 0 else None


def try_lane(engine: Engine, owner: str, write_id: str) -> dict[str, Outcome]:
    """Send one write's lane in order, with what it depends on: what a save does that could not go at once."""
    return Flush(engine, owner, lambda write: write.id == write_id, own_call=write_id).run().outcomes
