"""What belongs to an owner beside the writes: the counter, the epoch, aliases, nonces, heirs; and whose turn it is."""

from __future__ import annotations

import pytest

from flask_dualstorage.errors import OutboxFull
from flask_dualstorage.storage.outbox import Outbox, Used, request_digest
from flask_dualstorage.types import PENDING, UNSETTLED, Kind, State
from tests.contract.writes import ALICE, BOB, PEOPLE, a_write, applied, insert, pending_counter

TEMP_ID = "tmp-" + "a" * 32
EVE = "user:eve"


# --- counting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_the_counter_follows_every_change_of_a_write(outbox: Outbox, state: State):
    counted = int(state in PENDING)
    write = insert(outbox, state=state)
    assert pending_counter(outbox, ALICE) == counted
    with outbox.transaction(ALICE) as change:
        applied_ = change.update(write, write._replace(state=State.APPLIED, settled_seq=1))
    assert pending_counter(outbox, ALICE) == 0
    with outbox.transaction(ALICE) as change:
        change.update(applied_, write)
    assert pending_counter(outbox, ALICE) == counted
    with outbox.transaction(ALICE) as change:
        change.remove(write)
    assert pending_counter(outbox, ALICE) == 0


def test_the_counter_follows_a_discard_a_gift_and_an_erasure(outbox: Outbox):
    discarded, given, *_ = [insert(outbox, state=state) for state in PENDING]
    assert pending_counter(outbox, ALICE) == 5
    with outbox.transaction(ALICE) as change:
        change.discard(discarded, "never")
    assert pending_counter(outbox, ALICE) == 4
    with outbox.adoption(ALICE, BOB) as (alice, bob):
        alice.give(given, bob)
    assert (pending_counter(outbox, ALICE), pending_counter(outbox, BOB)) == (3, 1)
    with outbox.transaction(ALICE) as change:
        change.erase()
    assert pending_counter(outbox, ALICE) == sum(write.state is State.SENDING for write in outbox.pending(ALICE))
    assert pending_counter(outbox, BOB) == 1


def test_the_counter_is_right_within_one_transaction(outbox: Outbox):
    with outbox.transaction(ALICE) as change:
        write = change.insert(a_write())
        change.check_room(at_most=2)
        change.insert(a_write())
        with pytest.raises(OutboxFull, match=r"There are 2 changes waiting already.*DUALSTORAGE_MAX_PENDING"):
            change.check_room(at_most=2)
        change.remove(write)
        change.check_room(at_most=2)
    assert pending_counter(outbox, ALICE) == 1


def test_an_owners_full_outbox_leaves_room_for_others(outbox: Outbox):
    insert(outbox)
    with outbox.transaction(BOB) as change:
        change.check_room(at_most=1)


def test_counts_tell_how_many_of_each_state_and_since_when(outbox: Outbox):
    for store, state, created_at in [
        (PEOPLE, State.QUEUED, 3.5),
        (PEOPLE, State.QUEUED, 2.5),
        (PEOPLE, State.CONFLICT, 4.5),
        ("/notes", State.QUEUED, 1.5),
        ("/notes", State.LOCAL, 0.5),
    ]:
        insert(outbox, store=store, state=state, created_at=created_at)
    applied(outbox, insert(outbox))
    assert sorted(outbox.counts(ALICE)) == [
        ("/notes", State.QUEUED, 1, 1.5),
        (PEOPLE, State.CONFLICT, 1, 4.5),
        (PEOPLE, State.QUEUED, 2, 2.5),
    ]


def test_owners_are_those_with_something_pending(outbox: Outbox):
    insert(outbox, owner=BOB)
    insert(outbox, owner=ALICE, state=State.REJECTED)
    insert(outbox, owner="user:local", state=State.LOCAL)
    applied(outbox, insert(outbox, owner="user:done"))
    assert sorted(outbox.owners()) == [ALICE, BOB]


# --- the owner's row -----------------------------------------------------------------------------------------


def test_an_owner_without_a_row_has_an_empty_epoch_and_so_has_one_with_a_new_row(outbox: Outbox):
    """Copies made before the first write stay good."""
    assert (outbox.store_state(ALICE, PEOPLE, -1).epoch, outbox.store_state(ALICE, PEOPLE, -1).settled_seq) == ("", 0)
    insert(outbox)
    assert (outbox.store_state(ALICE, PEOPLE, -1).epoch, outbox.store_state(ALICE, PEOPLE, -1).settled_seq) == ("", 0)


