"""Blinker signals: what an app may listen to.

The sender is the app; all are sent after commit. A receiver takes the app and the data by name, for example
``def tell(app, *, owner, write): …`` under ``@write_rejected.connect_via(app)``.

They are sent at most once, by the process that did it and in its thread: one that is killed between the commit and the
signal sends none, and a slow receiver holds up the save or flush that it hears of. What must not be missed is to be
read from ``ds.pending()`` and ``ds.history()``; what takes long belongs into a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blinker import NamedSignal, Namespace

from .logs import log_failure

if TYPE_CHECKING:
    from flask import Flask

_signal = Namespace().signal

write_queued = _signal("write-queued", "A write is in durable storage, and waits. Data: ``owner``, ``write``.")
write_applied = _signal("write-applied", "The upstream has a write. Data: ``owner``, ``write``.")
write_rejected = _signal(
    "write-rejected", "The upstream will not take a write; it stays in the owner's list. Data: ``owner``, ``write``."
)
write_in_doubt = _signal(
    "write-in-doubt", "A write was sent, and nobody knows whether it was applied. Data: ``owner``, ``write``."
)
conflict_found = _signal(
    "conflict-found", "The record of a write changed upstream too: the owner decides. Data: ``owner``, ``write``."
)
sync_finished = _signal("sync-finished", "A flush of one owner ended. Data: ``owner``, ``report``.")
upstream_lost = _signal(
    "upstream-lost", "An upstream went out of reach, as this process sees it. Data: ``upstream``, its name."
)
upstream_back = _signal(
    "upstream-back", "An upstream answers again, as this process sees it. Data: ``upstream``, its name."
)


def emit(signal: NamedSignal, app: Flask, /, **data: Any) -> None:
    """Send ``signal`` to each of its receivers; one that fails is logged, and the others still run."""
    if signal.is_muted:
        return
    for receiver in list(signal.receivers_for(app)):
        try:
            app.ensure_sync(receiver)(app, **data)
        # The only place that may catch everything: a receiver is the app's code, runs after the commit,
        # and must not turn a save that succeeded into an error page or stop a flush half-way.
        except Exception as error:  # noqa: BLE001
            log_failure("A receiver of %r failed: %r", signal.name, receiver, error=error)


__all__ = [
    "conflict_found",
    "emit",
    "sync_finished",
    "upstream_back",
    "upstream_lost",
    "write_applied",
    "write_in_doubt",
    "write_queued",
    "write_rejected",
]
