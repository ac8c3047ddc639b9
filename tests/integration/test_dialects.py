"""What others do (docs/dialects.md), over sockets: one promise each, on an upstream that speaks so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_dualstorage import Collection, Dialect, DualStorage, NotCached, Rejected, UpstreamError, dialects
from flask_dualstorage.types import Answer
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import HostileUpstream, answer, drop, redirect
from tests.whole import Clock, MakeApp, storage_of

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


# --- ids -----------------------------------------------------------------------------------------------------


def test_the_client_gives_the_ids_where_the_dialect_says(people: People, upstream: HostileUpstream):
    """At most 15 characters, say: what the function gives is sent, and is the record's id from then on."""
    upstream.then(answer(201))
    made = people(Dialect(new_id=lambda: "abcdefghijklmno")).create(name="Ada")
    assert sent(upstream) == [("POST", "/people", {"name": "Ada", "id": "abcdefghijklmno"})]
    assert (made.id, made.dirty) == ("abcdefghijklmno", False)


def test_a_record_that_refers_to_a_new_one_waits_for_it_all_the_same(
    storage: Callable[..., UserStorage], upstream: HostileUpstream
):
    """An id that is made here is used when the create goes, so the order of writes is kept."""
    alice = storage(Dialect(new_id="uuid4", create_method="PUT"))
    mine = alice.collection("people")
    upstream.unplug()
    ada = mine.create(name="Ada")
    mine.create(name="Byron", child=ada.id)
    upstream.plug()
    assert ada.has_temp_id
    upstream.then(answer(201), answer(201))
    assert alice.sync().applied == 2
    (_, first, made), (_, _, second) = sent(upstream)
    assert first == f"/people/{made['id']}"
    assert (second["name"], second["child"]) == ("Byron", made["id"])
    assert mine.load(ada.id).id == made["id"]


def test_a_create_by_put_goes_again_after_an_answer_that_was_lost(
    storage: Callable[..., UserStorage], upstream: HostileUpstream
):
    """It can not be made twice: the second one meets ``If-None-Match: *``, and finds its own record."""
    alice = storage(Dialect(new_id="uuid4", create_method="PUT"))
    upstream.then(drop(), answer(412))
    upstream.then(lambda line: answer(200, upstream.received[0].json())(line))
    alice.collection("people").create(name="Ada")
    assert alice.sync().applied == 1
    assert [method for method, _, _ in sent(upstream)] == ["PUT", "PUT", "GET"]
    assert upstream.received[0].body == upstream.received[1].body
    assert upstream.received[1].headers["If-None-Match"] == "*"


def test_a_create_in_doubt_whose_id_we_gave_is_asked_for_by_it(
    storage: Callable[..., UserStorage], upstream: HostileUpstream, clock: Clock
):
    alice = storage(None)
    upstream.then(drop(), answer(404), answer(201, {"id": "ada", "name": "Ada"}))
    alice.collection("people").create({"id": "ada"}, name="Ada")
    clock.advance(60)
    assert alice.sync().applied == 1
    assert [one[:2] for one in sent(upstream)] == [("POST", "/people"), ("GET", "/people/ada"), ("POST", "/people")]


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_refusal_of_a_duplicate_id_is_no_refusal_of_our_own_record(
    storage: Callable[..., UserStorage], upstream: HostileUpstream, status: int
):
    """Sent again with its key after an answer that was lost: some call their own record a validation error."""
    alice = storage(Dialect(honours_keys=True))
    upstream.then(drop(), answer(status, {"id": ["exists already"]}), answer(200, {"id": "ada", "name": "Ada", "x": 1}))
    alice.collection("people").create({"id": "ada"}, name="Ada")
    assert alice.sync().applied == 1
    assert alice.collection("people").load("ada", remote=False)["x"] == 1


