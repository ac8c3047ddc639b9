"""What goes into the outbox comes out as it was, in order, and only for its owner."""

from __future__ import annotations

from typing import Any

import pytest

from flask_dualstorage.errors import ValidationFailed
from flask_dualstorage.storage.outbox import Outbox
from flask_dualstorage.storage.schema import MAX_STORE
from flask_dualstorage.types import UNSETTLED, Kind, State, Write
from tests.contract.writes import ALICE, BOB, PEOPLE, a_write, applied, insert, pending_counter

#: Every column with a value that some database might not hold.
FULL: dict[str, Any] = {
    "collection": "people " + "é" * 50,
    "store": "/people/ü/%F0%9F%90%8D" + "x" * 490,
    "url": "/people/" + "x" * 3000,
    "params": {"person_id": 7, "slug": "7"},
    "upstream": "billing",
    "record_id": "ñ" * 255,
    "kind": Kind.CREATE,
    "state": State.SENDING,
    "attributes": {"größe": 2**64 - 1, "least": -(2**63), "snake": "🐍\0\n'\"%s%%\\", "pi": 0.1, "none": None},
    "base": {"nested": [{"deep": [True, False, 1, 1.0, ""]}], "": {}},
    "validator": '"ä%s\\"',
    "patch": True,
    "refers": True,
    "edits": 3,
    "created_at": 1_700_000_000.123456,
    "attempts": 7,
    "fence": 9,
    "not_before": 1_700_000_001.25,
    "retry_after": 1_700_000_002.5,
    "lease": 1_700_000_003.75,
    "key": "k" * 64,
    "key_since": 1_700_000_004.125,
    "may_have_arrived": True,
    "key_stays": True,
    "doubts": 3,
    "method": "PATCH",
    "path": "/people/" + "%25" * 1000,
    "body": bytes(range(256)) * 10,
    "reason": "Größe: 🐍 %s " + "x" * 2000,
    "problem": {"title": "Nö", "status": 422, "errors": [{"detail": "too\0long"}]},
    "theirs": {"id": 7, "list": [None]},
    "settled_seq": 2**40,
    "settled_at": 1_700_000_005.625,
}


def test_the_cases_name_every_column_there_is():
    assert len(FULL["store"]) == MAX_STORE
    assert set(Write._fields) == set(FULL) | {"id", "seq", "owner"}


def test_every_column_comes_back_as_it_was(outbox: Outbox):
    write = insert(outbox, **FULL)
    assert outbox.write(ALICE, write.id) == write
    for name, value in FULL.items():
        assert getattr(write, name) == value, name


def test_writes_change_places_among_themselves(outbox: Outbox):
    """Each keeps all that it is, and those of other records keep their place."""
    one, two, three = (
        insert(outbox, **FULL | {"state": state}) for state in (State.QUEUED, State.QUEUED, State.SENDING)
    )
    with outbox.transaction(ALICE) as change:
        moved = change.reorder([three, one])
    assert moved == [three._replace(seq=one.seq), one._replace(seq=three.seq)]
    assert [outbox.write(ALICE, write.id) for write in (one, three)] == [moved[1], moved[0]]
    assert insert(outbox).seq > three.seq
    assert outbox.write(ALICE, two.id) == two
    assert pending_counter(outbox, ALICE) == 4


@pytest.mark.parametrize("name", ["attributes", "base", "validator", "not_before", "key", "method", "path", "body"])
def test_nothing_stays_nothing(outbox: Outbox, name: str):
    write = insert(outbox, **{name: None})
    found = outbox.write(ALICE, write.id)
    assert found == write
    assert getattr(found, name) is None


@pytest.mark.parametrize("empty", [{"attributes": {}}, {"base": {}}, {"body": b""}, {"reason": ""}, {"record_id": ""}])
def test_empty_is_not_nothing(outbox: Outbox, empty: dict[str, Any]):
    write = insert(outbox, **empty)
    found = outbox.write(ALICE, write.id)
    assert found is not None
    assert {name: getattr(found, name) for name in empty} == empty


