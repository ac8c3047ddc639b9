"""One SQL database: statements compiled once and run on the driver's own connection, one connection a thread.

SQLAlchemy gives the URL, the driver, the SQL and the tables; its per-statement machinery is left out, since it
costs as much as SQLite itself.
"""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

from sqlalchemy import NullPool, TextClause, create_engine, func, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn
from sqlalchemy.sql.elements import ClauseElement

from ..errors import ConfigurationError, OutboxUnavailable
from . import schema
from .turns import Turns

_BUSY_SECONDS = 10.0
#: Reads look at most so often whether SQLite's file is still the one that is open, seconds; writes do each time. To
#: look costs a quarter of a read.
LOOK_EVERY = 1.0
#: How often a process tries to switch a new SQLite file to WAL while others do: more than there are workers.
_SWITCHES = 100

#: A server's settings for our connections. What an app sets in its URL, and what is stricter, stays.
_POSTGRESQL = (
    # A lock that does not end is an outage, and a client that went away within a transaction must not hold one; a
    # commit is a commit only when it is on the disk.
    "SELECT set_config(name, wanted, false) FROM (VALUES "  # noqa: S608  # our own constant
    f"('lock_timeout', '0', '{_BUSY_SECONDS:g}s'), ('idle_in_transaction_session_timeout', '0', '60s'), "
    "('synchronous_commit', 'off', 'on'), ('synchronous_commit', 'local', 'on')) AS ours (name, loose, wanted) "
    "WHERE current_setting(name) = loose",
)
_MARIADB = (
    # Without gap locks, on which two new owners would deadlock; and nothing is ever cut to fit.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = concat(@@sql_mode, ',STRICT_ALL_TABLES')",
    f"SET SESSION innodb_lock_wait_timeout = {_BUSY_SECONDS:g}",
)

_NOTHING = "Nothing was kept."
_UNKNOWN = "It is not known whether this was kept: look before you send it again."

#: Connections that a forked child found open: closing them would speak on the parent's socket, so they are kept.
_inherited: list[Any] = []
_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Statement:
    """One SQL statement, written once in SQLAlchemy Core and compiled once for each dialect."""

    def __init__(self, construct: ClauseElement | Callable[[str], ClauseElement]) -> None:
        self._construct = construct
        self._compiled: dict[str, tuple[str, Callable[[Any], Any], dict[str, Any]]] = {}

    def of(self, dialect: Any) -> tuple[str, Callable[[Any], Any], dict[str, Any]]:
        """Give the SQL text, what picks its parameters as the driver wants them, and its constant ones."""
        found = self._compiled.get(dialect.name)
        if found is None:
            construct = self._construct if isinstance(self._construct, ClauseElement) else self._construct(dialect.name)
            compiled: Any = construct.compile(dialect=dialect)
            values = _in_order(compiled.positiontup) if compiled.positional else _by_name
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._compiled[dialect.name] = (str(compiled), values, constants)
        return found


def _by_name(values: Any) -> Any:
    return values


def _in_order(names: Sequence[str]) -> Callable[[Any], Any]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: [values[name] for name in names]


class Connection:
    """A driver's connection of this thread; transactions are begun and ended by ``Database`` alone."""

    def __init__(self, database: Database, raw: Any) -> None:
        self._database = database
        self.raw = raw
        self.pid = os.getpid()
        self.in_transaction = False
        self.closed = False
        #: Held while it is used: a fork in another thread closes it only then when it is not.
        self.lock = threading.RLock()
        #: Which file it writes to, for SQLite, and when it was looked whether that is still there.
        self.file = database._file_now()
        self.looked = monotonic()

    def close(self) -> None:
        """Close it; its thread opens another when it needs one."""
        self.closed = True
        self.raw.close()

    def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Any:
        """Run a statement and give the driver's cursor. A driver's error is ``OutboxUnavailable``."""
        sql, values, constants = statement.of(self._database.dialect)
        return self.execute(sql, values({**constants, **parameters} if constants else parameters))

    def execute(self, sql: str, values: Any = ()) -> Any:
        """Run bare SQL: BEGIN, and compiled statements."""
        try:
            cursor = self.raw.cursor()
            cursor.execute(sql, values)
        except self._database.driver_error as error:
            self._database.fail(error)
        return cursor


