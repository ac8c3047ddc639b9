"""The outbox: durable writes of every owner, and what belongs to them (aliases, nonces, the owner's row).

Reads are single SELECTs. Every change is made inside ``Outbox.transaction(owner)``, which locks the owner's row
first, so that two workers never decide on the same lane at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from operator import attrgetter
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Select, and_, bindparam, delete, func, insert, literal_column, or_, select, update
from sqlalchemy.sql.elements import ClauseElement

from ..errors import OutboxFull, ValidationFailed
from ..policy.backoff import LONGEST_RETRY_AFTER
from ..policy.planning import LONGEST_LEASE
from ..policy.references import parents
from ..policy.settling import given_up
from ..policy.values import MAX_ID_LENGTH
from ..types import PENDING, UNSETTLED, Json, Kind, RecordId, State, Write
from . import schema
from .database import Connection, Database, Statement, new_id

_write, _owner, _alias, _nonce = schema.write, schema.owner, schema.alias, schema.nonce
_COLUMNS = tuple(column.name for column in _write.columns)
_OWNER_STATE = ("epoch", "settled_seq", "pending", "heir", "retry_after")
#: What a form made that came to nothing: what it wants is there already, and stays as it is now.
NOTHING_LEFT = ""
#: Where a write belongs, and since when: never rewritten.
_FIXED = frozenset({"seq", "id", "owner", "collection", "upstream", "created_at"})
#: The columns of the fields of a ``Write`` that have not just the one of their name.
_COLUMNS_OF = {"record_id": ("record_id", "record_id_is_int"), "key_stays": ("may_have_arrived",)}


class StoreState(NamedTuple):
    """What one SELECT tells of an owner's store: the owner's numbers, and the writes to lay over a base."""

    epoch: str
    settled_seq: int
    writes: list[Write]

    @property
    def waiting(self) -> bool:
        """Whether a write of the store is queued, sending or in doubt: such hold a fetch."""
        return any(write.state in (State.QUEUED, State.SENDING, State.IN_DOUBT) for write in self.writes)


@dataclass(frozen=True, slots=True)
class Used:
    """What a form was used for already: the write it made, and the key and request that went upstream with it."""

    nonce: str
    content: str
    write_id: str
    key: str | None
    sent: str | None
    expires_at: float


def _bind(*names: str) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


def _same(column: Any) -> Any:
    return column == bindparam(column.name)


def _seen(*conditions: Any) -> Statement:
    """One SELECT for the owner's numbers and the writes that lie over a base of ``since``."""
    joined = _owner.outerjoin(_write, and_(_write.c.owner == _owner.c.owner, *conditions))
    columns = (_owner.c.epoch, _owner.c.settled_seq.label("owner_settled_seq"), *_write.columns)
    # In no order: to sort the rows would cost the database more than it costs here.
    return Statement(select(*columns).select_from(joined).where(_same(_owner.c.owner)))


_since = _write.c.settled_seq > bindparam("since")
_STORE = _seen(_same(_write.c.store), _since)
_RECORD = _seen(_same(_write.c.store), _same(_write.c.record_id), _since)


def _of_owner(*conditions: Any) -> Select[Any]:
    return select(*_write.columns).where(_same(_write.c.owner), *conditions).order_by(_write.c.seq)


