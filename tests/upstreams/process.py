"""A server that others wrote, as processes that tests start, stop, freeze, kill and start again."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

import requests

from tests.waiting import until


class ServerProcess:
    """One server on a port of its own. Subclasses say how it is started, and at which path it answers.

    It is the leader of a process group: what befalls it befalls its workers, too.
    """

    #: What it is called in complaints, and a path that it answers below 500 once it is up.
    name = ""
    ready_path = "/"

    def __init__(self, folder: Path, port: int) -> None:
        self.environment = dict(os.environ)
        self.folder = folder
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"
        self._log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """How to start it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Start it, or start it again: same port, same data. Returns once it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._ready, f"an answer of {self.name} at {self.origin}")

    def stop(self) -> None:
        """End it, without losing anything that it acknowledged."""
        self.kill()

    def kill(self) -> None:
        """SIGKILL, now; of a server that is stopped or frozen, too."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
            # A worker's end is not ours to wait for, and until then it holds the port.
            until(self._refuses, f"the end of {self.name}'s workers on {self.origin}")

    def freeze(self) -> None:
        """SIGSTOP: it takes connections, and says nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it answers what it was asked meanwhile, too."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self._log.read_text()[-4000:]}")
        try:
            return requests.get(self.origin + self.ready_path, timeout=5).status_code < 500
        except requests.RequestException:
            return False

    def _refuses(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == errno.ECONNREFUSED
