"""The table of DESIGN §4.7, row by row over real sockets: what an answer means for a write, online and in a flush."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from flask_dualstorage import Rejected, UpstreamError
from flask_dualstorage.types import Write
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import (
    Behaviour,
    HostileUpstream,
    Line,
    Then,
    answer,
    black_hole,
    cut,
    cut_json,
    drip,
    drop,
    head,
    html,
    huge,
    nested,
    raw,
    redirect,
    refused_port,
    reset,
    silent,
    zipped,
)
from tests.upstreams.rest import RestUpstream
from tests.whole import Clock, User

#: Seconds to connect, and for the whole answer, where one of them has to pass.
SHORT = {"DUALSTORAGE_TIMEOUT": (0.3, 0.3)}

KINDS = ("create", "update", "delete")

TURING = {"name": "Turing"}
ADA = {"id": 1, "name": "Ada", "age": 41}


@dataclass(frozen=True)
class Meaning:
    """What a row of the table says: what the call that made the write gives, what stays, and what a flush reports.

    ``state`` of the write after a flush; None: settled. ``online`` is what the call returns as the state, or raises.
    ``frozen``: key and bytes are kept. ``attempts`` counts the send.
    """

    state: str | None
    online: str | type[Exception]
    frozen: bool = False
    attempts: int = 1


APPLIED = Meaning(None, "applied")
UNREACHABLE = Meaning("queued", "queued")
NOT_NOW = Meaning("queued", "queued", frozen=True)
IN_DOUBT = Meaning("in_doubt", "in_doubt", frozen=True)
#: A status of 5xx: the view has the form, and hears that it may have been applied.
FAILED = Meaning("in_doubt", UpstreamError, frozen=True)
REJECTED = Meaning("rejected", Rejected)
CONFLICT = Meaning("conflict", "conflict")
UNAUTHORIZED = Meaning("queued", Rejected, attempts=0)

Where = Callable[[RestUpstream], AbstractContextManager[str]]


@dataclass(frozen=True)
class Row:
    """One answer, or lack of one, and what it means: for every kind of write, or for each.

    ``reachable``: whether it counts for the breaker as an upstream that is there. ``record`` is what a settled write
    made of the record, beside what was sent.
    """

    name: str
    answers: tuple[Behaviour, ...]
    means: Meaning | Mapping[str, Meaning]
    reachable: bool = True
    retry_after: int | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    where: Where | None = None

    def kinds(self) -> list[str]:
        """The kinds of write that it is a row for."""
        return list(KINDS) if isinstance(self.means, Meaning) else list(self.means)

    def meaning(self, kind: str) -> Meaning:
        """What it means for one kind."""
        return self.means if isinstance(self.means, Meaning) else self.means[kind]


# --- the rows ----------------------------------------------------------------------------------------------


def at_port(port: Callable[[], AbstractContextManager[int]]) -> Where:
    """An upstream at a port where there is none."""

    @contextmanager
    def where(_: RestUpstream) -> Iterator[str]:
        with port() as number:
            yield f"http://127.0.0.1:{number}"

    return where


def at(url: Callable[[RestUpstream], str]) -> Where:
    """The upstream by another URL."""
    return lambda upstream: nullcontext(url(upstream))


def reset_in_the_answer(line: Line) -> Then:
    """Begin to answer, and reset the connection (RST)."""
    line.write(head(200, {"Content-Length": "100"}) + b'{"id"')
    return Then.RESET


UNSENT = [
    Row("name that does not resolve", (), UNREACHABLE, False, where=at(lambda _: "http://crm.invalid")),
    Row("refused", (), UNREACHABLE, False, where=at_port(refused_port)),
    Row("black hole", (), UNREACHABLE, False, config=SHORT, where=at_port(black_hole)),
    Row(
        "no TLS there",
        (),
        UNREACHABLE,
        False,
        where=at(lambda upstream: upstream.url.replace("http:", "https:")),
    ),
]

LOST = [
    Row("silent", (silent(),), IN_DOUBT, False, config=SHORT),
    Row("dripping status", (drip("status"),), IN_DOUBT, False, config=SHORT),
    Row("dripping headers", (drip("headers"),), IN_DOUBT, False, config=SHORT),
    Row("dripping body", (drip("body"),), IN_DOUBT, False, config=SHORT),
    Row("reset", (reset(),), IN_DOUBT, False),
    Row("reset in the answer", (reset_in_the_answer,), IN_DOUBT, False),
    Row("closed", (drop(),), IN_DOUBT, False),
    Row("cut head", (raw(b"HTTP/1.1 200 OK\r\nContent-", Then.CLOSE),), IN_DOUBT, False),
    Row("cut body", (cut(3),), IN_DOUBT, False),
    Row("no HTTP", (raw(b"SSH-2.0-OpenSSH\r\n", Then.CLOSE),), IN_DOUBT, False),
    Row(
        "broken gzip",
        (answer(200, body=b"{}", headers={"Content-Encoding": "gzip"}),),
        IN_DOUBT,
        False,
    ),
    Row("too large", (huge(3000),), IN_DOUBT, config={"DUALSTORAGE_MAX_RESPONSE_BYTES": 2000}),
]

NOBODY_READS = {"create": IN_DOUBT, "update": IN_DOUBT, "delete": APPLIED}
UNREADABLE = [
    # What a delete's answer says does not matter, as long as it is no page for people.
    Row("cut JSON", (cut_json({"id": 7, "name": "Turing"}),), NOBODY_READS),
    Row("no JSON", (answer(200, body=b"OK"),), NOBODY_READS),
    Row("nested too deep", (nested(5000),), NOBODY_READS),
    Row("a list", (answer(200, [{"id": 7}, {"id": 8}]),), NOBODY_READS),
    Row("a number", (answer(200, 7),), NOBODY_READS),
    Row("HTML with 200", (html(200),), IN_DOUBT),
    Row("HTML with 201", (html(201),), IN_DOUBT),
]


def wait_rows() -> Iterator[Row]:
    """425, 429 and 503, without ``Retry-After`` and with both forms of it."""
    date = format_datetime(datetime.fromtimestamp(Clock().now + 30, UTC), usegmt=True)
    forms: dict[str, tuple[dict[str, str], int | None]] = {
        "": ({}, None),
        " for seconds": ({"Retry-After": "30"}, 30),
        " until a date": ({"Retry-After": date}, 30),
        " until some day": ({"Retry-After": "soon"}, None),
    }
    for status in (425, 429, 503):
        for name, (headers, seconds) in forms.items():
            yield Row(f"{status}{name}", (answer(status, headers=headers),), NOT_NOW, status != 503, seconds)
    # The row before that of the offline codes: whatever those are.
    anything = {"DUALSTORAGE_OFFLINE_STATUS_CODES": (429,)}
    told = answer(429, headers={"Retry-After": "30"})
    yield Row("429 as an offline code", (told,), NOT_NOW, False, 30, config=anything)
    yield Row("503 as none", (answer(503),), NOT_NOW, config={"DUALSTORAGE_OFFLINE_STATUS_CODES": ()})


def asked(response: Any) -> tuple[int, ...]:
    """An app's own word on which statuses mean "offline"."""
    return (200, 404) if "X-Maintenance" in response.headers else ()


