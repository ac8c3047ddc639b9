"""Collection: what it declares, and the verbs that views call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, overload
from urllib.parse import quote
from weakref import ref

from werkzeug.exceptions import NotFound

from .dialect import Dialect
from .errors import ConfigurationError, ValidationFailed
from .model import Freshness, Home, Model, Timeout, ask, load, numbered, seconds
from .policy.listing import matches_by_fields
from .policy.merging import is_policy
from .policy.paging import Page, page_of
from .policy.routing import store_at
from .policy.values import check_id, copy_json, has_all
from .policy.views import Seen, key_of
from .sync import freshening, reading
from .sync.engine import Engine
from .sync.flush import flush
from .sync.reports import SyncReport
from .sync.subject import ONLY_PENDING, Fetch, Loaded, Subject
from .types import PENDING, Attributes, Declaration, Json, Kind, RecordId, Write

_PLAINLY = Fetch()
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Collection:
    """A list of records of one upstream URL, for one owner. Subclass it to declare, and ``register`` it.

    ``ds.collection(name)`` makes it. In brackets the Backbone names: ``store_name`` [storeName], ``id_attribute``
    [idAttribute]; ``url``, ``store_name``, ``local``, ``remote`` and ``headers`` may be methods.
    """

    name: ClassVar[str] = ""
    url: ClassVar[Any] = None
    store_name: ClassVar[Any] = None
    model: ClassVar[type[Model]] = Model
    local: ClassVar[Any] = False
    remote: ClassVar[Any] = False
    upstream: ClassVar[str] = "default"
    id_attribute: ClassVar[str | None] = None
    dialect: ClassVar[Dialect | None] = None
    when_dirty: ClassVar[str | None] = None
    max_age: ClassVar[float | None] = None
    stale_while_revalidate: ClassVar[float | None] = None
    conflict: ClassVar[Any] = None
    in_doubt: ClassVar[str | None] = None
    coalesce: ClassVar[bool] = True
    version_attribute: ClassVar[str | None] = None
    read_before_write: ClassVar[bool] = False
    headers: ClassVar[Any] = None
    #: Let ``model.others_pending`` tell that another owner has a pending write of the same record; never whose or what.
    foresight: ClassVar[bool] = False
    #: The endpoint of the app's own form for a record, to which the pending page leads back (``ds.typed``).
    edit_endpoint: ClassVar[str | None] = None
    #: ``"app"``: read-only data that is the same for everybody, cached once for all users.
    scope: ClassVar[str] = "user"
    #: With ``scope = "app"``: ``upstream_auth`` gives the app's own credential for it, asked for with ``"app:"``.
    app_credential: ClassVar[bool] = False

    def __init__(
        self,
        engine: Engine,
        owner: str,
        params: Mapping[str, RecordId],
        check_nonce: Any,
        *,
        registered: bool,
    ) -> None:
        self.params = dict(params)
        self._engine = engine
        self._owner = owner
        self._registered = registered
        self._fetch = _PLAINLY
        self._loaded: Loaded | None = None
        self._models: dict[int, Model] = {}
        self._places: dict[str, int] | None = None
        self._stale = False
        self._declared: Declaration | None = None
        self._home = _Shelf(self, check_nonce)

    def __del__(self) -> None:
        mine = vars(self)
        if "_home" in mine and len(mine) > len(_OURS):
            self._home.left = {name: value for name, value in mine.items() if name not in _OURS}

    # --- hooks of the app ------------------------------------------------------------------------------------

    def parse(self, response: Json) -> Json:
        """Turn what the upstream answered into the list of records [parse]; run once, before it is cached."""
        return response

    def parse_before_local_save(self, response: Json) -> Json:
        """Turn what the upstream answered into a list, before ``parse`` [parseBeforeLocalSave]."""
        return response

    def matches(self, record: Attributes, params: Mapping[str, str]) -> bool:
        """Say whether a new or edited record belongs in the list that was fetched with ``params``.

        As it is, every parameter that names a field of the record must equal it by its text, and others say nothing.
        Parameters that only choose a page are never among them.
        """
        return matches_by_fields(record, params)

    def sort_key(self, record: Attributes, params: Mapping[str, str]) -> Any:
        """Give what the list of ``params`` is ordered by, so that new and edited records find their place.

        As it is, edited records keep their place, and new ones stand last.
        """
        raise NotImplementedError

    # --- reading ---------------------------------------------------------------------------------------------

    def fetch(
        self,
        params: Mapping[str, Any] | None = None,
        *,
        remote: bool = True,
        add: bool = False,
        when_dirty: str | None = None,
        max_age: float | None = None,
        timeout: Timeout = None,
        headers: Mapping[str, str] | None = None,
        all_pages: bool = False,
    ) -> Collection:
        """Load the list, or give the copy [fetch]; see ``source``, ``age`` and ``reason`` afterwards.

        ``params`` go into the query, but those that are None, and their list is kept for itself. ``add=True`` merges
        into what is there. ``max_age`` in seconds takes a copy that is younger without asking; 0 asks in any case,
        where otherwise the same list is read once in a web request. ``all_pages=True`` reads the list to its end, or
        not at all; without it ``page`` tells of the others. Raises ``NotCached`` where nothing is here,
        ``UpstreamError`` for an error status, ``NoCredentials``, ``ConfigurationError`` where ``all_pages`` can not be.
        """
        asked = {name: value for name, value in params.items() if value is not None} if params else {}
        if all_pages:
            self._check_all_pages(asked)
        if when_dirty not in (None, "local", "rebase"):
            raise ConfigurationError(f"when_dirty is {when_dirty!r}; it takes 'local' or 'rebase'.")
        self._fetch = Fetch(
            params=asked and {name: str(numbered(self._home, value)) for name, value in asked.items()},
            add=add,
            when_dirty=when_dirty,
            max_age=max_age,
            timeout=seconds(timeout),
            headers=headers or {},
            all_pages=all_pages,
        )
        self._take(load(self._home, None, self._fetch, remote=remote))
        return self

    def _check_all_pages(self, params: Mapping[str, Any]) -> None:
        pages = self._declare().dialect.pages
        if pages is None:
            raise ConfigurationError(
                f"fetch(all_pages=True) must know how the lists of {self.name!r} are cut into pages; "
                "declare it: dialect = Dialect(pages=LinkPages()), or another of these."
            )
        for name in sorted(pages.starts() & params.keys()):
            raise ConfigurationError(f"fetch(all_pages=True) begins at the first page; leave {name!r} out of params.")

    def get(self, id: RecordId) -> Model | None:  # Backbone's name for it
        """Give one Model out of the loaded list, or None [get]. Ids are compared by their text."""
        place = self._index().get(str(id))
        if place is None:
            place = self._index().get(str(numbered(self._home, id)))
        return None if place is None else self._model_at(place)

    def load(
        self,
        id: RecordId,  # Backbone's name for it
        *,
        remote: bool = True,
        timeout: Timeout = None,
        headers: Mapping[str, str] | None = None,
    ) -> Model | None:
        """GET one record, or give its copy [Model.fetch]; None where the upstream has none.

        Raises ``ValidationFailed`` for what can be no id, and as ``fetch`` does.
        """
        record_id = check_id(id, self._declare().id_attribute)
        options = Fetch(timeout=seconds(timeout), headers=headers or {})
        loaded = load(self._home, record_id, options, remote=remote)
        found = reading.only(loaded, self._declare())
        if found is None:
            return None
        model = self._make(found, loaded.seen)
        model.freshness = Freshness(loaded.source, loaded.age, loaded.reason)
        return model

    def get_or_404(self, id: RecordId) -> Model:  # Backbone's name for it
        """Load one record, or raise werkzeug's ``NotFound``, also for what can be no id."""
        try:
            found = self.load(id)
        except ValidationFailed as error:
            raise NotFound(str(error)) from error
        if found is None:
            raise NotFound(f"There is no record {id!r} in {self._declare().store}.")
        return found

    def __iter__(self) -> Iterator[Model]:
        """Walk over the list as it is now: what is deleted or created on the way does not change the walk."""
        loaded, models = self._view(), self._models
        return (self._model_of(loaded, models, place) for place in range(len(loaded.view.records)))

    def __len__(self) -> int:
        return len(self._view().view.records)

    @overload
    def __getitem__(self, place: int) -> Model: ...

    @overload
    def __getitem__(self, place: slice) -> list[Model]: ...

    def __getitem__(self, place: int | slice) -> Model | list[Model]:
        """Give the Model at a place of the list, or those of a slice [at]."""
        loaded, models = self._view(), self._models
        places = range(len(loaded.view.records))[place]
        if isinstance(places, int):
            return self._model_of(loaded, models, places)
        return [self._model_of(loaded, models, each) for each in places]

    @property
    def models(self) -> list[Model]:
        """The list as Models [models]."""
        return list(self)

    def where(self, attributes: Mapping[str, Json] | None = None, /, **fields: Json) -> list[Model]:
        """Give the Models whose fields equal all of those given [where]."""
        wanted = {**(attributes or {}), **fields}
        return [self._model_at(place) for place, record in enumerate(self._attributes()) if has_all(record, wanted)]

    def find_where(self, attributes: Mapping[str, Json] | None = None, /, **fields: Json) -> Model | None:
        """Give the first Model whose fields equal all of those given, or None [findWhere]."""
        wanted = {**(attributes or {}), **fields}
        for place, record in enumerate(self._attributes()):
            if has_all(record, wanted):
                return self._model_at(place)
        return None

    def pluck(self, field: str) -> list[Json]:
        """Give one field of every record [pluck]."""
        return [record.get(field) for record in self._attributes()]

    @property
    def page(self) -> Page:
        """What is known of the page that was fetched, for templates; pending writes are counted in its ``total``."""
        loaded = self._view()
        return page_of(loaded.page, self._fetch.params, len(loaded.view.records), loaded.view.added)

    @property
    def source(self) -> str | None:
        """Where the list came from: ``"upstream"``, ``"cache"``, ``"local"``, or None before it is looked at."""
        return None if self._loaded is None else self._loaded.source

    @property
    def age(self) -> float | None:
        """How old the list is, seconds; None where no copy is under it."""
        return None if self._loaded is None else self._loaded.age

    @property
    def reason(self) -> str | None:
        """Why the list is not fresh, as a sentence; None where it is."""
        return None if self._loaded is None else self._loaded.reason

    def clear(self) -> None:
        """Forget the cached copy; pending writes stay."""
        self._engine.bases.forget(self._owner, self._declare().store, self._subject().query)
        self._engine.forget_reads()
        self._loaded = None
        self._models = {}
        self._places = None

    # --- writing ---------------------------------------------------------------------------------------------

    def new(self, attributes: Mapping[str, Json] | None = None, /, **fields: Json) -> Model:
        """Give an unsaved Model of this collection."""
        model = self.model(home=self._home)
        model.set(attributes, **fields)
        return model

    def create(
        self,
        attributes: Mapping[str, Json] | None = None,
        /,
        *,
        remote: bool = True,
        nonce: str | None = None,
        timeout: Timeout = None,
        headers: Mapping[str, str] | None = None,
        **fields: Json,
    ) -> Model:
        """Create a record [create]: upstream where that is there, kept under a temporary id where it is not.

        Raises as ``Model.save`` does.
        """
        model = self.new(attributes, **fields)
        model._create(model._call(remote, nonce, timeout, headers))
        return model

    def dirty_models(self) -> list[Model]:
        """Give the Models with a create or update that is pending [dirtyModels]; no request."""
        loaded = self._here()
        models = (self._make(seen, loaded.seen) for seen in loaded.view.special.values())
        return [model for model in models if model.dirty]

    def destroyed_model_ids(self) -> list[RecordId]:
        """Give the ids of records whose delete is pending [destroyedModelIds]; no request."""
        state = self._engine.outbox.store_state(self._owner, self._declare().store, ONLY_PENDING)
        return [write.record_id for write in state.writes if write.kind is Kind.DELETE and write.state in PENDING]

    def sync_dirty(self) -> SyncReport:
        """Send this store's pending creates and updates, and what must go before them [syncDirty]."""
        return self._sync(Kind.CREATE, Kind.UPDATE)

    def sync_destroyed(self) -> SyncReport:
        """Send this store's pending deletes, and what must go before them [syncDestroyed]."""
        return self._sync(Kind.DELETE)

    def sync_dirty_and_destroyed(self) -> SyncReport:
        """Send all that is pending in this store, and what must go before it [syncDirtyAndDestroyed]."""
        return self._sync(*Kind)

    # --- inside ----------------------------------------------------------------------------------------------

    def _sync(self, *kinds: Kind) -> SyncReport:
        store = self._declare().store

        def chosen(write: Write) -> bool:
            return write.store == store and write.kind in kinds

        report = flush(self._engine, self._owner, chosen=chosen)
        self.look_again()
        return report

    def look_again(self) -> None:
        """Let the next look lay over the list what is pending by then."""
        self._engine.forget_reads()
        self._stale = self._loaded is not None
        self._declared = None

    def _wrote(self, model: Model, kind: Kind) -> None:
        if not self._is_remote():
            self._engine.forget_reads()
            self._stale = self._loaded is not None
            if self.params:
                # What it is nested under may have got its number on the way.
                self._declared = None
        elif self._loaded is not None:
            self._follow(model, kind)

    def _follow(self, model: Model, kind: Kind) -> None:
        """An upstream-only list has no storage to look at: it follows its own request's writes in memory."""
        if self._loaded is None:
            return
        key = self._declare().key_attribute
        text = key_of(dict(model), key)
        records = [record for record in self._loaded.view.records if key_of(record, key) != text]
        if kind is not Kind.DELETE:
            place = self._index().get(text, len(records))
            records.insert(place, dict(model))
        self._take(self._loaded._replace(view=replace(self._loaded.view, records=records)))

    def _view(self) -> Loaded:
        """What is loaded; a collection that was not fetched fetches itself once, when it is looked at."""
        if self._loaded is None:
            options = self._fetch._replace(looked_at=True)
            self._take(load(self._home, None, options, remote=True))
        elif self._stale:
            self._take(reading.look_again(self._subject(), self._loaded))
        if self._loaded is None:
            raise LookupError("a collection that was looked at is loaded")
        return self._loaded

    def _here(self) -> Loaded:
        """What is loaded, or what is here without a request."""
        if self._loaded is not None:
            return self._view()
        return freshening.look(self._subject())

    def _subject(self) -> Subject:
        return Subject(self._engine, self._owner, self._declare(), self._fetch)

    def _take(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._models = {}
        self._places = None
        self._stale = False

    def _attributes(self) -> list[Attributes]:
        """The attributes of every record, as changed by ``set`` where a Model was made."""
        records = self._view().view.records
        return [
            record if place not in self._models else dict(self._models[place]) for place, record in enumerate(records)
        ]

    def _index(self) -> dict[str, int]:
        records = self._view().view.records
        if self._places is None:
            key = self._declare().key_attribute
            self._places = {key_of(record, key): place for place, record in enumerate(records)}
        return self._places

    def _model_at(self, place: int) -> Model:
        return self._model_of(self._view(), self._models, place)

    def _model_of(self, loaded: Loaded, models: dict[int, Model], place: int) -> Model:
        """Make the Model of a place when it is first looked at."""
        found = models.get(place)
        if found is None:
            view = loaded.view
            record = view.records[place]
            seen = view.seen(record, self._declare().key_attribute) if view.special else Seen(record, record)
            found = models[place] = self.model(home=self._home)._show(seen, loaded.seen)
        return found

    def _make(self, seen: Seen, settled_seq: int) -> Model:
        return self.model(home=self._home)._show(seen, settled_seq)

    # --- what it declares --------------------------------------------------------------------------------------

    def _blank(self) -> Model:
        return self.model(home=self._home)

    def _is_local(self) -> bool:
        return not (self.local is self.model.local is False) and bool(ask(self.local) or self._of_model("local"))

    def _is_remote(self) -> bool:
        return not (self.remote is self.model.remote is False) and bool(ask(self.remote) or self._of_model("remote"))

    def _of_model(self, name: str) -> Any:
        """Ask what the model declares; one is made for that only where it has to be asked."""
        declared = getattr(self.model, name)
        return declared if isinstance(declared, bool | str | None) else ask(getattr(self._blank(), name))

    def _declare(self) -> Declaration:
        """What the layers below must know; made once for this owner's call, and anew after a sync."""
        if self._declared is None:
            self.params = {name: numbered(self._home, value) for name, value in self.params.items()}
            url = self._filled_url()
            named = ask(self.store_name) or self._of_model("store_name")
            store = self._filled(named) if named else store_at(url, self.upstream)
            self._declared = self._make_declaration(url, store)
        return self._declared

    def declared_for(self, write: Write) -> Declaration:
        """Say what a stored write was declared as; where it goes was fixed when it was stored."""
        return self._make_declaration(write.url, write.store)

    def _make_declaration(self, url: str, store: str) -> Declaration:
        config, cls, home = self._engine.config, type(self), self._home
        dialect = self.dialect or self._engine.dialect(self.upstream)
        if self.version_attribute is not None:
            dialect = dialect.but(version_from=self.version_attribute)
        return Declaration(
            collection=self.name if self._registered else "",
            store=store,
            url=url,
            params=self.params,
            upstream=self.upstream,
            id_attribute=self.id_attribute or self.model.id_attribute or dialect.id_attribute,
            dialect=dialect,
            when_dirty=self.when_dirty or config.when_dirty,
            in_doubt=self.in_doubt or config.in_doubt,
            coalesce=self.coalesce,
            conflict=self._conflict_policy(),
            read_before_write=self.read_before_write,
            read_only=self.scope == "app",
            foresight=self.foresight,
            max_age=config.max_age if self.max_age is None else self.max_age,
            stale_while_revalidate=config.stale_while_revalidate
            if self.stale_while_revalidate is None
            else self.stale_while_revalidate,
            headers=home.headers,
            parse_list=home.parse_list,
            parse_record=home.parse_record,
            serialize=home.serialize,
            matches=None if cls.matches is Collection.matches else home.matches,
            sort_key=None if cls.sort_key is Collection.sort_key else home.sort_key,
        )

    def _conflict_policy(self) -> Any:
        """Give the policy as it was declared: of a function without ``self`` no method is made."""
        # Of the class: the instance would bind it.
        declared = type(self).conflict
        if declared is None:
            return self._engine.conflict_policy()
        return self._home.conflict if inspect.isfunction(declared) and declared.__code__.co_argcount > 3 else declared

    def _filled_url(self) -> str:
        url = ask(self.url) or f"/{self.name}"
        if not isinstance(url, str) or "://" in url or "?" in url or "#" in url:
            raise ConfigurationError(f"{self.name}.url is {url!r}; it takes a path, joined to the upstream's URL.")
        return self._filled("/" + url.strip("/"))

    def _filled(self, template: str) -> str:
        if "{" not in template:
            return template
        missing = [name for name in _PARAMETER.findall(template) if name not in self.params]
        if missing:
            raise ConfigurationError(
                f"The collection {self.name!r} needs {', '.join(missing)}: collection({self.name!r}, {missing[0]}=…)."
            )
        return _PARAMETER.sub(lambda found: quote(str(self.params[found.group(1)]), safe=""), template)


class _Shelf(Home):
    """A collection as its models and the layers below know it.

    It does not hold the collection, which holds the models, and they this: in a ring every list that was ever loaded
    would stay in memory until the garbage is collected. A model that outlives its collection is given one like it, with
    what the app had set on it.
    """

    __slots__ = ("_again", "_collection", "_like", "left")

    def __init__(self, collection: Collection, check_nonce: Callable[[str], str]) -> None:
        super().__init__(collection._engine, collection._owner, check_nonce)
        self._collection = ref(collection)
        self._like = type(collection), collection.params, collection._registered
        self._again: Collection | None = None
        #: What the app had set on the collection when that was gone.
        self.left: dict[str, Any] = {}

    @property
    def collection(self) -> Collection:
        """The collection, or another like it where that is gone."""
        found = self._collection()
        if found is not None:
            return found
        if self._again is None:
            cls, params, registered = self._like
            self._again = cls(self.engine, self.owner, params, self.check_nonce, registered=registered)
            vars(self._again).update(self.left)
        return self._again

    def declared(self) -> Declaration:
        """Say what the collection declares."""
        found = self._collection()
        return (self.collection if found is None else found)._declare()

    def is_local(self) -> bool:
        """Ask the collection, and its model."""
        return self.collection._is_local()

    def is_remote(self) -> bool:
        """Ask the collection, and its model."""
        return self.collection._is_remote()

    def wrote(self, model: Model, kind: Kind) -> None:
        """Let the list follow."""
        self.collection._wrote(model, kind)

    # --- the hooks of the app, as the layers below call them --------------------------------------------------

    def headers(self) -> Mapping[str, str]:
        """Give the headers that every request of the collection has."""
        return ask(self.collection.headers) or {}

    def parse_list(self, response: Json) -> Json:
        """Take the records out of what the upstream answered."""
        collection = self.collection
        records = collection.parse(collection.parse_before_local_save(response))
        hooks = (collection.model.parse, collection.model.parse_before_local_save)
        if hooks == (Model.parse, Model.parse_before_local_save) or not isinstance(records, list):
            return records
        return [self.parse_record(record) for record in records]

    def parse_record(self, response: Json) -> Json:
        """Take one record out of what the upstream answered."""
        blank = self.collection.model(home=self)
        return blank.parse(blank.parse_before_local_save(response))

    def serialize(self, attributes: Attributes) -> Json:
        """Give what is sent of a record."""
        model = self.collection.model
        # A copy: what a hook does to a nested value must not be done to what is kept.
        return attributes if model.to_json is Model.to_json else model(copy_json(attributes), home=self).to_json()

    def matches(self, record: Attributes, params: Mapping[str, str]) -> bool:
        """Say whether a record belongs in the list."""
        return self.collection.matches(record, params)

    def sort_key(self, record: Attributes, params: Mapping[str, str]) -> Any:
        """Give what the list is ordered by."""
        return self.collection.sort_key(record, params)

    def conflict(self, base: Any, mine: Any, theirs: Any) -> Any:
        """Decide over a conflict, where the collection has a method for that."""
        return self.collection.conflict(base, mine, theirs)


#: What a collection itself keeps; the rest is what an app set on one of its own.
_OURS = frozenset(
    (
        "params",
        "_declared",
        "_engine",
        "_fetch",
        "_home",
        "_loaded",
        "_models",
        "_owner",
        "_places",
        "_registered",
        "_stale",
    )
)


def check_flags(name: str, *declared: type[Collection] | type[Model]) -> None:
    """Refuse two literal ``True``s; of methods ``remote`` wins when they are asked. Raises ``ConfigurationError``."""
    if any(each.local is True for each in declared) and any(each.remote is True for each in declared):
        raise ConfigurationError(f"{name} is declared both local and remote; leave one of them out.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[^/\\?#\s\x00-\x1f]{1,200}", value) is not None


def _is_field(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value != "")


def _is_text_or_method(value: Any) -> bool:
    return value is None or isinstance(value, str) or callable(value)


#: What a collection's attributes take, and whether a value fits.
_TAKES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "name": ("a short name without '/', '?', '#' or spaces", _is_name),
    "url": (
        "a path, or a method that gives one",
        lambda value: value is None or isinstance(value, str) or callable(value),
    ),
    "store_name": ("text, or a method", lambda value: value is None or isinstance(value, str) or callable(value)),
    "upstream": ("the name of an upstream", lambda value: isinstance(value, str)),
    "id_attribute": ("the name of a field", _is_field),
    "dialect": ("a flask_dualstorage.Dialect", lambda value: value is None or isinstance(value, Dialect)),
    "version_attribute": ("the name of a field", _is_field),
    "when_dirty": ("'local' or 'rebase'", lambda value: value in (None, "local", "rebase")),
    "in_doubt": ("'auto', 'resend' or 'hold'", lambda value: value in (None, "auto", "resend", "hold")),
    "conflict": (
        "'merge', 'client', 'server', 'manual', a callable (base, mine, theirs), or a dict of these by field; "
        "ByKey for a list",
        lambda value: value is None or is_policy(value),
    ),
    "read_before_write": ("True or False", lambda value: isinstance(value, bool)),
    "foresight": ("True or False", lambda value: isinstance(value, bool)),
    "edit_endpoint": ("the name of an endpoint", lambda value: value is None or (isinstance(value, str) and value)),
    "scope": ("'user' or 'app'", lambda value: value in ("user", "app")),
    "app_credential": ("True or False", lambda value: isinstance(value, bool)),
    "max_age": ("a number of seconds, 0 or more", lambda value: value is None or _is_number(value)),
    "stale_while_revalidate": ("a number of seconds, 0 or more", lambda value: value is None or _is_number(value)),
    "coalesce": ("True or False", lambda value: isinstance(value, bool)),
    "local": ("True, False, or a method", lambda value: isinstance(value, bool) or callable(value)),
    "remote": ("True, False, or a method", lambda value: isinstance(value, bool) or callable(value)),
    "headers": ("a dict, or a method", lambda value: value is None or isinstance(value, dict) or callable(value)),
}


def check_declarations(cls: type[Collection]) -> None:
    """Check what a collection class declares. Raises ``ConfigurationError`` that names what is wrong."""
    if not issubclass(cls.model, Model):
        raise ConfigurationError(f"{cls.__name__}.model is {cls.model!r}; it takes Model or a subclass.")
    check_flags(cls.__name__, cls, cls.model)
    for name, (takes, fits) in _TAKES.items():
        value = getattr(cls, name)
        if not fits(value):
            raise ConfigurationError(f"{cls.__name__}.{name} is {value!r}; it takes {takes}.")
    if cls.scope == "app" and callable(cls.headers):
        raise ConfigurationError(
            f"{cls.__name__} has scope = 'app', and headers is a method: what one user may see would be everybody's. "
            "It takes a dict there."
        )
    if cls.scope == "app" and cls.local:
        raise ConfigurationError(
            f"{cls.__name__} has scope = 'app' and is local; a local collection is each user's own."
        )
