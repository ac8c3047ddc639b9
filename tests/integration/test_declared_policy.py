"""What a collection declares for conflicts holds for the fields it decides, while the owner decides the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_dualstorage import ByKey, Collection, DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.integration.test_pending_page import BROWSER, fields, get, url
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of

ROWS = [{"id": 11, "n": 1}, {"id": 12, "n": 2}]
ADA = {"id": 1, "name": "Ada", "age": 36, "city": "London", "tags": "a", "rows": ROWS}


def joined(base: Any, mine: Any, theirs: Any) -> Any:
    if "!" in theirs:
        raise ValueError(theirs)
    return f"{mine}+{theirs}"


POLICY = {"city": "server", "name": "client", "rows": ByKey("id"), "tags": joined}


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [dict(ADA)]}, etags=True) as upstream:
        yield upstream


@pytest.fixture
def app(make_app: MakeApp, upstream: RestUpstream) -> Flask:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"conflict": POLICY}))
    return make_app(dualstorage, url=upstream.url)


@pytest.fixture
def alice(app: Flask) -> UserStorage:
    return storage_of(app).for_user("alice")


def clash(alice: UserStorage, upstream: RestUpstream, mine: Any, theirs: Any) -> str:
    """Let both sides change the age as well, which nothing decides; give the write's id."""
    ada = alice.collection("people").load(1)
    upstream.edit("/people", 1, age=40, **theirs)
    kept = ada.save({"age": 41, **mine})
    assert kept.state == "conflict"
    return str(kept.write_id)


def held(upstream: RestUpstream) -> Any:
    return upstream.find("/people", 1)


BOTH = ({"city": "Mine", "name": "Mine", "tags": "m"}, {"city": "Theirs", "name": "Theirs", "tags": "t"})


@pytest.mark.parametrize("how", ["mine", "retry", "attributes", "edit", "save"])
def test_fields_that_the_policy_decides_stay_decided(alice: UserStorage, upstream: RestUpstream, how: str):
    """However the owner settles the open field, the declared ones go where they were declared to go."""
    write_id = clash(alice, upstream, *BOTH)
    assert [each.path for each in alice.pending()[0].conflicts] == [("age",)]
    match how:
        case "mine":
            alice.resolve(write_id, "mine")
        case "retry":
            alice.retry(write_id)
        case "attributes":
            alice.resolve(write_id, {"age": 42})
        case "edit":
            alice.edit(write_id, {"age": 42})
        case _:
            alice.collection("people").load(1).save({"age": 42})
    assert alice.pending() == []
    age = 41 if how in ("mine", "retry") else 42
    assert held(upstream) == {**ADA, "age": age, "city": "Theirs", "name": "Mine", "tags": "m+t"}


@pytest.mark.parametrize("how", ["edit", "resolve"])
def test_what_the_owner_sets_by_name_is_what_it_becomes(alice: UserStorage, upstream: RestUpstream, how: str):
    """A field declared to be the server's takes what its owner says of it now, having seen both sides."""
    write_id = clash(alice, upstream, *BOTH)
    getattr(alice, how)(write_id, {"age": 41, "city": "Paris"})
    assert (held(upstream)["city"], held(upstream)["name"]) == ("Paris", "Mine")


def test_mine_keeps_what_others_added_to_a_list_with_keys(alice: UserStorage, upstream: RestUpstream):
    """An element of both sides is mine then, and one that somebody else added stays."""
    theirs = [{"id": 11, "n": 5}, ROWS[1], {"id": 13, "n": 3}]
    write_id = clash(alice, upstream, {"rows": [{"id": 11, "n": 9}, ROWS[1]]}, {"rows": theirs})
    alice.resolve(write_id, "mine")
    assert held(upstream)["rows"] == [{"id": 11, "n": 9}, ROWS[1], {"id": 13, "n": 3}]


@pytest.mark.parametrize(
    ("mine", "theirs", "chosen", "becomes"),
    [
        ([{"id": 11, "n": 9}, ROWS[1]], [{"id": 11, "n": 5}, ROWS[1]], "theirs", [{"id": 11, "n": 5}, ROWS[1]]),
        ([ROWS[0], {"id": 12, "n": 9}], [ROWS[0]], "theirs", [ROWS[0]]),
        ([ROWS[0]], [ROWS[0], {"id": 12, "n": 9}], "theirs", [ROWS[0], {"id": 12, "n": 9}]),
    ],
    ids=["changed on both sides", "gone there", "gone here"],
)
def test_the_page_asks_for_one_element_of_a_list(
    app: Flask, alice: UserStorage, upstream: RestUpstream, mine: Any, theirs: Any, chosen: str, becomes: Any
):
    """What is chosen for an element on the page lands in that element."""
    write_id = clash(alice, upstream, {"rows": mine}, {"rows": theirs})
    numbers = {each.path[0]: number for number, each in enumerate(alice.pending()[0].conflicts)}
    client = app.test_client()
    choices = {f"choice.{numbers['age']}": "mine", f"choice.{numbers['rows']}": chosen}
    client.post(url(write_id, "resolve"), data=fields(get(client, url(write_id))) | choices, headers=BROWSER)
    assert (held(upstream)["age"], held(upstream)["rows"]) == (41, becomes)


def test_a_callable_that_fails_leaves_its_field_to_the_owner(alice: UserStorage, upstream: RestUpstream):
    """The owner sees the write, and decides over that field as well."""
    write_id = clash(alice, upstream, {"tags": "m"}, {"tags": "t!"})
    assert {each.path for each in alice.pending()[0].conflicts} == {("age",), ("tags",)}
    alice.resolve(write_id, "mine")
    assert held(upstream)["tags"] == "m"
