"""The benchmarks run, so that they can not rot; what they measure at these sizes says nothing."""

import pytest

from benchmarks import flushes, memory, outages, pages, reads, writes
from benchmarks.figure import svg
from benchmarks.rounds import Options, Rounds

TINY = Options(rounds=1, long_rounds=1, tiny=True)


@pytest.mark.parametrize("program", [reads, writes, flushes, outages, pages, memory], ids=lambda each: each.__name__)
def test_a_group_runs(program, monkeypatch: pytest.MonkeyPatch):
    """Each group of goals is measured to its end, with those of the others that are installed here."""
    report = program.run(TINY)
    assert report.goals
    assert svg(report.plots).startswith("<svg")


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    """A round in which the machine was busy slows both programs, and leaves their ratio as it is."""
    found = Rounds({"ours": [2.0, 20.0, 2.0], "theirs": [1.0, 10.0, 4.0]})
    assert found.ratio("ours", "theirs") == 2.0