def test_a_refusal_of_anothers_record_of_that_id_stays_one(
    storage: Callable[..., UserStorage], upstream: HostileUpstream
):
    alice = storage(Dialect(honours_keys=True))
    upstream.then(drop(), answer(422, {"id": ["exists already"]}), answer(200, {"id": "ada", "name": "Byron"}))
    alice.collection("people").create({"id": "ada"}, name="Ada")
    assert alice.sync().rejected == 1


def test_a_create_of_an_id_that_exists_answered_with_the_old_record_is_not_taken_for_applied(
    people: People, upstream: HostileUpstream
):
    """Kinto answers a POST of an id that exists with 200 and the record that was there, unchanged."""
    upstream.then(answer(200, {"data": {"id": "ada", "name": "Byron", "last_modified": 1}}))
    made = people(dialects.kinto.but(create_method="POST")).create({"id": "ada"}, name="Ada")
    assert (made.dirty, made.pending_write.state) == (True, "conflict")
    assert made.pending_write.theirs == {"id": "ada", "name": "Byron", "last_modified": 1}
    assert len(upstream.received) == 1


def test_and_where_it_is_what_was_sent_it_is_applied(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, {"data": {"id": "ada", "name": "Ada", "last_modified": 1}}))
    made = people(dialects.kinto.but(create_method="POST")).create({"id": "ada"}, name="Ada")
    assert (made.dirty, made["last_modified"]) == (False, 1)


# --- answers to a write --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201])
def test_a_create_may_answer_only_the_new_id_and_a_version(people: People, upstream: HostileUpstream, status: int):
    upstream.then(answer(status, {"id": 7, "_rev": "1-a"}))
    made = people(Dialect(version_from="_rev")).create(name="Ada")
    assert dict(made) == {"id": 7, "_rev": "1-a", "name": "Ada"}


@pytest.mark.parametrize("body", [b"", b"null", b"{}"])
def test_a_create_without_a_record_is_read_where_its_location_says(
    people: People, upstream: HostileUpstream, body: bytes
):
    there = answer(201, body=body, headers={"Location": "/people/7"})
    upstream.then(there, answer(200, {"id": 7, "name": "Ada"}))
    assert people().create(name="Ada").id == 7


@pytest.mark.parametrize("location", ["/people/1", "https://elsewhere.example/people/1", "/people", "/"])
def test_a_location_that_is_wrong_makes_no_other_record_ours(people: People, upstream: HostileUpstream, location: str):
    upstream.then(answer(200, [{"id": 1, "name": "Byron"}]), answer(201, headers={"Location": location}))
    if location != "/":
        upstream.then(answer(200, {"id": 1, "name": "Byron"}) if location.endswith("1") else answer(404))
    made = people().fetch().create(name="Ada")
    assert (made.has_temp_id, made.pending_write.state) == (True, "in_doubt")


@pytest.mark.parametrize("reply", [answer(204), answer(205), answer(200, body=b"null"), answer(200, {"stamp": 2})])
def test_an_update_may_answer_nothing_or_only_what_the_server_changed(
    people: People, upstream: HostileUpstream, reply: Any
):
    upstream.then(answer(200, [{"id": 1, "name": "Ada", "stamp": 1}]), reply)
    ada = people().fetch().get(1)
    assert not ada.save(name="Byron").dirty
    assert (ada["name"], ada["stamp"] in (1, 2)) == ("Byron", True)


def test_after_a_write_the_record_is_read_again_where_its_answers_do_not_tell_all(
    people: People, upstream: HostileUpstream
):
    """As where ``project_id`` is written and ``project`` is read."""
    seen = {"id": 1, "project": {"id": 3, "name": "Engine"}}
    shapes = Dialect(after_write="read", wrap=lambda record: {"project_id": record["project"]["id"]})
    upstream.then(answer(200, [{"id": 1, "project": {"id": 2, "name": "Notes"}}]), answer(204), answer(200, seen))
    ada = people(shapes).fetch().get(1)
    ada.save(project={"id": 3})
    assert sent(upstream)[1:] == [("PUT", "/people/1", {"project_id": 3}), ("GET", "/people/1", None)]
    assert dict(ada) == seen