def test_a_megabyte_fits_in_a_record(outbox: Outbox):
    long = {"id": 7, "text": "ü" * 500_000}
    write = insert(outbox, attributes=long, base=long, theirs=long)
    assert outbox.write(ALICE, write.id) == write


def test_a_reason_with_a_nul_is_kept_without_it(outbox: Outbox):
    """A reason may quote the upstream, and PostgreSQL's text has no NUL: settling must not fail for that."""
    write = insert(outbox, reason="bad\0name")
    found = outbox.write(ALICE, write.id)
    assert found is not None
    assert found.reason == "bad\N{REPLACEMENT CHARACTER}name"


@pytest.mark.parametrize(
    "record_id", [42, "42", 0, -1, 2**63 - 1, -(2**63), 2**64 - 1, "007", "1e3", "tmp-" + "a" * 32]
)
def test_an_id_keeps_its_type_and_is_found_by_its_text(outbox: Outbox, record_id: int | str):
    write = insert(outbox, record_id=record_id)
    for asked in (record_id, str(record_id)):
        [found] = outbox.record_state(ALICE, PEOPLE, asked, -1).writes
        assert (found.record_id, type(found.record_id)) == (record_id, type(record_id))
        with outbox.transaction(ALICE) as change:
            assert change.lane(PEOPLE, asked) == [write]


#: Texts that are not the same, though a database's collation, or Unicode, might think so.
LOOK_ALIKE = [
    "alice",
    "alice ",
    " alice",
    "ALICE",
    "Alice",
    "álice",
    "a\u0301lice",
    "al\u0131ce",
    "alic",
    "alice\t",
    "ß",
    "ss",
]


def test_owners_that_look_alike_are_different_owners(outbox: Outbox):
    for name in LOOK_ALIKE:
        insert(outbox, owner=f"user:{name}", attributes={"mine": name})
        with outbox.transaction(f"user:{name}") as change:
            change.add_alias("tmp-1", name)
            change.add_nonce("n", "c", name, expires_at=5.0)
    for name in LOOK_ALIKE:
        owner = f"user:{name}"
        assert [write.attributes for write in outbox.pending(owner)] == [{"mine": name}]
        assert [write.attributes for write in outbox.store_state(owner, PEOPLE, -1).writes] == [{"mine": name}]
        assert outbox.alias(owner, "tmp-1") == name
        with outbox.transaction(owner) as change:
            used = change.nonce("n", "c")
        assert used is not None
        assert used.write_id == name
    assert sorted(outbox.owners()) == sorted(f"user:{name}" for name in LOOK_ALIKE)


def test_records_that_look_alike_are_different_records(outbox: Outbox):
    for name in LOOK_ALIKE:
        insert(outbox, record_id=name)
    for name in LOOK_ALIKE:
        [found] = outbox.record_state(ALICE, PEOPLE, name, -1).writes
        assert found.record_id == name


def test_stores_that_look_alike_are_different_stores(outbox: Outbox):
    for name in LOOK_ALIKE:
        insert(outbox, store=f"/{name}")
    for name in LOOK_ALIKE:
        [found] = outbox.store_state(ALICE, f"/{name}", -1).writes
        assert found.store == f"/{name}"


def test_writes_come_in_the_order_they_were_made(outbox: Outbox):
    made = [insert(outbox, record_id=number % 3) for number in range(12)]
    assert [write.seq for write in made] == sorted({write.seq for write in made})
    assert outbox.pending(ALICE) == made
    assert outbox.store_state(ALICE, PEOPLE, -1).writes == made
    with outbox.transaction(ALICE) as change:
        assert change.pending() == made
        assert change.everything() == made
        assert change.lane(PEOPLE, 1) == made[1::3]


def test_a_number_is_never_used_again(outbox: Outbox):
    last = insert(outbox)
    with outbox.transaction(ALICE) as change:
        change.remove(last)
    assert insert(outbox).seq > last.seq


