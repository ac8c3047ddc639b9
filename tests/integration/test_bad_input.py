"""Bad input, line by line: a clear error of the tree, nothing half stored, and the app goes on. Over real sockets."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_caching import Cache
from werkzeug.exceptions import NotFound

from flask_dualstorage import (
    Collection,
    CollectionUnknown,
    ConfigurationError,
    DualStorage,
    DualStorageError,
    Model,
    NotCached,
    OutboxUnavailable,
    RecordGone,
    Rejected,
    UpstreamUnreachable,
    ValidationFailed,
)
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.behaviours import head
from tests.upstreams.hostile import (
    Behaviour,
    Line,
    Then,
    answer,
    chunked,
    cut,
    cut_json,
    gzip_bomb,
    html,
    huge,
    nested,
    raw,
)
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, User, storage_of

MEGABYTE = 1024 * 1024
ADA = {"id": 1, "name": "Ada", "age": 36}


def stored(alice: UserStorage) -> tuple[Any, ...]:
    """All that is kept: every row of the outbox, and every cached copy. An owner's row that says nothing is none."""
    everything = alice._engine.outbox.database
    with everything.transaction() as connection:
        tables = ('"write"', "alias", "nonce", "owner")
        rows = tuple(connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables)  # noqa: S608  # ours
    rows = tuple([row for row in table if any(row[1:])] for table in rows)
    # The first four bytes of a file of Flask-Caching's say when it ends, by the machine's clock.
    folder = Path(alice._engine.app.instance_path) / "dualstorage-cache"
    return rows, {file.name: file.read_bytes()[4:] for file in folder.glob("*")}


def refused(alice: UserStorage, act: Callable[[], object], error: type[Exception] = ValidationFailed) -> Any:
    """The act is refused, what is kept is as it was, and the next look at the list works."""
    before = stored(alice)
    with pytest.raises(error) as caught:
        act()
    assert stored(alice) == before
    assert [person.id for person in alice.collection("people").fetch()] == [1, 2]
    assert str(caught.value)
    return caught.value


@pytest.fixture
def alice(user: User) -> UserStorage:
    """Alice, who has looked at the list once."""
    alice = user()
    alice.collection("people").fetch()
    return alice


# --- values that JSON can not hold ---------------------------------------------------------------------------


def deep(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = [value]
    return value


def circular() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


NOT_JSON = {
    "NaN": (math.nan, "nan, which JSON does not have"),
    "infinity": (-math.inf, "-inf, which JSON does not have"),
    "a set": ({1, 2}, "a set is no JSON value"),
    "bytes": (b"x", "a bytes is no JSON value"),
    "a tuple": ((1, 2), "a tuple is no JSON value"),
    "an object": (object(), "an object is no JSON value"),
    "a date": (dt.date(2000, 1, 1), "a date is no JSON value"),
    "a decimal": (decimal.Decimal("1.5"), "a Decimal is no JSON value"),
    "a UUID": (uuid.UUID(int=1), "a UUID is no JSON value"),
    "a lone surrogate": ("a\ud800b", "lone surrogate"),
    "too large": (2**64, "beyond 64 bits"),
    "too small": (-(2**63) - 1, "beyond 64 bits"),
    "a number as a key": ({5: "x"}, "keys of a JSON object are text"),
    "a lone surrogate as a key": ({"\udfff": "x"}, "lone surrogate"),
    "too deep": (deep(101), "nested deeper than 100 levels"),
    "circular": (circular(), "nested deeper than 100 levels"),
}

WAYS_TO_WRITE: dict[str, Callable[[UserStorage, Any], object]] = {
    "create": lambda alice, value: alice.collection("people").create({"name": "Eve", "field": value}),
    "create by name": lambda alice, value: alice.collection("people").create(name="Eve", field=value),
    "create later": lambda alice, value: alice.collection("people").create(field=value, remote=False),
    "new": lambda alice, value: alice.collection("people").new(field=value),
    "set": lambda alice, value: alice.collection("people")[0].set(field=value),
    "save": lambda alice, value: alice.collection("people")[0].save(field=value),
    "patch": lambda alice, value: alice.collection("people")[0].save({"field": value}, patch=True),
    "save alone": lambda alice, value: alice.model(Profile).save(field=value),
}


class Profile(Model):
    url = "/profile"


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_no_json_is_refused_with_the_path_to_it(
    alice: UserStorage, upstream: RestUpstream, name: str, way: str
):
    value, says = NOT_JSON[name]
    error = refused(alice, lambda: WAYS_TO_WRITE[way](alice, value))
    [(path, [text])] = error.errors.items()
    assert path.startswith("field")
    assert says in text
    assert str(error).isprintable()
    assert upstream.writes == []


def test_the_path_leads_into_lists_and_objects(alice: UserStorage):
    bad = {"tags": ["a", {"weight": math.nan}], "born": dt.date(1815, 12, 10), "fine": 1}
    error = refused(alice, lambda: alice.collection("people").create(bad))
    assert sorted(error.errors) == ["born", "tags[1].weight"]


@pytest.mark.parametrize("attributes", [["name"], "name", 5, [("name", "Eve")]])
def test_attributes_are_a_mapping(alice: UserStorage, attributes: Any):
    with pytest.raises((ValidationFailed, TypeError)):
        alice.collection("people").create(attributes)
    assert alice.pending() == []


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), 0.1, "🐍\0", "", deep(50), {"": {}}, None, True])
def test_what_is_json_arrives_as_it_is(alice: UserStorage, upstream: RestUpstream, value: Any):
    person = alice.collection("people").create(field=value)
    assert upstream.sent[-1].json()["field"] == value
    assert person["field"] == value
    assert alice.pending() == []


