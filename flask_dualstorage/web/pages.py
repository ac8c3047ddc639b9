"""The pages for a person: one write, its forms, what a discard takes along, several at once, the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from ..errors import OutboxFull, RecordGone, ValidationFailed, WriteBusy
from .about import key_of, own_form
from .answers import json_asked_for, with_problems
from .forms import by_field, edit_form, errors_of, questions_of, read_conflict, read_edit
from .inputs import text_of
from .safety import safe_next
from .sides import seen_of, sides_of
from .telling import tell
from .texts import text, texts
from .words import decision

#: The longest history that the page shows.
_HISTORY = 200
_NONE = "There is no such change of yours."
_SETTLED = frozenset({"applied", "discarded"})


@with_problems
def show(write_id: str) -> ResponseReturnValue:
    """One write: what it changes, why it waits, and what can be decided; as JSON when asked."""
    write, writes = find(write_id)
    if json_asked_for():
        return current_app.json.response(write.to_dict())
    return _write_page(write, writes)


@with_problems
def edit(write_id: str) -> ResponseReturnValue:
    """The form for the fields of a write, with what the upstream said of them."""
    write, _ = find(write_id)
    if str(write.state) in _SETTLED or write.attributes is None or str(write.state) == "conflict":
        return redirect(url_for(".show", write_id=write.id), 303)
    errors = errors_of(write)
    if errors:
        refused = text("The upstream service did not take this. Correct what is marked, then save.")
        errors = {**errors, "": [refused, *errors.get("", [])]}
    return _edit_page(write, errors)


@with_problems
def confirm_discard(write_id: str) -> ResponseReturnValue:
    """Ask before one write is given up."""
    write, writes = find(write_id)
    if str(write.state) in _SETTLED:
        return redirect(url_for(".show", write_id=write.id), 303)
    if str(write.state) == "sending":
        return busy(write_id)
    return _discard_page([write], writes)


@with_problems
def discard_selected() -> ResponseReturnValue:
    """Give up the writes that were ticked, as far as they are still there and not being sent; without ``sure``, ask."""
    if "sure" not in request.form:
        return _confirm_discard_selected()
    gone: set[str] = set()
    for write_id in request.form.getlist("write"):
        try:
            gone |= {write.id for write in _storage().discard(write_id)}
        except (RecordGone, WriteBusy):
            continue
    left = len(set(request.form.getlist("write")) - gone)
    _tell_of(texts("%(num)s change was given up.", "%(num)s changes were given up.", len(gone)), left)
    return redirect(url_for(".pending"), 303)


def _confirm_discard_selected() -> ResponseReturnValue:
    # Asked for by POST: a thousand ids are longer than the URL that servers take (4 kB in Gunicorn).
    writes, ticked = _storage().pending(), set(request.form.getlist("write"))
    chosen = [write for write in writes if write.id in ticked]
    if not chosen:
        tell(text("Nothing was selected. Tick what you mean first."))
        return redirect(url_for(".pending"), 303)
    return _discard_page(chosen, writes)


@with_problems
def retry_selected() -> ResponseReturnValue:
    """Send the writes that were ticked again, each at most once; those that need a decision wait for it on their page.

    Sent again, a conflict would overwrite what somebody else changed, and a create in doubt could be there twice.
    """
    sent, chosen = 0, list(dict.fromkeys(request.form.getlist("write")))
    if not chosen:
        tell(text("Nothing was selected. Tick what you mean first."))
    held = {write.id for write in _storage().pending() if _must_be_decided(write)}
    for write_id in chosen:
        if write_id in held:
            continue
        try:
            sent += str(_storage().retry(write_id).state) == "applied"
        except (RecordGone, WriteBusy):
            # It went with another of them, or by itself meanwhile.
            write = _storage().write(write_id) if _is_id(write_id) else None
            sent += write is not None and str(write.state) == "applied"
    if chosen:
        _tell_of(texts("%(num)s change was sent.", "%(num)s changes were sent.", sent), len(chosen) - sent)
    return redirect(url_for(".pending"), 303)


def _must_be_decided(write: Any) -> bool:
    state = str(write.state)
    return state == "conflict" or (state == "in_doubt" and str(write.kind) == "create")


@with_problems
def history() -> ResponseReturnValue:
    """What became of the owner's writes, newest first; as JSON when asked."""
    writes = _storage().history(_HISTORY)
    if json_asked_for():
        return current_app.json.response({"writes": [write.to_dict() for write in writes]})
    return render_template("dualstorage/history.html", writes=writes, waiting=_storage().pending())


