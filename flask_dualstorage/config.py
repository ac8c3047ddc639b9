"""``DUALSTORAGE_*``: read once in ``init_app``, checked, frozen."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from .dialect import Dialect
from .errors import ConfigurationError

PREFIX = "DUALSTORAGE_"
DAY = 86_400.0

#: Statuses that mean "offline", or a callable that gives them for one answer [offlineStatusCodes].
OfflineCodes = Collection[int] | Callable[[Any], Iterable[int]]


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """One upstream: where it is, how long it may take, and what it is known to honour.

    ``timeout`` is (seconds to connect, seconds for the whole answer). ``honours_keys`` is False, True, or for
    how many seconds this upstream answers a repeated idempotency key with its first answer. ``dialect`` is how it
    speaks, where a collection says nothing else.
    """

    name: str
    url: str
    timeout: tuple[float, float] = (1.0, 5.0)
    offline_status_codes: OfflineCodes = (408, 502, 503, 504)
    idempotency_header: str | None = "Idempotency-Key"
    honours_keys: bool | float = False
    dialect: Dialect | None = None
    breaker_threshold: int = 3
    breaker_cooldown: float = 5.0
    max_response_bytes: int = 32 * 1024 * 1024
    #: The path of a GET that shows whether a credential is good, for an API that hides records from a bad one.
    credential_probe: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Every key of API.md that this release takes; times in seconds, sizes in bytes."""

    upstreams: Mapping[str, UpstreamConfig]
    database_url: str
    max_age: float = 0.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float | None = None
    cache_timeout: float = 30 * DAY
    when_dirty: str = "local"
    #: A name, or ``(base, mine, theirs) -> merged | Conflict``.
    conflict: str | Callable[[Any, Any, Any], Any] = "merge"
    in_doubt: str = "auto"
    max_attempts: int = 8
    sync_budget: float = 10.0
    sync_concurrency: int = 8
    max_pending: int = 10_000
    max_record_bytes: int = 1024 * 1024
    keep_applied: float = DAY
    auto_sync: str = "off"
    url_prefix: str = "/dualstorage"
    register_blueprint: bool = True
    strict_collections: bool = False


def read_config(settings: Mapping[str, Any], instance_path: str) -> Config:
    """Read and check ``app.config``. Raises ``ConfigurationError`` that names the key and what it takes."""
    given = {key[len(PREFIX) :]: value for key, value in settings.items() if key.startswith(PREFIX)}
    for key in given:
        if key not in _CHECKS:
            raise ConfigurationError(_unknown(PREFIX + key, key, _CHECKS, PREFIX))
    values = {key.lower(): _CHECKS[key](PREFIX + key, value) for key, value in given.items()}
    named = {name: _upstream(name, options, values) for name, options in (values.pop("upstreams", None) or {}).items()}
    if "upstream_url" in values:
        named["default"] = _upstream("default", {"url": values["upstream_url"]}, values)
    own = {field.name for field in fields(Config)}
    return Config(
        upstreams=MappingProxyType(named),
        database_url=values.pop("database_url", None) or _sqlite_url(instance_path),
        **{key: value for key, value in values.items() if key in own},
    )


def _sqlite_url(instance_path: str) -> str:
    return URL.create("sqlite", database=str(Path(instance_path) / "dualstorage.sqlite3")).render_as_string()


def _upstream(name: str, options: Mapping[str, Any], shared: Mapping[str, Any]) -> UpstreamConfig:
    """Build one upstream: what its own options say, else the app-wide keys, else the defaults."""
    own = {field.name for field in fields(UpstreamConfig)} - {"name"}
    where = f"{PREFIX}UPSTREAMS[{name!r}]"
    for key in options:
        if key not in own:
            raise ConfigurationError(_unknown(f"{where}[{key!r}]", str(key), own))
    if "url" not in options:
        raise ConfigurationError(f"{where} has no 'url'. Give the base URL of that API.")
    values = {key: shared[key] for key in own if key in shared}
    values |= {key: _upstream_option(where, key, value) for key, value in options.items()}
    return UpstreamConfig(name=name, **values)


def _upstream_option(where: str, key: str, value: Any) -> Any:
    check = _CHECKS["UPSTREAM_URL" if key == "url" else key.upper()]
    return check(f"{where}[{key!r}]", value)


