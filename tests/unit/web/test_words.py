"""What a person reads after "Send now"."""

import pytest

from flask_dualstorage.web.words import out_of_reach, summary
from tests.unit.fakes import SyncReport


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (SyncReport(), "Nothing was waiting to be sent."),
        (SyncReport(online=False), "Nothing was waiting to be sent."),
        (SyncReport(applied=1), "1 change was sent."),
        (SyncReport(applied=3), "3 changes were sent."),
        (
            SyncReport(online=False, queued=1, remaining=1),
            "The upstream service is out of reach. 1 change is kept here and will be sent later.",
        ),
        (
            SyncReport(online=False, queued=2, remaining=2, retry_after=4.2),
            "The upstream service is out of reach. 2 changes are kept here and will be sent later. "
            "Try again in 5 seconds.",
        ),
        (
            SyncReport(online=False, queued=2, remaining=2, retry_after=0.5),
            "The upstream service is out of reach. 2 changes are kept here and will be sent later. "
            "Try again in 1 second.",
        ),
        (
            SyncReport(online=False, applied=2, queued=1, remaining=1),
            "2 changes were sent. 1 change is kept here and will be sent later.",
        ),
        (
            SyncReport(in_doubt=1, rejected=2, conflict=1, remaining=4),
            "Nothing could be sent. 1 change may or may not have arrived. 2 changes were refused. "
            "1 change met a change that somebody else made.",
        ),
        # What is being sent by another worker counts in `remaining` alone.
        (SyncReport(remaining=1), "Nothing could be sent. 1 change is kept here and will be sent later."),
    ],
)
def test_the_summary(report, words):
    assert summary(report) == words


@pytest.mark.parametrize(
    ("report", "so"),
    [
        (SyncReport(online=False, remaining=1), True),
        (SyncReport(online=False, remaining=0), False),
        (SyncReport(online=False, remaining=1, applied=1), False),
        (SyncReport(online=True, remaining=1), False),
        (SyncReport(online=None, remaining=1), False),
    ],
)
def test_what_out_of_reach_means(report, so):
    assert out_of_reach(report) is so
