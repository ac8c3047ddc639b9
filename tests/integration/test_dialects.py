"""What others do (docs/dialects.md), over sockets: one promise each, on an upstream that speaks so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_dualstorage import Collection, Dialect, DualStorage, dialects
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import HostileUpstream, answer
from tests.whole import MakeApp, storage_of

#: One owner's people, in an app that speaks a dialect to the scripted upstream.
People = Callable[..., Collection]


@pytest.fixture
def upstream() -> Iterator[HostileUpstream]:
    with HostileUpstream() as upstream:
        yield upstream


@pytest.fixture
def storage(make_app: MakeApp, upstream: HostileUpstream) -> Callable[..., UserStorage]:
    """Give Alice's storage, with a collection ``people`` that declares what is given."""

    def give(dialect: Dialect | None, config: dict[str, Any] | None = None, **declared: Any) -> UserStorage:
        dualstorage = DualStorage()
        members = {"name": "people", "dialect": dialect, **declared}
        dualstorage.register(type("People", (Collection,), members))
        return storage_of(make_app(dualstorage, url=upstream.url, **(config or {}))).for_user("alice")

    return give


@pytest.fixture
def people(storage: Callable[..., UserStorage]) -> People:
    """Give Alice's people in a dialect."""
    return lambda dialect=None, **declared: storage(dialect, **declared).collection("people")


def sent(upstream: HostileUpstream) -> list[tuple[str, str, Any]]:
    """Method, target and body of all that arrived."""
    return [(one.method, one.target, one.json() if one.body else None) for one in upstream.received]


# --- addresses -----------------------------------------------------------------------------------------------


def test_a_trailing_slash_goes_with_every_path(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, [{"id": 1}]), answer(201, {"id": 2}), answer(200, {"id": 1, "a": 1}), answer(204))
    mine = people(Dialect(slash=True)).fetch()
    mine.create(a=1)
    mine.get(1).save(a=1)
    mine.get(1).destroy()
    assert [target for _, target, _ in sent(upstream)] == ["/people/", "/people/", "/people/1/", "/people/1/"]


def test_a_suffix_ends_every_path_and_is_no_part_of_an_id(people: People, upstream: HostileUpstream):
    upstream.then(answer(201, headers={"Location": "/people/7.json"}), answer(200, {"id": 7, "name": "Ada"}))
    made = people(Dialect(suffix=".json")).create(name="Ada")
    assert made.id == 7
    assert [target for _, target, _ in sent(upstream)] == ["/people.json", "/people/7.json"]


def test_each_operation_may_have_a_url_and_a_method_of_its_own(people: People, upstream: HostileUpstream):
    actions = Dialect(
        update_method="POST",
        delete_method="POST",
        urls={"create": "{url}/new", "update": "{url}/{id}/edit", "delete": "{url}/{id}/delete"},
    )
    upstream.then(answer(200, [{"id": 1, "a": 0}]), answer(201, {"id": 2}), answer(200, {"id": 1, "a": 1}), answer(204))
    mine = people(actions).fetch()
    mine.create(a=1)
    mine.get(1).save(a=1)
    mine.get(1).destroy()
    assert sent(upstream)[1:] == [
        ("POST", "/people/new", {"a": 1}),
        ("POST", "/people/1/edit", {"id": 1, "a": 1}),
        ("POST", "/people/1/delete", None),
    ]


# --- bodies --------------------------------------------------------------------------------------------------


def test_envelopes_are_taken_off_lists_and_records_and_put_around_requests(people: People, upstream: HostileUpstream):
    wrapped = Dialect(list_at="result.items", item_at="person", record_at="person", wrap="person")
    upstream.then(
        answer(200, {"result": {"items": [{"person": {"id": 1, "name": "Ada"}}]}}),
        answer(200, {"person": {"id": 1, "name": "Ada", "rank": "Countess"}}),
        answer(200, {"person": {"id": 1, "name": "Byron"}}),
    )
    mine = people(wrapped).fetch()
    mine.get(1).save(rank="Countess")
    assert sent(upstream)[1] == ("PUT", "/people/1", {"person": {"id": 1, "name": "Ada", "rank": "Countess"}})
    assert mine.load(1)["name"] == "Byron"


