"""A small REST API in memory, over real sockets: JSON CRUD at any path, nested ones too, with a plug to pull.

    with RestUpstream({"/people": [{"id": 1, "name": "Ada"}]}) as upstream:
        ...                                      # GET, POST, PUT, PATCH, DELETE at /people and /people/1
        upstream.unplug()                        # refuses connections from here on …
        upstream.plug()                          # … until here, on the same port
        assert upstream.writes == [("POST", "/people", {"name": "Turing"})]

It is a ``HostileUpstream``: ``then`` scripts faults before, or instead of, what it would have answered.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit
from zlib import crc32

from .hostile import Behaviour, HostileUpstream, Received, answer

Record = dict[str, Any]

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class RestUpstream(HostileUpstream):
    """Holds ``records`` by the path of their collection, and numbers new ones from 101 on.

    ``etags``: strong validators, minded in ``If-Match`` (412) and ``If-None-Match`` (304). ``keys``: a repeated
    idempotency key gets its first answer again. ``headers`` go with every answer.
    """

    def __init__(
        self,
        records: Mapping[str, list[Record]] | None = None,
        *,
        id_attribute: str = "id",
        etags: bool = False,
        keys: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(self._handle)
        self.records: dict[str, list[Record]] = {path: list(rows) for path, rows in (records or {}).items()}
        self.id_attribute = id_attribute
        self._etags = etags
        self._keys: dict[str, Behaviour] | None = {} if keys else None
        self._headers = dict(headers or {})
        self._numbers = itertools.count(101)
        self._one_at_a_time = threading.Lock()

    # --- what a test looks at -------------------------------------------------------------------------------

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and target of every request that arrived, in order."""
        return [(one.method, one.target) for one in self.received]

    @property
    def sent(self) -> list[Received]:
        """Every write that arrived, in order, whatever became of it."""
        return [one for one in self.received if one.method in _WRITES]

    @property
    def writes(self) -> list[tuple[str, str, Any]]:
        """Method, target and decoded body of every write that arrived, in order."""
        return [(one.method, one.target, one.json() if one.body else None) for one in self.sent]

    def find(self, path: str, record_id: int | str) -> Record | None:
        """One record as it is held now, or None."""
        rows = self.records.get(path, [])
        return next((row for row in rows if str(row.get(self.id_attribute)) == str(record_id)), None)

    def edit(self, path: str, record_id: int | str, **fields: Any) -> None:
        """Somebody else changes a record here."""
        row = self.find(path, record_id)
        if row is None:
            raise LookupError(f"{path} has no {record_id}")
        row.update(fields)

    def remove(self, path: str, record_id: int | str) -> None:
        """Somebody else deletes a record here, if it is there."""
        rows = self.records[path]
        rows[:] = [row for row in rows if str(row.get(self.id_attribute)) != str(record_id)]

    # --- what it answers ------------------------------------------------------------------------------------

    def _handle(self, received: Received) -> Behaviour:
        key = received.headers.get("Idempotency-Key")
        # Each connection has a thread of its own, and a row is looked for before it is changed.
        with self._one_at_a_time:
            if self._keys is None or key is None:
                return self._answer(received)
            if key not in self._keys:
                self._keys[key] = self._answer(received)
            return self._keys[key]

    def _answer(self, received: Received) -> Behaviour:
        path = urlsplit(received.target).path
        if path in self.records or received.method == "POST":
            return self._collection(received, path)
        above, _, name = path.rpartition("/")
        row = self.find(above, unquote(name))
        if row is None:
            return answer(404, {"title": "Not Found"}, headers=self._headers)
        return self._record(received, above, row)

    def _collection(self, received: Received, path: str) -> Behaviour:
        if received.method == "GET":
            return self._read(received, self.records[path])
        rows = self.records.setdefault(path, [])
        row = dict(received.json())
        if row.get(self.id_attribute) is None:
            row = {self.id_attribute: next(self._numbers), **row}
        if self.find(path, row[self.id_attribute]) is not None:
            return answer(409, {"title": "There is one already"}, headers=self._headers)
        rows.append(row)
        return self._told(201, row)

    def _record(self, received: Received, path: str, row: Record) -> Behaviour:
        if received.method == "GET":
            return self._read(received, row)
        wanted = received.headers.get("If-Match")
        if self._etags and wanted is not None and wanted != _etag(row):
            return answer(412, {"title": "Precondition Failed"}, headers=self._headers)
        if received.method == "DELETE":
            self.remove(path, row[self.id_attribute])
            return answer(204, headers=self._headers)
        if received.method == "PUT":
            row.clear()
        row.update(received.json())
        row.setdefault(self.id_attribute, unquote(received.target.rpartition("/")[2]))
        return self._told(200, row)

    def _read(self, received: Received, content: Any) -> Behaviour:
        if self._etags and received.headers.get("If-None-Match") == _etag(content):
            return answer(304, headers={**self._headers, "ETag": _etag(content)})
        return self._told(200, content)

    def _told(self, status: int, content: Any) -> Behaviour:
        etag = {"ETag": _etag(content)} if self._etags else {}
        return answer(status, content, headers={**self._headers, **etag})


def _etag(content: Any) -> str:
    return f'"{crc32(json.dumps(content).encode()):x}"'
