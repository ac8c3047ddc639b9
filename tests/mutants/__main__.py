"""``python -m tests.mutants [WORD…]``: break one rule after the other in a copy, and see that a test notices.

Only mutants whose name holds one of the words, where any are given. Ends with 1 where a mutant survives, does not fit
the source any more, or is named a test that fails, or is none, without it.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
#: Longer than all of the tests together take on a busy machine, seconds.
PATIENCE = 600.0
#: What pytest's exit codes mean for a mutant. A module that can not even be imported is no plausible mistake.
WORDS = {0: "SURVIVED", 1: "killed", -signal.SIGKILL: "HUNG"}
FINE = {"killed", "skipped"}


@dataclass(frozen=True)
class Run:
    """How one run of pytest ended, and what it said."""

    code: int
    said: str


@dataclass(frozen=True)
class Result:
    """What became of one mutant."""

    mutant: Mutant
    word: str
    seconds: float
    said: str = ""


class Copy:
    """A copy of the checkout. Its package goes before the one that is installed, for what its tests start too."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self._base = folder / "tmp"
        top = {path.name for path in ROOT.iterdir() if path.name.startswith(".")} | {"instance", "htmlcov"}
        shutil.copytree(
            ROOT,
            self.root,
            ignore=lambda at, names: {
                name for name in names if name == "__pycache__" or (Path(at) == ROOT and name in top)
            },
        )
        # Without byte code: a mutant as long as the source, made within the same second, would pass for it.
        self._environment = os.environ | {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        where = subprocess.run(
            [sys.executable, "-c", "import flask_dualstorage; print(flask_dualstorage.__file__)"],
            cwd=self.root,
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        if not Path(where.stdout.strip()).is_relative_to(self.root):
            raise SystemExit(f"Not the copy is imported, but {where.stdout.strip()}")

    def pytest(self, *arguments: str) -> Run:
        """Run tests in it, and end what they started."""
        options = ["-p", "no:randomly", "-p", "no:cacheprovider", "-q", "--tb=short", f"--basetemp={self._base}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *arguments],
            cwd=self.root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
        return Run(process.returncode, said)

    def try_out(self, mutant: Mutant) -> Result:
        """Run the mutant's test with its rule broken."""
        path = self.root / mutant.file
        source = path.read_text()
        if source.count(mutant.old) != 1:
            return Result(
                mutant, "DOES NOT FIT", 0.0, f"{mutant.file} has its old text {source.count(mutant.old)} times."
            )
        began = time.monotonic()
        path.write_text(source.replace(mutant.old, mutant.new))
        try:
            run = self.pytest("-x", mutant.test)
        finally:
            path.write_text(source)
        word = WORDS.get(run.code, "BROKEN")
        if word == "SURVIVED" and " passed" not in run.said:
            word = "skipped"
        return Result(mutant, word, time.monotonic() - began, run.said)


def say(text: str = "") -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def chosen(words: list[str]) -> list[Mutant]:
    """Give the mutants whose name holds one of the words."""
    return [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]


def are_good(tests: list[str], copies: list[Copy]) -> bool:
    """Say whether the tests pass while nothing is broken."""
    # None is empty: without a test to run, pytest runs all that there are.
    shares = [share for start in range(len(copies)) if (share := tests[start :: len(copies)])]
    with ThreadPoolExecutor(len(copies)) as pool:
        runs = list(pool.map(lambda copy, share: copy.pytest(*share), copies, shares))
    for run in runs:
        if run.code:
            say(run.said)
    return not any(run.code for run in runs)


def try_all(mutants: list[Mutant], copies: list[Copy]) -> list[Result]:
    """Try the mutants, as many at once as there are copies, and print each in the order of the list."""
    free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def try_out(mutant: Mutant) -> Result:
        copy = free.get()
        try:
            return copy.try_out(mutant)
        finally:
            free.put(copy)

    results = []
    with ThreadPoolExecutor(len(copies)) as pool:
        for result in pool.map(try_out, mutants):
            test = result.mutant.test.rpartition("::")[2]
            say(f"{result.word:8} {result.seconds:5.1f} s  {result.mutant.name:62} {test}")
            results.append(result)
    return results


def main(words: list[str]) -> int:
    """Try the mutants that were named, or all."""
    began = time.monotonic()
    mutants = chosen(words)
    if not mutants:
        say("No mutant has such a name.")
        return 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [Copy(Path(folder, str(number))) for number in range(min(WORKERS, len(mutants)))]
        if not are_good(sorted({mutant.test for mutant in mutants}), copies):
            say("A named test fails, or is not there, while nothing is broken.")
            return 1
        results = try_all(mutants, copies)
    bad = [result for result in results if result.word not in FINE]
    for result in bad:
        say(f"\n{result.word}: {result.mutant.rule}\n{result.mutant.file}\n{result.mutant.test}\n{result.said}")
    words = [result.word for result in results]
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    say(f"\n{len(results)} mutants: {counts}; {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
