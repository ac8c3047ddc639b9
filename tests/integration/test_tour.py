"""``make tour`` plays the story by itself, and says so where it is not true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Run the tour, with something about it changed first.
SABOTAGED = """
import example_app.tour as tour
{sabotage}
tour.main()
"""


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_ends_by_itself_with_everything_checked() -> None:
    tour = run("-m", "example_app.tour")
    assert (tour.returncode, tour.stderr) == (0, "")
    titles = [
        "Fetch the people",
        "Pull the plug",
        "Read",
        "Create",
        "Edit",
        "Delete",
        "Look at what waits",
        "Plug it in",
    ]
    places = [tour.stdout.index(title) for title in [*titles, "Send what waits", "Compare the upstream"]]
    assert places == sorted(places)
    assert tour.stdout.count("✓") >= 20


@pytest.mark.parametrize(
    ("sabotage", "said"),
    [
        pytest.param(
            "start = tour.start_upstream\n"
            "def dies(*args):\n"
            "    process = start(*args)\n"
            "    process.kill(); process.wait()\n"
            "    return process\n"
            "tour.start_upstream = dies",
            "NotCached",
            id="an upstream that dies",
        ),
        pytest.param(
            "import sys\ntour.start_upstream.__globals__['sys'].executable = '/bin/false'",
            "did not start",
            id="an upstream that does not start",
        ),
        pytest.param(
            "tour.Stage.turn = lambda stage, state: None", "refuses connections", id="a plug that can not be pulled"
        ),
        pytest.param(
            "sync = tour.sync\n"
            "def loses(stage):\n"
            "    yield from sync(stage)\n"
            "    tour.requests.delete(stage.api + '/people/13/notes/14', timeout=10).raise_for_status()\n"
            "tour.STORY = tuple(loses if scene is sync else scene for scene in tour.STORY)",
            "one of it",
            id="an upstream that loses a note",
        ),
        pytest.param(
            "tour.STORY = (*tour.STORY[:8], tour.compare)",
            "the same 12 people",
            id="a sync that never was",
        ),
    ],
)
def test_fails_where_something_is_not_so(sabotage: str, said: str) -> None:
    tour = run("-c", SABOTAGED.format(sabotage=sabotage))
    assert tour.returncode == 1
    assert "✗" in tour.stderr
    assert said in tour.stderr
