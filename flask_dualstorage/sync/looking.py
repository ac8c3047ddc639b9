"""Looking for a create in doubt before it goes again: the app's ``reconcile`` hook, or the upstream's list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UpstreamUnreachable
from ..logs import log
from ..policy import envelopes
from ..policy.doubt import Search, Trace, look_for
from ..policy.outcomes import body_of, is_reachable
from ..policy.paging import links
from ..policy.references import is_temp_id
from ..policy.values import BadAnswer, as_records, usable_id
from ..types import Answer, Attributes, Declaration, Failure, Meaning, Outcome, Request, Write
from ..upstream.dialects import accept_of, list_path
from ..upstream.paging import Heard, Pages
from .engine import Engine
from .reports import pending_write
from .sending import Call, guarded, send


@dataclass(frozen=True, slots=True)
class UpstreamReader:
    """What a ``reconcile`` hook reads the upstream with: under the owner's credential, within the deadline."""

    engine: Engine
    upstream: str
    auth: Any
    headers: Mapping[str, str]

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        """GET ``path``, percent-encoded and joined to the upstream's URL. Raises ``UpstreamUnreachable``."""
        request = Request("GET", path, self.headers, params=params)
        exchanged = self.engine.exchange(self.upstream, request, self.auth, None)
        answer = exchanged.answer
        if isinstance(answer, Failure):
            raise UpstreamUnreachable(answer.reason)
        if not is_reachable(answer, exchanged.offline_codes):
            raise UpstreamUnreachable(f"The upstream is offline (status {answer.status_code}).")
        return answer


def look_and_send(engine: Engine, write: Write, declared: Declaration, auth: Any, call: Call) -> Outcome:
    """Look for what a create in doubt may have made; send it again, with its key, where it made nothing."""
    declared = replace(declared, url=write.url)
    headers = {**accept_of(declared.dialect), **declared.headers()}
    reader = UpstreamReader(engine, write.upstream, auth, headers)
    try:
        hook = engine.hooks.get("reconcile")
        search = _search_list(engine, write, declared, reader) if hook is None else _ask_app(hook, write, reader)
    except (UpstreamUnreachable, BadAnswer) as error:
        return Outcome(Meaning.IN_DOUBT, reason=f"It could not be looked for: {error}")
    if search.trace is Trace.NOT_MADE:
        return send(engine, write, declared, auth, call)
    found = None if search.record is None else search.record.get(declared.id_attribute)
    if search.trace is Trace.UNCLEAR or not usable_id(found):
        reason = "The upstream may have it: it lists records like this one. Look there, then retry or discard this."
        return Outcome(Meaning.IN_DOUBT, reason=reason, hold=True)
    log.info("write %s of store %s was found upstream", write.id, write.store)
    return Outcome(Meaning.APPLIED, record={**(write.attributes or {}), **(search.record or {})}, record_id=found)


def _ask_app(hook: Callable[..., Any], write: Write, reader: UpstreamReader) -> Search:
    record = hook(pending_write(write), reader)
    return Search(Trace.NOT_MADE) if record is None else Search(Trace.MADE, dict(record))


def _search_list(engine: Engine, write: Write, declared: Declaration, reader: UpstreamReader) -> Search:
    pages: Pages | None = declared.dialect.pages
    path, params = list_path(declared), {} if pages is None else pages.first({})
    answer = reader.get(path, params)
    if not 200 <= answer.status_code < 300:
        raise UpstreamUnreachable(f"the list was answered with status {answer.status_code}.")
    body = body_of(answer)
    found = envelopes.list_in(declared.dialect, body)
    listed = as_records(guarded(declared.parse_list)(found), declared.id_attribute)
    if _goes_on(pages, Heard(path, params, answer.headers, body, len(listed))):
        # The other pages could be read within no lease.
        return Search(Trace.UNCLEAR)
    cached = engine.bases.get(write.owner, write.store)
    known = None if cached is None else {str(record.get(declared.id_attribute)) for record in cached.records}
    return look_for(_as_sent(write, declared), listed, known, declared.id_attribute)


def _goes_on(pages: Pages | None, heard: Heard) -> bool:
    """Say whether there is more of a list than came; where its pages are not declared, by what most APIs say."""
    if pages is not None:
        return pages.told(heard).has_next
    in_body = isinstance(heard.body, dict) and bool(heard.body.get("next"))
    return in_body or "next" in links(heard.headers.get("Link") or "") or bool(heard.headers.get("Next-Page"))


def _as_sent(write: Write, declared: Declaration) -> Attributes:
    wanted = envelopes.writable(declared.dialect, write.attributes or {})
    if is_temp_id(wanted.get(declared.id_attribute)):
        del wanted[declared.id_attribute]
    return wanted