def test_no_read_gives_another_owners_write(outbox: Outbox):
    theirs = insert(outbox, owner=BOB, kind=Kind.CREATE, refers=True, record_id="tmp-" + "a" * 32)
    with outbox.transaction(BOB) as change:
        change.add_alias("tmp-1", 1)
    assert outbox.write(ALICE, theirs.id) is None
    assert outbox.pending(ALICE) == []
    assert outbox.counts(ALICE) == []
    assert outbox.store_state(ALICE, PEOPLE, -1).writes == []
    assert outbox.record_state(ALICE, PEOPLE, theirs.record_id, -1).writes == []
    assert outbox.alias(ALICE, "tmp-1") is None
    with outbox.transaction(ALICE) as change:
        assert change.find(theirs.id) is None
        with pytest.raises(LookupError, match=theirs.id):
            change.get(theirs.id)
        assert change.lane(PEOPLE, theirs.record_id) == []
        assert change.pending() == change.everything() == change.referring() == []
        assert change.made(str(theirs.record_id)) is None
        assert change.aliases(["tmp-1"]) == {}
        assert not change.has_under("")


def test_an_update_rewrites_all_but_where_a_write_belongs(outbox: Outbox):
    write = insert(outbox)
    changed = write._replace(**{name: value for name, value in FULL.items() if name not in ("collection", "upstream")})
    with outbox.transaction(ALICE) as change:
        assert change.update(write, changed) == changed
    assert outbox.write(ALICE, write.id) == changed._replace(created_at=write.created_at)


def test_a_store_whose_name_does_not_fit_is_refused_before_anything_is_stored(outbox: Outbox):
    with pytest.raises(ValidationFailed, match="store: its name has 513 characters, and a store at most 512"):
        insert(outbox, store="x" * 513)
    assert outbox.pending(ALICE) == []


def test_an_error_leaves_nothing_behind(outbox: Outbox):
    """Rollback: the row, the counter, the epoch, aliases and nonces are as before, and the connection still works."""
    kept = insert(outbox)
    before = outbox.store_state(ALICE, PEOPLE, -1)

    def fail() -> None:
        with outbox.transaction(ALICE) as change:
            change.insert(a_write())
            change.discard(kept, "never")
            change.new_epoch()
            change.next_settled_seq()
            change.heir = BOB
            change.add_alias("tmp-1", 1)
            change.add_nonce("n", "c", kept.id, expires_at=5.0)
            raise KeyError("something of the app's")

    with pytest.raises(KeyError):
        fail()
    assert outbox.store_state(ALICE, PEOPLE, -1) == before
    assert outbox.alias(ALICE, "tmp-1") is None
    with outbox.transaction(ALICE) as change:
        assert change.owner == ALICE
        assert change.nonce("n", "c") is None
        assert change.pending() == [kept]
        change.check_room(at_most=2)


def test_an_error_in_a_first_transaction_leaves_no_owner(outbox: Outbox):
    with pytest.raises(KeyError), outbox.transaction(ALICE) as change:  # noqa: PT012  # both are one line of an app
        change.new_epoch()
        raise KeyError
    assert outbox.store_state(ALICE, PEOPLE, -1).epoch == ""


def test_a_store_shows_what_was_settled_since_and_all_that_is_not(outbox: Outbox):
    first, second = (applied(outbox, insert(outbox, record_id=number)) for number in (1, 2))
    waiting = insert(outbox, record_id=3)
    local = insert(outbox, record_id=4, state=State.LOCAL)
    assert (first.settled_seq, second.settled_seq) == (1, 2)
    assert waiting.settled_seq == UNSETTLED
    for since, seen in [
        (-1, [first, second, waiting, local]),
        (0, [first, second, waiting, local]),
        (1, [second, waiting, local]),
        (2, [waiting, local]),
        (UNSETTLED - 1, [waiting, local]),
    ]:
        state = outbox.store_state(ALICE, PEOPLE, since)
        assert state.writes == seen
        assert state.settled_seq == 2


