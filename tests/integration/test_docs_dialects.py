"""What docs/dialects.md shows and says is true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from flask_dualstorage import Collection, Dialect, DualStorage, dialects
from flask_dualstorage.dialect import OUTCOMES
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import HostileUpstream, answer
from tests.whole import MakeApp, storage_of

PAGE = (Path(__file__).resolve().parents[2] / "docs/dialects.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def worked_example() -> Dialect:
    names: dict[str, object] = {"Dialect": Dialect}
    exec(SNIPPETS[1], names)  # noqa: S102  # it is our own page
    dialect = names["tickets"]
    assert isinstance(dialect, Dialect)
    return dialect


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as upstream:
        yield upstream


@pytest.fixture
def tickets(make_app: MakeApp, upstream: HostileUpstream) -> UserStorage:
    dualstorage = DualStorage()
    dualstorage.register(type("Tickets", (Collection,), {"dialect": worked_example()}))
    return storage_of(make_app(dualstorage, url=upstream.url)).for_user("alice")


def test_the_worked_example_needs_under_fifteen_lines():
    assert len(SNIPPETS[1].splitlines()) < 15


def test_the_worked_example_speaks_to_such_an_api(tickets: UserStorage, upstream: HostileUpstream):
    printer = {"_id": "t1", "title": "Printer", "rev": 3, "opened": "2026-01-02"}
    fan = {"_id": "t2", "title": "Fan", "rev": 1, "opened": "2026-01-03"}
    theirs = {**printer, "title": "Copier", "rev": 5}
    upstream.then(
        answer(200, {"tickets": [printer]}),
        answer(201, {"ticket": {"_id": "t2", "rev": 1}}),
        answer(200, {"ticket": fan}),
        answer(204),
        answer(200, {"ticket": {**printer, "title": "Scanner", "rev": 4}}),
        answer(422, {"stale": "rev"}),
        answer(200, {"ticket": theirs}),
    )
    mine = tickets.collection("tickets").fetch()
    assert dict(mine.create(title="Fan")) == fan
    mine.get("t1").save(title="Scanner", patch=True)
    stale = mine.get("t1").save(title="Plotter")
    assert [(one.method, one.target, one.json() if one.body else None) for one in upstream.received] == [
        ("GET", "/tickets.json", None),
        ("POST", "/tickets.json", {"ticket": {"title": "Fan"}}),
        ("GET", "/tickets/t2.json", None),
        ("POST", "/tickets/t1.json?rev=3", {"ticket": {"_id": "t1", "title": "Scanner"}}),
        ("GET", "/tickets/t1.json", None),
        ("POST", "/tickets/t1.json?rev=4", {"ticket": {"_id": "t1", "title": "Plotter"}}),
        ("GET", "/tickets/t1.json", None),
    ]
    assert (stale.state, tickets.pending()[0].theirs) == ("conflict", theirs)


def test_every_field_and_every_outcome_is_on_the_page():
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert {field.name for field in fields(Dialect)} <= named
    assert set(OUTCOMES) <= set(re.findall(r'`"([a-z_]+)"`', PAGE))


def test_every_default_on_the_page_is_the_default():
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| (`.*?`) \|", PAGE, re.MULTILINE)
    told = {
        name: eval(value)  # noqa: S307  # our own page, again
        for names, values in rows
        for name, value in zip(re.findall(r"`([a-z_]+)`", names), re.findall(r"`(.*?)`", values) * 3, strict=False)
    }
    assert len(told) > 20
    assert told == {name: getattr(Dialect(), name) for name in told}


def test_every_ready_made_one_is_on_the_page():
    known = set(dialects.__all__) - {"Dialect"}
    assert known == set(re.findall(r"^\| `dialects\.([a-z_]+)", PAGE, re.MULTILINE))
