"""Model: one record, as a mapping of its attributes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .errors import ConfigurationError, RecordGone, UpstreamUnreachable, ValidationFailed
from .policy.coalescing import Edit
from .policy.outcomes import ONLY
from .policy.references import is_temp_id, new_temp_id
from .policy.routing import Route, route
from .policy.values import changes, check_attributes, check_id, copy_json
from .policy.views import Seen
from .sync import freshening, reading, writing
from .sync.autosync import note
from .sync.engine import Engine
from .sync.flush import try_lane
from .sync.reports import PendingWrite, pending_write
from .sync.subject import Fetch, Loaded, Subject
from .sync.understanding import Call
from .types import PENDING, Attributes, Declaration, Json, Kind, Outcome, RecordId, State, Write

#: What ``timeout=`` takes: seconds for the whole answer, or (to connect, for the whole answer).
Timeout = float | tuple[float, float] | None
#: A declaration that may be a method, asked at each call.
Flag = bool | Callable[..., bool]


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What ``save`` or ``destroy`` came to.

    ``dirty`` is True where it is kept here, False where the upstream has it [options.dirty]. ``state`` is None
    where nothing was left to send; ``discarded`` then names the writes that vanished with it. ``response`` is the
    upstream's answer, if there was one.
    """

    dirty: bool
    state: State | None
    write_id: str | None
    response: Any = None
    reason: str | None = None
    discarded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Freshness:
    """Where a record came from, as ``source``, ``age`` (seconds) and ``reason`` tell it of a collection."""

    source: str
    age: float | None
    reason: str | None


class Home(ABC):
    """Where a model lives: whose it is, what is declared of it, and who hears of its changes."""

    __slots__ = ("_id_attribute", "check_nonce", "engine", "owner")

    def __init__(self, engine: Engine, owner: str, check_nonce: Callable[[str], str]) -> None:
        self.engine = engine
        self.owner = owner
        self.check_nonce = check_nonce
        self._id_attribute: str | None = None

    @property
    def id_attribute(self) -> str:
        """The field that holds the id; asked of each record that a page shows, and always the same."""
        if self._id_attribute is None:
            self._id_attribute = self.declared().id_attribute
        return self._id_attribute

    @abstractmethod
    def declared(self) -> Declaration:
        """Say what the layers below must know."""

    @abstractmethod
    def is_local(self) -> bool:
        """Say whether it is never sent."""

    @abstractmethod
    def is_remote(self) -> bool:
        """Say whether it is never kept."""

    def wrote(self, model: Model, kind: Kind) -> None:  # noqa: B027  # a model that is in no list has nobody to tell
        """Hear that a model was written."""


def ask(flag: Any) -> Any:
    """Give a declared value, calling it where it is a method."""
    return flag() if callable(flag) else flag


def seconds(timeout: Timeout) -> tuple[float, float] | None:
    """Read a ``timeout=`` option: a single number bounds the connecting too."""
    if timeout is None:
        return None
    connect, total = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    if not (connect > 0 and total > 0):
        raise ValidationFailed({"timeout": f"{timeout!r} is no timeout: seconds above 0, or a pair of them."})
    return float(connect), float(total)


#: One for all models: each dict of a page's hundreds brings the next garbage collection nearer.
_NOTHING: Mapping[str, Json] = {}


