"""Let the collection's policy decide about a write that met another record. Runs outside of any transaction."""

from __future__ import annotations

from ..errors import ValidationFailed
from ..logs import log_failure
from ..policy.conflicts import BadDecision, judge
from ..policy.merging import Policy
from ..types import Declaration, Meaning, Outcome, State, Verdict, Way, Write
from .engine import Engine


def policy_of(engine: Engine, write: Write) -> Policy:
    """Give what a write's collection declares for conflicts; the default where it is not known here, or fails.

    Only one in conflict is looked up: its owner must be able to see it and to decide, whatever became of the class.
    """
    if write.state is not State.CONFLICT:
        return "merge"
    try:
        found: Policy = engine.declaration(write).conflict
    except Exception as error:  # noqa: BLE001  # what a class of the app's declares failed: the owner's choice is left
        log_failure("what %r declares failed", write.collection, error=error)
        return "merge"
    return found


def decided(engine: Engine, write: Write, declared: Declaration, outcome: Outcome) -> Outcome:
    """Add to a conflict's outcome what the policy decided; any other outcome stays what it is.

    Where the app's callable fails, the conflict is its owner's.
    """
    if outcome.meaning is not Meaning.CONFLICT:
        return outcome
    limit = engine.config.max_record_bytes
    try:
        verdict = judge(declared.conflict, write, outcome.record, outcome.validator, declared.key_attribute, limit)
    except Exception as error:  # noqa: BLE001  # the policy is the app's, and the write must not be stuck for it
        log_failure("the conflict policy failed for store %s", write.store, error=error)
        why = str(error) if isinstance(error, BadDecision | ValidationFailed) else type(error).__name__
        verdict = Verdict(Way.OWNER, reason=f"The conflict policy failed: {why}")
    if verdict.way is Way.APPLIED:
        return outcome._replace(meaning=Meaning.APPLIED)
    return outcome._replace(verdict=verdict)
