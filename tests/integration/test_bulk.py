"""Writes that wait go in one request where the API takes several at once: each of them as if it had gone alone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_dualstorage import Bulk, Collection, Dialect, DualStorage, dialects
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import Behaviour, HostileUpstream, Line, Received, Then, answer, cut, drop, html
from tests.waiting import PATIENCE
from tests.whole import Clock, MakeApp, storage_of

Item = dict[str, Any]


class Batches:
    """An API that takes requests one by one, and several at ``/batch``.

    It numbers what is new and takes all else; ``told`` has other answers, by a new record's name, or by path.
    """

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}
        self._numbers = itertools.count(101)

    def __call__(self, received: Received) -> Behaviour:
        if received.target == "/batch":
            return answer(200, {"responses": [self._item(item) for item in received.json()["requests"]]})
        body = received.json() if received.body else None
        own = self._item({"method": received.method, "path": received.target, "body": body})
        return answer(own["status"], own.get("body"), headers=own.get("headers"))

    def _item(self, item: Item) -> Any:
        body = item.get("body") or {}
        told = self.told.get(body.get("name") if item["method"] == "POST" else f"{item['method']} {item['path']}")
        if told is not None:
            return told
        match item["method"]:
            case "POST":
                return {"status": 201, "body": {"id": next(self._numbers), **body}, "headers": {}}
            case "PUT":
                return {"status": 200, "body": body}
            case "DELETE":
                return {"status": 204}
            case _:
                return {"status": 404, "body": {"title": "Not Found"}}


@pytest.fixture
def api() -> Batches:
    return Batches()


@pytest.fixture
def upstream(api: Batches) -> Iterator[HostileUpstream]:
    with HostileUpstream(api) as upstream:
        yield upstream


@pytest.fixture
def storage(make_app: MakeApp, upstream: HostileUpstream) -> Callable[..., UserStorage]:
    """Give Alice's storage, in an app with people; ``bulk`` and other things may be declared of them."""

    def give(bulk: Bulk | None = Bulk(), config: dict[str, Any] | None = None, **declared: Any) -> UserStorage:  # noqa: B008
        dualstorage = DualStorage()
        dualstorage.upstream_auth(lambda owner, upstream: {"Authorization": f"Bearer of {owner}"})
        dialect = declared.pop("dialect", Dialect()).but(bulk=bulk)
        dualstorage.register(type("People", (Collection,), {"name": "people", "dialect": dialect, **declared}))
        return storage_of(make_app(dualstorage, url=upstream.url, **(config or {}))).for_user("alice")

    return give


def make(alice: UserStorage, *names: str) -> None:
    """Make people that wait."""
    for name in names:
        alice.collection("people").create(name=name, remote=False)


def sent(upstream: HostileUpstream) -> list[tuple[str, str]]:
    """Method and target of all that arrived."""
    return [(one.method, one.target) for one in upstream.received]


def items(upstream: HostileUpstream, number: int = -1) -> list[Item]:
    """What one request had in it."""
    found: list[Item] = upstream.received[number].json()["requests"]
    return found


def keys(upstream: HostileUpstream) -> dict[str, set[str]]:
    """The keys under which each new record was sent, by its name, in a batch or alone."""
    found: dict[str, set[str]] = {}
    for one in upstream.received:
        if one.target == "/batch":
            each = [(item["body"]["name"], item["headers"]["Idempotency-Key"]) for item in one.json()["requests"]]
        else:
            each = [(one.json()["name"], one.headers["Idempotency-Key"])] if one.method == "POST" else []
        for name, key in each:
            found.setdefault(name, set()).add(key)
    return found


def states(alice: UserStorage) -> dict[str, str]:
    """What became of each that waits, by its name."""
    return {(write.attributes or write.base or {})["name"]: write.state for write in alice.pending()}


# --- the request -----------------------------------------------------------------------------------------------