# --- ids -----------------------------------------------------------------------------------------------------

BAD_IDS: dict[str, Any] = {
    "a slash": "a/b",
    "up": "..",
    "up and away": "../admin",
    "dots within": "a..b",
    "here": ".",
    "a backslash": "..\\admin",
    "a question mark": "1?admin=1",
    "a hash": "1#x",
    "a line break": "1\r\nX-Admin: 1",
    "a NUL": "1\0",
    "a delete": "\x7f",
    "a C1 control": "a\x85b",
    "10,000 characters": "x" * 10_000,
    "256 characters": "x" * 256,
    "nothing": "",
    "a lone surrogate": "\ud800",
    "beyond 64 bits": 2**64,
    "a flag": True,
    "a fraction": 1.5,
    "bytes": b"1",
    "a list": ["1"],
}

WAYS_TO_NAME: dict[str, Callable[[UserStorage, Any], object]] = {
    "load": lambda alice, id: alice.collection("people").load(id),
    "load later": lambda alice, id: alice.collection("people").load(id, remote=False),
    "create": lambda alice, id: alice.collection("people").create(id=id, name="Eve"),
    "create later": lambda alice, id: alice.collection("people").create(id=id, name="Eve", remote=False),
    "save a new one": lambda alice, id: alice.collection("people").new().save(id=id, name="Eve"),
    "a model alone": lambda alice, id: alice.model(Person, id),
    "a parameter": lambda alice, id: alice.collection("notes", person_id=id),
}


class Person(Model):
    url_root = "/people"


@pytest.mark.parametrize("way", WAYS_TO_NAME)
@pytest.mark.parametrize("name", BAD_IDS)
def test_what_can_be_no_id_is_refused_and_never_reaches_the_upstream(
    alice: UserStorage, upstream: RestUpstream, name: str, way: str
):
    seen = len(upstream.received)
    error = refused(alice, lambda: WAYS_TO_NAME[way](alice, BAD_IDS[name]))
    [(field, [text])] = error.errors.items()
    assert field == ("person_id" if way == "a parameter" else "id")
    assert len(text) < 200
    assert str(error).isprintable()
    assert [one.target for one in upstream.received[seen:]] == ["/people"]


@pytest.mark.parametrize("name", BAD_IDS)
def test_a_bad_id_in_a_page_is_not_found(alice: UserStorage, upstream: RestUpstream, name: str):
    people = alice.collection("people").fetch()
    seen = len(upstream.received)
    with pytest.raises(NotFound):
        people.get_or_404(BAD_IDS[name])
    assert people.get(BAD_IDS[name]) is None
    assert len(upstream.received) == seen


@pytest.mark.parametrize(
    "path", ["/people/../x", "/people/a%2F..%2Fb", "/people/%3Fx", "/people/a%00b", "/people/" + "x" * 9999]
)
def test_a_bad_id_in_an_address_is_a_404_page_and_the_app_goes_on(make_app: MakeApp, upstream: RestUpstream, path: str):
    client = pages(make_app(url=upstream.url)).test_client()
    assert client.get(path).status_code == 404
    assert upstream.received == []
    assert client.get("/people/1").text == "Ada"


