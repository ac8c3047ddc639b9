"""The base storage: envelopes in Flask-Caching, encoded by us. A miss is always safe, an error is a miss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import orjson
from sqlalchemy.engine import make_url

from ..errors import ConfigurationError
from ..logs import log
from ..policy.freshness import is_ahead
from ..policy.views import newer
from ..types import WHOLE, Envelope, PageInfo

#: So many lists with parameters are remembered of a store, so that a record can be looked for in them.
MAX_QUERIES = 30
#: Under this name; no query begins so.
_QUERIES = "\1queries"
#: Anonymous owners' bases are kept at most this long, seconds.
ANONYMOUS_TIMEOUT = 3600.0


class Backend(Protocol):
    """What we need of a cache: Flask-Caching's ``Cache`` and its backends have it."""

    def get(self, key: str) -> Any:
        """Give the value, None where there is none."""

    def set(self, key: str, value: Any, timeout: int | None = None) -> Any:
        """Keep the value for ``timeout`` seconds."""

    def delete(self, key: str) -> Any:
        """Forget the value."""


class Bases:
    """The cached envelopes of every owner. ``find`` gives the backend at first use, in any order of ``init_app``.

    ``namespace`` tells this app from others that use the same cache.
    """

    def __init__(self, namespace: str, find: Callable[[], Backend], timeout: float) -> None:
        self._namespace = namespace
        self._find = find
        self._timeout = timeout
        self._backend: Backend | None = None

    @property
    def backend(self) -> Backend:
        """The cache that is used."""
        if self._backend is None:
            self._backend = self._find()
        return self._backend

    def get(self, owner: str, store: str, query: str = "") -> Envelope | None:
        """Read one envelope, of whatever epoch: the caller compares it with the owner's."""
        backend = self.backend
        try:
            value = backend.get(self._key(owner, store, query))
        except Exception as error:  # noqa: BLE001  # whatever a cache's driver raises, a page must not fail for it
            log.warning("cache read failed, taken as a miss: %s: %s", type(error).__name__, error)
            return None
        return None if value is None else _decode(value)

    def put(self, owner: str, store: str, envelope: Envelope, query: str = "", now: float = math.inf) -> None:
        """Keep an envelope, unless one is there whose request began later; that can not have been after ``now``."""
        there = self.get(owner, store, query)
        is_rival = there is not None and there.epoch == envelope.epoch and not is_ahead(there, now)
        if is_rival and newer(envelope, there) is not envelope:
            return
        self._set(owner, store, query, lambda: _encode(envelope))

    def _set(self, owner: str, store: str, query: str, value: Callable[[], bytes]) -> None:
        timeout = min(self._timeout, ANONYMOUS_TIMEOUT) if owner.startswith("anon:") else self._timeout
        backend = self.backend
        try:
            # Rounded up: a timeout of 0 would mean "for ever" to every backend.
            kept = backend.set(self._key(owner, store, query), value(), timeout=math.ceil(timeout))
            if kept is False:
                log.warning("cache write failed, nothing is cached: the backend did not take it")
        except Exception as error:  # noqa: BLE001  # a backend that fails, or a value too large for it, is a miss later on
            log.warning("cache write failed, nothing is cached: %s: %s", type(error).__name__, error)

    def queries(self, owner: str, store: str) -> list[str]:
        """Name the lists with parameters that were kept of a store, as far as is known; some may be gone."""
        backend = self.backend
        try:
            value = backend.get(self._key(owner, store, _QUERIES))
            names = [] if value is None else orjson.loads(value)
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("cache read failed, taken as a miss: %s: %s", type(error).__name__, error)
            return []
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def note_query(self, owner: str, store: str, query: str) -> None:
        """Remember that a list was kept; of two that are noted at once one may be forgotten until it is kept again."""
        known = self.queries(owner, store)
        if query in known:
            return
        self._set(owner, store, _QUERIES, lambda: orjson.dumps([*known, query][-MAX_QUERIES:]))

    def forget(self, owner: str, store: str, query: str = "") -> None:
        """Drop one envelope."""
        self._delete(self._key(owner, store, query))

    # --- what the workers tell each other -------------------------------------------------------------------------

    @contextmanager
    def claimed(self, owner: str, store: str, query: str, clock: Callable[[], float], seconds: float) -> Iterator[bool]:
        """Within the block fetch an envelope for all workers, for at most ``seconds``; False: another one does so.

        ``clock`` is the one that the workers share. True also where the cache can not tell.
        """
        key = self._key(owner, store, query) + ":claim"
        until = clock() + seconds
        mine = self._claim(key, clock(), until, seconds)
        try:
            yield mine
        finally:
            if mine and clock() < until:
                self._delete(key)

    def _claim(self, key: str, now: float, until: float, seconds: float) -> bool:
        add = getattr(self.backend, "add", None)
        if add is None:
            return True
        try:
            if add(key, until, timeout=math.ceil(seconds)):
                return True
            # The end is looked at here too: to add() of some backends, what is over is still there.
            there = self.backend.get(key)
            if isinstance(there, int | float) and there > now:
                return False
            self.backend.delete(key)
            return bool(add(key, until, timeout=math.ceil(seconds)))
        except Exception as error:  # noqa: BLE001  # as in get: each worker then asks by itself
            log.warning("cache claim failed, taken as ours: %s: %s", type(error).__name__, error)
            return True

    def open_for(self, upstream: str, now: float) -> float:
        """Give for how many seconds some worker's breaker for an upstream is open yet; 0 where none says so.

        Never longer than that worker said: the clocks of two hosts may differ.
        """
        try:
            # Also that there is no cache to be had: it is a write that looks here, and it needs none.
            value = self.backend.get(self._breaker_key(upstream))
        except Exception as error:  # noqa: BLE001  # as in get: each worker then finds out by itself
            log.warning("cache read failed, taken as a miss: %s: %s", type(error).__name__, error)
            return 0.0
        try:
            until, seconds = map(float, str(value).split())
        except ValueError:
            return 0.0
        return max(0.0, min(until - now, seconds))

    def put_open_until(self, upstream: str, until: float, seconds: float) -> None:
        """Let the other workers know that an upstream's breaker is open ``until``, ``seconds`` from now."""
        try:
            self.backend.set(self._breaker_key(upstream), f"{until} {seconds}", timeout=math.ceil(seconds))
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("cache write failed, other workers find out by themselves: %s: %s", type(error).__name__, error)

    def forget_open_until(self, upstream: str) -> None:
        """Let the other workers know that an upstream answers again."""
        self._delete(self._breaker_key(upstream))

    def _breaker_key(self, upstream: str) -> str:
        return f"dualstorage:{self._namespace}:breaker:{_hash(upstream)}"

    def _delete(self, key: str) -> None:
        try:
            self.backend.delete(key)
        except Exception as error:  # noqa: BLE001  # as above; what is there then ends by its timeout
            log.warning("cache delete failed: %s: %s", type(error).__name__, error)

    def _key(self, owner: str, store: str, query: str) -> str:
        return f"dualstorage:{self._namespace}:{_hash(f'{owner}{chr(0)}{store}{chr(0)}{query}')}"


