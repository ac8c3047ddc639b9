"""What every owner was promised: an independent, simple model of what the machine's calls should come to.

It knows records (``Ref``) as a person does, not by their changing ids; for each owner and record the value that was
last set in each field (``Wanted``); and what upstream was ever told. Every value that an owner sets is new, and
names its owner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask_dualstorage.policy.values import changes
from flask_dualstorage.types import Kind, State, Write
from tests.machine.upstream import TENANTS, Place, Record, Upstream

#: What the machine sets; other fields (``id``, ``rev``) are the upstream's.
FIELDS = ("a", "b", "ref", "link")
#: Those that hold no reference.
PLAIN = ("a", "b")
_TEMP = re.compile(r"tmp-[0-9a-f]{32}")
_NOTES = re.compile(r"/people/([^/]+)/notes")
_TAG = re.compile(r"(user:\w+|anon:\w+)#\d+")


@dataclass(eq=False)
class Ref:
    """One record, whatever its ids: ``temps`` it had here, ``made`` upstream (more than one: it was doubled)."""

    tenant: str
    kind: str
    parent: Ref | None = None
    temps: list[str] = field(default_factory=list)
    made: list[Place] = field(default_factory=list)
    #: Its create was given up: by its owner, or it was refused.
    dead: bool = False
    #: Its owner, or somebody else upstream, took the risk that it is doubled.
    risky: bool = False
    #: Two owners' writes of it were joined while one was on its way.
    contested: bool = False

    @property
    def place(self) -> Place | None:
        """Where it is upstream."""
        return self.made[0] if self.made else None

    def __repr__(self) -> str:
        return f"<{self.kind} {[place.id for place in self.made] or self.temps}>"


@dataclass
class Wanted:
    """What an owner last wanted of a record: by field the value and when it was set; ``deleted``: when."""

    fields: dict[str, tuple[Any, int]] = field(default_factory=dict)
    deleted: int | None = None
    created: bool = False


class Ledger:
    """What was promised to whom, and the checks of it."""

    def __init__(self) -> None:
        self.upstream: Upstream
        self.refs: list[Ref] = []
        self.by_temp: dict[str, Ref] = {}
        self.by_place: dict[Place, Ref] = {}
        self.by_value: dict[Any, Ref] = {}
        self.wanted: dict[tuple[str, Ref], Wanted] = {}
        self.order: dict[Any, int] = {}
        self.last: dict[tuple[Place, str], tuple[int, str] | None] = {}
        self.dead_values: set[Any] = set()
        self.heirs: dict[str, str] = {}
        self.adopted: set[tuple[str, str]] = set()
        #: Who told the upstream each version of a record; None: somebody else.
        self.callers: dict[Place, list[str | None]] = {}
        #: A worker that lost its lease is sending: what it brings may be out of date.
        self.zombie = False
        self.now = 0

    # --- what is told of calls -----------------------------------------------------------------------------------

    def heir(self, owner: str) -> str:
        """Whose storage an owner's writes go to."""
        while owner in self.heirs:
            owner = self.heirs[owner]
        return owner

    def new_value(self, owner: str, *, bad: bool = False) -> str:
        """A value that nobody has set before."""
        self.now += 1
        return f"{owner}#{self.now}{'-bad' if bad else ''}"

    def ref(self, tenant: str, kind: str, parent: Ref | None = None) -> Ref:
        """A record that is about to be made."""
        made = Ref(tenant, kind, parent)
        self.refs.append(made)
        return made

    def intend(self, owner: str, ref: Ref, values: Mapping[str, Any]) -> int:
        """An owner is about to set values; gives when."""
        self.now += 1
        for value in (values[name] for name in PLAIN if name in values):
            self.order[value, ref] = self.now
            if _TAG.match(value):
                self.by_value[value] = ref
            self.dead_values.discard((value, ref))
        return self.now

    def accepted(self, owner: str, ref: Ref, kind: Kind, values: Mapping[str, Any], order: int) -> None:
        """The call came back with the edit taken."""
        wanted = self.wanted.setdefault((self.heir(owner), ref), Wanted())
        if kind is Kind.DELETE:
            wanted.deleted = max(order, wanted.deleted or 0)
            wanted.fields = {name: each for name, each in wanted.fields.items() if each[1] > order}
            return
        wanted.created |= kind is Kind.CREATE
        if wanted.deleted is not None and wanted.deleted < order:
            wanted.deleted = None
        for name, value in values.items():
            if name in FIELDS and wanted.fields.get(name, (None, 0))[1] < order:
                wanted.fields[name] = (self.canon(value), order)

    def refused(self, ref: Ref, kind: Kind, values: Mapping[str, Any]) -> None:
        """The call raised: nothing was kept, and the caller knows."""
        self.dead_values |= {(value, ref) for name, value in values.items() if name in PLAIN}
        if kind is Kind.CREATE:
            ref.dead = True

    def wants(self, owner: str, ref: Ref, values: Mapping[str, Any]) -> bool:
        """Whether these are what the owner still wants, and nothing else."""
        wanted = self.wanted.get((owner, ref), Wanted()).fields
        known = {name: self.canon(value) for name, (value, _) in wanted.items()}
        return known == {name: self.canon(value) for name, value in values.items()}

    def named(self, ref: Ref, record_id: Any) -> None:
        """A create told its record's id."""
        text = str(record_id)
        if _TEMP.fullmatch(text) and text not in ref.temps:
            ref.temps.append(text)
            self.by_temp[text] = ref

    def given_up(self, owner: str, writes: Iterable[Write]) -> None:
        """The owner discarded these, or had them forgotten."""
        for write in writes:
            ref = self.ref_of(write)
            wanted = self.wanted.get((owner, ref), Wanted())
            if write.kind is Kind.DELETE:
                wanted.deleted = None
            changed = changes(write.base, write.attributes or {})
            for name, value in changed.items():
                known = self.canon(value)
                if name in wanted.fields and self.same(wanted.fields[name][0], known):
                    del wanted.fields[name]
                    self.dead_values.add((known, ref))
            if write.kind is Kind.CREATE:
                ref.dead = True
                wanted.created = False
                wanted.fields.clear()

    def adopt(self, first: str, second: str, pending: Mapping[str, list[Write]]) -> None:
        """Two owners became one: what the first had pending comes on top of the second's."""
        self.adopted.add((first, second))
        self.heirs[first] = second
        self.heirs.pop(second, None)
        lanes = set(map(self.ref_of, pending[second]))
        waiting = set(map(self.ref_of, pending[first]))
        for ref in lanes & waiting:
            ref.contested = True
        for (owner, ref), wanted in list(self.wanted.items()):
            if owner != first:
                continue
            del self.wanted[owner, ref]
            if ref not in waiting and (ref.made or wanted.deleted is None):
                continue
            theirs = self.wanted.setdefault((second, ref), Wanted())
            lane = [write for write in pending[first] if self.ref_of(write) is ref]
            if wanted.deleted is not None:
                # On top of what the heir has set, as a delete of their own would be.
                theirs.fields.clear()
            for name, (value, _) in wanted.fields.items():
                if not pending_values(lane, name):
                    # Applied for the visitor: what the heir was shown before may be older.
                    continue
                self.now += 1
                theirs.fields[name] = (value, self.now)
                self.order[value, ref] = self.now
            theirs.created |= wanted.created
            # What waits came later than a delete that the heir has seen through.
            theirs.deleted = wanted.deleted

    # --- what is told by the upstream ----------------------------------------------------------------------------

    def sent(self, caller: str, body: Any) -> None:
        """A write arrived: what is in it is its owner's, or was read upstream."""
        for tag in set(_TAG.findall(repr(body))):
            assert TENANTS[tag] == TENANTS[caller], f"{caller} sent what {tag} wrote: {body}"

    def changed(self, caller: str | None, place: Place, before: Record | None, after: Record | None) -> None:
        """Something changed upstream."""
        self.callers.setdefault(place, []).append(caller)
        if before is None:
            self._made(caller, place, after or {})
        ref = self.by_place[place]
        if caller is None:
            self._others(ref)
        if after is None:
            return
        for name in PLAIN:
            if caller is not None and before is not None and not self.zombie:
                self._check_order(caller, ref, name, before.get(name), after.get(name))
            # When the value that is there now was set, by whom; None: by somebody else.
            when = self.order.get((after.get(name), ref), 0)
            self.last[place, name] = None if caller is None else (when, caller)

    def _made(self, caller: str | None, place: Place, record: Record) -> None:
        known = [self.by_value[value] for value in map(self.canon, record.values()) if value in self.by_value]
        known = [ref for ref in known if caller is not None and ref.kind == kind_of(place.collection)]
        ref = known[0] if known else self.ref(place.tenant, kind_of(place.collection), self._parent(place))
        ref.made.append(place)
        self.by_place[place] = ref
        assert ref.risky or len(ref.made) == 1, f"{ref} was made {len(ref.made)} times: {record}"

    def _parent(self, place: Place) -> Ref | None:
        found = _NOTES.fullmatch(place.collection)
        return self.by_place[Place(place.tenant, "/people", int(found.group(1)))] if found else None

    def _others(self, ref: Ref) -> None:
        """Somebody else's edit: a create in doubt can not be told by its fields any more."""
        if not self.upstream.honours:
            ref.risky = True

    def _check_order(self, caller: str, ref: Ref, name: str, before: Any, after: Any) -> None:
        """Nothing that an owner set is undone by a request that knows no later wish of theirs."""
        old, new = (self.canon(before), ref), (self.canon(after), ref)
        if old == new or ref.contested or ref.risky:
            return
        assert new not in self.dead_values, f"{caller} sent {new[0]} of {ref}, which was given up"
        last = self.last.get((ref.made[0], name))
        if last is not None and old not in self.dead_values and last[1] == caller:
            assert self.order.get(new, 0) > last[0], f"{caller} undid {old[0]} by {after} in {ref}.{name}"

    # --- telling records apart -----------------------------------------------------------------------------------

    def ref_of(self, write: Write) -> Ref:
        """The record of a stored write."""
        return self.find(TENANTS[write.owner], write.url, write.record_id)

    def find(self, tenant: str, collection: str, record_id: Any) -> Ref:
        """The record under an id that an app shows."""
        text = str(record_id)
        if text in self.by_temp:
            return self.by_temp[text]
        collection = self.real_text(collection)
        place = Place(tenant, collection, int(text)) if text.isdigit() else None
        assert place in self.by_place, f"{tenant} has no record {text} in {collection}"
        return self.by_place[place]

    def canon(self, value: Any) -> Any:
        """A value with the real ids in it, of records that are upstream."""
        if not isinstance(value, str) or "tmp-" not in value:
            return value if isinstance(value, str | int | None) else repr(value)
        ref = self.by_temp.get(value)
        return ref.place.id if ref is not None and ref.place is not None else self.real_text(value)

    def real_text(self, text: str) -> str:
        """The same inside a text."""

        def real(found: re.Match[str]) -> str:
            ref = self.by_temp.get(found.group())
            return found.group() if ref is None or ref.place is None else str(ref.place.id)

        return _TEMP.sub(real, text)

    # --- the checks ----------------------------------------------------------------------------------------------

    def told_upstream(self, ref: Ref, name: str, value: Any, by: str | None = None) -> int | None:
        """The first version upstream that held ``value`` (and was told ``by`` this owner); None: none ever did."""
        for place in ref.made:
            for version, record in enumerate(self.upstream.history[place]):
                held = record is not None and self.same(record.get(name), value)
                if held and by in (None, self.callers[place][version]):
                    return version
        return None

    def same(self, one: Any, other: Any) -> bool:
        """Whether two values are one, whichever id is in them; of a record that was doubled there are two."""
        return bool(self.canon(one) == self.canon(other)) or self._twin(one) == self._twin(other)

    def _twin(self, value: Any) -> Any:
        """A value with the first one's id in place of its double's; no record has an id that another kind has too."""
        text = self.canon(value)
        for first, *doubles in (ref.made for ref in self.refs if len(ref.made) > 1):
            for double in doubles:
                text = first.id if text == double.id else text
                text = text.replace(f"/{double.id}?", f"/{first.id}?") if isinstance(text, str) else text
        return text

    def check_kept(self, owner: str, pending: list[Write]) -> None:
        """Every edit that was taken is applied, visible as pending, or was taken back by a later wish."""
        lanes: dict[Ref, list[Write]] = {}
        for write in pending:
            lanes.setdefault(self.ref_of(write), []).append(write)
        for (whose, ref), wanted in self.wanted.items():
            if whose == owner and not self.is_given_up(owner, ref):
                self._check_wanted(owner, ref, wanted, lanes.get(ref, []))

    def is_given_up(self, owner: str, ref: Ref) -> bool:
        """Its create was given up, or that of the record it is nested under."""
        above: Ref | None = ref
        while above is not None:
            wanted = self.wanted.get((owner, above))
            gone = wanted is not None and wanted.deleted is not None and not above.made
            if above.dead or (gone and above is not ref):
                return True
            above = above.parent
        return False

    def _check_wanted(self, owner: str, ref: Ref, wanted: Wanted, lane: list[Write]) -> None:
        if wanted.deleted is not None:
            there = [place for place in ref.made if self.upstream.here(place) is not None]
            waits = any(write.kind is Kind.DELETE for write in lane)
            assert waits or not there or ref.contested or ref.risky, f"the delete of {ref} by {owner} is lost"
            assert waits or ref.made or not lane, f"{ref} was deleted by {owner} before it was sent, but waits"
            return
        if wanted.created and not ref.made:
            assert any(write.kind is Kind.CREATE for write in lane), f"the create of {ref} by {owner} is lost"
        for name, (value, _) in wanted.fields.items():
            waiting = pending_values(lane, name)
            if waiting and not ref.contested and not _in_two_shapes(ref, lane):
                assert self.same(waiting[-1], value), f"{owner} set {ref}.{name} to {value}, but {waiting} waits"
            elif not any(self.same(value, write.attributes.get(name)) for write in lane if write.attributes):
                told = self.told_upstream(ref, name, value)
                assert told is not None, f"{owner} set {ref}.{name} to {value}: it neither waits nor was applied"

    def check_view(self, owner: str, collection: str, shown: list[Record], pending: list[Write]) -> None:
        """The view is the base with the owner's writes: what they set last, over what the upstream had."""
        lanes: dict[Ref, list[Write]] = {}
        for write in pending:
            lanes.setdefault(self.ref_of(write), []).append(write)
        seen: set[Ref] = set()
        for record in shown:
            ref = self.find(TENANTS[owner], collection, record["id"])
            lane = lanes.get(ref, [])
            assert ref not in seen or ref.risky or lane, f"{owner} is shown {ref} twice"
            seen.add(ref)
            self.check_record(owner, ref, record, lane)
        for ref, lane in lanes.items():
            here = self.real_text(lane[0].url) == self.real_text(collection)
            if here and all(write.kind is not Kind.DELETE for write in lane):
                assert ref in seen, f"{owner} is not shown {ref}, which waits: {lane}"

    def check_record(self, owner: str, ref: Ref, record: Record, lane: list[Write]) -> None:
        """The same for one record."""
        wanted = self.wanted.get((owner, ref), Wanted())
        if wanted.deleted is not None and not ref.contested and not ref.dead:
            # The second one of a pair that was doubled, or an answer in doubt, is another record to the app.
            assert ref.risky or str(record["id"]) not in self._deleted_ids(lane, ref), (
                f"{owner} deleted {ref}: {record}"
            )
            return
        for name in FIELDS:
            if name in record:
                self._check_shown(owner, ref, name, record[name], wanted, lane)

    def _deleted_ids(self, lane: list[Write], ref: Ref) -> set[str]:
        if lane:
            return {str(write.record_id) for write in lane}
        return {*ref.temps, *(str(place.id) for place in ref.made)}

    def _check_shown(self, owner: str, ref: Ref, name: str, value: Any, wanted: Wanted, lane: list[Write]) -> None:
        waiting = pending_values(lane, name)
        if waiting:
            own = [each for each in waiting if self.same(each, value)]
            if name in wanted.fields and not ref.contested and not _in_two_shapes(ref, lane):
                assert self.same(wanted.fields[name][0], value), f"{owner} set {ref}.{name} {wanted}, sees {value}"
            if own:
                return
        versions = [
            version
            for place in ref.made
            for version, record in enumerate(self.upstream.history[place])
            if record is not None and self.same(record.get(name), value)
        ]
        pending_too = any(write.attributes and self.same(write.attributes.get(name), value) for write in lane)
        assert versions or pending_too, f"{owner} sees {value} in {ref}.{name}, which nobody told upstream"
        if name in wanted.fields and versions and not lane and not ref.contested and len(ref.made) == 1:
            # What others set (a visitor before the log-in too) comes by fetches alone, and goes with their copies.
            told = self.told_upstream(ref, name, wanted.fields[name][0], by=owner)
            assert told is None or told <= max(versions), f"{owner} set {ref}.{name} {wanted}, sees an older {value}"


