"""What becomes of a write after its outcome, and of the tail behind it (DESIGN §4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from ..types import AT_ONCE, Attributes, Kind, Meaning, Outcome, State, Verdict, Way, Write
from .backoff import backoff
from .conflicts import GIVEN_UP, add_to_note, merge_note
from .values import changes, put_on, same

#: After a 401 nothing goes by itself for so long, seconds: asking over and over could lock the account.
UNAUTHORIZED_WAIT = 60.0


class Rules(NamedTuple):
    """What decides whether a write in doubt may go again by itself.

    ``honours_keys`` is False, True, or for how many seconds the upstream remembers a key.
    """

    in_doubt: str
    honours_keys: bool | float
    max_attempts: int


def resend_is_safe(write: Write, rules: Rules, now: float) -> bool:
    """Say whether sending ``write`` again with the same key and bytes can not double it, or is wanted all the same."""
    if rules.in_doubt != "auto":
        return rules.in_doubt == "resend"
    # A create by PUT goes to the id that it has: what is there already is never made twice.
    if write.kind is not Kind.CREATE or write.method == "PUT":
        return True
    if isinstance(rules.honours_keys, bool):
        return rules.honours_keys
    return now - write.key_since < rules.honours_keys


class Step(StrEnum):
    """What to do with a write whose turn it is."""

    SEND = "send"
    #: It is a create that may have arrived, and sent again it could make a second record: look for the first.
    LOOK = "look"
    #: Only its owner may send it again.
    HOLD = "hold"


def next_step(write: Write, rules: Rules, now: float) -> Step:
    """Say how a write goes on. That its answer is unknown counts, not whether it waits in doubt or queued.

    A send whose process ended is one more in doubt, and they are bounded.
    """
    died = write.state is State.SENDING
    if not died and write.state is not State.IN_DOUBT and not _may_double(write, rules, now):
        return Step.SEND
    if rules.in_doubt == "hold" or (died and write.doubts + 1 >= rules.max_attempts):
        return Step.HOLD
    return Step.SEND if resend_is_safe(write, rules, now) else Step.LOOK


def _may_double(write: Write, rules: Rules, now: float) -> bool:
    """An offline code says "not taken", and so does a gateway that gave up waiting: no create goes on that word."""
    return write.may_have_arrived and not resend_is_safe(write, rules._replace(in_doubt="auto"), now)


def transition(write: Write, outcome: Outcome, rules: Rules, *, now: float, jitter: float) -> Write:
    """Give ``write`` as it is after any outcome but *applied*; ``jitter`` is in [0, 1)."""
    told = write._replace(reason=outcome.reason, problem=outcome.problem or merge_note(write))
    match outcome.meaning:
        case Meaning.UNREACHABLE | Meaning.NOT_NOW:
            return _queued_again(told, outcome, rules, now, jitter)
        case Meaning.UNAUTHORIZED:
            return _thaw_unsent(told._replace(state=State.QUEUED, lease=0.0, not_before=now + UNAUTHORIZED_WAIT))
        case Meaning.IN_DOUBT:
            return _in_doubt(told, outcome, rules, now, jitter)
        case Meaning.CONFLICT:
            refused = _refused(told._replace(theirs=outcome.record, validator=outcome.validator), State.CONFLICT)
            return refused if outcome.verdict is None else _decided(write, refused, outcome.verdict)
        case Meaning.REJECTED:
            return _refused(told, State.REJECTED)
        case Meaning.APPLIED:
            raise ValueError("an applied write is settled by applied()")


def _queued_again(write: Write, outcome: Outcome, rules: Rules, now: float, jitter: float) -> Write:
    """Not taken: due after the backoff that we choose, or the wait that the upstream asked for.

    What must be looked for keeps its lease: behind the gateway that gave up the upstream may still be at it.
    """
    attempts = write.attempts + 1
    asked = 0.0 if outcome.retry_after is None else now + outcome.retry_after
    queued = write._replace(
        state=State.QUEUED,
        lease=0.0,
        attempts=attempts,
        not_before=now + backoff(attempts, jitter),
        retry_after=asked,
    )
    if outcome.unsent:
        return _thaw_unsent(queued)
    if outcome.meaning is Meaning.NOT_NOW:
        return queued._replace(key_stays=True)
    queued = queued._replace(may_have_arrived=True)
    return queued._replace(lease=write.lease) if next_step(queued, rules, now) is Step.LOOK else queued


def _thaw_unsent(write: Write) -> Write:
    """This send did not arrive, or was not let in: the key stays where an earlier one may have, or was answered."""
    return write if write.may_have_arrived or write.key_stays else thaw(write)


def _refused(write: Write, state: State) -> Write:
    """Definitely not taken: it waits for its owner, and what goes next is a new request.

    Only its last key is remembered, where an earlier send may have arrived: the answer to that one may come yet.
    """
    refused = thaw(write._replace(state=state, lease=0.0, attempts=write.attempts + 1, not_before=None))
    return refused._replace(key=write.key) if write.may_have_arrived else refused


def _decided(before: Write, refused: Write, verdict: Verdict) -> Write:
    """What the policy decided: sent again on what the upstream holds, given up, or its owner's."""
    told = refused._replace(reason=" ".join(filter(None, (refused.reason, verdict.reason))) or None)
    match verdict.way:
        case Way.AGAIN:
            return told._replace(
                state=State.QUEUED,
                kind=verdict.kind,
                attributes=verdict.wanted,
                base=refused.theirs,
                theirs=None,
                not_before=AT_ONCE,
                key=None,
                problem=add_to_note(before, refused.problem, verdict),
            )
        case Way.DROP:
            return told._replace(state=State.DISCARDED, reason=verdict.reason)
        case _:
            return told


