"""What request a write becomes in each dialect: method, path, body and headers, as tables."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from flask_dualstorage import Dialect, ValidationFailed, dialects
from flask_dualstorage.types import Declaration, Kind, Write
from flask_dualstorage.upstream.dialects import fixed, headers_of, list_path, path_of
from tests.unit.policy.builders import a_write, temp_id

OLD = {"id": 7, "name": "Eve", "age": 36}
NEW = {"id": 7, "name": "Ada", "age": 36}
HEX = "0123456789abcdef0123456789abcdef"
UUID = "01234567-89ab-4def-8123-456789abcdef"


def declared(dialect: Dialect, **rest: Any) -> Declaration:
    return Declaration(
        "people", "/people", "/people", **{"id_attribute": dialect.id_attribute, **rest}, dialect=dialect
    )


def update(**rest: Any) -> Write:
    return a_write(Kind.UPDATE, **{"attributes": NEW, "base": OLD, **rest})


def create(**rest: Any) -> Write:
    return a_write(Kind.CREATE, **{"id": HEX, "record_id": temp_id(1), "attributes": {"name": "Ada"}, **rest})


def delete(**rest: Any) -> Write:
    return a_write(Kind.DELETE, **{"base": OLD, **rest})


def request(write: Write, dialect: Dialect, **rest: Any) -> tuple[str | None, str | None, Any]:
    done = fixed(write, declared(dialect, **rest))
    return done.method, done.path, None if done.body is None else orjson.loads(done.body)


def headers(write: Write, dialect: Dialect) -> dict[str, str]:
    return headers_of(fixed(write, declared(dialect)), declared(dialect))


# --- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "listed", "record"),
    [
        (Dialect(), "/people", "/people/7"),
        (Dialect(slash=True), "/people/", "/people/7/"),
        (Dialect(suffix=".json"), "/people.json", "/people/7.json"),
        (Dialect(suffix=".json", slash=True), "/people.json/", "/people/7.json/"),
        (Dialect(urls={"list": "{url}/all"}), "/people/all", "/people/7"),
        (Dialect(urls={"record": "/person/{id}"}), "/people", "/person/7"),
    ],
)
def test_lists_and_records_stand_where_the_dialect_says(dialect: Dialect, listed: str, record: str):
    assert (list_path(declared(dialect)), path_of(declared(dialect), 7)) == (listed, record)


def test_an_id_stays_one_segment_in_every_template():
    assert path_of(declared(Dialect(urls={"record": "/p/{id}/view"})), "../a b") == "/p/..%2Fa%20b/view"
    with pytest.raises(ValidationFailed, match="can not stand in a URL"):
        path_of(declared(Dialect(urls={"record": "/p/{id}"})), "..")


def test_the_only_record_of_a_url_stands_at_it():
    dialect = Dialect(slash=True, urls={"record": "{url}/{id}/view"})
    assert path_of(declared(dialect, singleton=True), "") == "/people/"


@pytest.mark.parametrize(
    ("dialect", "write", "method", "path"),
    [
        (Dialect(), create(), "POST", "/people"),
        (Dialect(), update(), "PUT", "/people/7"),
        (Dialect(), update(patch=True), "PATCH", "/people/7"),
        (Dialect(), delete(), "DELETE", "/people/7"),
        (Dialect(slash=True), create(), "POST", "/people/"),
        (Dialect(suffix=".json"), update(), "PUT", "/people/7.json"),
        (Dialect(create_method="PUT"), create(record_id=9, attributes={"id": 9}), "PUT", "/people/9"),
        (Dialect(create_method="PUT", new_id="uuid4"), create(), "PUT", f"/people/{UUID}"),
        (Dialect(create_method="PUT"), create(), "POST", "/people"),
        (Dialect(update_method="PATCH"), update(), "PATCH", "/people/7"),
        (Dialect(patch_method="PUT"), update(patch=True), "PUT", "/people/7"),
        (Dialect(patch_method=None), update(patch=True), "PUT", "/people/7"),
        (Dialect(delete_method="POST", urls={"delete": "{url}/{id}/delete"}), delete(), "POST", "/people/7/delete"),
        (Dialect(update_method="POST", urls={"update": "{url}/{id}/edit"}), update(), "POST", "/people/7/edit"),
        (Dialect(urls={"create": "{url}/new"}), create(), "POST", "/people/new"),
        (Dialect(urls={"list": "{url}/all"}), create(), "POST", "/people/all"),
        (Dialect(urls={"record": "/person/{id}"}), update(), "PUT", "/person/7"),
        (
            Dialect(create_method="PUT", urls={"create": "{url}/new/{id}"}),
            create(record_id="a", attributes={"id": "a"}),
            "PUT",
            "/people/new/a",
        ),
        (Dialect(version_from="age", version_to="query:rev"), update(), "PUT", "/people/7?rev=36"),
        (
            Dialect(version_from="v", version_to="query:v"),
            delete(base={"v": "a b"}),
            "DELETE",
            "/people/7?v=a%20b",
        ),
        (Dialect(version_from="_rev", version_to="query:rev"), delete(), "DELETE", "/people/7"),
    ],
)
def test_each_operation_goes_by_its_method_to_its_url(dialect: Dialect, write: Write, method: str, path: str):
    assert request(write, dialect)[:2] == (method, path)


# --- bodies --------------------------------------------------------------------------------------------------

MERGE = Dialect(update_method="PATCH", patch_type="application/merge-patch+json")
NESTED = {"id": 7, "home": {"city": "London", "street": "St James"}, "tag": "x"}


@pytest.mark.parametrize(
    ("dialect", "write", "body"),
    [
        (Dialect(), update(), NEW),
        (Dialect(), update(patch=True), {"name": "Ada"}),
        (Dialect(patch_method=None), update(patch=True), NEW),
        (Dialect(read_only=("age",)), update(), {"id": 7, "name": "Ada"}),
        (Dialect(read_only=("name",)), update(patch=True), {}),
        (Dialect(read_only=("name",)), create(), {}),
        (Dialect(wrap="data"), update(patch=True), {"data": {"name": "Ada"}}),
        (Dialect(wrap="a.b"), update(patch=True), {"a": {"b": {"name": "Ada"}}}),
        (Dialect(wrap=lambda record: [record]), update(patch=True), [{"id": 7, "name": "Ada"}]),
        (Dialect(wrap="data"), delete(), None),
        (Dialect(version_from="age"), update(), {"id": 7, "name": "Ada"}),
        (Dialect(version_from="age", version_to="query:rev"), update(), {"id": 7, "name": "Ada"}),
        (Dialect(version_from="age", version_to="body"), update(), NEW),
        (Dialect(version_from="age", version_to="body"), update(patch=True), {"name": "Ada", "age": 36}),
        (Dialect(version_from="age", version_to="body"), update(attributes={**NEW, "age": 1}), NEW),
        (
            Dialect(version_from="_rev", version_to="body"),
            create(attributes={"name": "Ada", "_rev": 3}),
            {"name": "Ada"},
        ),
        (MERGE, update(), {"name": "Ada"}),
        (
            MERGE,
            update(base=NESTED, attributes={"id": 7, "home": {"city": "Paris"}, "new": 1}),
            {"home": {"city": "Paris", "street": None}, "tag": None, "new": 1},
        ),
        (MERGE.but(read_only=("tag",)), update(base=NESTED, attributes={"id": 7, "home": NESTED["home"]}), {}),
        (MERGE, update(base=None), NEW),
        (Dialect(new_id="uuid4"), create(), {"name": "Ada", "id": UUID}),
        (Dialect(new_id="uuid4"), create(record_id="own", attributes={"id": "own"}), {"id": "own"}),
        (Dialect(new_id=lambda: "short"), create(), {"name": "Ada", "id": "short"}),
        (Dialect(new_id=lambda: 5, id_attribute="_id"), create(), {"name": "Ada", "_id": 5}),
    ],
)
def test_each_body_is_what_the_dialect_makes_of_the_record(dialect: Dialect, write: Write, body: Any):
    assert request(write, dialect)[2] == body


def fail() -> str:
    raise OSError("no entropy")


@pytest.mark.parametrize(
    ("dialect", "complaint"),
    [
        (Dialect(new_id=fail), "no entropy"),
        (Dialect(new_id=lambda: "a/b"), "is no id"),
        (Dialect(wrap=lambda record: record["nothing"]), "failed on this record"),
        (Dialect(wrap=lambda record: object()), "JSON can not hold"),
    ],
)
def test_what_fails_before_it_is_sent_is_a_validation_error(dialect: Dialect, complaint: str):
    with pytest.raises(ValidationFailed, match=complaint):
        fixed(create(), declared(dialect))


def test_the_same_write_gets_the_same_uuid_whenever_it_is_fixed():
    dialect = Dialect(new_id="uuid4")
    write = create()
    once = fixed(write, declared(dialect))
    assert once == fixed(write, declared(dialect)) == fixed(once, declared(dialect))


PUT_NEW = Dialect(create_method="PUT", new_id="uuid4")

# --- headers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "write", "wanted"),
    [
        (Dialect(), update(), {"Content-Type": "application/json"}),
        (Dialect(), update(validator='"1"'), {"Content-Type": "application/json", "If-Match": '"1"'}),
        (Dialect(), delete(validator='"1"'), {"If-Match": '"1"'}),
        (Dialect(), create(validator='"1"'), {"Content-Type": "application/json"}),
        (Dialect(media_type="a/b"), create(), {"Content-Type": "a/b"}),
        (MERGE, update(), {"Content-Type": "application/merge-patch+json"}),
        (MERGE, create(), {"Content-Type": "application/json"}),
        (
            Dialect(create_method="PUT", new_id="uuid4", media_type="a/b"),
            create(),
            {"Content-Type": "a/b", "If-None-Match": "*"},
        ),
        (
            Dialect(version_from="age"),
            update(validator='"1"'),
            {"Content-Type": "application/json", "If-Match": '"36"'},
        ),
        (Dialect(version_from="age"), delete(base={"age": '"x"'}), {"If-Match": '"x"'}),
        (Dialect(version_from="age"), delete(base={"age": 'W/"x"'}), {}),
        (Dialect(version_from="age"), delete(base={"age": None}), {}),
        (Dialect(version_from="age"), delete(base=None), {}),
        (Dialect(version_from="age", version_to="query:v"), delete(), {}),
        (Dialect(version_from="age", version_to="body"), delete(validator='"1"'), {}),
    ],
)
def test_each_request_says_its_type_and_its_version(dialect: Dialect, write: Write, wanted: dict[str, str]):
    assert headers(write, dialect) == wanted


def test_ready_made_ones_are_dialects():
    assert all(isinstance(each, Dialect) for each in (dialects.drf, dialects.json_server, dialects.kinto))