def test_an_owner_without_writes_still_has_an_epoch(outbox: Outbox):
    with outbox.transaction(ALICE) as change:
        change.new_epoch()
        change.next_settled_seq()
    state = outbox.store_state(ALICE, PEOPLE, -1)
    assert (len(state.epoch), state.settled_seq, state.writes) == (32, 1, [])
    assert outbox.record_state(ALICE, PEOPLE, 7, -1) == state


def test_every_new_epoch_is_another_and_nobody_elses(outbox: Outbox):
    epochs = set()
    for _ in range(3):
        with outbox.transaction(ALICE) as change:
            change.new_epoch()
        epochs.add(outbox.store_state(ALICE, PEOPLE, -1).epoch)
    assert len(epochs) == 3
    assert outbox.store_state(BOB, PEOPLE, -1).epoch == ""


def test_settles_are_numbered_for_each_owner(outbox: Outbox):
    with outbox.transaction(ALICE) as change:
        assert [change.next_settled_seq(), change.next_settled_seq()] == [1, 2]
    with outbox.transaction(ALICE) as change:
        assert change.next_settled_seq() == 3
    with outbox.transaction(BOB) as change:
        assert change.next_settled_seq() == 1


# --- aliases and nonces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("real", [42, "42", "ü" * 255, 2**64 - 1])
def test_an_alias_is_kept_with_the_type_of_the_id(outbox: Outbox, real: int | str):
    with outbox.transaction(ALICE) as change:
        assert change.alias(TEMP_ID) is None
        change.add_alias(TEMP_ID, real)
        assert change.alias(TEMP_ID) == real
        assert change.aliases([TEMP_ID, "tmp-none"]) == {TEMP_ID: real}
    found = outbox.alias(ALICE, TEMP_ID)
    assert (found, type(found)) == (real, type(real))


def test_the_first_alias_stays(outbox: Outbox):
    """A second answer to one create with another id does not move what pages and other writes refer to."""
    with outbox.transaction(ALICE) as change:
        change.add_alias(TEMP_ID, 1)
        change.add_alias(TEMP_ID, 2)
    assert outbox.alias(ALICE, TEMP_ID) == 1


def test_a_nonce_is_known_by_owner_and_content(outbox: Outbox):
    write = insert(outbox)
    with outbox.transaction(ALICE) as change:
        change.add_nonce("n" * 64, "c" * 64, write.id, expires_at=2e9)
    with outbox.transaction(ALICE) as change:
        assert change.nonce("n" * 64, "c" * 64) == Used("n" * 64, "c" * 64, write.id, None, None, 2e9)
        assert change.nonce("n" * 64, "other") is None
        assert change.nonce("other", "c" * 64) is None
    with outbox.transaction(BOB) as change:
        assert change.nonce("n" * 64, "c" * 64) is None


def test_a_nonce_keeps_the_key_of_a_write_that_was_withdrawn(outbox: Outbox):
    write = insert(outbox, key="k1")
    other = insert(outbox, key="k2")
    with outbox.transaction(ALICE) as change:
        change.add_nonce("n", "c", write.id, expires_at=2e9)
        change.add_nonce("n", "d", other.id, expires_at=2e9)
        change.keep_key(write)
        change.remove(write)
    with outbox.transaction(ALICE) as change:
        assert change.nonce("n", "c") == Used("n", "c", write.id, "k1", request_digest(write), 2e9)
        assert change.nonce("n", "d") == Used("n", "d", other.id, None, None, 2e9)


# --- heirs ---------------------------------------------------------------------------------------------------


def test_a_transaction_follows_to_the_heir(outbox: Outbox):
    """Where the storage was adopted, later writes are the adopter's, along a chain of adopters too."""
    for first, heir in ((ALICE, BOB), (BOB, EVE)):
        with outbox.transaction(first) as change:
            change.heir = heir
    with outbox.transaction(ALICE) as change:
        assert change.owner == EVE
        change.insert(a_write(owner=change.owner))
        change.next_settled_seq()
    assert outbox.pending(ALICE) == outbox.pending(BOB) == []
    assert len(outbox.pending(EVE)) == 1
    assert outbox.store_state(EVE, PEOPLE, -1).settled_seq == 1
    assert outbox.owners() == [EVE]


