"""The state machine of DESIGN §10: everything that may happen to one outbox, in any order, and what must hold.

Two processes share an outbox file, each with a cache of its own. Three owners edit in several tabs: Model objects
that may be out of date. The upstream is ``tests.machine.upstream``; what was promised is in ``tests.machine.ledger``.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flask_dualstorage.errors import (
    NotCached,
    OutboxFull,
    RecordGone,
    Rejected,
    UpstreamError,
    UpstreamUnreachable,
    ValidationFailed,
    WriteBusy,
)
from flask_dualstorage.model import Model, WriteResult
from flask_dualstorage.policy.planning import Plan
from flask_dualstorage.policy.references import is_temp_id, waits_for
from flask_dualstorage.sync.flush import Flush
from flask_dualstorage.sync.jobs import Job, run
from flask_dualstorage.tokens import check_nonce, make_nonce
from flask_dualstorage.types import PENDING, Kind, Outcome, State, Write
from tests.machine.ledger import FIELDS, Ledger, Ref, Wanted, check_acyclic, check_lanes, is_stuck
from tests.machine.processes import InLine, Process, new_folder, remove
from tests.machine.upstream import (
    FAULTS_AFTER,
    FAULTS_BEFORE,
    TENANTS,
    Crash,
    Place,
    Upstream,
)
from tests.whole import Clock

ALICE, VISITOR, BOB = OWNERS = ("user:alice", "anon:visitor", "user:bob")
#: Alice does most: what happens to one owner's lanes is what there is to find.
owners = st.sampled_from((ALICE, ALICE, VISITOR, BOB))
kinds = st.sampled_from(("people", "people", "notes", "pets"))
processes = st.integers(0, 1)
#: Picks one of what there is, whatever there is.
choice = st.integers(0, 11)
often = st.sampled_from((True, True, True, False))
seldom = st.sampled_from((False, False, False, False, True))
#: More than the tests' deadline (5 s) with the grace of a lease; more than any wait that is asked for.
waits = st.sampled_from((1, 16, 40, 400))
TABS = 8


@dataclass
class Tab:
    """A Model that somebody has open, and whose it is."""

    process: Process
    owner: str
    model: Model
    ref: Ref


@dataclass
class Form:
    """A form with a nonce, as it was sent: what it said, what it made."""

    owner: str
    kind: Kind
    ref: Ref
    given: dict[str, Any]
    nonce: str
    #: Of an update, as the form knew it; one of another record is another form to the app.
    record_id: str | None = None
    accepted: bool = False


@dataclass
class Sending:
    """A write that a worker claimed: sent or not, with its answer or without."""

    process: Process
    flush: Flush
    job: Job
    lease: float
    outcome: Outcome | None = None


class TickingClock(Clock):
    """No two transactions have the very same time: where one owner took another's over, the clock tells their order."""

    def __call__(self) -> float:
        self.now += 1e-5
        return self.now