_unsettled = and_(_write.c.settled_seq == UNSETTLED, _write.c.state != State.LOCAL.value)
_PENDING = Statement(_of_owner(_unsettled))
_EVERYTHING = Statement(_of_owner(_write.c.settled_seq == UNSETTLED))
# Written out: an index of some rows alone is not used for a parameter.
_REFERRING = Statement(_of_owner(_write.c.settled_seq == UNSETTLED, _write.c.refers == literal_column("1")))
_LANE = Statement(_of_owner(_same(_write.c.store), _same(_write.c.record_id), _since))
_BY_ID = Statement(select(*_write.columns).where(_same(_write.c.owner), _same(_write.c.id)))
_MADE = Statement(_of_owner(_same(_write.c.record_id), _write.c.kind == Kind.CREATE.value))
# Not LIKE: to SQLite "A" is like "a".
_is_under = func.substr(_write.c.url, 1, bindparam("length")) == bindparam("above")
_HAS_UNDER = Statement(select(_write.c.id).where(_same(_write.c.owner), _unsettled, _is_under).limit(1))
_UNDER = Statement(_of_owner(_write.c.settled_seq == UNSETTLED, _is_under))
_OTHERS = Statement(
    select(_write.c.id)
    .where(_same(_write.c.record_id), _unsettled, _same(_write.c.store), _same(_write.c.upstream))
    .where(_write.c.owner != bindparam("but"))
    .limit(1)
)
_CREATE_AT = Statement(
    select(_write.c.id)
    .where(_same(_write.c.owner), _same(_write.c.record_id), _same(_write.c.url), _unsettled)
    .where(_write.c.kind == Kind.CREATE.value)
    .limit(1)
)
_SETTLED = Statement(
    select(*_write.columns)
    .where(_same(_write.c.owner), _write.c.settled_seq < UNSETTLED)
    .order_by(_write.c.settled_at.desc(), _write.c.seq.desc())
    .limit(bindparam("at_most"))
)
_COUNTS = Statement(
    select(_write.c.store, _write.c.state, func.count(), func.min(_write.c.created_at))
    .where(_same(_write.c.owner), _unsettled)
    .group_by(_write.c.store, _write.c.state)
)
_OWNERS = Statement(select(_owner.c.owner).where(_owner.c.pending > 0).order_by(_owner.c.owner))
_OWNER_OF = Statement(select(_write.c.owner).where(_same(_write.c.id), _unsettled))
_DUE_OWNERS = Statement(
    select(_write.c.owner)
    .distinct()
    .where(
        _write.c.settled_seq == UNSETTLED,
        or_(_write.c.retry_after <= bindparam("now"), _write.c.retry_after > bindparam("longest_wait")),
        or_(_write.c.lease <= bindparam("now"), _write.c.lease > bindparam("longest_lease")),
        or_(
            and_(
                or_(_write.c.state == State.QUEUED.value, _write.c.state == State.IN_DOUBT.value),
                _write.c.not_before <= bindparam("now"),
            ),
            _write.c.state == State.SENDING.value,
        ),
    )
    .order_by(_write.c.owner)
)
_ALIAS = Statement(
    select(_alias.c.record_id, _alias.c.record_id_is_int).where(_same(_alias.c.owner), _same(_alias.c.temp_id))
)
_TEMP_IDS = Statement(select(_alias.c.temp_id).where(_same(_alias.c.owner), _same(_alias.c.record_id)))

_ROW = select(*(_owner.c[name] for name in _OWNER_STATE)).where(_same(_owner.c.owner))
# SQLite has no row locks and needs none: BEGIN IMMEDIATE is the lock.
_LOCK = Statement(lambda dialect: _ROW if dialect == "sqlite" else _ROW.with_for_update())


def _insert_ignoring(table: Any, *names: str) -> Statement:
    def construct(dialect: str) -> ClauseElement:
        values = _bind(*names)
        # Imported when they are used: each takes as long as this package.
        if dialect == "sqlite":
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table).values(values).on_conflict_do_nothing()
        if dialect == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table).values(values).on_conflict_do_nothing()
        from sqlalchemy.dialects import mysql

        # Not INSERT IGNORE, which would leave a shared lock on the row that is there: two that then want to change it
        # would be a deadlock.
        return mysql.insert(table).values(values).on_duplicate_key_update({names[0]: table.c[names[0]]})

    return Statement(construct)


_ADD_OWNER = _insert_ignoring(_owner, "owner", *_OWNER_STATE)
_ADD_ALIAS = _insert_ignoring(_alias, *(column.name for column in _alias.columns))
_SET_OWNER = Statement(update(_owner).where(_owner.c.owner == bindparam("of")).values(_bind(*_OWNER_STATE)))
_INSERT = Statement(insert(_write).values(_bind(*(name for name in _COLUMNS if name != "seq"))))
_INSERT_AT = Statement(insert(_write).values(_bind(*_COLUMNS)))


@cache
def _update_of(names: tuple[str, ...]) -> Statement:
    """One statement for each set of columns that change together: there are few.

    A database touches every index that has a column which is written, whether its value changes or not.
    """
    return Statement(update(_write).where(_write.c.seq == bindparam("of")).values(_bind(*names)))


