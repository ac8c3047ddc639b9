"""The cached copies: what goes in comes out, of one owner alone, and whatever goes wrong is a miss."""

from __future__ import annotations

import logging
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask_caching import Cache

from flask_dualstorage.storage.base import ANONYMOUS_TIMEOUT, MAX_QUERIES, Backend, Bases
from flask_dualstorage.types import Envelope, PageInfo
from tests.needs import free_port

ALICE = "user:alice"
MONTH = 30 * 86_400.0

FULL = Envelope(
    records=[
        {"id": 7, "größe": 2**64 - 1, "snake": "🐍\0\n", "pi": 0.1, "none": None, "tags": [[], {}, True]},
        {"id": "7b", "least": -(2**63)},
        {},
    ],
    epoch="e" * 32,
    began=12,
    asked_at=1_700_000_000.123456,
    validators={"7": '"ä\\"', "7b": "W/x"},
    etag='"list"',
    last_modified="Sat, 01 Jan 2000 00:00:00 GMT",
    page=PageInfo(
        number=2,
        per_page=3,
        total=9,
        pages=3,
        has_next=True,
        has_previous=True,
        next={"page": "3"},
        previous={"page": "1"},
        next_url="/people?page=3",
        numbering=("page", 1, 1),
        complete=False,
        certain=False,
        gaps=True,
    ),
)