def namespace_of(app_name: str, database_url: str, upstream_url: str) -> str:
    """Name an app among those that use one cache: many are called ``app``, and their users ``1`` and ``2``.

    It is the same for all workers, which share the outbox; a password or driver that changes is no other app.
    """
    outbox = make_url(database_url)
    place = (outbox.get_backend_name(), outbox.host, outbox.port, outbox.database, upstream_url)
    return f"{app_name}:{_hash(repr(place))[:16]}"


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _encode(envelope: Envelope) -> bytes:
    return orjson.dumps(
        [
            envelope.epoch,
            envelope.began,
            envelope.asked_at,
            envelope.etag,
            envelope.last_modified,
            envelope.validators,
            envelope.records,
            None if envelope.page == WHOLE else envelope.page,
        ]
    )


def _decode(value: Any) -> Envelope | None:
    """Decode what a cache gave back; anything that is no envelope of ours is a miss."""
    try:
        epoch, began, asked_at, etag, last_modified, validators, records, told = orjson.loads(value)
        page = WHOLE if told is None else _page(told)
    except (ValueError, TypeError) as error:
        log.warning("cache holds something that is no envelope, taken as a miss: %s", error)
        return None
    if not (isinstance(epoch, str) and isinstance(records, list) and isinstance(validators, dict)):
        log.warning("cache holds something that is no envelope, taken as a miss")
        return None
    return Envelope(records, epoch, began, asked_at, validators, etag, last_modified, page)


def _page(told: dict[str, Any]) -> PageInfo:
    """Decode what was told of a page; JSON knows no tuples. Raises ``TypeError`` or ``ValueError``."""
    page = PageInfo(**told)
    if page.numbering is None:
        return page
    name, first, step = page.numbering
    return replace(page, numbering=(name, first, step))


def find_backend(
    caches: dict[Any, Backend], given: Any | None, instance_path: Callable[[], Path], timeout: float
) -> Backend:
    """Choose the app's own cache, or make private files in the instance folder.

    ``caches`` is ``app.extensions["cache"]``: Flask-Caching's ``Cache`` objects with their backends. Raises
    ``ConfigurationError`` where there are several and none was named.
    """
    from flask_caching.backends import FileSystemCache, NullCache

    if given is not None and given not in caches:
        raise ConfigurationError(
            "The cache given to init_app(cache=…) is not initialised on this app: cache.init_app(app)."
        )
    if given is None and len(caches) > 1:
        raise ConfigurationError("The app has several caches; name the one to use: dualstorage.init_app(app, cache=…).")
    chosen = caches[given] if given is not None else next(iter(caches.values()), None)
    if chosen is not None and not isinstance(chosen, NullCache):
        return chosen
    if chosen is not None:
        log.warning("the app's cache is a NullCache, which keeps nothing: using private files in the instance folder")
    folder = instance_path() / "dualstorage-cache"
    try:
        return FileSystemCache(str(folder), threshold=0, default_timeout=math.ceil(timeout))
    except OSError as error:
        raise ConfigurationError(
            f"The private cache folder {folder} can not be made ({error.strerror}): give the app an instance folder "
            "that can be written, or a Flask-Caching Cache."
        ) from error


def eviction_of(backend: Any) -> str | None:
    """Give Redis's ``maxmemory-policy``, None for another cache or where it may not be asked."""
    client = getattr(backend, "_read_client", None)
    if client is None:
        return None
    try:
        return str(client.config_get("maxmemory-policy").get("maxmemory-policy"))
    except Exception as error:  # noqa: BLE001  # managed servers forbid CONFIG, each driver in its own way
        log.info("the cache's eviction policy can not be asked: %s", type(error).__name__)
        return None
