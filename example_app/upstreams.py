"""What is declared of each API that the example can talk to; nothing else in the app knows which one it is.

``make demo UPSTREAM=kinto`` chooses one: the example's own little upstream, or one that others wrote.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask_dualstorage import Dialect, dialects


@dataclass(frozen=True)
class Declared:
    """How one API speaks: where its people and notes are, in which dialect, and what ``upstream_auth`` gives."""

    dialect: Dialect = field(default_factory=Dialect)
    people: str = "/people"
    notes: str = "/people/{person_id}/notes"
    notes_dialect: Dialect | None = None
    credential: tuple[str, str] | Mapping[str, str] | None = None
    #: The path of the API below its host.
    path: str = ""
    #: Where a person may look at the people past the app.
    shown_at: str = "/people"
    config: Mapping[str, Any] = field(default_factory=dict)


UPSTREAMS = {
    # It answers a repeated Idempotency-Key with its first answer.
    "example": Declared(config={"DUALSTORAGE_HONOURS_KEYS": True}),
    # Its collections hold no others, so each person's notes are one of their own, made when it is first asked for.
    "kinto": Declared(
        dialect=dialects.kinto,
        people="/people/records",
        notes="/notes-of-{person_id}/records",
        credential=("alice", "alice's secret"),
        path="/v1/buckets/default/collections",
        shown_at="/v1/",
    ),
    "drf": Declared(
        dialect=dialects.drf.but(read_only=("updated_at", "created_at", "person")),
        credential={"Authorization": "Token alices-token"},
        shown_at="/people/",
    ),
    # It lists and takes a person's notes below the person; each single note it knows at the top only.
    "json_server": Declared(
        dialect=dialects.json_server,
        notes_dialect=dialects.json_server.but(
            urls=dict.fromkeys(("record", "update", "delete"), "/notes/{id}"),
        ),
    ),
}

#: The one that is talked to.
CHOSEN = os.environ.get("UPSTREAM") or "example"
if CHOSEN not in UPSTREAMS:
    raise SystemExit(f"UPSTREAM is {CHOSEN!r}; it takes {', '.join(UPSTREAMS)}: make demo UPSTREAM=kinto")
DECLARED = UPSTREAMS[CHOSEN]
