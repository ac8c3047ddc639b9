"""The parts that one app's reading, writing and flushing share, and the one place that speaks to an upstream."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from blinker import NamedSignal
from flask import Flask

from .. import signals
from ..config import Config, UpstreamConfig
from ..dialect import Dialect
from ..errors import ConfigurationError, NoCredentials
from ..logs import log_failure
from ..policy.backoff import wait_of
from ..policy.hiding import Credential, credential_of, may_hide, may_hide_write
from ..policy.outcomes import is_reachable
from ..policy.settling import Rules
from ..storage.base import Bases
from ..storage.outbox import Outbox
from ..types import PLAIN, Answer, Declaration, Failure, Fault, Request, Write
from ..upstream.breaker import Breaker
from ..upstream.client import Client
from .after import After
from .sharing import Flights

#: How often a worker looks whether another one's breaker is open, seconds.
LOOK_AROUND = 1.0

#: What takes the place of an answer that hid its records.
NOT_KNOWN = b'{"detail": "It answered as if nothing were there, but it does not know the credential."}'

#: What takes the place of an answer to a write that may hide, where nobody tells.
UNCONFIRMED = "The upstream's answer was empty, and whether it knows the credential could not be found out."


class Credentials(NamedTuple):
    """What the app's ``upstream_auth`` gave for one owner and upstream, or what kept it from that."""

    auth: Any = None
    error: Exception | None = None

    @property
    def refusal(self) -> str | None:
        """Why nothing may be sent, as a sentence."""
        if self.error is None:
            return None
        # What else the hook raised may quote the secret that it asked with, and this is stored and shown.
        told = str(self.error) if isinstance(self.error, NoCredentials) else ""
        return told or f"The credential for the upstream could not be had ({type(self.error).__name__})."

    @property
    def is_away(self) -> bool:
        """Whether what the app asked for a credential was out of reach: as good as the upstream itself."""
        return isinstance(self.error, OSError)

    def require(self) -> Any:
        """Give the credential, or raise what kept the app from giving one: ``NoCredentials``, or its own error."""
        if self.error is not None:
            raise self.error
        return self.auth


class Exchanged(NamedTuple):
    """What a request brought, and the statuses that mean "offline" for it."""

    answer: Answer | Failure
    offline_codes: Collection[int]


class Upstream:
    """One upstream in this process: its client and its breaker. ``online`` is None until it was asked once."""

    def __init__(
        self, config: UpstreamConfig, clock: Callable[[], float], ticks: Callable[[], float], pool_size: int
    ) -> None:
        self.config = config
        self.breaker = Breaker(config.breaker_threshold, config.breaker_cooldown, ticks)
        self.online: bool | None = None
        self._clock = clock
        self._ticks = ticks
        self._looked: float | None = None
        self._client = Client(
            config.name,
            config.url,
            timeout=config.timeout,
            max_response_bytes=config.max_response_bytes,
            pool_size=pool_size,
        )

    @property
    def shared_name(self) -> str:
        """How the workers name it to each other: an upstream that moved is another one."""
        return f"{self.config.name} {self.config.url}"

    def is_time_to_look(self) -> bool:
        """Say, at most once a second, that another worker's breaker is to be looked at."""
        now = self._ticks()
        if self._looked is not None and now - self._looked < LOOK_AROUND:
            return False
        self._looked = now
        return True

    def _offline_codes(self, answer: Answer | Failure) -> Collection[int]:
        """Give the statuses that mean "offline", asking the app's callable where it is one [offlineStatusCodes]."""
        codes = self.config.offline_status_codes
        if isinstance(answer, Failure) or not callable(codes):
            return () if callable(codes) else codes
        try:
            return frozenset(codes(answer))
        # The hook is the app's. The answer is here already, and must count for the write that it answers.
        except Exception as error:  # noqa: BLE001
            log_failure("DUALSTORAGE_OFFLINE_STATUS_CODES failed, so this answer counts as online", error=error)
            return ()

    def send(self, request: Request, auth: Any, timeout: tuple[float, float] | None) -> Exchanged:
        """Send one request."""
        answer = self._client.send(request, auth=auth, timeout=timeout)
        if isinstance(answer, Failure) and answer.fault is Fault.NO_CREDENTIAL:
            # One owner's trouble; the upstream was not asked.
            return Exchanged(answer, ())
        return self.heard(answer)

    def heard(self, answer: Answer | Failure) -> Exchanged:
        """Let the breaker know what was answered."""
        codes = self._offline_codes(answer)
        self.online = is_reachable(answer, codes)
        if self.online:
            self.breaker.succeeded()
        else:
            self.breaker.failed()
        if isinstance(answer, Answer) and answer.status_code == 503:
            self.breaker.hold(wait_of(answer.headers, self._clock()) or 0.0)
        return Exchanged(answer, codes)


