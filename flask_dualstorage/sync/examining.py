"""Asking an upstream what it can do: what ``flask dualstorage doctor`` sends. It reads only, unless told to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

from ..policy import diagnosis
from ..policy.diagnosis import Diagnosis, decoded, describe, find_id, find_list, find_record, is_success
from ..policy.outcomes import strong_validator
from ..policy.references import record_path
from ..types import Answer, Attributes, Declaration, Failure, Json, RecordId, Request
from .engine import Engine

#: An id that no record has.
_NOBODY = "9007199254740990"


@dataclass
class Examination:
    """One look at one collection's upstream, under one owner's credential."""

    engine: Engine
    owner: str
    declared: Declaration
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    _auth: Any = None
    _slash: str = ""
    _id: str = "id"
    _record_at: str | None = None
    _made: list[RecordId] = field(default_factory=list)
    #: The records that were there before: none of them is changed or deleted.
    _theirs: set[str] = field(default_factory=set)

    def run(self, data: Attributes | None = None) -> Diagnosis:
        """Look; with ``data``, the fields of a record that may be made there for a moment, also try its writes.

        Raises what ``upstream_auth`` raised.
        """
        self._auth = self.engine.credentials(self.owner, self.declared.upstream).require()
        self._id = self.declared.id_attribute
        records = self._look_at_list()
        if records is not None:
            self._look_at_record(records)
            self._look_at_nobody()
            self._theirs = {str(record.get(self._id)) for record in records}
        if data is not None and records is not None:
            try:
                self._try_writes(data)
            finally:
                self._clean_up()
        return self.diagnosis

    # --- reading -----------------------------------------------------------------------------------------------

    def _look_at_list(self) -> list[Attributes] | None:
        base = self.declared.url.rstrip("/")
        plain, slashed = self._ask("GET", base), self._ask("GET", f"{base}/")
        wanted = diagnosis.slash_wanted(plain, slashed)
        if wanted:
            self._slash = "/"
            self.diagnosis.dialect["slash"] = "True"
            self.diagnosis.note(f"Paths must end in a slash: without it {base} is redirected or not there.")
        answer = slashed if wanted else plain
        if isinstance(answer, Failure) or not is_success(answer):
            self.diagnosis.risk(f"The list could not be read: {describe(answer)}.")
            return None
        return self._about_list(answer)

    def _about_list(self, answer: Answer) -> list[Attributes] | None:
        body = decoded(answer)
        found = find_list(body)
        if found is None:
            self.diagnosis.risk("The answer holds no list of records that could be found: name its place as list_at.")
            return None
        place, records = found
        if place is not None:
            self.diagnosis.dialect["list_at"] = repr(place)
        diagnosis.about_validators(self.diagnosis, "The list", answer.headers)
        diagnosis.about_habits(self.diagnosis, answer.headers)
        self._about_304(answer)
        pages = diagnosis.pages_source(answer.headers, body)
        if pages is not None:
            self.diagnosis.dialect["pages"] = pages
            self.diagnosis.note("The list comes in pages: fetch(all_pages=True) reads them all.")
        return records

    def _about_304(self, answer: Answer) -> None:
        known = {"If-None-Match": answer.headers.get("ETag"), "If-Modified-Since": answer.headers.get("Last-Modified")}
        conditions = {name: value for name, value in known.items() if value}
        if not conditions:
            return
        again = self._ask("GET", self._list_path(), conditions)
        if isinstance(again, Answer) and again.status_code == 304:
            self.diagnosis.good("It answers 304 to a list that did not change.")
        else:
            self.diagnosis.note(f"It minds no condition: the same list again gives {describe(again)}.")

    def _look_at_record(self, records: list[Attributes]) -> None:
        found = find_id(records)
        if found is None:
            self.diagnosis.note("There is no record to look at, or none with an id; put one there and look again.")
            return
        if found != self._id:
            self._id = found
            self.diagnosis.dialect["id_attribute"] = repr(found)
        record_id = records[0][found]
        answer = self._ask("GET", self._path(record_id))
        if isinstance(answer, Failure) or not is_success(answer):
            self.diagnosis.risk(f"One record could not be read at {self._path(record_id)}: {describe(answer)}.")
            return
        there = find_record(decoded(answer), found, record_id)
        if there is None:
            self.diagnosis.risk("The answer holds no record that could be found: name its place as record_at.")
            return
        self._record_at = there[0]
        if self._record_at is not None:
            self.diagnosis.dialect["record_at"] = repr(self._record_at)
        diagnosis.about_validators(self.diagnosis, "A record", answer.headers)

    def _look_at_nobody(self) -> None:
        answer = self._ask("GET", self._path(_NOBODY))
        if isinstance(answer, Answer) and answer.status_code in (404, 410):
            self.diagnosis.good(f"A record that is not there gives {answer.status_code}.")
        else:
            self.diagnosis.risk(
                f"A record that is not there gives {describe(answer)}, not 404: name what it means as outcomes."
            )

    # --- writing -----------------------------------------------------------------------------------------------

    def _try_writes(self, data: Attributes) -> None:
        if self._record_at is not None:
            # A record goes into an envelope as it comes in one.
            self.diagnosis.dialect["wrap"] = repr(self._record_at)
        doubled = [] if self._try_keys(data) else ["creates"]
        if self._made:
            self._try_versions(data, self._made[0])
            self._try_methods(data, self._made[0])
        if self._try_put_to_create(data) and doubled:
            self.diagnosis.note(
                "It takes PUT-to-create: with new_id='uuid4' and create_method='PUT' no create is doubled."
            )
        self.diagnosis.doubled = tuple(doubled)

    def _try_keys(self, data: Attributes) -> bool:
        """Create twice with one key. Says whether that is known to make one record."""
        header = self.engine.upstream(self.declared.upstream).config.idempotency_header or "Idempotency-Key"
        headers = {header: uuid4().hex}
        first = self._create(data, headers)
        if not is_success(first):
            self.diagnosis.risk(f"A create was answered with {describe(first)}; give a record that it takes as --data.")
            return False
        second = self._create(data, headers)
        ids = [self._id_of(first), self._id_of(second)]
        safe = diagnosis.create_is_safe(first, second, ids)
        if safe:
            self.diagnosis.good(f"It honours {header}: a create that is sent twice makes one record.")
            self.diagnosis.dialect["honours_keys"] = "True"
        elif safe is None:
            self.diagnosis.note(
                f"Whether it honours {header} can not be told: the second create gave {describe(second)}."
            )
        else:
            self.diagnosis.risk(
                f"It does not honour {header}: a create whose answer was lost could be doubled, so it is looked for "
                "in the list first, or held for its owner."
            )
        return bool(safe)

    def _try_versions(self, data: Attributes, record_id: RecordId) -> None:
        answer = self._ask("GET", self._path(record_id))
        etag = None if isinstance(answer, Failure) else strong_validator(answer.headers)
        if etag is None:
            self.diagnosis.risk(
                "No strong ETag: two people who edit one record overwrite each other, unless a version field is "
                "declared (version_attribute) or read_before_write is on."
            )
            return
        wrong = self._write("PUT", record_id, data, {"If-Match": diagnosis.another_version(etag)})
        if isinstance(wrong, Answer) and wrong.status_code in (409, 412):
            self.diagnosis.good(f"It minds If-Match: another version gives {wrong.status_code}.")
        else:
            self.diagnosis.risk(
                f"It has ETags but ignores If-Match ({describe(wrong)}): set read_before_write to notice others' edits."
            )

    def _try_methods(self, data: Attributes, record_id: RecordId) -> None:
        put = self._write("PUT", record_id, data)
        name = next(iter(data))
        patch = self._write("PATCH", record_id, {name: data[name]})
        if not is_success(put) and is_success(patch):
            self.diagnosis.dialect["update_method"] = "'PATCH'"
            self.diagnosis.note(f"It takes no PUT ({describe(put)}): updates go by PATCH.")
        elif is_success(put) and not is_success(patch):
            self.diagnosis.dialect["patch_method"] = "None"
            self.diagnosis.note(f"It takes no PATCH ({describe(patch)}): updates send the whole record.")

    def _try_put_to_create(self, data: Attributes) -> bool:
        chosen = str(uuid4())
        answer = self._write("PUT", chosen, {**data, self._id: chosen}, {"If-None-Match": "*"})
        if not is_success(answer):
            return False
        self._made.append(chosen)
        return True

    def _create(self, data: Attributes, headers: Mapping[str, str]) -> Answer | Failure:
        path = self.declared.url.rstrip("/") + self._slash
        answer = self._ask("POST", path, headers, self._wrapped(data))
        made = self._id_of(answer)
        if not is_success(answer) or made is None or made in self._made:
            return answer
        if str(made) in self._theirs:
            self.diagnosis.risk(
                f"A create was answered with a record that was there before ({made!r:.60}) and is left alone: "
                "declare outcomes={(200, 'create'): 'existing'}, or give a record that is not there as --data."
            )
        else:
            self._made.append(made)
        return answer

    def _write(
        self, method: str, record_id: RecordId, data: Attributes, headers: Mapping[str, str] | None = None
    ) -> Answer | Failure:
        return self._ask(method, self._path(record_id), headers or {}, self._wrapped(data))

    def _clean_up(self) -> None:
        """Delete what was made, and say what a second delete gives."""
        for record_id in self._made:
            first = self._ask("DELETE", self._path(record_id))
            if not is_success(first):
                self.diagnosis.risk(
                    f"The record {record_id!r} that was made here could not be deleted: {describe(first)}."
                )
        if self._made:
            again = self._ask("DELETE", self._path(self._made[0]))
            if is_success(again) or (isinstance(again, Answer) and again.status_code in (404, 410)):
                self.diagnosis.good(f"A second delete gives {describe(again)}: it counts as done.")
            else:
                self.diagnosis.risk(f"A second delete gives {describe(again)}: name what it means as outcomes.")

    # --- requests ----------------------------------------------------------------------------------------------

    def _list_path(self) -> str:
        return self.declared.url.rstrip("/") + self._slash

    def _path(self, record_id: RecordId) -> str:
        return record_path(self.declared.url, record_id) + self._slash

    def _wrapped(self, data: Attributes) -> Json:
        return data if self._record_at is None else {self._record_at: data}

    def _id_of(self, answer: Answer | Failure) -> RecordId | None:
        body = decoded(answer)
        for record in (body, body.get(self._record_at or "data") if isinstance(body, dict) else None):
            if isinstance(record, dict) and isinstance(record.get(self._id), str | int):
                found: RecordId = record[self._id]
                return found
        return None

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Json = None
    ) -> Answer | Failure:
        content = None if body is None else orjson.dumps(body)
        sent = {**self.declared.headers(), **(headers or {})}
        if content is not None:
            sent["Content-Type"] = "application/json"
        return self.engine.exchange(
            self.declared.upstream, Request(method, path, sent, content), self._auth, None
        ).answer
