"""What the machine found, each as the shortest story of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_dualstorage.errors import UpstreamError
from flask_dualstorage.tokens import make_nonce
from flask_dualstorage.user_storage import UserStorage
from tests.machine.processes import InLine, Process, new_folder, remove
from tests.machine.upstream import Place, Record, Upstream
from tests.whole import Clock

#: More than the deadline of the machine's apps with the grace of a lease.
LEASE = 16


class Unmoved:
    """Nobody listens: these tests look for themselves."""

    def changed(self, caller: str | None, place: Place, before: Record | None, after: Record | None) -> None:
        """Take no note."""

    def sent(self, caller: str, body: Any) -> None:
        """Take no note."""


@pytest.fixture
def upstream() -> Upstream:
    upstream = Upstream(True, Unmoved())
    for number in (1, 2):
        upstream.create(None, "t1", "/people", {"a": f"a{number}", "b": f"b{number}"}, number)
        upstream.create(None, "t1", "/pets", {"a": f"a{number}"}, number)
    return upstream


@pytest.fixture
def process(upstream: Upstream, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Process]]:
    """Start a process on the outbox of the test."""
    monkeypatch.setattr("flask_dualstorage.sync.senders.ThreadPoolExecutor", InLine)
    folder = new_folder()
    started: list[Process] = []

    def start() -> Process:
        started.append(Process(folder, clock, upstream))
        return started[-1]

    yield start
    for each in started:
        each.close()
    remove(folder)


@pytest.fixture
def alice(process: Callable[[], Process]) -> UserStorage:
    return process().owner("user:alice")


def fields(record: Any, *names: str) -> list[Any]:
    return [record[name] for name in names]


def test_a_save_that_joined_a_refused_head_is_kept_in_it(alice: UserStorage, upstream: Upstream):
    """It said "discarded, and not dirty" of an edit that waits in the write before it."""
    person = alice.collection("people").load(1)
    upstream.faults.append("503")
    person.save(a="bad")
    result = person.save(b="good")
    (kept,) = alice.pending()
    assert (result.dirty, result.state, result.write_id) == (True, kept.state, kept.id)
    assert fields(kept.attributes, "a", "b") == ["bad", "good"]
    person.save(a="better")
    assert fields(upstream.records["t1", "/people"][1], "a", "b") == ["better", "good"]


@pytest.mark.parametrize("remote", [True, False])
def test_a_visitors_form_sent_again_after_the_log_in_is_the_same_one(
    process: Callable[[], Process], upstream: Upstream, remote: bool
):
    """Its write was applied, or given up, and stayed behind: the second one clashed with its id (a 503).

    Given up, it is a new one: the account's, with what came after the log-in.
    """
    here = process()
    visitor, alice = here.owner("anon:visitor"), here.owner("user:alice")
    nonce = make_nonce(here.app)
    first = visitor.collection("people").create(a="new", remote=remote, nonce=nonce)
    if not remote:
        visitor.discard(visitor.pending()[0].id)
    alice.adopt("anon:visitor", "user:alice")
    again = visitor.collection("people").create(a="new", nonce=nonce)
    assert (again.id == first.id) is remote
    assert [write.attributes["a"] for write in alice.pending()] == ["new"] * (not remote)  # type: ignore[index]
    assert [each["a"] for each in upstream.records["t1", "/people"].values()] == ["a1", "a2", *["new"] * remote]


def test_what_a_visitor_saved_is_not_undone_by_their_other_tab_after_the_log_in(
    process: Callable[[], Process], upstream: Upstream
):
    """Their applied writes stayed behind, so that a stale tab's record went out as it was before them."""
    here = process()
    visitor = here.owner("anon:visitor")
    tab, other = visitor.collection("pets").load(1), visitor.collection("pets").load(1)
    tab.save(a="mine")
    here.owner("user:alice").adopt("anon:visitor", "user:alice")
    other.save(b="too")
    here.owner("user:alice").sync()
    assert upstream.records["t1", "/pets"][1] == {"id": 1, "a": "mine", "b": "too"}