def test_where_it_can_not_be_read_again_what_was_told_stands(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, [{"id": 1, "a": 0}]), answer(200, {"id": 1, "b": 1}), answer(500))
    ada = people(Dialect(after_write="read")).fetch().get(1)
    assert not ada.save(a=1).dirty
    assert dict(ada) == {"id": 1, "a": 1, "b": 1}


@pytest.mark.parametrize("status", [204, 404, 409])
def test_a_second_delete_is_applied_however_it_is_answered(people: People, upstream: HostileUpstream, status: int):
    upstream.then(answer(200, [{"id": 1}]), answer(status))
    if status == 409:
        upstream.then(answer(404))
    mine = people().fetch()
    assert mine.get(1).destroy().state == "applied"
    assert len(mine) == 0


def test_a_post_that_is_redirected_is_not_followed_as_a_get(people: People, upstream: HostileUpstream):
    """It would be answered with the list and 200, and the write would be lost."""
    upstream.then(redirect("/people/", 301))
    with pytest.raises(Rejected, match="redirects to"):
        people().create(name="Ada")
    assert len(upstream.received) == 1


def test_a_redirect_that_keeps_the_method_is_followed(people: People, upstream: HostileUpstream):
    upstream.then(redirect("/people/", 308), answer(201, {"id": 1}))
    assert people().create(name="Ada").id == 1
    assert [one[:2] for one in sent(upstream)] == [("POST", "/people"), ("POST", "/people/")]


def test_set_cookie_and_no_store_change_nothing(people: People, upstream: HostileUpstream):
    """This is an application's own copy, not an HTTP cache; and no cookie goes back."""
    headers = {"Set-Cookie": "session=1", "Cache-Control": "no-store"}
    upstream.then(answer(200, [{"id": 1}], headers=headers), answer(503))
    mine = people().fetch().fetch()
    assert (mine.source, len(mine)) == ("cache", 1)
    assert "Cookie" not in upstream.received[1].headers


# --- versions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version_to", "target", "body", "header"),
    [
        ("If-Match", "/people/1", {"id": 1, "a": 1}, '"3"'),
        ("body", "/people/1", {"id": 1, "a": 1, "lock_version": 3}, None),
        ("query:rev", "/people/1?rev=3", {"id": 1, "a": 1}, None),
    ],
)
def test_a_version_in_the_body_goes_back_where_the_dialect_says(
    people: People, upstream: HostileUpstream, version_to: str, target: str, body: Any, header: str | None
):
    """Out of a list already: there every record tells its own."""
    upstream.then(
        answer(200, [{"id": 1, "a": 0, "lock_version": 3}]), answer(200, {"id": 1, "a": 1, "lock_version": 4})
    )
    ada = people(Dialect(version_from="lock_version", version_to=version_to)).fetch().get(1)
    ada.save(a=1)
    assert sent(upstream)[1] == ("PUT", target, body)
    assert upstream.received[1].headers.get("If-Match") == header
    assert ada["lock_version"] == 4


def test_version_attribute_is_its_short_form(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, [{"id": 1, "_etag": "abc"}]), answer(204))
    people(version_attribute="_etag").fetch().get(1).destroy()
    assert upstream.received[1].headers["If-Match"] == '"abc"'


def test_a_version_that_an_answer_does_not_tell_is_not_known_any_more(people: People, upstream: HostileUpstream):
    """The old one would be refused; where an API demands one, the record is read, and the write goes with that."""
    upstream.then(
        answer(200, [{"id": 1, "a": 0, "v": 3}]),
        answer(204),
        answer(428),
        answer(200, {"id": 1, "a": 1, "v": 4}),
        answer(200, {"id": 1, "a": 2, "v": 5}),
    )
    ada = people(Dialect(version_from="v")).fetch().get(1)
    ada.save(a=1)
    assert "v" not in ada
    assert not ada.save(a=2).dirty
    assert "If-Match" not in upstream.received[2].headers
    assert upstream.received[4].headers["If-Match"] == '"4"'
    assert ada["v"] == 5


