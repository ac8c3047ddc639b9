"""What stands side by side on the page of one write, pure: base, mine and theirs, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..policy.marks import mark_of
from ..policy.values import same

_NOT_THERE = object()


def sides_of(write: Any, key: str | None) -> list[dict[str, Any]]:
    """Give the fields in which anything changed: ``label``, and its value in ``base``, ``mine`` and ``theirs``.

    A side that has no such field is left out. ``who`` changed it is ``mine``, ``theirs`` or ``both``; theirs counts
    only in a conflict. ``key``, the id, is never told, nor what was the same before and after.
    """
    conflict = str(write.state) == "conflict"
    known = {"base": write.base, "mine": write.attributes, "theirs": write.theirs if conflict else None}
    return [row for name in _names(known.values()) if name != key and (row := _row(name, known))]


def _names(records: Any) -> Iterator[str]:
    return iter(dict.fromkeys(name for record in records for name in record or {}))


def _row(name: str, known: Mapping[str, Any]) -> dict[str, Any] | None:
    values = {side: record[name] for side, record in known.items() if record is not None and name in record}
    base = values.get("base", _NOT_THERE)
    mine = known["mine"] is not None and not _equal(base, values.get("mine", _NOT_THERE))
    theirs = known["theirs"] is not None and not _equal(base, values.get("theirs", _NOT_THERE))
    if known["mine"] is None and known["theirs"] is None:
        mine = True  # a delete: what would go
    if not mine and not theirs:
        return None
    return {"label": name, "who": "both" if mine and theirs else "mine" if mine else "theirs", **values}


def _equal(one: Any, other: Any) -> bool:
    if one is _NOT_THERE or other is _NOT_THERE:
        return one is other
    return bool(same(one, other))


seen_of = mark_of