@pytest.mark.parametrize(
    ("record_id", "target"),
    [
        ("a b", "/people/a%20b"),
        ("100%", "/people/100%25"),
        ("ü", "/people/%C3%BC"),
        ("a;b=c&d", "/people/a%3Bb%3Dc%26d"),
    ],
)
def test_an_unusual_id_stays_one_segment_of_the_path(
    alice: UserStorage, upstream: RestUpstream, record_id: str, target: str
):
    assert alice.collection("people").load(record_id) is None
    assert upstream.received[-1].target == target


def test_an_unusual_id_fills_a_url_and_stays_in_its_place(alice: UserStorage, upstream: RestUpstream):
    alice._registry.add(Notes)
    upstream.then(answer(200, [{"id": 9}]))
    assert [note.id for note in alice.collection("notes", person_id="ü %").fetch()] == [9]
    assert upstream.received[-1].target == "/people/%C3%BC%20%25/notes"


def test_parameters_that_make_a_store_too_long_are_refused_on_every_database(
    alice: UserStorage, upstream: RestUpstream
):
    """An umlaut takes six characters of a URL: what fits as an id may not fit as a part of a name."""
    alice._registry.add(Notes)
    error = refused(alice, lambda: alice.collection("notes", person_id="ü" * 255).create(text="x"))
    assert list(error.errors) == ["store"]
    assert upstream.writes == []


class Notes(Collection):
    url = "/people/{person_id}/notes"


@pytest.mark.parametrize("name", ["a/b", "..", "", "a?b", "x" * 10_000, "a\nb"])
def test_a_bad_name_of_a_collection_is_refused(alice: UserStorage, upstream: RestUpstream, name: str):
    error = refused(alice, lambda: alice.collection(name))
    assert list(error.errors) == ["collection"]


# --- a record of 5 MB ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [way for way in WAYS_TO_WRITE if way != "patch"])
def test_a_record_of_5_mb_is_refused_with_the_limit(alice: UserStorage, upstream: RestUpstream, way: str):
    error = refused(alice, lambda: WAYS_TO_WRITE[way](alice, "x" * (5 * MEGABYTE)))
    assert "DUALSTORAGE_MAX_RECORD_BYTES" in str(error)
    assert "at most 1,048,576" in str(error)
    assert len(str(error)) < 300
    assert upstream.writes == []


def test_a_record_of_5_mb_that_the_upstream_has_is_shown(alice: UserStorage, upstream: RestUpstream):
    upstream.records["/people"][0]["cv"] = "x" * (5 * MEGABYTE)
    people = alice.collection("people").fetch()
    assert len(people[0]["cv"]) == 5 * MEGABYTE
    with pytest.raises(ValidationFailed, match="DUALSTORAGE_MAX_RECORD_BYTES"):
        people[0].save(age=37)
    assert alice.pending() == []
    assert people[0].destroy().dirty is False
    assert upstream.find("/people", 1) is None


# --- answers that are no list --------------------------------------------------------------------------------

LIMIT = MEGABYTE

NO_JSON: dict[str, Behaviour] = {
    "HTML": html(),
    "cut": cut(20, [ADA, ADA]),
    "cut JSON": cut_json([ADA, ADA]),
    "no JSON": answer(body=b"not json"),
    "nothing": answer(200),
    "not UTF-8": answer(body=b'[{"id": 1, "name": "\xff"}]'),
    "NaN": answer(body=b'[{"id": 1, "age": NaN}]'),
    "two values": answer(body=b"[] []"),
    "100 MB": huge(100_000_000),
    "100 MB, unsaid": huge(100_000_000, declared=False),
    "100 MB, zipped": gzip_bomb(100_000_000),
    "endless chunks": chunked(*[b"x" * 65_536] * 40),
    "a bad chunk": chunked(b"[]", end=b"zz\r\n"),
    "deeply nested": nested(500),
    "very deeply nested": nested(200_000),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n", Then.CLOSE),
}

