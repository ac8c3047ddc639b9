"""What was typed and refused later comes back in the app's own form, with what is wrong at its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from flask import Flask, jsonify, render_template_string, request
from flask_wtf import FlaskForm
from wtforms import BooleanField, DateField, FieldList, IntegerField, SelectMultipleField, StringField

from flask_dualstorage import Collection, ConfigurationError, DualStorage
from flask_dualstorage.contrib.wtf import fill
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of

ADA = {"id": 1, "name": "Ada", "age": 36}
ALICE = {"X-User": "alice", "Accept": "text/html"}
TYPED = {
    "name": "Lovelace",
    "age": 1000,
    "born": "1815-12-10",
    "member": True,
    "tags": ["a"],
    "aliases": ["x", "y"],
    "motto": None,
}


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [dict(ADA)], "/people/1/notes": [{"id": 5, "text": "one"}]}, etags=True) as upstream:
        yield upstream


@pytest.fixture
def dualstorage() -> DualStorage:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"edit_endpoint": "edit_person"}))
    notes = {"url": "/people/{person_id}/notes", "edit_endpoint": "edit_note"}
    dualstorage.register(type("Notes", (Collection,), notes))
    dualstorage.register(type("Things", (Collection,), {"edit_endpoint": "nowhere"}))
    return dualstorage


@pytest.fixture
def app(make_app: MakeApp, dualstorage: DualStorage, upstream: RestUpstream) -> Flask:
    app = make_app(dualstorage, url=upstream.url, WTF_CSRF_ENABLED=False)

    @app.route("/people/<key>/edit", methods=["GET", "POST"])
    def edit_person(key: str) -> Any:
        typed = dualstorage.typed()
        if request.method == "POST" and typed is not None:
            return dualstorage.edit(typed.id, {"age": int(request.form["age"])}).state
        shown = None if typed is None else {"id": typed.id, "attributes": typed.attributes, "errors": typed.errors}
        return jsonify(shown)

    @app.get("/people/<person_id>/notes/<note>/edit")
    def edit_note(person_id: str, note: str) -> str:
        return render_template_string('{% from "dualstorage/macros.html" import write_field %}[{{ write_field() }}]')

    return app


@pytest.fixture
def client(app: Flask) -> Any:
    return app.test_client()


@pytest.fixture
def alice(app: Flask) -> UserStorage:
    return storage_of(app).for_user("alice")


def refuse(alice: UserStorage, upstream: RestUpstream, **attributes: Any) -> str:
    ada = alice.collection("people").load(1)
    assert ada is not None
    ada.save(attributes, remote=False)
    upstream.then(answer(422, {"errors": {"age": ["Too old."], "shoe": ["Missing."]}}))
    alice.sync()
    [write] = alice.pending()
    assert write.state == "rejected"
    return write.id


@pytest.fixture
def rejected(alice: UserStorage, upstream: RestUpstream) -> str:
    return refuse(alice, upstream, age=1000)


class TestTheWayBack:
    def test_the_page_leads_to_the_apps_form(self, client: Any, rejected: str):
        for page in ("/dualstorage/", f"/dualstorage/writes/{rejected}"):
            told = client.get(page, headers=ALICE).text
            [link] = re.findall(r'href="([^"]+)">Back to the form', told)
            assert link == f"/people/1/edit?dualstorage_write={rejected}"

    def test_it_knows_the_collection_s_parameters(self, client: Any, alice: UserStorage, upstream: RestUpstream):
        note = alice.collection("notes", person_id=1).load(5)
        assert note is not None
        write = note.save(text="two", remote=False).write_id
        told = client.get(f"/dualstorage/writes/{write}", headers=ALICE).text
        assert f'href="/people/1/notes/5/edit?dualstorage_write={write}"' in told

    def test_an_endpoint_that_is_not_there_costs_the_page_nothing(self, client: Any, alice: UserStorage, caplog: Any):
        write = alice.collection("things").create(name="x", remote=False).pending_write
        assert write is not None
        told = client.get(f"/dualstorage/writes/{write.id}", headers=ALICE)
        assert (told.status_code, "Back to the form" in told.text) == (200, False)
        assert "edit_endpoint" in caplog.text

    @pytest.mark.parametrize("wrong", ["", 7, True])
    def test_what_can_be_no_endpoint_is_refused_at_start(self, wrong: Any):
        with pytest.raises(ConfigurationError, match="edit_endpoint"):
            DualStorage().register(type("People", (Collection,), {"edit_endpoint": wrong}))


class TestTyped:
    def test_gives_what_was_typed_and_what_is_wrong(self, client: Any, rejected: str):
        told = client.get(f"/people/1/edit?dualstorage_write={rejected}", headers=ALICE).json
        assert told["id"] == rejected
        assert told["attributes"] == {**ADA, "age": 1000}
        assert told["errors"] == {"age": ["Too old."], "shoe": ["Missing."]}

    def test_a_conflict_gives_what_was_combined_and_what_it_is_there(
        self, client: Any, alice: UserStorage, upstream: RestUpstream
    ):
        ada = alice.collection("people").load(1)
        assert ada is not None
        upstream.edit("/people", 1, age=40, city="Ockham")
        write = ada.save(age=41).write_id
        told = client.get(f"/people/1/edit?dualstorage_write={write}", headers=ALICE).json
        assert told["attributes"] == {**ADA, "age": 41, "city": "Ockham"}
        assert told["errors"] == {"age": ["Somebody else changed this too: there it is “40”."]}

    @pytest.mark.parametrize(
        "query", ["", "?dualstorage_write=", "?dualstorage_write=%00", "?dualstorage_write=" + "0" * 32]
    )
    def test_is_none_where_no_write_is_named(self, client: Any, rejected: str, query: str):
        assert client.get(f"/people/1/edit{query}", headers=ALICE).json is None

    def test_is_nobody_else_s(self, client: Any, rejected: str):
        for headers in ({"X-User": "bob"}, {}):
            assert client.get(f"/people/1/edit?dualstorage_write={rejected}", headers=headers).json is None

    def test_is_none_once_the_write_is_settled(self, client: Any, alice: UserStorage, rejected: str):
        alice.discard(rejected)
        assert client.get(f"/people/1/edit?dualstorage_write={rejected}", headers=ALICE).json is None

    def test_is_none_outside_of_a_request(self, app: Flask):
        assert storage_of(app).typed() is None

    def test_the_post_knows_the_write_by_a_hidden_field(self, client: Any, upstream: RestUpstream, rejected: str):
        page = client.get(f"/people/1/notes/5/edit?dualstorage_write={rejected}", headers=ALICE).text
        assert page == f'[<input type="hidden" name="dualstorage_write" value="{rejected}">]'
        assert client.get("/people/1/notes/5/edit", headers=ALICE).text == "[]"
        told = client.post("/people/1/edit", data={"dualstorage_write": rejected, "age": "37"}, headers=ALICE)
        assert (told.text, upstream.find("/people", 1)["age"]) == ("applied", 37)  # type: ignore[index]


class PersonForm(FlaskForm):  # type: ignore[misc]
    name = StringField()
    age = IntegerField()
    born = DateField()
    member = BooleanField()
    tags = SelectMultipleField(choices=["a", "b"])
    aliases = FieldList(StringField())
    motto = StringField()
    other = StringField(default="as it was")


class TestFlaskWTF:
    def form(self, app: Flask, write: str, **request: Any) -> PersonForm:
        with app.test_request_context(f"/?dualstorage_write={write}", headers=ALICE, **request):
            form = PersonForm()
            fill(form, storage_of(app).typed())
            form.html = form.age()
            return form

    def test_the_form_is_filled_and_has_the_errors_at_its_fields(
        self, app: Flask, alice: UserStorage, upstream: RestUpstream
    ):
        form = self.form(app, refuse(alice, upstream, **TYPED))
        wanted = {**TYPED, "born": date(1815, 12, 10), "other": "as it was"}
        assert {field.short_name: field.data for field in form} == wanted
        assert (form.age.errors, list(form.name.errors)) == (["Too old."], [])
        assert form.form_errors == ["shoe: Missing."]
        assert 'value="1000"' in form.html

    def test_what_can_not_be_read_is_shown_as_it_was_typed(
        self, app: Flask, alice: UserStorage, upstream: RestUpstream
    ):
        form = self.form(app, refuse(alice, upstream, age="old"))
        assert 'value="old"' in form.html

    def test_what_is_submitted_stays(self, app: Flask, rejected: str):
        form = self.form(app, rejected, method="POST", data={"age": "7"})
        assert (form.age.data, form.age.errors) == (7, ["Too old."])

    def test_without_a_write_nothing_happens(self, app: Flask):
        form = self.form(app, "0" * 32)
        assert (form.age.data, form.other.data) == (None, "as it was")
