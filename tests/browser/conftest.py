"""The example app in a real Chromium, with scripts and without."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from example_app.app import create_app
from tests.browser.ground import CONFIG, Upstream, chromium, served, upstream_in
from tests.waiting import PATIENCE

# What is expected comes in a fraction of a second; a machine with every core busy may need many times that.
expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with chromium() as browser:
        yield browser


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with upstream_in(tmp_path) as upstream:
        yield upstream


@pytest.fixture
def home(upstream: Upstream, tmp_path: Path) -> Iterator[str]:
    """The address of the example app."""
    config = {**CONFIG, "DUALSTORAGE_UPSTREAM_URL": upstream.url, "UPSTREAM_CONTROL_URL": upstream.control}
    with served(create_app(config, tmp_path / "instance")) as url:
        yield url


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def page(request: pytest.FixtureRequest, browser: Browser, home: str) -> Iterator[Page]:
    """One person's browser window; a page whose script or style the browser refuses fails the test."""
    context = browser.new_context(base_url=home, java_script_enabled=request.param)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []
