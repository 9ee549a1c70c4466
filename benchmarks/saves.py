"""
How soon a save is admitted: all golden saves on a real folder under the real daemon, by family.

    python benchmarks/saves.py [--stagger SECONDS]

Latency is from the moment at which the content was complete (the close, the rename) to the moment that the ledger
keeps as the admission (milliseconds). `runs` is what was admitted, `right` how many recordings made as many runs, of
as whole contents, as they may. The recordings overlap; a longer stagger shows an idle machine's figures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.remove(str(Path(__file__).parent))  # in which `saves` is this file
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from saves.replay import load_all
from servers.openai_server import OpenAIServer
from system.harness import Brain, Home
from system.recorded import Played, faults, play_all

TRACES = Path(__file__).parent.parent / "tests" / "saves" / "traces"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--stagger", type=float, default=0.25, metavar="SECONDS", help="between two recordings")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, OpenAIServer(Brain()) as server:
        home = Home(Path(folder) / "home", server, fresh=True)
        played = play_all(home, load_all(TRACES), stagger_s=given.stagger)
    families: defaultdict[str, list[Played]] = defaultdict(list)
    for each in played:
        families[each.trace["family"]].append(each)
    print("| family | recordings | right | runs | median ms | worst ms | the worst |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for family, members in sorted(families.items()):
        print(line(family, members))
    print(line("all", played))
    wrong = [fault for each in played for fault in faults(each)]
    print(*wrong, sep="\n", end="")
    return bool(wrong)


def line(family: str, members: list[Played]) -> str:
    """Return one row of the table."""
    right = sum(not faults(each) for each in members)
    runs = sum(len(each.runs) for each in members)
    seen = sorted((latency, each.name) for each in members for latency in each.latencies)
    if not seen:
        return f"| {family} | {len(members)} | {right} | {runs} | - | - | - |"
    middle = statistics.median(latency for latency, _ in seen)
    worst, name = seen[-1]
    return f"| {family} | {len(members)} | {right} | {runs} | {middle * 1000:.0f} | {worst * 1000:.0f} | {name} |"


if __name__ == "__main__":
    raise SystemExit(main())
