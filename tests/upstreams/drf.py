"""Django REST framework 3.18 on gunicorn: numbers or the client's UUIDs, three ways to page, tokens, throttling.

It is installed once, with pip, into an environment of its own below ``.cache/``; ``python -m tests.upstreams.drf`` does
that ahead of the tests. The site is ``drf_site/``; its data is in SQLite and outlives it, whom it throttles does not.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import requests

from tests.upstreams.installing import venv
from tests.upstreams.process import ServerProcess
from tests.waiting import PATIENCE

#: Who is known: tokens by names.
TOKENS = {"alice": "alices-token", "bob": "bobs-token"}
#: Records a page, and requests that one user may make in a minute where it is throttled.
PAGE = 3
THROTTLE = 3

HERE = Path(__file__).parent


def command() -> Path:
    """The folder of its programs, which are installed first where they are missing. Raises `NotInstalled`."""
    return venv("drf", HERE / "drf.txt")


class Drf(ServerProcess):
    """One site on a port of its own, with its database in ``folder``."""

    name = "drf"
    ready_path = "/"

    def __init__(self, programs: Path, folder: Path, port: int, page: int = PAGE) -> None:
        super().__init__(folder, port)
        self.api = self.origin
        self._programs = programs
        self._database = folder / "drf.sqlite"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "drf_site.settings",
            "DRF_DATABASE": str(self._database),
            "DRF_PAGE": str(page),
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def command(self) -> list[str]:
        served = ["django.core.wsgi:get_wsgi_application()", "--bind", f"127.0.0.1:{self.port}"]
        return [
            str(self._programs / "gunicorn"),
            *served,
            "--threads",
            "8",
            "--keep-alive",
            "30",
            "--log-level",
            "error",
        ]

    def start(self) -> None:
        """Start it, and make its tables and users where they are missing."""
        if not self._database.exists():
            prepare = [self._programs / "python", "-m", "drf_site.prepare"]
            users = [f"{name}={token}" for name, token in TOKENS.items()]
            subprocess.run([*prepare, *users], check=True, env=self.environment, cwd=self.folder, timeout=PATIENCE)
        super().start()

    def clear(self) -> None:
        """Forget all records; and numbers begin with 1 again. Its throttle forgets only when it is started again."""
        with closing(sqlite3.connect(self._database, timeout=PATIENCE)) as database, database:
            for table in ("drf_site_note", "drf_site_person", "drf_site_gadget"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
            database.execute("DELETE FROM sqlite_sequence WHERE name LIKE 'drf_site_%'")

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Do something as Bob; the answer is a success."""
        headers = {"Authorization": f"Token {TOKENS['bob']}"}
        answer = requests.request(method, self.api + path, headers=headers, timeout=PATIENCE, **options)
        answer.raise_for_status()
        return answer


if __name__ == "__main__":
    print(command())  # noqa: T201 - this is what it was asked
