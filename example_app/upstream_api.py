"""The little upstream's REST API: people and their notes, kept in SQLite.

``/people`` and ``/people/<id>/notes`` take GET and POST, one record below them GET, PUT, PATCH and DELETE. Records
carry strong ETags and honour ``If-Match``; all writes honour ``Idempotency-Key``; errors are problems (RFC 9457).
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from http import HTTPStatus
from pathlib import Path
from threading import Event
from typing import Any

from flask import Flask, Response, current_app, request
from flask.views import MethodView
from werkzeug.exceptions import HTTPException, NotFound, PreconditionFailed, UnprocessableEntity
from werkzeug.http import quote_etag

#: The longest text that a field takes, in characters.
LONGEST = 10_000

Row = dict[str, Any]


# --- what it holds ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resource:
    """A kind of record. ``fields`` are the client's to set, all text; the other columns are the server's."""

    table: str
    fields: tuple[str, ...]
    required: str
    read_only: tuple[str, ...]

    def shown(self, row: sqlite3.Row) -> Row:
        """The record as clients see it."""
        return {name: row[name] for name in ("id", *self.fields, *self.read_only)}


PEOPLE = Resource("people", ("name", "email", "phone", "role", "city"), "name", ("updated_at",))
NOTES = Resource("notes", ("text",), "text", ("person_id", "created_at"))

SCHEMA = """
CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL DEFAULT 1,
    name TEXT NOT NULL, email TEXT NOT NULL, phone TEXT NOT NULL, role TEXT NOT NULL, city TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, version INTEGER NOT NULL DEFAULT 1,
    person_id INTEGER NOT NULL REFERENCES people ON DELETE CASCADE, text TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE answers (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL,
    headers TEXT NOT NULL, body BLOB NOT NULL);
PRAGMA user_version = 1
"""


@contextmanager
def transaction(database: Path) -> Iterator[sqlite3.Connection]:
    """One transaction that takes SQLite's write lock at once; committed at the end, undone by an exception."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as db, db:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN IMMEDIATE")
        yield db


def prepare(database: Path) -> None:
    """Make the database with its first people, unless it is there."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with transaction(database) as db:
        if db.execute("PRAGMA user_version").fetchone()[0]:
            return
        for statement in SCHEMA.split(";"):
            db.execute(statement)
        for person in json.loads(Path(__file__).with_name("seed.json").read_text("utf-8")):
            notes = person.pop("notes")
            person_id = insert(db, PEOPLE, person, {})
            for text in notes:
                insert(db, NOTES, {"text": text}, {"person_id": person_id})


# Table and column names below are this file's own (a Resource's, or a URL rule's), never a client's: hence S608.


def select(db: sqlite3.Connection, resource: Resource, scope: dict[str, int]) -> list[sqlite3.Row]:
    """The records within `scope`: the ids that the URL names, by their columns."""
    where = " AND ".join(f"{name} = :{name}" for name in scope) or "TRUE"
    return db.execute(f"SELECT * FROM {resource.table} WHERE {where} ORDER BY id", scope).fetchall()  # noqa: S608


def insert(db: sqlite3.Connection, resource: Resource, values: Row, scope: dict[str, int]) -> int:
    """Add a record, and return its id."""
    row = values | scope | {"created_at": now(), "updated_at": now()}
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    return db.execute(f"INSERT INTO {resource.table} ({names}) VALUES ({places})", row).lastrowid or 0  # noqa: S608


def update(db: sqlite3.Connection, resource: Resource, values: Row, record_id: int) -> None:
    """Set fields of one record, which becomes its next version."""
    row = values | {"updated_at": now()}
    assignments = ", ".join(f"{name} = :{name}" for name in row)
    statement = f"UPDATE {resource.table} SET {assignments}, version = version + 1 WHERE id = :id"  # noqa: S608
    db.execute(statement, row | {"id": record_id})


def delete(db: sqlite3.Connection, resource: Resource, record_id: int) -> None:
    """Remove one record, and what hangs on it."""
    db.execute(f"DELETE FROM {resource.table} WHERE id = ?", (record_id,))  # noqa: S608


def now() -> str:
    """The time as RFC 3339 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- what it takes ------------------------------------------------------------------------------------