OFFLINE_CODES = [
    *(Row(f"{status} by default", (answer(status),), NOT_NOW, False) for status in (408, 502, 504)),
    Row("203", (answer(203, {"id": 7}),), NOT_NOW, False, config={"DUALSTORAGE_OFFLINE_STATUS_CODES": (203,)}),
    Row("404", (answer(404),), NOT_NOW, False, config={"DUALSTORAGE_OFFLINE_STATUS_CODES": (404,)}),
    *(
        Row(
            f"{status} by a callable",
            (answer(status, {"id": 7}, headers={"X-Maintenance": "yes"}),),
            NOT_NOW,
            False,
            config={"DUALSTORAGE_OFFLINE_STATUS_CODES": asked},
        )
        for status in (200, 404)
    ),
    Row(
        "a callable that has nothing to say",
        (answer(200, {"id": 7}),),
        {"create": APPLIED},
        record={"id": 7},
        config={"DUALSTORAGE_OFFLINE_STATUS_CODES": asked},
    ),
]

NO_ID = {"create": IN_DOUBT, "update": APPLIED, "delete": APPLIED}
CREATE = {"create": APPLIED}
OTHERS = {"update": APPLIED, "delete": APPLIED}


def success_rows() -> Iterator[Row]:
    """200 to 205, with all of a record, a part of it, nothing, and ``null``."""
    whole = {"name": "TURING", "made": "today"}
    for status in (200, 201, 202):
        yield Row(f"{status}, whole", (answer(status, {"id": 7, **whole}),), CREATE, record={"id": 7, **whole})
        yield Row(f"{status}, whole ", (answer(status, {"id": 1, **whole}),), OTHERS, record=whole)
        yield Row(f"{status}, part", (answer(status, {"id": 7}),), CREATE, record={"id": 7})
        yield Row(f"{status}, part ", (answer(status, {"version": 2}),), NO_ID, record={"version": 2})
        yield Row(f"{status}, null", (answer(status, body=b"null"),), NO_ID)
        yield Row(f"{status}, empty object", (answer(status, {}),), NO_ID)
    for status in (200, 201, 202, 204, 205):
        yield Row(f"{status}, empty", (answer(status),), NO_ID)
        there = answer(status, headers={"Location": "/people/7"})
        read = answer(200, {"id": 7, **whole})
        yield Row(f"{status} and where it is", (there, read), CREATE, record={"id": 7, **whole})
        yield Row(f"{status} and where it is not", (there, answer(404)), {"create": IN_DOUBT})
        yield Row(f"{status} and where a page is", (there, html(200)), {"create": IN_DOUBT})
    yield Row("zipped", (zipped({"id": 7, "made": "today"}),), CREATE, record={"id": 7, "made": "today"})
    yield Row("an id that is none", (answer(201, {"id": None}),), {"create": IN_DOUBT})
    yield Row("an id that is a list", (answer(201, {"id": [7]}),), {"create": IN_DOUBT})
    yield Row("201 to an id we chose", (answer(201),), {"chosen": APPLIED}, record={"id": 9})


