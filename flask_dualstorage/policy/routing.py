"""Which way a call goes: upstream only, local only, kept for later, or both (DESIGN §4.1)."""

from __future__ import annotations

from enum import StrEnum


class Route(StrEnum):
    """The way of one call."""

    #: Upstream only: nothing cached, nothing queued, errors raise.
    REMOTE = "remote"
    #: Local only: durable, never dirty, never sent.
    LOCAL = "local"
    #: ``remote=False`` on the call: the local view, or queued as dirty and not sent now.
    DEFERRED = "deferred"
    #: Upstream and local storage.
    DUAL = "dual"


def route(*, local: bool, remote: bool, call_remote: bool) -> Route:
    """Choose by the first flag that applies: ``remote``, ``local``, the call's ``remote=False``."""
    if remote:
        return Route.REMOTE
    if local:
        return Route.LOCAL
    return Route.DUAL if call_remote else Route.DEFERRED


def store_at(url: str, upstream: str) -> str:
    """Name the store of a URL where the app names none: the same URL of another upstream holds other records.

    The URL comes first, so that a nested store moves with its parent. No URL holds a space.
    """
    return url if upstream == "default" else f"{url} ({upstream})"
