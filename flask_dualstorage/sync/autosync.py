"""``DUALSTORAGE_AUTO_SYNC = "after_response"``: an owner's due writes go out after one of the owner's pages.

A page asks nothing for it: what it reads anyway, a view or the status, tells whether something waits.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from ..errors import NoCredentials
from ..policy.planning import is_due
from ..types import Write
from .after import Job
from .engine import Credentials, Engine
from .flush import flush

AFTER_RESPONSE = "after_response"

#: How long an owner's pages leave the outbox alone after one of them sent what was due, seconds.
EVERY = 5.0
#: Of how many owners that is remembered; where there are more at once, some are asked a little more often.
OWNERS = 10_000

_DUE = "due"


def note(engine: Engine, owner: str, writes: Iterable[Write]) -> None:
    """Remember, for the end of the web request, which upstreams a due write of the owner's waits for."""
    if engine.config.auto_sync == AFTER_RESPONSE:
        now = engine.clock()
        _remember(engine, owner, {write.upstream for write in writes if is_due(write, now, explicit=False)})


def note_waiting(engine: Engine, owner: str) -> None:
    """Remember that something of the owner's waits, for whichever upstream."""
    if engine.config.auto_sync == AFTER_RESPONSE:
        _remember(engine, owner, set(engine.config.upstreams))


def _remember(engine: Engine, owner: str, upstreams: set[str]) -> None:
    memo = engine.memo()
    if memo is not None and upstreams:
        memo.setdefault(_DUE, {}).setdefault(owner, set()).update(upstreams)


class AutoSync:
    """Sends what pages noted, after their responses: for each owner at most once in ``EVERY`` seconds and process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last: dict[str, float] = {}

    def leave(self, memo: MutableMapping[str, Any]) -> None:
        """Leave to be done what was noted in a web request, while that is still there."""
        for owner, noted in memo.pop(_DUE, {}).items():
            upstreams = {name for name in noted if self._engine.has_upstream(name) and self._engine.may_ask(name)}
            if upstreams and self._is_time(owner):
                self._leave(memo, owner, upstreams)

    def _leave(self, memo: MutableMapping[str, Any], owner: str, upstreams: set[str]) -> None:
        engine, key = self._engine, ("sync", owner)

        def make() -> Job:
            credentials = {name: engine.credentials(owner, name) for name in upstreams}
            return Job(key, owner, lambda: _send(engine, owner, credentials))

        engine.after.later(memo, key, make)

    def _is_time(self, owner: str) -> bool:
        now = self._engine.ticks()
        last = self._last.get(owner)
        if last is not None and now - last < EVERY:
            return False
        if len(self._last) >= OWNERS:
            # No lock, which a fork could inherit locked: what is lost here is that an owner is asked once more.
            recent = {each: since for each, since in list(self._last.items()) if now - since < EVERY}
            self._last = recent if len(recent) < OWNERS else {}
        self._last[owner] = now
        return True


def _send(engine: Engine, owner: str, credentials: dict[str, Credentials]) -> None:
    """Send what is due, within the budget of a sync; nothing goes to an upstream whose credential is not here."""
    others = Credentials(error=NoCredentials("Its credential was not asked for; the next page does."))
    known = {name: credentials.get(name, others) for name in engine.config.upstreams}
    with engine.app.app_context():
        flush(engine, owner, budget=engine.config.sync_budget, explicit=False, credentials=known)