def test_a_weak_validator_serves_the_copy_only(people: People, upstream: HostileUpstream):
    tagged = {"ETag": 'W/"1"'}
    upstream.then(answer(200, {"id": 1, "a": 0}, headers=tagged), answer(304, headers=tagged), answer(204))
    mine = people()
    mine.load(1)
    mine.load(1).save(a=1)
    assert upstream.received[1].headers["If-None-Match"] == 'W/"1"'
    assert "If-Match" not in upstream.received[2].headers


def test_a_write_that_waits_for_its_answer_goes_again_with_the_same_version(
    storage: Callable[..., UserStorage], upstream: HostileUpstream
):
    """Key, bytes, query and ``If-Match`` are fixed, whatever is read meanwhile."""
    alice = storage(Dialect(version_from="v"))
    mine = alice.collection("people")
    upstream.then(
        answer(200, [{"id": 1, "a": 0, "v": 3}]), drop(), answer(200, [{"id": 1, "a": 0, "v": 9}]), answer(204)
    )
    mine.fetch().get(1).save(a=1)
    mine.fetch(when_dirty="rebase")
    assert alice.sync().applied == 1
    first, second = (one for one in upstream.received if one.method == "PUT")
    assert first.headers["If-Match"] == second.headers["If-Match"] == '"3"'
    assert first.body == second.body


@pytest.mark.parametrize(
    ("status", "outcomes"), [(409, {}), (412, {}), (422, {422: "conflict"}), (422, {(422, "update"): "conflict"})]
)
def test_a_stale_version_is_a_conflict_whatever_its_status(
    people: People, upstream: HostileUpstream, status: int, outcomes: Any
):
    upstream.then(answer(200, [{"id": 1, "a": 0, "v": 3}]), answer(status), answer(200, {"id": 1, "a": 5, "v": 4}))
    ada = people(Dialect(version_from="v", outcomes=outcomes)).fetch().get(1)
    assert ada.save(a=1).state == "conflict"
    assert ada.pending_write.theirs["a"] == 5


def test_the_record_that_is_there_may_stand_in_the_conflicts_answer(people: People, upstream: HostileUpstream):
    """Kinto: ``details.existing``; no request more is needed."""
    existing = {"id": "ada", "name": "Byron", "last_modified": 9}
    upstream.then(
        answer(200, {"data": [{"id": "ada", "name": "Ada", "last_modified": 7}]}),
        answer(412, {"errno": 114, "details": {"existing": existing}}),
    )
    ada = people(dialects.kinto).fetch().get("ada")
    assert ada.save(name="Lovelace").state == "conflict"
    assert ada.pending_write.theirs == existing
    assert upstream.received[1].headers["If-Match"] == '"7"'
    assert len(upstream.received) == 2


def test_kintos_409_that_says_retry_is_about_the_moment(people: People, upstream: HostileUpstream, clock: Clock):
    """Two wrote to one collection at once; it is sent again when Kinto says, and is nobody's to decide."""
    retry = {"errno": 122, "message": "Integrity constraint violated, please retry."}
    upstream.then(answer(409, retry, headers={"Retry-After": "3"}), answer(201, {"data": {"last_modified": 7}}))
    mine = people(dialects.kinto)
    assert mine.create(name="Ada").pending_write.state == "queued"
    clock.advance(3)
    assert (mine.sync_dirty().applied, len(upstream.received)) == (1, 2)


