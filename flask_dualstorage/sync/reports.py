"""What an owner is told: one pending write, the status, the report of a flush. JSON shapes as in the interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..policy.conflicts import clashes_of
from ..policy.marks import mark_of
from ..policy.merging import Clash, Policy
from ..policy.references import waits_for
from ..types import Attributes, Kind, RecordId, State, Write


def iso(seconds: float) -> str:
    """Give a time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """One write as its owner sees it. ``not_before``, ``created_at`` and ``settled_at`` are ISO 8601 in UTC.

    ``settled_at`` is when it was applied or discarded, None while it is pending. ``unauthorized`` says that it waits
    for a fresh credential of its owner's. ``conflicts``: each value that both sides changed and the collection's
    ``policy`` leaves to the owner, with its path, and what it is in ``base``, in mine and in ``theirs``.
    """

    id: str
    store: str
    record_id: RecordId
    kind: Kind
    state: State
    attempts: int
    not_before: str | None
    created_at: str
    reason: str | None
    waits_for: tuple[str, ...]
    attributes: Attributes | None
    base: Attributes | None
    theirs: Attributes | None
    problem: Attributes | None
    settled_at: str | None = None
    unauthorized: bool = False
    conflicts: tuple[Clash, ...] = ()
    collection: str = ""
    params: Mapping[str, RecordId] = field(default_factory=dict)
    doubts: int = 0
    policy: Policy = field(default="merge", repr=False, compare=False)

    @property
    def seen(self) -> str:
        """What a form hands back as ``seen``, so that nothing is decided over another state than it showed."""
        return mark_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON object."""
        names = (
            "id",
            "store",
            "record_id",
            "attempts",
            "not_before",
            "created_at",
            "reason",
            "attributes",
            "base",
            "theirs",
            "problem",
            "settled_at",
            "unauthorized",
        )
        result = {name: getattr(self, name) for name in names}
        conflicts = [clash.to_dict() for clash in self.conflicts]
        return result | {
            "kind": self.kind.value,
            "state": self.state.value,
            "waits_for": list(self.waits_for),
            "conflicts": conflicts,
        }


def pending_write(write: Write, policy: Policy = "merge", waits: Sequence[str] = ()) -> PendingWrite:
    """Show one write; ``policy`` is what its collection declares for conflicts."""
    wait = max(write.not_before or 0.0, write.retry_after)
    return PendingWrite(
        id=write.id,
        store=write.store,
        record_id=write.record_id,
        kind=write.kind,
        state=write.state,
        attempts=write.attempts,
        not_before=iso(wait) if wait else None,
        created_at=iso(write.created_at),
        reason=write.reason,
        waits_for=tuple(waits),
        attributes=write.attributes,
        base=write.base,
        theirs=write.theirs,
        problem=write.problem,
        settled_at=iso(write.settled_at) if write.settled_at else None,
        unauthorized=write.unauthorized,
        conflicts=clashes_of(write, policy) if write.state is State.CONFLICT else (),
        collection=write.collection,
        params=write.params,
        doubts=write.doubts,
        policy=policy,
    )


def pending_writes(writes: Sequence[Write], policy_of: Callable[[Write], Policy]) -> list[PendingWrite]:
    """Show all pending writes of one owner, each with those it waits for."""
    waits = waits_for(writes)
    return [pending_write(write, policy_of(write), waits[write.id]) for write in writes]


@dataclass(frozen=True, slots=True)
class Status:
    """An owner's pending writes in numbers. ``online`` is None while this process has not asked the upstream yet."""

    online: bool | None
    pending: int
    in_doubt: int
    conflict: int
    rejected: int
    oldest: str | None
    stores: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON object."""
        names = ("online", "pending", "in_doubt", "conflict", "rejected", "oldest")
        return {name: getattr(self, name) for name in names} | {"stores": dict(self.stores)}


def status(online: bool | None, counts: Iterable[tuple[str, State, int, float]]) -> Status:
    """Add up an owner's counts: (store, state, how many, when the oldest was made)."""
    stores: dict[str, int] = {}
    states: dict[State, int] = {}
    oldest: float | None = None
    for store, state, count, made in counts:
        stores[store] = stores.get(store, 0) + count
        states[state] = states.get(state, 0) + count
        oldest = made if oldest is None else min(oldest, made)
    return Status(
        online=online,
        pending=sum(stores.values()),
        in_doubt=states.get(State.IN_DOUBT, 0),
        conflict=states.get(State.CONFLICT, 0),
        rejected=states.get(State.REJECTED, 0),
        oldest=None if oldest is None else iso(oldest),
        stores=stores,
    )


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a flush did, and what it left. ``retry_after`` is in seconds, None where nobody asked us to wait.

    ``writes`` holds what was applied, then what remains.
    """

    applied: int
    queued: int
    in_doubt: int
    conflict: int
    rejected: int
    remaining: int
    online: bool
    retry_after: int | None
    writes: tuple[PendingWrite, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON object."""
        names = ("applied", "queued", "in_doubt", "conflict", "rejected", "remaining", "online", "retry_after")
        return {name: getattr(self, name) for name in names} | {"writes": [write.to_dict() for write in self.writes]}


def sync_report(
    applied: Sequence[Write],
    left: Sequence[Write],
    policy_of: Callable[[Write], Policy],
    *,
    online: bool,
    retry_after: int | None,
) -> SyncReport:
    """Report a flush: the writes it applied, and the owner's that are left."""
    states = [write.state for write in left]
    return SyncReport(
        applied=len(applied),
        queued=states.count(State.QUEUED) + states.count(State.SENDING),
        in_doubt=states.count(State.IN_DOUBT),
        conflict=states.count(State.CONFLICT),
        rejected=states.count(State.REJECTED),
        remaining=len(left),
        online=online,
        retry_after=retry_after,
        writes=(*(pending_write(write, policy_of(write)) for write in applied), *pending_writes(left, policy_of)),
    )
