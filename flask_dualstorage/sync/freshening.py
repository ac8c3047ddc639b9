"""How a read keeps a copy fresh: once a web request, one for all who ask at once, from a copy where that will do."""

from __future__ import annotations

from collections.abc import Hashable

from ..errors import NotCached, UpstreamError
from ..policy.freshness import Step, Tolerance, tolerance
from . import reading
from .reading import Here, Loaded, Subject
from .sharing import Flight

#: What a page is told that was given the copy because somebody else fetches a newer one.
REFRESHING = "A newer copy is being fetched."
#: How much longer than its deadline a read may be waited for, or hold others back, seconds.
GRACE = 1.0


def fetch(subject: Subject) -> Loaded:
    """Read a list or a record; within one web request the same again is what was read before.

    A ``max_age`` of the call's own is its last word: 0 asks in any case. Raises as ``reading.ask`` does.
    """
    memo = subject.engine.memo()
    if memo is None:
        return _fetch(subject)
    reads: dict[Hashable, Loaded] = memo.setdefault("reads", {})
    key = _question(subject)
    known = reads.get(key)
    if known is None or not _will_do(subject, known):
        known = reads[key] = _fetch(subject)
    return known


def _question(subject: Subject) -> Hashable:
    options = subject.fetch
    headers = tuple(sorted(options.headers.items()))
    return (*_what(subject), options.add, options.when_dirty, options.timeout, options.looked_at, headers)


def _what(subject: Subject) -> tuple[str, ...]:
    return subject.owner, subject.declared.store, subject.path, subject.query


def _will_do(subject: Subject, known: Loaded) -> bool:
    asked = subject.fetch.max_age
    if asked is None:
        return True
    return known.envelope is not None and reading.age_of(subject.engine, known.envelope) < asked


def _fetch(subject: Subject) -> Loaded:
    here = subject.here()
    settled = reading.without_asking(subject, here)
    if settled is not None:
        return settled
    match _step(subject, here):
        case Step.COPY:
            return reading.from_here(subject, here, None)
        case _:
            return _ask(subject, here)


def _step(subject: Subject, here: Here) -> Step:
    """Choose what to do with the copy that is here."""
    return _tolerance(subject).step(None if here.envelope is None else reading.age_of(subject.engine, here.envelope))


def _tolerance(subject: Subject) -> Tolerance:
    return tolerance(subject.fetch.max_age, subject.declared, looked_at=subject.fetch.looked_at)


def _ask(subject: Subject, here: Here) -> Loaded:
    """Ask, unless somebody in this process asks the same already."""
    options = subject.fetch
    if options.add or options.headers or options.max_age == 0 or not subject.engine.may_ask(subject.declared.upstream):
        return reading.ask(subject, here)
    with subject.engine.flights.join(_what(subject)) as (flight, is_mine):
        if not is_mine:
            return _follow(subject, here, flight)
        try:
            flight.landed = _lead(subject, here)
        except (NotCached, UpstreamError) as error:
            flight.error = error
            raise
        return flight.landed


def _lead(subject: Subject, here: Here) -> Loaded:
    """Ask for all of this process; and for all processes, where the app takes copies and many see one grow old."""
    if not _may_show(subject, here):
        return reading.ask(subject, here)
    engine, store = subject.engine, subject.declared.store
    with engine.bases.claimed(subject.owner, store, subject.query, engine.clock, _patience(subject)) as is_mine:
        if not is_mine:
            return reading.from_here(subject, here, REFRESHING)
        # Another may have fetched it between the look and the claim.
        here = subject.here()
        young = _step(subject, here) is not Step.ASK
        return reading.from_here(subject, here, None) if young else reading.ask(subject, here)


def _follow(subject: Subject, here: Here, flight: Flight[Loaded]) -> Loaded:
    """Give the copy while another fetches; wait for that one where there is none, or the app takes none."""
    if _may_show(subject, here):
        return reading.from_here(subject, here, REFRESHING)
    if not flight.wait(_patience(subject)):
        return reading.ask(subject, here)
    if flight.error is not None:
        raise flight.error
    if flight.landed is None or flight.landed.envelope is None:
        # Nothing that what was written here could be laid over anew.
        return reading.ask(subject, here)
    return reading.look_again(subject, flight.landed)


def _may_show(subject: Subject, here: Here) -> bool:
    """Whether the app takes copies here, and there is one that may still be shown."""
    return subject.fetch.max_age is None and _tolerance(subject).takes_copies and reading.is_showable(subject, here)


def _patience(subject: Subject) -> float:
    timeout = subject.fetch.timeout or subject.engine.upstream(subject.declared.upstream).config.timeout
    return timeout[1] + GRACE