# --- refusals and credentials --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors_at", "body"),
    [
        (None, {"name": ["is short"]}),
        (None, {"errors": [{"source": {"pointer": "/data/attributes/name"}, "detail": "is short"}]}),
        (None, {"data": {"name": {"code": "short", "message": "is short"}}}),
        (None, {"_issues": {"name": "is short"}}),
        (None, {"details": [{"location": "body", "name": "name", "description": "is short"}]}),
        ("fault.fields", {"fault": {"fields": {"name": "is short"}}}),
        ("fault", {"fault": [{"field": "name", "message": "is short"}]}),
        (
            lambda body: {each["on"]: each["says"] for each in body["wrong"]},
            {"wrong": [{"on": "name", "says": "is short"}]},
        ),
    ],
)
def test_errors_by_field_are_read_where_they_stand(
    people: People, upstream: HostileUpstream, errors_at: Any, body: Any
):
    upstream.then(answer(422, body))
    with pytest.raises(Rejected) as refused:
        people(Dialect(errors_at=errors_at)).create(name="A")
    assert refused.value.errors == {"name": ["is short"]}


def test_errors_without_a_field_are_about_the_whole(people: People, upstream: HostileUpstream):
    upstream.then(answer(422, {"errors": ["Name is short"]}))
    with pytest.raises(Rejected) as refused:
        people().create(name="A")
    assert refused.value.errors == {"": ["Name is short"]}


def code_bad_token(operation: str, answer: Answer) -> str | None:
    return "unauthorized" if answer.status_code == 400 and b"BAD_TOKEN" in answer.content else None


@pytest.mark.parametrize(
    ("dialect", "refusal"),
    [
        (dialects.drf, answer(403, {"detail": "Authentication credentials were not provided."})),
        (Dialect(outcomes={403: "unauthorized"}), answer(403)),
        (Dialect(outcomes=code_bad_token), answer(400, {"code": "BAD_TOKEN"})),
    ],
)
def test_a_bad_credential_holds_the_queue_under_whatever_status(
    storage: Callable[..., UserStorage], upstream: HostileUpstream, dialect: Dialect, refusal: Any
):
    alice = storage(dialect, {"DUALSTORAGE_SYNC_CONCURRENCY": 1})
    mine = alice.collection("people")
    mine.create({"a": 1}, remote=False)
    mine.create({"a": 2}, remote=False)
    upstream.then(refusal)
    alice.sync()
    assert len(upstream.received) == 1
    assert [(write.state, write.unauthorized) for write in alice.pending()] == [("queued", True), ("queued", False)]


def test_an_empty_list_for_a_bad_credential_wipes_no_copy(people: People, upstream: HostileUpstream):
    def signed_out(operation: str, answer: Answer) -> str | None:
        return "unauthorized" if operation == "list" and answer.headers.get("X-User") == "nobody" else None

    upstream.then(answer(200, [{"id": 1}]), answer(200, [], headers={"X-User": "nobody"}), answer(503))
    mine = people(Dialect(outcomes=signed_out)).fetch()
    with pytest.raises(UpstreamError, match="fresh credential"):
        mine.fetch()
    assert [one.id for one in mine.fetch()] == [1]


def test_an_override_that_fails_leaves_a_write_in_doubt_and_a_read_to_the_copy(
    people: People, upstream: HostileUpstream
):
    upstream.then(answer(200, [{"id": 1}]), answer(200, [{"id": 1}]), answer(200, {"id": 1}))
    asked: list[str] = []

    def forgetful(operation: str, answer: Answer) -> str | None:
        asked.append(operation)
        return None if len(asked) == 1 else {}["nothing"]

    mine = people(Dialect(outcomes=forgetful)).fetch().fetch()
    assert (mine.source, asked) == ("cache", ["list", "list"])
    assert "Dialect.outcomes failed" in str(mine.reason)
    assert mine.get(1).save(a=1).state == "in_doubt"


# --- keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("named", "found"), [(None, "Idempotency-Key"), ("X-Call", "X-Call"), (False, None)])
def test_the_idempotency_header_has_the_dialects_name(
    people: People, upstream: HostileUpstream, named: Any, found: str | None
):
    upstream.then(answer(201, {"id": 1}))
    people(Dialect(idempotency_header=named)).create(name="Ada")
    bearing = [name for name in ("Idempotency-Key", "X-Call") if name in upstream.received[0].headers]
    assert bearing == ([] if found is None else [found])


