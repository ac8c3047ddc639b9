"""json-server 0.17.4, a REST API that others wrote, as a process that tests start, kill and start again.

It is installed once, with npm, into ``$XDG_CACHE_HOME`` or the checkout's ``.cache/``; ``JSON_SERVER`` names one that
is there already. ``python -m tests.upstreams.json_server`` installs it ahead of the tests.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import requests

from tests.upstreams.installing import NotInstalled, installed, run
from tests.upstreams.process import ServerProcess
from tests.waiting import PATIENCE, until

PACKAGE = "json-server@0.17.4"


def command() -> list[str]:
    """How to start json-server, which is installed first where it is missing. Raises `NotInstalled`."""
    if chosen := os.environ.get("JSON_SERVER"):
        return [chosen]
    node = shutil.which("node")
    if node is None:
        raise NotInstalled("install Node.js and npm, or set JSON_SERVER to a json-server's path.")
    return [node, str(installed(PACKAGE, _install) / "node_modules" / "json-server" / "lib" / "cli" / "bin.js")]


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotInstalled("install npm, or set JSON_SERVER to a json-server's path.")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--cache", str(folder / "npm")]
    run([npm, "install", "--prefix", folder, *options, PACKAGE])


class JsonServer(ServerProcess):
    """One json-server on a port of its own, with its db.json in `folder`: made of `db`, unless it is there."""

    name = "json-server"
    ready_path = "/db"

    def __init__(self, command: list[str], folder: Path, port: int, db: dict[str, Any]) -> None:
        super().__init__(folder, port)
        self.url = self.origin
        self._file = folder / "db.json"
        self._command = [*command, "--quiet", "--host", "127.0.0.1", "--port", str(port), str(self._file)]
        if not self._file.exists():
            self._file.write_text(json.dumps(db))

    def command(self) -> list[str]:
        return self._command

    def stop(self) -> None:
        """Kill it, when what it acknowledged is in its file: json-server answers first and writes afterwards."""
        until(lambda: self._in_file() == self.read(), f"what json-server answers in {self._file}")
        self.kill()

    def read(self) -> dict[str, Any]:
        """All that it holds: by its own answer while it runs, else out of its file."""
        if not self.running:
            return self._in_file()
        answer = requests.get(f"{self.url}/db", timeout=PATIENCE)
        answer.raise_for_status()
        return dict(answer.json())

    def _in_file(self) -> dict[str, Any]:
        # Never half a file: json-server writes another one and renames it.
        return dict(json.loads(self._file.read_bytes()))


if __name__ == "__main__":
    print(*command())  # noqa: T201 - this is what it was asked