class Database:
    """The outbox's database. Everything that goes wrong in it is an ``OutboxUnavailable``.

    ``clock`` gives seconds; a server database is asked for its own time instead.
    """

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self._url = make_url(url)
        self._path: str | None = None
        if self._url.get_backend_name() == "sqlite":
            self._path = str(Path(self._url.database or "").absolute())
            self._url = self._url.set(database=self._path)
        try:
            self._engine = create_engine(self._url, poolclass=NullPool)
        except ImportError as error:
            raise ConfigurationError(
                f"DUALSTORAGE_DATABASE_URL needs the driver {error.name!r}: "
                "install flask-dualstorage[postgresql] or flask-dualstorage[mariadb]."
            ) from error
        self.dialect: Any = self._engine.dialect
        schema.prepare_for(self.dialect.name)
        # Whatever the server's default is: two writers of one owner must wait for each other, not fail.
        self._begin = "BEGIN ISOLATION LEVEL READ COMMITTED" if self.dialect.name == "postgresql" else "BEGIN"
        self.driver_error: Any = self.dialect.import_dbapi().Error
        self._clock = clock
        self._ready = False
        self._renew_locks()
        self._here = threading.local()
        self._resting: list[Any] = []
        self._connections: weakref.WeakSet[Connection] = weakref.WeakSet()
        _databases.add(self)

    def _renew_locks(self) -> None:
        # Taken in this order, where both are.
        self._writing = Turns()
        self._opening = threading.RLock()

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file of ours, created on first use."""
        return bool(self.dialect.name == "sqlite")

    def now(self) -> float:
        """Give the time that leases and ``not_before`` are compared by: the server's, where there is one."""
        if self.is_sqlite:
            return self._clock()
        return float(self.read(_SERVER_TIME, {})[0][0])

    def read(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Any]:
        """Run a single SELECT, outside any transaction or in this thread's own, and give all its rows."""
        kept = self._kept()
        try:
            return self._fetch(statement, parameters)
        except OutboxUnavailable:
            if not self._may_be_stale(kept):
                raise
        return self._fetch(statement, parameters)

    def _fetch(self, statement: Statement, parameters: Mapping[str, Any]) -> list[Any]:
        connection = self._taken(LOOK_EVERY)
        try:
            return list(connection.run(statement, parameters).fetchall())
        except self.driver_error as error:
            self.fail(error)
        finally:
            connection.lock.release()

    def _taken(self, look_every: float = 0.0) -> Connection:
        """Give this thread's connection, with its lock; it may be closed by a fork just before we have that."""
        while True:
            connection = self._connection(look_every)
            connection.lock.acquire()
            if not connection.closed:
                return connection
            connection.lock.release()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give this thread's connection within one transaction: committed at the end, rolled back on any error."""
        if self._is_writing_here():
            raise RuntimeError(
                "A hook of the app's (to_json, url, store_name …) wrote to the outbox while a write was being kept; "
                "it may read, and must leave writing to the view."
            )
        if not self.is_sqlite:
            yield from self._within(self._begun())
            return
        # SQLite's own waiting is unfair (a p99 of 0.6 s with 8 threads): the writers of one process queue here.
        if not self._writing.acquire(timeout=_BUSY_SECONDS):
            raise OutboxUnavailable(f"The outbox's database is busy: writes before this one do not end. {_NOTHING}")
        try:
            connection = self._taken()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield from self._within(connection)
            finally:
                connection.lock.release()
        finally:
            self._writing.release()

    def _begun(self) -> Connection:
        """Begin a transaction on a server, on a new connection where it hung up on the one that was kept."""
        kept = self._kept()
        connection = self._connection()
        try:
            connection.execute(self._begin)
        except OutboxUnavailable:
            if not self._may_be_stale(kept):
                raise
            connection = self._connection()
            connection.execute(self._begin)
        return connection

    def _may_be_stale(self, kept: Connection | None) -> bool:
        """Whether what failed may have failed because a server hung up on an idle connection: nothing is lost yet."""
        return kept is not None and not kept.in_transaction and not self.is_sqlite

    def _within(self, connection: Connection) -> Iterator[Connection]:
        connection.in_transaction = True
        try:
            yield connection
            self._commit(connection)
        except BaseException:
            self._roll_back(connection)
            raise
        finally:
            connection.in_transaction = False

    def _commit(self, connection: Connection) -> None:
        try:
            connection.raw.cursor().execute("COMMIT")
        except self.driver_error as error:
            # A server may have done it before its answer was lost. SQLite has not, unless it could not tell whether
            # what it wrote is on the disk.
            known = self.is_sqlite and "FSYNC" not in getattr(error, "sqlite_errorname", "")
            self.fail(error, _NOTHING if known else _UNKNOWN)

    def _roll_back(self, connection: Connection) -> None:
        """Leave no transaction open; a connection that can not even roll back is dropped."""
        try:
            connection.raw.cursor().execute("ROLLBACK")
        except self.driver_error:
            self._drop()

    def _kept(self) -> Connection | None:
        return getattr(self._here, "connection", None)

    def _is_writing_here(self) -> bool:
        connection: Connection | None = getattr(self._here, "connection", None)
        return connection is not None and connection.in_transaction

    def _connection(self, look_every: float = 0.0) -> Connection:
        connection = self._kept()
        if connection is not None and connection.pid != os.getpid():
            _inherited.append(connection)
            connection = None
        if connection is not None and not connection.in_transaction and not self._is_current(connection, look_every):
            self._drop()
            connection = None
        if connection is None:
            with self._opening:
                if not self._ready:
                    self.prepare(create=self.is_sqlite)
                connection = self._here.connection = Connection(self, self._open())
                self._connections.add(connection)
        return connection

    def _is_current(self, connection: Connection, look_every: float) -> bool:
        """Say whether it still leads to the outbox: what is written to a file without a name is lost."""
        if connection.closed or self._path is None:
            return not connection.closed
        now = monotonic()
        if now - connection.looked < look_every:
            return True
        connection.looked = now
        there = self._file_now()
        if there is not None and there != connection.file:
            # Another file was put in its place, a backup say: its version has to be looked at.
            self._ready = False
        return there == connection.file

    def _file_now(self) -> tuple[int, int] | None:
        """Tell which file is there now, None where none is, or none is used."""
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)  # noqa: PTH116  # at every read: a Path would cost more than the call
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _open(self) -> Any:
        arguments, options = self.dialect.create_connect_args(self._url)
        try:
            if self.is_sqlite:
                return self._open_sqlite(arguments, options)
            options.setdefault("connect_timeout", int(_BUSY_SECONDS))
            raw = self.dialect.connect(*arguments, **options, autocommit=True)
            for statement in _POSTGRESQL if self.dialect.name == "postgresql" else _MARIADB:
                raw.cursor().execute(statement)
        except self.driver_error as error:
            self.fail(error)
        return raw

    def _open_sqlite(self, arguments: Any, options: dict[str, Any]) -> Any:
        if self._ready and self._file_now() is None:
            raise OutboxUnavailable(
                f"The outbox's file {self._path} is gone. {_NOTHING} Put it back; or restart the app, "
                "which begins an empty one."
            )
        options |= {"isolation_level": None, "check_same_thread": False, "timeout": _BUSY_SECONDS}
        raw = self.dialect.connect(*arguments, **options)
        raw.cursor().execute("PRAGMA synchronous = FULL")
        return raw

    def _make_file(self) -> None:
        """Make the SQLite file where there is none, and have it write ahead (WAL), which it remembers."""
        Path(self._url.database or "").parent.mkdir(parents=True, exist_ok=True)
        raw = self._open()
        try:
            self._write_ahead(raw.cursor())
        except self.driver_error as error:
            self.fail(error)
        finally:
            raw.close()

    def _write_ahead(self, cursor: Any) -> None:
        for _ in range(_SWITCHES):
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
            except self.dialect.dbapi.OperationalError:
                # For this alone SQLite does not wait while another process does the same; for BEGIN it does.
                cursor.execute("BEGIN IMMEDIATE")
                cursor.execute("ROLLBACK")
            else:
                return
        cursor.execute("PRAGMA journal_mode = WAL")

    def fail(self, error: BaseException, kept: str = _NOTHING) -> NoReturn:
        """Turn a driver's error into the tree's, and forget a connection that is gone."""
        if not self.is_sqlite:
            self._drop()
        raise OutboxUnavailable(f"The outbox's database can not be used: {_first_line(error)}. {kept}") from error

    def _drop(self) -> None:
        connection = self._kept()
        self._here.connection = None
        if connection is not None:
            connection.close()

    def leave(self) -> None:
        """Close this thread's connection: it ends."""
        self._drop()

    def rest(self) -> None:
        """Before a fork: let what is under way in other threads end, and close what a child must not inherit.

        SQLite keeps the locks of a file once for a process: a child that opens the file anew while it has an
        inherited connection would believe that it holds them too (sqlite.org/howtocorrupt.html §2.6). A thread that
        forks within a transaction of its own can not be waited for.
        """
        kept = self._kept()
        if kept is not None and kept.in_transaction:
            return
        self._resting = [lock for lock in (self._writing, self._opening) if lock.acquire(timeout=_BUSY_SECONDS)]
        for connection in list(self._connections) if self.is_sqlite else ():
            if connection.pid == os.getpid() and connection.lock.acquire(timeout=_BUSY_SECONDS):
                connection.close()
                connection.lock.release()
        if self.is_sqlite:
            self._here.connection = None

    def go_on(self) -> None:
        """After a fork, in the parent."""
        held, self._resting = self._resting, []
        for lock in held:
            lock.release()

    def go_on_as_child(self) -> None:
        """After a fork, in the child: whoever held a lock is not here."""
        self._resting = []
        self._renew_locks()

    def prepare(self, *, create: bool) -> None:
        """Check the schema's version; create or upgrade the tables where that is needed and ``create`` says so."""
        with self._opening:
            if self._ready:
                return
            try:
                if self.is_sqlite:
                    self._make_file()
                self._prepare(create)
            except (DBAPIError, OSError) as error:
                cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
                raise OutboxUnavailable(f"The outbox's database can not be opened: {_first_line(cause)}.") from error
            self._ready = True

    def _prepare(self, create: bool) -> None:
        with self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            if self.is_sqlite and raw is not None:
                # Two workers may create the file at once: the second waits here and then finds it made.
                raw.isolation_level = None
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            elif create:
                connection.execute(_schema_lock(self.dialect.name))
            version = self._version(connection, create)
            if version < schema.SCHEMA_VERSION:
                version = self._upgraded(connection, version, create)
            if version != schema.SCHEMA_VERSION:
                raise ConfigurationError(
                    f"The outbox's tables have version {version}, this release knows {schema.SCHEMA_VERSION}: "
                    "upgrade flask_dualstorage."
                )
            if self.is_sqlite:
                connection.exec_driver_sql("COMMIT")
            connection.commit()

    def _upgraded(self, connection: Any, version: int, create: bool) -> int:
        """Lead tables of an older release to this one's, step by step. MariaDB commits each statement by itself."""
        if not create:
            raise OutboxUnavailable(
                f"The outbox's tables have version {version}, this release needs {schema.SCHEMA_VERSION}: "
                "run 'flask dualstorage init-db' once."
            )
        if version == 1:
            self._complete_first_version(connection)
        while version < schema.SCHEMA_VERSION:
            for statement in schema.UPGRADES[version]:
                if isinstance(statement, str):
                    connection.exec_driver_sql(statement)
                else:
                    connection.execute(statement)
            version += 1
            connection.execute(update(schema.schema_version).values(version=version))
        return version

    def _complete_first_version(self, connection: Any) -> None:
        """Add what the first forms of version 1 lacked; a number is 0 in the rows that are there."""
        quote = self.dialect.identifier_preparer.quote
        for table, name in schema.LATE_COLUMNS:
            if name not in {each["name"] for each in self.dialect.get_columns(connection, table)}:
                column = schema.metadata.tables[table].c[name]
                definition = str(CreateColumn(column).compile(dialect=self.dialect))
                default = "" if column.nullable else " DEFAULT 0"
                connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD COLUMN {definition}{default}")

    def _version(self, connection: Any, create: bool) -> int:
        version = None
        if self.dialect.has_table(connection, schema.schema_version.name):
            version = connection.execute(select(func.max(schema.schema_version.c.version))).scalar_one()
        if version is not None:
            return int(version)
        if not create:
            raise OutboxUnavailable("The outbox's tables are not there: run 'flask dualstorage init-db' once.")
        # The version comes last: where a server commits each table by itself, half of them are no schema.
        schema.metadata.create_all(connection)
        connection.execute(insert(schema.schema_version).values(version=schema.SCHEMA_VERSION))
        return schema.SCHEMA_VERSION


def _each(do: Callable[[Database], None]) -> Callable[[], None]:
    def all_of_them() -> None:
        for database in list(_databases):
            do(database)

    return all_of_them


os.register_at_fork(
    before=_each(Database.rest),
    after_in_parent=_each(Database.go_on),
    after_in_child=_each(Database.go_on_as_child),
)


def _server_time(dialect: str) -> ClauseElement:
    if dialect == "postgresql":
        return text("SELECT extract(epoch from clock_timestamp())")
    return text("SELECT unix_timestamp(now(6))")


_SERVER_TIME = Statement(_server_time)


def _schema_lock(dialect: str) -> TextClause:
    """One at a time makes or upgrades the tables of a server; it ends with the transaction, or the connection."""
    if dialect == "postgresql":
        return text("SELECT pg_advisory_xact_lock(7240314985)")
    return text("SELECT get_lock('flask_dualstorage', 60)")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def new_id() -> str:
    """Give 32 random hexadecimal digits: the id of a write, an epoch, a key."""
    return secrets.token_hex(16)
