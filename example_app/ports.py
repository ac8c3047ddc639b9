"""This machine's ports: whether one is taken, one that is free, and the way there past any proxy."""

from __future__ import annotations

import os
import random
import socket

HOST = "127.0.0.1"


def taken(port: int) -> bool:
    """Whether another program listens there, or this one may not."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still fading away is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def free_port() -> int:
    """A free port, below those that the system gives to clients: it stays free while nothing listens there."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        if not taken(port):
            return port
    raise RuntimeError("A hundred ports tried, none free.")


def past_proxies() -> None:
    """Ask no proxy of the environment's for what is on this machine; this process and those that it starts."""
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = f"{known},{HOST}" if known else HOST
