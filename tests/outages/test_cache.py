"""The cache is stopped, emptied at any moment, or fails: everything is still right, only slower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from flask_caching import Cache

from flask_dualstorage import NotCached
from flask_dualstorage.extension import AppDualStorage
from tests.outages.conftest import OpenStorage, Server, page, post
from tests.upstreams.rest import RestUpstream


@pytest.fixture
def storage(own_redis: Server, open_storage: OpenStorage) -> AppDualStorage:
    cache = Cache(config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": f"redis://127.0.0.1:{own_redis.port}/0"})
    return open_storage(cache=cache)


@pytest.fixture
def flush_all(own_redis: Server) -> Callable[[], None]:
    def empty() -> None:
        with redis.Redis(port=own_redis.port) as client:
            client.flushall()

    return empty


@pytest.fixture(autouse=True)
def closed(storage: AppDualStorage) -> Iterator[None]:
    yield
    for backend in storage._app.extensions["cache"].values():
        for client in (backend._write_client, backend._read_client):
            client.close()


def view(storage: AppDualStorage) -> list[Any]:
    return storage.for_user("alice").collection("people").fetch().pluck("name")


class TestStopped:
    def test_pages_and_writes_go_on_and_it_is_used_again_when_it_is_back(
        self, storage: AppDualStorage, own_redis: Server, upstream: RestUpstream
    ):
        assert view(storage) == ["Ada", "Grace"]
        own_redis.stop()
        assert page(storage).json == {"people": ["Ada", "Grace"]}
        assert post(storage, "/people/Eve").json == {"dirty": False}
        assert view(storage) == ["Ada", "Grace", "Eve"]
        own_redis.start()
        assert view(storage) == ["Ada", "Grace", "Eve"]
        upstream.unplug()
        people = storage.for_user("alice").collection("people").fetch()
        assert (people.source, people.pluck("name")) == ("cache", ["Ada", "Grace", "Eve"])

    def test_with_the_upstream_away_too_the_owners_writes_are_what_is_there(
        self, storage: AppDualStorage, own_redis: Server, upstream: RestUpstream
    ):
        view(storage)
        own_redis.stop()
        upstream.unplug()
        with pytest.raises(NotCached):
            view(storage)
        assert page(storage).status_code == 503
        person = storage.for_user("alice").collection("people").create(name="Eve")
        assert person.dirty
        people = storage.for_user("alice").collection("people").fetch()
        assert (people.source, people.pluck("name")) == ("local", ["Eve"])
        upstream.plug()
        assert storage.for_user("alice").sync().applied == 1
        assert view(storage) == ["Ada", "Grace", "Eve"]

    def test_forgetting_an_owner_meanwhile_holds_for_copies_that_come_back_with_it(
        self, storage: AppDualStorage, own_redis: Server, upstream: RestUpstream
    ):
        """Forgetting is one durable change of the owner's row: what the cache still has is of an old epoch."""
        view(storage)
        cache = next(iter(storage._app.extensions["cache"].values()))
        copies = {key: cache._read_client.get(key) for key in cache._read_client.keys("*")}
        assert copies
        own_redis.stop()
        storage.for_user("alice").forget("alice")
        own_redis.start()
        for key, value in copies.items():
            cache._write_client.set(key, value)
        upstream.unplug()
        with pytest.raises(NotCached):
            view(storage)


STEPS: dict[str, Callable[[AppDualStorage], Any]] = {
    "a fetch": view,
    "an edit that is kept": lambda storage: first(storage).save(age=41, remote=False),
    "an edit that is sent": lambda storage: first(storage).save(city="London"),
    "a create": lambda storage: storage.for_user("alice").collection("people").create(name="Eve", remote=False),
    "a sync": lambda storage: storage.for_user("alice").sync(),
    "a delete": lambda storage: storage.for_user("alice").collection("people").new({"id": 2}).destroy(),
    "a last fetch": view,
}


def first(storage: AppDualStorage) -> Any:
    return storage.for_user("alice").collection("people").load(1)


@pytest.mark.parametrize("moment", range(len(STEPS)))
def test_emptied_at_any_moment_everything_is_still_right(
    storage: AppDualStorage, flush_all: Callable[[], None], upstream: RestUpstream, moment: int
):
    for number, step in enumerate(STEPS.values()):
        if number == moment:
            flush_all()
        step(storage)
    assert upstream.records["/people"] == [
        {"id": 1, "name": "Ada", "age": 41, "city": "London"},
        {"id": 101, "name": "Eve"},
    ]
    assert [dict(each) for each in storage.for_user("alice").collection("people").fetch()] == upstream.records[
        "/people"
    ]
    assert storage.for_user("alice").pending() == []


@pytest.mark.parametrize("failing", [("get",), ("set",), ("delete",), ("get", "set", "delete")], ids="+".join)
def test_failing_in_one_verb_everything_is_still_right(
    storage: AppDualStorage, upstream: RestUpstream, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...]
):
    backend = storage.engine.bases.backend

    def fail(*_: Any, **__: Any) -> None:
        raise redis.ConnectionError("reset")

    for verb in failing:
        monkeypatch.setattr(backend, verb, fail)
    for step in STEPS.values():
        step(storage)
    storage.for_user("alice").collection("people").clear()
    assert [row["id"] for row in upstream.records["/people"]] == [1, 101]
    assert upstream.find("/people", 1) == {"id": 1, "name": "Ada", "age": 41, "city": "London"}
    assert view(storage) == ["Ada", "Eve"]
