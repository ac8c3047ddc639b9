"""json-server 0.17.4, a REST API that others wrote, as a process that tests start, kill and start again.

It is installed once, with npm, into ``$XDG_CACHE_HOME`` or the checkout's ``.cache/``; ``JSON_SERVER`` names one that
is there already. ``python -m tests.upstreams.json_server`` installs it ahead of the tests.
"""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import requests

from tests.waiting import PATIENCE, until

PACKAGE = "json-server@0.17.4"


class NotInstalled(Exception):
    """There is no json-server, and none can be installed; the message says what to do."""


def command() -> list[str]:
    """How to start json-server, which is installed first where it is missing. Raises `NotInstalled`."""
    if chosen := os.environ.get("JSON_SERVER"):
        return [chosen]
    node = shutil.which("node")
    if node is None:
        raise NotInstalled("install Node.js and npm, or set JSON_SERVER to a json-server's path.")
    return [node, str(_installed())]


def _installed() -> Path:
    folder = _cache() / PACKAGE
    script = folder / "node_modules" / "json-server" / "lib" / "cli" / "bin.js"
    # npm killed half-way leaves the script without what it requires: only the stamp says that all is there.
    stamp = folder / "installed"
    if not stamp.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            # Parallel test workers: one installs, the others wait for it.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not stamp.exists():
                _install(folder)
                stamp.touch()
    return script


def _cache() -> Path:
    if home := os.environ.get("XDG_CACHE_HOME"):
        return Path(home) / "flask-dualstorage"
    folder = Path(__file__).parents[2] / ".cache"
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    return folder


def _install(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotInstalled("install npm, or set JSON_SERVER to a json-server's path.")
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--cache", str(folder / "npm")]
    done = subprocess.run(
        [npm, "install", "--prefix", str(folder), *options, PACKAGE], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotInstalled(f"`npm install {PACKAGE}` failed: {done.stderr.strip()}")


class JsonServer:
    """One json-server on a port of its own, with its db.json in `folder`."""

    def __init__(self, command: list[str], folder: Path, port: int, db: dict[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._file = folder / "db.json"
        self._log = folder / "json-server.log"
        self._command = [*command, "--quiet", "--host", "127.0.0.1", "--port", str(port), str(self._file)]
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        self._file.write_text(json.dumps(db))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, or start it again: same port, same db.json. Returns once it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._file.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(self._ready, f"an answer of json-server at {self.url}")

    def _ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"json-server ended: {self._log.read_text()}")
        try:
            return requests.get(f"{self.url}/db", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        """Kill it, when what it acknowledged is in its file: json-server answers first and writes afterwards."""
        until(lambda: self._in_file() == self.read(), f"what json-server answers in {self._file}")
        self.kill()

    def kill(self) -> None:
        """SIGKILL, now. What it acknowledged a moment ago may be lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def read(self) -> dict[str, Any]:
        """All that it holds: by its own answer while it runs, else out of its file."""
        if self._process is None:
            return self._in_file()
        answer = requests.get(f"{self.url}/db", timeout=PATIENCE)
        answer.raise_for_status()
        return dict(answer.json())

    def _in_file(self) -> dict[str, Any]:
        # Never half a file: json-server writes another one and renames it.
        return dict(json.loads(self._file.read_bytes()))


if __name__ == "__main__":
    print(*command())  # noqa: T201 - this is what it was asked
