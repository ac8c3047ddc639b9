"""Three-way merge of one record: what we changed and what others changed, both since the same base (DESIGN §4.8).

Field by field, and into nested objects. A list is one value, unless its elements have a key (``ByKey``). A field that
one side left out was deleted by it, and that is a change like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from ..types import Attributes, Json
from .values import copy_json, same


class Missing(Enum):
    """What stands for the value of a field that is not there."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class ByKey:
    """Merge a list of objects element by element: those with the same ``key`` are the same element."""

    key: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """What a callable policy returns where it can not decide: the owner is asked, and told the ``reason``."""

    reason: str = ""


#: How a change of both sides is decided: a name, ``ByKey``, or ``(base, mine, theirs) -> merged | Conflict``.
FieldPolicy = str | ByKey | Callable[[Any, Any, Any], Any]
#: The same for a whole record; or by field, with ``"*"`` for the fields that are not named.
Policy = FieldPolicy | Mapping[str, FieldPolicy]

NAMES = ("merge", "client", "server", "manual")


@dataclass(frozen=True, slots=True)
class Clash:
    """One value that both sides changed, and not to the same. ``path`` leads to it from the record."""

    path: tuple[str | int, ...]
    base: Json | Missing
    mine: Json | Missing
    theirs: Json | Missing

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON object; a side that has no such field is left out of it."""
        sides = {"base": self.base, "mine": self.mine, "theirs": self.theirs}
        return {"path": list(self.path)} | {name: value for name, value in sides.items() if value is not MISSING}


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged ``record``: what either side changed; mine where they clash, theirs in what was ``given_up``."""

    record: Attributes
    clashes: tuple[Clash, ...] = ()
    given_up: tuple[Clash, ...] = ()

    @property
    def fields(self) -> set[str]:
        """The record's fields with a clash in them."""
        return {str(clash.path[0]) for clash in self.clashes}


def merge(base: Attributes | None, mine: Attributes, theirs: Attributes, policy: Policy = "merge") -> Merged:
    """Merge one record. Without a ``base`` every field counts as changed by both sides.

    ``client`` and ``server`` decide a clash for mine or for theirs, ``manual`` and ``merge`` leave it to the owner;
    ``manual`` looks into no object. A callable is asked for a field that both changed, with its three values
    (``MISSING`` where there is none).
    """
    found = _Merge()
    by_field = policy if isinstance(policy, Mapping) else {"*": policy}
    default = by_field.get("*", "merge")
    record = {}
    for name in _names(base or {}, mine, theirs):
        old, ours, others = _values(base or {}, mine, theirs, name)
        value = found.value(old, ours, others, by_field.get(name, default), (name,))
        if value is not MISSING:
            record[name] = copy_json(value)
    return Merged(record, tuple(found.clashes), tuple(found.given_up))


@dataclass(slots=True)
class _Merge:
    """One merge on its way: what was found so far."""

    clashes: list[Clash] = field(default_factory=list)
    given_up: list[Clash] = field(default_factory=list)

    def value(self, base: Any, mine: Any, theirs: Any, policy: FieldPolicy, path: tuple[str | int, ...]) -> Any:
        """Merge one value."""
        if same(mine, theirs) or same(base, theirs):
            return mine
        if same(base, mine):
            return theirs
        if callable(policy):
            decided = policy(base, mine, theirs)
            return self._clash(Clash(path, base, mine, theirs), policy) if is_conflict(decided) else decided
        if policy != "manual" and isinstance(mine, dict) and isinstance(theirs, dict) and _is_object(base):
            return self._object(base or {}, mine, theirs, policy, path)
        if isinstance(policy, ByKey):
            old, ours, others = (_by_key(side, policy.key) for side in (base, mine, theirs))
            if old is not None and ours is not None and others is not None:
                return self._elements(old, ours, others, policy, path)
        return self._clash(Clash(path, base, mine, theirs), policy)

    def _clash(self, clash: Clash, policy: FieldPolicy) -> Any:
        if policy == "server":
            self.given_up.append(clash)
            return clash.theirs
        if policy != "client":
            self.clashes.append(clash)
        return clash.mine

    def _object(self, base: Any, mine: Any, theirs: Any, policy: FieldPolicy, path: tuple[str | int, ...]) -> Any:
        merged = {}
        for name in _names(base, mine, theirs):
            old, ours, others = _values(base, mine, theirs, name)
            value = self.value(old, ours, others, policy, (*path, name))
            if value is not MISSING:
                merged[name] = value
        return merged

    def _elements(self, base: Any, mine: Any, theirs: Any, policy: ByKey, path: tuple[str | int, ...]) -> Any:
        """Merge element by element, in their order, or in ours where they left it as it was; additions come last."""
        kept = [key for key in theirs if key in base]
        first, second = (mine, theirs) if kept == [key for key in base if key in theirs] else (theirs, mine)
        merged = []
        for key in (*first, *(key for key in second if key not in first)):
            old, ours, others = _values(base, mine, theirs, key)
            value = self.value(old, ours, others, policy, (*path, key))
            if value is not MISSING:
                merged.append(value)
        return merged


def is_conflict(decided: Any) -> bool:
    """Say whether a callable leaves it to the owner: ``Conflict``, or ``Conflict("why")``."""
    return decided is Conflict or isinstance(decided, Conflict)


def left_to_owner(policy: Policy) -> Policy:
    """Give what of a collection's policy still holds once the owner decides: fields that it decides stay decided.

    Where the app decides over whole records or ``manual`` does, it is all the owner's. A callable that fails, or gives
    what is no JSON, leaves its field to the owner as well.
    """
    if isinstance(policy, Mapping):
        return {name: _guarded(each) if callable(each) else each for name, each in policy.items()}
    return "merge" if callable(policy) or policy == "manual" else policy


def _guarded(policy: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    def decide(base: Any, mine: Any, theirs: Any) -> Any:
        try:
            decided = policy(base, mine, theirs)
            return decided if decided is MISSING or is_conflict(decided) else copy_json(decided)
        except Exception:  # noqa: BLE001  # the app's: the owner must be able to look at the write and to decide
            return Conflict

    return decide


def is_policy(value: Any) -> bool:
    """Say whether this can be declared as a collection's policy."""
    if not isinstance(value, Mapping):
        return callable(value) or value in NAMES
    by_key = all(isinstance(each, ByKey) or callable(each) or each in NAMES for each in value.values())
    return by_key and all(isinstance(name, str) for name in value) and value.get("*", "merge") in NAMES


def _is_object(value: Any) -> bool:
    return value is MISSING or isinstance(value, dict)


def _names(base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Give every name once, in the order of theirs, then mine."""
    return list(dict.fromkeys((*theirs, *mine, *base)))


def _values(base: Mapping[Any, Any], mine: Mapping[Any, Any], theirs: Mapping[Any, Any], name: Any) -> list[Any]:
    return [side.get(name, MISSING) for side in (base, mine, theirs)]


def _by_key(value: Any, key: str) -> dict[str | int, Any] | None:
    """Give a list's elements by their key; None where it is no list of objects that a key tells apart."""
    if value is MISSING:
        return {}
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return None
    keys = [each.get(key) for each in value]
    if not all(isinstance(each, str) or type(each) is int for each in keys) or len(set(keys)) < len(keys):
        return None
    return dict(zip(keys, value, strict=True))