def test_each_goes_in_it_exactly_as_it_would_go_alone(storage: Any, api: Batches, upstream: HostileUpstream):
    """Method, path, body, key and version of its own; the credential is the whole's."""
    api.told["GET /people"] = {
        "status": 200,
        "body": [{"id": 1, "name": "Ada", "rev": 3}, {"id": 2, "name": "Grace", "rev": 5}],
    }
    requests: dict[bool, list[Item]] = {}
    for together in (True, False):
        alice = storage(Bulk() if together else None, dialect=Dialect(version_from="rev"))
        people = alice.collection("people").fetch(max_age=0)
        make(alice, "Turing")
        people.get(1).save(name="Byron", remote=False)
        people.get(2).destroy(remote=False)
        upstream.received.clear()
        assert alice.sync().applied == 3
        if together:
            assert sent(upstream) == [("POST", "/batch")]
            assert upstream.received[0].headers["Authorization"] == "Bearer of user:alice"
            assert "Idempotency-Key" not in upstream.received[0].headers
            requests[together] = items(upstream)
        else:
            requests[together] = [
                {"method": one.method, "path": one.target, "headers": dict(one.headers)}
                | ({"body": one.json()} if one.body else {})
                for one in upstream.received
            ]
    for item in [*requests[True], *requests[False]]:
        assert item["headers"].pop("Idempotency-Key")
        ours = ("Content-Type", "If-Match")
        item["headers"] = {name: text for name, text in item["headers"].items() if name in ours}
    assert sorted(requests[True], key=lambda item: item["method"]) == sorted(
        requests[False], key=lambda item: item["method"]
    )
    assert [item["headers"].get("If-Match") for item in requests[True]] == [None, '"3"', '"5"']


def test_a_thousand_writes_are_forty_requests(storage: Any, upstream: HostileUpstream):
    alice = storage()
    make(alice, *(f"{number}" for number in range(1000)))
    assert alice.sync().applied == 1000
    assert [len(items(upstream, number)) for number in range(len(upstream.received))] == [25] * 40
    assert len({item["headers"]["Idempotency-Key"] for n in range(40) for item in items(upstream, n)}) == 1000


def test_no_more_than_it_takes_at_once(storage: Any, upstream: HostileUpstream):
    alice = storage(Bulk(at_most=2))
    make(alice, "one", "two", "three", "four", "five")
    assert alice.sync().applied == 5
    assert sorted(sent(upstream)) == [("POST", "/batch"), ("POST", "/batch"), ("POST", "/people")]


def test_one_goes_after_the_other_where_the_api_wants_it_so_and_other_upstreams_need_not_wait(
    make_app: MakeApp, upstream: HostileUpstream
):
    """The first batch is answered only once the other upstream's write is there."""
    dualstorage = DualStorage()
    dualstorage.register(type("Pets", (Collection,), {"name": "pets", "upstream": "vet"}))
    speaks = Dialect(bulk=Bulk(at_most=2, parallel=False))
    app = make_app(
        dualstorage,
        url=upstream.url,
        DUALSTORAGE_UPSTREAMS={"vet": {"url": upstream.url}},
        DUALSTORAGE_DIALECT=speaks,
    )
    alice = storage_of(app).for_user("alice")
    make(alice, "one", "two", "three", "four")
    alice.collection("pets").create(name="Rex", remote=False)
    busy, pet = threading.Lock(), threading.Event()
    overlaps: list[bool] = []

    def slow(line: Line) -> Then:
        if line.received.target == "/pets":
            pet.set()
            return answer(201, {"id": 7})(line)
        overlaps.append(not busy.acquire(blocking=False))
        pet.wait(PATIENCE)
        busy.release()
        told = [{"status": 201, "body": {"id": item["body"]["name"]}} for item in line.received.json()["requests"]]
        return answer(200, {"responses": told})(line)

    upstream.then(slow, slow, slow)
    assert alice.sync().applied == 5
    assert overlaps == [False, False]


def test_an_online_save_goes_alone_and_so_does_what_waits_alone(storage: Any, upstream: HostileUpstream):
    alice = storage()
    alice.collection("people").create(name="Turing")
    make(alice, "Hopper")
    alice.sync()
    assert sent(upstream) == [("POST", "/people")] * 2


def test_those_of_all_collections_of_the_upstream_go_together(make_app: MakeApp, upstream: HostileUpstream):
    """The dialect is the upstream's."""
    config = {"DUALSTORAGE_DIALECT": Dialect(bulk=Bulk(path="/batch"))}
    alice = storage_of(make_app(url=upstream.url, **config)).for_user("alice")
    make(alice, "Turing")
    alice.collection("pets").create(name="Rex", remote=False)
    assert alice.sync().applied == 2
    assert [item["path"] for item in items(upstream)] == ["/people", "/pets"]


