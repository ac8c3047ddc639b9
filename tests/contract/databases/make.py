"""Writes a database file with something of everything in it, as SQL, for the version that is checked out.

    python -m tests.contract.databases.make > tests/contract/databases/version-N.sql

Done once for each version, before the next one is begun. A file that was ever on main is never made again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flask import Flask

from flask_dualstorage import Collection, DualStorage, Rejected, extension
from flask_dualstorage.tokens import make_nonce
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream

#: When all of it was made: the clock of tests/whole.py.
NOW = 1_800_000_000.0


class Notes(Collection):
    """Nested under people."""

    url = "/people/{person_id}/notes"


class Drafts(Collection):
    """Never sent."""

    local = True


def open_app(instance: str, upstream: str) -> Any:
    """The app that made the file, and that reads it again."""
    app = Flask("app", instance_path=instance)
    app.config.update(
        SECRET_KEY="for tests",
        DUALSTORAGE_UPSTREAM_URL=upstream,
        DUALSTORAGE_TIMEOUT=(10.0, 20.0),
        DUALSTORAGE_BREAKER_THRESHOLD=1_000_000,
        DUALSTORAGE_HONOURS_KEYS=True,
    )
    dualstorage = DualStorage()
    for collection in (Notes, Drafts):
        dualstorage.register(collection)
    dualstorage.init_app(app)
    return app.extensions["dualstorage"]


def fill(storage: Any, upstream: RestUpstream) -> None:
    """Writes in every state, an alias, a nonce, an adoption, a wait that the upstream asked for."""
    alice = storage.for_user("alice")
    people = alice.collection("people").fetch()
    nonce = make_nonce(storage._app)
    people.create(name="Applied", nonce=nonce)
    discarded = people.create(name="Discarded", remote=False)
    alice.discard(discarded.pending_write.id)
    people.get(1).save(age=37, remote=False)
    upstream.then(answer(412))
    alice.sync()
    people.get(2).destroy(remote=False)
    upstream.then(answer(422, {"title": "No such name", "errors": {"name": ["too odd"]}}))
    people.create(name="Rejected", remote=False)
    alice.sync(collections=["people"])
    upstream.then(answer(200, body=b"<html>", headers={"Content-Type": "text/html"}))
    people.create(name="In doubt 🐍", remote=False)
    alice.sync(collections=["people"])
    parent = people.create(name="Queued", remote=False)
    alice.collection("notes", person_id=parent.id).create(text="A note", about=parent.id, remote=False)
    alice.collection("drafts").create(text="A draft")
    storage.for_user("anon:0f").collection("people").create(name="Adopted", remote=False)
    alice.adopt("anon:0f", "alice")
    bob = storage.for_user("bob")
    upstream.then(answer(429, headers={"Retry-After": "600"}))
    bob.collection("people").create(name="Told to wait")
    with contextlib.suppress(Rejected):
        upstream.then(answer(422))
        storage.for_user("carol").collection("people").create(name="Withdrawn", nonce=make_nonce(storage._app))


def main() -> None:
    extension.time = SimpleNamespace(time=lambda: NOW, monotonic=lambda: NOW)  # type: ignore[assignment]
    people = [{"id": 1, "name": "Ada", "age": 36}, {"id": 2, "name": "Grace", "age": 85}]
    with tempfile.TemporaryDirectory() as folder, RestUpstream({"/people": people}, keys=True) as upstream:
        fill(open_app(folder, upstream.url), upstream)
        with sqlite3.connect(Path(folder) / "dualstorage.sqlite3") as made:
            sys.stdout.writelines(f"{line}\n" for line in made.iterdump())


if __name__ == "__main__":
    main()
