"""TLS, proxies and forks: where the connection comes from, and whom it belongs to."""

from __future__ import annotations

import os
import select
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_dualstorage.errors import ConfigurationError
from flask_dualstorage.types import Failure, Fault, Request
from flask_dualstorage.upstream.client import Client
from tests.upstreams.hostile import (
    Behaviour,
    HostileUpstream,
    Line,
    Then,
    answer,
    drip,
    drop,
    raw,
    refused_port,
    reset,
    silent,
)

from .conftest import GET, POST, MakeClient, answered

SHORT = (10.0, 0.3)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("the openssl program is not there to make a certificate")
    pem = tmp_path_factory.mktemp("tls") / "upstream.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=upstream"
    options = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", f"{pem}.crt"]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    with pem.open("a") as file:
        file.write(Path(f"{pem}.crt").read_text())
    return pem


@pytest.fixture
def secure(certificate: Path) -> Iterator[HostileUpstream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HostileUpstream(tls=context) as upstream:
        yield upstream


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


# --- TLS --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("trusted")
def test_it_speaks_tls_over_kept_connections(secure: HostileUpstream, make_client: MakeClient) -> None:
    client = make_client(secure.url)
    large = Request("POST", "/people", body=b"x" * 1_000_000)
    assert [answered(client.send(one)).status_code for one in (GET, large, POST)] == [200] * 3
    assert len(secure.received[1].body) == 1_000_000
    assert secure.connections == 1


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("fault", [drop(), reset(), silent(), drip("status"), drip("headers"), drip("body")])
def test_the_deadline_and_what_was_sent_hold_over_tls(
    secure: HostileUpstream, make_client: MakeClient, fault: Behaviour
) -> None:
    secure.then(fault)
    result = make_client(secure.url, timeout=SHORT).send(POST)
    assert isinstance(result, Failure)
    assert result.fault is Fault.CUT


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_ca_bundle_of_the_environment_is_taken_once_at_start(
    secure: HostileUpstream,
    make_client: MakeClient,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, str(certificate))
    client = make_client(secure.url)
    monkeypatch.delenv(variable)
    assert answered(client.send(GET)).status_code == 200


def test_a_ca_bundle_that_is_not_there_is_refused_at_start(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(ConfigurationError, match=r"CURL_CA_BUNDLE names '/nowhere/ca\.pem'"):
        make_client("https://crm.example")


def test_a_certificate_that_is_not_trusted_is_unsent(secure: HostileUpstream, make_client: MakeClient) -> None:
    assert make_client(secure.url).send(POST) == Failure(
        Fault.UNSENT, "The upstream 'crm' showed a certificate that is not trusted."
    )
    assert secure.received == []


def test_an_upstream_that_speaks_plain_text_where_tls_was_meant_is_unsent(
    upstream: HostileUpstream, make_client: MakeClient
) -> None:
    assert make_client(f"https://127.0.0.1:{upstream.port}").send(POST) == Failure(
        Fault.UNSENT, "The upstream 'crm' did not complete the TLS handshake."
    )


def test_a_tls_handshake_that_never_ends_costs_the_connect_timeout_and_is_unsent(make_client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = make_client(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout=(0.3, 20.0))
        assert client.send(POST) == Failure(Fault.UNSENT, "The upstream 'crm' could not be connected to within 0.3 s.")


# --- proxies ----------------------------------------------------------------------------------------


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileUpstream]:
    """A proxy that the environment names; what it received shows what went through it."""
    with HostileUpstream() as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url.replace("//", "//ada:secret@"))
        yield proxy


def tunnel(port: int) -> Behaviour:
    """What a proxy does for CONNECT: connect, say so, and pass bytes both ways."""

    def behave(line: Line) -> Then:
        with socket.create_connection(("127.0.0.1", port)) as onward:
            line.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            other = {line.sock: onward, onward: line.sock}
            while True:
                for ready in select.select(list(other), [], [])[0]:
                    data = ready.recv(65_536)
                    if not data:
                        return Then.CLOSE
                    other[ready].sendall(data)

    return behave


def test_the_proxy_of_the_environment_is_used(proxy: HostileUpstream, make_client: MakeClient) -> None:
    proxy.then(answer(201, {"id": 1}), answer(200, []))
    client = make_client("http://crm.invalid/api")
    assert answered(client.send(Request("POST", "/people/a%2fb", body=b"{}"))).status_code == 201
    assert answered(client.send(GET)).json() == []
    first = proxy.received[0]
    assert (first.target, first.headers["Host"]) == ("http://crm.invalid/api/people/a%2fb", "crm.invalid")
    assert first.headers["Proxy-Authorization"] == "Basic YWRhOnNlY3JldA=="
    assert proxy.connections == 1


@pytest.mark.usefixtures("proxy")
def test_no_proxy_keeps_an_upstream_out_of_it(
    upstream: HostileUpstream, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert answered(make_client(upstream.url).send(GET)).status_code == 200
    assert upstream.received[0].target == "/people"


def test_the_environment_is_read_once_at_start(
    proxy: HostileUpstream, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client("http://crm.invalid")
    monkeypatch.delenv("http_proxy")
    answered(client.send(GET))
    assert len(proxy.received) == 1


def test_what_went_to_a_proxy_may_have_arrived(proxy: HostileUpstream, make_client: MakeClient) -> None:
    proxy.then(drop())
    result = make_client("http://crm.invalid").send(POST)
    assert isinstance(result, Failure)
    assert result.fault is Fault.CUT


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_unsent_and_its_password_not_shown(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with refused_port() as port:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://ada:secret@127.0.0.1:{port}")
        assert make_client(f"{scheme}://crm.invalid").send(POST) == Failure(
            Fault.UNSENT, "The upstream 'crm' could not be reached through the proxy."
        )


@pytest.mark.usefixtures("trusted")
def test_tls_goes_through_a_tunnel(secure: HostileUpstream, proxy: HostileUpstream, make_client: MakeClient) -> None:
    proxy.then(tunnel(secure.port))
    client = make_client(secure.url)
    assert [answered(client.send(one)).status_code for one in (POST, GET)] == [200, 200]
    assert [(one.method, one.target) for one in proxy.received] == [("CONNECT", f"127.0.0.1:{secure.port}")]
    assert [one.target for one in secure.received] == ["/people", "/people"]
    secure.then(drop())
    result = client.send(POST)
    assert isinstance(result, Failure)
    assert result.fault is Fault.CUT


@pytest.mark.parametrize("refusal", [answer(502), answer(407), drop(), silent(), drip("status"), raw(b"no\r\n\r\n")])
def test_a_tunnel_that_is_not_made_is_unsent(
    proxy: HostileUpstream, make_client: MakeClient, refusal: Behaviour
) -> None:
    proxy.then(refusal)
    result = make_client("https://crm.invalid", timeout=(0.3, 20.0)).send(POST)
    assert isinstance(result, Failure)
    assert result.fault is Fault.UNSENT
    assert "secret" not in result.reason


def test_a_socks_proxy_is_refused_at_start(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match="SOCKS"):
        make_client("http://crm.invalid")


# --- forks ------------------------------------------------------------------------------------------


def in_child(run: Callable[[], bool]) -> bool:
    """Whether ``run`` says yes in a forked process."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if run() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12: there are threads; the child uses none
def test_a_connection_is_not_shared_with_a_forked_process(upstream: HostileUpstream, client: Client) -> None:
    answered(client.send(GET))
    assert in_child(lambda: answered(client.send(GET)).status_code == 200)
    answered(client.send(GET))
    assert [one.connection for one in upstream.received] == [1, 2, 1]
