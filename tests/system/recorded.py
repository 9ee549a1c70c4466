"""
The golden saves as real operations on a real folder under the real daemon, all at once, each in its own sub-folder.

For `test_golden_saves.py` and `benchmarks/saves.py`.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from saves.replay import Replayer, Trace
from system.daemon import Daemon
from system.harness import Home

MAX_GAP_S = 7.0
"""Longer pauses of a recording are cut to this; below it two slow savers would become others (its README)."""

STAGGER_S = 0.06
"""Between the starts of two recordings: a hundred in the same instant would fight for two cores and become others."""

MAX_BYTES = 10_000_000
"""
The default of `max_input_mb`. Three recordings write more: each of their saves is a run that fails, with a digest of
its first bytes and its whole size.
"""


@dataclass(frozen=True)
class Row:
    """One run, as the ledger has it. `at` is when it was admitted (wall clock)."""

    path: str
    digest: str
    at: float
    status: str


@dataclass
class Played:
    """
    One recording, and what the daemon made of it.

    Attributes:
        runs: What was admitted while it played, in order; paths are those of the recording.
        latencies: Seconds from complete content to admission, one per run of a whole content.
    """

    replayer: Replayer
    runs: list[Row]
    latencies: list[float] = field(default_factory=list)

    @property
    def trace(self) -> Trace:
        return self.replayer.trace

    @property
    def name(self) -> str:
        name: str = self.trace["name"]
        return name


class Timed(Replayer):
    """A replayer that notes when it did what, and makes each text once."""

    def __init__(self, trace: Trace, folder: Path, elsewhere: Path) -> None:
        super().__init__(trace, folder)
        self.elsewhere = elsewhere
        self.done_at: dict[float, float] = {}  # recorded time → wall clock after its last operation
        self._texts = {content: super(Timed, self).text(content) for content in trace["contents"]}
        self.digests = {content: digest_of(text) for content, text in self._texts.items()}

    def text(self, content: str) -> bytes:
        return self._texts[content]

    def _do(self, op: list) -> None:
        super()._do(op)
        self.done_at[op[0]] = time.time()  # noqa: TID251 (the ledger's clock)

    def make_room(self) -> None:
        """Take away what the daemon wrote where the recording will make a file itself."""
        for op in self.trace["ops"]:
            if op[1] == "create" and op[2] not in self.trace["before"]:
                (self.root / op[2]).unlink(missing_ok=True)

    def duration(self) -> float:
        """Return the seconds that it takes, its longer pauses cut."""
        times = [0.0, *(op[0] for op in self.trace["ops"])]
        return sum(min(later - earlier, MAX_GAP_S) for earlier, later in pairwise(times))

    def complete_at(self, path: str, digest: str, before: float) -> float | None:
        """Return when the content of *digest* was complete in *path*, the last time that was no later than *before*."""
        times = [
            self.done_at[at]
            for at, where, content in self.trace["saves"]
            if where == path and self.digests[content] == digest and self.done_at[at] <= before
        ]
        return max(times, default=None)


def digest_of(raw: bytes) -> str:
    """Return the digest of a run of *raw*, which may be too large to be answered."""
    if len(raw) > MAX_BYTES:
        raw = raw[: MAX_BYTES + 1] + b"\n%d" % len(raw)
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def rows(home: Home) -> list[Row]:
    """Return every run of the ledger, in order of admission."""
    ledger = sqlite3.connect(f"file:{home.ledger}?mode=ro", uri=True)
    try:
        found = ledger.execute("SELECT path, digest, created_at, status FROM runs ORDER BY seq").fetchall()
    finally:
        ledger.close()
    return [Row(path, digest, datetime.fromisoformat(at).timestamp(), status) for path, digest, at, status in found]


def play_all(home: Home, traces: list[Trace], *, stagger_s: float = STAGGER_S) -> list[Played]:
    """
    Have the daemon answer what was there before each save, then play all of *traces* side by side under a new one.

    Afterwards nothing is left to answer: that is asserted.
    """
    home.set("workers = 16\n")
    replayers = [
        Timed(trace, home.workspace / trace["name"], home.root / "elsewhere" / trace["name"]) for trace in traces
    ]
    for replayer in replayers:
        replayer.prepare()
    once = home.cli("run", str(home.workspace), "--once", "--yes")
    assert "0 waiting" in once.stderr, once.stderr
    answered = len(rows(home))
    for replayer in replayers:
        replayer.make_room()
    with home.daemon() as daemon:
        _play(replayers, stagger_s)
        _until_nothing_waits(home, daemon)
    after = home.cli("run", str(home.workspace), "--once").stderr
    assert after.endswith("0 answered, 0 failed, 0 waiting\n"), after
    return [_played(replayer, rows(home)[answered:]) for replayer in replayers]


def _play(replayers: list[Timed], stagger_s: float) -> None:
    """Play each in a thread of its own, the longest first."""
    ready = threading.Barrier(len(replayers))

    def play(place: int, replayer: Timed) -> None:
        ready.wait()
        threading.Event().wait(place * stagger_s)
        replayer.run(max_gap=MAX_GAP_S)

    by_length = sorted(replayers, key=Timed.duration, reverse=True)
    with ThreadPoolExecutor(len(by_length)) as threads:
        for done in [threads.submit(play, place, replayer) for place, replayer in enumerate(by_length)]:
            done.result()


def _until_nothing_waits(home: Home, daemon: Daemon) -> None:
    """
    Wait until everything that was saved so far was read, and every run has ended.

    Every writer has closed its file, so each path is read within 0.05 s of its last event, or 0.5 s where it was
    admitted shortly before; so is the second of two later saves of one file. What was moved here with its times is
    asked 3 s later, and so is a third one that is.
    """
    for number in (1, 2):
        home.save("sentinel_input.txt", f"sentinel {number}\n")
        daemon.wait("save.admitted", number, path="sentinel_input.txt")
    brought = home.root / "brought"
    brought.write_text("sentinel 3\n")
    os.utime(brought, (0, 0))
    brought.rename(home.workspace / "brought_input.txt")
    daemon.wait("save.admitted", path="brought_input.txt")
    daemon.wait_for_any(("answer.written", "run.failed", "run.ended"), len(daemon.seen("save.admitted")))


def _played(replayer: Timed, found: list[Row]) -> Played:
    prefix = f"{replayer.trace['name']}/"
    mine = [
        Row(row.path.removeprefix(prefix), row.digest, row.at, row.status)
        for row in found
        if row.path.startswith(prefix)
    ]
    played = Played(replayer, mine)
    for row in mine:
        complete = replayer.complete_at(row.path, row.digest, row.at + 0.001)  # the ledger keeps milliseconds
        if complete is not None:
            played.latencies.append(max(0.0, row.at - complete))
    return played


def faults(played: Played) -> list[str]:
    """Return, in words, what is wrong with the runs of one recording; nothing where it is as a person expects."""
    trace, runs = played.trace, played.runs
    linked = trace["family"] == "symlink"  # refused: what it shows may lie outside the workspace
    least, most = (0, 0) if linked else trace["accept_runs"]
    found = []
    if not least <= len(runs) <= most:
        found.append(f"{len(runs)} runs, not {least} to {most}: {runs}")
    whole = {(path, digest_of(text)) for path, text in played.replayer.admissible()}
    found += [f"half a file ran: {run}" for run in runs if (run.path, run.digest) not in whole]
    large = {digest_of(text) for _, text in played.replayer.admissible() if len(text) > MAX_BYTES}
    found += [f"ended wrong: {run}" for run in runs if run.status != ("failed" if run.digest in large else "complete")]
    last = {run.path: run.digest for run in runs}
    for path, text in [] if linked else played.replayer.expected():
        if last.get(path, digest_of(text) if least == 0 else "") != digest_of(text):
            found.append(f"what was saved last in {path} did not run last: {runs}")
    return [f"{played.name}: {fault}" for fault in found]
