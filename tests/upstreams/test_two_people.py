"""Two people edit one record, in every order of online and offline: nothing that either typed is lost undecided.

On Kinto by its versions; on Django REST framework and json-server, which check none, by ``read_before_write``.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flask_dualstorage import DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.grounds import Ground
from tests.whole import MakeApp, storage_of

OWNERS = ("alice", "bob")


@pytest.fixture
def two(make_app: MakeApp, ground: Ground) -> dict[str, UserStorage]:
    """Alice and Bob, users of one app."""
    dualstorage = DualStorage()
    declared = {"name": "people", "read_before_write": type(ground).__name__ != "KintoGround"}
    dualstorage.register(type("People", (ground.people,), declared))
    dualstorage.upstream_auth(lambda owner, upstream: ground.credential)
    storage = storage_of(make_app(dualstorage, url=ground.url_by_line, DUALSTORAGE_SYNC_CONCURRENCY=1))
    return {name: storage.for_user(name) for name in OWNERS}


def ada(storage: UserStorage) -> Any:
    """The record that both edit."""
    return next(each for each in storage.collection("people").fetch(all_pages=True) if each["name"].startswith("Ada"))


def typed_by(two: dict[str, UserStorage], ground: Ground) -> str:
    """All that stands somewhere: upstream, or in the list of who typed it."""
    pending = [write.attributes for storage in two.values() for write in storage.pending()]
    return f"{ground.held()} {pending}"


@pytest.mark.parametrize("last", OWNERS, ids=lambda name: f"{name} sends last")
@pytest.mark.parametrize("online", list(itertools.product([True, False], repeat=2)), ids=str)
def test_the_same_field_is_theirs_to_decide(
    two: dict[str, UserStorage], ground: Ground, online: tuple[bool, bool], last: str
):
    """One of the two stands upstream, the other waits as a conflict of whoever typed it, who then decides."""
    seen = {name: ada(storage) for name, storage in two.items()}
    for name, is_online in zip(OWNERS, online, strict=True):
        seen[name].save(city=f"{name}'s city", remote=is_online)
    for name in sorted(OWNERS, key=lambda name: name == last):
        two[name].sync()
    assert all(f"{name}'s city" in typed_by(two, ground) for name in OWNERS)
    [conflict] = [(name, write) for name in OWNERS for write in two[name].pending()]
    name, write = conflict
    assert write.state == "conflict"
    assert write.theirs["city"] == f"{next(each for each in OWNERS if each != name)}'s city"
    two[name].resolve(write.id, {"city": "both agreed"})
    assert two[name].pending() == []
    assert "both agreed" in str(ground.held())


@pytest.mark.parametrize("online", list(itertools.product([True, False], repeat=2)), ids=str)
def test_different_fields_are_combined(two: dict[str, UserStorage], ground: Ground, online: tuple[bool, bool]):
    seen = {name: ada(storage) for name, storage in two.items()}
    seen["alice"].save(city="alice's city", remote=online[0])
    seen["bob"].save(name="Ada of bob", remote=online[1])
    for storage in two.values():
        assert storage.sync().remaining == 0
    [record] = [each for each in ground.held() if each["name"] == "Ada of bob"]
    assert record["city"] == "alice's city"
