"""DualStorage: ``init_app``, ``app.extensions["dualstorage"]``, and the decorators."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask, Response, current_app, has_request_context, request

from . import identity, tokens
from .collection import Collection
from .config import Config, read_config
from .errors import ConfigurationError, OutboxUnavailable, RecordGone
from .model import Model
from .policy.diagnosis import Diagnosis, Setup, about_setup
from .storage.base import Backend, Bases, eviction_of, find_backend, namespace_of
from .storage.database import Database
from .storage.outbox import Outbox
from .sync.after import After
from .sync.autosync import AutoSync
from .sync.engine import Engine
from .sync.reports import PendingWrite, Status, SyncReport
from .types import PENDING, Declaration, Json, RecordId, Write
from .user_storage import Registry, UserStorage, check_scope
from .web.blueprint import create_blueprint
from .web.globals import TemplateGlobal
from .web.typed import Typed, asked_for, typed_of

_Declared = TypeVar("_Declared", bound=type[Collection] | type[Model])
_Hook = TypeVar("_Hook", bound=Callable[..., Any])
_MEMO = "flask_dualstorage.memo"


class _Desk:
    """What ``app.extensions["dualstorage"]`` and the importable object have in common: the current owner's storage."""

    def _bound(self) -> AppDualStorage:
        raise LookupError("a desk belongs to an app")

    @property
    def owner(self) -> str:
        """The current owner: ``user:<id>``, or ``anon:<random>`` for an anonymous session."""
        return self._bound()._current_owner()

    def for_user(self, owner: str) -> UserStorage:
        """Give any owner's storage: for jobs and scripts. A bare name means ``user:<name>``."""
        return self._bound()._storage(identity.normalise(owner))

    def collection(self, name: str, /, **params: RecordId) -> Collection:
        """Give a collection of the current owner's; see ``UserStorage.collection``."""
        return self._mine().collection(name, **params)

    def model(self, cls: type[Model], id: RecordId | None = None) -> Model:  # Backbone's name for it
        """Give a model that stands alone, of the current owner's."""
        return self._mine().model(cls, id)

    def status(self) -> Status:
        """Give the current owner's pending writes in numbers."""
        return self._mine().status()

    def pending(self) -> list[PendingWrite]:
        """Give the current owner's pending writes."""
        return self._mine().pending()

    def write(self, id: str) -> PendingWrite | None:  # the interface's name for it
        """Give one write of the current owner's, pending or settled; None where there is none."""
        return self._mine().write(id)

    def typed(self) -> Typed | None:
        """Give what was typed for the write that this request names, for the app's own form to show it again.

        ``id``, ``attributes``, and ``errors`` by field. None where the query or the form (``dualstorage_write``) names
        no pending write of the current owner's.
        """
        write_id = asked_for()
        write = None if write_id is None else self.write(write_id)
        return None if write is None or write.state not in PENDING else typed_of(write)

    def history(self, limit: int = 100) -> list[PendingWrite]:
        """Give what became of the current owner's writes, newest first; see ``UserStorage.history``."""
        return self._mine().history(limit)

    def sync(self, collections: Iterable[str] | None = None, budget: float | None = None) -> SyncReport:
        """Send what the current owner has pending."""
        return self._mine().sync(collections, budget)

    def retry(self, id: str, *, seen: str | None = None) -> PendingWrite:  # the interface's name for it
        """Let a pending write of the current owner's go again."""
        return self._mine().retry(id, seen=seen)

    def edit(
        self, id: str, attributes: Mapping[str, Json], *, seen: str | None = None
    ) -> PendingWrite:  # the interface's name for it
        """Set attributes of a pending write of the current owner's; see ``UserStorage.edit``."""
        return self._mine().edit(id, attributes, seen=seen)

    def resolve(
        self, id: str, decided: Mapping[str, Json] | str, *, seen: str | None = None
    ) -> PendingWrite:  # the interface's name for it
        """Decide over a conflict of the current owner's; see ``UserStorage.resolve``."""
        return self._mine().resolve(id, decided, seen=seen)

    def discard(self, id: str, *, seen: str | None = None) -> list[PendingWrite]:  # the interface's name for it
        """Give up a pending write of the current owner's."""
        return self._mine().discard(id, seen=seen)

    def adopt(self, from_owner: str, to_owner: str) -> None:
        """Move what one owner has pending to another: one line in the app's log-in view.

        The browser's anonymous id, if it is the one that was adopted, is given up: whoever uses it after the log-out
        is somebody new, whose writes must not follow into this account.
        """
        self.for_user(to_owner).adopt(from_owner, to_owner)
        identity.give_up_anonymous(from_owner)

    def forget(self, owner: str, pending: bool = False) -> None:
        """Forget an owner's cached copies: one line in the app's log-out view."""
        self.for_user(owner).forget(owner, pending)

    def _mine(self) -> UserStorage:
        bound = self._bound()
        return bound._storage(bound._current_owner())