NO_LIST: dict[str, Behaviour] = NO_JSON | {
    "a record": answer(200, ADA),
    "null": answer(200, None, body=b"null"),
    "text": answer(200, "people"),
    "a number": answer(200, 5),
    "a list of numbers": answer(200, [1, 2]),
    "a list of lists": answer(200, [[ADA]]),
    "a list with a hole": answer(200, [ADA, None]),
    "no id": answer(200, [ADA, {"name": "Eve"}]),
    "a null id": answer(200, [{"id": None}]),
    "an empty id": answer(200, [{"id": ""}]),
    "a dotted id": answer(200, [{"id": ".."}]),
    "a list as an id": answer(200, [{"id": [1]}]),
    "a flag as an id": answer(200, [{"id": True}]),
    "a fraction as an id": answer(200, [{"id": 1.5}]),
    "an endless id": answer(200, [{"id": "x" * 10_000}]),
    "duplicate ids": answer(200, [ADA, {"id": 2}, ADA]),
    "duplicate ids by their text": answer(200, [ADA, {"id": "1"}]),
    "a deeply nested record": answer(body=b'[{"id": 1, "x": ' + b"[" * 500 + b"]" * 500 + b"}]"),
    "a deeply nested object": answer(body=b'[{"id": 1, "x": ' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}]"),
}

NO_RECORD: dict[str, Behaviour] = NO_JSON | {
    "a list": answer(200, [ADA]),
    "null": answer(200, None, body=b"null"),
    "text": answer(200, "Ada"),
    "another record": answer(200, {"id": 2, "name": "Grace"}),
    "a list as an id": answer(200, {"id": [1]}),
    "a deeply nested record": answer(body=b'{"id": 1, "x": ' + b"[" * 500 + b"]" * 500 + b"}"),
}


@pytest.fixture
def careful(user: User) -> UserStorage:
    """Alice, of an app that takes answers of a megabyte."""
    return user(DUALSTORAGE_MAX_RESPONSE_BYTES=LIMIT)


@pytest.mark.parametrize("name", NO_LIST)
def test_an_answer_that_is_no_list_gives_the_copy_with_the_reason(
    careful: UserStorage, upstream: RestUpstream, name: str
):
    people = careful.collection("people").fetch()
    before = stored(careful)
    upstream.then(NO_LIST[name])
    people.fetch()
    assert people.pluck("name") == ["Ada", "Grace"]
    assert people.source == "cache"
    assert people.reason
    assert people.reason.isprintable()
    assert len(people.reason) < 400
    assert stored(careful) == before
    people.fetch()
    assert (people.source, people.reason) == ("upstream", None)


@pytest.mark.parametrize("name", NO_LIST)
def test_an_answer_that_is_no_list_and_no_copy_is_a_503_and_nothing_is_kept(
    make_app: MakeApp, upstream: RestUpstream, name: str
):
    app = pages(make_app(url=upstream.url, DUALSTORAGE_MAX_RESPONSE_BYTES=LIMIT))
    alice, client = storage_of(app).for_user("alice"), app.test_client()
    before = stored(alice)
    upstream.then(NO_LIST[name])
    answered = client.get("/people", headers={"X-User": "alice"})
    assert answered.status_code == 503
    assert "No copy of /people is kept here" in answered.text
    assert stored(alice) == before
    assert client.get("/people", headers={"X-User": "alice"}).text == "Ada, Grace"


@pytest.mark.parametrize("name", NO_RECORD)
def test_an_answer_that_is_no_record_gives_the_copy_or_a_503(careful: UserStorage, upstream: RestUpstream, name: str):
    people = careful.collection("people")
    upstream.then(NO_RECORD[name])
    with pytest.raises(NotCached, match="No copy"):
        people.load(1)
    people.load(1)
    before = stored(careful)
    upstream.then(NO_RECORD[name])
    person = people.load(1)
    assert person is not None
    assert (person.freshness.source, person["name"]) == ("cache", "Ada")
    assert person.freshness.reason
    assert stored(careful) == before


@pytest.mark.parametrize("name", ["a record", "no id", "duplicate ids", "HTML", "100 MB", "a deeply nested record"])
def test_what_bypasses_the_cache_is_unreachable(user: User, upstream: RestUpstream, name: str):
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {"remote": True}))
    alice = user(dualstorage=dualstorage, DUALSTORAGE_MAX_RESPONSE_BYTES=LIMIT)
    upstream.then(NO_LIST[name])
    with pytest.raises(UpstreamUnreachable) as caught:
        alice.collection("people").fetch()
    assert not isinstance(caught.value, NotCached)
    assert alice.collection("people").fetch().pluck("id") == [1, 2]


