"""What tests of the whole have in common: an app, and a clock to turn. Each folder's conftest.py takes these in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, request

from flask_dualstorage import DualStorage
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.user_storage import UserStorage

#: Seconds, (to connect, for the whole answer): longer than any good answer takes on a busy machine.
PATIENT = (10.0, 20.0)

MakeApp = Callable[..., Flask]
#: One owner's storage: ``alice = user()``, or ``user("bob")``; further arguments go to ``make_app``.
User = Callable[..., UserStorage]


class Clock:
    """Seconds since 1970 that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no CA bundle of the machine that runs the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every app that ``make_app`` makes."""
    clock = Clock()
    monkeypatch.setattr("flask_dualstorage.extension.time", SimpleNamespace(time=clock, monotonic=clock))
    return clock


@pytest.fixture
def make_app(tmp_path: Path, clock: Clock) -> Iterator[MakeApp]:
    """Make an app on one instance folder: a second one is the first after a restart, or another worker.

    Its user is whom the header ``X-User`` names, nobody without one. The breaker stays closed unless a test
    sets its threshold, so that an upstream which is plugged in again is asked at once.
    """
    made: list[Flask] = []

    def make(dualstorage: DualStorage | None = None, *, url: str, cache: Any = None, **config: Any) -> Flask:
        app = Flask("app", instance_path=str(tmp_path / "instance"))
        app.config.update(
            SECRET_KEY="for tests",
            TESTING=True,
            DUALSTORAGE_UPSTREAM_URL=url,
            DUALSTORAGE_TIMEOUT=PATIENT,
            DUALSTORAGE_BREAKER_THRESHOLD=1_000_000,
        )
        app.config.update(config)
        dualstorage = dualstorage or DualStorage()
        dualstorage.user_loader(lambda: request.headers.get("X-User"))
        if cache is not None:
            cache.init_app(app)
        dualstorage.init_app(app)
        made.append(app)
        return app

    yield make
    for app in made:
        for upstream in storage_of(app).engine.known_upstreams():
            upstream._client.close()


def storage_of(app: Flask) -> AppDualStorage:
    """The extension as it is bound to ``app``."""
    storage: AppDualStorage = app.extensions["dualstorage"]
    return storage