def decided(write_id: str, what: str) -> ResponseReturnValue:
    """Carry out what one of the forms here says (``edit`` or ``resolve``); a wrong one comes back as it was filled."""
    write, writes = find(write_id)
    if str(write.state) in _SETTLED:
        return settled(write)
    if what == "resolve" and str(write.state) == "conflict":
        return _resolve(write, writes)
    if what == "edit" and write.attributes is not None:
        return _edit(write)
    tell(text("This change has become another since you opened the page. Please look at it again."))
    return redirect(url_for(".show", write_id=write.id), 303)


def stale(write_id: str) -> ResponseReturnValue | None:
    """Show a write again that is no longer what the page with the button showed; None where it is.

    A change that waited when the page was opened may be a conflict now: sent again, it would overwrite what somebody
    else changed, and nobody decided that.
    """
    write, _ = find(write_id)
    if str(write.state) in _SETTLED:
        return settled(write)
    if request.form.get("seen") == seen_of(write):
        return None
    if str(write.state) == "sending":
        return busy(write_id)
    tell(text("This change has become another since you opened the page. Please look at it again."))
    return redirect(url_for(".show", write_id=write.id), 303)


def settled(write: Any) -> ResponseReturnValue:
    """Say that there is nothing to decide any more: the button was clicked twice, perhaps."""
    tell(decision(write))
    return redirect(safe_next(request.form.get("next")) or url_for(".show", write_id=write.id), 303)


def busy(write_id: str) -> ResponseReturnValue:
    """Say that a write is being sent, with the way back."""
    write, _ = find(write_id)
    return render_template("dualstorage/busy.html", write=write), 409


def find(write_id: str) -> tuple[Any, Sequence[Any]]:
    """Give a write of the owner's with all that are pending. Raises ``NotFound`` for anybody else's."""
    writes = _storage().pending()
    found = next((write for write in writes if write.id == write_id), None)
    if found is None and _is_id(write_id):
        found = _storage().write(write_id)
    if found is None:
        raise NotFound(text(_NONE))
    return found, writes


def _edit(write: Any) -> ResponseReturnValue:
    given, errors = read_edit(write, key_of(write), request.form)
    if errors:
        return _edit_page(write, errors, 422)
    if request.form.get("seen") != seen_of(write):
        return _edit_page(write, _moved_on(write, given), 409)
    if not given and str(write.state) == "conflict":
        return redirect(url_for(".show", write_id=write.id), 303)
    seen = request.form["seen"]
    try:
        done = _storage().edit(write.id, given, seen=seen) if given else _storage().retry(write.id, seen=seen)
    except ValidationFailed as error:
        return _edit_page(write, error.errors, 422)
    except WriteBusy:
        write, _ = find(write.id)
        return settled(write) if str(write.state) in _SETTLED else _edit_page(write, _moved_on(write, given), 409)
    except OutboxFull as error:
        return _edit_page(write, {"": [str(error)]}, OutboxFull.code)
    tell(decision(done))
    if str(done.state) == "rejected":
        return redirect(url_for(".edit", write_id=done.id), 303)
    return _on(done)


def _resolve(write: Any, writes: Sequence[Any]) -> ResponseReturnValue:
    choice = request.form.get("choice")
    whole = choice in ("mine", "theirs")
    answer, errors = (choice, {}) if whole else read_conflict(write, request.form)
    if errors or not answer:
        return _write_page(write, writes, errors, 422)
    if request.form.get("seen") != seen_of(write):
        return _write_page(write, writes, {"": [text(_CHANGED)]}, 409)
    try:
        done = _storage().resolve(write.id, answer, seen=request.form["seen"])
    except ValidationFailed as error:
        return _write_page(write, writes, _by_question(write, error.errors), 422)
    except WriteBusy:
        write, writes = find(write.id)
        if str(write.state) in _SETTLED:
            return settled(write)
        told = _SENDING if str(write.state) == "sending" else _CHANGED
        return _write_page(write, writes, {"": [text(told)]}, 409)
    tell(decision(done))
    return _on(done)


