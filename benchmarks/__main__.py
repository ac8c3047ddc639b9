"""``python -m benchmarks [GROUP …]``: measure, and print what was found; see ``--help``."""

from __future__ import annotations

import argparse
import importlib

from .rounds import Options, Report

GROUPS = ("reads", "writes", "flushes", "outages", "pages", "memory")


def main() -> None:
    """Run the groups that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed, against goals and peers.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each comparison")
    parser.add_argument("--full", action="store_true", help="as many rounds of what takes long, too")
    parser.add_argument("--tiny", action="store_true", help="small sizes, only to see that everything runs")
    parser.add_argument(
        "--write", action="store_true", help="write docs/performance.md, its figure, and README's table"
    )
    given = parser.parse_args()
    unknown = set(given.groups) - set(GROUPS)
    if unknown or (given.write and given.groups):
        parser.error(f"no such group: {', '.join(unknown)}" if unknown else "--write takes all groups")
    rounds = given.rounds or 15
    long_rounds = rounds if given.full else min(rounds, 3)
    options = Options(rounds, long_rounds, given.tiny)
    found = Report()
    for name in given.groups or GROUPS:
        print(f"{name}:", flush=True)
        report = importlib.import_module(f"benchmarks.{name}").run(options)
        found.goals += report.goals
        found.plots += report.plots
    missed = [goal for goal in found.goals if goal.met is False]
    print(f"{len(found.goals)} figures, {len(missed)} goals missed.")
    if given.write:
        from . import page

        page.write(found, options)


if __name__ == "__main__":
    main()