def test_a_records_state_is_its_stores_cut_down_to_it(outbox: Outbox):
    settled, waiting = applied(outbox, insert(outbox, record_id=1)), insert(outbox, record_id=1)
    insert(outbox, record_id=2)
    assert outbox.record_state(ALICE, PEOPLE, 1, -1).writes == [settled, waiting]
    assert outbox.record_state(ALICE, PEOPLE, 1, 1).writes == [waiting]
    with outbox.transaction(ALICE) as change:
        assert change.lane(PEOPLE, 1) == [waiting]
        assert change.lane(PEOPLE, 1, since=0) == [settled, waiting]


def test_a_discarded_write_is_history_alone(outbox: Outbox):
    write = insert(outbox, key="k", not_before=3.0)
    with outbox.transaction(ALICE) as change:
        gone = change.discard(write, "Taken back.")
    assert (gone.state, gone.reason, gone.key, gone.not_before) == (State.DISCARDED, "Taken back.", None, None)
    assert outbox.write(ALICE, write.id) == gone
    assert outbox.store_state(ALICE, PEOPLE, -1).writes == outbox.pending(ALICE) == []
    with outbox.transaction(ALICE) as change:
        assert change.everything() == change.lane(PEOPLE, 7, since=-1) == []


@pytest.mark.parametrize("state", State)
def test_a_fetch_is_held_by_what_waits_and_by_nothing_else(outbox: Outbox, state: State):
    insert(outbox, state=state)
    held = outbox.store_state(ALICE, PEOPLE, -1).waiting
    assert held is (state in (State.QUEUED, State.SENDING, State.IN_DOUBT))


def test_a_create_is_found_by_the_temporary_id_it_made(outbox: Outbox):
    temp_id = "tmp-" + "a" * 32
    insert(outbox, record_id=temp_id, kind=Kind.UPDATE)
    create = insert(outbox, record_id=temp_id, kind=Kind.CREATE, store="/notes")
    with outbox.transaction(ALICE) as change:
        assert change.made(temp_id) == create
        gone = change.discard(create, "never mind")
        assert change.made(temp_id) == gone


def test_what_refers_to_a_temporary_id_is_found(outbox: Outbox):
    insert(outbox, refers=False)
    refers = insert(outbox, refers=True)
    applied(outbox, insert(outbox, refers=True))
    with outbox.transaction(ALICE) as change:
        assert change.referring() == [refers]


@pytest.mark.parametrize(
    ("url", "path", "under"),
    [
        ("/people/7/notes", "/people/7", True),
        ("/people/7/notes/3/tags", "/people/7", True),
        ("/people/7", "/people/7", False),
        ("/people/77/notes", "/people/7", False),
        ("/people/7/notes", "/people/77", False),
        ("/people/axb/notes", "/people/a_b", False),
        ("/people/a_b/notes", "/people/a_b", True),
        ("/people/a%20b/notes", "/people/a%20b", True),
        ("/people/a120b/notes", "/people/a%20b", False),
        ("/people/a!b/notes", "/people/a!b", True),
        ("/people/a!b/notes", "/people/ab", False),
        ("/people/a%_!b/notes", "/people/a%_!b", True),
        ("/people/a\\b/notes", "/people/a\\b", True),
        ("/PEOPLE/7/notes", "/people/7", False),
    ],
)
def test_what_waits_under_a_record_holds_its_delete(outbox: Outbox, url: str, path: str, under: bool):
    insert(outbox, url=url)
    with outbox.transaction(ALICE) as change:
        assert change.has_under(path) is under


@pytest.mark.parametrize("state", [State.APPLIED, State.LOCAL])
def test_what_does_not_wait_holds_no_delete(outbox: Outbox, state: State):
    write = insert(outbox, url="/people/7/notes", state=state)
    if state is State.APPLIED:
        applied(outbox, write)
    with outbox.transaction(ALICE) as change:
        assert not change.has_under("/people/7")