@pytest.mark.parametrize("fault", [None, "applied-cut"])
def test_a_form_sent_again_after_all_was_forgotten_has_its_first_key(
    process: Callable[[], Process], upstream: Upstream, fault: str | None
):
    """Its key was forgotten with its write, so that it was made twice."""
    here = process()
    alice, nonce = here.owner("user:alice"), make_nonce(here.app)
    upstream.faults += [] if fault is None else [fault]
    alice.collection("people").create(a="new", nonce=nonce)
    alice.forget("alice", pending=True)
    again = alice.collection("people").create(a="new", nonce=nonce)
    assert [each["id"] for each in upstream.records["t1", "/people"].values()] == [1, 2, again.id]


def test_what_was_adopted_lies_over_what_was_applied_since(process: Callable[[], Process]):
    """It is older than that, and was hidden by it until it was sent."""
    here = process()
    visitor, alice = here.owner("anon:visitor"), here.owner("user:alice")
    visitor.collection("pets").load(1).destroy(remote=False)
    visitor.collection("pets").load(2).save(a="mine", remote=False)
    for pet in alice.collection("pets").fetch():
        pet.save(b="hers")
    alice.adopt("anon:visitor", "user:alice")
    (shown,) = alice.collection("pets").fetch(remote=False)
    assert dict(shown) == {"id": 2, "a": "mine", "b": "hers"}


@pytest.mark.parametrize("hers_first", [True, False])
def test_what_was_adopted_does_not_undo_what_its_new_owner_applied(
    process: Callable[[], Process], upstream: Upstream, hers_first: bool
):
    """It went out as the whole record that the visitor had seen, though the page showed both edits."""
    here = process()
    visitor, alice = here.owner("anon:visitor"), here.owner("user:alice")
    mine, hers = visitor.collection("people").fetch()[0], alice.collection("people").fetch()[0]
    if hers_first:
        hers.save(b="hers")
    mine.save(a="mine", remote=False)
    if not hers_first:
        hers.save(b="hers")
    alice.adopt("anon:visitor", "user:alice")
    alice.sync()
    assert fields(upstream.records["t1", "/people"][1], "a", "b") == ["mine", "hers"]


def test_what_was_adopted_does_not_undo_what_others_edited_after_its_new_owner(
    process: Callable[[], Process], upstream: Upstream
):
    here = process()
    visitor, alice = here.owner("anon:visitor"), here.owner("user:alice")
    alice.collection("pets").load(1).save(a="hers")
    upstream.put(None, Place("t1", "/pets", 1), {"a": "theirs"})
    visitor.collection("pets").load(1).save(b="mine", remote=False)
    alice.adopt("anon:visitor", "user:alice")
    alice.sync()
    assert fields(upstream.records["t1", "/pets"][1], "a", "b") == ["theirs", "mine"]


def test_a_visitors_stale_tab_does_not_undo_what_their_account_applied_after_the_log_in(
    process: Callable[[], Process], upstream: Upstream, clock: Clock
):
    """It was put on what the visitor had applied before, where that was made after the account's write."""
    here = process()
    visitor, alice = here.owner("anon:visitor"), here.owner("user:alice")
    tab = visitor.collection("pets").load(1)
    alice.collection("pets").load(1).save(a="hers", remote=False)
    visitor.collection("pets").load(1).save(b="mine")
    alice.adopt("anon:visitor", "user:alice")
    clock.advance(1)
    alice.sync()
    tab.save(b="later")
    alice.sync()
    assert fields(upstream.records["t1", "/pets"][1], "a", "b") == ["hers", "later"]


