"""The apps that stand in front of real upstreams; and those upstreams, one of each for a worker, cleared for a test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from example_app.line import Line
from tests import needs
from tests.upstreams import drf, grounds, kinto
from tests.upstreams.installing import NotInstalled
from tests.upstreams.process import ServerProcess
from tests.whole import bare_environment, clock, make_app

__all__ = ["bare_environment", "clock", "make_app"]


def _programs(what: str, command: Callable[[], Path]) -> Path:
    try:
        return command()
    except NotInstalled as error:
        needs.missing(what, str(error))


def _up(server: ServerProcess) -> None:
    """Let it run again, whatever a test did to it."""
    server.thaw()
    if not server.running:
        server.start()


@pytest.fixture(scope="session")
def kinto_server(kinto_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kinto.Kinto]:
    """A Kinto on PostgreSQL."""
    programs = _programs("Kinto", kinto.command)
    with kinto.Kinto(programs, tmp_path_factory.mktemp("kinto"), needs.free_port(), kinto_database_url) as server:
        yield server


@pytest.fixture
def a_kinto(kinto_server: kinto.Kinto) -> Iterator[tuple[kinto.Kinto, str]]:
    """The Kinto, and the URL of the collections of a bucket that is this test's own; ``people`` is an empty one."""
    yield kinto_server, kinto_server.make_bucket(f"test-{uuid.uuid4().hex[:8]}", "people")
    kinto_server.find_database()
    _up(kinto_server)


@pytest.fixture(scope="session")
def drf_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[drf.Drf]:
    """A Django REST framework site."""
    programs = _programs("Django REST framework", drf.command)
    with drf.Drf(programs, tmp_path_factory.mktemp("drf"), needs.free_port()) as server:
        yield server


@pytest.fixture
def a_drf(drf_server: drf.Drf) -> Iterator[drf.Drf]:
    """The site, empty, and with nobody throttled."""
    yield drf_server
    _up(drf_server)
    drf_server.clear()


@pytest.fixture(params=list(grounds.CAN))
def ground(request: pytest.FixtureRequest) -> Iterator[grounds.Ground]:
    """Each of the three, with Ada and Grace in it."""
    server, path = _server(request)
    line = Line(needs.free_port(), server.port)
    line.push()
    ground = grounds.ground_of(server, line, path)
    for person in grounds.PEOPLE:
        ground.add(**person)
    yield ground
    line.pull()


def _server(request: pytest.FixtureRequest) -> tuple[ServerProcess, str]:
    """The server of that name, and where its collections are."""
    match request.param:
        case "json_server":
            return request.getfixturevalue("start_json_server")({"people": []}), ""
        case "kinto":
            server, url = request.getfixturevalue("a_kinto")
            return server, url.removeprefix(server.origin)
        case _:
            return request.getfixturevalue("a_drf"), ""
