"""Reading a list page by page: bounded, on one origin, and all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from ..policy.outcomes import ReadMeaning, ReadOutcome
from ..policy.paging import MAX_PAGES, target_of
from ..policy.values import BadAnswer
from ..policy.views import key_of
from ..types import WHOLE, Answer, Attributes, PageInfo
from ..upstream.paging import Heard, Pages

#: Ask for one page: path, parameters, conditions.
Ask = Callable[[str, Mapping[str, str], Mapping[str, str]], ReadOutcome]


@dataclass(frozen=True, slots=True)
class Limit:
    """The upstream's URL, how many bytes all pages together may have, and the field that tells records apart."""

    base: str
    max_bytes: int
    key: str | None


@dataclass(slots=True)
class _Reading:
    """How far a list is read: what the next request is, and what came so far.

    ``shown`` are the parameters by which the page is told from others; of a page that was named by a URL they stand in
    ``path``. ``info`` is what the last page told.
    """

    path: str
    params: Mapping[str, str]
    shown: Mapping[str, str]
    records: dict[str, Attributes] = field(default_factory=dict)
    bytes: int = 0
    first_total: int | None = None
    info: PageInfo = WHOLE


def with_page(outcome: ReadOutcome, pages: Pages, path: str, params: Mapping[str, str]) -> ReadOutcome:
    """Add what a fresh answer tells of its page."""
    if outcome.meaning is not ReadMeaning.FRESH or outcome.answer is None:
        return outcome
    heard = Heard(path, params, outcome.answer.headers, outcome.body, len(outcome.records))
    try:
        return outcome._replace(page=pages.told(heard))
    except BadAnswer as error:
        return _unusable(str(error))


def read_all(ask: Ask, pages: Pages, path: str, params: Mapping[str, str], limit: Limit) -> ReadOutcome:
    """Read every page of a list. Where one page can not be had, none is: the outcome is that page's.

    A record that comes twice, since it moved from page to page meanwhile, is taken once, as it came last. No request
    is conditional: a page that did not change says nothing of the others.
    """
    first = pages.first(params)
    reading = _Reading(path, first, first)
    asked: set[str] = set()
    for number in range(1, MAX_PAGES + 1):
        target = f"{reading.path}?{urlencode(reading.params)}"
        if target in asked:
            return _unusable(f"its page {number} is one that was read already")
        asked.add(target)
        outcome = ask(reading.path, reading.params, {})
        if number > 1 and outcome.meaning is ReadMeaning.GONE:
            return _passed_the_end(reading, number)
        if outcome.meaning is not ReadMeaning.FRESH or outcome.answer is None:
            return outcome
        try:
            _take(reading, outcome, outcome.answer, pages, path, limit)
        except BadAnswer as error:
            return _unusable(str(error))
        if not reading.info.has_next:
            return _all_of(reading)
    return _unusable(f"it has more than {MAX_PAGES:,} pages")


def _take(reading: _Reading, outcome: ReadOutcome, answer: Answer, pages: Pages, path: str, limit: Limit) -> None:
    """Take a page's records, and see where the next one is. Raises ``BadAnswer`` where that can not be."""
    reading.bytes += len(answer.content)
    if reading.bytes > limit.max_bytes:
        raise BadAnswer(f"its pages have more than {limit.max_bytes:,} bytes together")
    before = len(reading.records)
    reading.records.update((key_of(record, limit.key), record) for record in outcome.records)
    if before and outcome.records and len(reading.records) == before:
        raise BadAnswer("a page brought nothing that was not on those before it; does the API mind its parameters?")
    count, collected = len(outcome.records), len(reading.records)
    info = pages.told(Heard(path, reading.shown, answer.headers, outcome.body, count, collected))
    if reading.first_total is None:
        reading.first_total = info.total
    reading.info = info
    if info.next_url is not None:
        reading.path, reading.params = target_of(info.next_url, answer.url, limit.base), {}
        reading.shown = info.next or {}
    elif info.next is not None:
        reading.params = reading.shown = info.next


def _passed_the_end(reading: _Reading, number: int) -> ReadOutcome:
    """Nothing there: the end of a list whose end the API does not tell otherwise, or a list that shrank."""
    if not reading.info.certain:
        return _all_of(reading)
    return _unusable(f"its page {number} is not there any more: the list changed while it was read")


def _all_of(reading: _Reading) -> ReadOutcome:
    total, first = reading.info.total, reading.first_total
    # Where records went, others moved to pages that were read already; where others came too, the total tells by what
    # is missing.
    gaps = total is not None and ((first is not None and total < first) or len(reading.records) < total)
    page = replace(WHOLE, total=total, complete=not gaps, gaps=gaps)
    return ReadOutcome(ReadMeaning.FRESH, records=list(reading.records.values()), page=page)


def _unusable(why: str) -> ReadOutcome:
    return ReadOutcome(ReadMeaning.UNAVAILABLE, reason=f"The upstream's list can not be used: {why}.")
