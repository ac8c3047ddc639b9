"""What is newer of a record that stands in several copies: the later answer, whichever list or read brought it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..types import Attributes, Envelope, Write
from .views import key_of, newer


def with_newer(
    envelope: Envelope, writes: Sequence[Write], others: Iterable[Envelope], key: str | None
) -> tuple[Envelope, Sequence[Write]]:
    """Give a copy with each record as the latest of the ``others`` has it, and the writes that lie over that.

    The list itself stays as it came: which records it has, and in which order. A write that was settled before a newer
    record was asked for is in that record already.
    """
    later = [each for each in others if each is not envelope and newer(envelope, each) is each]
    if not later:
        return envelope, writes
    newest: dict[str, tuple[Envelope, Attributes]] = {}
    for each in sorted(later, key=lambda copy: (copy.began, copy.asked_at)):
        newest.update((key_of(record, key), (each, record)) for record in each.records)
    texts = [key_of(record, key) for record in envelope.records]
    records = [newest[text][1] if text in newest else old for text, old in zip(texts, envelope.records, strict=True)]
    validators = {text: known for text, known in envelope.validators.items() if text not in newest}
    for text in texts:
        if text in newest and (known := newest[text][0].validators.get(text)) is not None:
            validators[text] = known
    listed = set(texts)

    def lies_over(write: Write) -> bool:
        text = str(write.record_id)
        return text not in listed or text not in newest or write.settled_seq > newest[text][0].began

    return envelope._replace(records=records, validators=validators), [each for each in writes if lies_over(each)]
