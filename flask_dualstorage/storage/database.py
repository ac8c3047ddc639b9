"""One SQL database: statements compiled once and run on the driver's own connection, one connection a thread.

SQLAlchemy gives the URL, the driver, the SQL and the tables; its per-statement machinery is left out, since it
costs as much as SQLite itself.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import NullPool, create_engine, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import ClauseElement

from ..errors import ConfigurationError, OutboxUnavailable
from . import schema

_BUSY_SECONDS = 10.0

#: Connections that a forked child found open: closing them would speak on the parent's socket, so they are kept.
_inherited: list[Any] = []


class Statement:
    """One SQL statement, written once in SQLAlchemy Core and compiled once for each dialect."""

    def __init__(self, construct: ClauseElement | Callable[[str], ClauseElement]) -> None:
        self._construct = construct
        self._compiled: dict[str, tuple[str, list[str] | None, dict[str, Any]]] = {}

    def of(self, dialect: Any) -> tuple[str, list[str] | None, dict[str, Any]]:
        """Give the SQL text, the order of its parameters where they are positional, and its constant ones."""
        found = self._compiled.get(dialect.name)
        if found is None:
            construct = self._construct if isinstance(self._construct, ClauseElement) else self._construct(dialect.name)
            compiled: Any = construct.compile(dialect=dialect)
            order = list(compiled.positiontup) if compiled.positional else None
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._compiled[dialect.name] = (str(compiled), order, constants)
        return found


class Connection:
    """A driver's connection of this thread; transactions are begun and ended by ``Database`` alone."""

    def __init__(self, database: Database, raw: Any) -> None:
        self._database = database
        self.raw = raw
        self.pid = os.getpid()

    def run(self, statement: Statement, parameters: Mapping[str, Any]) -> Any:
        """Run a statement and give the driver's cursor. A driver's error is ``OutboxUnavailable``."""
        sql, order, constants = statement.of(self._database.dialect)
        values = {**constants, **parameters} if constants else parameters
        return self.execute(sql, values if order is None else [values[name] for name in order])

    def execute(self, sql: str, values: Any = ()) -> Any:
        """Run bare SQL: BEGIN, COMMIT and the like."""
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
        self._engine = create_engine(url, poolclass=NullPool)
        self._url = make_url(url)
        self.dialect: Any = self._engine.dialect
        self._clock = clock
        self._ready = False
        self._preparing = threading.Lock()
        self._writing = threading.Lock()
        self._here = threading.local()
        try:
            self.driver_error: Any = self.dialect.import_dbapi().Error
        except ImportError as error:
            raise ConfigurationError(
                f"DUALSTORAGE_DATABASE_URL needs the driver {error.name!r}: "
                "install flask-dualstorage[postgresql] or flask-dualstorage[mariadb]."
            ) from error

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
        """Run a single SELECT outside any transaction and give all its rows."""
        return self._fetch(self._connection(), statement, parameters)

    def _fetch(self, connection: Connection, statement: Statement, parameters: Mapping[str, Any]) -> list[Any]:
        try:
            return list(connection.run(statement, parameters).fetchall())
        except self.driver_error as error:
            self.fail(error)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give this thread's connection within one transaction: committed at the end, rolled back on any error."""
        connection = self._connection()
        if not self.is_sqlite:
            yield from self._within(connection, "BEGIN")
            return
        # SQLite's own waiting is unfair (a p99 of 0.6 s with 8 threads): the writers of one process queue here.
        with self._writing:
            yield from self._within(connection, "BEGIN IMMEDIATE")

    def _within(self, connection: Connection, begin: str) -> Iterator[Connection]:
        connection.execute(begin)
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise

    def _roll_back(self, connection: Connection) -> None:
        """Leave no transaction open; a connection that can not even roll back is dropped."""
        try:
            connection.raw.cursor().execute("ROLLBACK")
        except self.driver_error:
            self._drop()

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._here, "connection", None)
        if connection is not None and connection.pid != os.getpid():
            _inherited.append(connection)
            connection = None
        if connection is None:
            if not self._ready:
                self.prepare(create=self.is_sqlite)
            connection = self._here.connection = Connection(self, self._open())
        return connection

    def _open(self) -> Any:
        arguments, options = self.dialect.create_connect_args(self._url)
        try:
            if self.is_sqlite:
                return self._open_sqlite(arguments, options)
            return self.dialect.connect(*arguments, **options, autocommit=True)
        except self.driver_error as error:
            self.fail(error)

    def _open_sqlite(self, arguments: Any, options: dict[str, Any]) -> Any:
        options |= {"isolation_level": None, "check_same_thread": False, "timeout": _BUSY_SECONDS}
        raw = self.dialect.connect(*arguments, **options)
        cursor = raw.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        return raw

    def fail(self, error: BaseException) -> NoReturn:
        """Turn a driver's error into the tree's, and forget a connection that is gone."""
        if not self.is_sqlite:
            self._drop()
        raise OutboxUnavailable(
            f"The outbox's database can not be used: {_first_line(error)}. Nothing was kept."
        ) from error

    def _drop(self) -> None:
        connection: Connection | None = getattr(self._here, "connection", None)
        self._here.connection = None
        if connection is not None:
            connection.raw.close()

    def prepare(self, *, create: bool) -> None:
        """Check the schema's version, and create the tables where there are none and ``create`` says so."""
        with self._preparing:
            if self._ready:
                return
            try:
                if self.is_sqlite:
                    Path(self._url.database or "").parent.mkdir(parents=True, exist_ok=True)
                    self._open().close()
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
            version = self._version(connection, create)
            if version != schema.SCHEMA_VERSION:
                raise ConfigurationError(
                    f"The outbox's tables have version {version}, this release knows {schema.SCHEMA_VERSION}: "
                    "upgrade flask_dualstorage."
                )
            if self.is_sqlite:
                connection.exec_driver_sql("COMMIT")
            connection.commit()

    def _version(self, connection: Any, create: bool) -> int:
        if not self.dialect.has_table(connection, schema.schema_version.name):
            if not create:
                raise OutboxUnavailable("The outbox's tables are not there: run 'flask dualstorage init-db' once.")
            schema.metadata.create_all(connection)
            connection.execute(insert(schema.schema_version).values(version=schema.SCHEMA_VERSION))
        return int(connection.execute(select(schema.schema_version.c.version)).scalar_one())


def _server_time(dialect: str) -> ClauseElement:
    if dialect == "postgresql":
        return text("SELECT extract(epoch from clock_timestamp())")
    return text("SELECT unix_timestamp(now(6))")


_SERVER_TIME = Statement(_server_time)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def new_id() -> str:
    """Give 32 random hexadecimal digits: the id of a write, an epoch, a key."""
    return secrets.token_hex(16)
