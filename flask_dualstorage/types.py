"""The words of the project as small frozen values: records, writes, envelopes, outcomes.

Nothing here does I/O; every layer above speaks in these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from .dialect import Dialect

#: A value that JSON can hold.
Json = Any
#: One record's attributes, by field name.
Attributes = dict[str, Json]
#: A record's id as the upstream types it: text or integer.
RecordId = str | int

#: The ``settled_seq`` of a write that is not settled: it lies over every envelope, however new.
UNSETTLED = 2**62
#: The ``not_before`` of a write that is due at once.
AT_ONCE = 0.0


class Kind(StrEnum):
    """What a write intends for its record."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class State(StrEnum):
    """Where a write stands (see ``docs/walk.md``)."""

    QUEUED = "queued"
    SENDING = "sending"
    IN_DOUBT = "in_doubt"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    APPLIED = "applied"
    DISCARDED = "discarded"
    LOCAL = "local"


#: What waits for the upstream, and holds a ``fetch`` while ``when_dirty`` is ``"local"``.
WAITING = frozenset({State.QUEUED, State.SENDING, State.IN_DOUBT})
#: What is not settled: counted as pending, and laid over the base.
PENDING = WAITING | {State.CONFLICT, State.REJECTED}


class Meaning(StrEnum):
    """What an answer, or the lack of one, means for the write that was sent."""

    APPLIED = "applied"
    UNREACHABLE = "unreachable"
    NOT_NOW = "not_now"
    IN_DOUBT = "in_doubt"
    REJECTED = "rejected"
    CONFLICT = "conflict"
    UNAUTHORIZED = "unauthorized"


class Fault(StrEnum):
    """How an exchange with the upstream failed to bring a whole answer."""

    #: DNS, refused, connect timeout, TLS handshake: no byte of the request can have arrived.
    UNSENT = "unsent"
    #: The credential could not be had: nothing was sent, which says nothing of the upstream.
    NO_CREDENTIAL = "no_credential"
    #: The request was sent, at least in part, and no whole answer came: timeout, reset, cut.
    CUT = "cut"
    #: The answer came but is larger than ``DUALSTORAGE_MAX_RESPONSE_BYTES``.
    TOO_LARGE = "too_large"


class Request(NamedTuple):
    """One HTTP request as data. ``path`` is joined to the upstream's URL and already percent-encoded."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    params: Mapping[str, str] | None = None


class Answer(NamedTuple):
    """A whole answer of the upstream, read to its end; names as in ``requests.Response``.

    ``headers`` are case-insensitive.
    """

    status_code: int
    headers: Mapping[str, str]
    content: bytes
    url: str

    @property
    def text(self) -> str:
        """The body as UTF-8 text, undecodable bytes replaced."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Json:
        """The body decoded. Raises ``ValueError`` where it is not JSON (RFC 8259)."""
        return orjson.loads(self.content)


@dataclass(frozen=True, slots=True)
class Failure:
    """No whole answer came: how it failed, and a sentence why. ``late``: it was not there at the deadline."""

    fault: Fault
    reason: str
    late: bool = False


