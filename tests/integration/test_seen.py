"""A decision is over what its owner was shown: the mark is compared under the owner's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from flask_dualstorage import Collection, DualStorage
from flask_dualstorage.errors import WriteBusy
from flask_dualstorage.user_storage import UserStorage
from flask_dualstorage.web import pages
from tests.integration.test_pending_page import BROWSER, fields, get, url
from tests.upstreams.rest import RestUpstream
from tests.whole import MakeApp, storage_of


@pytest.fixture
def upstream() -> Iterator[RestUpstream]:
    with RestUpstream({"/people": [{"id": 1, "name": "Ada", "age": 36}]}, etags=True) as upstream:
        yield upstream


@pytest.fixture
def app(make_app: MakeApp, upstream: RestUpstream) -> Flask:
    dualstorage = DualStorage()
    dualstorage.register(type("People", (Collection,), {}))
    return make_app(dualstorage, url=upstream.url)


@pytest.fixture
def alice(app: Flask) -> UserStorage:
    return storage_of(app).for_user("alice")


@pytest.fixture
def write_id(alice: UserStorage, upstream: RestUpstream) -> str:
    ada = alice.collection("people").load(1)
    upstream.edit("/people", 1, age=40)
    return str(ada.save({"age": 41}).write_id)


def another_change(alice: UserStorage, upstream: RestUpstream, write_id: str) -> None:
    """Another tab sends mine, and meets the next change of somebody else's."""
    upstream.edit("/people", 1, age=55)
    alice.resolve(write_id, "mine")


DECISIONS: dict[str, Callable[..., Any]] = {
    "retry": lambda alice, write_id, **seen: alice.retry(write_id, **seen),
    "discard": lambda alice, write_id, **seen: alice.discard(write_id, **seen),
    "edit": lambda alice, write_id, **seen: alice.edit(write_id, {"age": 42}, **seen),
    "mine": lambda alice, write_id, **seen: alice.resolve(write_id, "mine", **seen),
    "theirs": lambda alice, write_id, **seen: alice.resolve(write_id, "theirs", **seen),
}


@pytest.mark.parametrize("what", DECISIONS)
def test_nothing_is_decided_over_another_state_than_was_shown(
    alice: UserStorage, upstream: RestUpstream, write_id: str, what: str
):
    """With the mark of what was shown the decision is refused once the write is another, and taken with the new one."""
    shown = alice.pending()[0].seen
    another_change(alice, upstream, write_id)
    with pytest.raises(WriteBusy, match="changed since it was shown"):
        DECISIONS[what](alice, write_id, seen=shown)
    assert [each.theirs["age"] for each in alice.pending() if each.theirs] == [55]
    DECISIONS[what](alice, write_id, seen=alice.pending()[0].seen)
    assert alice.pending() == []


@pytest.mark.parametrize("what", ["resolve", "retry", "discard"])
def test_a_change_between_the_look_of_the_page_and_the_decision_is_noticed(
    app: Flask, alice: UserStorage, upstream: RestUpstream, write_id: str, monkeypatch: pytest.MonkeyPatch, what: str
):
    """What another tab does while the form is read is not overwritten by it, and the page says that it changed."""
    client, real, done = app.test_client(), pages.seen_of, []
    sent = fields(get(client, url(write_id))) | {"choice.0": "mine"}

    def looked_at(write: Any) -> str:
        mark = real(write)
        if not done:
            done.append(True)
            another_change(alice, upstream, write_id)
        return mark

    monkeypatch.setattr(pages, "seen_of", looked_at)
    answer = client.post(url(write_id, what), data=sent, headers=BROWSER, follow_redirects=True)
    assert "This change has become another" in answer.text
    assert upstream.find("/people", 1)["age"] == 55
    assert len(alice.pending()) == 1