class Invalid(UnprocessableEntity):
    """422: the fields that are wrong, each with what is wrong about it."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("Some fields are wrong.")
        self.errors = errors


def checked(resource: Resource, sent: Any, old: Row) -> Row:
    """All fields of the record that `sent` makes of `old`. Raises `Invalid`.

    Fields of the server's are ignored, so that a record may come back as it was read. Null is the empty text.
    """
    if not isinstance(sent, dict):
        raise Invalid({"": ["Must be a JSON object."]})
    theirs = ("id", *resource.read_only)
    mine = {name: "" if value is None else value for name, value in sent.items() if name not in theirs}
    values = dict.fromkeys(resource.fields, "") | old | mine
    errors = {name: [wrong] for name, value in values.items() if (wrong := objection(resource, name, value))}
    if errors:
        raise Invalid(errors)
    return values


def objection(resource: Resource, name: str, value: Any) -> str | None:
    """What is wrong with this value of this field, if anything."""
    if name not in resource.fields:
        return "There is no such field."
    if not isinstance(value, str) or not encodable(value):
        return "Must be text."
    if len(value) > LONGEST:
        return f"At most {LONGEST:,} characters."
    if name == resource.required and not value.strip():
        return "Must not be empty."
    if name == "email" and value and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        return "Must look like name@host.example."
    return None


def encodable(text: str) -> bool:
    """Whether it is Unicode text: JSON can spell half a surrogate pair, which is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- the API ------------------------------------------------------------------------------------------


@dataclass
class Faults:
    """How the line to the API is now. Times in seconds."""

    latency: float = 0.0
    hang: float = 0.0
    cut: Event = field(default_factory=Event)

    def wait(self, seconds: float) -> None:
        """Let the client wait, but no longer than there is a line to it."""
        if seconds:
            self.cut.wait(seconds)


def create_api(database: Path, faults: Faults) -> Flask:
    """The REST API on `database`, as slow as `faults` says at each request."""
    prepare(database)
    api = create_json_app("upstream")
    api.config.update(DATABASE=database, FAULTS=faults, MAX_CONTENT_LENGTH=1024 * 1024)
    record_id = "<int(max=9223372036854775807):{}>"  # SQLite's largest; beyond it a 404
    notes = f"/people/{record_id.format('person_id')}/notes"
    for resource, path in ((PEOPLE, "/people"), (NOTES, notes)):
        api.add_url_rule(path, view_func=Many.as_view(resource.table, resource))
        api.add_url_rule(f"{path}/{record_id.format('id')}", view_func=One.as_view(f"{resource.table}_one", resource))

    @api.before_request
    def delay() -> None:
        faults.wait(faults.latency)

    return api


def create_json_app(name: str) -> Flask:
    """A Flask app without static files whose errors are problems (RFC 9457)."""
    app = Flask(name, static_folder=None)
    app.register_error_handler(HTTPException, problem)
    return app


def problem(error: HTTPException) -> Response:
    """The error as ``application/problem+json``, with the headers that it brings (Allow, say)."""
    body: Row = {"type": "about:blank", "title": error.name, "status": error.code, "detail": error.description}
    if isinstance(error, Invalid):
        body["errors"] = error.errors
    response = Response(json.dumps(body), error.code, content_type="application/problem+json")
    if "Allow" in (headers := error.get_response().headers):
        response.headers["Allow"] = headers["Allow"]
    return response


def answer(shown: Row | list[Row], etag: str, status: int = HTTPStatus.OK) -> Response:
    """`shown` as JSON with its strong validator; for a GET whose client has that version, a 304."""
    response = Response(json.dumps(shown), status, content_type="application/json")
    response.set_etag(etag)
    response.make_conditional(request)
    return response


Write = Callable[..., Response]


def once(write: Write) -> Write:
    """Make a method answer a repeated ``Idempotency-Key`` with its first answer.

    Answer and effect are one transaction, so that neither is ever there without the other. It holds the write lock
    from the start: of two requests with one key at the same time, the second waits for the first's answer.
    """

    @wraps(write)
    def answered(view: Many | One, **scope: int) -> Response:
        key = request.headers.get("Idempotency-Key")
        with transaction(current_app.config["DATABASE"]) as db:
            response = replayed(db, key) if key else None
            if response is None:
                try:
                    response = write(view, db, **scope)
                except HTTPException as error:  # raised before anything was changed
                    response = problem(error)
                if key:
                    keep(db, key, response)
        faults: Faults = current_app.config["FAULTS"]
        faults.wait(faults.hang)
        return response

    return answered