ELSEWHERE = "http://elsewhere.invalid/people/1"
MOVED = [
    *(Row(f"{status} within", (redirect("/there", status), answer(200, {"id": 7})), APPLIED) for status in (307, 308)),
    *(Row(f"{status} elsewhere", (redirect(ELSEWHERE, status),), REJECTED) for status in (307, 308)),
    *(Row(f"{status} nowhere", (answer(status),), REJECTED) for status in (307, 308)),
    *(
        Row(f"{status} to {where}", (redirect(where, status),), REJECTED)
        for status in (300, 301, 302, 303, 304, 399)
        for where in ("/login", ELSEWHERE)
    ),
]

GONE = {"create": REJECTED, "update": CONFLICT, "delete": APPLIED, "chosen": REJECTED}
ANOTHER = {"update": CONFLICT, "delete": CONFLICT, "chosen": CONFLICT}
THEIRS = answer(200, {**ADA, "age": 40})
AS_WANTED = answer(200, {**ADA, "by": "me"})
REFUSED = [
    Row("401", (answer(401),), UNAUTHORIZED),
    *(Row(str(status), (answer(status),), GONE) for status in (404, 410)),
    *(Row(str(status), (answer(status), THEIRS), ANOTHER) for status in (409, 412)),
    *(Row(str(status), (answer(status),), {"create": REJECTED}) for status in (409, 412)),
    Row("428", (answer(428), THEIRS), {"update": CONFLICT, "delete": CONFLICT}),
    Row("428", (answer(428),), {"create": REJECTED, "chosen": REJECTED}),
    *(
        Row(f"{status}, and it is as we want it", (answer(status), AS_WANTED), {"update": APPLIED})
        for status in (409, 412, 428)
    ),
    *(
        Row(f"{status}, and it is gone", (answer(status), answer(404)), {"update": CONFLICT, "delete": APPLIED})
        for status in (409, 412, 428)
    ),
    *(
        Row(str(status), (answer(status, {"detail": "No."}),), REJECTED)
        for status in (400, 402, 403, 405, 406, 413, 414, 415, 418, 422, 451, 499, 501, 505)
    ),
    Row("408 as no offline code", (answer(408),), REJECTED, config={"DUALSTORAGE_OFFLINE_STATUS_CODES": ()}),
]