_GIVE = Statement(update(_write).where(_write.c.seq == bindparam("of")).values(owner=bindparam("heir")))
_GIVE_ALIASES = Statement(update(_alias).where(_alias.c.owner == bindparam("of")).values(owner=bindparam("heir")))
# -1, as what was discarded has it: it is history, and lies over no copy that the heir has.
_GIVE_SETTLED = Statement(
    update(_write)
    .where(_write.c.owner == bindparam("of"), _write.c.settled_seq < UNSETTLED)
    .values(owner=bindparam("heir"), settled_seq=bindparam("history"))
)
_NONCES = Statement(select(*_nonce.columns).where(_same(_nonce.c.owner)))
_MADE_BY_FORMS = Statement(
    select(*_write.columns)
    .join(_nonce, and_(_nonce.c.owner == _write.c.owner, _nonce.c.write_id == _write.c.id))
    .where(_same(_write.c.owner), _write.c.key.is_not(None), _nonce.c.key.is_(None))
)
_DELETE_NONCE = Statement(delete(_nonce).where(_same(_nonce.c.owner), _same(_nonce.c.nonce), _same(_nonce.c.content)))
_DELETE_NONCES = Statement(delete(_nonce).where(_same(_nonce.c.owner)))
_DELETE = Statement(delete(_write).where(_write.c.seq == bindparam("of")))
_PRUNE = Statement(
    delete(_write).where(
        _same(_write.c.owner), _write.c.settled_seq < UNSETTLED, _write.c.settled_at < bindparam("before")
    )
)
# A form that is sent again is told by the write it made.
_PRUNE_SETTLED = Statement(
    delete(_write).where(
        _same(_write.c.owner),
        _write.c.settled_seq < UNSETTLED,
        _write.c.settled_at < bindparam("before"),
        _write.c.id.not_in(select(_nonce.c.write_id).where(_same(_nonce.c.owner))),
    )
)
_PRUNE_NONCES = Statement(delete(_nonce).where(_same(_nonce.c.owner), _nonce.c.expires_at < bindparam("before")))
_HIDE_APPLIED = Statement(
    update(_write).where(_same(_write.c.owner), _write.c.state == State.APPLIED.value).values(settled_seq=-1)
)
_POSTPONE = Statement(
    update(_write)
    .where(
        _same(_write.c.owner),
        _write.c.upstream == bindparam("of"),
        _write.c.settled_seq == UNSETTLED,
        or_(_write.c.state == State.QUEUED.value, _write.c.state == State.IN_DOUBT.value),
        _write.c.retry_after < bindparam("until"),
    )
    .values(retry_after=bindparam("until"))
)
_NONCE = Statement(
    select(_nonce.c.nonce, _nonce.c.content, _nonce.c.write_id, _nonce.c.key, _nonce.c.sent, _nonce.c.expires_at).where(
        _same(_nonce.c.owner), _same(_nonce.c.nonce), _same(_nonce.c.content)
    )
)
_SET_NONCE = Statement(
    update(_nonce)
    .where(_same(_nonce.c.owner), _same(_nonce.c.nonce), _same(_nonce.c.content))
    .values(write_id=bindparam("into"))
)
_ADD_NONCE = _insert_ignoring(_nonce, *(column.name for column in _nonce.columns))
_MOVE_NONCE = Statement(
    update(_nonce).where(_same(_nonce.c.owner), _nonce.c.write_id == bindparam("of")).values(write_id=bindparam("into"))
)
_SET_NONCE_KEY = Statement(
    update(_nonce)
    .where(_same(_nonce.c.owner), _nonce.c.write_id == bindparam("of"))
    .values(key=bindparam("used"), sent=bindparam("digest"))
)


