"""What is read: a list of a store, a page of it, or one record; the copies that are here, and what lies over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from ..policy import envelopes
from ..policy.listing import EVERYTHING, Listing, matches_by_fields
from ..policy.newest import with_newer
from ..policy.values import BadAnswer, as_record, as_records, same
from ..policy.views import View, key_of, lay_over, newer
from ..storage.outbox import StoreState
from ..types import UNSETTLED, WHOLE, Attributes, Declaration, Envelope, Json, Kind, PageInfo, RecordId
from ..upstream.dialects import list_path, path_of
from ..upstream.paging import Pages
from .engine import Engine
from .understanding import guarded

#: What lies over a base that began at this number: all that is known, or only what is not settled.
ALL_KNOWN, ONLY_PENDING = -1, UNSETTLED - 1


class Fetch(NamedTuple):
    """The options of one read: ``timeout`` in seconds (to connect, whole answer), ``max_age`` in seconds.

    ``looked_at``: nobody called ``fetch``, so that a copy will do which is as young as the collection declares.
    """

    params: Mapping[str, str] = {}
    add: bool = False
    when_dirty: str | None = None
    max_age: float | None = None
    looked_at: bool = False
    timeout: tuple[float, float] | None = None
    headers: Mapping[str, str] = {}
    all_pages: bool = False


class Loaded(NamedTuple):
    """What a read gives: the view, ``source`` (``"upstream"``, ``"cache"``, ``"local"``), ``age`` in seconds, why.

    ``seen`` is the owner's ``settled_seq`` at that moment, ``envelope`` the copy that lies under the view, ``page``
    what the upstream told of how it cut the list.
    """

    view: View
    source: str
    seen: int
    age: float | None = None
    reason: str | None = None
    envelope: Envelope | None = None
    page: PageInfo = WHOLE


class Here(NamedTuple):
    """What is here: the copy, if it is of this epoch, what lies over it, and the copy that a GET may be bound to."""

    envelope: Envelope | None
    state: StoreState
    validated: Envelope | None


class Subject(NamedTuple):
    """What is read, and how: the list of a store, or with ``record_id`` one record of it."""

    engine: Engine
    owner: str
    declared: Declaration
    fetch: Fetch
    record_id: RecordId | None = None

    @property
    def query(self) -> str:
        """The name under which it is kept beside others of its store: ``""`` is the store's whole list.

        No query string begins as the name of a record, or of a page, does.
        """
        if self.record_id is not None:
            return f"\0{self.record_id}"
        params = urlencode(sorted(self.fetch.params.items())) if self.fetch.params else ""
        return params if self.pages is None or self.fetch.all_pages else f"?{params}"

    @property
    def pages(self) -> Pages | None:
        """How the upstream cuts this list, None for one piece."""
        pages: Pages | None = self.declared.dialect.pages if self.record_id is None else None
        return pages

    @property
    def path(self) -> str:
        """Where the upstream has it."""
        return list_path(self.declared) if self.record_id is None else path_of(self.declared, self.record_id)

    def state(self, since: int) -> StoreState:
        """Read what lies over a base that began at ``since``."""
        outbox, store = self.engine.outbox, self.declared.store
        if self.record_id is None:
            return outbox.store_state(self.owner, store, since)
        return outbox.record_state(self.owner, store, self.record_id, since)

    def here(self) -> Here:
        """Look at what is here: for a list one cache call and one SELECT."""
        return self._list_here() if self.record_id is None else self._record_here(self.record_id)

    def _list_here(self) -> Here:
        envelope = self.engine.bases.get(self.owner, self.declared.store, self.query)
        state = self.state(ALL_KNOWN if envelope is None else envelope.began)
        if envelope is not None and envelope.epoch != state.epoch:
            return Here(None, self.state(ALL_KNOWN), None)
        return Here(envelope, state, envelope)

    def _record_here(self, record_id: RecordId) -> Here:
        """The record's own copy or the list's, whichever began later, cut down to this record."""
        state = self.state(ALL_KNOWN)
        bases, store = self.engine.bases, self.declared.store
        own = _of_epoch(bases.get(self.owner, store, self.query), state.epoch)
        listed: Envelope | None = None
        for query in ("",) if self.declared.dialect.pages is None else ("", "?"):
            listed = newer(listed, self._in_list(query, record_id, state.epoch))
        envelope = newer(own, listed)
        if listed is not None and own is not None and envelope is listed:
            envelope = _with_validators(listed, own)
        since = ALL_KNOWN if envelope is None else envelope.began
        over = [write for write in state.writes if write.settled_seq > since]
        return Here(envelope, state._replace(writes=over), own)

    def _in_list(self, query: str, record_id: RecordId, epoch: str) -> Envelope | None:
        """Give a list's copy cut down to one record, None where that is not in it."""
        listed = _of_epoch(self.engine.bases.get(self.owner, self.declared.store, query), epoch)
        return None if listed is None else _cut(listed, self.declared, record_id)

    def elsewhere(self, here: Here) -> Here:
        """Look for another copy where the one that was asked for is not here: better than none at all.

        Of a record, any list that has it; of a list that is read by pages, the whole one for a page, and a page, which
        says that it is not complete, for the whole one.
        """
        if here.envelope is not None:
            return here
        found: Envelope | None = None
        if self.record_id is not None:
            for query in self.engine.bases.queries(self.owner, self.declared.store):
                found = newer(found, self._in_list(query, self.record_id, here.state.epoch))
        elif self.pages is not None:
            other = self.query.removeprefix("?") if self.query.startswith("?") else f"?{self.query}"
            found = _of_epoch(self.engine.bases.get(self.owner, self.declared.store, other), here.state.epoch)
        return here if found is None else Here(found, self.state(found.began), None)

    def is_held(self, here: Here) -> bool:
        """Writes that wait hold a read, unless there is nothing to show them on [Backbone: dirty collections]."""
        if not here.state.writes:
            return False
        if (self.fetch.when_dirty or self.declared.when_dirty) != "local" or not here.state.waiting:
            return False
        if here.envelope is not None:
            return True
        writes = here.state.writes
        return self.record_id is not None and any(write.base or write.kind is Kind.CREATE for write in writes)

    def records_of(self, body: Json) -> list[Attributes]:
        """Run the app's hooks over an answer and check what they give. Raises ``BadAnswer``."""
        declared = self.declared
        if self.record_id is None:
            listed = envelopes.list_in(declared.dialect, body)
            return as_records(guarded(declared.parse_list)(listed), declared.id_attribute)
        record = as_record(guarded(declared.parse_record)(envelopes.record_in(declared.dialect, body)))
        found = self.record_id if declared.singleton else record.setdefault(declared.id_attribute, self.record_id)
        if str(found) != str(self.record_id):
            raise BadAnswer(f"it holds the record {found!r:.60} where {self.record_id!r:.60} was asked")
        return [record]

    def view(self, envelope: Envelope | None, state: StoreState) -> View:
        """Lay the owner's writes over a copy, whose records are shown no older than this web request showed them."""
        listing = EVERYTHING if self.record_id is not None else self._listing(envelope)
        key, writes = self.declared.key_attribute, state.writes
        if envelope is None:
            return lay_over([], writes, key, {}, listing)
        shown, over = with_newer(envelope, writes, self._shown_with(envelope), key)
        return lay_over(shown.records, over, key, shown.validators, listing)

    def _shown_with(self, envelope: Envelope) -> list[Envelope]:
        """Note a copy that this web request shows, and give those of the same store that it showed before."""
        memo = self.engine.memo()
        if memo is None or self.declared.singleton:
            return []
        of_store = memo.setdefault("shown", {}).setdefault((self.owner, self.declared.store), {})
        others = [each for query, each in of_store.items() if query != self.query and each.epoch == envelope.epoch]
        of_store[self.query] = envelope
        return others

    def _listing(self, envelope: Envelope | None) -> Listing:
        """What belongs in this list: the app's hooks see no parameter that only chooses a page."""
        declared = self.declared
        is_plain = not (self.fetch.params or declared.matches or declared.sort_key)
        if is_plain and envelope is not None and envelope.page is WHOLE:
            return EVERYTHING
        paging = frozenset() if self.pages is None else self.pages.names()
        params = {name: value for name, value in self.fetch.params.items() if name not in paging}
        matches, rank = declared.matches or (matches_by_fields if params else None), declared.sort_key
        page = WHOLE if envelope is None else envelope.page
        return Listing(
            belongs=None if matches is None else lambda record: matches(record, params),
            whole=page.complete,
            takes_new=not page.has_next,
            rank=None if rank is None else lambda record: rank(record, params),
            known=envelope is not None,
        )


def _of_epoch(envelope: Envelope | None, epoch: str) -> Envelope | None:
    return envelope if envelope is not None and envelope.epoch == epoch else None


def _with_validators(listed: Envelope, own: Envelope) -> Envelope:
    """The list's copy of a record, with what the record's own copy knows of it as long as both show the same."""
    if not same(listed.records, own.records):
        return listed
    return listed._replace(validators={**own.validators, **listed.validators})


def _cut(envelope: Envelope, declared: Declaration, record_id: RecordId) -> Envelope | None:
    found = [each for each in envelope.records if key_of(each, declared.key_attribute) == str(record_id)]
    return envelope._replace(records=found) if found else None
