"""What the programs stand on: apps, upstreams, a durable Redis, and an upstream that is a black hole."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from flask import Flask
from flask_caching import Cache

from flask_dualstorage import DualStorage
from flask_dualstorage.extension import AppDualStorage
from flask_dualstorage.user_storage import UserStorage

ROOT = Path(__file__).parents[1]
HOUR = 3600


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder for what a program keeps, on a disk: what /tmp in memory would say of durable writes is no use."""
    parent = ROOT / ".cache"
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix="bench-") as path:
        yield Path(path)


@contextlib.contextmanager
def process(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of our own, with all that it started, until the block ends."""
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True, **options)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        started.wait(10)
        if started.stdout is not None:
            started.stdout.close()


@contextlib.contextmanager
def upstream(latency: float = 0.0, drip: float = 0.0) -> Iterator[str]:
    """The URL of an upstream that answers after ``latency`` seconds."""
    with process(sys.executable, "-m", "benchmarks.upstream", str(latency), "--drip", str(drip)) as started:
        assert started.stdout is not None
        yield f"http://127.0.0.1:{int(started.stdout.readline())}"


@contextlib.contextmanager
def black_hole(port: int) -> Iterator[None]:
    """Let a port be like a host behind a firewall that drops: its backlog is full, connecting never ends (Linux)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield


@contextlib.contextmanager
def redis(path: Path) -> Iterator[int | None]:
    """The port of a Redis of our own that has each write on the disk before it answers; None where there is none."""
    if shutil.which("redis-server") is None:
        yield None
        return
    port = free_port()
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
    with process("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(path), *durable):
        wait_for(port)
        yield port


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until something listens on a port."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"Nothing listens on port {port}.")


def make_app(path: Path, url: str, cache: dict[str, Any] | None = None, **config: Any) -> Flask:
    """Make an app that keeps everything under ``path``; ``cache`` configures Flask-Caching, else it is the default."""
    app = Flask("bench", instance_path=str(path))
    app.config.update(
        SECRET_KEY="bench",
        DUALSTORAGE_UPSTREAM_URL=url,
        DUALSTORAGE_TIMEOUT=(10.0, 60.0),
        DUALSTORAGE_MAX_PENDING=10**9,
    )
    app.config.update(config)
    if cache is not None:
        Cache(config={"CACHE_DEFAULT_TIMEOUT": HOUR, **cache}).init_app(app)
    DualStorage(app)
    return app


def storage(app: Flask) -> AppDualStorage:
    """The extension as it is bound to an app."""
    bound: AppDualStorage = app.extensions["dualstorage"]
    return bound


def alice(app: Flask) -> UserStorage:
    """One owner's storage."""
    return storage(app).for_user("alice")


def simple() -> dict[str, Any]:
    """Flask-Caching in memory."""
    return {"CACHE_TYPE": "SimpleCache", "CACHE_THRESHOLD": 100_000}


def in_redis(port: int) -> dict[str, Any]:
    """Flask-Caching on a Redis."""
    return {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_HOST": "127.0.0.1", "CACHE_REDIS_PORT": port}


def has_node() -> bool:
    """Whether Backbone.dualStorage's way can be measured here."""
    return shutil.which("node") is not None


@lru_cache
def backbone(what: str, count: int) -> dict[str, float]:
    """Run ``backbone.js``; once for each size, since it takes the better part of a minute for 10,000 records."""
    script = Path(__file__).with_name("backbone.js")
    done = subprocess.run(["node", str(script), what, str(count)], capture_output=True, text=True, check=True)
    found: dict[str, float] = orjson.loads(done.stdout)
    return found
