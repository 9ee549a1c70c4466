"""
Print the table of attempts: class, how many, how many leak in a bare subprocess, how many in the sandbox.

Run as root, so that the bare ones have all rights: `python benchmarks/escapes.py`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from sandbox.escapes import ESCAPES
from sandbox.play import play_as, play_bare

_HOSTS = (
    ("root", None, "default"),
    ("user", 41_234, "default"),
    ("user, no namespaces", 41_234, "no namespaces"),
    ("user, no landlock", 41_234, "no landlock"),
    ("root, seccomp alone", None, "seccomp alone"),
)


def main() -> None:
    """Play all, and print."""
    bare = play_bare(ESCAPES)
    leaks = {"bare": {name for name, verdict in bare.items() if verdict.leaked}}
    harmed = Counter()
    for name, user, variant in _HOSTS:
        played = play_as(user, variant)
        leaks[name] = {attempt for attempt, verdict in played.items() if verdict.leaked}
        harmed[name] = sum(bool(verdict.harmed) for verdict in played.values())
    groups = Counter(attempt.group for attempt in ESCAPES)
    print("| class | attempts | " + " | ".join(leaks) + " |")
    print("| --- " * (len(leaks) + 2) + "|")
    for group, count in groups.items():
        ours = {attempt.name for attempt in ESCAPES if attempt.group == group}
        can = any(attempt.leaks for attempt in ESCAPES if attempt.group == group)
        cells = [str(len(found & ours)) if can or name != "bare" else "-" for name, found in leaks.items()]
        print(f"| {group} | {count} | " + " | ".join(cells) + " |")
    print(f"| all | {len(ESCAPES)} | " + " | ".join(str(len(found)) for found in leaks.values()) + " |")
    print("\nHosts that came to harm:", dict(harmed))


if __name__ == "__main__":
    main()
