from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth

from flask_dualstorage.errors import ConfigurationError
from flask_dualstorage.types import Failure, Fault, Request
from flask_dualstorage.upstream.client import Client
from tests.upstreams.hostile import Behaviour, HostileUpstream, Received, answer

from .conftest import GET, POST, MakeClient, answered


class KeyInQuery(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.prepare_url(request.url, {"key": "k"})
        return request


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        (None, None),
        (("ada", "pässword"), "Basic YWRhOnDDpHNzd29yZA=="),
        ({"Authorization": "Bearer t"}, "Bearer t"),
        (requests.auth.HTTPBasicAuth("ada", "l"), "Basic YWRhOmw="),
    ],
)
def test_the_credential_goes_with_the_request(
    upstream: HostileUpstream, client: Client, auth: Any, header: str | None
) -> None:
    answered(client.send(GET, auth=auth))
    assert upstream.received[0].headers.get("Authorization") == header


def test_an_auth_object_may_change_the_url(upstream: HostileUpstream, client: Client) -> None:
    answered(client.send(Request("GET", "/a%2Fb"), auth=KeyInQuery()))
    assert upstream.received[0].target == "/a%2Fb?key=k"


@pytest.mark.parametrize("auth", ["secret", ["ada", "secret"], ("secret",), ("ada", 1), 5, lambda request: "secret"])
def test_another_auth_is_a_configuration_error_that_tells_what_to_give(
    upstream: HostileUpstream, client: Client, auth: Any
) -> None:
    with pytest.raises(ConfigurationError, match="auth") as refused:
        client.send(GET, auth=auth)
    assert "secret" not in str(refused.value)
    assert upstream.connections == 0


@pytest.mark.parametrize("auth", [{"Authorization": "Bearer secret\n"}, {"Authorization": None}, {1: "secret"}])
def test_a_credential_with_a_line_break_is_a_configuration_error_that_does_not_show_it(
    upstream: HostileUpstream, client: Client, auth: Any
) -> None:
    with pytest.raises(ConfigurationError, match="upstream_auth") as refused:
        client.send(GET, auth=auth)
    assert "secret" not in str(refused.value)
    assert upstream.connections == 0


def test_a_credential_that_can_not_be_fetched_is_a_failure_with_nothing_sent(
    upstream: HostileUpstream, client: Client
) -> None:
    def auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
        raise requests.ConnectionError("token server, secret")

    assert client.send(POST, auth=auth) == Failure(
        Fault.NO_CREDENTIAL, "The credential for the upstream 'crm' could not be fetched."
    )
    assert upstream.connections == 0


def test_an_auth_that_answers_a_challenge_works_on_a_connection_of_its_own(make_client: MakeClient) -> None:
    def challenge(received: Received) -> Behaviour:
        if received.headers.get("Authorization", "").startswith("Digest "):
            return answer(200, {"id": 1})
        cookie_and_challenge = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"', "Set-Cookie": "s=1"}
        return answer(401, headers=cookie_and_challenge)

    with HostileUpstream(challenge) as upstream:
        client = make_client(upstream.url)
        assert answered(client.send(POST, auth=HTTPDigestAuth("ada", "l"))).status_code == 200
        assert answered(client.send(GET)).status_code == 401
        assert [one.connection for one in upstream.received] == [1, 1, 2]
        assert [one.body for one in upstream.received[:2]] == [POST.body, POST.body]
        assert not any("Cookie" in one.headers for one in upstream.received)


def test_an_auth_may_ask_another_upstream_while_it_answers_a_challenge(
    upstream: HostileUpstream, client: Client, make_client: MakeClient
) -> None:
    with HostileUpstream() as tokens:
        other = make_client(tokens.url)

        def auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
            def renew(response: requests.Response, **options: Any) -> requests.Response:
                answered(other.send(Request("GET", "/token")))
                return response.connection.send(response.request, **options)

            request.register_hook("response", renew)  # type: ignore[no-untyped-call]
            return request

        upstream.then(answer(401), answer(200, [1]))
        assert answered(client.send(GET, auth=auth)).json() == [1]
        assert [one.target for one in tokens.received] == ["/token"]
        assert [one.target for one in upstream.received] == ["/people", "/people"]


def test_netrc_is_ignored(
    upstream: HostileUpstream, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login eve password secret\ndefault login eve password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(upstream.url), "the file is one that requests would take"
    answered(client.send(GET))
    assert "Authorization" not in upstream.received[0].headers


def test_cookies_are_not_sent_back(upstream: HostileUpstream, client: Client) -> None:
    upstream.then(answer(302, headers={"Set-Cookie": "owner=ada; Path=/", "Location": "/x"}), answer(200, {}))
    assert answered(client.send(GET)).status_code == 200
    client.send(GET)
    assert len(upstream.received) == 3
    assert not any("Cookie" in one.headers for one in upstream.received)
