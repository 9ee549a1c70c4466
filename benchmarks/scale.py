"""
How the daemon bears large folders, and many saves at once.

    python benchmarks/scale.py [--folders 2000] [--files 100000] [--inputs 200] [--saves 1000]

Four folders side by side: few and many files in few and many sub-folders, the same inputs in each. Start, walk and
memory should grow with the folders (each needs a watch) and not with the files that are no inputs. Then as many saves
at once as conversations, until the last answer lies in the folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from servers.openai_server import OpenAIServer
from system.daemon import Daemon
from system.harness import Brain, Home

MB = 1024
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Folder:
    """How large a workspace is."""

    folders: int
    files: int
    inputs: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--folders", type=int, default=2_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--inputs", type=int, default=200)
    parser.add_argument("--saves", type=int, default=1_000)
    given = parser.parse_args()
    few_folders, few_files = max(1, given.folders // 100), max(1, given.files // 100)
    print("| sub-folders | files | inputs | start s | first walk ms | walk again ms | memory MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for folders in (few_folders, given.folders):
        for files in (few_files, given.files):
            with home() as (person, _):
                measure(person, Folder(folders, files, given.inputs))
    with home() as (person, server):
        burst(person, server, given.saves)


@contextmanager
def home():
    with tempfile.TemporaryDirectory() as folder, OpenAIServer(Brain()) as server:
        yield Home(Path(folder) / "home", server, fresh=True), server


def measure(person: Home, size: Folder) -> None:
    """Print one row."""
    person.set("workers = 16\n")
    places = [person.workspace / f"{number % 50}" / f"{number}" for number in range(size.folders)]
    for place in places:
        place.mkdir(parents=True)
    for number in range(size.inputs):
        (places[number % size.folders] / f"{number}_input.txt").write_text(f"question {number}\n")
    person.cli("run", str(person.workspace), "--once", "--yes", deadline_s=PATIENCE_S)
    for number in range(size.files):
        (places[number % size.folders] / f"{number}.txt").touch()
    began = time.monotonic()
    with person.daemon() as daemon:
        start = time.monotonic() - began
        first = daemon.wait("watch.walked", reason="start")
        again = walked_again(person, daemon)
        print(
            f"| {size.folders:,} | {size.files:,} | {first['inputs']} | {start:.2f} | {first['seconds'] * 1000:.0f} "
            f"| {again['seconds'] * 1000:.0f} | {memory_mb(daemon.pid):.1f} |",
            flush=True,
        )


def walked_again(person: Home, daemon: Daemon) -> dict:
    """Have it begin anew, as after a mount that came back; return what it says of its walk."""
    away = person.root / "away"
    person.workspace.rename(away)
    daemon.wait("watch.paused")
    away.rename(person.workspace)
    return daemon.wait("watch.walked", reason="restart")


def burst(person: Home, server: OpenAIServer, saves: int) -> None:
    """Save once in each of many conversations, as fast as a script can."""
    person.set("workers = 16\n")
    person.save("rlmwatch.toml", "")
    with person.daemon() as daemon:
        began = time.monotonic()
        for number in range(saves):
            person.save(f"{number % 50}/{number}_input.txt", f"question {number}\n")
        saved = time.monotonic() - began
        daemon.wait("save.admitted", saves, timeout=PATIENCE_S)
        admitted = time.monotonic() - began
        daemon.wait("answer.written", saves, timeout=PATIENCE_S)
        answered = time.monotonic() - began
    print(f"\n{saves:,} saves in {saved:.2f} s: all admitted after {admitted:.1f} s, answered after {answered:.1f} s")
    print(f"{server.count:,} calls, {len(person.statuses()):,} runs")


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / MB


if __name__ == "__main__":
    main()
