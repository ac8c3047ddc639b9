"""Writes for the outbox's tests, and a clock that stands still until it is moved."""

from __future__ import annotations

from typing import Any

from flask_dualstorage.storage.database import new_id
from flask_dualstorage.storage.outbox import Outbox
from flask_dualstorage.types import Kind, State, Write

ALICE = "user:alice"
BOB = "user:bob"
PEOPLE = "/people"


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self, now: float = 1_700_000_000.5) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def a_write(**fields: Any) -> Write:
    """A queued update of ``/people/7``; ``fields`` say what is different."""
    usual = Write(
        id=new_id(),
        seq=0,
        owner=ALICE,
        collection="people",
        store=PEOPLE,
        url=PEOPLE,
        params={},
        upstream="default",
        record_id=7,
        kind=Kind.UPDATE,
        state=State.QUEUED,
        attributes={"id": 7, "name": "Turing"},
        base={"id": 7, "name": "Alan"},
        validator=None,
        patch=False,
        refers=False,
        edits=1,
        created_at=1000.0,
    )
    return usual._replace(**fields)


def insert(outbox: Outbox, **fields: Any) -> Write:
    """Commit one write, and give it as stored."""
    write = a_write(**fields)
    with outbox.transaction(write.owner) as change:
        return change.insert(write)


def applied(outbox: Outbox, write: Write, **fields: Any) -> Write:
    """Settle a write as applied, with the owner's next number."""
    with outbox.transaction(write.owner) as change:
        settled = write._replace(
            state=State.APPLIED, settled_seq=change.next_settled_seq(), settled_at=change.now, **fields
        )
        return change.update(write, settled)


def pending_counter(outbox: Outbox, owner: str) -> int:
    """What the owner's row says, against which ``DUALSTORAGE_MAX_PENDING`` is checked."""
    with outbox.transaction(owner) as change:
        return int(change._pending)