def _in_two_shapes(ref: Ref, lane: list[Write]) -> bool:
    """Whether the app takes it for two records: one upstream and one whose create is in doubt, or it was doubled."""
    return len(ref.made) > 1 or (bool(ref.made) and any(write.kind is Kind.CREATE for write in lane))


def pending_values(lane: list[Write], name: str) -> list[Any]:
    """What a lane changes a field to, in order."""
    changed = [changes(write.base, write.attributes) for write in lane if write.attributes is not None]
    return [each[name] for each in changed if name in each]


def kind_of(collection: str) -> str:
    """The name of a collection by its URL."""
    return "notes" if collection.endswith("/notes") else collection.removeprefix("/")


def check_lanes(pending: list[Write], exempt: set[tuple[str, str]]) -> None:
    """At most one frozen head and one unfrozen tail a lane, but for edits that may not fold."""
    lanes: dict[tuple[str, str], list[Write]] = {}
    for write in pending:
        lanes.setdefault((write.store, str(write.record_id)), []).append(write)
    for name, lane in lanes.items():
        if name in exempt:
            continue
        frozen = [write.frozen for write in lane]
        assert not any(frozen[1:]), f"frozen writes of {name}: {lane}"
        loose = [write for write in lane if not write.frozen]
        assert all(map(_names_another, loose[1:])), f"unfrozen writes of {name}: {lane}"


def _names_another(write: Write) -> bool:
    """Whether it refers to another record, or did before that one was numbered."""
    changed = changes(write.base, write.attributes or {})
    return write.refers or "ref" in changed or "link" in changed


def check_acyclic(waits: Mapping[str, list[str]]) -> None:
    """No two writes wait for each other, however far around."""
    done: set[str] = set()
    while len(done) < len(waits):
        ready = {each for each in waits if each not in done and set(waits[each]) <= done}
        assert ready, f"writes wait in a circle: {waits}"
        done |= ready


def is_stuck(write: Write, waits: Mapping[str, list[str]], by_id: Mapping[str, Write]) -> bool:
    """Whether a write waits for its owner, or for another that does."""
    if write.state in (State.REJECTED, State.CONFLICT):
        return True
    if write.state is State.IN_DOUBT and write.not_before is None:
        return True
    return any(is_stuck(by_id[each], waits, by_id) for each in waits[write.id])