FAILURES = [
    *(Row(str(status), (answer(status),), FAILED) for status in (500, 506, 507, 511, 599)),
    Row("500 as a page", (html(500),), FAILED),
    *(
        Row(f"{status} as no offline code", (answer(status),), FAILED, config={"DUALSTORAGE_OFFLINE_STATUS_CODES": ()})
        for status in (502, 504)
    ),
]

ROWS = [*UNSENT, *LOST, *UNREADABLE, *wait_rows(), *OFFLINE_CODES, *success_rows(), *MOVED, *REFUSED, *FAILURES]
CASES = [pytest.param(row, kind, id=f"{row.name}-{kind}") for row in ROWS for kind in row.kinds()]


# --- the tests ---------------------------------------------------------------------------------------------


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [{"id": 1, "name": "Ada", "age": 36}], "/there": []}) as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def names_that_do_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only addresses of this machine: no test asks a name server, or another host."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *args: Any, **options: Any) -> Any:
        if host != "127.0.0.1":
            raise socket.gaierror(-2, "Name or service not known")
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@contextmanager
def storage(row: Row, user: User, upstream: RestUpstream) -> Iterator[UserStorage]:
    """Alice's, in front of what answers as the row says. One failure opens the breaker."""
    upstream.then(*row.answers)
    where = nullcontext(upstream.url) if row.where is None else row.where(upstream)
    with where as url:
        yield user(url=url, DUALSTORAGE_BREAKER_THRESHOLD=1, **row.config)


def write(alice: UserStorage, kind: str, *, remote: bool) -> tuple[str | None, dict[str, Any]]:
    """Create, update or delete one record; give the write's state, and the record as the view sees it then."""
    people = alice.collection("people")
    if kind in ("create", "chosen"):
        person = people.create(TURING if kind == "create" else {"id": 9, **TURING}, remote=remote)
        return (person.pending_write.state if person.pending_write else "applied"), dict(person)
    ada = people.new({"id": 1, "name": "Ada", "age": 36})
    result = ada.save(age=41, remote=remote) if kind == "update" else ada.destroy(remote=remote)
    assert result.dirty == (result.state != "applied")
    return result.state, dict(ada)


def wanted(row: Row, kind: str) -> dict[str, Any]:
    """The record that an applied write makes: what was sent, with what the upstream says laid over it."""
    sent = ADA if kind == "update" else TURING
    read = {"by": "me"} if "as we want" in row.name else {}
    moved = {"id": 7} if kind == "create" and row in MOVED else {}
    return {**sent, **row.record, **read, **moved, **({"id": 1} if kind == "update" else {})}


def kept(alice: UserStorage) -> list[Write]:
    """All that is pending, as it is stored."""
    return alice._engine.outbox.pending(alice.owner)


