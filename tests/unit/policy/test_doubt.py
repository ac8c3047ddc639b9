"""A create in doubt: what the upstream's list says of it (DESIGN §4.4)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.policy.doubt import Search, Trace, look_for

WANTED = {"name": "Turing", "tags": ["a"]}


@pytest.mark.parametrize(
    ("listed", "known", "search"),
    [
        pytest.param([], set(), Search(Trace.NOT_MADE), id="an empty list: it was not made"),
        pytest.param(
            [{"id": 1, "name": "Ada", "tags": ["a"]}], {"1"}, Search(Trace.NOT_MADE), id="none is alike: not made"
        ),
        pytest.param(
            [{"id": 1, "name": "Turing"}, {"id": 2, "tags": ["b"]}],
            {"1", "2"},
            Search(Trace.NOT_MADE),
            id="a field is missing that others have: not alike",
        ),
        pytest.param([{"id": 7, "name": "Turing"}], {"1"}, Search(Trace.UNCLEAR), id="a field is never shown: unclear"),
        pytest.param([{"id": 7, "label": "Turing"}], {"1"}, Search(Trace.UNCLEAR), id="no field is shown: unclear"),
        pytest.param(
            [{"id": 7, "name": "Ada"}], {"1"}, Search(Trace.NOT_MADE), id="what is shown differs: that is not it"
        ),
        pytest.param(
            [{"id": 7, "name": "Turing", "tags": ["a"], "age": 41}],
            {"1"},
            Search(Trace.MADE, {"id": 7, "name": "Turing", "tags": ["a"], "age": 41}),
            id="one that is new and has every field sent: made",
        ),
        pytest.param(
            [{"id": 7, **WANTED}, {"id": 8, **WANTED}], set(), Search(Trace.UNCLEAR), id="several are alike: unclear"
        ),
        pytest.param([{"id": 7, **WANTED}], {"7"}, Search(Trace.UNCLEAR), id="it was known before: unclear"),
        pytest.param([{"id": 7, **WANTED}], None, Search(Trace.UNCLEAR), id="nobody knows what was there: unclear"),
        pytest.param([], None, Search(Trace.NOT_MADE), id="none alike needs no knowledge of before"),
    ],
)
def test_what_the_list_says(listed: list[dict[str, Any]], known: set[str] | None, search: Search):
    assert look_for(WANTED, listed, known, "id") == search


def test_two_creates_of_the_same_are_not_told_apart():
    same, another = [{"name": "Turing"}], [{"name": "Ada"}]
    assert look_for(WANTED, [{"id": 7, **WANTED}], {"1"}, "id", others=same) == Search(Trace.UNCLEAR)
    assert look_for(WANTED, [{"id": 7, **WANTED}], {"1"}, "id", others=another).trace is Trace.MADE


@pytest.mark.parametrize("known", [{"7"}, {"1"}, None])
def test_what_another_create_made_is_not_it(known: set[str] | None):
    assert look_for(WANTED, [{"id": 7, **WANTED}], known, "id", {"7"}) == Search(Trace.NOT_MADE)


_records = st.lists(st.fixed_dictionaries({"name": st.sampled_from(["Turing", "Ada"])}), max_size=6).map(
    lambda records: [{"id": place, **record} for place, record in enumerate(records)]
)


@given(_records, st.sets(st.integers(0, 6)))
def test_it_is_never_sent_again_while_one_like_it_is_listed(records: list[dict[str, Any]], known: set[int]):
    """The copy may be younger than the create, so even a record that was known may be the one."""
    search = look_for({"name": "Turing"}, records, {str(each) for each in known}, "id")
    alike = [record for record in records if record["name"] == "Turing"]
    assert (search.trace is Trace.NOT_MADE) is (not alike)
    assert search.trace is not Trace.MADE or (alike == [search.record] and alike[0]["id"] not in known)