def _in_doubt(write: Write, outcome: Outcome, rules: Rules, now: float, jitter: float) -> Write:
    """Tried again by itself where that is safe, or can be looked up, and not too often; else it waits for its owner.

    What must be looked up is not looked for before ``write.lease`` is over: the upstream may still be at it. Looking
    that came to nothing is no send.
    """
    attempts, doubts = write.attempts + 1, write.doubts + (0 if outcome.unsent else 1)
    safe = resend_is_safe(write, rules, now)
    goes_again = (safe or rules.in_doubt == "auto") and doubts < rules.max_attempts and not outcome.hold
    return write._replace(
        state=State.IN_DOUBT,
        attempts=attempts,
        doubts=doubts,
        not_before=now + backoff(attempts, jitter) if goes_again else None,
        lease=0.0 if safe or outcome.unsent else write.lease,
        may_have_arrived=True,
    )


def thaw(write: Write) -> Write:
    """Drop key and bytes: no byte of it ever arrived, or the refusal was definitive. The next send is a new request."""
    return write._replace(
        key=None, key_since=0.0, method=None, path=None, body=None, may_have_arrived=False, key_stays=False
    )


def applied(write: Write, outcome: Outcome, *, settled_seq: int, now: float) -> Write:
    """Give ``write`` as applied: what the upstream holds now is in ``theirs`` and ``validator``."""
    record_id = write.record_id if outcome.record_id is None else outcome.record_id
    note = merge_note(write)
    return write._replace(
        state=State.APPLIED,
        record_id=record_id,
        theirs=None if write.kind is Kind.DELETE else outcome.record,
        validator=outcome.validator,
        settled_seq=settled_seq,
        settled_at=now,
        attempts=write.attempts + 1,
        not_before=None,
        lease=0.0,
        reason=None,
        # What was given up on the way is history too.
        problem=note if note and GIVEN_UP in note else None,
    )


def given_up(write: Write, reason: str, now: float) -> Write:
    """Give ``write`` as never to be sent; it lies over nothing any more."""
    return write._replace(
        state=State.DISCARDED, settled_seq=-1, settled_at=now, reason=reason, key=None, not_before=None
    )


def rebase(tail: Write, record: Attributes | None, validator: str | None) -> Write | None:
    """Put a tail on the record that its head made; None where nothing is left of it.

    A tail that changed nothing from the first is one that its collection keeps all the same, and stays.
    """
    if tail.kind is Kind.DELETE:
        return tail._replace(base=record, validator=validator)
    if tail.kind is Kind.CREATE or record is None:
        return tail
    wanted = put_on(record, tail.base, tail.attributes or {})
    if same(wanted, record) and not same(tail.base, tail.attributes):
        return None
    return tail._replace(base=record, attributes=wanted, validator=validator)


def last_applied(done: Sequence[Write]) -> Write:
    """Give the one of a lane's applied writes, in order, that was applied last.

    No number of this owner's says when one was that an adoption handed over, and its place only when it was made: there
    the clock tells.
    """
    own = [each for each in done if each.settled_seq >= 0]
    handed_over = [each for each in done if each.settled_seq < 0]
    return max([*own[-1:], *handed_over], key=lambda each: (each.settled_at, each.settled_seq))


def catch_up(write: Write, done: Sequence[Write]) -> Write:
    """Put an update that gets a new owner on what that one's own writes made of the record, in order.

    Nothing tells which is older, but the fields do: one that it was made on as such a write found it is from before it.
    """
    base, mine = write.base, write.attributes
    if write.frozen or write.kind is not Kind.UPDATE or base is None or mine is None:
        return write
    for each in done:
        if each.base is None or each.theirs is None:
            continue
        known = {name for name in base if name in each.base and same(base[name], each.base[name])}
        news = {name: value for name, value in changes(each.base, each.theirs).items() if name in known}
        mine = {**mine, **{name: value for name, value in news.items() if same(mine.get(name), base[name])}}
        base = {**base, **news}
    return write._replace(base=base, attributes=mine)
