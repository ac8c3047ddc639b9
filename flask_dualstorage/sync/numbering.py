"""A record got its id: it is put in place in the record's own lane, and in whatever refers to it (DESIGN §4.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import ValidationFailed
from ..policy import references
from ..storage.outbox import OwnerTransaction, check_fits
from ..types import RecordId, State, Write
from .sending import with_real_ids


def number(change: OwnerTransaction, before: Write, done: Write) -> dict[str, RecordId]:
    """The record has its real id: keep the alias, and put the id in place in its own lane."""
    temp_id = str(before.record_id)
    change.add_alias(temp_id, done.record_id)
    real = {temp_id: done.record_id}
    bind(change, change.lane(before.store, temp_id), real)
    return real


def bind(change: OwnerTransaction, others: Sequence[Write], real: Mapping[str, RecordId]) -> None:
    """Put real ids in place in what refers to them; nothing that is frozen refers to a temporary one."""
    for other in others:
        bound = with_real_ids(other, real)
        if bound != other and not other.frozen:
            _move(change, other, bound)


def rename(change: OwnerTransaction, before: Write, done: Write) -> None:
    """The upstream writes the id that was chosen otherwise: what waits behind the record, or under it, follows."""
    for behind in change.lane(before.store, before.record_id):
        if not behind.frozen:
            change.update(behind, behind._replace(record_id=done.record_id))
    for nested in change.under(references.record_path(before.url, before.record_id)):
        if nested.upstream == before.upstream and not nested.frozen:
            _move(change, nested, references.moved(nested, before, done.record_id))


def _move(change: OwnerTransaction, write: Write, moved: Write) -> None:
    """Where an id is too long for what stands under it, that alone is refused: the answer is recorded all the same."""
    try:
        check_fits(moved)
    except ValidationFailed as error:
        if write.state is not State.LOCAL:
            change.decide(write, write._replace(state=State.REJECTED, not_before=None, reason=str(error)))
        return
    change.update(write, moved)