_CHANGED = "This change has become another since you opened the page. Look at it again, then send the form once more."
_SENDING = "This change is being sent right now. Nothing was changed; send the form again in a moment."


def _moved_on(write: Any, given: Mapping[str, Any]) -> dict[str, list[str]]:
    """Say that a write is another than the form was drawn of, and at each field that differs what it is now."""
    if str(write.state) == "sending":
        return {"": [text(_SENDING)]}
    told = {name: [text("It is “%(value)s” now.", value=text_of((write.attributes or {})[name]))] for name in given}
    if str(write.state) == "conflict":
        for name, met in by_field(errors_of(write), write.attributes or {}).items():
            told[name] = [*told.get(name, []), *met]
    return {**told, "": [text(_CHANGED), *told.get("", [])]}


def _by_question(write: Any, errors: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Put what is wrong with a field at the first question about it."""
    places: dict[str, str] = {}
    for question in questions_of(write):
        places.setdefault(str(question.sides["path"][0]), question.name)
    told: dict[str, list[str]] = {}
    for name, wrong in by_field(errors, write.attributes or {}).items():
        told.setdefault(places.get(name, ""), []).extend(wrong if name in places or not name else _named(name, wrong))
    return told


def _named(name: str, wrong: Sequence[str]) -> list[str]:
    return [f"{name}: {each}" for each in wrong]


def _on(write: Any) -> ResponseReturnValue:
    """Go on: to the write while it needs its owner, else to the list."""
    needs = str(write.state) in ("conflict", "rejected", "in_doubt")
    place = url_for(".show", write_id=write.id) if needs else url_for(".pending")
    return redirect(safe_next(request.form.get("next")) or place, 303)


def _write_page(
    write: Any, writes: Sequence[Any], errors: Mapping[str, list[str]] | None = None, status: int = 200
) -> ResponseReturnValue:
    conflict = str(write.state) == "conflict"
    questions = questions_of(write, request.form if errors else None, errors) if conflict else []
    asked = {question.label for question in questions}
    told = by_field(errors_of(write) if not conflict else {}, write.attributes or {})
    page = render_template(
        "dualstorage/write.html",
        write=write,
        writes=writes,
        sides=[row for row in sides_of(write, key_of(write)) if row["label"] not in asked],
        questions=questions,
        field_errors=told,
        errors=(errors or {}).get("", []),
        wrong=bool(errors),
        seen=seen_of(write),
        own_form=None if str(write.state) in _SETTLED else own_form(write),
    )
    return page, status


def _edit_page(write: Any, errors: Mapping[str, list[str]], status: int = 200) -> ResponseReturnValue:
    sent = request.form if request.method == "POST" else None
    page = render_template(
        "dualstorage/edit.html",
        write=write,
        form=edit_form(write, key_of(write), errors, sent),
        seen=seen_of(write),
        wrong=bool(errors),
        own_form=own_form(write),
    )
    return page, status


def _discard_page(chosen: Sequence[Any], writes: Sequence[Any]) -> ResponseReturnValue:
    ids = {write.id for write in chosen}
    while more := {write.id for write in writes if write.id not in ids and ids & set(write.waits_for)}:
        ids |= more
    after = [write for write in writes if write.id in ids - {each.id for each in chosen}]
    return render_template("dualstorage/discard.html", chosen=chosen, after=after, seen=seen_of(chosen[0]))


def _tell_of(done: str, left: int) -> None:
    kept = texts("%(num)s is still here.", "%(num)s are still here.", left) if left else ""
    tell(f"{done} {kept}".rstrip())


def _is_id(write_id: str) -> bool:
    """What can be the id of a write at all: a database is asked for nothing else."""
    return write_id.isascii() and write_id.isalnum() and len(write_id) <= 64


def _storage() -> Any:
    return current_app.extensions["dualstorage"]
