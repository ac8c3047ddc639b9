from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from flask_dualstorage.types import Answer, Failure, Request
from flask_dualstorage.upstream.client import Client
from tests.upstreams.hostile import HostileUpstream

MakeClient = Callable[..., Client]

GET = Request("GET", "/people")
POST = Request("POST", "/people", {"Content-Type": "application/json"}, b'{"name":"Turing"}')


def answered(result: Answer | Failure) -> Answer:
    assert isinstance(result, Answer), result
    return result


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no CA bundle of the machine that runs the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as upstream:
        yield upstream


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """A client with patience; tests that wait for a deadline ask for a short one."""
    made: list[Client] = []

    def make(
        url: str,
        timeout: tuple[float, float] = (10.0, 20.0),
        max_response_bytes: int = 100_000,
        pool_size: int = 4,
    ) -> Client:
        client = Client("crm", url, timeout=timeout, max_response_bytes=max_response_bytes, pool_size=pool_size)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(upstream: HostileUpstream, make_client: MakeClient) -> Client:
    return make_client(upstream.url)