class Machine(RuleBasedStateMachine):
    """The rules and the invariants; ``honours`` says whether the upstream honours idempotency keys."""

    honours = True

    def __init__(self) -> None:
        super().__init__()
        self.patches = ExitStack()
        self.patches.enter_context(mock.patch("flask_dualstorage.sync.senders.ThreadPoolExecutor", InLine))
        self.folder = new_folder()
        self.clock = TickingClock()
        self.ledger = Ledger()
        self.upstream = self.ledger.upstream = Upstream(self.honours, self.ledger)
        for tenant in ("t1", "t2"):
            for number in (1, 2):
                body = {"a": f"{tenant} a{number}", "b": f"{tenant} b{number}"}
                self.upstream.create(None, tenant, "/people", body, number)
                self.upstream.create(None, tenant, "/pets", {**body, "ref": number}, number)
            self.upstream.create(None, tenant, "/people/1/notes", {"a": f"{tenant} note", "b": ""}, 11)
        for ref in self.ledger.refs:
            ref.risky = False
        self.processes = [self._new_process(), self._new_process()]
        self.tabs: deque[Tab] = deque(maxlen=TABS)
        self.forms: deque[Form] = deque(maxlen=4)
        self.sendings: list[Sending] = []
        self.exempt: set[tuple[str, str]] = set()
        self.crashed: list[Process] = []
        self.disturbed = False
        self.in_an_interlude = False
        self.steps = 0

    def _new_process(self) -> Process:
        return Process(self.folder, self.clock, self.upstream)

    def teardown(self) -> None:
        """Heal everything, flush, and see that nothing is left that could go."""
        try:
            if sys.exc_info()[0] is None:  # else a rule or an invariant failed, and is what to look at
                self.check_that_it_settles_down()
        finally:
            for process in self.processes:
                process.close()
            self.patches.close()
            remove(self.folder)

    # --- what people do ------------------------------------------------------------------------------------------

    @initialize()
    def open_the_list(self) -> None:
        self.fetch(ALICE, 0, "people", 0, None)

    @rule(owner=owners, process=processes, kind=kinds, parent=choice, when_dirty=st.sampled_from((None, "rebase")))
    def fetch(self, owner: str, process: int, kind: str, parent: int, when_dirty: str | None) -> None:
        above = self._parent(owner, kind, parent)
        here = self.processes[process]
        collection = self._collection(here, owner, kind, above)
        found = self._read(here, lambda: collection.fetch(when_dirty=when_dirty))
        if found is None:
            return
        pending = self._pending(owner)
        shown = [dict(model) for model in collection]
        url = collection._declare().url
        # What happened while the answer was on its way may be in it or not.
        if not self.disturbed:
            self.ledger.check_view(owner, url, shown, pending)
            if collection.source == "upstream":
                self._check_equal(owner, url, shown, pending)
        for model in collection:
            self.tabs.append(Tab(here, owner, model, self.ledger.find(TENANTS[owner], url, model.id)))

    @rule(owner=owners, process=processes, which=choice, temporary=st.booleans())
    def load(self, owner: str, process: int, which: int, temporary: bool) -> None:
        ref = self._pick([ref for ref in self._known_to(owner) if not ref.dead], which)
        if ref is None:
            return
        here = self.processes[process]
        collection = self._collection(here, owner, ref.kind, ref.parent)
        model = self._read(here, lambda: collection.load(self._id_of(owner, ref, temporary)))
        if model is None:
            return
        if not self.disturbed:
            url = collection._declare().url
            lane = [write for write in self._pending(owner) if self.ledger.ref_of(write) is ref]
            self.ledger.check_record(owner, self.ledger.find(TENANTS[owner], url, model.id), dict(model), lane)
            if model.freshness.source == "upstream" and not lane and ref.place is not None:
                assert dict(model) == self.upstream.here(ref.place)
        self.tabs.append(Tab(here, owner, model, ref))

    @rule(
        owner=owners,
        process=processes,
        kind=kinds,
        parent=choice,
        other=choice,
        remote=often,
        nonce=st.booleans(),
        bad=seldom,
    )
    def create(
        self, owner: str, process: int, kind: str, parent: int, other: int, remote: bool, nonce: bool, bad: bool
    ) -> None:
        above = self._parent(owner, kind, parent)
        here = self.processes[process]
        given = {"a": self.ledger.new_value(owner, bad=bad), "b": "", **self._reference(owner, kind, other)}
        ref = self.ledger.ref(TENANTS[owner], kind, above)
        form = Form(owner, Kind.CREATE, ref, given, make_nonce(here.app))
        self._create(here, form, remote=remote, nonce=form.nonce if nonce else None)
        if nonce:
            self.forms.append(form)

    @precondition(lambda self: self.tabs)
    @rule(
        tab=choice,
        name=st.sampled_from("ab"),
        patch=st.booleans(),
        remote=often,
        nonce=st.booleans(),
        bad=seldom,
    )
    def save_one_field(self, tab: int, name: str, patch: bool, remote: bool, nonce: bool, bad: bool) -> None:
        chosen = self._tab(tab)
        self._save(chosen, {name: self.ledger.new_value(chosen.owner, bad=bad)}, patch=patch, remote=remote, form=nonce)

    @precondition(lambda self: self.tabs)
    @rule(tab=choice, remote=often, other=choice)
    def save_all_fields(self, tab: int, remote: bool, other: int) -> None:
        chosen = self._tab(tab)
        given = {name: self.ledger.new_value(chosen.owner) for name in "ab"}
        given |= self._reference(chosen.owner, chosen.ref.kind, other)
        self._save(chosen, given, patch=False, remote=remote, form=False)

    @precondition(lambda self: self.tabs)
    @rule(tab=choice, name=st.sampled_from("ab"), which=choice, remote=often)
    def undo(self, tab: int, name: str, which: int, remote: bool) -> None:
        """Set a field to what it was before."""
        chosen = self._tab(tab)
        before = [record for place in chosen.ref.made for record in self.upstream.history[place] if record is not None]
        record = self._pick(before, which)
        if record is not None and name in record:
            self._save(chosen, {name: record[name]}, patch=False, remote=remote, form=False)

    @precondition(lambda self: self.tabs)
    @rule(tab=choice, remote=often)
    def destroy(self, tab: int, remote: bool) -> None:
        chosen = self._tab(tab)
        # Deleted under its real id while its create is in doubt: to the app that one is another record, and stays.
        chosen.ref.contested |= not is_temp_id(chosen.model.id) and self._waits_to_be_made(chosen.ref)
        order = self.ledger.intend(chosen.owner, chosen.ref, {})
        pending = {write.id: write for write in self._pending(self.ledger.heir(chosen.owner))}
        done, result = self._write(chosen.process, chosen.ref, lambda: chosen.model.destroy(remote=remote))
        if not done:
            return
        self.ledger.accepted(chosen.owner, chosen.ref, Kind.DELETE, {}, order)
        if isinstance(result, WriteResult):
            gone = [pending[each] for each in result.discarded if each in pending]
            others = [write for write in gone if self.ledger.ref_of(write) is not chosen.ref]
            self._given_up(self.ledger.heir(chosen.owner), others)

    @precondition(lambda self: self.forms)
    @rule(form=choice, process=processes, remote=often)
    def send_a_form_again(self, form: int, process: int, remote: bool) -> None:
        """Double-clicked, reloaded, or sent again after a refusal, or after what it made was given up."""
        chosen = self.forms[form % len(self.forms)]
        if chosen.accepted and self._was_discarded(chosen):
            self._made_anew(chosen)
            if chosen.kind is Kind.CREATE:
                # A tab that still shows the one that was taken back knows it by an id that stays refused.
                self._close_tabs_of({chosen.ref})
        here = self.processes[process]
        if chosen.kind is Kind.CREATE:
            if chosen.ref.parent is None or not self.ledger.is_given_up(
                self.ledger.heir(chosen.owner), chosen.ref.parent
            ):
                self._create(here, chosen, remote=remote, nonce=chosen.nonce)
            return
        collection = self._collection(here, chosen.owner, chosen.ref.kind, chosen.ref.parent)
        collection.fetch(remote=False)
        model = collection.get(self._id_of(chosen.owner, chosen.ref, False))
        if model is not None:
            self._save(
                Tab(here, chosen.owner, model, chosen.ref), chosen.given, patch=False, remote=remote, form=chosen
            )

    # --- what workers do -----------------------------------------------------------------------------------------

    @precondition(lambda self: any(map(self._pending, OWNERS)))
    @rule(owner=owners, process=processes, explicit=often)
    def sync(self, owner: str, process: int, explicit: bool) -> None:
        here = self.processes[process]
        if explicit:
            self._survive(here, here.owner(owner).sync)
        else:
            self._survive(here, Flush(here.engine, owner, explicit=False).run)

    @precondition(lambda self: any(map(self._pending, OWNERS)))
    @rule(owner=owners, process=processes, explicit=often)
    def claim(self, owner: str, process: int, explicit: bool) -> None:
        """A worker claims what is due, as many as it can send at once, and pauses."""
        here = self.processes[process]
        flush = Flush(here.engine, owner, explicit=explicit)
        flush._until = float("inf")
        for job in flush._settle_and_claim([], flush._plan(), []):
            # Without a bulk endpoint each goes alone.
            ((write, _),) = job.claimed
            self.sendings.append(Sending(here, flush, job, write.lease))

    @precondition(lambda self: self.sendings)
    @rule(which=choice)
    def send(self, which: int) -> None:
        """A worker sends what it claimed.

        It never does when its lease is over, but where keys make that harmless; a look begins its lease anew.
        """
        chosen = self.sendings[which % len(self.sendings)]
        if chosen.outcome is not None:
            return
        if chosen.lease <= self.clock.now and not self.honours and not chosen.job.looks:
            self.sendings.remove(chosen)
            return
        ((write, _),) = chosen.job.claimed
        auth = chosen.flush._credentials_for(write.upstream).auth
        there = chosen.process.engine.outbox.write(write.owner, write.id)
        self.ledger.zombie = there is None or there.fence != write.fence or there.state is not State.SENDING
        try:
            came = self._survive(chosen.process, lambda: run(chosen.process.engine, chosen.job, auth))
            chosen.outcome = None if came is None else came[0]
        finally:
            self.ledger.zombie = False

    @precondition(lambda self: any(each.outcome is not None for each in self.sendings))
    @rule(which=choice, all_of_them=st.booleans())
    def settle(self, which: int, all_of_them: bool) -> None:
        """A worker settles an answer, or all that its flush has; perhaps long after its lease."""
        chosen = self._pick([each for each in self.sendings if each.outcome is not None], which)
        assert chosen is not None
        company = [chosen]
        if all_of_them:
            company = [each for each in self.sendings if each.flush is chosen.flush and each.outcome is not None]
        done = [(*each.job.claimed[0], each.outcome) for each in company if each.outcome is not None]
        chosen.flush._settle_and_claim(done, Plan([], {}, set(), self.clock.now, explicit=True), [])
        for each in company:
            self.sendings.remove(each)

    @precondition(lambda self: self.sendings)
    @rule(which=choice)
    def lose_an_answer(self, which: int) -> None:
        """A worker dies on its way."""
        del self.sendings[which % len(self.sendings)]

    # --- what owners decide --------------------------------------------------------------------------------------

    @precondition(lambda self: any(map(self._pending, OWNERS)))
    @rule(owner=owners, process=processes, which=choice)
    def retry(self, owner: str, process: int, which: int) -> None:
        write = self._pick(self._pending(owner), which)
        if write is None:
            return
        here = self.processes[process]
        held = write.state is State.IN_DOUBT and write.not_before is None
        if write.kind is Kind.CREATE and held and not self.honours:
            self.ledger.ref_of(write).risky = True
        try:
            self._survive(here, lambda: here.owner(owner).retry(write.id))
        except WriteBusy:
            assert write.state is State.SENDING

    @precondition(lambda self: any(map(self._pending, OWNERS)))
    @rule(owner=owners, process=processes, which=choice)
    def discard(self, owner: str, process: int, which: int) -> None:
        pending = {write.id: write for write in self._pending(owner)}
        write = self._pick(list(pending.values()), which)
        if write is None:
            return
        try:
            gone = self.processes[process].owner(owner).discard(write.id)
        except WriteBusy:
            assert write.state is State.SENDING
            return
        self._given_up(owner, [pending[each.id] for each in gone])

    @precondition(lambda self: any(self._conflicts(owner) for owner in OWNERS))
    @rule(owner=owners, process=processes, which=choice, decided=st.sampled_from(("mine", "theirs")))
    def resolve(self, owner: str, process: int, which: int, decided: str) -> None:
        write = self._pick(self._conflicts(owner), which)
        if write is None or (decided == "mine" and write.theirs is None):
            # Made anew, it would be another record to the ledger.
            return
        here = self.processes[process]
        if decided == "theirs":
            here.owner(owner).resolve(write.id, "theirs")
            self._given_up(owner, [write])
        else:
            self._survive(here, lambda: here.owner(owner).resolve(write.id, "mine"))

    def _conflicts(self, owner: str) -> list[Write]:
        return [write for write in self._pending(owner) if write.state is State.CONFLICT]

    @precondition(lambda self: VISITOR not in self.ledger.heirs and self._has_edited(VISITOR))
    @rule(process=processes, unlikely=st.sampled_from((True, False, False)))
    def log_in(self, process: int, unlikely: bool) -> None:
        """The visitor turns out to be Alice; what is still open in other tabs follows."""
        if not unlikely:
            return
        pending = {owner: self._pending(owner) for owner in (VISITOR, ALICE)}
        self.ledger.adopt(VISITOR, ALICE, pending)
        self.processes[process].owner(ALICE).adopt(VISITOR, ALICE)
        lanes = [{(write.store, str(write.record_id)) for write in writes} for writes in pending.values()]
        self.exempt |= lanes[0] & lanes[1]

    @rule(owner=owners, process=processes, pending=st.booleans(), unlikely=st.sampled_from((True, False, False)))
    def forget(self, owner: str, process: int, pending: bool, unlikely: bool) -> None:
        if not unlikely:
            return
        gone = [write for write in self._pending(owner) if write.state is not State.SENDING]
        self.processes[process].owner(owner).forget(owner, pending)
        # They logged out: no Model of theirs lives on.
        self.tabs = deque((tab for tab in self.tabs if self.ledger.heir(tab.owner) != owner), maxlen=TABS)
        if not pending:
            return
        for form in self.forms:
            if self.ledger.heir(form.owner) == owner:
                self._made_anew(form)
        self._given_up(owner, gone)

    def _made_anew(self, form: Form) -> None:
        """Sent again, a form's edit is a new one: only its key and bytes can tell that the first was applied.

        What was edited before it went out went as other bytes.
        """
        form.accepted = False
        form.ref.risky |= not self.honours or not self.ledger.wants(self.ledger.heir(form.owner), form.ref, form.given)

    def _was_discarded(self, form: Form) -> bool:
        """Whether what a form made was given up, by itself or with its record."""
        outbox, owner = self.processes[0].engine.outbox, self.ledger.heir(form.owner)
        known = check_nonce(self.processes[0].app, form.nonce)
        with outbox.database.transaction() as connection:
            used = connection.execute("SELECT write_id FROM nonce WHERE owner = ? AND nonce = ?", (owner, known))
            made = [outbox.write(owner, write_id) for (write_id,) in used.fetchall()]
        return any(write is not None and write.state is State.DISCARDED for write in made)

    # --- what the world does -------------------------------------------------------------------------------------

    @rule(tenant=st.sampled_from(("t1", "t1", "t2")), which=choice, name=st.sampled_from("ab"))
    def somebody_else_edits(self, tenant: str, which: int, name: str) -> None:
        self._edit_upstream(tenant, which, name)

    @rule(tenant=st.sampled_from(("t1", "t1", "t2")), which=choice, unlikely=st.booleans())
    def somebody_else_deletes(self, tenant: str, which: int, unlikely: bool) -> None:
        place = self._pick(self._places(tenant), which)
        if place is not None and unlikely:
            self.upstream.delete(None, place)

    @rule(tenant=st.sampled_from(("t1", "t2")), collection=st.sampled_from(("/people", "/pets")))
    def somebody_else_creates(self, tenant: str, collection: str) -> None:
        self.ledger.now += 1
        self.upstream.create(None, tenant, collection, {"a": f"{tenant} {self.ledger.now}", "b": ""})

    @rule(fault=st.sampled_from((*FAULTS_BEFORE, *FAULTS_AFTER)))
    def arm_a_fault(self, fault: str) -> None:
        if len(self.upstream.faults) < 3:
            self.upstream.faults.append(fault)

    @precondition(lambda self: self.upstream.faults)
    @rule()
    def heal(self) -> None:
        self.upstream.faults.clear()

    @rule(
        what=st.sampled_from(("edit", "save", "sync", "settle", "late")),
        before=st.booleans(),
        owner=owners,
        process=processes,
        which=choice,
    )
    def arm_an_interlude(self, what: str, before: bool, owner: str, process: int, which: int) -> None:
        """Something happens while the next request is on its way."""
        if what == "late" and before and not self.honours:
            # No request arrives after its lease is over: the deadline is shorter. With keys it would do no harm.
            return
        if len(self.upstream.interludes) < 2:
            self.upstream.interludes.append((before, lambda: self._interlude(what, owner, process, which)))

    @rule(process=processes)
    def crash(self, process: int) -> None:
        self._crash(self.processes[process])

    @rule(seconds=waits)
    def advance_the_clock(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(process=processes)
    def clear_the_cache(self, process: int) -> None:
        self.processes[process].cache.clear()

    # --- what must always hold -----------------------------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        """All that must hold after every step; of the two processes' views those of one in turn."""
        self.steps += 1
        self._check_all(self.processes[self.steps % 2 :][:1])

    def _check_all(self, processes: list[Process]) -> None:
        if self.upstream.wrong is not None:
            raise self.upstream.wrong
        for owner in OWNERS:
            pending = self._pending(owner)
            self.ledger.check_kept(owner, pending)
            check_lanes(pending, self.exempt)
            check_acyclic(waits_for(pending))
            self._check_counter(owner, pending)
            for process in processes:
                self._check_views(process, owner, pending)

    def _check_counter(self, owner: str, pending: list[Write]) -> None:
        with self.processes[0].engine.outbox.transaction(owner, follow=False) as change:
            assert change._pending == len(pending)

    def _check_views(self, process: Process, owner: str, pending: list[Write]) -> None:
        for kind, above in self._stores(owner):
            collection = self._collection(process, owner, kind, above).fetch(remote=False)
            shown = [dict(model) for model in collection]
            self.ledger.check_view(owner, collection._declare().url, shown, pending)

    def check_that_it_settles_down(self) -> None:
        """Healed, and flushed until nothing moves: only what waits for its owner is left, and the caches are right."""
        self.upstream.faults.clear()
        self.upstream.interludes.clear()
        self.sendings.clear()
        self.disturbed = False
        for _ in range(24):
            self.clock.advance(400)
            before = self.upstream.requests
            for owner in OWNERS:
                self.processes[0].owner(owner).sync()
            if self.upstream.requests == before:
                break
        self._check_all(self.processes)
        for owner in OWNERS:
            pending = self._pending(owner)
            links, by_id = waits_for(pending), {write.id: write for write in pending}
            loose = [write for write in pending if not is_stuck(write, links, by_id)]
            assert not loose, f"could go, but stays: {loose}"
            before = self.upstream.requests
            self.processes[1].owner(owner).sync()
            assert self.upstream.requests == before, "a second flush sends something"
            self._check_caches(owner, pending)

    def _check_caches(self, owner: str, pending: list[Write]) -> None:
        for process in self.processes:
            for kind, above in self._stores(owner):
                collection = self._collection(process, owner, kind, above)
                url = collection._declare().url
                if (TENANTS[owner], url) not in self.upstream.records:
                    continue
                shown = [dict(model) for model in collection.fetch(when_dirty="rebase")]
                assert collection.source == "upstream"
                self.ledger.check_view(owner, url, shown, pending)
                self._check_equal(owner, url, shown, pending)
                cached = process.engine.bases.get(owner, collection._declare().store)
                assert cached is not None
                assert cached.records == list(self.upstream.records[TENANTS[owner], url].values())

    def _check_equal(self, owner: str, url: str, shown: list[dict[str, Any]], pending: list[Write]) -> None:
        """What came from the upstream is what the upstream has, but for what waits."""
        waiting = {str(write.record_id) for write in pending if self.ledger.real_text(write.url) == url}
        there = self.upstream.records.get((TENANTS[owner], url), {}).values()
        assert [each for each in shown if str(each["id"]) not in waiting] == [
            each for each in there if str(each["id"]) not in waiting
        ]

    # --- inside --------------------------------------------------------------------------------------------------

    def _pending(self, owner: str) -> list[Write]:
        return self.processes[0].engine.outbox.pending(owner)

    def _has_edited(self, owner: str) -> bool:
        return any(whose == owner for whose, _ in self.ledger.wanted)

    def _waits_to_be_made(self, ref: Ref) -> bool:
        # Not by the ledger's ref_of: a create whose own call is under way has told nobody its id yet.
        creates = (write for owner in OWNERS for write in self._pending(owner) if write.kind is Kind.CREATE)
        return any(write.record_id in ref.temps for write in creates)

    def _pick(self, items: list[Any], which: int) -> Any:
        return items[which % len(items)] if items else None

    def _tab(self, which: int) -> Tab:
        return self.tabs[which % len(self.tabs)]

    def _known_to(self, owner: str) -> list[Ref]:
        """The records that an owner may have heard of: those upstream, and their own."""
        return [
            ref
            for ref in self.ledger.refs
            if ref.tenant == TENANTS[owner] and (ref.made or (owner, ref) in self.ledger.wanted)
        ]

    def _stores(self, owner: str) -> list[tuple[str, Ref | None]]:
        people = {ref.parent for ref in self._known_to(owner) if ref.kind == "notes"}
        nested = [ref for ref in self.ledger.refs if ref in people and not ref.dead]
        return [("people", None), ("pets", None), *(("notes", ref) for ref in nested)]

    def _parent(self, owner: str, kind: str, which: int) -> Ref | None:
        if kind != "notes":
            return None
        people = [ref for ref in self._known_to(owner) if ref.kind == "people"]
        return self._pick([ref for ref in people if not self._is_gone(owner, ref)] or people, which)

    def _is_gone(self, owner: str, ref: Ref) -> bool:
        wanted = self.ledger.wanted.get((owner, ref), Wanted())
        return ref.dead or wanted.deleted is not None

    def _reference(self, owner: str, kind: str, which: int) -> dict[str, Any]:
        other = {"people": "pets", "pets": "people"}.get(kind)
        known = [ref for ref in self._known_to(owner) if ref.kind == other and not self._is_gone(owner, ref)]
        ref = self._pick(known, which)
        if ref is None or which % 3 == 0:
            return {}
        record_id = self._id_of(owner, ref, which % 2 == 0)
        return {"ref": record_id} if which % 4 else {"link": f"/{other}/{record_id}?x"}

    def _id_of(self, owner: str, ref: Ref, temporary: bool) -> Any:
        """An id under which an owner knows a record; a temporary one only where it is their own."""
        # Not of whoever has edited it since: only who made it knows it by that.
        own = ref.temps and self.ledger.wanted.get((self.ledger.heir(owner), ref), Wanted()).created
        return ref.temps[-1] if ref.place is None or (own and temporary) else ref.place.id

    def _real_id(self, owner: str, record_id: Any) -> str:
        """The id that the app knows a record by, now that it was numbered or not yet."""
        real = self.processes[0].engine.outbox.alias(self.ledger.heir(owner), str(record_id))
        return str(record_id if real is None else real)

    def _collection(self, process: Process, owner: str, kind: str, above: Ref | None) -> Any:
        if above is None:
            return process.owner(owner).collection(kind)
        return process.owner(owner).collection(kind, person_id=self._id_of(owner, above, True))

    def _places(self, tenant: str) -> list[Place]:
        return [
            Place(tenant, collection, each)
            for (whose, collection), records in self.upstream.records.items()
            if whose == tenant
            for each in records
        ]

    def _edit_upstream(self, tenant: str, which: int, name: str) -> None:
        place = self._pick(self._places(tenant), which)
        if place is not None:
            self.ledger.now += 1
            record = self.upstream.records[place.tenant, place.collection][place.id]
            self.upstream.put(None, place, {**record, name: f"{tenant} {self.ledger.now}"})

    def _interlude(self, what: str, owner: str, process: int, which: int) -> None:
        self.disturbed = self.in_an_interlude = True
        zombie, self.ledger.zombie = self.ledger.zombie, False
        try:
            if what == "edit":
                self._edit_upstream(TENANTS[owner], which, "a")
            elif what == "save" and self.tabs:
                self.save_one_field(which, "b", False, which % 2 == 0, False, False)
            elif what == "sync":
                self.sync(owner, process, True)
            elif what == "settle" and any(each.outcome is not None for each in self.sendings):
                self.settle(which, True)
            elif what == "late":
                self.clock.advance(40)
                self.sync(owner, process, True)
        finally:
            self.ledger.zombie = zombie
            self.in_an_interlude = False
            self.disturbed = True

    def _given_up(self, owner: str, writes: list[Write]) -> None:
        """What was given up is not shown any more: a tab that still does is loaded anew before its next save."""
        self.ledger.given_up(owner, writes)
        self._close_tabs_of({self.ledger.ref_of(write) for write in writes})

    def _close_tabs_of(self, refs: set[Ref]) -> None:
        self.tabs = deque((tab for tab in self.tabs if tab.ref not in refs), maxlen=TABS)

    # --- calls that may fail -------------------------------------------------------------------------------------

    def _create(self, here: Process, form: Form, *, remote: bool, nonce: str | None) -> None:
        ref, owner = form.ref, form.owner
        first = form.accepted
        # Withdrawn or forgotten, but upstream all the same: until its key tells, the app takes it for two records.
        ref.contested |= bool(ref.made) and not first
        order = self.ledger.intend(owner, ref, {} if first else form.given)
        was_dead, ref.dead = ref.dead, ref.dead and first
        try:
            collection = self._collection(here, owner, ref.kind, ref.parent)
            done, model = self._write(
                here, ref, lambda: collection.create(form.given, remote=remote, nonce=nonce), form
            )
        finally:
            ref.dead = ref.dead or (was_dead and first)
        if first:
            assert (
                not isinstance(model, Model) or self.ledger.find(ref.tenant, collection._declare().url, model.id) is ref
            )
            return
        if not done:
            self.ledger.refused(ref, Kind.CREATE, form.given)
            return
        form.accepted = True
        if isinstance(model, Model):
            self.ledger.named(ref, model.id)
            self.tabs.append(Tab(here, owner, model, ref))
        else:
            self._name_by_outbox(owner, ref, form.given["a"])
        self.ledger.accepted(owner, ref, Kind.CREATE, form.given, order)

    def _name_by_outbox(self, owner: str, ref: Ref, value: str) -> None:
        """The process that made it is gone: its id is in the outbox."""
        for write in self._pending(self.ledger.heir(owner)):
            if write.kind is Kind.CREATE and (write.attributes or {}).get("a") == value:
                self.ledger.named(ref, write.record_id)

    def _save(self, tab: Tab, given: Mapping[str, Any], *, patch: bool, remote: bool, form: Form | bool) -> None:
        ref, model, owner = tab.ref, tab.model, tab.owner
        model.set(dict(given))
        # What a stale tab shows, and leaves as it is, is no wish.
        changed = {name: value for name, value in model.changed_attributes().items() if name in FIELDS}
        sent = form if isinstance(form, Form) else None
        if form is True:
            # With what an earlier save of this tab left in it, which was refused.
            sent = Form(owner, Kind.UPDATE, ref, dict(model._given), make_nonce(tab.process.app))
            self.forms.append(sent)
        nonce = None if sent is None else sent.nonce
        record_id = self._real_id(owner, model.id)
        repeated = sent is not None and sent.accepted and self._real_id(owner, sent.record_id) == record_id
        order = self.ledger.now if repeated else self.ledger.intend(owner, ref, changed)
        done, result = self._write(
            tab.process, ref, lambda: model.save(dict(given), patch=patch, remote=remote, nonce=nonce)
        )
        if repeated:
            return
        if not done:
            self.ledger.refused(ref, Kind.UPDATE, changed)
            return
        self.ledger.accepted(owner, ref, Kind.UPDATE, changed, order)
        if sent is not None:
            sent.accepted, sent.record_id = True, record_id
        if isinstance(result, WriteResult):
            self._check_result(owner, ref, changed, result)

    def _check_result(self, owner: str, ref: Ref, values: Mapping[str, Any], result: Any) -> None:
        """``dirty`` says the truth: kept here, or upstream."""
        if result.state is None or self.disturbed:
            return
        assert result.dirty is (result.state in PENDING)
        if not result.dirty:
            for name, value in values.items():
                told = name not in ("a", "b") or self.ledger.told_upstream(ref, name, value) is not None
                assert told, f"{owner} was told that {value} is upstream: {result}"

    def _write(self, here: Process, ref: Ref, call: Callable[[], Any], form: Form | None = None) -> tuple[bool, Any]:
        """Make a call that writes: whether its edit was taken, and what it gave."""
        self.disturbed = False
        if not self.honours and ref.made and self._waits_to_be_made(ref):
            # Edited under its real id while its create is in doubt, it can not be told by its fields any more.
            ref.risky = True
        try:
            return True, self._survive(here, call)
        except (Rejected, UpstreamError) as error:
            if error.pending_write is not None:
                return True, error.pending_write
            if error.in_doubt and not self.honours:
                ref.risky = True
        except (RecordGone, ValidationFailed) as error:
            self._check_refusal(ref, error)
        except OutboxFull as error:
            raise AssertionError("nobody has that many writes") from error
        return False, None

    def _check_refusal(self, ref: Ref, error: Exception) -> None:
        """An edit is refused before it is stored only where its record, or one that it names, is gone."""
        given_up = ref.contested or any(each.dead for each in self.ledger.refs)
        assert given_up or self._any_deleted() or self.in_an_interlude, f"{ref} was refused: {error}"

    def _any_deleted(self) -> bool:
        return any(wanted.deleted is not None for wanted in self.ledger.wanted.values())

    def _read(self, here: Process, call: Callable[[], Any]) -> Any:
        self.disturbed = False
        try:
            return self._survive(here, call)
        except (NotCached, UpstreamUnreachable, UpstreamError, RecordGone):
            return None

    def _survive(self, here: Process, call: Callable[[], Any]) -> Any:
        """Make a call whose process may end on the way."""
        try:
            return call()
        except Crash:
            self._crash(here)
            return None

    def _crash(self, process: Process) -> None:
        if process not in self.processes:
            return
        process.close()
        self.processes[self.processes.index(process)] = self._new_process()
        self.tabs = deque((tab for tab in self.tabs if tab.process is not process), maxlen=TABS)
        self.sendings = [each for each in self.sendings if each.process is not process]


class WithoutKeys(Machine):
    """The same in front of an upstream that honours no keys: creates in doubt are looked for."""

    honours = False