@dataclass
class Engine:
    """One app's parts. ``declaration`` finds what a stored write was declared as, ``memo`` is the web request's."""

    app: Flask
    config: Config
    #: Seconds since 1970: the age of copies, dates in answers.
    clock: Callable[[], float]
    #: Seconds that never go backwards: the breaker's.
    ticks: Callable[[], float]
    outbox: Outbox
    bases: Bases
    declaration: Callable[[Write], Declaration]
    #: The app's: ``upstream_auth``, ``reconcile`` and ``on_conflict``, where it named them.
    hooks: Mapping[str, Callable[..., Any]]
    memo: Callable[[], MutableMapping[str, Any] | None]
    after: After
    jitter: Callable[[], float] = random.random
    #: Let nothing go out: the switch of ``testing.offline``.
    offline: bool = False
    flights: Flights[Any] = field(default_factory=Flights)
    _upstreams: dict[str, Upstream] = field(default_factory=dict)

    def upstream(self, name: str) -> Upstream:
        """Give an upstream by name. Raises ``ConfigurationError`` where none of that name is configured."""
        found = self._upstreams.get(name)
        if found is None:
            config = self.config.upstreams.get(name)
            if config is None:
                key = "DUALSTORAGE_UPSTREAM_URL" if name == "default" else f"DUALSTORAGE_UPSTREAMS[{name!r}]"
                raise ConfigurationError(f"{key} is not set; it takes the base URL of the API.")
            created = Upstream(config, self.clock, self.ticks, max(self.config.sync_concurrency, 8))
            found = self._upstreams.setdefault(name, created)
        return found

    def conflict_policy(self) -> Any:
        """Give how a conflict is decided where its collection says nothing else: ``@on_conflict``, or the config."""
        return self.hooks.get("on_conflict") or self.config.conflict

    def dialect(self, name: str) -> Dialect:
        """Give how an upstream speaks where a collection of it says nothing else."""
        config = self.config.upstreams.get(name)
        return PLAIN if config is None or config.dialect is None else config.dialect

    def has_upstream(self, name: str) -> bool:
        """Say whether an upstream of that name is configured: a stored write may be older than the config."""
        return name in self.config.upstreams

    def known_upstreams(self) -> list[Upstream]:
        """Give the upstreams that this process has spoken to, or tried to."""
        return list(self._upstreams.values())

    def credentials(self, owner: str, upstream: str) -> Credentials:
        """Ask the app, in this thread, for what the upstream wants to see. It is never stored."""
        hook = self.hooks.get("upstream_auth")
        if hook is None:
            return Credentials()
        try:
            return Credentials(hook(owner, upstream))
        except NoCredentials as refusal:
            return Credentials(error=refusal)
        # The hook is the app's, and may speak to a service that is down too: an edit must not be lost for that.
        except Exception as error:  # noqa: BLE001
            log_failure("upstream_auth failed for upstream %r", upstream, error=error)
            return Credentials(error=error)

    def forget_reads(self) -> None:
        """Let what this web request reads from here on be read anew: something was written."""
        memo = self.memo()
        if memo is not None:
            memo.pop("reads", None)

    def may_ask(self, name: str) -> bool:
        """Say whether a request may go out: the breaker lets it, and none failed to connect in this web request."""
        memo = self.memo()
        if self.offline or (memo is not None and name in memo.get("unreachable", ())):
            return False
        upstream = self.upstream(name)
        if upstream.breaker.allow() and upstream.is_time_to_look():
            self._take_over(upstream)
        return upstream.breaker.allow()

    def _take_over(self, upstream: Upstream) -> None:
        """Hold back where another worker's breaker is open: its failures, or its ``Retry-After``, are for all."""
        seconds = self.bases.open_for(upstream.shared_name, self.clock())
        if seconds > 0:
            upstream.breaker.hold(seconds)
            was, upstream.online = upstream.online, False
            self._tell(upstream.config.name, was, False)

    def exchange(
        self,
        name: str,
        request: Request,
        auth: Any,
        timeout: tuple[float, float] | None,
        listed: Dialect | None = None,
    ) -> Exchanged:
        """Send one request of this web request, or outside of any; ``listed`` is the dialect of a list that is read."""
        upstream = self.upstream(name)
        was = upstream.online
        exchanged = upstream.send(request, auth, timeout)
        if _is_to_be_confirmed(upstream, request, exchanged.answer, listed):
            exchanged = _confirmed(upstream, request, exchanged, auth, timeout)
        return self._noted(upstream, was, request, exchanged)

    def heard_within(self, name: str, request: Request, answer: Answer, auth: Any) -> Exchanged:
        """Take the answer to a request that came within the answer to several as if it had come alone."""
        upstream = self.upstream(name)
        was = upstream.online
        exchanged = upstream.heard(answer)
        if _is_to_be_confirmed(upstream, request, answer, None):
            exchanged = _confirmed(upstream, request, exchanged, auth, None)
        return self._noted(upstream, was, request, exchanged)

    def _noted(self, upstream: Upstream, was: bool | None, request: Request, exchanged: Exchanged) -> Exchanged:
        """Let this page, the other workers and the app's receivers know how it went."""
        name, memo, answer = upstream.config.name, self.memo(), exchanged.answer
        if memo is not None and isinstance(answer, Failure) and _holds_for_the_page(request, answer):
            memo.setdefault("unreachable", set()).add(name)
        self._share(upstream, was)
        self._tell(name, was, upstream.online)
        return exchanged

    def _share(self, upstream: Upstream, was: bool | None) -> None:
        """Let the other workers know what this answer did to the breaker."""
        seconds = upstream.breaker.open_for()
        if seconds > 0:
            self.bases.put_open_until(upstream.shared_name, self.clock() + seconds, seconds)
        elif was is False and upstream.online:
            self.bases.forget_open_until(upstream.shared_name)

    def _tell(self, name: str, was: bool | None, now: bool | None) -> None:
        if now is False and was is not False:
            self.emit(signals.upstream_lost, upstream=name)
        if now is True and was is False:
            self.emit(signals.upstream_back, upstream=name)

    def history_kept(self) -> float:
        """Give for how many seconds applied writes stay: as long as a copy may be that began before them."""
        deadline = max((upstream.timeout[1] for upstream in self.config.upstreams.values()), default=0.0)
        return max(self.config.keep_applied, self.config.cache_timeout + deadline)

    def rules(self, declared: Declaration) -> Rules:
        """Give what decides over a write in doubt."""
        upstream = self.upstream(declared.upstream).config
        own = declared.dialect.honours_keys
        honours = upstream.honours_keys if own is None else own
        return Rules(declared.in_doubt, honours if self.key_header(declared) else False, self.config.max_attempts)

    def key_header(self, declared: Declaration) -> str | None:
        """Give the header that carries a write's idempotency key; None where none is sent."""
        own = declared.dialect.idempotency_header
        if isinstance(own, str):
            return own
        return None if own is False else self.upstream(declared.upstream).config.idempotency_header

    def emit(self, signal: NamedSignal, **data: Any) -> None:
        """Send a signal; always after the commit of what it tells of."""
        signals.emit(signal, self.app, **data)


