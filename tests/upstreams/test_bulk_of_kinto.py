"""The batches of a real Kinto: what waits goes in few requests, and each write has an answer of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flask_dualstorage import Collection, DualStorage, dialects
from flask_dualstorage.types import Request
from flask_dualstorage.upstream.client import Client
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams import kinto
from tests.upstreams.kinto import Kinto
from tests.whole import Clock, MakeApp, storage_of


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Method and path of all that goes out."""
    requests: list[tuple[str, str]] = []
    send = Client.send

    def noted(self: Client, request: Request, **options: Any) -> Any:
        requests.append((request.method, request.path))
        return send(self, request, **options)

    monkeypatch.setattr(Client, "send", noted)
    return requests


def storage(make_app: MakeApp, url: str, path: str, owner: str = "alice") -> UserStorage:
    """An owner's storage, with people who are in Kinto; a conflict is hers to decide."""
    dualstorage = DualStorage()
    dualstorage.upstream_auth(lambda owner, upstream: ("alice", kinto.ACCOUNTS["alice"]))
    members = {"name": "people", "url": f"{path}/people/records", "dialect": dialects.kinto, "conflict": "manual"}
    dualstorage.register(type("People", (Collection,), members))
    return storage_of(make_app(dualstorage, url=url)).for_user(owner)


def names(server: Kinto, url: str) -> list[str]:
    """Who is there, as Bob sees it."""
    found: list[str] = []
    page = f"{url}/people/records"
    while page:
        answer = server.ask("GET", page)
        found += [record["name"] for record in answer.json()["data"]]
        page = answer.headers.get("Next-Page", "")
    return sorted(found)


@pytest.mark.parametrize("prefix", ["/v1", ""], ids=["with the version in the URL", "with it in the paths"])
def test_what_waits_goes_in_few_requests(
    make_app: MakeApp, a_kinto: tuple[Kinto, str], made: list[tuple[str, str]], prefix: str
):
    """Sixty are three; where /batch is without its version Kinto says where it is (307)."""
    server, url = a_kinto
    path = url.removeprefix(f"{server.origin}{prefix}")
    alice = storage(make_app, f"{server.origin}{prefix}", path)
    people = alice.collection("people")
    for number in range(60):
        people.create(name=f"{number:02}", remote=False)
    assert alice.sync().applied == 60
    assert made == [("POST", "/batch")] * 3
    people.fetch(all_pages=True, params={"_sort": "name"})
    assert people.pluck("name") == [f"{number:02}" for number in range(60)]


def test_each_has_an_answer_of_its_own(make_app: MakeApp, a_kinto: tuple[Kinto, str], made: list[tuple[str, str]]):
    """A create, an update, a delete, one of what was gone, and one that somebody else changed meanwhile."""
    server, url = a_kinto
    alice = storage(make_app, server.api, url.removeprefix(server.api))
    people = alice.collection("people")
    ada, grace, edsger, alan = (people.create(name=name) for name in ("Ada", "Grace", "Edsger", "Alan"))
    server.ask("PATCH", f"{url}/people/records/{ada.id}", json={"data": {"name": "Byron"}})
    server.ask("DELETE", f"{url}/people/records/{alan.id}")
    made.clear()
    people.create(name="Tony", remote=False)
    ada.save(name="Lovelace", remote=False)
    grace.save(name="Hopper", remote=False)
    edsger.destroy(remote=False)
    alan.destroy(remote=False)
    report = alice.sync()
    assert (report.applied, made) == (4, [("POST", "/batch")])
    [write] = alice.pending()
    assert (write.state, write.attributes["name"], write.theirs["name"]) == ("conflict", "Lovelace", "Byron")
    assert server.ask("GET", f"{url}/people/records/{grace.id}").json()["data"]["name"] == "Hopper"
    alice.resolve(write.id, "mine")
    assert alice.sync().remaining == 0


def test_a_create_that_was_made_and_not_answered_is_not_made_twice(
    make_app: MakeApp, a_kinto: tuple[Kinto, str], clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """The batch is worked on, and its answer is lost: each is put again under its id, and found to be there."""
    server, url = a_kinto
    alice = storage(make_app, server.api, url.removeprefix(server.api))
    people = alice.collection("people")
    for name in ("Ada", "Grace"):
        people.create(name=name, remote=False)
    with monkeypatch.context() as patch:
        patch.setattr("flask_dualstorage.upstream.batches.body_of", lambda answer: None)
        assert alice.sync().in_doubt == 2
    clock.advance(3600)
    assert alice.sync().applied == 2
    assert names(server, url) == ["Ada", "Grace"]


def test_without_its_database_all_wait(make_app: MakeApp, a_kinto: tuple[Kinto, str], clock: Clock):
    """503, and Retry-After; then they go together."""
    server, url = a_kinto
    alice = storage(make_app, server.api, url.removeprefix(server.api))
    people = alice.collection("people")
    for name in ("Ada", "Grace"):
        people.create(name=name, remote=False)
    server.lose_database()
    report = alice.sync()
    assert (report.applied, report.queued, report.retry_after) == (0, 2, pytest.approx(3.0))
    server.find_database()
    clock.advance(3.0)
    assert alice.sync().applied == 2
    assert names(server, url) == ["Ada", "Grace"]


def test_several_who_write_to_one_collection_at_once_lose_nothing(
    make_app: MakeApp, a_kinto: tuple[Kinto, str], clock: Clock
):
    """Kinto answers 409 to some, undoes their batches, and calls what it undid made (201): it is put again."""
    server, url = a_kinto
    for owner in ("alice", "bob", "eve"):
        mine = storage(make_app, server.api, url.removeprefix(server.api), owner)
        for number in range(30):
            mine.collection("people").create(name=f"{owner} {number:02}", remote=False)
    owners = [storage(make_app, server.api, url.removeprefix(server.api), owner) for owner in ("alice", "bob", "eve")]
    for _ in range(20):
        with ThreadPoolExecutor(3) as pool:
            left = [report.remaining for report in pool.map(lambda each: each.sync(), owners)]
        clock.advance(60)
        if not any(left):
            break
    assert left == [0, 0, 0]
    assert names(server, url) == sorted(
        f"{owner} {number:02}" for owner in ("alice", "bob", "eve") for number in range(30)
    )