def test_a_transaction_need_not_follow(outbox: Outbox):
    with outbox.transaction(ALICE) as change:
        change.heir = BOB
    with outbox.transaction(ALICE, follow=False) as change:
        assert (change.owner, change.heir) == (ALICE, BOB)
        change.new_epoch()
    assert outbox.store_state(ALICE, PEOPLE, -1).epoch != ""
    assert outbox.store_state(BOB, PEOPLE, -1).epoch == ""


def test_an_adoption_is_of_these_two_whoever_their_heirs_are(outbox: Outbox):
    with outbox.transaction(ALICE) as change:
        change.heir = EVE
    with outbox.adoption(ALICE, BOB) as (first, second):
        assert (first.owner, first.heir, second.owner) == (ALICE, EVE, BOB)
        first.heir = BOB
    with outbox.transaction(ALICE) as change:
        assert change.owner == BOB


def test_what_is_given_moves_as_it_is(outbox: Outbox):
    write = insert(outbox, key="k", state=State.IN_DOUBT, kind=Kind.CREATE, record_id=TEMP_ID)
    with outbox.adoption(ALICE, BOB) as (alice, bob):
        assert alice.give(write, bob) == write._replace(owner=BOB)
    assert outbox.pending(ALICE) == []
    assert outbox.pending(BOB) == [write._replace(owner=BOB)]


def test_names_are_given_too(outbox: Outbox):
    write = insert(outbox, key="k")
    with outbox.transaction(ALICE) as change:
        change.add_alias(TEMP_ID, 42)
        change.add_nonce("n", "c", write.id, expires_at=2e9)
        change.keep_key(write)
    with outbox.adoption(ALICE, BOB) as (alice, bob):
        alice.give_names(bob)
    assert (outbox.alias(ALICE, TEMP_ID), outbox.alias(BOB, TEMP_ID)) == (None, 42)
    with outbox.adoption(ALICE, BOB) as (alice, bob):
        assert (alice.nonce("n", "c"), bob.nonce("n", "c")) == (
            None,
            Used("n", "c", write.id, "k", request_digest(write), 2e9),
        )


def test_a_form_that_both_have_sent_stays_the_heirs(outbox: Outbox):
    theirs, mine = insert(outbox), insert(outbox, owner=BOB)
    with outbox.adoption(ALICE, BOB) as (alice, bob):
        alice.add_nonce("n", "c", theirs.id, expires_at=2e9)
        bob.add_nonce("n", "c", mine.id, expires_at=2e9)
    with outbox.adoption(ALICE, BOB) as (alice, bob):
        alice.give_names(bob)
        assert (alice.nonce("n", "c"), bob.nonce("n", "c")) == (None, Used("n", "c", mine.id, None, None, 2e9))


def test_a_failed_adoption_changes_neither(outbox: Outbox):
    write = insert(outbox)

    def fail() -> None:
        with outbox.adoption(ALICE, BOB) as (alice, bob):
            alice.give(write, bob)
            alice.heir = BOB
            bob.new_epoch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert outbox.pending(ALICE) == [write]
    assert outbox.store_state(BOB, PEOPLE, -1).epoch == ""
    assert (pending_counter(outbox, ALICE), pending_counter(outbox, BOB)) == (1, 0)


# --- erasing, pruning, waiting -------------------------------------------------------------------------------


def test_erasing_leaves_only_what_is_being_sent(outbox: Outbox):
    for state in (*PENDING, State.LOCAL):
        insert(outbox, state=state)
    applied(outbox, insert(outbox))
    gone = insert(outbox)
    theirs = insert(outbox, owner=BOB)
    with outbox.transaction(ALICE) as change:
        change.discard(gone, "never")
        change.erase()
    assert [write.state for write in outbox.pending(ALICE)] == [State.SENDING]
    assert len(outbox.store_state(ALICE, PEOPLE, -1).writes) == 1
    assert outbox.write(ALICE, gone.id) is None
    assert outbox.pending(BOB) == [theirs]