def _unknown(where: str, key: str, known: Iterable[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"{where} is no setting of flask_dualstorage." + (f" Did you mean {prefix}{near[0]}?" if near else "")


def _wrong(key: str, value: Any, takes: str) -> ConfigurationError:
    return ConfigurationError(f"{key} is {value!r}; it takes {takes}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _url(key: str, value: Any) -> str:
    takes = "an absolute http or https URL without query or fragment"
    if not isinstance(value, str):
        raise _wrong(key, value, takes)
    if "@" in value.partition("://")[2].partition("/")[0]:
        # Looked for first, so that no message shows it.
        raise ConfigurationError(f"{key} holds a credential; give it through @dualstorage.upstream_auth instead.")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise _wrong(key, value, takes) from None
    if not usable or "?" in value or "#" in value:
        raise _wrong(key, value, takes)
    return value.rstrip("/")


_DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg", "mariadb": "pymysql", "mysql": "pymysql"}


def _database_url(key: str, value: Any) -> str:
    takes = "an SQLAlchemy URL of SQLite (a file), PostgreSQL or MariaDB"
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        # Without the value, which may hold a password.
        raise ConfigurationError(f"{key} is no database URL; it takes {takes}.") from None
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS:
        raise ConfigurationError(f"{key} names {backend!r}; it takes {takes}.")
    if driver not in ("", _DRIVERS[backend]):
        raise ConfigurationError(f"{key} names the driver {driver!r}; it takes {backend}+{_DRIVERS[backend]}://….")
    if backend == "sqlite" and (url.database in (None, "", ":memory:") or str(url.database).startswith("file:")):
        raise _wrong(key, str(url), takes + "; a database in memory would lose accepted writes")
    return url.set(drivername=f"{backend}+{_DRIVERS[backend]}").render_as_string(hide_password=False)


def _seconds(key: str, value: Any) -> float:
    if not _is_number(value) or not 0 <= value < 1e10:
        raise _wrong(key, value, "a number of seconds, 0 or more")
    return float(value)


def _lifetime(key: str, value: Any) -> float:
    # To every cache a timeout of 0 means "for ever".
    if _seconds(key, value) < 1:
        raise _wrong(key, value, "a number of seconds, 1 or more")
    return float(value)


def _seconds_or_none(key: str, value: Any) -> float | None:
    return None if value is None else _seconds(key, value)


def _is_wait(value: Any) -> bool:
    return _is_number(value) and 0 < value < 1e10


def _timeout(key: str, value: Any) -> tuple[float, float]:
    pair = (value, value) if _is_number(value) else value
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(map(_is_wait, pair))):
        raise _wrong(key, value, "a pair of seconds, (to connect, for the whole answer), both above 0")
    return (float(pair[0]), float(pair[1]))


def _count(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(key, value, "a whole number, 1 or more")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, value, "True or False")
    return value


def _honours_keys(key: str, value: Any) -> bool | float:
    if isinstance(value, bool):
        return value
    if _is_wait(value):
        return float(value)
    raise _wrong(key, value, "True, False, or for how many seconds the upstream remembers a key")


def _dialect(key: str, value: Any) -> Dialect | None:
    if value is None or isinstance(value, Dialect):
        return value
    raise _wrong(key, value, "a flask_dualstorage.Dialect, such as dialects.drf, or None")


def _header_name(key: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value and value.replace("-", "").isalnum() and value.isascii()):
        return value
    raise _wrong(key, value, "the name of a header, or None to send none")


def _offline_codes(key: str, value: Any) -> OfflineCodes:
    if callable(value):
        return value  # type: ignore[no-any-return]  # a callable of the app's: checked when it answers
    if isinstance(value, list | tuple | set | frozenset) and all(
        isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 599 for code in value
    ):
        return frozenset(value)
    raise _wrong(key, value, "a list of HTTP statuses, or a callable that takes the response and gives one")


def _one_of(*allowed: str) -> Callable[[str, Any], str]:
    def check(key: str, value: Any) -> str:
        if value not in allowed:
            raise _wrong(key, value, " or ".join(repr(name) for name in allowed))
        return str(value)

    return check


def _conflict(key: str, value: Any) -> Any:
    if callable(value) or value in ("merge", "client", "server", "manual"):
        return value
    takes = "'merge', 'client', 'server', 'manual', or a callable (base, mine, theirs) that gives the merged record"
    raise _wrong(key, value, takes)


def _prefix(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or (len(value) > 1 and value.endswith("/")):
        raise _wrong(key, value, "a path that begins with '/' and does not end with one")
    return value


def _upstreams(key: str, value: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and name and isinstance(options, Mapping) for name, options in value.items()
    ):
        raise _wrong(key, value, "a dict of upstreams by name, each a dict with at least 'url'")
    if "default" in value:
        raise ConfigurationError(f"{key} names 'default': that one is {PREFIX}UPSTREAM_URL.")
    return value


def _path_or_none(key: str, value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value.startswith("/") and value.isascii() and " " not in value):
        return value
    raise _wrong(key, value, "a path below the upstream's URL that begins with '/', such as '/me'; or None")


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "UPSTREAM_URL": _url,
    "UPSTREAMS": _upstreams,
    "DATABASE_URL": _database_url,
    "OFFLINE_STATUS_CODES": _offline_codes,
    "TIMEOUT": _timeout,
    "MAX_AGE": _seconds,
    "STALE_WHILE_REVALIDATE": _seconds,
    "STALE_IF_ERROR": _seconds_or_none,
    "CACHE_TIMEOUT": _lifetime,
    "WHEN_DIRTY": _one_of("local", "rebase"),
    "CONFLICT": _conflict,
    "IN_DOUBT": _one_of("auto", "resend", "hold"),
    "MAX_ATTEMPTS": _count,
    "IDEMPOTENCY_HEADER": _header_name,
    "HONOURS_KEYS": _honours_keys,
    "CREDENTIAL_PROBE": _path_or_none,
    "DIALECT": _dialect,
    "BREAKER_THRESHOLD": _count,
    "BREAKER_COOLDOWN": _seconds,
    "SYNC_BUDGET": _seconds,
    "SYNC_CONCURRENCY": _count,
    "MAX_PENDING": _count,
    "MAX_RECORD_BYTES": _count,
    "MAX_RESPONSE_BYTES": _count,
    "KEEP_APPLIED": _seconds,
    "AUTO_SYNC": _one_of("off", "after_response"),
    "URL_PREFIX": _prefix,
    "REGISTER_BLUEPRINT": _flag,
    "STRICT_COLLECTIONS": _flag,
}
