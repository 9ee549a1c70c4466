"""
How the daemon bears large folders, and many saves at once.

    python benchmarks/scale.py [--folders 2000] [--files 100000] [--inputs 200] [--saves 1000] [--bursts 6]
                               [--statuses 20000]

Four folders side by side: few and many files in few and many sub-folders, the same inputs in each. Start, walk and
memory should grow with the folders (each needs a watch) and not with the files that are no inputs. Then as many saves
at once as conversations, until the last answer lies in the folder; and again in the same conversations, `--bursts`
times: a burst should cost the same whatever came before, and leave nothing in memory. Last, the first new conversation
after a start beside many status files, whose runs the ledger knows, or does not know. `--folders 0` leaves out the
folders, and any other 0 its part.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
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
    parser.add_argument("--bursts", type=int, default=6)
    parser.add_argument("--statuses", type=int, default=20_000)
    given = parser.parse_args()
    few_folders, few_files = max(1, given.folders // 100), max(1, given.files // 100)
    if given.folders:
        print("| sub-folders | files | inputs | start s | first walk ms | walk again ms | memory MB |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for folders in (few_folders, given.folders):
            for files in (few_files, given.files):
                with home() as (person, _):
                    measure(person, Folder(folders, files, given.inputs))
    if given.saves:
        with home() as (person, server):
            bursts(person, server, given.saves, given.bursts)
    if given.statuses:
        with home() as (person, server):
            first_beside(person, server, given.statuses)


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


def bursts(person: Home, server: OpenAIServer, saves: int, times: int) -> None:
    """Save once in each of many conversations, as fast as a script can, several times; print a row for each."""
    person.set("workers = 16\n[models]\nrequests_per_minute = 1000000\n")
    person.save("rlmwatch.toml", "")
    print(f"\n| burst of {saves:,} | saved s | admitted s | answered s | processor s | of the first | memory MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    spent, memory = [], []
    with person.daemon() as daemon:
        for burst in range(1, times + 1):
            began, before = time.monotonic(), processor_s(daemon.pid)
            for number in range(saves):
                person.save(f"{number % 50}/{number}_input.txt", f"question {burst} of {number}\n")
            saved = time.monotonic() - began
            daemon.wait("save.admitted", burst * saves, timeout=PATIENCE_S)
            admitted = time.monotonic() - began
            daemon.wait("answer.written", burst * saves, timeout=PATIENCE_S)
            answered = time.monotonic() - began
            spent.append(processor_s(daemon.pid) - before)
            memory.append(memory_mb(daemon.pid))
            print(
                f"| {burst} | {saved:.2f} | {admitted:.1f} | {answered:.1f} | {spent[-1]:.1f} "
                f"| {spent[-1] / spent[0]:.2f} | {memory[-1]:.1f} |",
                flush=True,
            )
    if times > 1:
        grown = (memory[-1] - memory[0]) / ((times - 1) * saves) * 1000
        print(f"\nmemory per 1,000 ended runs: {grown:.2f} MB")
    print(f"{server.count:,} calls, {len(person.statuses()):,} runs")


def first_beside(person: Home, server: OpenAIServer, statuses: int) -> None:
    """Save the first new conversation after a start, beside many status files; print a row for each ledger."""
    with person.daemon() as daemon:
        person.save("a_input.txt", "the first\n")
        daemon.answered("a_output.txt")
    print("\n| status files | ledger | start s | save to request ms, at once | the next |")
    print("| --- | --- | --- | --- | --- |")
    multiply(person, statuses)
    new_conversation(person, server, statuses, "knows them")
    shutil.rmtree(person.states)
    new_conversation(person, server, statuses, "is lost")


def multiply(person: Home, times: int) -> None:
    """Put copies of the one run into ledger and folder."""
    (status,) = person.statuses()
    ledger = sqlite3.connect(person.ledger)
    columns = [row[1] for row in ledger.execute("PRAGMA table_info(runs)") if row[1] not in ("seq", "run_id", "digest")]
    copied = ", ".join(columns)
    with ledger:
        for number in range(times):
            run_id = f"20260101T000000Z-chat-{number:06x}"
            ledger.execute(
                f"INSERT INTO runs (run_id, digest, {copied}) SELECT ?, ?, {copied} FROM runs LIMIT 1",  # noqa: S608 (our columns)
                (run_id, f"sha256:{number:064x}"),
            )
            copy = json.dumps({**status, "job_id": run_id, "input_digest": f"sha256:{number:064x}"})
            (person.workspace / "jobs" / f"{run_id}.json").write_text(copy)
    ledger.close()


def new_conversation(person: Home, server: OpenAIServer, statuses: int, ledger: str) -> None:
    began = time.monotonic()
    with person.daemon() as daemon:
        start = time.monotonic() - began
        took = []
        for number in range(2):
            calls, saved = server.count, time.monotonic()
            person.save(f"{ledger}/{number}_input.txt", f"a new one, where the ledger {ledger}: {number}\n")
            while server.count == calls:
                time.sleep(0.001)
            took.append((time.monotonic() - saved) * 1000)
            daemon.wait("answer.written", number + 1)
        print(f"| {statuses:,} | {ledger} | {start:.2f} | {took[0]:.0f} | {took[1]:.0f} |", flush=True)


def processor_s(pid: int) -> float:
    """Return what the process *pid* used of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / MB


if __name__ == "__main__":
    main()
