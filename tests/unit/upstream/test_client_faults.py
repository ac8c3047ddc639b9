"""What fails, and whether the request can have arrived. The short deadlines here bound what would never end."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
import zlib
from typing import Literal

import pytest

from flask_dualstorage.types import Failure, Fault, Request
from flask_dualstorage.upstream.bodies import TooLarge, decoded
from flask_dualstorage.upstream.client import Client
from tests.upstreams.hostile import (
    Behaviour,
    HostileUpstream,
    Line,
    Then,
    answer,
    black_hole,
    chunked,
    cut,
    cut_json,
    drip,
    drop,
    gzip_bomb,
    head,
    html,
    huge,
    nested,
    raw,
    reset,
    silent,
    zipped,
)

from .conftest import GET, POST, MakeClient, answered

#: Patience to connect, none for the answer.
SHORT = (10.0, 0.3)


def fault_of(result: object) -> Fault:
    assert isinstance(result, Failure), result
    return result.fault


# --- deadlines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [silent(), drip("status"), drip("headers"), drip("body")])
@pytest.mark.parametrize("request_", [GET, POST])
def test_one_deadline_bounds_the_whole_answer(
    upstream: HostileUpstream, make_client: MakeClient, slow: Behaviour, request_: Request
) -> None:
    """Each drips for ten seconds and more, and is then a good answer: without the deadline these would succeed."""
    upstream.then(slow)
    result = make_client(upstream.url, timeout=SHORT).send(request_)
    assert result == Failure(Fault.CUT, "The upstream 'crm' did not answer completely within 0.3 s.", late=True)


def test_dripping_chunks_and_interim_answers_are_bounded_too(
    upstream: HostileUpstream, make_client: MakeClient
) -> None:
    def forever(start: bytes, again: bytes) -> Behaviour:
        def behave(line: Line) -> Then:
            line.write(start)
            while True:
                line.pause(0.02)
                line.write(again)

        return behave

    client = make_client(upstream.url, timeout=SHORT)
    upstream.then(
        forever(head(200, {"Transfer-Encoding": "chunked"}), b"1\r\n \r\n"),
        forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        forever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    )
    assert [fault_of(client.send(GET)) for _ in range(3)] == [Fault.CUT] * 3


def test_the_deadline_of_one_call_wins(upstream: HostileUpstream, client: Client) -> None:
    upstream.then(silent())
    assert client.send(GET, timeout=SHORT) == Failure(
        Fault.CUT, "The upstream 'crm' did not answer completely within 0.3 s.", late=True
    )


def test_a_deadline_that_is_past_before_anything_went_out_is_unsent(upstream: HostileUpstream, client: Client) -> None:
    answered(client.send(GET))
    assert fault_of(client.send(POST, timeout=(10.0, 1e-9))) is Fault.UNSENT
    assert len(upstream.received) == 1


def test_redirects_share_the_deadline(upstream: HostileUpstream, make_client: MakeClient) -> None:
    def late(line: Line) -> Then:
        line.pause(0.2)
        return answer(307, headers={"Location": "/again"})(line)

    upstream.then(late, late, late, late)
    assert fault_of(make_client(upstream.url, timeout=SHORT).send(GET)) is Fault.CUT
    assert len(upstream.received) < 4


def test_a_body_that_the_upstream_does_not_take_is_bounded(make_client: MakeClient) -> None:
    """A listener that accepts nothing: connecting works, the socket's buffers fill, and sending blocks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = make_client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=SHORT)
        result = client.send(Request("POST", "/people", body=b"x" * 50_000_000))
    assert fault_of(result) is Fault.CUT


@pytest.mark.parametrize("timeout", [(0.2, 20.0), (20.0, 0.2)])
def test_a_black_hole_costs_the_connect_timeout_or_the_deadline_and_nothing_was_sent(
    make_client: MakeClient, timeout: tuple[float, float]
) -> None:
    with black_hole() as port:
        result = make_client(f"http://127.0.0.1:{port}", timeout=timeout).send(POST)
    assert fault_of(result) is Fault.UNSENT


def test_all_addresses_of_a_name_share_the_connect_timeout(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, upstream: HostileUpstream
) -> None:
    """The first address swallows connections, the second is good: it gets its turn within the one timeout."""
    with black_hole() as port:
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", one)) for one in (port, upstream.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: addresses)
        assert answered(make_client("http://crm.example", timeout=(0.4, 20.0)).send(POST)).status_code == 200


