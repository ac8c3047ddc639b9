from __future__ import annotations

import socket
import threading

import pytest
import requests

from flask_dualstorage.errors import ConfigurationError, ValidationFailed
from flask_dualstorage.types import Answer, Failure, Fault, Request
from flask_dualstorage.upstream.client import Client
from tests.upstreams.hostile import (
    Behaviour,
    HostileUpstream,
    answer,
    chunked,
    drop,
    head,
    huge,
    raw,
    refused_port,
    zipped,
)

from .conftest import GET, POST, MakeClient, answered

# --- what goes out ----------------------------------------------------------------------------------


def test_a_request_goes_out_as_it_was_given_and_the_answer_comes_back(
    upstream: HostileUpstream, client: Client
) -> None:
    upstream.then(answer(201, {"id": 7}, headers={"ETag": '"1"'}))
    got = answered(client.send(POST))
    assert (got.status_code, got.json(), got.headers["etag"]) == (201, {"id": 7}, '"1"')
    assert got.url == upstream.url + "/people"
    [sent] = upstream.received
    assert (sent.method, sent.target, sent.body) == ("POST", "/people", b'{"name":"Turing"}')
    assert sent.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "path", ["/a%2Fb", "/a%2fb", "/%7Eada", "/%2e%2e%2fadmin", "/a;b=1/c,d", "//a//b", "/p?q=%2F", "/p?"]
)
def test_the_path_stays_on_the_wire_byte_for_byte(upstream: HostileUpstream, client: Client, path: str) -> None:
    answered(client.send(Request("GET", path)))
    assert upstream.received[0].target == path


@pytest.mark.parametrize("base", ["/api/v1", "/api/v1/"])
def test_the_base_may_have_a_path_with_or_without_a_slash(
    upstream: HostileUpstream, make_client: MakeClient, base: str
) -> None:
    answered(make_client(upstream.url + base).send(GET))
    assert upstream.received[0].target == "/api/v1/people"


def test_params_become_the_query(upstream: HostileUpstream, client: Client) -> None:
    client.send(Request("GET", "/people", params={"q": "a b&ü", "page": "2"}))
    client.send(Request("GET", "/people?sort=name", params={"page": "2"}))
    assert [one.target for one in upstream.received] == ["/people?q=a+b%26%C3%BC&page=2", "/people?sort=name&page=2"]


@pytest.mark.parametrize("path", ["people", "/a b", "/a\r\nHost: evil", "/ü", "/a#b", ""])
def test_a_path_that_is_not_encoded_is_refused_before_a_connection_is_made(
    upstream: HostileUpstream, client: Client, path: str
) -> None:
    with pytest.raises(ValidationFailed):
        client.send(Request("GET", path))
    assert upstream.connections == 0


def test_it_names_itself_and_asks_for_json(upstream: HostileUpstream, client: Client) -> None:
    client.send(GET)
    headers = upstream.received[0].headers
    assert headers["User-Agent"].startswith("flask-dualstorage")
    assert (headers["Accept"], headers["Accept-Encoding"]) == ("application/json", "gzip, deflate")


def test_the_callers_headers_win(upstream: HostileUpstream, client: Client) -> None:
    client.send(Request("GET", "/people", {"accept": "application/hal+json", "user-agent": "mine"}))
    assert upstream.received[0].headers["Accept"] == "application/hal+json"
    assert upstream.received[0].headers["User-Agent"] == "mine"