@pytest.fixture(params=["SimpleCache", "FileSystemCache", "RedisCache"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """A backend of Flask-Caching's, as an app has it."""
    config: dict[str, Any] = {"CACHE_TYPE": request.param, "CACHE_DIR": str(tmp_path / "cache")}
    if request.param != "RedisCache":
        yield made(config)
        return
    prefix = f"test-{uuid.uuid4().hex}:"
    url = request.getfixturevalue("redis_url")
    yield made({**config, "CACHE_REDIS_URL": url, "CACHE_KEY_PREFIX": prefix})
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def made(config: dict[str, Any]) -> Backend:
    app = Flask("app")
    cache = Cache(app, config={"CACHE_THRESHOLD": 500, **config})
    backend: Backend = app.extensions["cache"][cache]
    return backend


class Watched:
    """A real backend, of which is noted what it was asked to keep, and for how long."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.values: dict[str, Any] = {}
        self.timeouts: list[int | None] = []

    def get(self, key: str) -> Any:
        return self.backend.get(key)

    def set(self, key: str, value: Any, timeout: int | None = None) -> Any:
        self.values[key] = value
        self.timeouts.append(timeout)
        return self.backend.set(key, value, timeout=timeout)

    def delete(self, key: str) -> Any:
        return self.backend.delete(key)


@pytest.fixture
def watched(backend: Backend) -> Watched:
    return Watched(backend)


@pytest.fixture
def bases(watched: Watched) -> Bases:
    return bases_on(watched)


def bases_on(backend: Backend, namespace: str = "app", timeout: float = MONTH) -> Bases:
    return Bases(namespace, lambda: backend, timeout)


def test_an_envelope_comes_back_as_it_was(bases: Bases):
    bases.put(ALICE, "/people", FULL)
    assert bases.get(ALICE, "/people") == FULL


def test_an_empty_list_is_not_a_miss(bases: Bases):
    empty = Envelope(records=[], epoch="", began=0, asked_at=0.0)
    bases.put(ALICE, "/people", empty)
    assert bases.get(ALICE, "/people") == empty


def test_what_was_never_put_is_a_miss(bases: Bases):
    assert bases.get(ALICE, "/people") is None


def test_another_process_finds_it(backend: Backend):
    bases_on(backend).put(ALICE, "/people", FULL)
    assert bases_on(backend).get(ALICE, "/people") == FULL


def test_a_forgotten_envelope_is_a_miss_and_others_stay(bases: Bases):
    bases.put(ALICE, "/people", FULL)
    bases.put(ALICE, "/people", FULL, "page=2")
    bases.forget(ALICE, "/people")
    bases.forget(ALICE, "/people")
    assert bases.get(ALICE, "/people") is None
    assert bases.get(ALICE, "/people", "page=2") == FULL


ADDRESSES = [
    (ALICE, "/people", ""),
    ("user:ALICE", "/people", ""),
    ("user:alice ", "/people", ""),
    ("user:álice", "/people", ""),
    ("anon:alice", "/people", ""),
    ("user:", "alice/people", ""),
    (ALICE, "/people/", ""),
    (ALICE, "/People", ""),
    (ALICE, "/people", "page=1"),
    (ALICE, "/peoplepage=1", ""),
    (ALICE, "/people", "\x007"),
    (ALICE, "/people", "7"),
    (ALICE, "/people" + "x" * 5000, ""),
]


def test_owners_stores_and_queries_never_share_a_copy(bases: Bases):
    for number, (owner, store, query) in enumerate(ADDRESSES):
        bases.put(owner, store, FULL._replace(began=number), query)
    for number, (owner, store, query) in enumerate(ADDRESSES):
        found = bases.get(owner, store, query)
        assert found is not None
        assert found.began == number


def test_the_lists_of_a_store_are_remembered_the_last_ones_longest(bases: Bases):
    for number in range(MAX_QUERIES + 5):
        bases.note_query(ALICE, "/people", f"page={number}")
        bases.note_query(ALICE, "/people", f"page={number}")
    assert bases.queries(ALICE, "/people") == [f"page={number}" for number in range(5, MAX_QUERIES + 5)]
    assert bases.queries(ALICE, "/notes") == bases.queries("user:bob", "/people") == []


@pytest.mark.parametrize("garbage", [b"{", b"7", 7, b"[7]", b'{"a": 1}'])
def test_what_is_no_list_of_lists_is_none(bases: Bases, watched: Watched, garbage: Any):
    bases.note_query(ALICE, "/people", "page=1")
    [key] = watched.values
    watched.backend.set(key, garbage, timeout=60)
    assert bases.queries(ALICE, "/people") == []


def test_two_apps_on_one_cache_share_no_copy(backend: Backend):
    bases_on(backend, "one").put(ALICE, "/people", FULL)
    assert bases_on(backend, "two").get(ALICE, "/people") is None


def test_no_key_shows_whose_or_what_it_is(bases: Bases, watched: Watched):
    """Keys show up in the backend's logs and tools; and they fit every backend, however long the names are."""
    bases.put(ALICE, "/people", FULL, "name=Turing")
    bases.put("user:" + "ü" * 195, "/" + "ü" * 5000, FULL)
    for key in watched.values:
        assert key.startswith("dualstorage:app:")
        assert not any(word in key for word in ("alice", "people", "Turing", "ü"))
        assert len(key) < 200


def test_a_value_is_plain_json_bytes(bases: Bases, watched: Watched):
    """Encoded by us: no pickle of ours, whose classes a deploy may change."""
    bases.put(ALICE, "/people", FULL)
    [value] = watched.values.values()
    assert type(value) is bytes
    assert value.startswith(b'["eeee')


@pytest.mark.parametrize(
    ("there", "then", "kept"),
    [
        ({"began": 5}, {"began": 4}, "there"),
        ({"began": 5}, {"began": 6}, "then"),
        ({"began": 5, "asked_at": 20.0}, {"began": 5, "asked_at": 10.0}, "there"),
        ({"began": 5, "asked_at": 10.0}, {"began": 5, "asked_at": 20.0}, "then"),
        ({"began": 5, "epoch": "old"}, {"began": 4, "epoch": "new"}, "then"),
    ],
)
def test_an_envelope_never_replaces_one_that_began_later(
    bases: Bases, there: dict[str, Any], then: dict[str, Any], kept: str
):
    """By the owner's numbers first, by the clock between equals; after a new epoch the old one is nothing."""
    both = {"there": FULL._replace(**there), "then": FULL._replace(**then)}
    bases.put(ALICE, "/people", both["there"])
    bases.put(ALICE, "/people", both["then"])
    assert bases.get(ALICE, "/people") == both[kept]


@pytest.mark.parametrize(
    ("owner", "timeout", "kept"),
    [
        (ALICE, MONTH, MONTH),
        (ALICE, 60.0, 60),
        (ALICE, 1.5, 2),
        ("anon:0f", MONTH, ANONYMOUS_TIMEOUT),
        ("anon:0f", 60.0, 60),
    ],
)
def test_copies_end_and_an_anonymous_owners_within_an_hour(watched: Watched, owner: str, timeout: float, kept: float):
    bases_on(watched, timeout=timeout).put(owner, "/people", FULL)
    assert watched.timeouts == [kept]
    assert ANONYMOUS_TIMEOUT == 3600


def test_redis_ends_an_anonymous_owners_copy_by_itself(redis_url: str):
    prefix = f"test-{uuid.uuid4().hex}:"
    backend = made({"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis_url, "CACHE_KEY_PREFIX": prefix})
    bases_on(backend).put("anon:0f", "/people", FULL)
    with redis.Redis.from_url(redis_url) as client:
        [key] = client.scan_iter(f"{prefix}*")
        assert 0 < client.ttl(key) <= 3600
        client.delete(key)


GARBAGE = [
    b"",
    b"\x80\x04 no json",
    "text",
    '"eightxxx"',
    b"[1,2,3]",
    b"[1,2,3,4,5,6,7,8]",
    b'["",0,0.0,null,null,{},[],[]]',
    b'["",0,0.0,null,null,{},[],{"number":1,"ramp":2}]',
    b'["",0,0.0,null,null,{},[],{"numbering":7}]',
    b'["",0,0.0,true,null,null,{},{"id":1}]',
    b'["",0,0.0,true,null,null,[],[]]',
    b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8}',
    b'["",0,0.0,true,null,null,{},[{"id":1}',
    7,
    [1, 2, 3, 4, 5, 6, 7, 8],
    {"records": []},
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_others_left_there_is_a_miss_and_a_line_in_the_log(
    bases: Bases, watched: Watched, caplog: pytest.LogCaptureFixture, garbage: Any
):
    bases.put(ALICE, "/people", FULL)
    [key] = watched.values
    watched.backend.set(key, garbage, timeout=60)
    with caplog.at_level(logging.WARNING, "flask_dualstorage"):
        assert bases.get(ALICE, "/people") is None
    assert "no envelope" in caplog.text
    bases.put(ALICE, "/people", FULL)
    assert bases.get(ALICE, "/people") == FULL


def test_a_copy_that_was_damaged_on_the_way_is_a_miss(bases: Bases, watched: Watched):
    bases.put(ALICE, "/people", FULL)
    [(key, value)] = watched.values.items()
    for length in range(0, len(value), 7):
        watched.backend.set(key, value[:length], timeout=60)
        assert bases.get(ALICE, "/people") is None


class Broken:
    """A cache that is down, or refuses in its own way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get(self, key: str) -> Any:
        raise self.error

    def set(self, key: str, value: Any, timeout: int | None = None) -> Any:
        raise self.error

    def delete(self, key: str) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [ConnectionRefusedError("refused"), pickle.UnpicklingError("pickle"), KeyError("x")])
def test_a_backend_that_fails_is_a_miss_and_a_line_in_the_log(caplog: pytest.LogCaptureFixture, error: Exception):
    bases = bases_on(Broken(error))
    with caplog.at_level(logging.WARNING, "flask_dualstorage"):
        assert bases.get(ALICE, "/people") is None
        bases.put(ALICE, "/people", FULL)
        bases.forget(ALICE, "/people")
    for line in ("read failed, taken as a miss", "write failed, nothing is cached", "delete failed"):
        assert line in caplog.text


def test_a_redis_that_is_down_is_a_miss_and_a_line_in_the_log(caplog: pytest.LogCaptureFixture):
    url = f"redis://127.0.0.1:{free_port()}/0"
    bases = bases_on(made({"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url}))
    with caplog.at_level(logging.WARNING, "flask_dualstorage"):
        assert bases.get(ALICE, "/people") is None
        bases.put(ALICE, "/people", FULL)
        bases.forget(ALICE, "/people")
    assert len([record for record in caplog.records if record.name == "flask_dualstorage"]) >= 3


def test_a_value_that_the_backend_does_not_take_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path):
    """As memcached does with one that is too large: it says False."""
    folder = tmp_path / "cache"
    backend = made({"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": str(folder)})
    bases = bases_on(backend)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with caplog.at_level(logging.WARNING, "flask_dualstorage"):
        bases.put(ALICE, "/people", FULL)
    assert "nothing is cached: the backend did not take it" in caplog.text
    assert bases.get(ALICE, "/people") is None


def test_what_can_not_be_encoded_is_not_cached(bases: Bases, caplog: pytest.LogCaptureFixture):
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    with caplog.at_level(logging.WARNING, "flask_dualstorage"):
        bases.put(ALICE, "/people", FULL._replace(records=[{"id": 1, "deep": deep}]))
    assert "nothing is cached" in caplog.text
    assert bases.get(ALICE, "/people") is None