def test_those_of_two_upstreams_go_apart(make_app: MakeApp, upstream: HostileUpstream):
    dualstorage = DualStorage()
    dualstorage.register(type("Pets", (Collection,), {"name": "pets", "upstream": "vet"}))
    each = {"url": upstream.url, "dialect": Dialect(bulk=Bulk())}
    app = make_app(
        dualstorage, url=upstream.url, DUALSTORAGE_UPSTREAMS={"vet": each}, DUALSTORAGE_DIALECT=each["dialect"]
    )
    alice = storage_of(app).for_user("alice")
    for number in range(2):
        make(alice, f"{number}")
        alice.collection("pets").create(name=f"{number}", remote=False)
    assert alice.sync().applied == 4
    together = [[item["path"] for item in items(upstream, number)] for number in (0, 1)]
    assert sorted(together) == [["/people"] * 2, ["/pets"] * 2]


def test_what_refers_to_another_goes_after_it(make_app: MakeApp, upstream: HostileUpstream):
    app = make_app(url=upstream.url, DUALSTORAGE_DIALECT=Dialect(bulk=Bulk()))
    alice = storage_of(app).for_user("alice")
    for name in ("Turing", "Hopper"):
        person = alice.collection("people").create(name=name, remote=False)
        alice.collection("pets").create(name=f"{name}'s", owner=person.id, remote=False)
    assert alice.sync().applied == 4
    assert sent(upstream) == [("POST", "/batch")] * 2
    assert [item["body"]["owner"] for item in items(upstream)] == [101, 102]


def test_headers_that_all_of_them_have_go_with_the_whole(storage: Any, upstream: HostileUpstream):
    alice = storage(headers=lambda collection: {"X-Tenant": "acme"})
    make(alice, "one", "two")
    alice.sync()
    assert upstream.received[0].headers["X-Tenant"] == "acme"
    assert [item["headers"]["X-Tenant"] for item in items(upstream)] == ["acme"] * 2


def test_what_can_not_be_sent_alone_is_not_sent_among_others(storage: Any, upstream: HostileUpstream):
    """A header with a line break, here: the others go."""
    numbers = itertools.count()

    def headers(collection: Collection) -> dict[str, str]:
        return {"X-Note": "two\r\nlines" if next(numbers) == 0 else "fine"}

    alice = storage(headers=headers)
    make(alice, "one", "two", "three")
    assert alice.sync().applied == 2
    [write] = alice.pending()
    assert (write.state, "line break" in write.reason) == ("queued", True)
    assert [item["body"]["name"] for item in items(upstream)] == ["two", "three"]


def test_what_is_compared_first_goes_alone(storage: Any, api: Batches, upstream: HostileUpstream):
    api.told["GET /people"] = {"status": 200, "body": [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]}
    for number, name in ((1, "Ada"), (2, "Grace")):
        api.told[f"GET /people/{number}"] = {"status": 200, "body": {"id": number, "name": name}}
    alice = storage(read_before_write=True)
    people = alice.collection("people").fetch()
    for number in (1, 2):
        people.get(number).save(name="Hopper", remote=False)
    assert alice.sync().applied == 2
    assert ("POST", "/batch") not in sent(upstream)


def test_an_api_of_another_shape_is_two_functions(storage: Any, upstream: HostileUpstream):
    """As Microsoft Graph has it: numbered, with ``url``, and answered in any order."""

    def body(requests: list[Item]) -> Any:
        named = [{**item, "id": str(number), "url": item["path"]} for number, item in enumerate(requests)]
        return {"requests": [{name: item[name] for name in item if name != "path"} for item in named]}

    def answers(body: Any) -> list[Item]:
        return sorted(body["responses"], key=lambda each: int(each["id"]))

    def batch(*numbers: int) -> Behaviour:
        told = [{"id": str(each), "status": 201, "body": {"id": 200 + each}} for each in numbers]
        return answer(200, {"responses": told})

    alice = storage(Bulk(path="/$batch", at_most=20, body=body, answers=answers))
    make(alice, "zero", "one", "two")
    upstream.then(batch(2, 0, 1), answer(200, []))
    assert alice.sync().applied == 3
    assert (upstream.received[0].target, [each["url"] for each in items(upstream, 0)]) == ("/$batch", ["/people"] * 3)
    made = {write.attributes["name"]: write.record_id for write in alice.history()}
    assert made == {"zero": 200, "one": 201, "two": 202}