def test_a_name_that_does_not_resolve_is_unsent(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    result = make_client("http://crm.example").send(POST)
    assert result == Failure(Fault.UNSENT, "The upstream 'crm' could not be found: its name does not resolve.")


# --- answers that are cut ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        drop(),
        reset(),
        cut(5),
        cut(5, then=Then.RESET),
        raw(b"HTTP/1.1 200 OK\r\nContent-Le", Then.CLOSE),
        raw(b"HTTP/1.1 200 OK\r\nX: 1\r\n", Then.CLOSE),
        raw(b"HTTP/1.1 200 OK\r\n", Then.CLOSE),
        raw(b"HTTP/1.1 200 OK", Then.CLOSE),
        raw(b"HTTP/1.1 2", Then.CLOSE),
        raw(b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n", Then.CLOSE),
        raw(b"220 smtp.example ESMTP\r\n"),
        raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        raw(head(200, {"Content-Length": "5, 6"}) + b"[1,2]"),
        raw(head(200, {f"X-{number}": "1" for number in range(200)}) + b""),
        chunked(b"[1", end=b""),
        chunked(b"[1", end=b"5\r\n,2"),
        chunked(b"[1", end=b"-1\r\n,2]"),
        chunked(b"[1", end=b"no\r\n,2]"),
        answer(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
        answer(body=gzip.compress(b"[1,2,3]")[:-9], headers={"Content-Encoding": "gzip"}),
        answer(body=gzip.compress(b"[1]") + b"more", headers={"Content-Encoding": "gzip"}),
        answer(body=b"no deflate", headers={"Content-Encoding": "deflate"}),
        answer(body=b"?", headers={"Content-Encoding": "br"}),
    ],
)
def test_an_answer_that_is_not_whole_is_cut_and_its_connection_not_used_again(
    upstream: HostileUpstream, client: Client, broken: Behaviour
) -> None:
    upstream.then(broken, answer(200, ["good"]))
    assert fault_of(client.send(POST)) is Fault.CUT
    assert answered(client.send(GET)).json() == ["good"]
    assert len(upstream.received) == 2, "nothing is sent twice"


def test_a_chunk_of_negative_size_is_not_taken_for_everything_there_is(
    upstream: HostileUpstream, client: Client
) -> None:
    upstream.then(raw(head(200, {"Transfer-Encoding": "chunked"}) + b"-1\r\n"))
    assert client.send(GET) == Failure(Fault.CUT, "The upstream 'crm' cut its answer short.")


@pytest.mark.parametrize("odd", [html(), html(503), cut_json(), nested(20_000), answer(200, body=b"null"), answer(202)])
def test_a_whole_answer_is_an_answer_whatever_it_holds(
    upstream: HostileUpstream, client: Client, odd: Behaviour
) -> None:
    upstream.then(odd)
    answered(client.send(GET))
    answered(client.send(GET))
    assert upstream.connections == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_answers_are_decoded(
    upstream: HostileUpstream, client: Client, encoding: Literal["gzip", "deflate"]
) -> None:
    upstream.then(zipped([1, 2], encoding))
    assert answered(client.send(GET)).json() == [1, 2]


def test_deflate_without_its_wrapper_is_taken_as_well() -> None:
    packer = zlib.compressobj(wbits=-15)
    assert decoded(packer.compress(b"[1]") + packer.flush(), "deflate", 100) == b"[1]"


# --- answers that are too large ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "large",
    [
        huge(100_001),
        huge(100_001, declared=False),
        chunked(*[b"x" * 1000] * 101),
        gzip_bomb(100_001),
        gzip_bomb(30_000_000),
        # Only the head of it: refused by its length, the body is not waited for.
        raw(head(200, {"Content-Length": str(10**12)})),
    ],
)
def test_an_answer_over_the_limit_is_refused_and_not_drained(
    upstream: HostileUpstream, client: Client, large: Behaviour
) -> None:
    upstream.then(large, answer(200, ["good"]))
    assert client.send(GET) == Failure(Fault.TOO_LARGE, "The upstream 'crm' sent an answer of more than 100000 bytes.")
    assert answered(client.send(GET)).json() == ["good"]


@pytest.mark.parametrize("fits", [huge(100_000), huge(100_000, declared=False), gzip_bomb(100_000)])
def test_an_answer_of_just_the_limit_is_taken(upstream: HostileUpstream, client: Client, fits: Behaviour) -> None:
    upstream.then(fits)
    assert len(answered(client.send(GET)).content) == 100_000


def test_a_gzip_bomb_is_never_unpacked() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decoded(bomb, "gzip", 100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