class Outbox:
    """Every owner's pending, applied and local writes. Errors of the database are ``OutboxUnavailable``."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def now(self) -> float:
        """Give the time that leases and waits are compared by."""
        return self.database.now()

    def store_state(self, owner: str, store: str, since: int) -> StoreState:
        """Read what lies over a base that began at ``since`` (-1: whatever is known of the store)."""
        return _state(self.database.read(_STORE, {"owner": owner, "store": store, "since": since}))

    def record_state(self, owner: str, store: str, record_id: RecordId, since: int) -> StoreState:
        """The same for one record's lane."""
        values = {"owner": owner, "store": store, "record_id": str(record_id), "since": since}
        return _state(self.database.read(_RECORD, values))

    def pending(self, owner: str) -> list[Write]:
        """Read every unsettled write of an owner, in order; local records are none."""
        return [_to_write(row) for row in self.database.read(_PENDING, {"owner": owner})]

    def settled(self, owner: str, at_most: int) -> list[Write]:
        """Read an owner's last applied and discarded writes, newest first."""
        return [_to_write(row) for row in self.database.read(_SETTLED, {"owner": owner, "at_most": at_most})]

    def write(self, owner: str, write_id: str) -> Write | None:
        """Read one write of this owner, whatever its state."""
        rows = self.database.read(_BY_ID, {"owner": owner, "id": write_id})
        return _to_write(rows[0]) if rows else None

    def others_pending(self, owner: str, upstream: str, store: str, record_id: RecordId) -> bool:
        """Say whether anybody but this owner has an unsettled write of a record."""
        values = {"but": owner, "upstream": upstream, "store": store, "record_id": str(record_id)}
        return bool(self.database.read(_OTHERS, values))

    def counts(self, owner: str) -> list[tuple[str, State, int, float]]:
        """Count an owner's unsettled writes: (store, state, how many, when the oldest was made)."""
        rows = self.database.read(_COUNTS, {"owner": owner})
        return [(store, State(state), int(count), float(oldest)) for store, state, count, oldest in rows]

    def owners(self) -> list[str]:
        """Name the owners who have writes that are not settled."""
        return [row[0] for row in self.database.read(_OWNERS, {})]

    def owner_of(self, write_id: str) -> str | None:
        """Name whose pending write this is, None where there is none."""
        rows = self.database.read(_OWNER_OF, {"id": write_id})
        return str(rows[0][0]) if rows else None

    def due_owners(self) -> list[str]:
        """Name the owners who have a write that may be sent by now."""
        now = self.now()
        longest = {"longest_wait": now + LONGEST_RETRY_AFTER, "longest_lease": now + LONGEST_LEASE}
        return [row[0] for row in self.database.read(_DUE_OWNERS, {"now": now, **longest})]

    def alias(self, owner: str, temp_id: str) -> RecordId | None:
        """Give the real id that a temporary one of this owner's became, None while it has not."""
        return _first_id(self.database.read(_ALIAS, {"owner": owner, "temp_id": temp_id}))

    @contextmanager
    def transaction(self, owner: str, *, follow: bool = True) -> Iterator[OwnerTransaction]:
        """Change one owner's writes: all of it is committed, or nothing is.

        Where the owner's storage was adopted, the transaction is the adopter's: later writes ``follow``.
        """
        while True:
            with self.database.transaction() as connection:
                change = OwnerTransaction(connection, owner)
                if change.heir is None or not follow:
                    change.now = self.database.now()
                    yield change
                    change.finish()
                    return
                # Never two locks at once: an adoption takes them in another order.
                owner = change.heir

    @contextmanager
    def adoption(self, first: str, second: str) -> Iterator[tuple[OwnerTransaction, OwnerTransaction]]:
        """Change two owners' writes in one transaction, under both their locks."""
        with self.database.transaction() as connection:
            # Always in this order: two adoptions must not wait for each other.
            both = {owner: OwnerTransaction(connection, owner) for owner in sorted((first, second))}
            now = self.database.now()
            for change in both.values():
                change.now = now
            yield both[first], both[second]
            for change in both.values():
                change.finish()