def check_kept(alice: UserStorage, row: Row, kind: str) -> None:
    """The write is there as the row says."""
    meaning = row.meaning(kind)
    [write] = kept(alice)
    assert (write.state, write.frozen, write.attempts) == (meaning.state, meaning.frozen, meaning.attempts)
    assert write.reason
    assert write.retry_after == (0.0 if row.retry_after is None else Clock().now + row.retry_after)
    assert (write.not_before is None) == (meaning.state in ("rejected", "conflict"))
    if row in MOVED and meaning is REJECTED and "nowhere" not in row.name:
        assert "redirects to" in write.reason


@pytest.mark.parametrize(("row", "kind"), CASES)
def test_online(row: Row, kind: str, user: User, upstream: RestUpstream) -> None:
    """The call gives the state, or raises; what is definite for the view is not kept beside it."""
    meaning = row.meaning(kind)
    with storage(row, user, upstream) as alice:
        if isinstance(meaning.online, str):
            state, record = write(alice, kind, remote=True)
            assert state == meaning.online
            if meaning is APPLIED and kind != "delete":
                assert record == wanted(row, kind)
        else:
            with pytest.raises(meaning.online) as raised:
                write(alice, kind, remote=True)
            assert isinstance(raised.value, UpstreamError)
            assert isinstance(raised.value, Rejected) == (meaning is not FAILED)
            assert raised.value.status == int(row.name.split()[0].rstrip(","))
            assert (raised.value.in_doubt, raised.value.pending_write) == (meaning is FAILED, None)
            assert kept(alice) == []
        if meaning is APPLIED:
            assert kept(alice) == []
        elif isinstance(meaning.online, str):
            check_kept(alice, row, kind)
        check_what_was_sent(alice, row, upstream)


@pytest.mark.parametrize(("row", "kind"), CASES)
def test_in_a_flush(row: Row, kind: str, user: User, upstream: RestUpstream) -> None:
    """The report says what became of it, and nothing disappears."""
    meaning = row.meaning(kind)
    with storage(row, user, upstream) as alice:
        state, _ = write(alice, kind, remote=False)
        assert (state, upstream.received) == ("queued", [])
        report = alice.sync()
        counts = {"queued": report.queued, "in_doubt": report.in_doubt, "conflict": report.conflict}
        counts |= {"rejected": report.rejected, None: report.applied}
        assert counts == {name: int(name == meaning.state) for name in counts}
        assert report.remaining == (meaning is not APPLIED)
        # Where nothing waits, no upstream counts as out of reach.
        assert report.online == (row.reachable or meaning is APPLIED)
        if row.reachable:
            assert report.retry_after == row.retry_after
        [told] = report.writes
        assert told.state == (meaning.state or "applied")
        if meaning is APPLIED:
            assert kept(alice) == []
            assert told.theirs == (None if kind == "delete" else wanted(row, kind))
        else:
            check_kept(alice, row, kind)
        check_what_was_sent(alice, row, upstream)


def check_what_was_sent(alice: UserStorage, row: Row, upstream: RestUpstream) -> None:
    """One write, followed by as many requests as the row has answers; then the breaker is open, or closed."""
    sent = upstream.sent
    assert len(upstream.received) == (0 if row in UNSENT else len(row.answers))
    assert len({(one.method, one.headers["Idempotency-Key"], one.body) for one in sent}) == len(sent[:1])
    assert len(sent) == (0 if row in UNSENT else 2 if "within" in row.name else 1)
    assert alice._engine.may_ask("default") == row.reachable


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("kind", KINDS)
def test_no_write_goes_to_another_origin(user: User, upstream: RestUpstream, kind: str, status: int) -> None:
    """Not even to another port of the same host."""
    with HostileUpstream() as other:
        upstream.then(redirect(f"{other.url}/people/1", status))
        alice = user()
        write(alice, kind, remote=False)
        assert alice.sync().rejected == 1
        assert (other.connections, len(upstream.received)) == (0, 1)
