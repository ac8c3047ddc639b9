from __future__ import annotations

import pytest

from flask_dualstorage.types import Failure, Fault, Request
from flask_dualstorage.upstream.client import Client
from tests.upstreams.hostile import HostileUpstream, answer, drop, redirect

from .conftest import GET, POST, answered


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_read_follows_redirects_within_the_origin(upstream: HostileUpstream, client: Client, status: int) -> None:
    upstream.then(redirect("/people/?a=%2F#top", status), answer(200, [1]))
    got = answered(client.send(GET, auth={"Authorization": "Bearer t"}))
    assert (got.json(), got.url) == ([1], upstream.url + "/people/?a=%2F")
    assert [one.target for one in upstream.received] == ["/people", "/people/?a=%2F"]
    assert upstream.received[1].headers["Authorization"] == "Bearer t"


def test_a_read_follows_five_redirects_and_no_sixth(upstream: HostileUpstream, client: Client) -> None:
    upstream.then(*(redirect(f"/{number}") for number in range(9)))
    assert answered(client.send(GET)).status_code == 302
    assert [one.target for one in upstream.received] == ["/people", "/0", "/1", "/2", "/3", "/4"]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_write_is_not_made_a_read_by_a_redirect(upstream: HostileUpstream, client: Client, status: int) -> None:
    upstream.then(redirect("/people/", status))
    got = answered(client.send(POST))
    assert (got.status_code, got.headers["Location"]) == (status, "/people/")
    assert len(upstream.received) == 1


@pytest.mark.parametrize("status", [307, 308])
def test_a_write_follows_where_method_and_body_stay(upstream: HostileUpstream, client: Client, status: int) -> None:
    upstream.then(redirect(upstream.url + "/people/", status), answer(201, {"id": 1}))
    assert answered(client.send(POST)).status_code == 201
    assert [(one.method, one.target, one.body) for one in upstream.received] == [
        ("POST", "/people", POST.body),
        ("POST", "/people/", POST.body),
    ]


@pytest.mark.parametrize("request_", [GET, POST])
@pytest.mark.parametrize("where", ["http://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "https://127.0.0.1:{own}/"])
def test_no_redirect_leads_to_another_origin(
    upstream: HostileUpstream, client: Client, request_: Request, where: str
) -> None:
    with HostileUpstream() as other:
        upstream.then(redirect(where.format(port=other.port, own=upstream.port), 307))
        assert answered(client.send(request_, auth=("ada", "secret"))).status_code == 307
        assert other.connections == 0
    assert upstream.connections == 1


@pytest.mark.parametrize("location", ["http://[", "http://a:port/", "", "mailto:a@b", "\t"])
def test_a_location_that_is_none_is_not_followed(upstream: HostileUpstream, client: Client, location: str) -> None:
    upstream.then(redirect(location))
    assert answered(client.send(GET)).status_code == 302
    assert len(upstream.received) == 1


def test_a_redirect_after_which_nothing_comes_is_not_unsent(upstream: HostileUpstream, client: Client) -> None:
    upstream.then(redirect("/people/", 307), drop())
    result = client.send(POST)
    assert isinstance(result, Failure)
    assert result.fault is Fault.CUT
