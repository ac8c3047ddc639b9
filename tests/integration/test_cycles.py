"""Records that refer to each other before they have ids can be corrected, retried and given up like any others."""

from __future__ import annotations

from typing import Any

import pytest

from flask_dualstorage import ValidationFailed
from flask_dualstorage.user_storage import UserStorage
from tests.upstreams.hostile import answer
from tests.upstreams.rest import RestUpstream
from tests.whole import User


@pytest.fixture
def alice(user: User) -> UserStorage:
    return user()


@pytest.fixture
def strict(upstream: RestUpstream) -> RestUpstream:
    """An upstream that wants a name in every record."""
    handle = upstream._handler

    def handler(received: Any) -> Any:
        if received.body and not received.json()["name"]:
            return answer(422, {"errors": {"name": "empty"}})
        return handle(received)

    upstream._handler = handler
    return upstream


def make_cycle(alice: UserStorage, name: str = "") -> tuple[Any, Any]:
    """A, then B that refers to A, then an edit of A that refers to B: that one stands apart."""
    a = alice.collection("people").create(name=name, remote=False)
    b = alice.collection("people").create(name="B", boss=a.id, remote=False)
    a.save(boss=b.id, remote=False)
    return a, b


def states(alice: UserStorage) -> list[tuple[str, str]]:
    return [(write.kind, write.state) for write in alice.pending()]


class TestARefusedOne:
    def test_can_be_repaired(self, alice: UserStorage, strict: RestUpstream):
        """The edit corrects the create that was refused, past the one that waits behind it."""
        a, b = make_cycle(alice)
        alice.sync()
        assert states(alice) == [("create", "rejected"), ("create", "queued"), ("update", "queued")]
        a.save(name="A", remote=False)
        assert states(alice) == [("create", "queued"), ("create", "queued"), ("update", "queued")]
        assert alice.sync().remaining == 0
        one, two = (alice.collection("people").get(each.id) for each in (a, b))
        assert (one["name"], one["boss"], two["boss"]) == ("A", two.id, one.id)
        assert [(method, body["name"]) for method, _, body in strict.writes[1:]] == [
            ("POST", "A"),
            ("POST", "B"),
            ("PUT", "A"),
        ]

    def test_at_once(self, alice: UserStorage, strict: RestUpstream):
        """Online, one save sends all that it waits for too."""
        a, _ = make_cycle(alice)
        alice.sync()
        assert a.save(name="A").dirty is False
        assert alice.pending() == []

    def test_by_the_fields_that_can_go_with_it(self, alice: UserStorage, strict: RestUpstream):
        """What refers to the later record is left to the write that stands apart, the rest corrects the first."""
        a, b = make_cycle(alice)
        alice.sync()
        a.save(name="A", friend=b.id, remote=False)
        assert alice.sync().remaining == 0
        one = alice.collection("people").load(a.id)
        assert (one["name"], one["friend"]) == ("A", alice.collection("people").get(b.id).id)
        assert "friend" not in strict.writes[1][2]

    def test_stays_as_it_is_where_the_edit_is_of_the_other_only(self, alice: UserStorage, strict: RestUpstream):
        a, b = make_cycle(alice)
        alice.sync()
        a.save(friend=b.id, remote=False)
        assert states(alice) == [("create", "rejected"), ("create", "queued"), ("update", "queued")]


class TestADeletedOne:
    @pytest.mark.parametrize("refused", [False, True])
    def test_was_never_there(self, alice: UserStorage, strict: RestUpstream, refused: bool):
        """Its create, its edit and its delete all vanish; what refers to it is its owner's to decide."""
        a, _ = make_cycle(alice, "" if refused else "A")
        if refused:
            alice.sync()
        result = a.destroy(remote=False)
        assert (result.dirty, len(result.discarded)) == (False, 2)
        assert states(alice) == [("create", "rejected")]
        alice.sync()
        assert len(strict.writes) == refused, "what was refused, and nothing since"

    def test_what_refers_to_it_is_not_queued_for_ever_by_a_retry(self, alice: UserStorage, upstream: RestUpstream):
        turing = alice.collection("people").create(name="Turing", remote=False)
        rex = alice.collection("pets").create(name="Rex", owner=turing.id, remote=False)
        turing.destroy(remote=False)
        (pet,) = alice.pending()
        assert alice.retry(pet.id).state == "rejected"
        assert alice.pending()[0].reason == "It refers to a deleted record."
        upstream.records["/pets"] = []
        with pytest.raises(ValidationFailed):
            rex.save(name="Rover", remote=False)
        rex.save(owner=1)
        assert alice.pending() == []
        assert upstream.records["/pets"][0]["owner"] == 1