# --- the answer to each ----------------------------------------------------------------------------------------

#: What one is answered, and what becomes of it; as in docs/walk.md, and as it would alone.
ANSWERED: dict[str, tuple[Any, str | None]] = {
    "made": ({"status": 201, "body": {"id": 7, "name": "made"}}, None),
    "refused": ({"status": 422, "body": {"errors": {"name": ["is taken"]}}}, "rejected"),
    "failed": ({"status": 500, "body": {}}, "in_doubt"),
    "asked to wait": ({"status": 429, "headers": {"retry-after": "60"}}, "queued"),
    "given up by a gateway": ({"status": 504}, "queued"),
    "unauthorized": ({"status": 401}, "queued"),
    "without an id": ({"status": 201, "body": "OK"}, "in_doubt"),
    "no answer": ("null", "in_doubt"),
    "no status": ({"body": {"id": 8}}, "in_doubt"),
    "a status in words": ({"status": "201 Created", "body": {"id": 8}}, "in_doubt"),
    "headers that are none": ({"status": 201, "body": {"id": 8}, "headers": {"ETag": 7}}, "in_doubt"),
}


def test_each_has_its_own_outcome(storage: Any, api: Batches, upstream: HostileUpstream):
    """All there are, in one batch; a read that one of them needs goes alone, afterwards."""
    people = [{"id": number, "name": name} for number, name in enumerate(["stale", "gone", "deleted", "changed"], 1)]
    api.told["GET /people"] = {"status": 200, "body": people}
    api.told |= {name: told for name, (told, _) in ANSWERED.items()}
    api.told |= {
        "PUT /people/1": {"status": 412, "body": {"detail": "It is newer."}},
        "GET /people/1": {"status": 200, "body": {"id": 1, "name": "theirs"}},
        "PUT /people/2": {"status": 404},
        "DELETE /people/3": {"status": 404},
    }
    alice = storage(conflict="manual")
    collection = alice.collection("people").fetch()
    make(alice, *ANSWERED)
    for number in (1, 2, 4):
        collection.get(number).save(name=f"mine {number}", remote=False)
    collection.get(3).destroy(remote=False)
    upstream.received.clear()
    report = alice.sync()
    assert sent(upstream) == [("POST", "/batch"), ("GET", "/people/1")]
    assert report.applied == 3, "made, deleted, changed"
    expected = {name: state for name, (_, state) in ANSWERED.items() if state is not None}
    assert states(alice) == {**expected, "mine 1": "conflict", "mine 2": "conflict"}
    waiting = {(write.attributes or {})["name"]: write for write in alice.pending()}
    assert waiting["refused"].problem["errors"] == {"name": ["is taken"]}
    assert waiting["mine 1"].theirs == {"id": 1, "name": "theirs"}
    assert waiting["unauthorized"].unauthorized
    assert report.retry_after == 60


def test_an_answer_that_is_empty_or_partial_is_read_again_one_by_one(
    storage: Any, api: Batches, upstream: HostileUpstream
):
    for number in (101, 102):
        api.told[f"GET /people/{number}"] = {"status": 200, "body": {"id": number, "rank": number}}
    alice = storage(dialect=Dialect(after_write="read"))
    make(alice, "one", "two")
    assert alice.sync().applied == 2
    assert sent(upstream) == [("POST", "/batch"), ("GET", "/people/101"), ("GET", "/people/102")]


def test_one_that_hides_what_is_there_is_not_believed_under_a_bad_credential(
    storage: Any, api: Batches, upstream: HostileUpstream
):
    """The probe follows it, as it does alone."""
    api.told["GET /people"] = {"status": 200, "body": [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]}
    alice = storage(config={"DUALSTORAGE_CREDENTIAL_PROBE": "/me"})
    people = alice.collection("people").fetch()
    api.told["DELETE /people/1"] = {"status": 404}
    people.get(1).destroy(remote=False)
    people.get(2).destroy(remote=False)
    assert alice.sync().applied == 1
    [write] = alice.pending()
    assert (write.record_id, write.unauthorized) == (1, True)
    assert sent(upstream)[-2:] == [("POST", "/batch"), ("GET", "/me")]


