"""What a second look at conflicts and the pending page found, each as a promise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.integration.test_pending_page import BROWSER, fields, get, held, url, words
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of

#: Names that are methods of a mapping, marks of our forms, or of HTML.
ODD = {
    "id": 1,
    "name": "Ada",
    "age": 36,
    "items": ["one"],
    "values": 2,
    "": "empty",
    "a.b": "dotted",
    "attributes[x]": "bracket",
    "<b>": "<script>alert(1)</script>",
    "100%": "%(num)s",
}


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [dict(ODD)]}, etags=True) as upstream:
        yield upstream


@pytest.fixture
def app(make_app: MakeApp, upstream: RestUpstream) -> Flask:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {}))
    dualstorage.register(type("Pets", (Collection,), {"edit_endpoint": "edit_pet"}))
    app = make_app(dualstorage, url=upstream.url)
    app.add_url_rule("/pets/<int:pet_id>/edit", "edit_pet", lambda pet_id: str(pet_id))
    return app


@pytest.fixture
def client(app: Flask) -> Any:
    return app.test_client()


@pytest.fixture
def alice(app: Flask) -> UserStorage:
    return storage_of(app).for_user("alice")


def load(alice: UserStorage) -> Any:
    found = alice.collection("people").load(1)
    assert found is not None
    return found


def post(client: Any, path: str, **sent: Any) -> Any:
    return client.post(path, data=sent, headers=BROWSER)


class TestOddFields:
    def test_a_field_may_be_named_like_a_method_of_a_mapping(self, client: Any, alice: UserStorage):
        """A write that changes ``items`` or ``values`` has a page like any other."""
        write_id = load(alice).save({"items": ["two"], "values": 5, "": "x"}, remote=False).write_id
        for what in ("", "edit", "discard"):
            get(client, url(write_id, what))

    def test_each_can_be_chosen_in_a_conflict_and_is_shown_as_text(
        self, client: Any, alice: UserStorage, upstream: RestUpstream
    ):
        """Names and values that look like markup, or like the names of our inputs, are only names and values."""
        ada = load(alice)
        odd = ["", "a.b", "attributes[x]", "<b>", "100%"]
        upstream.edit("/people", 1, **dict.fromkeys(odd, "<i>theirs</i>"))
        write_id = ada.save(dict.fromkeys(odd, "<u>mine</u>")).write_id
        page = get(client, url(write_id))
        assert not re.search("<u>|<i>|<script|<b>(?!Mine|Theirs|Another|Before)", page)
        chosen = {f"choice.{number}": "other" for number in range(5)} | {f"other.{n}": f"new {n}" for n in range(5)}
        assert post(client, url(write_id, "resolve"), **fields(page) | chosen).status_code == 303
        assert sorted(held(upstream)[name] for name in odd) == [f"new {number}" for number in range(5)]


class TestWhatNobodySaw:
    @pytest.mark.parametrize("what", ["retry", "discard"])
    def test_a_button_drawn_for_another_state_decides_nothing(
        self, client: Any, alice: UserStorage, upstream: RestUpstream, what: str
    ):
        """A change that became a conflict since the page was opened is neither sent over theirs nor given up."""
        write_id = load(alice).save({"age": 41}, remote=False).write_id
        page = get(client, url(write_id, "discard" if what == "discard" else ""))
        [sent] = re.findall(rf'action="{url(write_id, what)}">\s*<input type="hidden" name="seen" value="(\w+)"', page)
        upstream.edit("/people", 1, age=40)
        alice.sync()
        told = client.post(url(write_id, what), data={"seen": sent}, headers=BROWSER, follow_redirects=True)
        assert "has become another since you opened the page" in words(told.text)
        assert held(upstream)["age"] == 40
        assert [write.state for write in alice.pending()] == ["conflict"]

    def test_a_stale_form_tells_what_is_there_now(self, client: Any, alice: UserStorage, upstream: RestUpstream):
        """Where another tab changed the name meanwhile, the form says so at the name, and does not revert it unseen."""
        write_id = load(alice).save({"age": 41}, remote=False).write_id
        sent = fields(get(client, url(write_id, "edit"))) | {"attributes[age]": "42"}
        load(alice).save({"name": "Lovelace"}, remote=False)
        told = post(client, url(write_id, "edit"), **sent)
        assert told.status_code == 409
        before_the_rest = words(told.text).partition("The other fields")[0]
        assert "It is “41” now." in before_the_rest
        assert "It is “Lovelace” now." in before_the_rest

    def test_a_form_of_what_became_a_conflict_tells_theirs(
        self, client: Any, alice: UserStorage, upstream: RestUpstream
    ):
        """Who edits a change that meets another meanwhile reads what it is there, before anything is overwritten."""
        write_id = load(alice).save({"age": 41}, remote=False).write_id
        sent = fields(get(client, url(write_id, "edit")))
        upstream.edit("/people", 1, age=40)
        alice.sync()
        told = post(client, url(write_id, "edit"), **sent)
        assert "there it is “40”" in words(told.text)
        told = post(client, url(write_id, "edit"), **fields(told.text))
        assert (told.status_code, told.location) == (303, url(write_id))
        assert held(upstream)["age"] == 40

    def test_no_choice_is_none(self, client: Any, alice: UserStorage, upstream: RestUpstream):
        """A form over a delete that says neither mine nor theirs deletes nothing, and asks again."""
        ada = load(alice)
        upstream.edit("/people", 1, age=40)
        write_id = ada.destroy().write_id
        told = post(client, url(write_id, "resolve"), **fields(get(client, url(write_id))))
        assert told.status_code == 422
        assert "Choose what this shall be." in words(told.text)
        assert held(upstream) is not None


def test_a_new_record_is_corrected_here_where_the_apps_form_takes_numbers_only(
    client: Any, app: Flask, alice: UserStorage, upstream: RestUpstream
):
    """``<int:pet_id>`` has no place for a temporary id: the page leads to its own form instead of failing."""
    alice.collection("pets").create(name="Rex", remote=False)
    upstream.then(answer(422, {"errors": {"name": ["No."]}}))
    alice.sync()
    [write] = alice.pending()
    for page in ("/dualstorage/", url(write.id)):
        assert f'href="{url(write.id, "edit")}"' in get(client, page)


def test_a_thousand_are_discarded_at_once(client: Any, alice: UserStorage):
    """The ids of a thousand ticked changes travel in a body: no server takes them in a URL."""
    people = alice.collection("people")
    page = [people.create(name=str(number), remote=False).pending_write for number in range(3)]
    assert 'formmethod="get"' not in get(client, "/dualstorage/")
    ids = [write.id for write in page] + [f"{number:032x}" for number in range(1000)]
    asked = post(client, "/dualstorage/writes/discard", write=ids)
    assert "Discard these 3 changes?" in words(asked.text)
    assert len(alice.pending()) == 3
    post(client, "/dualstorage/writes/discard", write=ids, sure="1")
    assert alice.pending() == []
