"""``flask dualstorage …``: how much waits, what waits, and sending it.

Exit codes: 0 all is sent, 1 writes remain or something failed, 2 misuse.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from .errors import CollectionUnknown, ConfigurationError, DualStorageError, RecordGone, ValidationFailed

_MISUSE = (ConfigurationError, CollectionUnknown, ValidationFailed)
_COUNTS = ("pending", "in_doubt", "conflict", "rejected")
_REPORT = ("applied", "queued", "in_doubt", "conflict", "rejected", "remaining")
_ONLINE = {True: "online", False: "out of reach", None: "not known"}
_SIGNS = {"good": "✓", "note": "·", "risk": "!"}

_user = click.option("--user", metavar="U", help="One owner: a user's id, or anon:… for an anonymous session.")
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")

dualstorage = AppGroup("dualstorage", help="Writes that wait for the upstream: see them, send them.")


@dualstorage.command()
@_user
@_json
@click.pass_context
def status(context: click.Context, user: str | None, as_json: bool) -> None:
    """How many writes wait, of one user or of all."""
    with _storage() as storage:
        owners = [user] if user is not None else storage.owners()
        figures = [storage.for_user(owner).status().to_dict() for owner in owners]
    total = _total(figures)
    click.echo(json.dumps(total) if as_json else _status_text(total))
    context.exit(1 if total["pending"] else 0)


@dualstorage.command()
@_user
@_json
@click.pass_context
def pending(context: click.Context, user: str | None, as_json: bool) -> None:
    """The writes that wait, of one user or of all."""
    with _storage() as storage:
        owners = [storage.for_user(owner) for owner in ([user] if user is not None else storage.owners())]
        writes = [{"owner": owner.owner, **write.to_dict()} for owner in owners for write in owner.pending()]
    if as_json:
        click.echo(json.dumps({"writes": writes}))
    else:
        click.echo(_pending_text(writes) if writes else "Nothing waits.")
    context.exit(1 if writes else 0)


@dualstorage.command()
@_user
@click.option("--all", "everybody", is_flag=True, help="Every owner with writes that are due.")
@click.option("--collection", "collections", metavar="C", multiple=True, help="Only this collection; repeatable.")
@click.option("--budget", metavar="S", type=click.FloatRange(min=0, min_open=True), help="Stop after S seconds.")
@click.pass_context
def sync(
    context: click.Context, user: str | None, everybody: bool, collections: Sequence[str], budget: float | None
) -> None:
    """Send what waits, of one user or of all."""
    if (user is not None) == everybody:
        raise _Misuse("Say whose writes to send: --user U, or --all.")
    with _storage() as storage:
        flush = _Flush(storage, list(collections) or None, budget, explicit=not everybody)
        for owner in _with_progress([user] if user is not None else storage.owners(due=True)):
            flush.send(owner)
        waiting = set(storage.owners()) if everybody else set()
    click.echo(flush.text())
    untried = waiting - flush.tried
    if untried:
        click.echo(
            f"Not tried, since not due yet or beyond the budget: {len(untried)} of {len(waiting)} owners.", err=True
        )
    context.exit(1 if untried or flush.failed or flush.counts["remaining"] else 0)


@dualstorage.command()
@click.argument("write_id", metavar="ID")
@click.pass_context
def retry(context: click.Context, write_id: str) -> None:
    """Send one write again, whoever's it is."""
    with _storage() as storage:
        write = _owner_of(storage, write_id).retry(write_id)
    click.echo(_plain(f"{write.id}: {write.state.value}{f', {write.reason}' if write.reason else ''}"))
    context.exit(0 if write.state == "applied" else 1)


@dualstorage.command()
@click.argument("write_id", metavar="ID")
def discard(write_id: str) -> None:
    """Give one write up, whoever's it is, with what is nested under it."""
    with _storage() as storage:
        for write in _owner_of(storage, write_id).discard(write_id):
            click.echo(_plain(f"{write.id}: {write.state.value}"))


def _owner_of(storage: Any, write_id: str) -> Any:
    try:
        return storage.for_user(storage.owner_of(write_id))
    except RecordGone as error:
        raise _Misuse(_plain(error)) from error


@dualstorage.command("init-db")
def init_db() -> None:
    """Make or upgrade the tables of the outbox; what they hold stays."""
    with _storage() as storage:
        storage.init_db()
    click.echo("The outbox is ready.")


