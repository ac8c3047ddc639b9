"""Kinto 26.5, a REST API that others wrote: UUIDs, envelopes, versions that it checks, pages by token, accounts.

It is installed once, with pip, into an environment of its own below ``.cache/``; ``python -m tests.upstreams.kinto``
does that ahead of the tests. Its data is in PostgreSQL and outlives it; without a database it is in memory.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import requests
import sqlalchemy

from tests.upstreams.installing import venv
from tests.upstreams.process import ServerProcess
from tests.waiting import PATIENCE

#: Who is known: passwords by names.
ACCOUNTS = {"alice": "alice's secret", "bob": "bob's secret"}
#: Records a page.
PAGE = 3

SETTINGS = """\
[app:main]
use = egg:kinto
kinto.{storage}
kinto.cache_backend = kinto.core.cache.memory
kinto.includes = kinto.plugins.accounts kinto.plugins.default_bucket
kinto.account_create_principals = system.Everyone
kinto.bucket_create_principals = system.Authenticated
kinto.userid_hmac_secret = of the tests
kinto.paginate_by = {page}
multiauth.policies = account
multiauth.policy.account.use = kinto.plugins.accounts.authentication.AccountsAuthenticationPolicy

[server:main]
use = egg:waitress#main
listen = 127.0.0.1:{port}
threads = 8
"""


def command() -> Path:
    """The folder of Kinto's programs, which are installed first where they are missing. Raises `NotInstalled`."""
    return venv("kinto", Path(__file__).with_name("kinto.txt"))


class Kinto(ServerProcess):
    """One Kinto on a port of its own; ``database`` is the URL of a PostgreSQL database that is its own, too."""

    name = "kinto"
    ready_path = "/v1/"

    def __init__(
        self, programs: Path, folder: Path, port: int, database: str | None = None, page: int | None = PAGE
    ) -> None:
        super().__init__(folder, port)
        self.api = f"{self.origin}/v1"
        self._programs = programs
        self._settings = folder / "kinto.ini"
        self._database = database and sqlalchemy.engine.make_url(database).set(drivername="postgresql")
        self._settings.write_text(SETTINGS.format(storage=self._storage(), port=port, page=page or ""))
        self._prepared = False

    def _storage(self) -> str:
        where = "memory" if self._database is None else "postgresql"
        lines = [f"{part}_backend = kinto.core.{part}.{where}" for part in ("storage", "permission")]
        if self._database is not None:
            url = self._database.render_as_string(hide_password=False).replace("%", "%%")
            lines += [f"{part}_url = {url}" for part in ("storage", "permission")]
        return "\nkinto.".join(lines)

    def command(self) -> list[str]:
        return [str(self._programs / "pserve"), str(self._settings)]

    def start(self) -> None:
        """Start it, and make its tables and accounts where they are missing."""
        if self._database is not None and not self._prepared:
            migrate = [self._programs / "kinto", "migrate", "--ini", self._settings]
            subprocess.run(migrate, check=True, capture_output=True, cwd=self.folder, timeout=PATIENCE)
        super().start()
        if self._database is None or not self._prepared:
            for name, password in ACCOUNTS.items():
                account = {"data": {"password": password}}
                requests.put(f"{self.api}/accounts/{name}", json=account, timeout=PATIENCE).raise_for_status()
        self._prepared = True

    def make_bucket(self, name: str, *collections: str) -> str:
        """Make a bucket that all accounts may write, with empty collections; gives their URL."""
        url = f"{self.api}/buckets/{name}"
        self.ask("PUT", url, json={"permissions": {"write": ["system.Authenticated"]}})
        for each in collections:
            self.ask("PUT", f"{url}/collections/{each}")
        return f"{url}/collections"

    def ask(self, method: str, url: str, **options: Any) -> requests.Response:
        """Do something as Bob; the answer is a success."""
        answer = requests.request(method, url, auth=("bob", ACCOUNTS["bob"]), timeout=PATIENCE, **options)
        answer.raise_for_status()
        return answer

    def lose_database(self) -> None:
        """Take its database away: from here on it answers 503, with Retry-After."""
        self._in_postgresql("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        self._in_postgresql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def find_database(self) -> None:
        """Give it back."""
        self._in_postgresql("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")

    def _in_postgresql(self, statement: str) -> None:
        if self._database is None:
            raise RuntimeError("This Kinto keeps its data in memory.")
        server = self._database.set(drivername="postgresql+psycopg", database="postgres")
        engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement.format(name=self._database.database)))


if __name__ == "__main__":
    print(command())  # noqa: T201 - this is what it was asked