@pytest.mark.parametrize("declared", [True, False])
def test_a_100_mb_answer_is_cut_off_early(careful: UserStorage, upstream: RestUpstream, declared: bool):
    """Neither read to its end nor kept in memory: beyond the limit only what the sockets had buffered was sent."""
    sent = []

    def stream(line: Line) -> Then:
        line.write(head(200, {"Content-Length": "100000000"} if declared else {"Connection": "close"}) + b"[")
        for number in range(1600):
            line.write(b" " * 65_536)
            sent.append(number)
        return Then.CLOSE

    upstream.then(stream)
    with pytest.raises(NotCached, match="an answer of more than 1048576 bytes"):
        careful.collection("people").fetch()
    upstream.unplug()
    assert len(sent) < 800


@pytest.mark.parametrize("name", ["HTML", "cut", "100 MB", "deeply nested", "a list", "text", "nothing at all"])
@pytest.mark.parametrize("kind", ["create", "update"])
def test_a_write_whose_answer_makes_no_sense_is_kept_and_known_to_be_in_doubt(
    careful: UserStorage, upstream: RestUpstream, name: str, kind: str
):
    people = careful.collection("people").fetch()
    upstream.then(NO_RECORD.get(name) or raw(b"", Then.CLOSE))
    if kind == "create":
        person = people.create(name="Eve")
        assert person.has_temp_id
    else:
        person = people[0]
        assert person.save(name="Eve").state == "in_doubt"
    assert person.dirty
    [write] = careful.pending()
    assert (write.state, write.kind) == ("in_doubt", kind)
    assert write.reason
    assert "Eve" in people.pluck("name")
    assert careful.status().in_doubt == 1


def test_a_refusal_that_makes_no_sense_is_still_a_refusal(careful: UserStorage, upstream: RestUpstream):
    for body in (b"<h1>No", b"\xff\xfe", b'{"errors": 5}', b'{"errors": [[], null, {"detail": {}}]}', b"[" * 999):
        upstream.then(answer(422, body=body))
        refused(careful, lambda: careful.collection("people").create(name="Eve"), Rejected)
    assert careful.pending() == []


def test_a_parse_hook_that_stumbles_over_an_answer_makes_it_a_bad_one(user: User, upstream: RestUpstream):
    class People(Collection):
        def parse(self, response: Any) -> Any:
            return response["results"]

    dualstorage = DualStorage()
    dualstorage.register(People)
    alice = user(dualstorage=dualstorage)
    upstream.then(answer(200, {"results": [ADA]}), answer(200, []), answer(200, {"results": None}))
    people = alice.collection("people").fetch()
    for _ in range(2):
        people.fetch()
        assert (people.source, people.pluck("name")) == ("cache", ["Ada"])
        assert people.reason


# --- collections and records that are not there --------------------------------------------------------------


def test_an_unknown_collection_is_refused_where_the_app_is_strict(make_app: MakeApp, upstream: RestUpstream):
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {}))
    app = make_app(dualstorage, url=upstream.url, DUALSTORAGE_STRICT_COLLECTIONS=True)
    alice = storage_of(app).for_user("alice")
    alice.collection("people").fetch()
    for act in (lambda: alice.collection("pople"), lambda: alice.sync(["pople"])):
        error = refused(alice, act, CollectionUnknown)
        assert "'pople'" in str(error)
    assert "there are: people" in str(refused(alice, lambda: alice.collection("x"), CollectionUnknown))
    answered = app.test_client().post("/dualstorage/sync", json={"collection": "pople"}, headers={"X-User": "alice"})
    assert (answered.status_code, answered.mimetype) == (404, "application/problem+json")


def test_a_missing_parameter_is_named(alice: UserStorage):
    alice._registry.add(Notes)
    error = refused(alice, lambda: alice.collection("notes").fetch(), ConfigurationError)
    assert "person_id" in str(error)


def test_a_record_that_is_not_there_is_none_or_a_404(alice: UserStorage):
    people = alice.collection("people")
    assert people.load(99) is None
    with pytest.raises(NotFound, match="99"):
        people.get_or_404(99)
    with pytest.raises(RecordGone):
        alice.model(Person, 99).fetch()


