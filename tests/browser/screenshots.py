"""``make screenshots``: a picture of each page, for docs/pending-page.md, out of a real Chromium."""

from __future__ import annotations

import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flask import Flask, redirect
from playwright.sync_api import Browser

from example_app.app import create_app
from example_app.directory import dualstorage as of_the_example
from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.browser.ground import CONFIG, Upstream, chromium, served, upstream_in

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
DESKTOP, MOBILE = {"width": 900, "height": 200}, {"width": 390, "height": 200}


@dataclass
class Camera:
    """Takes pictures of one app's pages."""

    browser: Browser
    home: str

    def take(self, name: str, path: str, *, dark: bool = False, mobile: bool = False) -> None:
        """Take one of the whole page at ``path``."""
        context = self.browser.new_context(
            base_url=self.home,
            viewport=MOBILE if mobile else DESKTOP,  # type: ignore[arg-type]
            color_scheme="dark" if dark else "light",
        )
        page = context.new_page()
        page.goto(path)
        page.screenshot(path=FOLDER / f"{name}.png", full_page=True)
        context.close()


def plain_app(upstream: Upstream, folder: Path) -> Flask:
    """An app without a look of its own, whose only user is Ada."""
    app = Flask("plain", instance_path=str(folder / "plain"))
    app.config.update(CONFIG, SECRET_KEY="for pictures", DUALSTORAGE_UPSTREAM_URL=upstream.url)
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {}))
    dualstorage.register(type("Notes", (Collection,), {"url": "/people/{person_id}/notes"}))
    dualstorage.user_loader(lambda: "ada")
    dualstorage.init_app(app)
    app.add_url_rule("/", view_func=lambda: redirect("/dualstorage/"))
    return app


def work(storage: UserStorage, upstream: Upstream) -> dict[str, str]:
    """Let everything wait that can: gives the writes by what they need."""
    people = storage.collection("people")
    ada, alan, grace, konrad = (people.get_or_404(number) for number in (1, 2, 3, 4))
    grace.save(role="Rear admiral")
    upstream.turn("out")
    ada.save(role="Countess", phone="+44 20 7946 0001", city="Ockham")
    alan.save(email="nowhere", city="Wilmslow")
    upstream.turn("in")
    upstream.edit("/people/1", phone="+44 20 7946 0002", city="Marylebone", email="countess@host.example")
    storage.sync()
    upstream.turn("out")
    konrad.destroy()
    booth = people.create(name="Kathleen Booth", role="Programmer", city="London")
    storage.collection("notes", person_id=booth.id or "").create(text="Wrote the first assembler.")
    return {str(write.state): write.id for write in storage.pending()}


def main() -> None:
    """Take them all."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # no line for each request
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, upstream_in(Path(name)) as upstream, chromium() as browser:
        plain = plain_app(upstream, Path(name))
        writes = work(plain.extensions["dualstorage"].for_user("ada"), upstream)
        one = "/dualstorage/writes/{}".format
        with served(plain) as home:
            camera = Camera(browser, home)
            camera.take("pending", "/dualstorage/")
            camera.take("pending-dark", "/dualstorage/", dark=True)
            camera.take("pending-mobile", "/dualstorage/", mobile=True)
            camera.take("conflict", one(writes["conflict"]))
            camera.take("conflict-dark", one(writes["conflict"]), dark=True)
            camera.take("conflict-mobile", one(writes["conflict"]), mobile=True)
            camera.take("rejected", one(writes["rejected"]))
            camera.take("edit", one(writes["rejected"]) + "/edit")
            camera.take("discard", one(writes["queued"]) + "/discard")
            camera.take("history", "/dualstorage/history")
        take_the_example(browser, upstream, Path(name))
    sys.stdout.write("".join(f"{file.stat().st_size:7d} {file.name}\n" for file in sorted(FOLDER.glob("*.png"))))


def take_the_example(browser: Browser, upstream: Upstream, folder: Path) -> None:
    """The example app's own form, with what was typed into it before it was refused."""
    upstream.turn("in")
    app = create_app({**CONFIG, "DUALSTORAGE_UPSTREAM_URL": upstream.url}, folder / "example")
    of_the_example.user_loader(lambda: "ada")
    storage = app.extensions["dualstorage"].for_user("ada")
    alan = storage.collection("people").load(2)
    upstream.turn("out")
    alan.save(email="nowhere", city="Wilmslow")
    upstream.turn("in")
    storage.sync()
    [write] = storage.pending()
    with served(app) as home:
        camera = Camera(browser, home)
        camera.take("example-pending", "/dualstorage/")
        camera.take("example-form", f"/people/2/edit?dualstorage_write={write.id}")


if __name__ == "__main__":
    main()
