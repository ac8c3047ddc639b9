"""People and their notes: the collections, and the pages that list, show, create, edit and delete them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from example_app.upstreams import DECLARED
from flask_dualstorage import (
    Collection,
    DualStorage,
    Model,
    NotCached,
    PendingWrite,
    Rejected,
    UpstreamError,
    ValidationFailed,
    WriteBusy,
)

PERSON_FIELDS = ("name", "role", "email", "phone", "city")
NOTE_FIELDS = ("text",)

dualstorage = DualStorage()
directory = Blueprint("directory", __name__)

Form = dict[str, str]
Refusal = UpstreamError | ValidationFailed


# --- what the upstream has ----------------------------------------------------------------------------


class Person(Model):
    """One person. What else is wrong with one, an e-mail address say, the upstream tells."""

    def validate(self, attributes: dict[str, Any]) -> dict[str, str]:
        """A name is the least; said here, it need not wait for the upstream to be back."""
        return {} if attributes.get("name") else {"name": "Give a name."}


class Note(Model):
    """One note on a person."""

    def validate(self, attributes: dict[str, Any]) -> dict[str, str]:
        """An empty note is none."""
        return {} if attributes.get("text") else {"text": "Write something."}


@dualstorage.register
class People(Collection):
    """Everybody. Where they are, and how the API there speaks, is declared in ``upstreams``."""

    url = DECLARED.people
    store_name = "/people"
    dialect = DECLARED.dialect
    model = Person
    foresight = True
    # The pending page leads back here with what the upstream refused.
    edit_endpoint = "directory.edit_person"


@dualstorage.register
class Notes(Collection):
    """The notes on one person: also on one whom the upstream has not numbered yet."""

    url = DECLARED.notes
    store_name = "/people/{person_id}/notes"
    dialect = DECLARED.notes_dialect or DECLARED.dialect
    model = Note
    edit_endpoint = "directory.edit_note"


@dualstorage.upstream_auth
def credential(owner: str, upstream: str) -> object:
    """The app's own credential, whoever asks; None where the API asks for none."""
    return DECLARED.credential


def find_person(person_id: str) -> Model:
    """The person, or a 404; an old link, with a temporary id, redirects to the one with the real id."""
    person = dualstorage.collection("people").get_or_404(person_id)
    if request.method == "GET" and str(person.id) != person_id:
        moved(person_id=person.id)
    return person


def notes_of(person: Model) -> Collection:
    """The collection of one person's notes."""
    return dualstorage.collection("notes", person_id=person.id or "")


def find_note(person: Model, note_id: str) -> Model:
    """The note, or a 404; old links redirect."""
    note = notes_of(person).get_or_404(note_id)
    if request.method == "GET" and str(note.id) != note_id:
        moved(note_id=note.id)
    return note


def moved(**ids: Any) -> NoReturn:
    """Redirect to this page under other ids."""
    abort(redirect(url_for(request.endpoint or "", **{**(request.view_args or {}), **ids})))


# --- people -------------------------------------------------------------------------------------------


@directory.get("/")
def index() -> str:
    """List all people."""
    people = dualstorage.collection("people").fetch()
    return render_template("people.html", people=people, deletions=deletions("/people"))


@directory.get("/people/<person_id>")
def show_person(person_id: str) -> str:
    """Show one person with the notes."""
    return person_page(find_person(person_id))


@directory.route("/people/new", methods=["GET", "POST"])
def create_person() -> ResponseReturnValue:
    """Create a person."""
    values = entered(PERSON_FIELDS)
    if request.method == "GET":
        return render_template("person_form.html", person=None, values=values)
    try:
        person = dualstorage.collection("people").create(values, nonce=request.form["dualstorage_nonce"])
    except (UpstreamError, ValidationFailed) as refusal:
        return again("person_form.html", refusal, person=None, values=values)
    tell(person, f"{person['name']} was added.")
    return redirect(url_for(".show_person", person_id=person.id), 303)


@directory.route("/people/<person_id>/edit", methods=["GET", "POST"])
def edit_person(person_id: str) -> ResponseReturnValue:
    """Edit a person."""
    person = find_person(person_id)
    if request.method == "GET":
        return opened("person_form.html", person, person=person)
    values = entered(PERSON_FIELDS)
    try:
        refused = save(person, values)
    except (UpstreamError, ValidationFailed) as refusal:
        return again("person_form.html", refusal, person=person, values=values)
    if refused:
        return opened("person_form.html", person, person=person), 422
    tell(find_person(person_id), f"{values['name']} was saved.")
    return redirect(url_for(".show_person", person_id=person.id), 303)


