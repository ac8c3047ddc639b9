"""The three upstreams that others wrote as the scenario plays on them: what is declared of each, and what each can do.

The declarations are all that differs: the app, the steps and what they promise are the same. ``CAN`` is what the
README's table "Works with" says; the scenario shows it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import requests

from example_app.line import Line
from flask_dualstorage import Collection, LinkPages, dialects
from tests.upstreams import drf, kinto
from tests.upstreams.drf import Drf
from tests.upstreams.json_server import JsonServer
from tests.upstreams.kinto import Kinto
from tests.upstreams.process import ServerProcess
from tests.waiting import PATIENCE

Record = dict[str, Any]

#: Records a page, of all three.
PAGE = 3
PEOPLE = ({"name": "Ada", "city": "London"}, {"name": "Grace", "city": "New York"})


def row(title: str) -> Any:
    """A field that the README's table has a row for."""
    return field(metadata={"row": title})


# --- what is declared: at most fifteen lines each -------------------------------------------------------


class JsonServerPeople(Collection):
    name = "people"
    # As it is, json-server cuts no list.
    dialect = dialects.json_server.but(
        pages=LinkPages(page="_page", per_page="_limit", size=PAGE, total_header="X-Total-Count")
    )


class KintoPeople(Collection):
    name = "people"
    url = "/people/records"
    dialect = dialects.kinto


class DrfPeople(Collection):
    name = "people"
    dialect = dialects.drf.but(read_only=("updated_at",))


class ThrottledPeople(Collection):
    """Three requests a minute, and a list in one piece."""

    name = "people"
    url = "/throttled-people"
    dialect = dialects.drf.but(read_only=("updated_at",))


class Gadgets(Collection):
    """Of Django REST framework, too: their key is a UUID that we choose."""

    dialect = dialects.drf.but(new_id="uuid4")


# --- what each can do -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Can:
    """What an upstream lets the package promise; the names of the README's rows."""

    create_again: bool = row("A create whose answer was lost goes again by itself, to the same id")
    see_conflicts: bool = row("A change that somebody else made meanwhile is seen before it is overwritten")
    answer_304: bool = row("A record that did not change is not sent again (304)")
    count: bool = row("Pages: all of them at once, or one by one; with the total")
    log_in: bool = row("A credential that was revoked holds the owner's writes, and keeps the copy")
    say_when: bool = row("It says itself when to ask again, and is not asked before")


CAN = {
    "json_server": Can(
        create_again=False, see_conflicts=False, answer_304=True, count=True, log_in=False, say_when=False
    ),
    "kinto": Can(create_again=True, see_conflicts=True, answer_304=True, count=False, log_in=True, say_when=True),
    "drf": Can(create_again=False, see_conflicts=False, answer_304=True, count=True, log_in=True, say_when=True),
}


def names(**wanted: bool) -> list[str]:
    """The upstreams that can, or can not, do all of this."""
    return [name for name, can in CAN.items() if all(getattr(can, key) is value for key, value in wanted.items())]


# --- the ground -----------------------------------------------------------------------------------------


class Ground(ABC):
    """One running upstream, with a line to it, and somebody else who works there past the app: Bob."""

    people: ClassVar[type[Collection]]
    #: The same, where a conflict is left to its owner.
    people_by_hand: ClassVar[type[Collection]]

    def __init_subclass__(cls) -> None:
        cls.people_by_hand = type("ByHand", (cls.people,), {"name": "people", "conflict": "manual"})

    #: What ``upstream_auth`` gives, and what it gives once that was revoked.
    credential: Any = None
    revoked: ClassVar[Any] = None

    def __init__(self, server: ServerProcess, line: Line, path: str = "") -> None:
        self.server = server
        self.line = line
        self.url = f"{server.origin}{path}"
        self.url_by_line = f"http://127.0.0.1:{line.port}{path}"

    @abstractmethod
    def held(self) -> list[Record]:
        """All people there."""

    @abstractmethod
    def add(self, **person: Any) -> Record:
        """Somebody else adds a person; gives it with its id."""

    @abstractmethod
    def change(self, record_id: Any, **changed: Any) -> None:
        """Somebody else changes a person."""

    @abstractmethod
    def remove(self, record_id: Any) -> None:
        """Somebody else deletes a person."""

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Do something there as somebody else; gives the JSON of the answer."""
        answer = requests.request(method, self.url + path, timeout=PATIENCE, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None


class JsonServerGround(Ground):
    people = JsonServerPeople

    def held(self) -> list[Record]:
        return list(self.ask("GET", "/db")["people"])

    def add(self, **person: Any) -> Record:
        return dict(self.ask("POST", "/people", json=person))

    def change(self, record_id: Any, **changed: Any) -> None:
        self.ask("PATCH", f"/people/{record_id}", json=changed)

    def remove(self, record_id: Any) -> None:
        self.ask("DELETE", f"/people/{record_id}")


class KintoGround(Ground):
    people = KintoPeople
    credential = ("alice", kinto.ACCOUNTS["alice"])
    revoked = ("alice", "what it was last year")

    def ask(self, method: str, path: str, **options: Any) -> Any:
        return super().ask(method, path, auth=("bob", kinto.ACCOUNTS["bob"]), **options)["data"]

    def held(self) -> list[Record]:
        # No page is longer than Kinto allows, so one after the other: each begins after the last one's version.
        listed: list[Record] = []
        while page := self.ask("GET", f"/people/records?_sort=last_modified&gt_last_modified={_version(listed)}"):
            listed += page
        # A request that it was frozen over may be done meanwhile, and its record comes again: as it is now.
        return [each for each in {each["id"]: each for each in listed}.values() if not each.get("deleted")]

    def add(self, **person: Any) -> Record:
        return dict(self.ask("POST", "/people/records", json={"data": person}))

    def change(self, record_id: Any, **changed: Any) -> None:
        self.ask("PATCH", f"/people/records/{record_id}", json={"data": changed})

    def remove(self, record_id: Any) -> None:
        self.ask("DELETE", f"/people/records/{record_id}")


def _version(listed: list[Record]) -> int:
    return int(listed[-1]["last_modified"]) if listed else 0


class DrfGround(Ground):
    people = DrfPeople
    throttled_people = ThrottledPeople
    credential: ClassVar[Any] = {"Authorization": f"Token {drf.TOKENS['alice']}"}
    revoked: ClassVar[Any] = {"Authorization": "Token of-last-year"}

    def ask(self, method: str, path: str, **options: Any) -> Any:
        return super().ask(method, path, headers={"Authorization": f"Token {drf.TOKENS['bob']}"}, **options)

    def held(self) -> list[Record]:
        # By offset, because there the size of a page is the client's to say.
        return list(self.ask("GET", "/people-by-offset/?limit=100")["results"])

    def add(self, **person: Any) -> Record:
        return dict(self.ask("POST", "/people/", json=person))

    def change(self, record_id: Any, **changed: Any) -> None:
        self.ask("PATCH", f"/people/{record_id}/", json=changed)

    def remove(self, record_id: Any) -> None:
        self.ask("DELETE", f"/people/{record_id}/")


def ground_of(server: ServerProcess, line: Line, path: str = "") -> Ground:
    """The ground of a running server."""
    kinds: dict[type[ServerProcess], type[Ground]] = {
        JsonServer: JsonServerGround,
        Kinto: KintoGround,
        Drf: DrfGround,
    }
    return kinds[type(server)](server, line, path)
