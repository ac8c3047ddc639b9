"""The outbox's tables, for every database that SQLAlchemy speaks to."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.schema import CreateIndex, DDLElement, DropIndex
from sqlalchemy.types import UserDefinedType

#: The version of the tables below; a database of a newer one is refused.
SCHEMA_VERSION = 4
#: How the tables of an older release become these: the version they have, and the statements that lead to the next.
#: All of it in one transaction, where the database can. A file of each version stays in tests/contract/databases.
UPGRADES: dict[int, tuple[str | DDLElement, ...]] = {
    1: ("ALTER TABLE alias DROP COLUMN store", "ALTER TABLE nonce ADD COLUMN sent VARCHAR(64)"),
}
#: Columns that tables of version 1 may lack: it stood in three forms on main before it was counted.
LATE_COLUMNS: tuple[tuple[str, str], ...] = (
    ("owner", "retry_after"),
    ("write", "may_have_arrived"),
    ("write", "doubts"),
)
#: The longest name of a store, which is the URL of its collection where it declares no other.
MAX_STORE = 512

metadata = MetaData()

_Big = BigInteger().with_variant(Integer, "sqlite")


class _LongBlob(UserDefinedType[bytes]):
    """MariaDB's LONGBLOB, without all of SQLAlchemy's dialect for it, which takes long to import."""

    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        """Give its SQL."""
        return "LONGBLOB"


_Json = LargeBinary().with_variant(_LongBlob(), "mysql", "mariadb")
_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mariadb_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_nopad_bin",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
#: How much of a column an index of MariaDB's has: it takes 3,072 bytes in all.
_LENGTHS: dict[str, dict[str, int]] = {
    "write_by_store": {"owner": 128, "store": 255},
    "write_by_record": {"owner": 128, "record_id": 191, "store": 255},
    "write_by_state": {"owner": 128},
    "write_by_reference": {"owner": 128},
}

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

#: One row an owner: the lock of all that is theirs, and the numbers that a view needs.
owner = Table(
    "owner",
    metadata,
    Column("owner", String(255), primary_key=True),
    Column("epoch", String(32), nullable=False),
    Column("settled_seq", _Big, nullable=False),
    Column("pending", _Big, nullable=False),
    Column("heir", String(255)),
    Column("retry_after", _Json),
)

#: The outbox. Times are clock seconds; the columns are those of ``types.Write``.
write = Table(
    "write",
    metadata,
    Column("seq", _Big, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("collection", String(255), nullable=False),
    Column("store", String(MAX_STORE), nullable=False),
    Column("url", Text, nullable=False),
    Column("params", _Json, nullable=False),
    Column("upstream", String(255), nullable=False),
    Column("record_id", String(255), nullable=False),
    Column("record_id_is_int", SmallInteger, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("state", String(12), nullable=False),
    Column("attributes", _Json),
    Column("base", _Json),
    Column("validator", Text),
    Column("patch", SmallInteger, nullable=False),
    Column("refers", SmallInteger, nullable=False),
    Column("edits", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("doubts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("not_before", Double),
    Column("retry_after", Double, nullable=False),
    Column("lease", Double, nullable=False),
    Column("key", String(64)),
    Column("key_since", Double, nullable=False),
    Column("may_have_arrived", SmallInteger, nullable=False),
    Column("method", String(16)),
    Column("path", Text),
    Column("body", _Json),
    Column("reason", Text),
    Column("problem", _Json),
    Column("theirs", _Json),
    Column("settled_seq", _Big, nullable=False),
    Column("settled_at", Double, nullable=False),
    sqlite_autoincrement=True,
)

Index("write_by_id", write.c.id, unique=True)
# The view of a store, in one range: what was settled after the base began, and what is not settled.
Index("write_by_store", write.c.owner, write.c.store, write.c.settled_seq)
# A lane, in one range. The record comes first, so that other owners' writes of it are in one range too.
_by_record = Index(
    "write_by_record",
    write.c.record_id,
    write.c.owner,
    write.c.store,
    write.c.settled_seq,
)
# MariaDB commits each statement by itself: either may have been done before.
UPGRADES[2] = (DropIndex(_by_record, if_exists=True), CreateIndex(_by_record, if_not_exists=True))
# What an owner has pending, and whose is due.
Index("write_by_state", write.c.owner, write.c.settled_seq, write.c.state)

# What refers to a record without a number: few writes do, and whenever one gets its number they are looked for.
_referring = Index(
    "write_by_reference",
    write.c.owner,
    write.c.refers,
    write.c.settled_seq,
    sqlite_where=write.c.refers == 1,
)
UPGRADES[3] = (CreateIndex(_referring, if_not_exists=True),)

#: Temporary id → real id, kept for good.
alias = Table(
    "alias",
    metadata,
    Column("owner", String(255), primary_key=True),
    Column("temp_id", String(36), primary_key=True),
    Column("record_id", String(255), nullable=False),
    Column("record_id_is_int", SmallInteger, nullable=False),
)

#: A form's nonce: what it made, so that the same form sent twice is one write.
nonce = Table(
    "nonce",
    metadata,
    Column("owner", String(255), primary_key=True),
    Column("nonce", String(64), primary_key=True),
    Column("content", String(64), primary_key=True),
    Column("write_id", String(32), nullable=False),
    Column("key", String(64)),
    Column("sent", String(64)),
    Column("expires_at", Double, nullable=False),
)


def prepare_for(dialect: str) -> None:
    """Add what the tables have on one server only: told above, SQLAlchemy would import that server's dialect for it."""
    if dialect == "postgresql":
        _referring.dialect_kwargs["postgresql_where"] = write.c.refers == 1
    elif dialect != "sqlite":
        for table in (owner, write, alias, nonce):
            table.dialect_kwargs.update(_MYSQL)
        for index in write.indexes:
            index.dialect_kwargs.update({"mysql_length": _LENGTHS[str(index.name)]} if index.name in _LENGTHS else {})
