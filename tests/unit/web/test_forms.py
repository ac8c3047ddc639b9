"""What the forms of one write draw and read: every type, every side, and nothing that was typed is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.datastructures import MultiDict

from flask_dualstorage.policy.merging import merge
from flask_dualstorage.web.forms import by_field, edit_form, errors_of, questions_of, read_conflict, read_edit
from flask_dualstorage.web.inputs import input_of, read, text_of
from flask_dualstorage.web.sides import seen_of, sides_of


def write(mine: Any, base: Any = None, theirs: Any = None, state: str = "rejected", **more: Any) -> Any:
    clashes = merge(base, mine, theirs).clashes if state == "conflict" and mine and theirs else ()
    kind = "update" if mine is not None else "delete"
    known = {"kind": kind, "record_id": 1, "problem": None, "reason": None, "policy": "merge", **more}
    return SimpleNamespace(attributes=mine, base=base, theirs=theirs, state=state, conflicts=clashes, **known)


class TestInputs:
    @pytest.mark.parametrize(
        ("value", "kind", "shown"),
        [
            ("x", "text", "x"),
            ("", "text", ""),
            (None, "text", ""),
            ("a\nb", "lines", "a\nb"),
            ("x" * 81, "lines", "x" * 81),
            (7, "number", "7"),
            (2.5, "number", "2.5"),
            (True, "flag", "true"),
            (False, "flag", "false"),
            ([1], "json", "[\n  1\n]"),
            ({}, "json", "{}"),
        ],
    )
    def test_each_type_has_its_kind_and_comes_back_as_it_was(self, value: Any, kind: str, shown: str):
        drawn = input_of("f", "f", value)
        assert (drawn.kind, drawn.text, drawn.checked) == (kind, shown, value is True)
        sent = {} if kind == "flag" and value is False else {"f": shown.replace("\n", "\r\n")}
        assert read(sent, "f", value) is value

    def test_what_is_not_known_here_is_told_by_the_others(self):
        assert input_of("f", "f", None, None, 7).kind == "number"
        assert read({"f": "8"}, "f", None, None, 7) == 8
        assert read({}, "f", None, True) is None
        assert read({"f": "true"}, "f", None, True) is True

    @pytest.mark.parametrize(
        ("typed", "number"), [(" 8 ", 8), ("-8", -8), ("+8", 8), ("8.5", 8.5), ("1e3", 1000.0), ("", None)]
    )
    def test_numbers(self, typed: str, number: Any):
        found = read({"f": typed}, "f", 7)
        assert (found, type(found)) == (number, type(number))

    @pytest.mark.parametrize("typed", ["x", "8,5", "1_000", "nan", "inf", "--8", "²", "0x8", "8 8"])
    def test_what_is_no_number(self, typed: str):
        with pytest.raises(ValueError, match="takes a number"):
            read({"f": typed}, "f", 7)

    @pytest.mark.parametrize("typed", ["[", "{'a': 1}", "NaN", "x"])
    def test_what_is_no_json(self, typed: str):
        with pytest.raises(ValueError, match="not valid JSON"):
            read({"f": typed}, "f", [1])

    def test_json_may_become_anything_that_is_json(self):
        assert [read({"f": typed}, "f", [1]) for typed in ("{}", "7", " ")] == [{}, 7, None]

    def test_old_line_breaks_stay_where_nothing_else_changed(self):
        assert read({"f": "a\r\nb\r\nc"}, "f", "a\rb\nc") == "a\rb\nc"
        assert read({"f": "a\r\nb\r\nd"}, "f", "a\rb\nc") == "a\nb\nd"

    @pytest.mark.parametrize("value", ["é", "🦆", {"a": "é"}])
    def test_text_is_shown_as_people_write_it(self, value: Any):
        assert "\\u" not in text_of(value)


class TestEditing:
    def test_what_it_changes_comes_first_and_the_id_never(self):
        form = edit_form(write({"id": 1, "a": 1, "b": 3}, base={"id": 1, "a": 1, "b": 2}), "id", {"a": ["wrong"]})
        assert [each.label for each in form.changed] == ["a", "b"]
        assert (form.rest, [each.label for each in form.inputs]) == ([], ["a", "b"])
        assert form.changed[0].errors == ["wrong"]

    def test_what_is_wrong_with_no_field_of_the_form_is_told_above_it(self):
        form = edit_form(
            write({"id": 1, "a": 1}), "id", {"": ["all"], "id": ["taken"], "x.y": ["odd"], "a[0]": ["first"]}
        )
        assert form.general == ["all", "x.y: odd", "taken"]
        assert form.changed[0].errors == ["first"]

    def test_only_what_was_shown_and_changed_is_given(self):
        typed = {"attributes[a]": "2", "attributes[b]": "3", "attributes[c]": "9", "attributes[id]": "7"}
        sent = MultiDict({**typed, "shown": ["a", "b", "id", "new"]})
        assert read_edit(write({"id": 1, "a": 1, "b": 3, "c": 4}), "id", sent) == ({"a": 2}, {})

    def test_names_with_dots_and_brackets_are_fields_too(self):
        assert by_field({"a.b": ["x"], "c[d]": ["y"]}, {"a.b": 1, "c": 2}) == {"a.b": ["x"], "c": ["y"]}


class TestErrors:
    def test_a_refusal_without_fields_is_about_the_whole(self):
        assert errors_of(write({}, problem={"detail": "No."}, reason="Refused.")) == {"": ["No."]}
        assert errors_of(write({}, reason="Refused.")) == {"": ["Refused."]}
        assert errors_of(write({})) == {}

    def test_what_waits_for_the_upstream_alone_has_none(self):
        assert errors_of(write({}, state="queued", problem={"detail": "No."})) == {}

    def test_of_a_conflict_they_tell_what_it_is_there(self):
        met = write({"a": 2, "b": 2}, {"a": 1, "b": 1}, {"a": 3}, state="conflict")
        assert errors_of(met) == {
            "a": ["Somebody else changed this too: there it is “3”."],
            "b": ["Somebody else changed this too: there it is gone."],
        }


class TestConflicts:
    def choose(self, met: Any, *chosen: str, **typed: str) -> Any:
        sent = {f"choice.{number}": choice for number, choice in enumerate(chosen)}
        return read_conflict(met, MultiDict({**sent, **{name.replace("_", "."): text for name, text in typed.items()}}))

    def test_each_value_is_put_where_it_belongs(self):
        base = {"a": 1, "deep": {"x": 1, "y": 1, "z": 1}}
        met = write(
            {"a": 2, "deep": {"x": 2, "y": 2, "z": 1}}, base, {"a": 3, "deep": {"x": 3, "y": 3, "z": 3}}, "conflict"
        )
        assert [question.label for question in questions_of(met)] == ["a", "deep.x", "deep.y"]
        decided = self.choose(met, "theirs", "other", "mine", other_1="9")
        assert decided == ({"a": 3, "deep": {"x": 9, "y": 2, "z": 3}}, {})
        assert met.attributes["deep"]["x"] == 2, "what is stored is not touched"

    def test_all_mine_is_mine(self):
        met = write({"a": 2}, {"a": 1, "b": 1}, {"a": 3, "b": 2}, "conflict")
        assert self.choose(met, "mine", "mine") == ("mine", {})

    @pytest.mark.parametrize("chosen", ["", "ours", "MINE"])
    def test_nothing_chosen_is_told_at_the_question(self, chosen: str):
        met = write({"a": 2}, {"a": 1}, {"a": 3}, "conflict")
        assert self.choose(met, chosen)[1] == {"choice.0": ["Choose what this shall be."]}

    def test_a_field_that_is_gone_on_one_side_goes_out_of_an_object(self):
        met = write({"d": {"x": 2, "y": 2}}, {"d": {"x": 1, "y": 1}}, {"d": {"y": 3}}, "conflict")
        labels = [question.label for question in questions_of(met)]
        chosen = ["theirs" if label == "d.x" else "mine" for label in labels]
        assert self.choose(met, *chosen) == ({"d": {"y": 2}}, {})

    def test_but_not_out_of_the_record_which_is_said(self):
        met = write({"a": 2}, {"a": 1}, {"b": 1}, "conflict")
        number = [question.label for question in questions_of(met)].index("a")
        decided = self.choose(met, *(["theirs"] * (number + 1)))
        assert "no such field" in decided[1][f"choice.{number}"][0]


class TestSides:
    def test_tell_who_changed_what(self):
        met = write(
            {"id": 1, "a": 2, "b": 1, "c": 2, "same": 1},
            {"id": 1, "a": 1, "b": 1, "c": 1, "same": 1},
            {"id": 1, "a": 1, "b": 2, "c": 3, "same": 1, "new": True},
            "conflict",
        )
        rows = {row["label"]: row["who"] for row in sides_of(met, "id")}
        assert rows == {"a": "mine", "b": "theirs", "c": "both", "new": "theirs"}

    def test_of_a_delete_what_would_go(self):
        assert [row["label"] for row in sides_of(write(None, {"id": 1, "a": 1}), "id")] == ["a"]

    def test_true_is_not_one(self):
        assert [row["label"] for row in sides_of(write({"a": True}, {"a": 1}), "id")] == ["a"]

    def test_theirs_counts_only_in_a_conflict(self):
        assert sides_of(write({"a": 1}, {"a": 1}, {"a": 2}), "id") == []

    def test_the_mark_of_what_was_seen_changes_with_any_of_it(self):
        marks = {
            seen_of(each)
            for each in (
                write({"a": 1}),
                write({"a": 2}),
                write({"a": 1}, {"a": 0}),
                write({"a": 1}, None, {"a": 0}),
                write({"a": 1}, state="queued"),
            )
        }
        assert len(marks) == 5
