"""Adopting: what an anonymous visitor typed follows them into their account (``ds.adopt``)."""

from __future__ import annotations

import math

from ..errors import RecordGone, ValidationFailed
from ..policy.coalescing import edit_of
from ..policy.settling import catch_up, thaw
from ..storage.outbox import NOTHING_LEFT, OwnerTransaction
from ..types import UNSETTLED, State, Write
from .engine import Engine
from .enqueuing import Entry, enqueue


def adopt(engine: Engine, from_owner: str, to_owner: str) -> None:
    """Move the first owner's writes, local records and aliases to the second, under both their locks.

    Later writes of the first follow; the first one's cached copies are forgotten, the second one's stay.
    """
    if from_owner == to_owner:
        return
    with engine.outbox.adoption(from_owner, to_owner) as (first, second):
        first.give_names(second)
        for write in first.everything():
            _hand_over(engine, first, second, write)
        first.new_epoch()
        first.heir, second.heir = to_owner, None


def _hand_over(engine: Engine, first: OwnerTransaction, second: OwnerTransaction, write: Write) -> None:
    """A write that no lane of the second's concerns moves as it is; one that may be upstream goes first in the lane.

    The former takes a place at the end: what it is laid over may have been applied after it was made. All others join
    the lane as edits do.
    """
    theirs = second.lane(write.store, write.record_id, since=0)
    if all(each.settled_seq < UNSETTLED for each in theirs):
        first.remove(write)
        second.insert(catch_up(write._replace(owner=second.owner), theirs))
    elif write.frozen:
        _put_first(first, second, write)
    elif write.state is State.LOCAL:
        _join_local(first, second, write)
    else:
        _join_lane(engine, first, second, write)


def _put_first(first: OwnerTransaction, second: OwnerTransaction, write: Write) -> None:
    """What has a key may be upstream already: what the second has not sent yet goes after it, rebased on its answer.

    The other way round its fixed bytes, a whole record, would take back what went before.
    """
    behind = [each for each in second.lane(write.store, write.record_id) if not each.frozen]
    second.reorder([first.give(write, second), *behind])


def _join_local(first: OwnerTransaction, second: OwnerTransaction, write: Write) -> None:
    there = second.lane(write.store, write.record_id)[-1]
    second.update(there, there._replace(attributes={**(there.attributes or {}), **(write.attributes or {})}))
    second.form_made(there.id, write.id)
    first.remove(write)


def _join_lane(engine: Engine, first: OwnerTransaction, second: OwnerTransaction, write: Write) -> None:
    declared = engine.declaration(write)
    first.remove(write)
    try:
        entry = Entry(declared, write.record_id, edit_of(write), second.settled_seq, write.id, write.reason)
        # Whatever its size: these writes were accepted already.
        joined = enqueue(second, entry, math.inf)
    except (RecordGone, ValidationFailed) as error:
        refused = write._replace(owner=second.owner, state=State.REJECTED, not_before=None, reason=str(error))
        second.insert(thaw(refused))
        return
    second.form_made(NOTHING_LEFT if joined.write is None else joined.write.id, write.id)