class OwnerTransaction:
    """One transaction under an owner's lock. ``now`` is the time that its leases and waits are measured by."""

    #: Read when the lock is held: the wait for it may have been long.
    now: float

    def __init__(self, connection: Connection, owner: str) -> None:
        self._connection = connection
        self.owner = owner
        #: What came of writes beside what is being done; told after the commit.
        self.news: list[Write] = []
        row = self._lock()
        if row is None:
            # The epoch of an owner without a row is empty too: copies made before the first write stay good.
            first = {"owner": owner, "epoch": "", "settled_seq": 0, "pending": 0, "heir": None, "retry_after": None}
            connection.run(_ADD_OWNER, first)
            row = self._lock()
        self.epoch, self.settled_seq, self._pending, self.heir, asked = row
        self._retry_after: dict[str, float] = {} if asked is None else orjson.loads(asked)
        self._row = self._values()

    def _lock(self) -> Any:
        return self._connection.run(_LOCK, {"owner": self.owner}).fetchone()

    def finish(self) -> None:
        """Write back the owner's row where it changed; the last statement before the commit."""
        values = self._values()
        if values != self._row:
            self._connection.run(_SET_OWNER, values | {"of": self.owner})

    def _values(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "settled_seq": self.settled_seq,
            "pending": self._pending,
            "heir": self.heir,
            "retry_after": _encode(self._retry_after or None),
        }

    def next_settled_seq(self) -> int:
        """Take the owner's next number: settles are ordered by it, not by clocks."""
        self.settled_seq += 1
        return int(self.settled_seq)

    def new_epoch(self) -> None:
        """Make every cached copy of this owner a miss, in every worker."""
        self.epoch = new_id()

    def hide_history(self) -> None:
        """Let no applied write lie over anything any more; it stays in the history."""
        self._connection.run(_HIDE_APPLIED, {"owner": self.owner})

    def check_room(self, at_most: float) -> None:
        """Raise ``OutboxFull`` where one more pending write would be too many."""
        if self._pending >= at_most:
            raise OutboxFull(
                f"There are {self._pending:,} changes waiting already, and at most {at_most:,} are kept "
                "(DUALSTORAGE_MAX_PENDING). This one was not accepted; send or discard some first."
            )

    def insert(self, write: Write) -> Write:
        """Add a write at the end of its lane; gives it with its ``seq``.

        Raises ``ValidationFailed`` for a store whose name is too long for the tables.
        """
        check_fits(write)
        asked = self.asked_to_wait(write.upstream)
        if asked > self.now and write.state is State.QUEUED:
            write = write._replace(retry_after=asked)
        values = _to_row(write)
        del values["seq"]
        cursor = self._connection.run(_INSERT, values)
        self._pending += _counts(write)
        # psycopg has no lastrowid, and only SQLite's cursor is needed without another statement.
        seq = cursor.lastrowid if getattr(cursor, "lastrowid", None) else self.get(write.id).seq
        return write._replace(seq=seq)

    def update(self, old: Write, new: Write) -> Write:
        """Rewrite what changed of a write: ``old`` as it is stored, read in this transaction; ``new`` as it is now."""
        changed = _changed(old, new)
        if changed:
            self._connection.run(_update_of(changed), _to_row(new) | {"of": old.seq})
        self._pending += _counts(new) - _counts(old)
        return new

    def reorder(self, writes: Sequence[Write]) -> list[Write]:
        """Let writes, as read in this transaction, change places: in this order they take the places that they have."""
        places = sorted(write.seq for write in writes)
        moved = [write._replace(seq=seq) for write, seq in zip(writes, places, strict=True)]
        for write in writes:
            self._connection.run(_DELETE, {"of": write.seq})
        for write in moved:
            self._connection.run(_INSERT_AT, _to_row(write))
        return moved

    def decide(self, old: Write, new: Write) -> Write:
        """Rewrite a write that came to something beside what is being done: to be told after the commit (``news``)."""
        self.news.append(self.update(old, new))
        return self.news[-1]

    def remove(self, write: Write) -> None:
        """Take a write out altogether: it was never accepted, or it was a local record."""
        self._connection.run(_DELETE, {"of": write.seq})
        self._pending -= _counts(write)

    def discard(self, write: Write, reason: str) -> Write:
        """Settle a write as never to be sent, or never again; it stays in the owner's history."""
        if write.frozen:
            self.keep_key(write)
        return self.decide(write, given_up(write, reason, self.now))

    def find(self, write_id: str) -> Write | None:
        """Read a write of this owner, None where there is none."""
        row = self._connection.run(_BY_ID, {"owner": self.owner, "id": write_id}).fetchone()
        return None if row is None else _to_write(row)

    def get(self, write_id: str) -> Write:
        """Read a write that is known to be there."""
        found = self.find(write_id)
        if found is None:
            raise LookupError(f"no write {write_id} of this owner")
        return found

    def lane(self, store: str, record_id: RecordId, since: int = UNSETTLED - 1) -> list[Write]:
        """Read a record's unsettled writes in order, and the ones settled after ``since``."""
        values = {"owner": self.owner, "store": store, "record_id": str(record_id), "since": since}
        return self._rows(_LANE, values)

    def pending(self) -> list[Write]:
        """Read every unsettled write of the owner, in order."""
        return self._rows(_PENDING, {"owner": self.owner})

    def referring(self) -> list[Write]:
        """Read what refers to a temporary id: unsettled writes, and local records."""
        return self._rows(_REFERRING, {"owner": self.owner})

    def has_under(self, path: str) -> bool:
        """Say whether writes wait in a collection nested under the record at ``path``: its delete goes after them."""
        return self._connection.run(_HAS_UNDER, self._above(path)).fetchone() is not None

    def under(self, path: str) -> list[Write]:
        """Read what is unsettled in the collections nested under the record at ``path``, local records too."""
        return self._rows(_UNDER, self._above(path))

    def _above(self, path: str) -> dict[str, Any]:
        return {"owner": self.owner, "above": path + "/", "length": len(path) + 1}

    def is_under_new(self, url: str) -> bool:
        """Say whether a collection at ``url`` is nested under a record whose create waits."""
        return any(self._has_create(above, record_id) for above, record_id in parents(url))

    def _has_create(self, url: str, record_id: str) -> bool:
        values = {"owner": self.owner, "record_id": record_id, "url": url}
        return self._connection.run(_CREATE_AT, values).fetchone() is not None

    def made(self, temp_id: str) -> Write | None:
        """Read the create, settled or not, that this owner made under ``temp_id``."""
        rows = self._rows(_MADE, {"owner": self.owner, "record_id": temp_id})
        return rows[-1] if rows else None

    def alias(self, temp_id: str) -> RecordId | None:
        """Give the real id of a temporary one."""
        return _first_id(self._connection.run(_ALIAS, {"owner": self.owner, "temp_id": temp_id}).fetchall())

    def aliases(self, temp_ids: Iterable[str]) -> dict[str, RecordId]:
        """Give the real ids of those that have one."""
        found = {temp_id: self.alias(temp_id) for temp_id in temp_ids}
        return {temp_id: real for temp_id, real in found.items() if real is not None}

    def temp_ids(self, record_ids: Iterable[str]) -> dict[str, list[str]]:
        """Give the temporary ids that real ones, as text, had; records of other collections may have had them too."""
        return {record_id: self._temp_ids(record_id) for record_id in record_ids}

    def _temp_ids(self, record_id: str) -> list[str]:
        rows = self._connection.run(_TEMP_IDS, {"owner": self.owner, "record_id": record_id}).fetchall()
        return [temp_id for (temp_id,) in rows]

    def add_alias(self, temp_id: str, record_id: RecordId) -> None:
        """Keep for good that ``temp_id`` became ``record_id``."""
        values = {"owner": self.owner, "temp_id": temp_id, **_id_columns(record_id)}
        self._connection.run(_ADD_ALIAS, values)

    def asked_to_wait(self, upstream: str) -> float:
        """Give until when an upstream asked this owner to wait, by this owner's clock; 0 where it did not."""
        return self._retry_after.get(upstream, 0.0)

    def postpone(self, upstream: str, until: float) -> None:
        """Let no write for ``upstream`` go before ``until``, those to come included: it asked us to wait."""
        self._retry_after[upstream] = max(until, self._retry_after.get(upstream, 0.0))
        self._connection.run(_POSTPONE, {"owner": self.owner, "of": upstream, "until": until})

    def nonce(self, nonce: str, content: str) -> Used | None:
        """Read what a form's nonce was used for with this content."""
        row = self._connection.run(_NONCE, {"owner": self.owner, "nonce": nonce, "content": content}).fetchone()
        return None if row is None else Used(*row)

    def add_nonce(self, nonce: str, content: str, write_id: str, expires_at: float) -> None:
        """Keep what a form's nonce made."""
        values = {"owner": self.owner, "nonce": nonce, "content": content, "write_id": write_id}
        self._connection.run(_ADD_NONCE, values | {"key": None, "sent": None, "expires_at": expires_at})

    def keep_key(self, write: Write) -> None:
        """Remember a write's key, and what went under it, with the nonce that made it: that may have been applied."""
        values = {"owner": self.owner, "of": write.id, "used": write.key, "digest": request_digest(write)}
        self._connection.run(_SET_NONCE_KEY, values)

    def form_makes(self, used: Used, write_id: str) -> None:
        """Remember that one form made another write now, or that ``NOTHING_LEFT`` of it has to be sent."""
        values = {"owner": self.owner, "nonce": used.nonce, "content": used.content, "into": write_id}
        self._connection.run(_SET_NONCE, values)

    def forget_nonce(self, used: Used) -> None:
        """Let a form be sent again as if for the first time: nothing of it can have arrived."""
        self._connection.run(_DELETE_NONCE, {"owner": self.owner, "nonce": used.nonce, "content": used.content})

    def form_made(self, write_id: str, instead_of: str) -> None:
        """Remember that what forms made is in this write now, or that ``NOTHING_LEFT`` of it has to be sent."""
        self._connection.run(_MOVE_NONCE, {"owner": self.owner, "of": instead_of, "into": write_id})

    def joined(self, write: Write, into: Write) -> Write:
        """Settle a write as part of another."""
        self.form_made(into.id, write.id)
        return self.discard(write, "Joined the write before it.")

    def everything(self) -> list[Write]:
        """Read what is unsettled, local records too, in order."""
        return self._rows(_EVERYTHING, {"owner": self.owner})

    def give(self, write: Write, other: OwnerTransaction) -> Write:
        """Hand a write over to another owner as it is."""
        self._connection.run(_GIVE, {"of": write.seq, "heir": other.owner})
        self._pending -= _counts(write)
        other._pending += _counts(write)
        return write._replace(owner=other.owner)

    def give_names(self, other: OwnerTransaction) -> None:
        """Hand over the aliases, the history, and what forms were used for."""
        self._connection.run(_GIVE_ALIASES, {"of": self.owner, "heir": other.owner})
        names = [column.name for column in _nonce.columns]
        used = self._connection.run(_NONCES, {"owner": self.owner}).fetchall()
        for row in used:
            # A form that both have sent stays the heir's.
            self._connection.run(_ADD_NONCE, dict(zip(names, row, strict=True)) | {"owner": other.owner})
        if used or self.settled_seq:
            self._connection.run(_GIVE_SETTLED, {"of": self.owner, "heir": other.owner, "history": -1})
        self._connection.run(_DELETE_NONCES, {"owner": self.owner})

    def erase(self) -> None:
        """Delete every row of the owner's but the writes that are being sent right now, and what forms were used for.

        A form that is sent again makes a new write, with the key of the first: the upstream may have that one.
        """
        for write in self._rows(_MADE_BY_FORMS, {"owner": self.owner}):
            self.keep_key(write)
        for write in self.everything():
            if write.state is not State.SENDING:
                self.remove(write)
        self._connection.run(_PRUNE, {"owner": self.owner, "before": UNSETTLED})

    def prune(self, settled_before: float) -> None:
        """Delete the settled writes and expired nonces of the owner that nothing can need any more."""
        self._connection.run(_PRUNE_NONCES, {"owner": self.owner, "before": self.now})
        self._connection.run(_PRUNE_SETTLED, {"owner": self.owner, "before": settled_before})

    def _rows(self, statement: Statement, values: Mapping[str, Any]) -> list[Write]:
        return [_to_write(row) for row in self._connection.run(statement, values).fetchall()]