class DualStorage(_Desk):
    """The extension: create one, register collections on it, and ``init_app`` each app.

    The importable object finds its app through ``current_app``; ``app.extensions["dualstorage"]`` is bound to its
    app and needs no context.
    """

    def __init__(self, app: Flask | None = None, *, cache: Any | None = None) -> None:
        self.registry = Registry()
        self._hooks: dict[str, Callable[..., Any]] = {}
        if app is not None:
            self.init_app(app, cache=cache)

    def init_app(self, app: Flask, *, cache: Any | None = None) -> None:
        """Set up one app: read and check its config, add the blueprint, the templates and the CLI.

        ``cache`` names the Flask-Caching ``Cache`` to use where the app has several. Raises ``ConfigurationError``
        for a wrong key, ``RuntimeError`` for an app that is set up already.
        """
        if "dualstorage" in app.extensions:
            raise RuntimeError("This app has a DualStorage already; call init_app once for each app.")
        config = read_config(app.config, app.instance_path)
        self._check_collections(config)
        app.extensions["dualstorage"] = AppDualStorage(app, config, self.registry, self._hooks, cache)
        app.register_blueprint(create_blueprint(config.url_prefix if config.register_blueprint else None))
        app.jinja_env.globals["dualstorage"] = TemplateGlobal()

    def _check_collections(self, config: Config) -> None:
        declared = list(self.registry.collections.values())
        if not config.upstreams and not (declared and all(each.local is True for each in declared)):
            raise ConfigurationError(
                "DUALSTORAGE_UPSTREAM_URL is not set. Give the base URL of the API whose records the app shows, "
                'for example app.config["DUALSTORAGE_UPSTREAM_URL"] = "https://crm.example/api".'
            )
        for each in declared:
            check_scope(each, self._hooks)
            if each.local is not True and each.upstream not in config.upstreams:
                raise ConfigurationError(
                    f"{each.__name__}.upstream is {each.upstream!r}, but DUALSTORAGE_UPSTREAMS has only: "
                    f"{', '.join(sorted(config.upstreams))}."
                )

    def register(self, cls: _Declared) -> _Declared:
        """Register a Collection, or a Model that stands alone; gives it unchanged. Raises ``ConfigurationError``."""
        return self.registry.add(cls)

    def user_loader(self, hook: _Hook) -> _Hook:
        """Name the hook that tells who the current user is: ``() -> str | None``, None for an anonymous visitor."""
        return self._set("user_loader", hook)

    def upstream_auth(self, hook: _Hook) -> _Hook:
        """Name the hook ``(owner, upstream) -> requests auth | headers | None`` that gives an owner's credential."""
        return self._set("upstream_auth", hook)

    def reconcile(self, hook: _Hook) -> _Hook:
        """Name the hook ``(write, reader) -> record | None`` that finds what a create in doubt made.

        ``reader.get(path, params=None)`` reads the upstream under the owner's credential. None: it made nothing, and
        goes again.
        """
        return self._set("reconcile", hook)

    def on_conflict(self, hook: _Hook) -> _Hook:
        """Name the hook ``(base, mine, theirs) -> merged | Conflict`` for collections that declare no ``conflict``.

        Each is a record, or None: ``mine`` of a delete, ``theirs`` where the record is gone, ``base`` where it is not
        known. It gives the record as it shall be, None where one side is None and it shall be so, or ``Conflict``.
        """
        return self._set("on_conflict", hook)

    def _set(self, name: str, hook: _Hook) -> _Hook:
        self._hooks[name] = hook
        return hook

    def _bound(self) -> AppDualStorage:
        bound: AppDualStorage | None = current_app.extensions.get("dualstorage")
        if bound is None or not bound.belongs_to(self.registry):
            raise RuntimeError(
                "The current app was not set up with this DualStorage. Did you forget to call 'init_app'?"
            )
        return bound