def test_a_write_that_lost_its_reference_on_the_way_goes_out(alice: UserStorage, upstream: Upstream):
    """A stale tab's reference, which a later save had replaced, held the write back for good."""
    pets = alice.collection("pets")
    pet = pets.create(a="bad", remote=False)
    tab, other = alice.collection("people").load(1), alice.collection("people").load(1)
    tab.save(ref=pet.id, remote=False)
    other.save(ref=2)
    tab.save(b="mine")
    assert [write.kind for write in alice.pending()] == ["create"]
    assert fields(upstream.records["t1", "/people"][1], "b", "ref") == ["mine", 2]


def test_what_a_visitor_applied_hides_nothing_that_waits(process: Callable[[], Process]):
    here = process()
    visitor, alice = here.owner("anon:visitor"), here.owner("user:alice")
    alice.collection("pets").load(1).save(a="hers", remote=False)
    visitor.collection("pets").load(1).save(a="mine")
    alice.adopt("anon:visitor", "user:alice")
    assert alice.collection("pets").fetch(remote=False).pluck("a") == ["hers"]


def test_a_form_whose_write_joined_a_refused_head_gives_what_became_of_both(
    process: Callable[[], Process], upstream: Upstream
):
    """Sent again it said "discarded", of what waits or is upstream."""
    here = process()
    person, nonce = here.owner("user:alice").collection("people").load(1), make_nonce(here.app)
    upstream.faults.append("503")
    person.save(a="bad")
    person.save(b="new", remote=False, nonce=nonce)
    here.owner("user:alice").sync()
    again = here.owner("user:alice").collection("people").fetch(remote=False).get(1)
    assert again is not None
    assert again.save(b="new", nonce=nonce).dirty
    person.save(a="good")
    assert again.save(b="new", nonce=nonce).state == "applied"
    assert fields(upstream.records["t1", "/people"][1], "a", "b") == ["good", "new"]


def test_a_form_that_joined_another_write_after_its_own_was_withdrawn_is_remembered(
    process: Callable[[], Process], upstream: Upstream
):
    """Sent a third time it undid what was edited since."""
    here = process()
    people, nonce = here.owner("user:alice").collection("people"), make_nonce(here.app)
    refused = people.load(1)
    upstream.faults.append("500")
    with pytest.raises(UpstreamError):
        refused.save(a="form", nonce=nonce)
    people.load(1).save(b="other", remote=False)
    people.load(1).save(a="form", remote=False, nonce=nonce)
    people.load(1).save(a="later", remote=False)
    people.load(1).save(a="form", remote=False, nonce=nonce)
    assert people.load(1)["a"] == "later"


def test_a_delete_with_an_adopted_update_behind_it_can_be_refused(process: Callable[[], Process], upstream: Upstream):
    """Folding the two raised, so that every flush of the owner failed half-way."""
    here = process()
    visitor, alice = here.owner("anon:visitor"), here.owner("user:alice")
    visitor.collection("pets").load(1).save(a="mine", remote=False)
    alice.collection("pets").load(1).destroy(remote=False)
    alice.adopt("anon:visitor", "user:alice")
    upstream.faults.append("refused")
    alice.sync()
    assert alice.sync().applied == 1
    assert list(upstream.records["t1", "/pets"]) == [2]
    assert [(write.kind, write.state) for write in alice.pending()] == [("update", "rejected")]


def test_a_form_sent_again_behind_another_write_is_not_frozen_there(process: Callable[[], Process], upstream: Upstream):
    """There were two frozen writes in one lane, and the second one undid what the first one's answer told."""
    here = process()
    people, nonce = here.owner("user:alice").collection("people"), make_nonce(here.app)
    refused, head, again = (people.load(1) for _ in range(3))
    upstream.faults.extend(["500", "503"])
    with pytest.raises(UpstreamError):
        refused.save(a="head", b="form", nonce=nonce)
    head.save(a="head")
    again.save(a="head", b="form", remote=False, nonce=nonce)
    assert [write.frozen for write in here.engine.outbox.pending("user:alice")] == [True, False]
    here.owner("user:alice").sync()
    assert fields(upstream.records["t1", "/people"][1], "a", "b") == ["head", "form"]