def check_fits(write: Write) -> None:
    """Raise ``ValidationFailed`` where the tables can not hold a write's store or id, for their length."""
    lengths = {"store": (len(write.store), schema.MAX_STORE), "id": (len(str(write.record_id)), MAX_ID_LENGTH)}
    for name, (length, most) in lengths.items():
        if length > most:
            raise ValidationFailed({name: f"its name has {length:,} characters, and {_A[name]} at most {most}."})


_A = {"store": "a store", "id": "an id"}


def request_digest(write: Write) -> str:
    """Tell one fixed request from another: the same key must always carry the same bytes."""
    parts = (write.method, write.path, None if write.body is None else write.body.decode("latin-1"))
    return sha256(orjson.dumps(parts)).hexdigest()


def _changed(old: Write, new: Write) -> tuple[str, ...]:
    """Name the columns that change, each once: what was not replaced is the same object."""
    fields = (name for name, before, after in zip(Write._fields, old, new, strict=True) if before is not after)
    columns = dict.fromkeys(column for name in fields for column in _COLUMNS_OF.get(name, (name,)))
    return tuple(column for column in columns if column not in _FIXED)


def _counts(write: Write) -> int:
    return 1 if write.state in PENDING else 0


def _state(rows: list[Any]) -> StoreState:
    if not rows:
        return StoreState("", 0, [])
    writes = [_to_write(row[2:]) for row in rows if row[2] is not None]
    writes.sort(key=attrgetter("seq"))
    return StoreState(rows[0][0], rows[0][1], writes)