# --- configuration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "DUALSTORAGE_UPSTREAM_URL is not set"),
        ({"DUALSTORAGE_UPSTREAM_URL": "crm.example"}, "DUALSTORAGE_UPSTREAM_URL is 'crm.example'; it takes"),
        ({"DUALSTORAGE_UPSTREAM_URL": "http://h", "DUALSTORAGE_TIMEOUT": "5"}, "DUALSTORAGE_TIMEOUT is '5'; it takes"),
        ({"DUALSTORAGE_UPSTREAM_URL": "http://h", "DUALSTORAGE_TIMEUOT": 5}, "Did you mean DUALSTORAGE_TIMEOUT"),
        ({"DUALSTORAGE_UPSTREAM_URL": "http://h", "DUALSTORAGE_DATABASE_URL": "oracle://h"}, "names 'oracle'"),
    ],
)
def test_a_missing_or_wrong_key_is_told_at_start_and_leaves_the_app_as_it_was(config: dict[str, Any], says: str):
    app = Flask("app")
    app.config.update(config)
    before = (dict(app.extensions), dict(app.blueprints))
    with pytest.raises(ConfigurationError, match=says):
        DualStorage(app)
    assert (dict(app.extensions), dict(app.blueprints)) == before
    for key in config:
        del app.config[key]
    app.config["DUALSTORAGE_UPSTREAM_URL"] = "http://h"
    DualStorage(app)


# --- an instance folder that can not be written --------------------------------------------------------------


def pages(app: Flask) -> Flask:
    """Two pages, as an app has them."""
    dualstorage = storage_of(app)
    app.add_url_rule("/people", "people", lambda: ", ".join(dualstorage.collection("people").fetch().pluck("name")))
    app.add_url_rule("/people/<path:id>", "person", lambda id: dualstorage.collection("people").get_or_404(id)["name"])
    app.add_url_rule("/", "home", lambda: "Home")
    return app


def test_a_file_in_place_of_the_instance_folder_is_a_503_until_it_is_gone(
    make_app: MakeApp, upstream: RestUpstream, tmp_path: Path
):
    blocked = tmp_path / "instance"
    blocked.write_text("not a folder")
    client = pages(make_app(url=upstream.url)).test_client()
    for _ in range(2):
        answered = client.get("/people", headers={"X-User": "alice"})
        assert answered.status_code == 503
        assert "instance" in answered.text
        assert client.get("/").text == "Home"
        assert client.get("/dualstorage/status", headers={"X-User": "alice"}).status_code == 503
        assert upstream.received == []
    blocked.unlink()
    assert client.get("/people", headers={"X-User": "alice"}).text == "Ada, Grace"


def test_a_read_only_instance_folder_accepts_no_write(upstream: RestUpstream, bare_environment: None):
    """Root may write anywhere but in /proc."""
    app = Flask("app", instance_path="/proc/dualstorage")
    app.config["DUALSTORAGE_UPSTREAM_URL"] = upstream.url
    alice = storage_of_new(app).for_user("alice")
    for act in (
        lambda: alice.collection("people").fetch(),
        lambda: alice.collection("people").load(1),
        lambda: alice.collection("people").create(name="Eve"),
        lambda: alice.status(),
        lambda: alice.pending(),
        lambda: alice.sync(),
        lambda: alice.forget("alice"),
    ):
        with pytest.raises(OutboxUnavailable, match="/proc/dualstorage") as caught:
            act()
        assert isinstance(caught.value, DualStorageError)
        assert caught.value.code == 503
    assert upstream.received == []


def test_a_read_only_instance_folder_is_not_needed_where_both_storages_are_elsewhere(
    upstream: RestUpstream, tmp_path: Path, bare_environment: None
):
    app = Flask("app", instance_path="/proc/dualstorage")
    app.config["DUALSTORAGE_UPSTREAM_URL"] = upstream.url
    app.config["DUALSTORAGE_DATABASE_URL"] = f"sqlite:///{tmp_path / 'outbox.sqlite3'}"
    Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    alice = storage_of_new(app).for_user("alice")
    alice.collection("people").create(name="Eve")
    assert alice.collection("people").fetch().pluck("name") == ["Ada", "Grace", "Eve"]


def test_a_read_only_place_for_copies_alone_says_what_to_do(
    upstream: RestUpstream, tmp_path: Path, bare_environment: None
):
    app = Flask("app", instance_path="/proc")
    app.config["DUALSTORAGE_UPSTREAM_URL"] = upstream.url
    app.config["DUALSTORAGE_DATABASE_URL"] = f"sqlite:///{tmp_path / 'outbox.sqlite3'}"
    alice = storage_of_new(app).for_user("alice")
    with pytest.raises(ConfigurationError, match="Flask-Caching Cache"):
        alice.collection("people").fetch()
    assert alice.pending() == []


def storage_of_new(app: Flask) -> Any:
    DualStorage(app)
    return storage_of(app)
