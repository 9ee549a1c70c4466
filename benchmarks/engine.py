"""
The engine beside a floor and beside its public peers, against a provider on loopback that answers at once.

    python benchmarks/engine.py [--runs N] [--engines NAME ...] [--peers FOLDER] [--state FOLDER]

Prints one table for each scenario. A figure is of one whole run, after imports, construction and a first run that loads
what is loaded late; those stand in a table of their own. Ours is as delivered: locked-down sandbox, SQLite journal with
a commit to disk before and after each call, budgets, trajectory. The floor is plain HTTP and `exec` in one process.

Peers are installed from the package index into environments of their own, under a temporary folder; one that cannot
be is left out, with the reason. On a shared machine, read the least times and the processor times: `cpu` is what the
engine's own process used (ours has a sandbox's process beside it, recursive-llm a worker's). Engines take turns, so
that a busy minute is nobody's alone. Memory is the most that the engine's processes held together (proportional shares
of what they share), sampled in a run of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent / "engines"
SCENARIOS = {
    "steps": "10 steps over a line of text",
    "long": "10 steps over 100,000 characters, of which a request shows the first and last 500",
    "sequential": "100 sub-calls, one after another",
    "batch": "100 sub-calls of 50 ms in one batch",
    "large": "100 MB of context",
}
TARGETS = {"steps": 0.05, "long": 0.05, "sequential": 0.28, "batch": 0.42, "large": 0.4}
PEERS = ("rlms", "recursive-llm", "minrlm", "enzu")
SAMPLE_S = 0.003
PATIENCE_S = 120.0


class Contestant:
    """One engine's process for one scenario."""

    def __init__(self, name: str, python: str, scenario: str, url: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        command = [python, str(HERE / "contestant.py"), name, scenario, url, str(folder)]
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI", "RLMWATCH"))}
        began = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
        )
        self._said: list[str] = []
        threading.Thread(target=lambda: self._said.extend(self._process.stderr), daemon=True).start()
        self.name = name
        self.ready = self._line() | {"start_s": time.perf_counter() - began}

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self) -> dict[str, object]:
        """Let it do one run, and return what it measured."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def close(self) -> None:
        self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()

    def _line(self) -> dict[str, object]:
        timer = threading.Timer(PATIENCE_S, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            raise RuntimeError(f"{self.name}: {' '.join(self._said)[-600:] or 'it ended'}")
        return json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--runs", type=int, default=9, metavar="N", help="after the first one, for each engine")
    parser.add_argument("--engines", nargs="+", default=["floor", "ours", *PEERS], metavar="NAME")
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--peers", type=Path, help="where the peers' environments are, or are made; else temporary")
    parser.add_argument("--state", type=Path, help="where ours keeps its ledger, by default in a temporary folder")
    given = parser.parse_args()
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.state)))
        pythons = installed(given.engines, given.peers or temporary / "peers")
        url = stack.enter_context(provider())
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; one fsync takes {fsync_ms(temporary):.2f} ms")
        starts: dict[str, tuple[float, float]] = {}
        for scenario in given.scenarios:
            compare(scenario, pythons, url, temporary / scenario, given.runs, starts)
        print("\n| start | imports and construction | first run |\n| --- | --- | --- |")
        for name, (ready, first) in starts.items():
            print(f"| {name} | {ready:.2f} s | {first:.3f} s |")


def compare(
    scenario: str, pythons: dict[str, str], url: str, folder: Path, runs: int, starts: dict[str, tuple[float, float]]
) -> None:
    """Have all engines do *scenario* in turns, and print its table."""
    found: dict[str, list[dict[str, object]]] = defaultdict(list)
    memory: dict[str, float] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        engines = []
        for name, python in pythons.items():
            try:
                engine = Contestant(name, python, scenario, url, folder / name)
                stack.callback(engine.close)
                first = engine.run()
                starts.setdefault(name, (engine.ready["start_s"], first["wall_s"]))
                engines.append(engine)
            except RuntimeError as problem:
                failed[name] = str(problem)
        for turn in range(runs + 1):
            for engine in [engine for engine in engines if engine.name not in failed]:
                try:
                    if turn == runs:
                        with watched(engine.pid) as most:
                            engine.run()
                        memory[engine.name] = most[0]
                    else:
                        found[engine.name].append(engine.run())
                except RuntimeError as problem:
                    failed[engine.name] = str(problem)
    print(f"\n### {SCENARIOS[scenario]} (ours at most {TARGETS[scenario]:g} s)\n")
    print("| engine | median s | least s | of ours | cpu s | requests | KB sent | at once | peak MB | right |")
    print("| --- " * 10 + "|")
    ours = statistics.median(one["wall_s"] for one in found["ours"]) if found["ours"] else None
    for name in pythons:
        if name in failed or name not in found:
            print(f"| {name} | failed: {failed.get(name, '')[-200:]} |")
            continue
        print(row(name, found[name], ours, memory[name]), flush=True)


def row(name: str, runs: list[dict[str, object]], ours: float | None, peak_mb: float) -> str:
    """Return an engine's line of a table."""
    walls, last = [one["wall_s"] for one in runs], runs[-1]
    middle = statistics.median(walls)
    cells = [
        name,
        f"{middle:.3f}",
        f"{min(walls):.3f}",
        f"{middle / ours:.1f}" if ours else "",
        f"{min(one['cpu_s'] for one in runs):.3f}",
        str(last["requests"]),
        f"{last['bytes'] / 1000:.1f}",
        str(last["at_once"]),
        f"{peak_mb:.0f}",
        "yes" if all(one["right"] for one in runs) else f"no: {last['found'][:60]!r}",
    ]
    return f"| {' | '.join(cells)} |"


def installed(names: list[str], folder: Path) -> dict[str, str]:
    """Return the Python of each engine; peers are installed where they are not."""
    pythons = {}
    for name in names:
        if name not in PEERS:
            pythons[name] = sys.executable
            continue
        python = folder / name / "bin" / "python"
        try:
            if not python.exists():
                subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True, capture_output=True)
                install = [str(python), "-m", "pip", "-q", "--disable-pip-version-check", "install", name]
                subprocess.run(install, check=True, capture_output=True, text=True, timeout=600)
            pythons[name] = str(python)
        except (subprocess.SubprocessError, OSError) as problem:
            print(f"{name} is left out: it cannot be installed: {getattr(problem, 'stderr', '') or problem}")
    return pythons


@contextmanager
def provider():
    """Run the provider, and yield its base URL."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.stdin.close()
        process.wait(10)


@contextmanager
def watched(pid: int):
    """Yield a list whose item is the most megabytes that *pid* and all that it started held together."""
    most, ended = [0.0], threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_S):
            most[0] = max(most[0], sum(map(held_mb, family(pid))))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def family(pid: int) -> list[int]:
    """Return *pid* and all processes below it."""
    found, seen = [pid], 0
    while seen < len(found):
        with suppress(OSError):  # it has ended meanwhile
            for thread in Path(f"/proc/{found[seen]}/task").glob("*/children"):
                with suppress(OSError):
                    found += map(int, thread.read_text().split())
        seen += 1
    return found


def held_mb(pid: int) -> float:
    """Return a process's proportional share of memory."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1000
    return 0.0


def fsync_ms(folder: Path) -> float:
    """Return the median time that this disk takes to make one page durable."""
    took = []
    with (folder / "probe").open("wb") as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


if __name__ == "__main__":
    main()
