"""One owner's front desk: collections, models, status, pending writes, sync."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from . import identity
from .collection import Collection, check_declarations, check_flags
from .errors import CollectionUnknown, ConfigurationError, ValidationFailed
from .model import Home, Model, ask
from .policy.coalescing import Edit
from .policy.diagnosis import Diagnosis
from .policy.routing import store_at
from .policy.values import check_attributes, check_id, copy_json
from .sync import adopting, deciding
from .sync.autosync import note_waiting
from .sync.conflicts import policy_of
from .sync.engine import Engine
from .sync.examining import Examination
from .sync.flush import everything, flush
from .sync.reports import PendingWrite, Status, SyncReport, pending_write, pending_writes, status
from .types import WAITING, Attributes, Declaration, Json, Kind, RecordId, State, Write
from .upstream.dialects import check_body

_Declared = TypeVar("_Declared", bound=type[Collection] | type[Model])
_MODEL = "model:"


@dataclass
class Registry:
    """What an app registered: collections by name, and models that stand alone."""

    collections: dict[str, type[Collection]] = field(default_factory=dict)
    models: dict[str, type[Model]] = field(default_factory=dict)

    def add(self, cls: _Declared) -> _Declared:
        """Register a class and give it back. Raises ``ConfigurationError`` for a wrong declaration or a taken name."""
        declared: object = cls
        if not (inspect.isclass(declared) and issubclass(declared, Collection | Model)):
            raise ConfigurationError(f"register takes a subclass of Collection or Model, not {cls!r}.")
        if issubclass(cls, Model):
            check_flags(cls.__name__, cls)
            self._add_to(self.models, cls.__name__, cls)
            return cls
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()
        check_declarations(cls)
        self._add_to(self.collections, cls.name, cls)
        return cls

    def _add_to(self, known: dict[str, Any], name: str, cls: type) -> None:
        if known.get(name, cls) is not cls:
            raise ConfigurationError(
                f"{name!r} is registered already, as {known[name].__qualname__}; choose another name."
            )
        known[name] = cls


@lru_cache(maxsize=256)
def _plain(name: str) -> type[Collection]:
    """Make the class of a collection that was not registered; kept, since making one costs more than a SELECT."""
    check_id(name, "collection")
    return type("Plain", (Collection,), {"name": name})


def check_scope(cls: type[Collection], hooks: Mapping[str, Any]) -> None:
    """Raise ``ConfigurationError`` where one user's view of a collection could become everybody's."""
    if cls.scope == "app" and "upstream_auth" in hooks and not cls.app_credential:
        raise ConfigurationError(
            f"{cls.__name__} has scope = 'app', and upstream_auth gives each user's own credential: what one user may "
            "see would be everybody's. Declare app_credential = True, and let upstream_auth give a credential of the "
            f"app's own for the owner {identity.APP!r}; or leave scope out."
        )


class UserStorage:
    """The storage of one owner: ``ds.for_user("alice")``; views use the current user's through ``ds`` itself."""

    def __init__(self, engine: Engine, owner: str, registry: Registry, check_nonce: Callable[[str], str]) -> None:
        self.owner = owner
        self._engine = engine
        self._registry = registry
        self._check_nonce = check_nonce

    def collection(self, name: str, /, **params: RecordId) -> Collection:
        """Give a collection of this owner; ``params`` fill its URL. The same one again within a web request.

        A name that was not registered is a plain collection at ``/name``. Raises ``CollectionUnknown`` where
        ``DUALSTORAGE_STRICT_COLLECTIONS`` forbids that, ``ValidationFailed`` for a parameter that can be no id.
        """
        checked = params and {key: check_id(value, key) for key, value in params.items()}
        memo = self._engine.memo()
        if memo is None:
            return self._make(name, checked)
        key = (self.owner, name, tuple(sorted((key, str(value)) for key, value in checked.items())))
        known: dict[Any, Collection] = memo.setdefault("collections", {})
        if key not in known:
            known[key] = self._make(name, checked)
        return known[key]

    def model(self, cls: type[Model], id: RecordId | None = None) -> Model:  # Backbone's name for it
        """Give a model that stands alone, with a ``url`` or ``url_root`` of its own.

        Raises ``ConfigurationError`` where it declares neither, or where its hooks would be lost to a flush in
        another process because it is not registered.
        """
        if cls.__name__ not in self._registry.models:
            self._registry.add(cls)
        model = cls(home=self._standalone(cls))
        if id is not None:
            model._asked_id = check_id(id)
        return model

    def status(self) -> Status:
        """Give this owner's pending writes in numbers; no request."""
        known = [upstream.online for upstream in self._engine.known_upstreams() if upstream.online is not None]
        counts = self._engine.outbox.counts(self.owner)
        if any(state in WAITING for _, state, _, _ in counts):
            note_waiting(self._engine, self.owner)
        return status(all(known) if known else None, counts)

    def pending(self) -> list[PendingWrite]:
        """Give this owner's pending writes, in order; no request."""
        return pending_writes(self._engine.outbox.pending(self.owner), lambda write: policy_of(self._engine, write))

    def write(self, id: str) -> PendingWrite | None:  # the interface's name for it
        """Give one write of this owner, pending or settled, or None. ``pending`` tells which others it waits for."""
        found = self._engine.outbox.write(self.owner, id)
        return None if found is None or found.state is State.LOCAL else self._shown(found)

    def history(self, limit: int = 100) -> list[PendingWrite]:
        """Give this owner's last ``limit`` applied and discarded writes, newest first; no request.

        They are kept for ``DUALSTORAGE_KEEP_APPLIED`` at least. A write that was withdrawn is none of them.
        """
        return [pending_write(write) for write in self._engine.outbox.settled(self.owner, limit)]

    def sync(
        self, collections: Iterable[str] | None = None, budget: float | None = None, *, explicit: bool = True
    ) -> SyncReport:
        """Send what is pending, of all collections or of those named, within ``budget`` seconds (None: no limit).

        ``explicit=False``: nobody asked for it, a scheduler as cron for instance, so that what waits after a failure
        waits on. Raises ``CollectionUnknown`` for a name that is none.
        """
        report = flush(self._engine, self.owner, chosen=self._chosen(collections), budget=budget, explicit=explicit)
        self._look_again()
        return report

    def retry(self, id: str, *, seen: str | None = None) -> PendingWrite:  # the interface's name for it
        """Let a pending write go again and try it now; gives it as it stands then.

        ``seen`` is ``PendingWrite.seen`` of what the owner was shown: nothing is decided over another state. Raises
        ``RecordGone`` where this owner has no such write, ``WriteBusy`` while it is sent, or is not as it was seen.
        """
        write = deciding.retry(self._engine, self.owner, id, seen)
        self._look_again()
        return self._shown(write)

    def edit(
        self, id: str, attributes: Mapping[str, Json], *, seen: str | None = None
    ) -> PendingWrite:  # the interface's name for it
        """Set attributes of a pending write and try it now, as a new request; gives the write that holds them.

        In a conflict it is as ``save``: all fields that both sides changed must be set anew. Raises as ``retry`` does,
        and ``ValidationFailed`` for what the model refuses, and for a delete.
        """
        given = check_attributes(attributes, self._engine.config.max_record_bytes)
        write = deciding.edit(self._engine, self.owner, id, given, self._checked, seen)
        self._look_again()
        return self._shown(write)

    def resolve(
        self, id: str, decided: Mapping[str, Json] | str, *, seen: str | None = None
    ) -> PendingWrite:  # the interface's name for it
        """Decide over a write in conflict, and try it now: ``"mine"``, ``"theirs"``, or what the fields shall be.

        Fields that both sides changed must be named; what only one side changed is combined. ``"theirs"`` gives mine
        up, and keeps it in the history; ``"mine"`` makes a record anew that is gone upstream. Raises as ``edit`` does.
        """
        if isinstance(decided, str) and decided not in (deciding.MINE, deciding.THEIRS):
            raise ValidationFailed({"choice": f"{decided!r} is no choice; it takes 'mine', 'theirs', or attributes."})
        limit = self._engine.config.max_record_bytes
        given = decided if isinstance(decided, str) else check_attributes(decided, limit)
        write = deciding.resolve(self._engine, self.owner, id, given, self._checked, seen)
        self._look_again()
        return self._shown(write)

    def _shown(self, write: Write) -> PendingWrite:
        return pending_write(write, policy_of(self._engine, write))

    def _checked(self, write: Write, attributes: Attributes) -> tuple[Declaration, Attributes]:
        """Check what a pending write would hold, as ``save`` does. Raises ``ValidationFailed``."""
        declared = self.declaration(write)
        key = declared.key_attribute
        if key is not None and str(attributes.get(key, write.record_id)) != str(write.record_id):
            raise ValidationFailed({key: f"A record's id can not change; this one is {write.record_id!r}."})
        checked = check_attributes(attributes, self._engine.config.max_record_bytes)
        wrong = self._model_of(write).validate(checked)
        if wrong:
            raise ValidationFailed(wrong)
        check_body(declared, Edit(Kind.UPDATE, checked))
        return declared, checked

    def _model_of(self, write: Write) -> Model:
        if write.collection.startswith(_MODEL):
            cls = self._registry.models[write.collection.removeprefix(_MODEL)]
            return cls(write.attributes, home=self._standalone(cls))
        if not write.collection:
            return Model(write.attributes)
        return self._make(write.collection, write.params).new(write.attributes)

    def discard(self, id: str, *, seen: str | None = None) -> list[PendingWrite]:  # the interface's name for it
        """Give a pending write up, with what is nested under it; gives all that went. Raises as ``retry`` does."""
        gone = deciding.discard(self._engine, self.owner, id, seen)
        self._look_again()
        return [pending_write(write) for write in gone]

    def adopt(self, from_owner: str, to_owner: str) -> None:
        """Move what one owner has pending to another, in the app's log-in view; later writes of the first follow."""
        adopting.adopt(self._engine, identity.normalise(from_owner), identity.normalise(to_owner))
        self._look_again()

    def forget(self, owner: str, pending: bool = False) -> None:
        """Forget an owner's cached copies, in every worker; with ``pending`` all that they wrote here too."""
        with self._engine.outbox.transaction(identity.normalise(owner), follow=False) as change:
            change.new_epoch()
            change.hide_history()
            if pending:
                change.erase()
        self._engine.forget_reads()

    def examine(self, name: str, record: Attributes | None = None, /, **params: RecordId) -> Diagnosis:
        """Ask a collection's upstream what it can do (``flask dualstorage doctor``); with ``record``, try writes too.

        Raises what ``upstream_auth`` raised, and ``CollectionUnknown``.
        """
        declared = self.collection(name, **params)._declare()
        return Examination(self._engine, self.owner, declared).run(record)

    def declaration(self, write: Write) -> Declaration:
        """Find what a stored write was declared as. Raises ``CollectionUnknown`` where it is not known here."""
        if write.collection.startswith(_MODEL):
            cls = self._registry.models.get(write.collection.removeprefix(_MODEL))
            if cls is None:
                raise CollectionUnknown(_not_here(write))
            return self._standalone(cls).declared()
        if write.collection:
            if write.collection not in self._registry.collections:
                raise CollectionUnknown(_not_here(write))
            return self._make(write.collection, write.params).declared_for(write)
        config = self._engine.config
        dialect = self._engine.dialect(write.upstream)
        return Declaration(
            "",
            write.store,
            write.url,
            upstream=write.upstream,
            id_attribute=dialect.id_attribute,
            dialect=dialect,
            in_doubt=config.in_doubt,
            conflict=self._engine.conflict_policy(),
        )

    def _make(self, name: str, params: Mapping[str, RecordId]) -> Collection:
        cls = self._registry.collections.get(name)
        if cls is not None:
            owner = self._owner_of(cls)
            return cls(self._engine, owner, params, self._check_nonce, registered=True)
        if self._engine.config.strict_collections:
            known = ", ".join(sorted(self._registry.collections)) or "none"
            raise CollectionUnknown(f"No collection {name!r} is registered; there are: {known}.")
        return _plain(name)(self._engine, self.owner, params, self._check_nonce, registered=False)

    def _owner_of(self, cls: type[Collection]) -> str:
        """Give whose copies these are."""
        if cls.scope != "app":
            return self.owner
        check_scope(cls, self._engine.hooks)
        return identity.APP

    def _chosen(self, names: Iterable[str] | None) -> Callable[[Write], bool]:
        if names is None:
            return everything
        wanted = set(names)
        unknown = wanted - set(self._registry.collections)
        plain = {f"/{name}" for name in unknown}
        if unknown and self._engine.config.strict_collections:
            raise CollectionUnknown(f"No collection {sorted(unknown)[0]!r} is registered.")
        return lambda write: write.collection in wanted or (not write.collection and write.store in plain)

    def _look_again(self) -> None:
        self._engine.forget_reads()
        memo = self._engine.memo()
        for collection in ({} if memo is None else memo.get("collections", {})).values():
            collection.look_again()

    def _standalone(self, cls: type[Model]) -> Home:
        return Standalone(self._engine, self.owner, self._check_nonce, cls)