def _first_id(rows: list[Any]) -> RecordId | None:
    return _id_from(rows[0][0], rows[0][1]) if rows else None


def _id_from(text: str, is_int: int) -> RecordId:
    return int(text) if is_int else text


def _id_columns(record_id: RecordId) -> dict[str, Any]:
    return {"record_id": str(record_id), "record_id_is_int": int(isinstance(record_id, int))}


def _encode(value: Json) -> bytes | None:
    return None if value is None else orjson.dumps(value)


def _to_row(write: Write) -> dict[str, Any]:
    return {
        "seq": write.seq,
        "id": write.id,
        "owner": write.owner,
        "collection": write.collection,
        "store": write.store,
        "url": write.url,
        "params": orjson.dumps(write.params),
        "upstream": write.upstream,
        "record_id": str(write.record_id),
        "record_id_is_int": int(isinstance(write.record_id, int)),
        "kind": write.kind.value,
        "state": write.state.value,
        "attributes": _encode(write.attributes),
        "base": _encode(write.base),
        "validator": write.validator,
        "patch": int(write.patch),
        "refers": int(write.refers),
        "edits": write.edits,
        "created_at": write.created_at,
        "attempts": write.attempts,
        "doubts": write.doubts,
        "fence": write.fence,
        "not_before": write.not_before,
        "retry_after": write.retry_after,
        "lease": write.lease,
        "key": write.key,
        "key_since": write.key_since,
        # Two bits of one column.
        "may_have_arrived": write.may_have_arrived | write.key_stays << 1,
        "method": write.method,
        "path": write.path,
        "body": write.body,
        # PostgreSQL's text has no NUL, and a reason may hold what an upstream said.
        "reason": None if write.reason is None else write.reason.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "problem": _encode(write.problem),
        "theirs": _encode(write.theirs),
        "settled_seq": write.settled_seq,
        "settled_at": write.settled_at,
    }


