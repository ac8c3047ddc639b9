"""What a browser stands on: the example app or another on a port, its upstream as a process, and a Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import requests
from flask import Flask
from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server

from example_app.upstream import start_upstream
from tests.needs import free_port, missing
from tests.whole import PATIENT

HOST = "127.0.0.1"
# Longer than any answer takes: what waits it out fails.
FOREVER = 300
#: What an app of these pages is configured with beside its upstream: no waiting for a probe, plugged in is back.
CONFIG = {"DUALSTORAGE_TIMEOUT": PATIENT, "DUALSTORAGE_BREAKER_COOLDOWN": 0}


@dataclass
class Upstream:
    """The example's upstream, seen from outside: by its operator, and by somebody else who edits."""

    url: str
    control: str

    def turn(self, state: str) -> None:
        """Pull the plug (``out``), or plug it in (``in``)."""
        requests.post(f"{self.control}/plug", json={"state": state}, timeout=FOREVER).raise_for_status()

    def has(self, path: str) -> Any:
        """What is there."""
        return requests.get(self.url + path, timeout=FOREVER).json()

    def edit(self, path: str, **fields: str) -> None:
        """Somebody else edits a record."""
        requests.patch(self.url + path, json=fields, timeout=FOREVER).raise_for_status()


@contextmanager
def upstream_in(folder: Path) -> Iterator[Upstream]:
    """Start the upstream with its first people; it ends with the block."""
    port, control_port = free_port(), free_port()
    with start_upstream(port, control_port, folder / "upstream.sqlite"):
        yield Upstream(f"http://{HOST}:{port}", f"http://{HOST}:{control_port}")


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serve an app from a thread; gives its address."""
    server = make_server(HOST, free_port(), app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium of this machine."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("a Chromium", "apt install chromium")
    with sync_playwright() as playwright:
        # No sandbox: containers have none to give, and the pages are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-lcd-text"])
        try:
            yield browser
        finally:
            browser.close()
