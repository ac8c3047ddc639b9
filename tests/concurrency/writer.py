"""One of the processes of ``test_many_writes``: writes for random owners, online or kept, and flushes now and then.

    python -m tests.concurrency.writer {"number": 0, "writes": 1250, ...}

Prints "ready", waits for a line, and prints at the end, as JSON, the tokens of all that was accepted.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from flask import Flask

from flask_dualstorage import Collection, DualStorage, Model, UpstreamError
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.tokens import make_nonce


class Commands(Collection):
    """Every edit is a write of its own, so that each can be counted."""

    coalesce = False


def open_storage(instance: str, database: str | None, upstream: str) -> AppDualStorage:
    """The app, as each of the processes has it."""
    app = Flask("app", instance_path=str(Path(instance)))
    app.config.update(
        SECRET_KEY="for tests",
        DUALSTORAGE_UPSTREAM_URL=upstream,
        DUALSTORAGE_HONOURS_KEYS=True,
        DUALSTORAGE_TIMEOUT=(10.0, 20.0),
        DUALSTORAGE_BREAKER_THRESHOLD=1_000_000,
        DUALSTORAGE_MAX_ATTEMPTS=1_000,
    )
    if database is not None:
        app.config["DUALSTORAGE_DATABASE_URL"] = database
    dualstorage = DualStorage()
    dualstorage.register(Commands)
    dualstorage.upstream_auth(lambda owner, upstream: {"X-Owner": owner})
    dualstorage.init_app(app)
    storage: AppDualStorage = app.extensions["dualstorage"]
    return storage


class Writer:
    """Some owners' tabs in one process."""

    def __init__(self, storage: AppDualStorage, number: int, owners: int, seed: int) -> None:
        self.storage, self.number, self.owners = storage, number, owners
        self.random = random.Random(seed + number)
        self.tokens: list[str] = []
        self.mine: dict[str, list[Model]] = {}

    def write(self) -> None:
        """One write of a random owner: of a new record, of one made here, or of the one that all processes write to."""
        number = self.random.randrange(self.owners)
        owner = f"user:{number}"
        commands = self.storage.for_user(owner).collection("commands")
        token = f"{owner} {self.number} {len(self.tokens)}"
        mine = self.mine.setdefault(owner, [])
        remote = self.random.random() < 0.4
        what = self.random.random()
        if what < 0.25:
            mine.append(self.again(lambda nonce: commands.create(token=token, nonce=nonce, remote=remote)))
        elif what < 0.3 and mine and not mine[-1].is_new:
            token = f"{owner} deletes {mine[-1].id}"
            mine.pop().destroy(remote=remote)
        elif what < 0.5 and mine:
            mine[-1].save(token=token, remote=remote)
        else:
            commands.new({"id": number}).save(token=token, remote=remote)
        self.tokens.append(token)
        if self.random.random() < 0.05:
            self.storage.for_user(owner).sync()

    def again(self, create: Any) -> Any:
        """Send a form until it is taken, as a person would who sees a 502."""
        nonce = make_nonce(self.storage._app)
        while True:
            try:
                return create(nonce)
            except UpstreamError as error:
                if not error.in_doubt:
                    raise


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    asked = json.loads(sys.argv[1])
    storage = open_storage(asked["instance"], asked["database"], asked["upstream"])
    writer = Writer(storage, asked["number"], asked["owners"], asked["seed"])
    say("ready")
    sys.stdin.readline()
    for _ in range(asked["writes"]):
        writer.write()
    say(json.dumps(writer.tokens))


if __name__ == "__main__":
    main()