class Standalone(Home):
    """The home of a model that is in no list. Raises ``ConfigurationError`` where it declares no URL."""

    __slots__ = ("_blank", "_cls", "_path", "_singleton", "_store")

    def __init__(self, engine: Engine, owner: str, check_nonce: Callable[[str], str], cls: type[Model]) -> None:
        super().__init__(engine, owner, check_nonce)
        self._cls, self._blank = cls, cls()
        url, root = ask(self._blank.url), ask(self._blank.url_root)
        if url is None and root is None:
            raise ConfigurationError(f"{cls.__name__} stands alone and has neither url nor url_root; declare one.")
        self._path = "/" + str(root if url is None else url).strip("/")
        self._store = store_at("/" + str(root or url).strip("/"), cls.upstream)
        self._singleton = url is not None

    def declared(self) -> Declaration:
        """Say what the model declares."""
        cls, config = self._cls, self.engine.config
        dialect = self.engine.dialect(cls.upstream)
        return Declaration(
            collection=_MODEL + cls.__name__,
            store=str(ask(self._blank.store_name) or self._store),
            url=self._path,
            upstream=cls.upstream,
            id_attribute=cls.id_attribute or dialect.id_attribute,
            dialect=dialect,
            singleton=self._singleton,
            when_dirty=config.when_dirty,
            in_doubt=config.in_doubt,
            max_age=config.max_age,
            stale_while_revalidate=config.stale_while_revalidate,
            conflict=self.engine.conflict_policy(),
            parse_record=lambda response: self._blank.parse(self._blank.parse_before_local_save(response)),
            serialize=lambda attributes: cls(copy_json(attributes)).to_json(),
        )

    def is_local(self) -> bool:
        """Ask the model."""
        return bool(ask(self._blank.local))

    def is_remote(self) -> bool:
        """Ask the model."""
        return bool(ask(self._blank.remote))


def _not_here(write: Write) -> str:
    name = write.collection.removeprefix(_MODEL)
    return f"{name!r} is not registered in this process, so its changes wait; import the module that declares it."


__all__ = ["Attributes", "Json", "PendingWrite", "Registry", "Status", "SyncReport", "UserStorage"]
