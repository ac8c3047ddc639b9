"""An upstream in memory, in place of the wire: what the machine's processes talk to."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from requests.structures import CaseInsensitiveDict

from flask_dualstorage.types import Answer, Failure, Fault, Request

KEY = "Idempotency-Key"
#: Who calls: what ``upstream_auth`` of the machine's apps gives.
CALLER = "X-Owner"
TENANTS = {"user:alice": "t1", "anon:visitor": "t1", "user:bob": "t2"}

Record = dict[str, Any]

#: What goes wrong with one request: before the record changes, after it did, or only in what is told of it.
FAULTS_BEFORE = ("refused", "cut", "500", "503", "503-wait", "429", "425", "401", "504", "html", "crash")
FAULTS_AFTER = (
    "applied-cut",
    "applied-500",
    "applied-html",
    "applied-crash",
    "applied-504",
    "empty",
    "partial",
    "location",
)

_PLAIN = {"500": 500, "503": 503, "425": 425, "401": 401, "504": 504}
_WAITS = {"503-wait": (503, "30"), "429": (429, "20")}


class Crash(BaseException):
    """The process that sent this request ends here: nothing of it goes on."""


class Listener(Protocol):
    """Who is told of each change upstream, and checks it."""

    def changed(self, caller: str | None, place: Place, before: Record | None, after: Record | None) -> None:
        """A record was made, changed or deleted, by ``caller`` or (None) by somebody else."""

    def sent(self, caller: str, body: Any) -> None:
        """A write arrived."""


@dataclass(frozen=True)
class Place:
    """Where a record is: of which tenant, in which collection."""

    tenant: str
    collection: str
    id: int


@dataclass
class Upstream:
    """Three collections for each tenant; ``honours`` idempotency keys or not. Everything that arrives is checked."""

    honours: bool
    listener: Listener
    faults: deque[str] = field(default_factory=deque)
    #: What happens while a request is on its way: (before it is handled, what).
    interludes: deque[tuple[bool, Callable[[], None]]] = field(default_factory=deque)
    records: dict[tuple[str, str], dict[int, Record]] = field(default_factory=dict)
    history: dict[Place, list[Record | None]] = field(default_factory=dict)
    requests: int = 0
    #: What was found wrong on the way; whoever swallows that error, the machine raises it again.
    wrong: AssertionError | None = None
    #: How often a key changed something, and what it came with.
    applied: dict[str, int] = field(default_factory=dict)
    _known: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    _answers: dict[str, Answer] = field(default_factory=dict)
    _versions: dict[Place, int] = field(default_factory=dict)
    _last_id: int = 100
    _depth: int = 0

    # --- the seam ------------------------------------------------------------------------------------------------

    def send(self, request: Request, *, auth: Mapping[str, str], timeout: object = None) -> Answer | Failure:
        """Stand in for ``Client.send``."""
        try:
            return self._send(request, auth)
        except AssertionError as error:
            self.wrong = error
            raise

    def _send(self, request: Request, auth: Mapping[str, str]) -> Answer | Failure:
        self.requests += 1
        assert request.path.startswith("/"), request
        self._check(request, auth)
        self._depth += 1
        try:
            self._interlude(before=True)
            answer = self._handled(request, auth)
            self._interlude(before=False)
        finally:
            self._depth -= 1
        return answer

    def close(self) -> None:
        """Stand in for ``Client.close``."""

    def _interlude(self, *, before: bool) -> None:
        if self._depth == 1 and self.interludes and self.interludes[0][0] is before:
            self.interludes.popleft()[1]()

    def _check(self, request: Request, auth: Mapping[str, str]) -> None:
        whole = repr((request.method, request.path, dict(request.headers), request.body, request.params))
        assert "tmp-" not in whole, f"a temporary id went upstream: {whole}"
        key = request.headers.get(KEY)
        if request.method == "GET":
            return
        assert key, f"a write without a key: {whole}"
        what = (request.method, request.path, request.body, TENANTS[auth[CALLER]])
        assert self._known.setdefault(key, what) == what, f"the same key with other bytes: {self._known[key]}, {what}"
        self.listener.sent(auth[CALLER], None if request.body is None else orjson.loads(request.body))

    def _handled(self, request: Request, auth: Mapping[str, str]) -> Answer | Failure:
        fault = self._next_fault()
        failed = _fails_before(fault)
        if failed is not None:
            return failed
        answer = self._answer(request, auth)
        return _told(fault, request, answer)

    def _next_fault(self) -> str:
        if not self.faults or (self._depth > 1 and self.faults[0].endswith("crash")):
            return ""
        return self.faults.popleft()

    # --- what it does --------------------------------------------------------------------------------------------

    def _answer(self, request: Request, auth: Mapping[str, str]) -> Answer:
        key = request.headers.get(KEY)
        if self.honours and key in self._answers:
            return self._answers[key]
        caller = auth[CALLER]
        before = sum(map(len, self.history.values()))
        answer = self._carry_out(request, caller, TENANTS[caller])
        if key is not None and sum(map(len, self.history.values())) > before:
            self.applied[key] = self.applied.get(key, 0) + 1
        if key is not None and answer.status_code < 300:
            self._answers[key] = answer
        return answer

    def _carry_out(self, request: Request, caller: str, tenant: str) -> Answer:
        collection, record_id = _split(request.path)
        records = self.records.get((tenant, collection))
        if records is None:
            return _answer(404)
        body = None if request.body is None else orjson.loads(request.body)
        if body is not None and "bad" in repr(list(body.values())):
            return _answer(422, {"title": "Refused", "detail": "That is bad.", "status": 422})
        if record_id is None:
            return self._on_collection(request, caller, tenant, collection, records, body)
        if record_id not in records:
            return _answer(404)
        return self._on_record(request, caller, Place(tenant, collection, record_id), body)

    def _on_collection(
        self,
        request: Request,
        caller: str,
        tenant: str,
        collection: str,
        records: dict[int, Record],
        body: Record | None,
    ) -> Answer:
        if request.method == "GET":
            content = orjson.dumps(list(records.values()))
            etag = f'"list-{hash(content)}"' if collection == "/people" else None
            if etag is not None and request.headers.get("If-None-Match") == etag:
                return _answer(304)
            return _answer(200, list(records.values()), ETag=etag)
        assert request.method == "POST", request
        place = self.create(caller, tenant, collection, body or {})
        return self._shown(201, place)

    def _on_record(self, request: Request, caller: str, place: Place, body: Record | None) -> Answer:
        if request.method == "GET":
            return self._shown(200, place)
        asked = request.headers.get("If-Match")
        if asked is not None and asked != self._etag(place):
            return _answer(412)
        if request.method == "DELETE":
            self.delete(caller, place)
            return _answer(204)
        here = self.records[place.tenant, place.collection][place.id]
        self.put(caller, place, {**here, **(body or {})} if request.method == "PATCH" else body or {})
        return self._shown(200, place)

    def _shown(self, status: int, place: Place) -> Answer:
        return _answer(status, self.records[place.tenant, place.collection][place.id], ETag=self._etag(place))

    def _etag(self, place: Place) -> str | None:
        return f'"{place.id}-{self._versions[place]}"' if place.collection == "/people" else None

    # --- what anybody may do to it -------------------------------------------------------------------------------

    def create(self, caller: str | None, tenant: str, collection: str, body: Record, id: int | None = None) -> Place:
        """Make a record."""
        if id is None:
            self._last_id += 1
            id = self._last_id
        place = Place(tenant, collection, id)
        if collection == "/people":
            self.records[tenant, f"/people/{id}/notes"] = {}
        self._set(caller, place, None, {**body, "id": id})
        return place

    def put(self, caller: str | None, place: Place, body: Record) -> None:
        """Replace a record."""
        self._set(caller, place, self.records[place.tenant, place.collection][place.id], {**body, "id": place.id})

    def _set(self, caller: str | None, place: Place, before: Record | None, after: Record) -> None:
        self._versions[place] = self._versions.get(place, 0) + 1
        if place.collection == "/people":
            after["rev"] = self._versions[place]
        self.records.setdefault((place.tenant, place.collection), {})[place.id] = after
        self.history.setdefault(place, []).append(after)
        self.listener.changed(caller, place, before, after)

    def delete(self, caller: str | None, place: Place) -> None:
        """Delete a record, and what is nested under it."""
        before = self.records[place.tenant, place.collection].pop(place.id)
        self.history[place].append(None)
        self.listener.changed(caller, place, before, None)
        nested = self.records.pop((place.tenant, f"{place.collection}/{place.id}/notes"), {})
        for note, record in nested.items():
            below = Place(place.tenant, f"{place.collection}/{place.id}/notes", note)
            self.history[below].append(None)
            self.listener.changed(None, below, record, None)

    def here(self, place: Place) -> Record | None:
        """Give a record as it is now."""
        return self.records.get((place.tenant, place.collection), {}).get(place.id)


def _split(path: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"(.*)/(\d+)", path)
    return (found.group(1), int(found.group(2))) if found else (path, None)


def _answer(status: int, body: Any = None, **headers: str | None) -> Answer:
    known = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    content = b"" if body is None else orjson.dumps(body)
    return Answer(status, CaseInsensitiveDict({"Content-Type": "application/json", **known}), content, "")


def _fails_before(fault: str) -> Answer | Failure | None:
    if fault == "refused":
        return Failure(Fault.UNSENT, "refused")
    if fault == "cut":
        return Failure(Fault.CUT, "cut")
    if fault == "crash":
        raise Crash
    if fault in _PLAIN:
        return _answer(_PLAIN[fault], {"title": "no", "status": _PLAIN[fault]})
    if fault in _WAITS:
        status, seconds = _WAITS[fault]
        return _answer(status, Retry_After=seconds)
    return _html() if fault == "html" else None


def _html() -> Answer:
    return Answer(200, CaseInsensitiveDict({"Content-Type": "text/html"}), b"<p>Log in to this Wi-Fi</p>", "")


def _told(fault: str, request: Request, answer: Answer) -> Answer | Failure:
    """Give what arrives of an answer."""
    match fault:
        case "applied-cut":
            return Failure(Fault.CUT, "applied, then cut")
        case "applied-crash":
            raise Crash
        case "applied-500" | "applied-504":
            return _answer(int(fault[-3:]))
        case "applied-html":
            return _html()
    if request.method == "GET" or answer.status_code >= 300:
        return answer
    return _told_in_part(fault, request, answer)


def _told_in_part(fault: str, request: Request, answer: Answer) -> Answer:
    record = orjson.loads(answer.content) if answer.content else None
    if fault == "empty":
        return Answer(204, answer.headers, b"", "")
    if fault == "partial" and record is not None:
        part = {name: value for name, value in record.items() if name in ("id", "rev")}
        return Answer(answer.status_code, answer.headers, orjson.dumps(part), "")
    if fault == "location" and record is not None and request.method == "POST":
        return Answer(201, CaseInsensitiveDict({"Location": f"{request.path}/{record['id']}"}), b"", "")
    return answer
