"""
A large state beside an empty one: start, save, and the commands, in one run.

    python benchmarks/large_state.py [--runs 100000] [--files 100000] [--statuses 2000] [--conversations 1000]
                                     [--rounds 5]

Two homes: one has answered a single question; the other has a ledger of so many ended runs, each with its call, and a
workspace of so many files that are no inputs (notes in 100 folders), with status files of the newest runs. By turns, so
that what else the machine does meets both: the daemon from its process to `ready`, a first question in a new
conversation and the next ones from the save to the answer's file, then `status`, `runs` and `status --watch` (to its
first frame) beside it. Prints medians and their ratio: the machine is in the first two, and not in the last.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from servers.openai_server import OpenAIServer
from system.harness import Brain, Home
from system.terminal import terminal

FOLDERS = 100
QUESTIONS = 4
"""Per start: the first, and those after it."""
COMMANDS = ("status", "runs")
PATIENCE_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--statuses", type=int, default=2_000)
    parser.add_argument("--conversations", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, OpenAIServer(Brain()) as server:
        empty, large = (Home(Path(folder) / name, server, fresh=True) for name in ("empty", "large"))
        for person in (empty, large):
            with person.daemon() as daemon:
                person.save("a_input.txt", "the first\n")
                daemon.answered("a_output.txt")
        fill_ledger(large, given.runs, given.conversations, given.statuses)
        fill_folder(large, given.files)
        took: tuple[dict[str, list[float]], ...] = defaultdict(list), defaultdict(list)
        for number in range(given.rounds):
            for person, times in list(zip((empty, large), took, strict=True))[:: 1 if number % 2 else -1]:
                measure(person, number, times)
    print(
        f"{given.runs:,} ended runs, {given.files:,} files and {given.statuses:,} status files; {given.rounds} rounds\n"
    )
    print("| | empty, ms | large, ms | ratio |\n| --- | --- | --- | --- |")
    for what in took[0]:
        small, big = (statistics.median(times[what]) * 1000 for times in took)
        print(f"| {what} | {small:.0f} | {big:.0f} | {big / small:.2f} |")


def fill_ledger(person: Home, runs: int, conversations: int, statuses: int) -> None:
    """Put copies of the one run and its call into the ledger, over the last 300 days; the newest have status files."""
    (status,) = person.statuses()
    now = datetime.now(UTC)
    with closing(sqlite3.connect(person.ledger)) as db, db:
        ours = ("seq", "run_id", "digest", "path", "conversation", "created_at", "started_at", "completed_at")
        rest = ", ".join(row[1] for row in db.execute("PRAGMA table_info(runs)") if row[1] not in ours)
        of_time = ("id", "run_id", "day", "started_at", "ended_at")
        of_call = ", ".join(row[1] for row in db.execute("PRAGMA table_info(calls)") if row[1] not in of_time)
        first = db.execute("SELECT run_id FROM runs").fetchone()[0]
        for number in range(runs):
            at = now - timedelta(days=300) * (1 - number / runs)
            stamp, name = f"{at:%Y-%m-%dT%H:%M:%S}.000Z", f"old/{number % conversations}"
            run_id, digest = f"{at:%Y%m%dT%H%M%S}Z-chat-{number:06x}", f"sha256:{number:064x}"
            db.execute(
                f"INSERT INTO runs ({', '.join(ours[1:])}, {rest}) "  # noqa: S608 (our columns)
                f"SELECT ?, ?, ?, ?, ?, ?, ?, {rest} FROM runs WHERE run_id = ?",
                (run_id, digest, f"{name}_input.txt", name, stamp, stamp, stamp, first),
            )
            db.execute(
                f"INSERT INTO calls ({', '.join(of_time[1:])}, {of_call}) "  # noqa: S608 (as above)
                f"SELECT ?, ?, ?, ?, {of_call} FROM calls WHERE run_id = ?",
                (run_id, stamp[:10], stamp, stamp, first),
            )
            if number >= runs - conversations:
                db.execute(
                    "INSERT OR REPLACE INTO inputs (path, digest, last_run) VALUES (?, ?, ?)",
                    (f"{name}_input.txt", digest, run_id),
                )
            if number >= runs - statuses:
                facts = {"job_id": run_id, "input": f"{name}_input.txt", "input_digest": digest}
                times = dict.fromkeys(("created_at", "started_at", "completed_at", "updated_at"), stamp)
                (person.workspace / "jobs" / f"{run_id}.json").write_text(json.dumps({**status, **facts, **times}))


def fill_folder(person: Home, files: int) -> None:
    for folder in range(FOLDERS):
        (person.workspace / "notes" / f"{folder}").mkdir(parents=True)
    for number in range(files):
        (person.workspace / "notes" / f"{number % FOLDERS}" / f"note {number}.txt").write_text(f"note {number}\n")


def measure(person: Home, number: int, took: dict[str, list[float]]) -> None:
    """Time one start of the daemon, and what is done while it runs."""
    began = time.monotonic()
    with person.daemon() as daemon:
        took["start to `ready`"].append(time.monotonic() - began)
        for asked in range(QUESTIONS):
            name = f"new{number}/{asked}"
            began = time.monotonic()
            person.save(f"{name}_input.txt", f"question {asked} of round {number}\n")
            daemon.answered(f"{name}_output.txt")
            took["a later save to its answer" if asked else "the first save to its answer"].append(
                time.monotonic() - began
            )
        for command in COMMANDS:
            began = time.monotonic()
            done = person.cli(command, "--workspace", str(person.workspace), deadline_s=PATIENCE_S)
            assert done.returncode == 0, done.stderr
            took[f"`{command}`"].append(time.monotonic() - began)
        began = time.monotonic()
        view = (sys.executable, "-m", "rlmwatch", "status", "--watch", "--workspace", str(person.workspace))
        with terminal(*view, cwd=person.root, env=person.environ()) as screen:
            screen.see(f"new{number}")
            took["`status --watch` to its first frame"].append(time.monotonic() - began)


if __name__ == "__main__":
    main()