class AppDualStorage(_Desk):
    """``app.extensions["dualstorage"]``: one app's storage, for any owner, with or without an app context."""

    def __init__(
        self, app: Flask, config: Config, registry: Registry, hooks: dict[str, Callable[..., Any]], cache: Any | None
    ) -> None:
        self.config = config
        self._app = app
        self.registry = registry
        self._hooks = hooks
        database = Database(config.database_url, time.time)
        default = config.upstreams.get("default")
        namespace = namespace_of(app.name, config.database_url, "" if default is None else default.url)
        self.engine = Engine(
            app=app,
            config=config,
            clock=time.time,
            ticks=time.monotonic,
            outbox=Outbox(database),
            bases=Bases(namespace, lambda: self._find_cache(cache), config.cache_timeout),
            declaration=self._declaration,
            hooks=hooks,
            memo=self._memo,
            after=After(time.monotonic, lambda: app.testing, database.leave),
        )
        self._auto_sync = AutoSync(self.engine)
        app.after_request(self._let_go)

    def belongs_to(self, registry: Registry) -> bool:
        """Say whether this is the app-bound side of the ``DualStorage`` that holds ``registry``."""
        return self.registry is registry

    def owners(self, due: bool = False) -> list[str]:
        """Name the owners who have pending writes; with ``due`` only those with one that may be sent by now."""
        return self.engine.outbox.due_owners() if due else self.engine.outbox.owners()

    def owner_of(self, write_id: str) -> str:
        """Name whose pending write this is. Raises ``RecordGone`` where there is none."""
        found = self.engine.outbox.owner_of(write_id)
        if found is None:
            raise RecordGone(f"There is no pending write {write_id!r}.")
        return found

    def init_db(self) -> None:
        """Create the outbox's tables where they are not there yet (``flask dualstorage init-db``)."""
        self.engine.outbox.database.prepare(create=True)

    def examine_setup(self) -> Diagnosis:
        """Say what of this app's set-up is risky with several workers, or in an outage; no request upstream."""
        diagnosis = Diagnosis()
        backend: Any = self.engine.bases.backend
        deadlines = [upstream.timeout[1] for upstream in self.config.upstreams.values()]
        setup = Setup(
            cache=type(backend).__name__,
            threshold=getattr(backend, "_threshold", None),
            database=self.config.database_url.partition(":")[0].partition("+")[0],
            has_secret_key=bool(self._app.secret_key),
            total_timeout=max(deadlines, default=0.0),
            eviction=eviction_of(backend),
        )
        about_setup(diagnosis, setup)
        return diagnosis

    def _bound(self) -> AppDualStorage:
        return self

    def _storage(self, owner: str) -> UserStorage:
        return UserStorage(self.engine, owner, self.registry, self._check_nonce)

    def _current_owner(self) -> str:
        return identity.current_owner(self._app, self._hooks.get("user_loader"))

    def _check_nonce(self, nonce: str) -> str:
        return tokens.check_nonce(self._app, nonce)

    def _declaration(self, write: Write) -> Declaration:
        return self._storage(write.owner).declaration(write)

    def _memo(self) -> MutableMapping[str, Any] | None:
        """Give what is remembered for this web request; in its environ, since ``g`` may outlive it in a test."""
        if not has_request_context():
            return None
        memos: dict[int, dict[str, Any]] = request.environ.setdefault(_MEMO, {})
        return memos.setdefault(id(self), {})

    def _let_go(self, response: Response) -> Response:
        """Begin what this web request left to be done, when its response is out: not before it is closed."""
        environ = request.environ
        if _MEMO not in environ and not response.is_streamed:
            return response

        memo = environ.get(_MEMO, {}).get(id(self))
        if memo is not None:
            self._auto_sync.leave(memo)

        def begin() -> None:
            memo = environ.get(_MEMO, {}).get(id(self))
            if memo is not None:
                self.engine.after.start(memo)

        if response.direct_passthrough:
            # The server is given the file itself, and never closes the response.
            begin()
        else:
            response.call_on_close(begin)
        return response

    def _find_cache(self, given: Any | None) -> Backend:
        caches: dict[Any, Backend] = self._app.extensions.get("cache", {})
        return find_backend(caches, given, self._instance_folder, self.config.cache_timeout)

    def _instance_folder(self) -> Path:
        folder = Path(self._app.instance_path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutboxUnavailable(f"The instance folder {folder} can not be made: {error.strerror}.") from error
        return folder