@directory.route("/people/<person_id>/delete", methods=["GET", "POST"])
def delete_person(person_id: str) -> ResponseReturnValue:
    """Delete a person, after asking."""
    if request.method == "GET":
        person = find_person(person_id)
        back = url_for(".show_person", person_id=person.id)
        return render_template("delete.html", what=person["name"], with_notes=True, back=back)
    found = dualstorage.collection("people").load(person_id)
    return deleted(found, found["name"] if found else "This person", url_for(".index"))


# --- notes --------------------------------------------------------------------------------------------


@directory.get("/people/<person_id>/notes")
def notes(person_id: str) -> ResponseReturnValue:
    """Notes have no page of their own: they are on the person's."""
    return redirect(url_for(".show_person", person_id=person_id, _anchor="notes"))


@directory.route("/people/<person_id>/notes/new", methods=["GET", "POST"])
def create_note(person_id: str) -> ResponseReturnValue:
    """Add a note; the form is on the person's page."""
    person = find_person(person_id)
    if request.method == "GET":
        return redirect(url_for(".show_person", person_id=person.id, _anchor="new-note"))
    values = entered(NOTE_FIELDS)
    try:
        note = notes_of(person).create(values, nonce=request.form["dualstorage_nonce"])
    except (UpstreamError, ValidationFailed) as refusal:
        return person_page(person, values, refusal), status_of(refusal)
    tell(note, "The note was added.")
    return redirect(url_for(".show_person", person_id=person.id, _anchor="notes"), 303)


@directory.route("/people/<person_id>/notes/<note_id>/edit", methods=["GET", "POST"])
def edit_note(person_id: str, note_id: str) -> ResponseReturnValue:
    """Edit a note."""
    person = find_person(person_id)
    note = find_note(person, note_id)
    if request.method == "GET":
        return opened("note_form.html", note, person=person, note=note)
    values = entered(NOTE_FIELDS)
    try:
        refused = save(note, values)
    except (UpstreamError, ValidationFailed) as refusal:
        return again("note_form.html", refusal, person=person, note=note, values=values)
    if refused:
        return opened("note_form.html", note, person=person, note=note), 422
    tell(find_note(person, note_id), "The note was saved.")
    return redirect(url_for(".show_person", person_id=person.id, _anchor="notes"), 303)


@directory.route("/people/<person_id>/notes/<note_id>/delete", methods=["GET", "POST"])
def delete_note(person_id: str, note_id: str) -> ResponseReturnValue:
    """Delete a note, after asking."""
    person = find_person(person_id)
    back = url_for(".show_person", person_id=person.id, _anchor="notes")
    if request.method == "GET":
        note = find_note(person, note_id)
        return render_template("delete.html", what="this note", quote=note["text"], back=back)
    return deleted(notes_of(person).load(note_id), "The note", back)


# --- changes that need their owner ----------------------------------------------------------------------


@directory.post("/changes/<write_id>/retry")
def retry(write_id: str) -> ResponseReturnValue:
    """Send a change again that the upstream refused, or that met somebody else's."""
    try:
        write = dualstorage.retry(write_id, seen=request.form.get("seen"))
    except WriteBusy:
        return _look_again(write_id)
    if write.state == "applied":
        flash("Sent again, and saved in the directory service this time.", "saved")
    else:
        flash(f"Tried again, but it is still kept here. {write.reason or ''}", "kept")
    return redirect(page_of(write.kind, write.store, write.record_id), 303)


@directory.post("/changes/<write_id>/discard")
def discard(write_id: str) -> ResponseReturnValue:
    """Give a change up."""
    try:
        dualstorage.discard(write_id, seen=request.form.get("seen"))
    except WriteBusy:
        return _look_again(write_id)
    flash("Your change was dropped; the directory service keeps what it has.", "saved")
    return redirect(url_for(".index"), 303)


def _look_again(write_id: str) -> ResponseReturnValue:
    """What the page with the button showed is no longer so: nothing was decided by it."""
    flash("This change has become another since you opened the page. Look at it again.", "kept")
    return redirect(url_for("dualstorage.show", write_id=write_id), 303)


def page_of(kind: str, store: str, record_id: str | int) -> str:
    """The page on which the change of a person or a note shows, and can be decided."""
    if store != "/people":
        return url_for("directory.show_person", person_id=store.split("/")[2], _anchor="notes")
    if kind == "delete":
        return url_for("directory.index", _anchor="deletions")
    return url_for("directory.show_person", person_id=record_id)