@pytest.mark.parametrize(
    "content",
    [
        {"responses": [{"status": 201, "body": {"id": 7}}] * 2},
        {"responses": [{"status": 201, "body": {"id": 7}}] * 4},
        {"responses": []},
        {"responses": None},
        {"answers": [{"status": 201, "body": {"id": 7}}] * 3},
        [{"status": 201, "body": {"id": 7}}] * 3,
        None,
    ],
    ids=["too few", "too many", "none", "no list", "another name", "another shape", "nothing"],
)
def test_where_it_can_not_be_told_whose_answer_is_whose_all_are_in_doubt(
    storage: Any, upstream: HostileUpstream, content: Any
):
    alice = storage()
    make(alice, "one", "two", "three")
    upstream.then(answer(200, content))
    assert alice.sync().applied == 0
    assert states(alice) == dict.fromkeys(["one", "two", "three"], "in_doubt")
    assert all("bulk request" in write.reason for write in alice.pending())


# --- the whole fails -------------------------------------------------------------------------------------------


def three(alice: UserStorage) -> None:
    make(alice, "one", "two", "three")


@pytest.mark.parametrize(
    "failure",
    [drop(), cut(5), html(200), answer(500), answer(200, body=b"{")],
    ids=["no answer", "cut", "HTML", "500", "no JSON"],
)
def test_whole_failures_that_leave_each_in_doubt(
    storage: Any, upstream: HostileUpstream, clock: Clock, failure: Behaviour
):
    """They go one by one from then on: under the keys that they have, or after a look."""
    alice = storage(config={"DUALSTORAGE_HONOURS_KEYS": True})
    three(alice)
    upstream.then(failure)
    alice.sync()
    assert states(alice) == dict.fromkeys(["one", "two", "three"], "in_doubt")
    clock.advance(3600)
    assert alice.sync().applied == 3
    assert sent(upstream) == [("POST", "/batch"), *[("POST", "/people")] * 3]
    assert {name: len(each) for name, each in keys(upstream).items()} == {"one": 1, "two": 1, "three": 1}


def test_creates_in_doubt_are_looked_for_each_for_itself(
    storage: Any, api: Batches, upstream: HostileUpstream, clock: Clock
):
    api.told["GET /people"] = {"status": 200, "body": []}
    alice = storage()
    alice.collection("people").fetch()
    three(alice)
    upstream.then(drop())
    alice.sync()
    clock.advance(3600)
    api.told["GET /people"] = {"status": 200, "body": [{"id": 9, "name": "two"}]}
    upstream.received.clear()
    assert alice.sync().applied == 3
    assert sorted(sent(upstream)) == [*[("GET", "/people")] * 3, *[("POST", "/people")] * 2]
    assert 9 in [write.record_id for write in alice.history()]


@pytest.mark.parametrize(
    ("failure", "unauthorized"),
    [(answer(503, headers={"Retry-After": "30"}), False), (answer(429, headers={"Retry-After": "30"}), False),
     (answer(401), True)],
    ids=["503", "429", "401"],
)  # fmt: skip
def test_whole_answers_that_say_not_taken_hold_each_and_keep_its_key(
    storage: Any, upstream: HostileUpstream, clock: Clock, failure: Behaviour, unauthorized: bool
):
    alice = storage(config={"DUALSTORAGE_SYNC_CONCURRENCY": 1})
    make(alice, *(f"{number}" for number in range(30)))
    upstream.then(failure)
    report = alice.sync()
    assert (report.applied, report.queued, len(upstream.received)) == (0, 30, 1), "no second batch goes after it"
    assert {write.unauthorized for write in alice.pending()[:25]} == {unauthorized}
    assert report.retry_after == (None if unauthorized else 30)
    if not unauthorized:
        assert alice.sync().applied == 0, "nothing passes over a Retry-After"
    clock.advance(3600)
    assert alice.sync().applied == 30
    kept = [len(each) for each in keys(upstream).values()]
    assert max(kept) == (2 if unauthorized else 1), "what was not let in goes as a new request, as it does alone"