def test_an_answer_without_its_envelope_is_no_list(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, {"data": [{"id": 1}]}), answer(200, {"error": "log in"}))
    mine = people(Dialect(list_at="data")).fetch().fetch()
    assert (mine.source, len(mine)) == ("cache", 1)
    assert "it has no 'data'" in str(mine.reason)


def test_read_only_fields_are_shown_and_never_sent(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, [{"id": 1, "name": "Ada", "created": "today"}]), answer(204))
    mine = people(Dialect(read_only=("created",))).fetch()
    mine.get(1).save(name="Byron")
    assert sent(upstream)[1][2] == {"id": 1, "name": "Byron"}
    assert mine.get(1)["created"] == "today"


def test_the_media_type_is_asked_for_and_sent(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, [{"id": 1, "a": 0}]), answer(200, {"id": 1, "a": 1}))
    people(Dialect(media_type="application/vnd.crm+json")).fetch().get(1).save(a=1)
    read, written = (one.headers for one in upstream.received)
    assert read["Accept"] == written["Accept"] == written["Content-Type"] == "application/vnd.crm+json"


def test_a_merge_patch_takes_fields_away_by_null(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, [{"id": 1, "home": {"city": "Bath", "flat": 2}}]), answer(204))
    merge = Dialect(update_method="PATCH", patch_type="application/merge-patch+json")
    people(merge).fetch().get(1).save(home={"city": "York"})
    assert sent(upstream)[1] == ("PATCH", "/people/1", {"home": {"city": "York", "flat": None}})
    assert upstream.received[1].headers["Content-Type"] == "application/merge-patch+json"


@pytest.mark.parametrize("name", ["_id", "objectId", "uuid", "title"])
def test_ids_have_other_names(people: People, upstream: HostileUpstream, name: str):
    upstream.then(answer(200, [{name: "a", "age": 1}]), answer(200, {name: "a", "age": 2}), answer(201, {name: "b"}))
    mine = people(Dialect(id_attribute=name)).fetch()
    mine.get("a").save(age=2)
    assert mine.create(age=3).id == "b"
    assert sent(upstream)[1:] == [("PUT", "/people/a", {name: "a", "age": 2}), ("POST", "/people", {"age": 3})]


def test_a_collections_own_id_attribute_wins(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, [{"id": 1, "uuid": "a"}]))
    assert people(Dialect(id_attribute="id"), id_attribute="uuid").fetch().get("a").id == "a"


def test_a_dialect_may_be_named_for_the_whole_upstream(make_app: MakeApp, upstream: HostileUpstream):
    """Collections that were never registered speak it too, also in a flush."""
    app = make_app(url=upstream.url, DUALSTORAGE_DIALECT=dialects.drf.but(id_attribute="uuid"))
    alice = storage_of(app).for_user("alice")
    alice.collection("people").create({"uuid": "a"}, remote=False)
    upstream.then(answer(201, {"uuid": "a"}), answer(200, {"count": 1, "results": [{"uuid": "a"}]}))
    assert alice.sync().applied == 1
    assert alice.collection("people").fetch().get("a").id == "a"
    assert [target for _, target, _ in sent(upstream)] == ["/people/", "/people/"]


# --- the ready-made ones -------------------------------------------------------------------------------------


def test_drf_takes_lists_with_and_without_pages(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, {"count": 1, "next": None, "results": [{"id": 1}]}), answer(200, [{"id": 2}]))
    mine = people(dialects.drf).fetch()
    assert [one.id for one in mine] == [1]
    assert [one.id for one in mine.fetch()] == [2]


def test_kinto_puts_new_records_under_an_id_made_here(people: People, upstream: HostileUpstream):
    upstream.then(lambda line: answer(201, {"data": {**line.received.json()["data"], "last_modified": 7}})(line))
    made = people(dialects.kinto).create(name="Ada")
    method, target, body = sent(upstream)[0]
    assert (method, target, body) == ("PUT", f"/people/{made.id}", {"data": {"name": "Ada", "id": made.id}})
    assert upstream.received[0].headers["If-None-Match"] == "*"
    assert (made["last_modified"], made.has_temp_id, made.dirty) == (7, False, False)