class Way(StrEnum):
    """How a conflict goes on, as the collection's policy decides."""

    #: Combined with what the upstream holds, and sent again.
    AGAIN = "again"
    #: Nothing of it is left to send: the upstream's version was chosen.
    DROP = "drop"
    #: Nothing of it is left to send: the upstream has it already.
    APPLIED = "applied"
    #: The owner must say.
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy decided about a conflict: the ``kind`` and ``wanted`` record of what is sent again.

    ``given_up`` names the values of ours that lost, as JSON objects (``policy.merging.Clash``).
    """

    way: Way
    kind: Kind = Kind.UPDATE
    wanted: Attributes | None = None
    given_up: tuple[Attributes, ...] = ()
    reason: str | None = None


class Outcome(NamedTuple):
    """What became of one sent write: the one value that settling looks at.

    ``record`` is the upstream's record after an applied write (merged over what was sent) or its current
    state in a conflict, None where it is gone. ``retry_after`` is in seconds from the answer. ``unsent``
    says that no byte of the request can have arrived, so that its idempotency key may be dropped; ``found`` that the
    record was found by looking for it, and not told by the answer to the write.
    """

    meaning: Meaning
    status: int | None = None
    record: Attributes | None = None
    record_id: RecordId | None = None
    validator: str | None = None
    retry_after: float | None = None
    unsent: bool = False
    reason: str | None = None
    problem: Attributes | None = None
    response: Any = None
    #: The record is not there any more.
    gone: bool = False
    #: What signs requests could not be had: neither can it for the owner's next one.
    no_credential: bool = False
    #: A write in doubt waits for its owner, whatever the policy.
    hold: bool = False
    #: What the policy decided about a conflict; None: it is the owner's.
    verdict: Verdict | None = None
    found: bool = False


@dataclass(frozen=True, slots=True)
class PageInfo:
    """What the upstream told of how it cut a list; as it stands, of a list that came in one piece.

    ``number`` counts from 1. ``total`` and ``pages`` are of the whole list, ``next`` and ``previous`` the parameters
    of the neighbours, each None where it is not known; ``next_url`` is where the upstream says that the next page is.
    ``numbering`` is (parameter, its value on page 1, its step from page to page). ``complete``: nothing that was in
    the list when it was read is missing here. ``certain`` False: the next page is only supposed to be there.
    ``gaps``: the list changed while its pages were read, and records may have been passed over.
    """

    number: int | None = 1
    per_page: int | None = None
    total: int | None = None
    pages: int | None = 1
    has_next: bool = False
    has_previous: bool = False
    next: Mapping[str, str] | None = None
    previous: Mapping[str, str] | None = None
    next_url: str | None = None
    numbering: tuple[str, int, int] | None = None
    complete: bool = True
    certain: bool = True
    gaps: bool = False


#: A list that came in one piece.
WHOLE = PageInfo()


class Envelope(NamedTuple):
    """One cached value: the bases of one store or query, with what is known about them.

    ``began`` is the owner's ``settled_seq`` when the request for it was made, ``asked_at`` the clock's
    seconds at that moment. ``validators`` holds, by the id's text, the strong validators of single records;
    ``etag`` and ``last_modified`` are the list's own and never a record's. ``page`` tells whether the list is complete.
    """

    records: list[Attributes]
    epoch: str
    began: int
    asked_at: float
    validators: Mapping[str, str] = {}
    etag: str | None = None
    last_modified: str | None = None
    page: PageInfo = WHOLE


#: How most APIs speak.
PLAIN = Dialect()


def _itself(value: Json) -> Json:
    return value


def _no_headers() -> Mapping[str, str]:
    return {}


class Declaration(NamedTuple):
    """What the layers below a collection must know of it, for one owner's call or for a flush.

    ``collection`` is the name it is registered under (``""``: a plain one, which needs no code). ``store`` names
    the set of records, ``url`` is the filled path of the collection, or with ``singleton`` of its only record.
    ``read_only``: nothing of it is ever written. ``parse_list``, ``parse_record``, ``serialize``, ``matches`` and
    ``sort_key`` are the app's hooks.
    """

    collection: str
    store: str
    url: str
    params: Mapping[str, RecordId] = {}
    upstream: str = "default"
    id_attribute: str = "id"
    dialect: Dialect = PLAIN
    singleton: bool = False
    when_dirty: str = "local"
    in_doubt: str = "auto"
    coalesce: bool = True
    #: How a conflict is decided (``policy.merging.Policy``).
    conflict: Any = "merge"
    #: Compare the record with the write's base before an update or delete goes out whose version is not known.
    read_before_write: bool = False
    read_only: bool = False
    #: Whether a model tells that others have pending writes of its record.
    foresight: bool = False
    max_age: float = 0.0
    stale_while_revalidate: float = 0.0
    headers: Callable[[], Mapping[str, str]] = _no_headers
    parse_list: Callable[[Json], Json] = _itself
    parse_record: Callable[[Json], Json] = _itself
    serialize: Callable[[Attributes], Json] = _itself
    matches: Callable[[Attributes, Mapping[str, str]], bool] | None = None
    sort_key: Callable[[Attributes, Mapping[str, str]], Any] | None = None

    @property
    def key_attribute(self) -> str | None:
        """The field that tells the records of this store apart; None where there is only one."""
        return None if self.singleton else self.id_attribute


class Write(NamedTuple):
    """A durable intent to create, update or delete one record: one row of the outbox.

    ``attributes`` is what the owner wants the record to be, ``base`` what it was made on, ``theirs`` what the
    upstream said last. ``attempts`` counts its sends, ``doubts`` those whose fate is unknown. ``method`` set means
    *frozen*: the same ``key`` always carries the same ``method``, ``path`` and ``body``. ``may_have_arrived`` says that
    an earlier send of it may have been applied for all that is known, ``key_stays`` that the key is kept although none
    was: each was answered "not now", or the owner answered the doubt. ``not_before`` and ``retry_after`` are clock
    seconds; ``not_before`` None waits for the owner, and nothing happens before ``lease`` is over.

    A named tuple, for one is made for each row of a view, and anew at each step of its way: a frozen dataclass of so
    many fields costs ten times as much.
    """

    id: str
    seq: int
    owner: str
    collection: str
    store: str
    url: str
    params: Mapping[str, RecordId]
    upstream: str
    record_id: RecordId
    kind: Kind
    state: State
    attributes: Attributes | None
    base: Attributes | None
    validator: str | None
    patch: bool
    refers: bool
    edits: int
    created_at: float
    attempts: int = 0
    doubts: int = 0
    fence: int = 0
    not_before: float | None = AT_ONCE
    retry_after: float = 0.0
    lease: float = 0.0
    key: str | None = None
    key_since: float = 0.0
    may_have_arrived: bool = False
    key_stays: bool = False
    method: str | None = None
    path: str | None = None
    body: bytes | None = None
    reason: str | None = None
    problem: Attributes | None = None
    theirs: Attributes | None = None
    settled_seq: int = UNSETTLED
    settled_at: float = 0.0

    @property
    def unauthorized(self) -> bool:
        """Whether it waits because the upstream refused the owner's credential."""
        return self.state is State.QUEUED and self.problem is not None and self.problem.get("status") == 401

    @property
    def frozen(self) -> bool:
        """Whether a request was fixed for it: same key, same bytes, from then on."""
        return self.method is not None