# --- what the pages have in common ----------------------------------------------------------------------


def person_page(person: Model, values: Form | None = None, refusal: Refusal | None = None) -> str:
    """A person with the notes, and the form for one more. Without a copy of the notes, the page opens all the same."""
    try:
        notes: Collection | None = notes_of(person).fetch()
    except NotCached:
        notes = None
    return render_template(
        "person.html",
        person=person,
        notes=notes,
        deletions=deletions(f"/people/{person.id}/notes"),
        values=values or {},
        errors=errors_of(refusal),
        verdict=verdict(refusal),
    )


def deletions(store: str) -> list[PendingWrite]:
    """The deletes that wait in one store: what they delete shows in no list."""
    return [write for write in dualstorage.pending() if write.kind == "delete" and write.store == store]


def entered(fields: tuple[str, ...]) -> Form:
    """What was typed into the form. Browsers send line breaks as CR LF, whatever they were before."""
    return {name: request.form.get(name, "").strip().replace("\r\n", "\n") for name in fields}


def opened(template: str, model: Model, **shown: Any) -> str:
    """The form with the record; or, where it was opened to correct a change, with what was typed and what is wrong."""
    typed = dualstorage.typed()
    if typed is None:
        return render_template(template, **shown, values=model)
    why = "The directory service did not take this." if typed.write.state == "rejected" else "This is not sent yet."
    return render_template(template, **shown, values=typed.attributes, errors=at_fields(typed.errors), verdict=why)


def save(model: Model, values: Form) -> bool:
    """Save it: into the change that the form was opened to correct, if it was. True where it was refused again."""
    typed = dualstorage.typed()
    if typed is None:
        model.save(values, nonce=request.form["dualstorage_nonce"])
        return False
    return dualstorage.edit(typed.id, values).state == "rejected"


def again(template: str, refusal: Refusal, **shown: Any) -> ResponseReturnValue:
    """The form once more, with what was typed and what is wrong with it."""
    page = render_template(template, **shown, errors=errors_of(refusal), verdict=verdict(refusal))
    return page, status_of(refusal)


def status_of(refusal: Refusal) -> int:
    """422 where other input helps, 502 where the upstream itself failed."""
    return 422 if isinstance(refusal, Rejected | ValidationFailed) else 502


def verdict(refusal: Refusal | None) -> str:
    """What a refusal means for what was typed. It is kept where it was added to a change that already waited."""
    if isinstance(refusal, UpstreamError) and refusal.pending_write:
        return "This is kept here, but the directory service does not take it."
    if isinstance(refusal, UpstreamError) and refusal.in_doubt:
        return "The directory service failed, and it is not known whether it saved this."
    return "Nothing was saved yet."


def errors_of(refusal: Refusal | None) -> dict[str, list[str]]:
    """What is wrong, by field; under the empty name what is wrong with the whole."""
    if refusal is None:
        return {}
    known = refusal.errors if isinstance(refusal, Rejected | ValidationFailed) else {}
    return at_fields(known) or {"": [str(refusal)]}


def at_fields(errors: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Errors by the field that shows them; under the empty name those that none does."""
    return {name if name in (*PERSON_FIELDS, *NOTE_FIELDS) else "": texts for name, texts in errors.items()}


def deleted(model: Model | None, name: str, back: str) -> ResponseReturnValue:
    """Delete it and say so. What is not there (any more) is deleted, too: the button was clicked twice, perhaps."""
    if model is None:
        flash(f"{name} was deleted already.", "saved")
        return redirect(back, 303)
    result = model.destroy(nonce=request.form["dualstorage_nonce"])
    if result.state is None:
        flash(f"{name} was deleted, and had never been sent: there is nothing to do.", "saved")
    else:
        tell(model, f"{name} was deleted.")
    return redirect(back, 303)


#: What became of a change that is not applied, for the person who made it.
KEPT = {
    "queued": "The change is kept here and will be sent with the next sync.",
    "sending": "The change is on its way to the directory service.",
    "in_doubt": "The change was sent, but no answer came. It is kept here; the next sync finds out whether it arrived.",
    "conflict": "The change is kept here: somebody else changed the same record meanwhile, so you decide what to do.",
    "rejected": "The change is kept here, but the directory service refuses it. Change it, or drop it.",
}


def tell(model: Model, done: str) -> None:
    """Flash what was done, and whether the upstream has it or it is kept here."""
    write = model.pending_write
    if write is None:
        flash(f"{done} The directory service has it.", "saved")
    else:
        flash(f"{done} {KEPT[write.state]}", "kept")