def test_headers_and_body_go_in_one_piece(
    upstream: HostileUpstream, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two, the second packet may wait for the first one's acknowledgement, and each costs a system call."""
    pieces: list[bytes] = []
    send = socket.socket.send

    def noting(sock: socket.socket, data: bytes, *flags: int) -> int:
        pieces.append(bytes(data))
        return send(sock, data, *flags)

    monkeypatch.setattr(socket.socket, "send", noting)
    for request in (POST, GET, POST):
        client.send(request)
    assert [piece.partition(b" ")[0] for piece in pieces] == [b"POST", b"GET", b"POST"]
    assert [piece.partition(b"\r\n\r\n")[2] for piece in pieces] == [POST.body, b"", POST.body]
    assert [got.body for got in upstream.received] == [POST.body, b"", POST.body]


@pytest.mark.parametrize("is_hooked", [False, True])
def test_headers_of_one_name_are_one_whichever_way_it_went(
    upstream: HostileUpstream, client: Client, is_hooked: bool
) -> None:
    """As RFC 9110 §5.3 joins them; an auth object's hook takes the way through ``requests``."""

    def hooking(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", lambda response, **options: response)
        return request

    upstream.then(raw(b"HTTP/1.1 200 OK\r\nLink: <a>\r\nlink: <b>\r\nContent-Length: 2\r\n\r\n{}"))
    headers = answered(client.send(GET, auth=hooking if is_hooked else None)).headers
    assert {name.lower(): value for name, value in headers.items()} == {"link": "<a>, <b>", "content-length": "2"}
    assert (headers["LINK"], headers.get("lInK"), "nothing" in headers) == ("<a>, <b>", "<a>, <b>", False)


def test_no_request_goes_out_before_its_connections_have_their_certificates(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that is not there fails each request, not only the first."""
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", "/nowhere/cacert.pem")
    client = make_client("https://127.0.0.1:9")
    for _ in range(2):
        failed = client.send(GET)
        assert isinstance(failed, Failure)
        assert "could not be reached" in failed.reason


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_write_without_a_body_says_so(upstream: HostileUpstream, client: Client, method: str) -> None:
    client.send(Request(method, "/people"))
    assert upstream.received[0].headers["Content-Length"] == "0"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b", "€", " a"])
def test_a_header_that_would_not_arrive_as_one_is_refused_before_a_connection_is_made(
    upstream: HostileUpstream, client: Client, value: str
) -> None:
    with pytest.raises(ValidationFailed, match=r"headers\.If-Match"):
        client.send(Request("GET", "/people", {"If-Match": value}))
    with pytest.raises(ValidationFailed):
        client.send(Request("GET", "/people", {value: "1"}))
    assert upstream.connections == 0


@pytest.mark.parametrize(
    "url", ["ftp://a", "people", "http://", "http://a:x", "http://a/?b=c", "http://u:secret@a", f"http://{'a' * 70}.b"]
)
def test_a_url_that_can_not_be_used_is_refused_at_start(make_client: MakeClient, url: str) -> None:
    with pytest.raises(ConfigurationError, match="upstream 'crm'") as refused:
        make_client(url)
    assert "secret" not in str(refused.value)


# --- connections ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "good",
    [
        answer(200, [1]),
        answer(204),
        answer(304),
        answer(500, body=b""),
        zipped([1]),
        chunked(b"[1", b"]"),
        raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + head(200, {"Content-Length": "2"}) + b"[]"),
    ],
)
def test_a_connection_is_used_again_after_a_whole_answer(
    upstream: HostileUpstream, client: Client, good: Behaviour
) -> None:
    upstream.then(good, good, answer(200, {"last": True}))
    first, second, last = (answered(client.send(GET)) for _ in range(3))
    assert first == second or first.headers == second.headers
    assert last.json() == {"last": True}
    assert upstream.connections == 1


def test_one_client_serves_many_threads(upstream: HostileUpstream, make_client: MakeClient) -> None:
    client = make_client(upstream.url, pool_size=8)
    results: list[Answer | Failure] = []

    def run() -> None:
        results.extend(client.send(POST) for _ in range(10))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answered(result).status_code for result in results] == [200] * 80
    assert upstream.connections <= 8


def test_bytes_beyond_the_end_of_an_answer_are_never_the_next_one(upstream: HostileUpstream, client: Client) -> None:
    stray = head(200, {"Content-Length": "8"}) + b'["evil"]'
    upstream.then(raw(head(200, {"Content-Length": "2"}) + b"[]" + stray), answer(200, ["good"]))
    assert answered(client.send(GET)).json() == []
    assert answered(client.send(GET)).json() == ["good"]
    assert upstream.connections == 2


def test_a_connection_that_the_upstream_closed_meanwhile_is_not_used(upstream: HostileUpstream, client: Client) -> None:
    answered(client.send(GET))
    upstream.unplug()
    upstream.plug()
    assert answered(client.send(POST)).status_code == 200


# --- what it says -----------------------------------------------------------------------------------


def test_a_failure_names_the_upstream_and_no_secret(upstream: HostileUpstream, client: Client) -> None:
    upstream.then(drop(), raw(b"secret\r\n\r\n"), huge(200_000))
    secret = Request("POST", "/secret", {"X-Key": "secret"}, b"secret", {"key": "secret"})
    reasons = []
    for _ in range(3):
        result = client.send(secret, auth=("ada", "secret"))
        assert isinstance(result, Failure)
        reasons.append(result.reason)
    assert reasons == [
        "The upstream 'crm' closed the connection without an answer.",
        "The upstream 'crm' sent what is not an HTTP answer.",
        "The upstream 'crm' sent an answer of more than 100000 bytes.",
    ]


def test_a_refused_connection_says_so(make_client: MakeClient) -> None:
    with refused_port() as port:
        result = make_client(f"http://127.0.0.1:{port}").send(POST)
    assert result == Failure(Fault.UNSENT, "The upstream 'crm' refused the connection.")