@dualstorage.command()
@click.argument("collection", required=False)
@click.option("--user", metavar="U", default="doctor", show_default=True, help="Whose credential to look with.")
@click.option("--write", is_flag=True, help="Also try writes: records are made and deleted again.")
@click.option("--data", metavar="JSON", help="With --write: the fields of a record that the API takes.")
@click.option("--param", "params", metavar="NAME=VALUE", multiple=True, help="What fills the collection's URL.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.pass_context
def doctor(
    context: click.Context,
    collection: str | None,
    user: str,
    write: bool,
    data: str | None,
    params: tuple[str, ...],
    as_json: bool,
) -> None:
    """Look at the app's set-up, and with a COLLECTION at what its upstream can do.

    It reads only, unless --write is given. Exit code 1 where something is risky.
    """
    record = _record(data, wanted=write)
    with _storage() as storage:
        found = storage.examine_setup().to_dict()
        if collection is not None:
            looked = storage.for_user(user).examine(collection, record, **_filled(params)).to_dict()
            found = {**looked, "findings": [*found["findings"], *looked["findings"]]}
    click.echo(json.dumps(found) if as_json else _doctor_text(found, collection))
    context.exit(1 if any(finding["weight"] == "risk" for finding in found["findings"]) else 0)


class _Misuse(click.ClickException):
    """One line on stderr, and exit code 2; click's own exception has 1."""

    exit_code = 2


@contextmanager
def _storage() -> Iterator[Any]:
    """The app's storage; errors of the tree become one line on stderr."""
    storage = current_app.extensions.get("dualstorage")
    if storage is None:
        raise _Misuse(
            f"The app {current_app.name!r} has no dualstorage: call DualStorage().init_app(app) where it is made."
        )
    try:
        yield storage
    except DualStorageError as error:
        told = _Misuse if isinstance(error, _MISUSE) else click.ClickException
        raise told(_plain(error)) from error


@dataclass
class _Flush:
    """Sends for one owner after another within one budget, and adds up what came of it.

    ``explicit``: somebody asked for these owners' writes, so that they go although they wait after a failure.
    """

    storage: Any
    collections: list[str] | None
    budget: float | None
    explicit: bool
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_REPORT, 0))
    online: bool | None = None
    tried: set[str] = field(default_factory=set)
    failed: bool = False

    def __post_init__(self) -> None:
        self._end = None if self.budget is None else monotonic() + self.budget

    def send(self, owner: str) -> None:
        """Send what ``owner`` has waiting; a failure is told, and does not stop the next owner's turn."""
        left = None if self._end is None else self._end - monotonic()
        if left is not None and left <= 0:
            return
        self.tried.add(owner)
        try:
            storage = self.storage.for_user(owner)
            self._add(storage.sync(collections=self.collections, budget=left, explicit=self.explicit).to_dict())
        except _MISUSE:
            raise
        except DualStorageError as error:
            self.failed = True
            click.echo(_plain(f"{owner}: {error}"), err=True)

    def text(self) -> str:
        """The sums, a line each."""
        rows = [(name.replace("_", " "), count) for name, count in self.counts.items()]
        return _table([*rows, ("upstream", _ONLINE[self.online])])

    def _add(self, report: dict[str, Any]) -> None:
        self.counts = {name: count + report[name] for name, count in self.counts.items()}
        self.online = _both(self.online, report["online"])


def _with_progress(owners: list[str]) -> Iterator[str]:
    """``owners``, with a bar on stderr where that is a terminal and there is more than one."""
    if len(owners) < 2 or not sys.stderr.isatty():
        yield from owners
        return
    with click.progressbar(owners, label="Sending", file=sys.stderr, show_pos=True) as bar:
        yield from bar


def _total(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """One ``Status`` of several."""
    total: dict[str, Any] = {"online": None, **dict.fromkeys(_COUNTS, 0), "oldest": None, "stores": {}}
    for figure in figures:
        total |= {name: total[name] + figure[name] for name in _COUNTS}
        total["online"] = _both(total["online"], figure["online"])
        total["oldest"] = min(filter(None, (total["oldest"], figure["oldest"])), default=None)
        for store, count in figure["stores"].items():
            total["stores"][store] = total["stores"].get(store, 0) + count
    return total


def _both(one: bool | None, other: bool | None) -> bool | None:
    """Out of reach where either says so, online where one knows, else not known."""
    return other if one is None else one if other is None else one and other


def _status_text(total: dict[str, Any]) -> str:
    rows = [(name.replace("_", " "), total[name]) for name in (*_COUNTS, "oldest")]
    stores = [(f"  {store}", count) for store, count in sorted(total["stores"].items())]
    return _table([*rows, ("upstream", _ONLINE[total["online"]]), *stores])


def _pending_text(writes: list[dict[str, Any]]) -> str:
    head = ("OWNER", "ID", "SINCE", "KIND", "STORE", "RECORD", "STATE", "WHY")
    names = ("owner", "id", "created_at", "kind", "store", "record_id", "state", "reason")
    return _table([head, *([write[name] for name in names] for write in writes)])


def _table(rows: Iterable[Sequence[Any]]) -> str:
    """``rows`` as aligned columns."""
    cells = [[_plain(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def _plain(value: Any) -> str:
    """``value`` on one line. What an upstream wrote must not steer the terminal, so control characters go."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(character if character.isprintable() else " " for character in text)


def _record(data: str | None, *, wanted: bool) -> dict[str, Any] | None:
    if wanted != (data is not None):
        raise _Misuse(
            '--write and --data go together: give a record that the API takes, such as --data \'{"name": "Test"}\'.'
        )
    if data is None:
        return None
    try:
        record = json.loads(data)
    except ValueError as error:
        raise _Misuse(f"--data is no JSON: {error}.") from error
    if not isinstance(record, dict) or not record:
        raise _Misuse("--data is no record: give a JSON object with at least one field.")
    return record


def _filled(params: tuple[str, ...]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in params]
    if not all(name and sign for name, sign, _ in pairs):
        raise _Misuse("--param takes NAME=VALUE, such as --param person_id=7.")
    return {name: value for name, _, value in pairs}


def _doctor_text(found: dict[str, Any], collection: str | None) -> str:
    lines = [f"{_SIGNS[finding['weight']]} {_plain(finding['text'])}" for finding in found["findings"]]
    if found.get("doubled") is not None:
        doubled = found["doubled"]
        lines.append("")
        lines.append(
            f"Could be applied twice: {', '.join(doubled)}." if doubled else "No write could be applied twice."
        )
    if collection is not None and found["dialect"]:
        fields = ", ".join(f"{name}={source}" for name, source in found["dialect"].items())
        lines += ["", f"Recommended for the collection {collection!r}:", "", f"    dialect = Dialect({fields})"]
    return "\n".join(lines) or "Nothing to say."
