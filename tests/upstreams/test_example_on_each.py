"""``make demo UPSTREAM=kinto``, drf and json_server: the same app and the same walk; only declarations differ."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from example_app.others import listed
from example_app.upstreams import UPSTREAMS, Declared
from tests import needs
from tests.upstreams import drf, json_server, kinto
from tests.upstreams.installing import NotInstalled
from tests.waiting import PATIENCE, until

COMMANDS: dict[str, Any] = {"kinto": kinto.command, "drf": drf.command, "json_server": json_server.command}


class Demo:
    """The running demo, as a person sees it who has a browser, and looks at the upstream, too."""

    def __init__(self, url: str, upstream: str, declared: Declared) -> None:
        self.url = url
        self._upstream = upstream + declared.path
        self._declared = declared
        self._browser = requests.Session()
        self._browser.trust_env = False

    def open(self, path: str) -> str:
        """A page's source."""
        answer = self._browser.get(self.url + path, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.text

    def send(self, path: str, form_on: str | None = None, **fields: str) -> str:
        """Fill in the form at ``form_on`` (or ``path``) and send it; gives the page that it leads to."""
        nonce = re.search(r'name="dualstorage_nonce" value="([^"]+)"', self.open(form_on or path))
        assert nonce
        answer = self._browser.post(self.url + path, data={"dualstorage_nonce": nonce[1], **fields}, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def press(self, path: str, **fields: str) -> str:
        """Press a button that needs no form of its own."""
        answer = self._browser.post(self.url + path, data=fields, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def sync(self) -> bool:
        """Sync, and say whether the upstream could be asked."""
        answer = self._browser.post(f"{self.url}/dualstorage/sync", json={}, timeout=PATIENCE)
        assert answer.status_code in (200, 503), answer.text
        assert answer.status_code == 503 or answer.json()["remaining"] == 0, answer.text
        return answer.status_code == 200

    def link_to(self, name: str) -> str:
        """The address of a person's page."""
        found = re.search(rf'href="(/people/[^"]+)">{name}<', self.open("/"))
        assert found, f"{name} is in the list"
        return found[1]

    def held(self, template: str, **ids: Any) -> list[dict[str, Any]]:
        """What the upstream itself lists."""
        credential = self._declared.credential
        answer = requests.get(
            self._upstream + template.format(**ids) + ("/" if self._declared.dialect.slash else ""),
            auth=credential if isinstance(credential, tuple) else None,
            headers=None if isinstance(credential, tuple) else credential,
            timeout=PATIENCE,
        )
        answer.raise_for_status()
        return list(listed(answer.json()))

    def people(self) -> dict[str, dict[str, Any]]:
        """The people of the upstream, by their names."""
        return {each["name"]: each for each in self.held(self._declared.people)}

    def notes_on(self, person: dict[str, Any]) -> list[str]:
        """The texts of a person's notes, of the upstream."""
        return sorted(note["text"] for note in self.held(self._declared.notes, person_id=person["id"]))


@pytest.fixture(params=sorted(COMMANDS))
def demo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Demo]:
    """``make demo UPSTREAM=…`` in a fresh folder; it ends as Ctrl-C ends it."""
    try:
        COMMANDS[request.param]()
    except NotInstalled as error:
        needs.missing(request.param, str(error))
    names = ("PORT", "UPSTREAM_PORT", "UPSTREAM_CONTROL_PORT")
    ports = {name: str(needs.free_port()) for name in names}
    command = [sys.executable, "-m", "example_app", "--instance", str(tmp_path)]
    environment = {**os.environ, **ports, "UPSTREAM": request.param}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert f"http://127.0.0.1:{ports['PORT']}" in process.stdout.readline()
        yield Demo(*(f"http://127.0.0.1:{ports[name]}" for name in names[:2]), UPSTREAMS[request.param])
        process.terminate()
        process.stdout.read()
    until(lambda: _refuses(int(ports["UPSTREAM_PORT"])), "the end of the upstream")


def _refuses(port: int) -> bool:
    try:
        requests.get(f"http://127.0.0.1:{port}", timeout=5)
    except requests.ConnectionError:
        return True
    return False


def test_the_walk(demo: Demo):
    """Read, pull the plug, add a person with a note, edit, delete, plug in, sync: the upstream has it all, once."""
    before = demo.people()
    assert len(before) == 12
    ada, zuse, knuth = (demo.link_to(name) for name in ("Ada Lovelace", "Konrad Zuse", "Donald Knuth"))
    note = re.search(r'Note G: .*?href="(/people/[^"]+/edit)"', demo.open(ada), re.DOTALL)
    assert note

    assert "gone" in demo.press("/plug", state="out")
    assert "Ada Lovelace" in demo.open("/")
    page = demo.send("/people/new", name="Kathleen Booth", role="Programmer", city="London")
    assert "kept here" in page
    booth = demo.link_to("Kathleen Booth")
    assert "kept here" in demo.send(f"{booth}/notes/new", booth, text="Wrote the first assembler.")
    assert "kept here" in demo.send(f"{ada}/edit", name="Ada Lovelace", city="Ockham")
    assert "kept here" in demo.send(note[1], text="Note G, shorter.")
    assert "kept here" in demo.send(f"{zuse}/delete")
    assert demo.press("/plug", state="in")
    assert demo.people() == before

    # The breaker of the demo waits for a quarter of a second before it asks again.
    until(demo.sync, "a sync that sends")
    now = demo.people()
    assert now.keys() == before.keys() - {"Konrad Zuse"} | {"Kathleen Booth"}
    assert (now["Ada Lovelace"]["city"], now["Donald Knuth"]) == ("Ockham", before["Donald Knuth"])
    assert demo.notes_on(now["Kathleen Booth"]) == ["Wrote the first assembler."]
    assert demo.notes_on(now["Ada Lovelace"]) == ["Note G, shorter.", "Prefers letters to meetings."]
    assert "Wrote the first assembler." in demo.open(demo.link_to("Kathleen Booth"))
    assert "Knuth" in demo.open(knuth)

    page = demo.send(f"{knuth}/edit", name="Donald Knuth", city="Palo Alto")
    assert "The directory service has it." in page
    assert demo.people()["Donald Knuth"]["city"] == "Palo Alto"


def test_an_upstream_that_is_none_is_said_plainly():
    command = [sys.executable, "-m", "example_app"]
    done = subprocess.run(
        command, env={**os.environ, "UPSTREAM": "crm"}, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "UPSTREAM is 'crm'; it takes example, kinto, drf, json_server: make demo UPSTREAM=kinto\n"
