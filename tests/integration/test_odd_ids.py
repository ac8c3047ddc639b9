"""An id that the upstream gives and that can not be kept, or is not the one that was chosen, holds nothing else up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of


class Notes(Collection):
    """Nested under people."""

    name = "notes"
    url = "/people/{person_id}/notes"


@pytest.fixture
def open_storage(make_app: MakeApp, upstream: RestUpstream) -> Callable[..., Any]:
    def open_(**config: Any) -> Any:
        dualstorage = DualStorage()
        dualstorage.register(Notes)
        return storage_of(make_app(dualstorage, url=upstream.url, **config))

    return open_


@pytest.fixture(params=["sqlite", "postgresql"])
def alice(
    request: pytest.FixtureRequest, open_storage: Callable[..., Any], upstream: RestUpstream
) -> Iterator[UserStorage]:
    """An account whose writes are sent one at a time."""
    where = {}
    if request.param == "postgresql":
        where = {"DUALSTORAGE_DATABASE_URL": request.getfixturevalue("postgresql_url")}
    storage = open_storage(DUALSTORAGE_SYNC_CONCURRENCY=1, **where)
    storage.init_db()
    yield storage.for_user(request.node.name[:100])
    storage.engine.outbox.database._drop()


def names(alice: UserStorage) -> list[str]:
    return [str((write.attributes or {}).get("name")) for write in alice.pending()]


def test_an_id_with_a_nul_leaves_its_own_write_in_doubt(alice: UserStorage, upstream: RestUpstream):
    alice.collection("people").create(name="Strange", remote=False)
    alice.collection("people").create(name="Plain", remote=False)
    upstream.then(answer(201, {"id": "a\0b", "name": "Strange"}))
    alice.sync()
    (left,) = alice.pending()
    assert (left.state, left.attributes["name"]) == ("in_doubt", "Strange")
    assert "no 'id'" in str(left.reason)


@pytest.mark.parametrize("odd", ["\u00e9" * 250, "%" * 255])
def test_an_id_too_long_for_what_is_nested_under_it_is_that_ones_alone(
    alice: UserStorage, upstream: RestUpstream, odd: str
):
    """Percent-encoded in the name of a store it is three to six times as long."""
    strange = alice.collection("people").create(name="Strange", remote=False)
    alice.collection("notes", person_id=strange.id).create(text="under it", remote=False)
    alice.collection("people").create(name="Plain", remote=False)
    upstream.then(answer(201, {"id": odd, "name": "Strange"}))
    alice.sync()
    (note,) = alice.pending()
    assert (note.state, note.store.endswith("/notes")) == ("rejected", True)
    assert "a store at most 512" in str(note.reason)
    assert alice.retry(note.id).state == "rejected", "retried, it is not queued for ever"
    alice.discard(note.id)
    assert alice.pending() == []