def test_where_nothing_was_sent_they_wait_as_they_were(storage: Any, upstream: HostileUpstream, clock: Clock):
    alice = storage()
    three(alice)
    upstream.unplug()
    assert (alice.sync().queued, alice.status().online) == (3, False)
    upstream.plug()
    clock.advance(3600)
    assert alice.sync().applied == 3
    assert sent(upstream) == [("POST", "/batch")], "none of them is in doubt, so that they go together again"


def test_what_a_gateway_gave_up_on_goes_alone_so_that_a_batch_too_slow_gets_through(
    storage: Any, upstream: HostileUpstream, clock: Clock
):
    alice = storage(config={"DUALSTORAGE_HONOURS_KEYS": True})
    three(alice)
    upstream.then(answer(504))
    assert alice.sync().queued == 3
    clock.advance(3600)
    assert alice.sync().applied == 3
    assert sent(upstream) == [("POST", "/batch"), *[("POST", "/people")] * 3]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 413, 422, 501])
def test_a_refusal_of_the_batch_is_none_of_its_writes(storage: Any, upstream: HostileUpstream, status: int):
    """Each goes alone at once, deletes too: a 404 of the endpoint is no record that is gone."""
    alice = storage()
    upstream.then(answer(200, [{"id": 1, "name": "Ada"}]))
    alice.collection("people").fetch().get(1).destroy(remote=False)
    make(alice, "one")
    upstream.then(answer(status))
    assert alice.sync().applied == 2
    assert sent(upstream)[1:] == [("POST", "/batch"), ("DELETE", "/people/1"), ("POST", "/people")]


def test_going_alone_ends_where_one_is_told_to_wait(storage: Any, api: Batches, upstream: HostileUpstream):
    api.told["two"] = {"status": 429, "headers": {"Retry-After": "60"}}
    alice = storage()
    three(alice)
    upstream.then(answer(413))
    assert (alice.sync().applied, states(alice)) == (1, {"two": "queued", "three": "queued"})
    assert [one.json().get("name") for one in upstream.received[1:]] == ["one", "two"]


def test_going_alone_leaves_out_what_another_worker_has_taken_over(
    storage: Any, upstream: HostileUpstream, clock: Clock
):
    """The answer to the batch took so long that their leases were over."""
    keys_are_honoured = {"DUALSTORAGE_HONOURS_KEYS": True}
    alice, worker = storage(config=keys_are_honoured), storage(None, keys_are_honoured)
    three(alice)

    def slow(line: Line) -> Then:
        clock.advance(3600)
        assert worker.sync().applied == 3
        return answer(413)(line)

    upstream.then(slow)
    alice.sync()
    assert alice.pending() == []
    assert len(keys(upstream)) == 3
    assert [target for method, target in sent(upstream) if method == "POST"] == ["/batch", *["/people"] * 3]


def test_a_function_of_the_apps_that_fails_costs_only_the_speed(storage: Any, upstream: HostileUpstream):
    def stumble(requests: list[Item]) -> Any:
        raise RuntimeError("the app's own bug")

    alice = storage(Bulk(body=stumble))
    three(alice)
    assert alice.sync().applied == 3
    assert sent(upstream) == [("POST", "/people")] * 3


def test_a_fresh_credential_is_tried_by_one_before_the_rest_go_together(
    storage: Any, upstream: HostileUpstream, clock: Clock
):
    alice = storage()
    three(alice)
    upstream.then(answer(401))
    alice.sync()
    clock.advance(3600)
    upstream.received.clear()
    assert alice.sync().applied == 3
    assert sent(upstream) == [("POST", "/people"), ("POST", "/batch")]


def test_a_batch_of_kinto_that_a_409_undid_has_made_nothing(storage: Any, api: Batches, upstream: HostileUpstream):
    """It says 201 to the others all the same: those are in doubt, and put again."""
    alice = storage(dialects.kinto.bulk, dialect=dialects.kinto)
    three(alice)
    made = {"status": 201, "body": {"data": {"id": "x", "last_modified": 1}}}
    retry = {"status": 409, "body": {"errno": 122}, "headers": {"Retry-After": "3"}}
    upstream.then(answer(200, {"responses": [made, retry, made]}))
    assert alice.sync().applied == 0
    assert states(alice) == {"one": "in_doubt", "two": "queued", "three": "in_doubt"}
