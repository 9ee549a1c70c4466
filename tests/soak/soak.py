"""
Endurance: savers, kills and every fault that we know, for minutes or hours; the verdict is the exit status.

    python tests/soak/soak.py [--minutes 30 | --hours 4] [--seed N]

Two machines share one workspace. Lanes save one question after another, each once the last was answered; another lane
replays the recorded savers. Meanwhile one fault after another comes and goes. At the end all faults are over, and

1. lost: saves without an answer, 2. double: saves answered twice, 3. repeated: calls made again though their reply was
stored, 4. faults of ours in the log, and daemons that ended by themselves: each must be 0; and
at least one question was answered, one fault made, one sample taken, for what was never tried has not passed;
5. memory, descriptors, threads, log of the ledger and watches (less the folders) must not have grown, as medians of the
first and the last third of all samples: by `ROOM`.

Mounts (full disks, an unmounted workspace) need root; without, they are left out, and it says so.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from saves.replay import load_all  # noqa: E402 (the path comes first)
from servers.exa_server import ExaServer, result  # noqa: E402
from servers.openai_server import Answer, Fault, OpenAIServer  # noqa: E402
from system.daemon import Daemon  # noqa: E402
from system.harness import Home, question  # noqa: E402
from system.recorded import Timed  # noqa: E402
from system.researching import is_root, newest_question, py  # noqa: E402

from rlmwatch import clock  # noqa: E402

CLOCK_CHILD = TESTS / "system" / "clock_child.py"
DESK, LAPTOP = "desk", "laptop"
FAULT_S = 3.0
"""How long a fault lasts."""
BETWEEN_S = 4.0
"""Between two faults: so that what waited goes on."""
SAMPLE_S = 2.0
DRAIN_S = 240.0
"""For what still waits at the end; some of it is asked again up to a minute later."""
SHORT_TRACE_S = 5.0
MOUNTED_MB = {"workspace": (64, 2), "state": (64, 12)}
"""Sizes of their disks, and what is added a minute: a question leaves some 18 KB in the ledger, 2 in the folder."""
ROOM = {"memory MB": 40, "descriptors": 10, "threads": 6, "WAL MB": 64, "watches less folders": 2}
"""What the median of the last third may be above that of the first; the log of the ledger has a limit of 64 MB."""
BARS = "▁▂▃▄▅▆▇█"
KINDS = {
    "chat_input.txt": "Say {mark}",
    "count_job_input.txt": "Count the letters, {mark}",
    "web_exa_input.txt": "Find the page, {mark}",
}
MARK = re.compile(r"mark-\d+-\d+")


class Pausable:
    """The log of a daemon, which nobody reads while *open* is not set."""

    def __init__(self, pipe: Any, read: threading.Event) -> None:
        self._pipe, self._read = pipe, read

    def __iter__(self) -> Iterator[str]:
        for line in self._pipe:
            self._read.wait()
            yield line

    def close(self) -> None:
        self._pipe.close()


@dataclass
class Machine:
    """A machine that shares the workspace: its home, and the daemon that runs there."""

    home: Home
    clock_file: Path
    reading: threading.Event = field(default_factory=threading.Event)
    daemon: Daemon | None = None
    wrong: list[str] = field(default_factory=list)

    def start(self) -> Daemon:
        """Start the daemon, and wait until it answers or stands by."""
        self.reading.set()
        process = self.home.start(
            str(CLOCK_CHILD), str(self.home.workspace), str(self.clock_file), stdout=subprocess.DEVNULL
        )
        process.stderr = Pausable(process.stderr, self.reading)  # type: ignore[assignment]
        self.daemon = Daemon(process)
        self.daemon.until_up()
        return self.daemon

    def end(self, how: Callable[[Daemon], object]) -> None:
        """End the daemon; what must not be in its log is kept."""
        assert self.daemon is not None
        self.reading.set()
        if self.daemon.process.poll() is not None:
            self.wrong.append(f"ended by itself, {self.daemon.process.poll()}: {self.daemon.tail}")
            print(self.wrong[-1][:1000], flush=True)
        how(self.daemon)
        self.daemon.close()
        self.wrong += [str(fault) for fault in self.daemon.faults]

    def look_after(self) -> None:
        """Start it again where it has ended by itself, as a service manager does."""
        if self.daemon is not None and self.daemon.process.poll() is not None:
            self.end(lambda _daemon: None)
            self.start()


class Outside:
    """The provider and Exa, which fail while they are told to."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.provider_fails = self.exa_fails = False

    def answer(self, body: dict[str, Any]) -> Answer:
        """Answer with the mark of the question; an engine with code that does."""
        if self.provider_fails:
            return self.fault()
        if not is_root(body):
            return f"re: {question(body)[-200:]}"
        asked = newest_question(body)
        found = MARK.search(asked)
        shown = "research('a page')[0].title" if "Find" in asked else "str(len(context))"
        return py(f"answer('{found.group() if found else ''} ' + {shown})")

    def pages(self, _body: dict[str, Any]) -> Any:
        """Find one page."""
        return self.fault() if self.exa_fails else [result("https://a.example/", "A page", "Text of the page.")]

    def fault(self) -> Fault:
        refused = {"Retry-After": "1"}
        faults = [Fault.status(503), Fault.status(429, headers=refused), Fault.hang_up(), Fault.status(500)]
        return self.rng.choice(faults)


