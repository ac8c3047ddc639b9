"""When a write that did not go through is due again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_dualstorage.policy.backoff import LONGEST, LONGEST_RETRY_AFTER, backoff, retry_after

#: Wed, 21 Oct 2015 07:28:00 GMT, the date of RFC 9110's examples.
THEN = 1_445_412_480.0


@given(attempts=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_nothing_and_the_longest(attempts: int, jitter: float):
    assert 0 <= backoff(attempts, jitter) <= min(LONGEST, 2.0**attempts if attempts < 30 else LONGEST)


@pytest.mark.parametrize(("attempts", "ceiling"), [(1, 2), (2, 4), (3, 8), (8, 256), (9, LONGEST), (5000, LONGEST)])
def test_the_ceiling_doubles_with_each_attempt_up_to_the_longest(attempts: int, ceiling: float):
    assert backoff(attempts, 0.999_999) == pytest.approx(ceiling, rel=1e-3)


@given(attempts=st.integers(1, 50))
def test_jitter_is_full_so_that_clients_do_not_come_back_together(attempts: int):
    assert backoff(attempts, 0.0) == 0
    assert backoff(attempts, 0.25) == backoff(attempts, 0.5) / 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("0", 0, id="at once"),
        pytest.param("120", 120, id="seconds"),
        pytest.param("  3 ", 3, id="seconds with spaces around"),
        pytest.param("Wed, 21 Oct 2015 07:28:30 GMT", 30, id="an HTTP date"),
        pytest.param("Wednesday, 21-Oct-15 07:28:30 GMT", 30, id="an obsolete RFC 850 date"),
        pytest.param("Wed Oct 21 07:28:30 2015", 30, id="an asctime date, which has no zone: GMT"),
        pytest.param("Wed, 21 Oct 2015 09:28:30 +0200", 30, id="a date of another zone"),
        pytest.param("Wed, 21 Oct 2015 07:28:30 -0000", 30, id="a date that knows no zone: GMT"),
        pytest.param("Wed, 21 Oct 2015 07:27:00 GMT", 0, id="a date in the past"),
        pytest.param("Fri, 21 Oct 2135 07:28:00 GMT", LONGEST_RETRY_AFTER, id="a date in another century"),
        pytest.param("86401", LONGEST_RETRY_AFTER, id="more than a day"),
        pytest.param("9" * 5000, LONGEST_RETRY_AFTER, id="a number beyond all numbers"),
    ],
)
def test_retry_after_is_read_as_seconds_from_now(header: str, seconds: float):
    assert retry_after(header, THEN) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="no header"),
        pytest.param("", id="empty"),
        pytest.param("soon", id="a word"),
        pytest.param("-5", id="a negative number"),
        pytest.param("1.5", id="a fraction"),
        pytest.param("1e3", id="an exponent"),
        pytest.param("٣", id="a digit that is not ASCII"),
        pytest.param("Wed, 21 Oct 2015 99:99:99 GMT", id="an hour that no clock shows"),
        pytest.param("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", id="a year of twenty digits"),
        pytest.param("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", id="a zone beyond the sun"),
    ],
)
def test_what_can_not_be_read_asks_for_nothing(header: str | None):
    assert retry_after(header, THEN) is None


@given(st.text())
def test_no_header_is_too_strange(header: str):
    wait = retry_after(header, THEN)
    assert wait is None or 0 <= wait <= LONGEST_RETRY_AFTER


@given(
    st.builds(
        "{} {} {} {}:{}:{} {}".format,
        st.integers(-5, 10**20),
        st.sampled_from(["Jan", "oct", "Foo", "13"]),
        st.integers(-5, 10**20),
        *[st.integers(-5, 10**20)] * 3,
        st.sampled_from(["GMT", "+0000", "-9999", "+99999999999999", "EST", "?"]),
    )
)
def test_no_date_is_too_strange(header: str):
    wait = retry_after(header, THEN)
    assert wait is None or 0 <= wait <= LONGEST_RETRY_AFTER