#: Looked up rather than made: a view reads hundreds of rows.
_KINDS = {kind.value: kind for kind in Kind}
_STATES = {state.value: state for state in State}


def _to_write(row: Any) -> Write:
    (
        seq,
        write_id,
        owner,
        collection,
        store,
        url,
        params,
        upstream,
        record_id,
        is_int,
        kind,
        state,
        attributes,
        base,
        validator,
        patch,
        refers,
        edits,
        created_at,
        attempts,
        doubts,
        fence,
        not_before,
        retry_after,
        lease,
        key,
        key_since,
        arrived,
        method,
        path,
        body,
        reason,
        problem,
        theirs,
        settled_seq,
        settled_at,
    ) = row
    # By position, and without calls: so many names cost as much as the rest. The order is that of the fields.
    return Write(
        write_id,
        seq,
        owner,
        collection,
        store,
        url,
        {} if params == b"{}" else orjson.loads(params),
        upstream,
        int(record_id) if is_int else record_id,
        _KINDS[kind],
        _STATES[state],
        None if attributes is None else orjson.loads(attributes),
        None if base is None else orjson.loads(base),
        validator,
        bool(patch),
        bool(refers),
        edits,
        created_at,
        attempts,
        doubts,
        fence,
        not_before,
        retry_after,
        lease,
        key,
        key_since,
        bool(arrived & 1),
        bool(arrived & 2),
        method,
        path,
        body,
        reason,
        None if problem is None else orjson.loads(problem),
        None if theirs is None else orjson.loads(theirs),
        settled_seq,
        settled_at,
    )