class Soak:
    """
    One soak.

    Attributes:
        disk: Held by whoever saves; and while the workspace is not there.
        mounts: Folders that are disks of their own → megabytes; empty where nothing can be mounted.
        saved: Mark → the file that it was saved in.
        replayed: Folders of the recorded savers that were replayed whole, with what each must have been asked.
    """

    def __init__(
        self, root: Path, rng: random.Random, outside: Outside, provider: str, exa: str, mounts: dict[str, int]
    ) -> None:
        self.rng, self.outside, self.mounts = rng, outside, mounts
        self.disk, self.over = threading.RLock(), threading.Event()
        self.saved: dict[str, str] = {}
        self.answered: Counter[str] = Counter()
        self.replayed: list[tuple[str, Timed]] = []
        self.spoiled = 0
        self.samples: list[dict[str, float]] = []
        self.faults_done: Counter[str] = Counter()
        clock_file = root / "clock"
        clock_file.write_text("0")
        self.clock_file = clock_file
        self.machines = {
            name: Machine(self._home(root / name, name, provider, exa), clock_file) for name in (DESK, LAPTOP)
        }
        self.home = self.machines[DESK].home
        for name, size_mb in mounts.items():
            mount(self.home.root / name, f"{size_mb}m")
        other = self.machines[LAPTOP].home.workspace
        other.rmdir()
        other.symlink_to(self.home.workspace)
        self.answers = DESK

    @staticmethod
    def _home(root: Path, name: str, provider: str, exa: str) -> Home:
        variables = {
            "OPENAI_BASE_URL": provider,
            "EXA_API_KEY": "made-up-exa-key-51d2",
            "EXA_BASE_URL": exa,
            "RLMWATCH_HOST": name,
        }
        home = Home(root, None, variables=variables, fresh=True)
        home.states.mkdir()
        home.set("workers = 8\n[ceilings]\nmax_cost_usd_per_day = 100000\n")
        return home

    # savers

    def lane(self, number: int, name: str) -> None:
        """Save one question after another in a conversation of its own, each once the last one was answered."""
        kind, output = KINDS[name], name.replace("input", "output")
        folder, asked = f"lane{number}", 0
        self.put(f"{folder}/count_job_data.txt", "x" * 300)
        while not self.over.is_set():
            asked += 1
            mark = f"mark-{number}-{asked}"
            self.put(f"{folder}/{name}", kind.format(mark=mark))
            self.saved[mark] = f"{folder}/{output}"
            while not self.done(mark) and not self.over.wait(0.05):
                pass

    def put(self, path: str, text: str) -> None:
        """Save *text*, again while the disk does not take it."""
        while True:
            with self.disk, suppress(OSError):
                file = self.home.workspace / path
                if self.rng.random() < 0.5 or not file.exists():
                    self.home.save(path, text)
                else:
                    new = file.with_name(f".{file.name}.swp")
                    new.write_text(text)
                    new.replace(file)
                return
            self.over.wait(0.2)

    def done(self, mark: str) -> bool:
        """Whether the answer to *mark* lies there, or the reason why there is none."""
        output = self.home.workspace / self.saved[mark]
        with suppress(OSError):
            if re.search(rf"{mark}\b", output.read_text()):
                self.answered["answered"] += 1
                return True
        return False

    def savers(self) -> None:
        """Replay the recorded savers in random order, each time in a folder of its own."""
        traces = [t for t in load_all(TESTS / "saves" / "traces") if max(t["contents"].values(), default=0) < 500_000]
        number = 0
        while not self.over.is_set():
            number += 1
            trace = self.rng.choice(traces)
            folder = f"saver{number}-{trace['name']}"
            replayer = Timed(trace, self.home.workspace / folder, self.home.root / "elsewhere" / folder)
            if replayer.duration() > SHORT_TRACE_S:
                continue
            with self.disk:
                try:
                    replayer.prepare()
                    replayer.run(max_gap=SHORT_TRACE_S)
                except OSError:  # a full disk: the saver's own save has failed
                    self.spoiled += 1
                else:
                    self.replayed.append((folder, replayer))
            self.over.wait(1.0)

    # faults: each begins, lasts, and is over when it returns

    def kill(self) -> None:
        machine = self.machines[self.rng.choice((DESK, LAPTOP))]
        machine.end(Daemon.kill)
        machine.start()

    def hang_up(self) -> None:
        for machine in self.machines.values():
            assert machine.daemon is not None
            machine.daemon.process.send_signal(1)

    def provider_down(self) -> None:
        self.outside.provider_fails = True
        self.over.wait(FAULT_S)
        self.outside.provider_fails = False

    def exa_down(self) -> None:
        self.outside.exa_fails = True
        self.over.wait(FAULT_S)
        self.outside.exa_fails = False

    def clock_jumps(self) -> None:
        new = self.clock_file.with_name("clock.new")
        new.write_text(str(self.rng.randint(-40_000, 40_000)))
        new.replace(self.clock_file)  # a daemon may be reading it

    def log_blocked(self) -> None:
        for machine in self.machines.values():
            machine.reading.clear()
        self.over.wait(FAULT_S)
        for machine in self.machines.values():
            machine.reading.set()

    def another_host(self) -> None:
        self.answers = LAPTOP if self.answers == DESK else DESK
        with self.disk, suppress(OSError):
            text = self.home.read("rlmwatch.toml")
            self.home.save("rlmwatch.toml", re.sub(r'host = "[^"]+"', f'host = "{self.answers}"', text))

    def workspace_full(self) -> None:
        self.fill(self.home.workspace)

    def state_full(self) -> None:
        self.fill(self.home.states)

    def fill(self, disk: Path) -> None:
        file = disk / "fill"
        with suppress(OSError), file.open("wb", buffering=0) as out:
            while out.write(b"\0" * 65_536):
                pass
        self.over.wait(FAULT_S)
        file.unlink()

    def unmounted(self) -> None:
        kept = self.home.root / "kept"
        kept.mkdir(exist_ok=True)
        with self.disk:
            run("mount", "--bind", str(self.home.workspace), str(kept))
            run("umount", "--lazy", str(self.home.workspace))
            self.over.wait(FAULT_S)
            run("mount", "--bind", str(kept), str(self.home.workspace))
            run("umount", "--lazy", str(kept))

    def faults(self) -> list[Callable[[], None]]:
        """All faults that can be made here."""
        common = [self.kill, self.hang_up, self.provider_down, self.exa_down, self.clock_jumps, self.log_blocked]
        mounting = [self.workspace_full, self.state_full, self.unmounted] if self.mounts else []
        return [*common, self.another_host, *mounting]

    # samples

    def sample(self) -> None:
        """Note what the daemon of the machine that answers uses, until all is over."""
        while not self.over.wait(SAMPLE_S):
            daemon = self.machines[self.answers].daemon
            if daemon is not None:
                with suppress(OSError, KeyError):
                    self.samples.append(self.usage(daemon.pid))

    def usage(self, pid: int) -> dict[str, float]:
        process = Path(f"/proc/{pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        watches = 0
        for each in (process / "fdinfo").iterdir():
            with suppress(OSError):
                watches += each.read_text().count("inotify wd:")
        folders = 1 + sum(each.is_dir() for each in self.home.workspace.rglob("*") if not each.is_symlink())
        logs = self.machines[self.answers].home.states.glob("rlmwatch/*/ledger.sqlite3-wal")
        return {
            "memory MB": int(status["VmRSS"].split()[0]) / 1000,
            "descriptors": len(list((process / "fd").iterdir())),
            "threads": int(status["Threads"]),
            "WAL MB": sum(each.stat().st_size for each in logs) / 1e6,
            "watches less folders": watches - folders,
        }

    # the whole, and its end

    def run(self, seconds: float, only: list[str] | None) -> None:
        """Run all lanes and one fault after another for *seconds*; then wait until all is answered."""
        print(self.home.cli("init", str(self.home.workspace)).stderr.splitlines()[-1], flush=True)
        for machine in self.machines.values():
            machine.start()
        threads = [threading.Thread(target=self.lane, args=each) for each in enumerate(list(KINDS) * 2)]
        threads += [threading.Thread(target=self.savers), threading.Thread(target=self.sample)]
        for thread in threads:
            thread.start()
        end, deck = clock.monotonic() + seconds, []
        try:
            while clock.monotonic() < end:
                possible = [each for each in self.faults() if only is None or each.__name__ in only]
                deck = deck or self.rng.sample(possible, len(possible))
                fault = deck.pop()
                print(
                    f"{end - clock.monotonic():6.0f} s left, {self.answered['answered']:5} answered: {fault.__name__}",
                    flush=True,
                )
                fault()
                self.faults_done[fault.__name__] += 1
                for machine in self.machines.values():
                    machine.look_after()
                self.over.wait(BETWEEN_S)
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
        self.drain()
        for machine in self.machines.values():
            machine.end(Daemon.stop)

    def drain(self) -> None:
        """Wait until nothing is missing, or no longer."""
        self.over.clear()
        end = clock.monotonic() + DRAIN_S
        while self.lost() and clock.monotonic() < end:
            self.over.wait(1.0)

    def lost(self) -> list[str]:
        """
        Return the saves that have no answer.

        A lane's save is answered when its mark is in the conversation's memory; a replayed saver's when the last
        content of each path was asked and has ended.
        """
        told = "".join(read(file) for file in self.home.workspace.glob("lane*/*_state.json"))
        marks = set(MARK.findall(told)) | set(
            MARK.findall("".join(read(f) for f in self.home.workspace.glob("lane*/*_output.txt")))
        )
        found = [mark for mark in self.saved if mark not in marks]
        ended = {(row["path"], row["digest"]) for row in self.rows("runs") if row["status"] in ("complete", "failed")}
        for folder, replayer in self.replayed:
            trace = replayer.trace
            if trace["family"] == "symlink" or trace["accept_runs"][0] == 0:
                continue
            for path, text in replayer.expected():
                if (f"{folder}/{path}", digest(text)) not in ended:
                    found.append(f"{folder}/{path}")
        return found

    def tried(self) -> dict[str, int]:
        """Return how often there was something that could have failed."""
        return {
            "answered questions": self.answered["answered"],
            "faults": sum(self.faults_done.values()),
            "samples": len(self.samples),
        }

    def double(self) -> list[str]:
        """Return the marks that were answered by more than one run, on whichever machine, and those runs."""
        asked: dict[str, list[str]] = {}
        for row in self.rows("runs"):
            mark = (
                MARK.search(row["prompt"]) if row["status"] == "complete" and row["path"].startswith("lane") else None
            )
            if mark is not None:
                written = "written" if row["published"] else "not written"
                what = f"{row['run_id']} of {row['machine']}, {row['created_at']} to {row['completed_at']}, {written}"
                asked.setdefault(mark.group(), []).append(what)
        return [f"{mark}: {'; '.join(runs)}" for mark, runs in asked.items() if len(runs) > 1]

    def repeated(self) -> list[str]:
        """Return the calls that were made again after their reply was stored."""
        states: dict[tuple[str, str], list[str]] = {}
        for row in self.rows("calls"):
            states.setdefault((row["run_id"], row["key"]), []).append(row["state"])
        return [str(call) for call, each in states.items() if "done" in each[:-1]]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table of both ledgers, each in its order."""
        found: list[dict[str, Any]] = []
        for name, machine in self.machines.items():
            for ledger in machine.home.states.glob("rlmwatch/*/ledger.sqlite3"):
                db = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
                db.row_factory = sqlite3.Row
                try:
                    found += [{**row, "machine": name} for row in db.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608 (ours)
                finally:
                    db.close()
        return found


def digest(text: bytes) -> str:
    """Return the digest of a save."""
    from system.recorded import digest_of

    return digest_of(text)


def read(file: Path) -> str:
    with suppress(OSError):
        return file.read_text("utf-8", "replace")
    return ""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def mount(folder: Path, size: str) -> None:
    """Give *folder* a small disk."""
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder))


def plot(values: list[float], width: int = 60) -> str:
    """Return *values* as one line of bars."""
    step = max(1, len(values) // width)
    points = [statistics.fmean(values[at : at + step]) for at in range(0, len(values), step)]
    low, high = min(points), max(points)
    return "".join(BARS[int((point - low) / ((high - low) or 1) * (len(BARS) - 1))] for point in points)


def grown(samples: list[dict[str, float]]) -> list[str]:
    """Print what was used over time; return what has grown."""
    found = []
    third = max(1, len(samples) // 3)
    for name, room in ROOM.items() if samples else ():
        values = [sample[name] for sample in samples]
        first, last = statistics.median(values[:third]), statistics.median(values[-third:])
        print(f"{name:22} {plot(values)} {first:.1f} at first, {last:.1f} at last, {max(values):.1f} at most")
        if last > first + room:
            found.append(f"{name} grew from {first:.1f} to {last:.1f}")
    return found


def verdict(soak: Soak) -> int:
    """Print what came of it; return 0 where all is as it must be."""
    without = "" if soak.mounts else "; without mounts: full disks, unmounting"
    print(f"\nfaults: {dict(soak.faults_done)}{without}")
    print(f"{len(soak.saved)} questions, {len(soak.replayed)} recorded savers ({soak.spoiled} more met a full disk)")
    wrong = {
        "lost": soak.lost(),
        "double": soak.double(),
        "finished calls repeated": soak.repeated(),
        "faults": [each for machine in soak.machines.values() for each in machine.wrong],
        "grown": grown(soak.samples),
        "never tried": [name for name, tried in soak.tried().items() if not tried],
    }
    print(", ".join(f"{len(found)} {name}" for name, found in wrong.items()))
    for name, found in wrong.items():
        for each in found[:10]:
            print(f"{name}: {each}")
    return int(any(wrong.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--only", action="append", metavar="FAULT", help="as `another_host`; else all")
    parser.add_argument("--seed", type=int, default=20261129)
    given = parser.parse_args()
    seconds = given.hours * 3600 if given.hours else given.minutes * 60
    mounts = os.environ.get("SOAK_MOUNTS") == "1"
    if not mounts and os.geteuid() == 0 and shutil.which("unshare"):
        command = ["unshare", "--mount", "--propagation", "private"]
        tried = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
        if tried.returncode == 0:
            os.execvpe("unshare", [*command, sys.executable, *sys.argv], os.environ | {"SOAK_MOUNTS": "1"})
    if not mounts:
        print("nothing can be mounted here: full disks and an unmounted workspace are left out")
    rng = random.Random(given.seed)  # noqa: S311 (moments, no secrets)
    outside = Outside(rng)
    with (
        tempfile.TemporaryDirectory() as folder,
        OpenAIServer(outside.answer) as provider,
        ExaServer(outside.pages) as exa,
    ):
        disks = {name: least + int(more * seconds / 60) for name, (least, more) in MOUNTED_MB.items()} if mounts else {}
        soak = Soak(Path(folder), rng, outside, provider.url, exa.url, disks)
        began = time.monotonic()  # noqa: TID251 (of the soak itself)
        try:
            soak.run(seconds, given.only)
            status = verdict(soak)
        finally:
            for machine in soak.machines.values():
                if machine.daemon is not None:
                    machine.reading.set()
                    machine.daemon.close()
            for name in soak.mounts:
                subprocess.run(["umount", "--lazy", str(soak.home.root / name)], check=False, capture_output=True)
        print(f"{(time.monotonic() - began) / 60:.1f} minutes, seed {given.seed}: {'wrong' if status else 'right'}")  # noqa: TID251
    return status


if __name__ == "__main__":
    sys.exit(main())
