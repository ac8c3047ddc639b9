"""What a test needs beside Python: skipped for want of it on a user's machine, failed in CI."""

import os
import random
import socket
from typing import NoReturn

import pytest

IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}
# Below every system's ephemeral ports: there, while a server is down, the client's own socket could take its port,
# or even connect to itself.
PORTS = range(20_000, 32_000)


def missing(what: str, how: str) -> NoReturn:
    """End the test: `what` is not there, `how` says how to get it. A skip, but in CI a failure."""
    reason = f"This needs {what}: {how}"
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on, and that stays free while its server is down."""
    # A source of its own: pytest-randomly gives every worker the same seed, and so they would all try the same ports.
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("A hundred ports tried, none free.")
