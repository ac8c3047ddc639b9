"""A number that can not be kept exactly is never sent back as another one."""

from __future__ import annotations

import pytest

from flask_dualstorage import NotCached
from tests.upstreams.rest import RestUpstream
from tests.whole import User

BIG = 2**70 + 1


def test_a_list_with_a_number_that_would_change_is_not_taken(user: User, upstream: RestUpstream):
    """A whole record is PUT: the number that nobody edited would go with it, as a float."""
    upstream.records["/people"][0]["account"] = BIG
    with pytest.raises(NotCached, match="beyond 64 bits"):
        user().collection("people").fetch()
    assert upstream.writes == []


def test_the_copy_of_before_stays_and_says_why(user: User, upstream: RestUpstream):
    people = user().collection("people").fetch()
    upstream.records["/people"][0]["account"] = BIG
    people.fetch(max_age=0)
    assert (people.source, people.pluck("name")) == ("cache", ["Ada", "Grace"])
    assert "send it as text" in str(people.reason)


def test_an_answer_to_a_write_with_such_a_number_leaves_it_in_doubt(user: User, upstream: RestUpstream):
    """Not applied as another record than the upstream has: it says why."""
    alice = user()
    ada = alice.collection("people").fetch().get(1)
    upstream.records["/people"][0]["account"] = BIG
    ada.save(age=41, patch=True)
    (write,) = alice.pending()
    assert write.state == "in_doubt"
    assert "beyond 64 bits" in str(write.reason)
    assert upstream.find("/people", 1)["account"] == BIG  # type: ignore[index]
