"""``python -m example_app.tour``, or ``make tour``: the story of flask_dualstorage, played in the terminal.

It starts an upstream of its own in a fresh folder, pulls its plug, works on, plugs it in again and compares. Every
line that it prints was checked; the first that is not so ends the tour with exit code 1.
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from example_app.app import create_app
from example_app.ports import HOST, free_port, past_proxies
from example_app.upstream import start_upstream
from flask_dualstorage import Collection, DualStorageError
from flask_dualstorage.user_storage import UserStorage

#: Seconds that the upstream and its plug may take to answer the tour itself.
PATIENCE = 10


class NotSo(Exception):
    """Something that the tour was about to say is not so."""


@dataclass
class Stage:
    """What the story is played on: the storage of one user, and the upstream seen from outside."""

    ada: UserStorage
    api: str
    control: str

    @property
    def people(self) -> Collection:
        """Ada's people, as a page of the app gets them."""
        return self.ada.collection("people")

    def turn(self, state: str) -> None:
        """Pull the plug (``"out"``), or plug in."""
        requests.post(f"{self.control}/plug", json={"state": state}, timeout=PATIENCE).raise_for_status()

    def upstream_has(self, path: str) -> Any:
        """Ask the upstream itself, past flask_dualstorage."""
        answer = requests.get(self.api + path, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json()

    @property
    def upstream_refuses(self) -> bool:
        """Whether nobody listens at the upstream's port."""
        try:
            requests.get(self.api, timeout=PATIENCE)
        except requests.ConnectionError:
            return True
        return False


def check(true: object, sentence: str) -> str:
    """Give the sentence back to be printed. Raises `NotSo` where it is not so."""
    if not true:
        raise NotSo(sentence)
    return sentence


# --- the story ----------------------------------------------------------------------------------------

Scene = Callable[[Stage], Iterator[str]]


def fetch(stage: Stage) -> Iterator[str]:
    """Fetch the people.

    people = ds.collection("people").fetch()
    """
    people = stage.people.fetch()
    yield check(people.source == "upstream", f"They come from the upstream: source is {people.source!r}.")
    yield check(len(people) == 12 and people[0]["name"] == "Ada Lovelace", "Twelve people, Ada Lovelace first.")


def pull_the_plug(stage: Stage) -> Iterator[str]:
    """Pull the plug."""
    stage.turn("out")
    yield check(stage.upstream_refuses, "The upstream refuses connections now, as if its machine were gone.")


def read(stage: Stage) -> Iterator[str]:
    """Read, all the same.

    people.fetch(); people.source, people.reason
    """
    people = stage.people.fetch()
    yield check(people.source == "cache", f"They come from the copy: source is {people.source!r}.")
    yield check(people.reason, f"And it says why: {people.reason}")
    yield check(len(people) == 12, "Still twelve people.")


def create(stage: Stage) -> Iterator[str]:
    """Create a person, with a note.

    person = people.create(name="Kathleen Booth", role="Programmer")
    ds.collection("notes", person_id=person.id).create(text="…")
    """
    person = stage.people.create(name="Kathleen Booth", role="Programmer")
    yield check(person.dirty and person.has_temp_id, f"She is kept here, as {str(person.id)[:12]}…")
    note = stage.ada.collection("notes", person_id=person.id or "").create(text="Wrote the first assembler.")
    yield check(note.dirty, "So is the note, though nobody has numbered its person yet.")
    names = stage.people.fetch().pluck("name")
    yield check(names[-1] == "Kathleen Booth", "The list shows her, last of thirteen.")


def edit(stage: Stage) -> Iterator[str]:
    """Edit a person.

    turing.save(city="Wilmslow")
    """
    turing = stage.people.fetch().find_where(name="Alan Turing")
    if turing is None:
        raise NotSo("Alan Turing is in the list.")
    result = turing.save(city="Wilmslow")
    yield check(result.dirty, f"It is kept here: dirty is {result.dirty}, state is {str(result.state)!r}.")
    cities = stage.people.fetch().pluck("city")
    yield check(cities[1] == "Wilmslow", "The list shows the new city.")


def delete(stage: Stage) -> Iterator[str]:
    """Delete a person.

    zuse.destroy()
    """
    zuse = stage.people.fetch().find_where(name="Konrad Zuse")
    if zuse is None:
        raise NotSo("Konrad Zuse is in the list.")
    yield check(zuse.destroy().dirty, "That is kept here, too.")
    yield check("Konrad Zuse" not in stage.people.fetch().pluck("name"), "The list shows him no more.")


def show_dirty(stage: Stage) -> Iterator[str]:
    """Look at what waits.

    people.dirty_models(); people.destroyed_model_ids(); ds.status()
    """
    dirty = sorted(model["name"] for model in stage.people.dirty_models())
    yield check(dirty == ["Alan Turing", "Kathleen Booth"], f"Dirty: {' and '.join(dirty)}.")
    destroyed = stage.people.destroyed_model_ids()
    yield check(destroyed == [4], f"Destroyed: {destroyed}.")
    yield check(stage.ada.status().pending == 4, "Four changes wait in all, one of them the note.")


def plug_in(stage: Stage) -> Iterator[str]:
    """Plug it in again."""
    stage.turn("in")
    names = [person["name"] for person in stage.upstream_has("/people")]
    yield check(len(names) == 12, "The upstream is back, and knows of nothing: it has its twelve people.")


def sync(stage: Stage) -> Iterator[str]:
    """Send what waits.

    ds.sync()
    """
    report = stage.ada.sync()
    yield check(report.applied == 4, f"Sent: {report.applied} changes, the person before the note on her.")
    yield check(report.remaining == 0 and stage.ada.status().pending == 0, "Nothing waits any more.")
    yield check(stage.ada.sync().applied == 0, "A second sync has nothing to send.")


def compare(stage: Stage) -> Iterator[str]:
    """Compare the upstream with what the app shows."""
    theirs, people = stage.upstream_has("/people"), stage.people.fetch()
    yield check(people.source == "upstream", "The list comes from the upstream again.")
    yield check(
        [dict(person) for person in people] == theirs, f"Both have the same {len(theirs)} people, field by field."
    )
    yield check(
        people[-1].id == 13 and people[-1]["name"] == "Kathleen Booth",
        "Kathleen Booth has a number of the upstream's: 13.",
    )
    cities = {person["name"]: person["city"] for person in theirs}
    yield check(cities.get("Alan Turing") == "Wilmslow", "Alan Turing lives in Wilmslow there, too.")
    yield check("Konrad Zuse" not in cities, "Konrad Zuse is gone there, too.")
    notes = [dict(note) for note in stage.ada.collection("notes", person_id=13).fetch()]
    yield check(notes == stage.upstream_has("/people/13/notes"), "The note is with her, in both.")
    yield check([note["text"] for note in notes] == ["Wrote the first assembler."], "And there is one of it.")


STORY: tuple[Scene, ...] = (
    fetch,
    pull_the_plug,
    read,
    create,
    edit,
    delete,
    show_dirty,
    plug_in,
    sync,
    compare,
)


# --- the telling --------------------------------------------------------------------------------------


def main() -> None:
    """Play the story; exit code 1 where anything in it is not so."""
    print("A tour of flask_dualstorage: an app, the API that it renders, and a plug to pull.")
    past_proxies()
    with ExitStack() as house:
        try:
            stage = set_up(house)
            for number, scene in enumerate(STORY, 1):
                play(number, scene, stage)
        except NotSo as error:
            fail(f"Not so: {error}")
        except (DualStorageError, requests.RequestException, RuntimeError) as error:
            fail(f"{type(error).__name__}: {error}")
    print("\nThat was all of it. Now click through it yourself: make demo")


def set_up(house: ExitStack) -> Stage:
    """An upstream and an app, in a fresh folder and on free ports; they go with `house`."""
    folder = Path(house.enter_context(tempfile.TemporaryDirectory(prefix="dualstorage-tour-")))
    port, control_port = free_port(), free_port()
    house.enter_context(start_upstream(port, control_port, folder / "upstream.sqlite"))
    api = f"http://{HOST}:{port}"
    app = create_app({"DUALSTORAGE_UPSTREAM_URL": api, "DUALSTORAGE_BREAKER_COOLDOWN": 0.0}, folder)
    return Stage(app.extensions["dualstorage"].for_user("ada"), api, f"http://{HOST}:{control_port}")


def play(number: int, scene: Scene, stage: Stage) -> None:
    """Print a scene's title and code, and each of its sentences once it was checked."""
    title, _, code = (scene.__doc__ or "").partition("\n")
    print(f"\n{number:2}  {title.removesuffix('.')}")
    if code.strip():
        print(textwrap.indent(textwrap.dedent(code).strip(), "      "))
    for sentence in scene(stage):
        print(f"    ✓ {sentence}")


def fail(sentence: str) -> None:
    """End the tour."""
    sys.stdout.flush()
    print(f"    ✗ {sentence}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
