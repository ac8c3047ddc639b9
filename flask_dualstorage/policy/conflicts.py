"""What becomes of a write that met another record than it was made on: the policy decides (DESIGN §4.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..types import Attributes, Kind, Verdict, Way, Write
from .merging import Clash, Conflict, Policy, is_conflict, left_to_owner, merge
from .references import is_temp_id
from .values import check_attributes, copy_json, same

#: How often in a row a write is combined and sent again, before a record that changes all the time is its owner's.
MOST_MERGES = 5
#: The member of a write's problem that counts them, and the one that names what was given up on the way.
MERGES, GIVEN_UP = "merges", "given_up"


class BadDecision(ValueError):
    """A callable policy gave what can be no decision; its text says what."""


_OWNER = Verdict(Way.OWNER)
_LOST = Verdict(Way.DROP, reason="The upstream's version was chosen, as the collection declares.")


def judge(
    policy: Policy, write: Write, theirs: Attributes | None, validator: str | None, key: str | None, max_bytes: int
) -> Verdict:
    """Decide about a write in conflict with ``theirs`` (None: the record is gone upstream).

    ``key`` is the field that holds the id, None where there is only one record. ``max_bytes`` is how large a record
    may be. Raises whatever a callable policy raises, ``BadDecision`` and ``ValidationFailed`` for what it may not give.
    """
    verdict = _judged(policy, write, theirs, key, max_bytes)
    if verdict.way is not Way.AGAIN:
        return verdict
    if merges_of(write) >= MOST_MERGES:
        return replace(_OWNER, reason=f"It changed upstream again each of {MOST_MERGES} times that it was sent.")
    known = write.base is not None and theirs is not None and same(write.base, theirs)
    if known and validator == write.validator and verdict.kind is write.kind:
        return replace(_OWNER, reason="It did not change upstream, so sending it again would not help.")
    return verdict


def merges_of(write: Write) -> int:
    """Give how often in a row a write was combined with what the upstream held."""
    found = (write.problem or {}).get(MERGES, 0)
    return found if isinstance(found, int) else 0


def merge_note(write: Write) -> Attributes | None:
    """Give what a write's problem says of merges, which outlives the next answer; None where there were none."""
    note = {name: write.problem[name] for name in (MERGES, GIVEN_UP) if write.problem and name in write.problem}
    return {"title": "Merged", **note} if note else None


def add_to_note(write: Write, problem: Attributes | None, verdict: Verdict) -> Attributes:
    """Give the problem of a write that is sent again: one merge more, and what it gave up."""
    lost = [*(write.problem or {}).get(GIVEN_UP, ()), *verdict.given_up]
    return {**(problem or {"title": "Merged"}), MERGES: merges_of(write) + 1} | ({GIVEN_UP: lost} if lost else {})


def clashes_of(write: Write, policy: Policy = "merge") -> tuple[Clash, ...]:
    """Give what both sides changed in a write that is in conflict, and ``policy``, the collection's, does not decide.

    Empty where the whole record is the question.
    """
    if write.attributes is None or write.theirs is None:
        return ()
    return merge(write.base, write.attributes, write.theirs, left_to_owner(policy)).clashes


def with_mine(write: Write, policy: Policy = "merge") -> tuple[Kind, Attributes | None]:
    """Give what to send where mine wins: put on what the upstream holds, or made anew where that is gone.

    What the collection's ``policy`` decides by field stays decided: mine wins in what it leaves to the owner.
    """
    if write.attributes is None:
        return Kind.DELETE, None
    if write.theirs is None:
        return Kind.CREATE, write.attributes
    return Kind.UPDATE, merge(write.base, write.attributes, write.theirs, left_to_owner(policy)).record


def _judged(policy: Policy, write: Write, theirs: Attributes | None, key: str | None, max_bytes: int) -> Verdict:
    if policy == "manual" or (theirs is None and write.kind is not Kind.UPDATE) or is_temp_id(write.record_id):
        return _OWNER
    if callable(policy):
        return _asked(policy, write, theirs, key, max_bytes)
    whole = policy.get("*") if isinstance(policy, Mapping) else policy
    if theirs is None:
        return _LOST if whole == "server" else _OWNER
    if write.kind is Kind.UPDATE:
        return _merged(policy, write, theirs)
    if write.kind is Kind.DELETE and write.base is not None and same(write.base, theirs):
        return Verdict(Way.AGAIN, Kind.DELETE)
    if whole == "client":
        return Verdict(Way.AGAIN, *with_mine(write._replace(theirs=theirs), policy))
    return _LOST if whole == "server" else _OWNER


def _merged(policy: Policy, write: Write, theirs: Attributes) -> Verdict:
    merged = merge(write.base, write.attributes or {}, theirs, policy)
    if merged.clashes:
        both = ", ".join(".".join(map(str, each.path)) for each in merged.clashes)
        return replace(_OWNER, reason=f"Changed on both sides: {both}.")
    if same(merged.record, theirs):
        return _LOST if merged.given_up else Verdict(Way.APPLIED)
    given_up = tuple(each.to_dict() for each in merged.given_up)
    return Verdict(Way.AGAIN, Kind.UPDATE, merged.record, given_up)


def _asked(
    policy: Callable[[Any, Any, Any], Any], write: Write, theirs: Attributes | None, key: str | None, max_bytes: int
) -> Verdict:
    """Ask the app what the record shall be: None where it shall not be, which one side must have wanted."""
    decided = policy(copy_json(write.base), copy_json(write.attributes), copy_json(theirs))
    if is_conflict(decided):
        return replace(_OWNER, reason=decided.reason or None if isinstance(decided, Conflict) else None)
    if decided is None:
        return _without(write, theirs)
    wanted = check_attributes(decided, max_bytes)
    if key is not None:
        if str(wanted.get(key, write.record_id)) != str(write.record_id):
            raise BadDecision(f"it gave a record with another {key}.")
        wanted[key] = write.record_id
    if theirs is None:
        return Verdict(Way.AGAIN, Kind.CREATE, wanted)
    return _LOST if same(wanted, theirs) else Verdict(Way.AGAIN, Kind.UPDATE, wanted)


def _without(write: Write, theirs: Attributes | None) -> Verdict:
    if theirs is None:
        return _LOST
    if write.attributes is None:
        return Verdict(Way.AGAIN, Kind.DELETE)
    raise BadDecision("it gave None for a record that both sides have; it gives a record, or Conflict.")
