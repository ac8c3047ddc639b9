"""How a read keeps a copy fresh: once a web request, one for all who ask at once, from a copy where that will do."""

from __future__ import annotations

from collections.abc import Hashable

from ..errors import NotCached, UpstreamError
from ..logs import log
from ..policy.freshness import Step, Tolerance, is_ahead, tolerance
from . import reading
from .after import Job
from .autosync import note
from .engine import Credentials
from .sharing import Flight
from .subject import Here, Loaded, Subject

#: What a page is told that was given the copy because somebody else fetches a newer one.
REFRESHING = "A newer copy is being fetched."
#: How much longer than its deadline a read may be waited for, or hold others back, seconds.
GRACE = 1.0
#: How many requests a list that is read to its end may be waited for; of a longer one each reads its own.
PAGES = 10


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


def look(subject: Subject) -> Loaded:
    """Give the view from what is here, without a request; empty where nothing is."""
    here = subject.elsewhere(subject.here())
    note(subject.engine, subject.owner, here.state.writes)
    return reading.from_here(subject, here, reading.UNASKED)


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
    note(subject.engine, subject.owner, here.state.writes)
    settled = reading.without_asking(subject, here)
    if settled is not None:
        return settled
    step = _step(subject, here)
    if step is Step.COPY:
        return reading.from_here(subject, here, None)
    reason = _afterwards(subject, here, step)
    return _ask(subject, here) if reason is None else reading.from_here(subject, here, reason)


def _step(subject: Subject, here: Here) -> Step:
    """Choose what to do with the copy that is here."""
    envelope, now = here.envelope, subject.engine.clock()
    if envelope is None or is_ahead(envelope, now):
        return Step.ASK
    return _tolerance(subject).step(max(0.0, now - envelope.asked_at))


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
        now = subject.here()
        is_newer = _asked_at(now) > _asked_at(here)
        return reading.from_here(subject, now, None) if is_newer else reading.ask(subject, now)


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
    return timeout[1] * (PAGES if subject.fetch.all_pages else 1) + GRACE


# --- after the response --------------------------------------------------------------------------------------


def _afterwards(subject: Subject, here: Here, step: Step) -> str | None:
    """Leave it for after the response to ask, where the copy will do until then; gives the reason for the page."""
    engine, options, name = subject.engine, subject.fetch, subject.declared.upstream
    if engine.offline or options.add or options.headers or not reading.is_showable(subject, here):
        return None
    breaker = engine.upstream(name).breaker
    if breaker.wants_probe():
        key: Hashable = ("probe", name)
        return reading.AWAY if engine.after.later(engine.memo(), key, lambda: _job(key, subject, here)) else None
    if step is not Step.COPY_AND_REFRESH or not breaker.allow():
        return None
    key = ("refresh", *_what(subject))
    return REFRESHING if engine.after.later(engine.memo(), key, lambda: _job(key, subject, here)) else None


def _job(key: Hashable, subject: Subject, here: Here) -> Job:
    """Take along what only the web request has: the owner's credential, and the headers of the collection."""
    declared = subject.declared
    credentials = subject.engine.credentials(subject.owner, declared.upstream)
    if not credentials.is_away:
        credentials.require()
    headers = dict(declared.headers())
    alone = subject._replace(declared=declared._replace(headers=lambda: headers))
    return Job(key, subject.owner, lambda: _refresh(alone, here, credentials))


def _refresh(subject: Subject, seen: Here, credentials: Credentials) -> None:
    """Fetch a newer copy than the one that was seen, unless somebody does, or did."""
    engine = subject.engine
    claimed = engine.bases.claimed(
        subject.owner, subject.declared.store, subject.query, engine.clock, _patience(subject)
    )
    with engine.app.app_context(), engine.flights.join(_what(subject)) as (flight, is_mine), claimed as is_ours:
        here = subject.here()
        if not (is_mine and is_ours) or _asked_at(here) > _asked_at(seen):
            return
        if here.state.epoch != seen.state.epoch:
            # The owner was forgotten since, at the log-out: no copy comes after that.
            return
        try:
            flight.landed = reading.ask(subject, here, credentials)
        except (NotCached, UpstreamError) as error:
            flight.error = error
            _refused(subject, error)


def _asked_at(here: Here) -> float:
    return 0.0 if here.envelope is None else here.envelope.asked_at


def _refused(subject: Subject, error: NotCached | UpstreamError) -> None:
    """What this owner may no longer see is no copy for the next page either (DESIGN §4.2, 5)."""
    log.info("refreshing %s after the response failed: %s", subject.path, error)
    if isinstance(error, UpstreamError) and error.status in (401, 403):
        bases, store = subject.engine.bases, subject.declared.store
        for query in {subject.query, "", "?"} if subject.record_id is not None else {subject.query}:
            bases.forget(subject.owner, store, query)