def replayed(db: sqlite3.Connection, key: str) -> Response | None:
    """The first answer to this key, if there was one. Raises a 422 where the key came with another request."""
    first = db.execute("SELECT * FROM answers WHERE key = ?", (key,)).fetchone()
    if first is None:
        return None
    if first["fingerprint"] != fingerprint():
        raise UnprocessableEntity("This Idempotency-Key was used for another request.")
    response = Response(first["body"], first["status"], json.loads(first["headers"]))
    response.headers["Idempotent-Replayed"] = "true"
    return response


def keep(db: sqlite3.Connection, key: str, response: Response) -> None:
    """Note the answer to this key."""
    headers = {
        name: response.headers[name] for name in ("Content-Type", "ETag", "Location") if name in response.headers
    }
    row = (key, fingerprint(), response.status_code, json.dumps(headers), response.get_data())
    db.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", row)


def fingerprint() -> str:
    """What makes a request the same one: method, address, body, and the version it is meant for."""
    parts = [request.method, request.full_path, request.headers.get("If-Match", "")]
    return hashlib.sha256("\n".join(parts).encode() + b"\n" + request.get_data()).hexdigest()


def found(db: sqlite3.Connection, resource: Resource, scope: dict[str, int]) -> sqlite3.Row:
    """The one record that the URL names. Raises a 404."""
    for row in select(db, resource, scope):
        return row
    raise NotFound("There is no such record.")


def matched(db: sqlite3.Connection, resource: Resource, scope: dict[str, int]) -> sqlite3.Row:
    """The record, if it is of the version that the client means (RFC 9110 §13.1.1). Raises a 404 or 412."""
    row = found(db, resource, scope)
    if request.if_match and not request.if_match.contains(etag(row)):
        raise PreconditionFailed(f"The record changed: it is at version {quote_etag(etag(row))} now.")
    return row


def etag(row: sqlite3.Row) -> str:
    """The record's strong validator, unquoted."""
    return f"{row['id']}-{row['version']}"


class Many(MethodView):
    """All records below an address."""

    init_every_request = False

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    def get(self, **scope: int) -> Response:
        """List them, in the order of their ids."""
        with transaction(current_app.config["DATABASE"]) as db:
            self._parent(db, scope)
            rows = select(db, self.resource, scope)
        versions = "\n".join(map(etag, rows))
        return answer([self.resource.shown(row) for row in rows], hashlib.sha256(versions.encode()).hexdigest())

    @once
    def post(self, db: sqlite3.Connection, **scope: int) -> Response:
        """Create one."""
        self._parent(db, scope)
        values = checked(self.resource, request.get_json(), {})
        row = found(db, self.resource, {"id": insert(db, self.resource, values, scope)})
        created = answer(self.resource.shown(row), etag(row), HTTPStatus.CREATED)
        created.headers["Location"] = f"{request.path}/{row['id']}"
        return created

    def _parent(self, db: sqlite3.Connection, scope: dict[str, int]) -> None:
        if "person_id" in scope:
            found(db, PEOPLE, {"id": scope["person_id"]})


class One(MethodView):
    """One record."""

    init_every_request = False

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    def get(self, **scope: int) -> Response:
        """Show it."""
        with transaction(current_app.config["DATABASE"]) as db:
            row = found(db, self.resource, scope)
        return answer(self.resource.shown(row), etag(row))

    @once
    def put(self, db: sqlite3.Connection, **scope: int) -> Response:
        """Replace it whole: what is not sent becomes empty."""
        return self._change(db, scope, {})

    @once
    def patch(self, db: sqlite3.Connection, **scope: int) -> Response:
        """Merge into it what is sent (RFC 7396)."""
        row = found(db, self.resource, scope)
        return self._change(db, scope, {name: row[name] for name in self.resource.fields})

    @once
    def delete(self, db: sqlite3.Connection, **scope: int) -> Response:
        """Delete it."""
        delete(db, self.resource, matched(db, self.resource, scope)["id"])
        return Response(status=HTTPStatus.NO_CONTENT)

    def _change(self, db: sqlite3.Connection, scope: dict[str, int], old: Row) -> Response:
        row = matched(db, self.resource, scope)
        update(db, self.resource, checked(self.resource, request.get_json(), old), row["id"])
        changed = found(db, self.resource, scope)
        return answer(self.resource.shown(changed), etag(changed))