def _holds_for_the_page(request: Request, failure: Failure) -> bool:
    """Say whether the rest of this web request is to leave the upstream alone: each try would take as long.

    A write that is not answered in time says nothing of other writes.
    """
    return failure.fault is Fault.UNSENT or (failure.late and request.method == "GET")


def _is_to_be_confirmed(upstream: Upstream, request: Request, answer: Answer | Failure, listed: Dialect | None) -> bool:
    if upstream.config.credential_probe is None or isinstance(answer, Failure):
        return False
    return may_hide(answer, listed) if request.method == "GET" else may_hide_write(answer)


def _confirmed(
    upstream: Upstream, request: Request, exchanged: Exchanged, auth: Any, timeout: tuple[float, float] | None
) -> Exchanged:
    """Believe an empty answer only under a good credential: a bad one is a 401, and no probe no answer at all."""
    answer = exchanged.answer
    if isinstance(answer, Failure):
        return exchanged
    # A tenant's header, or a media type, is a part of what the API knows its user by; conditions and keys are not.
    own = {upstream.config.idempotency_header, "Content-Type"}
    headers = {name: value for name, value in request.headers.items() if name not in own and not name.startswith("If-")}
    probe = upstream.send(Request("GET", upstream.config.credential_probe or "/", headers), auth, timeout)
    match credential_of(probe.answer, probe.offline_codes):
        case Credential.GOOD:
            return exchanged
        case Credential.BAD:
            return exchanged._replace(answer=answer._replace(status_code=401, content=NOT_KNOWN))
        case Credential.UNKNOWN if request.method != "GET" and 200 <= answer.status_code < 300:
            # That the probe was not sent says nothing of the write, which was taken, or was not.
            return exchanged._replace(answer=Failure(Fault.CUT, UNCONFIRMED))
        case Credential.UNKNOWN:
            return probe