class Model(Mapping[str, Json]):
    """One record: a mapping of its attributes, and always true.

    Subclass it to declare ``id_attribute`` [idAttribute], ``local``, ``remote``, ``store_name`` [storeName], for a
    model that stands alone ``url_root`` [urlRoot] or ``url``, and the hooks ``validate``, ``parse``,
    ``parse_before_local_save`` and ``to_json``.
    """

    id_attribute: ClassVar[str | None] = None
    store_name: ClassVar[Any] = None
    url: ClassVar[Any] = None
    url_root: ClassVar[Any] = None
    upstream: ClassVar[str] = "default"
    local: ClassVar[Any] = False
    remote: ClassVar[Any] = False

    # What is so of a new model, and of most in a list: a page makes hundreds.
    _shown: Mapping[str, Json] = _NOTHING
    _given: Mapping[str, Json] = _NOTHING
    _base: Attributes | None = None
    _validator: str | None = None
    _write: Write | None = None
    _seen = 0
    _asked_id: RecordId | None = None
    #: Where the last ``fetch`` or ``load`` of this model came from; None for one out of a list.
    freshness: Freshness | None = None

    def __init__(self, attributes: Mapping[str, Json] | None = None, *, home: Home | None = None) -> None:
        self._home = home
        self._attributes: Attributes = {} if attributes is None else dict(attributes)

    # --- hooks of the app ------------------------------------------------------------------------------------

    def validate(self, attributes: Attributes) -> Any:
        """Give what is wrong with ``attributes``, or nothing [validate]. A non-empty return refuses the save."""
        return None

    def parse(self, response: Json) -> Json:
        """Turn one record as the upstream tells it into attributes [parse]; run once, before it is cached."""
        return response

    def parse_before_local_save(self, response: Json) -> Json:
        """Turn what the upstream answered into a record, before ``parse`` [parseBeforeLocalSave]."""
        return response

    def to_json(self, **options: Any) -> Json:
        """Give what is sent of this record [toJSON]."""
        return dict(self)

    # --- the mapping -----------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Json:
        value = self._attributes[name]
        if type(value) in (dict, list) and self._attributes is self._shown:
            # What the app does to it in place must not be done to what was shown.
            self._attributes = copy_json(self._attributes)
            value = self._attributes[name]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._attributes)

    def __len__(self) -> int:
        return len(self._attributes)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r}>"

    # --- what it is ------------------------------------------------------------------------------------------

    @property
    def id(self) -> RecordId | None:
        """The id with its type, a temporary one where the upstream has not numbered it, None where it is new [id]."""
        found = self._attributes.get(self._id_attribute)
        return found if found is not None else self._asked_id

    @property
    def has_temp_id(self) -> bool:
        """Whether the upstream has not numbered it yet [hasTempId]."""
        return is_temp_id(self.id)

    @property
    def is_new(self) -> bool:
        """Whether the upstream does not have it as far as we know [isNew]."""
        return self.id is None or self.has_temp_id

    @property
    def dirty(self) -> bool:
        """Whether a write of it is pending."""
        return self._write is not None and self._write.state in PENDING

    @property
    def pending_write(self) -> PendingWrite | None:
        """Its pending write, or None."""
        if self._write is None or not self.dirty:
            return None
        return pending_write(self._write, "merge" if self._home is None else self._home.declared().conflict)

    @property
    def others_pending(self) -> bool:
        """Whether another owner has a pending write of the same record; only where its collection has ``foresight``.

        One SELECT each time that it is asked, none otherwise. It never tells whose, nor what.
        """
        if self._home is None or self.is_new:
            return False
        declared = self._home.declared()
        if not declared.foresight or self.id is None:
            return False
        return self._home.engine.outbox.others_pending(self._home.owner, declared.upstream, declared.store, self.id)

    def set(self, attributes: Mapping[str, Json] | None = None, /, **fields: Json) -> None:
        """Change attributes here only, until ``save`` [set]. Raises ``ValidationFailed`` for what is not JSON."""
        given = {**(attributes or {}), **fields}
        self._attributes = self._checked(given)
        self._given = {**self._given, **{name: self._attributes[name] for name in given}}

    def changed_attributes(self) -> Attributes:
        """Give the fields that were set since it was loaded or saved [changedAttributes]; empty if there are none."""
        return changes(self._shown, self._attributes)

    # --- verbs -----------------------------------------------------------------------------------------------

    def save(
        self,
        attributes: Mapping[str, Json] | None = None,
        /,
        *,
        patch: bool = False,
        remote: bool = True,
        nonce: str | None = None,
        timeout: Timeout = None,
        headers: Mapping[str, str] | None = None,
        **fields: Json,
    ) -> WriteResult:
        """Create or update it [save]: upstream where that is there, kept as pending where it is not.

        ``patch=True`` sends only what changed, ``remote=False`` keeps it for the next sync. Raises
        ``ValidationFailed``, ``RecordGone``, ``OutboxFull``, ``OutboxUnavailable`` before anything is stored, and
        ``Rejected`` or ``UpstreamError`` where the upstream refused.
        """
        kind = Kind.CREATE if self.id is None and not self._is_only_one else Kind.UPDATE
        given = {**(attributes or {}), **fields}
        proposed = self._checked(given)
        call = self._call(remote, nonce, timeout, headers)
        return self._save(
            kind, proposed, {**self._given, **{name: proposed[name] for name in given}}, call, patch=patch
        )

    def destroy(
        self,
        *,
        remote: bool = True,
        nonce: str | None = None,
        timeout: Timeout = None,
        headers: Mapping[str, str] | None = None,
    ) -> WriteResult:
        """Delete it [destroy]; what was never sent just vanishes, with what is nested under it."""
        call = self._call(remote, nonce, timeout, headers)
        if self.id is None and not self._is_only_one:
            return WriteResult(dirty=False, state=None, write_id=None, reason="It was never saved.")
        edit = Edit(Kind.DELETE, base=self._base, validator=self._validator)
        result = self._write_edit(edit, self._lane_id(), call)
        self._at_home.wrote(self, Kind.DELETE)
        return result

    def fetch(
        self,
        *,
        remote: bool = True,
        when_dirty: str | None = None,
        max_age: float | None = None,
        timeout: Timeout = None,
        headers: Mapping[str, str] | None = None,
    ) -> Model:
        """Load it anew, or from the copy [fetch]. Raises ``RecordGone`` where it is gone, else as a collection."""
        options = Fetch(when_dirty=when_dirty, max_age=max_age, timeout=seconds(timeout), headers=headers or {})
        home = self._at_home
        loaded = load(home, self._lane_id(), options, remote=remote)
        found = reading.only(loaded, home.declared())
        if found is None:
            raise RecordGone(loaded.reason or f"There is no record {self.id!r}.")
        self._show(found, loaded.seen)
        self.freshness = Freshness(loaded.source, loaded.age, loaded.reason)
        return self

    # --- inside ----------------------------------------------------------------------------------------------

    @property
    def _at_home(self) -> Home:
        if self._home is None:
            raise UpstreamUnreachable("This model belongs to no storage; make it with collection.new() or ds.model().")
        return self._home

    @property
    def _id_attribute(self) -> str:
        return (self.id_attribute or "id") if self._home is None else self._home.id_attribute

    @property
    def _is_only_one(self) -> bool:
        return self._home is not None and self._home.declared().singleton

    def _lane_id(self) -> RecordId:
        if self._is_only_one:
            return ONLY
        found = self.id
        if found is None:
            raise ValidationFailed({self._id_attribute: "This model is new and has no id yet; save() it first."})
        return found

    def _checked(self, given: Mapping[str, Json]) -> Attributes:
        known = self._attributes.get(self._id_attribute)
        if known is not None and self._id_attribute in given and str(given[self._id_attribute]) != str(known):
            raise ValidationFailed({self._id_attribute: f"A record's id can not change; this one is {known!r}."})
        limit = 1024 * 1024 if self._home is None else self._home.engine.config.max_record_bytes
        return check_attributes({**self._attributes, **given}, limit)

    def _call(self, remote: bool, nonce: str | None, timeout: Timeout, headers: Mapping[str, str] | None) -> Call:
        self._check_writable()
        checked = None if nonce is None else self._at_home.check_nonce(nonce)
        return Call(remote=remote, timeout=seconds(timeout), headers=headers or {}, nonce=checked)

    def _create(self, call: Call) -> WriteResult:
        """Create it under the id that the app gave, or a temporary one [collection.create]."""
        given = self._attributes.get(self._id_attribute)
        if given is not None:
            check_id(given, self._id_attribute)
        return self._save(Kind.CREATE, self._attributes, self._attributes, call, patch=False)

    def _save(self, kind: Kind, proposed: Attributes, given: Attributes, call: Call, *, patch: bool) -> WriteResult:
        wrong = self.validate(proposed)
        if wrong:
            raise ValidationFailed(wrong)
        record_id = self._lane_id_for(kind, proposed)
        self._attributes = proposed
        changed = changes(self._shown, proposed)
        edit = Edit(kind, proposed, changed, given, self._base, self._validator, patch)
        result = self._write_edit(edit, record_id, call)
        self._at_home.wrote(self, kind)
        return result

    def _lane_id_for(self, kind: Kind, proposed: Attributes) -> RecordId:
        if self._is_only_one:
            return ONLY
        given = proposed.get(self._id_attribute)
        if given is None:
            given = self._asked_id
        if given is None:
            return new_temp_id()
        if self._base is None:
            check_id(given, self._id_attribute)
        return given

    def _check_writable(self) -> None:
        declared = self._at_home.declared()
        if declared.read_only:
            raise ConfigurationError(
                f"The collection {declared.collection!r} has scope = 'app': one copy for everybody, which nobody "
                "writes. Leave scope out of a collection that is written."
            )

    def _write_edit(self, edit: Edit, record_id: RecordId, call: Call) -> WriteResult:
        home = self._at_home
        target = writing.Target(home.owner, home.declared(), record_id, self._seen)
        way = route(local=home.is_local(), remote=home.is_remote(), call_remote=call.remote)
        home.engine.forget_reads()
        if way is Route.REMOTE:
            return self._sent(writing.write_remote(home.engine, target, edit, call))
        if way is Route.LOCAL:
            return self._kept(writing.write_local(home.engine, target, edit, call), edit.kind)
        written = writing.write(home.engine, target, edit, call, try_lane)
        return self._written(edit, written)

    def _sent(self, outcome: Outcome) -> WriteResult:
        if outcome.record is not None:
            self._show(Seen(outcome.record, outcome.record, outcome.validator), self._seen)
        return WriteResult(dirty=False, state=State.APPLIED, write_id=None, response=outcome.response)

    def _kept(self, write: Write | None, kind: Kind) -> WriteResult:
        if write is not None and write.attributes is not None:
            self._show(Seen(write.attributes, write.attributes), self._seen)
        return WriteResult(dirty=False, state=State.LOCAL if kind is not Kind.DELETE else None, write_id=None)

    def _written(self, edit: Edit, written: writing.Written) -> WriteResult:
        write = written.write
        if write is not None:
            note(self._at_home.engine, self._at_home.owner, [write])
        gone = tuple(each.id for each in written.vanished)
        if write is None:
            self._write = None
            self._shown = copy_json(self._attributes)
            return WriteResult(dirty=False, state=None, write_id=None, reason=written.reason, discarded=gone)
        if write.state is State.APPLIED and write.theirs is not None:
            self._show(Seen(write.theirs, write.theirs, write.validator), write.settled_seq)
        elif write.state is State.DISCARDED and write.theirs is not None:
            # The upstream's version was chosen.
            self._show(Seen(write.theirs, write.theirs, write.validator), self._seen)
        elif write.attributes is not None and edit.kind is not Kind.DELETE:
            shown = {**write.attributes}
            if not self._is_only_one:
                shown[self._id_attribute] = write.record_id
            self._show(Seen(shown, self._base, self._validator, write), self._seen)
        else:
            self._write = write
        response = None if written.outcome is None else written.outcome.response
        dirty = write.state in PENDING
        return WriteResult(dirty, write.state, write.id, response, write.reason or written.reason, gone)

    def _show(self, seen: Seen, settled_seq: int) -> Model:
        """Take over what storage tells of the record."""
        self._attributes, self._given = seen.attributes, _NOTHING
        self._shown, self._base, self._validator, self._write = seen
        self._seen = settled_seq
        return self


def numbered(home: Home, record_id: RecordId) -> RecordId:
    """Give the real id of a temporary one that has one by now: old links go on working."""
    if not is_temp_id(record_id):
        return record_id
    real = home.engine.outbox.alias(home.owner, str(record_id))
    return record_id if real is None else real


def load(home: Home, record_id: RecordId | None, options: Fetch, *, remote: bool) -> Loaded:
    """Read a list, or one record, the way that the flags say. Raises ``ConfigurationError``."""
    declared = home.declared()
    if declared.read_only and options.headers:
        raise ConfigurationError(
            f"The collection {declared.collection!r} has scope = 'app': one copy for everybody, and no call asks for "
            f"it with headers of its own ({', '.join(sorted(options.headers))}). Declare them "
            "on the collection, as a dict."
        )
    known = None if record_id is None else numbered(home, record_id)
    subject = Subject(home.engine, home.owner, declared, options, known)
    match route(local=home.is_local(), remote=home.is_remote(), call_remote=remote):
        case Route.REMOTE:
            return reading.fetch_remote(subject)
        case Route.DUAL:
            return freshening.fetch(subject)
        case _:
            return freshening.look(subject)