def test_pruning_takes_what_was_settled_before_and_nonces_that_expired(outbox: Outbox):
    """What a form made stays as long as the form is known: sent again it is told by that."""
    old, new, dropped, by_form = (applied(outbox, insert(outbox)) for _ in range(4))
    waiting, local = insert(outbox), insert(outbox, state=State.LOCAL)
    theirs = applied(outbox, insert(outbox, owner=BOB))
    with outbox.transaction(ALICE) as change:
        now = change.now
        change.update(old, old._replace(settled_at=now - 100.0))
        change.update(dropped, dropped._replace(state=State.DISCARDED, settled_seq=-1, settled_at=now - 100.0))
        change.add_nonce("old", "c", old.id, expires_at=now - 1.0)
        change.add_nonce("new", "c", new.id, expires_at=now + 100.0)
        change.update(by_form, by_form._replace(settled_at=now - 100.0))
        change.add_nonce("form", "c", by_form.id, expires_at=now + 100.0)
        change.prune(now - 50.0)
    assert [write.id for write in outbox.store_state(ALICE, PEOPLE, -1).writes] == [
        write.id for write in (new, by_form, waiting, local)
    ]
    assert outbox.write(ALICE, dropped.id) is None
    assert outbox.write(BOB, theirs.id) == theirs
    with outbox.transaction(ALICE) as change:
        assert change.nonce("old", "c") is None
        assert change.nonce("new", "c") is not None


def test_postponing_holds_what_waits_for_that_upstream(outbox: Outbox):
    queued, doubtful, later = insert(outbox), insert(outbox, state=State.IN_DOUBT), insert(outbox, retry_after=900.0)
    for fields in ({"state": State.SENDING}, {"upstream": "billing"}, {"owner": BOB}):
        insert(outbox, **fields)
    applied(outbox, insert(outbox))
    with outbox.transaction(ALICE) as change:
        change.postpone("default", 500.0)
    waits = {write.id: write.retry_after for write in [*outbox.pending(ALICE), *outbox.pending(BOB)]}
    assert waits.pop(queued.id) == waits.pop(doubtful.id) == 500.0
    assert waits.pop(later.id) == 900.0
    assert set(waits.values()) == {0.0}


def test_postponing_holds_what_is_made_afterwards_too(outbox: Outbox):
    """The upstream asked to wait until then, whatever comes meanwhile."""
    until = outbox.now() + 500.0
    with outbox.transaction(ALICE) as change:
        change.postpone("default", until)
    held = insert(outbox)
    free = [insert(outbox, upstream="billing"), insert(outbox, owner=BOB), insert(outbox, state=State.LOCAL)]
    assert held.retry_after == until
    assert [write.retry_after for write in free] == [0.0] * 3
    assert outbox.pending(ALICE)[0] == held


@pytest.mark.parametrize(
    ("state", "fields", "due"),
    [
        (State.QUEUED, {"not_before": -1.0}, True),
        (State.QUEUED, {"not_before": 0.0}, True),
        (State.QUEUED, {"not_before": 99.0}, False),
        (State.QUEUED, {"not_before": None}, False),
        (State.QUEUED, {"not_before": 0.0, "retry_after": 99.0}, False),
        (State.QUEUED, {"not_before": 0.0, "retry_after": -1.0}, True),
        (State.IN_DOUBT, {"not_before": 0.0}, True),
        (State.IN_DOUBT, {"not_before": 99.0}, False),
        (State.IN_DOUBT, {"not_before": None}, False),
        (State.SENDING, {"lease": -1.0}, True),
        (State.SENDING, {"lease": 99.0}, False),
        (State.CONFLICT, {"not_before": None}, False),
        (State.REJECTED, {"not_before": None}, False),
        (State.LOCAL, {"not_before": None}, False),
        (State.APPLIED, {"not_before": 0.0, "settled_seq": 1}, False),
    ],
)
def test_whose_writes_are_due(outbox: Outbox, state: State, fields: dict[str, float | None], due: bool):
    """Times are relative to the outbox's own clock."""
    now = outbox.now()
    settled = {"settled_seq": fields.get("settled_seq", UNSETTLED)}
    times = {name: value and now + value for name, value in fields.items() if name != "settled_seq"}
    times |= {name: now for name, value in fields.items() if value == 0.0}
    for _ in range(2):
        insert(outbox, **{"not_before": None, **times, **settled}, state=state)
    assert outbox.due_owners() == ([ALICE] if due else [])