def test_where_keys_are_honoured_a_create_goes_again(storage: Callable[..., UserStorage], upstream: HostileUpstream):
    alice = storage(Dialect(honours_keys=True))
    upstream.then(drop(), answer(201, {"id": 1}))
    alice.collection("people").create(name="Ada")
    assert alice.sync().applied == 1
    assert [method for method, _, _ in sent(upstream)] == ["POST", "POST"]


def test_a_replayed_answer_counts_as_the_first_one(storage: Callable[..., UserStorage], upstream: HostileUpstream):
    """A 200 of such an upstream is an existing record, but not where it says that it repeats its answer."""
    alice = storage(
        Dialect(honours_keys=True, replayed_header="Idempotent-Replayed", outcomes={(200, "create"): "existing"})
    )
    replayed = {"Idempotent-Replayed": "true"}
    upstream.then(drop(), answer(200, {"id": "ada", "name": "ADA"}, headers=replayed))
    alice.collection("people").create({"id": "ada"}, name="Ada")
    assert alice.sync().applied == 1
    assert alice.collection("people").load("ada", remote=False)["name"] == "ADA"


# --- JSON:API and HAL ----------------------------------------------------------------------------------------


def test_json_api_takes_resources_apart_and_puts_them_together(people: People, upstream: HostileUpstream):
    linked = {"boss": {"data": {"type": "people", "id": "2"}, "links": {"self": "/people/1/relationships/boss"}}}
    ada = {"type": "people", "id": "1", "attributes": {"name": "Ada", "age": 36}, "relationships": linked}
    upstream.then(
        answer(200, {"data": [ada]}),
        answer(200, {"data": {**ada, "attributes": {"name": "Lovelace", "age": 36}}}),
        answer(204),
        answer(201, {"data": {"type": "people", "id": "3", "attributes": {"name": "Byron"}}}),
    )
    mine = people(dialects.json_api("people")).fetch()
    assert dict(mine.get("1")) == {"id": "1", "name": "Ada", "age": 36, "relationships": linked}
    mine.get("1").save(name="Lovelace")
    mine.get("1").save(age=37, patch=True)
    assert dict(mine.create(name="Byron")) == {"id": "3", "name": "Byron"}
    boss = {"boss": {"data": {"type": "people", "id": "2"}}}
    whole = {"type": "people", "id": "1", "attributes": {"name": "Lovelace", "age": 36}, "relationships": boss}
    assert sent(upstream)[1:] == [
        ("PATCH", "/people/1", {"data": whole}),
        ("PATCH", "/people/1", {"data": {"type": "people", "id": "1", "attributes": {"age": 37}}}),
        ("POST", "/people", {"data": {"type": "people", "attributes": {"name": "Byron"}}}),
    ]
    assert upstream.received[1].headers["Content-Type"] == "application/vnd.api+json"


def test_hal_takes_the_embedded_list_and_ids_from_links(people: People, upstream: HostileUpstream):
    ada = {"name": "Ada", "_links": {"self": {"href": "https://crm.example/people/a%20b{?projection}"}}}
    upstream.then(answer(200, {"_embedded": {"people": [ada]}}), answer(204), answer(200, {"page": {"number": 0}}))
    mine = people(dialects.hal).fetch()
    mine.get("a b").save(name="Byron")
    assert sent(upstream)[1] == ("PUT", "/people/a%20b", {"id": "a b", "name": "Byron"})
    assert len(mine.fetch()) == 0


def test_hal_with_several_embedded_lists_wants_one_named(people: People, upstream: HostileUpstream):
    upstream.then(answer(200, {"_embedded": {"people": [], "notes": []}}))
    with pytest.raises(NotCached, match="embeds several lists"):
        people(dialects.hal).fetch()
