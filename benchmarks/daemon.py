"""
The daemon from outside: how fast it starts, sees a save, and how little it costs at rest.

    python benchmarks/daemon.py [--idle SECONDS] [--saves N]

Prints one table. Everything is measured on the real daemon as a subprocess, with
a provider on loopback that answers at once. Latency is from the rename that ends
an atomic save to the moment the provider has the whole request.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from servers.openai_server import OpenAIServer

RLMWATCH = [sys.executable, "-m", "rlmwatch"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--idle", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--saves", type=int, default=30, metavar="N")
    given = parser.parse_args()
    helps = [timed([*RLMWATCH, "--help"]) for _ in range(7)]
    row("rlmwatch --help", statistics.median(helps), max(helps), "s")
    bare = [timed([sys.executable, "-c", "pass"]) for _ in range(7)]
    row("  python -c pass, beside it", statistics.median(bare), max(bare), "s")
    with tempfile.TemporaryDirectory() as folder, OpenAIServer() as server:
        measure(Path(folder), server, given)


def measure(folder: Path, server: OpenAIServer, given: argparse.Namespace) -> None:
    root = folder / "workspace"
    root.mkdir()
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "OPENROUTER", "RLM"))
    }
    environ |= {
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "OPENAI_API_KEY": "made-up-key",
        "OPENAI_BASE_URL": server.url,
    }
    began = time.monotonic()
    daemon = subprocess.Popen(
        [*RLMWATCH, "run", str(root), "--log-format", "json"], env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        for line in daemon.stderr:
            if json.loads(line)["event"] == "ready":
                break
        row("start until ready", time.monotonic() - began, None, "s")
        latencies(root, server, given.saves)
        idle(daemon.pid, given.idle)
    finally:
        daemon.terminate()
        began = time.monotonic()
        daemon.communicate(timeout=30)
        row("stop", time.monotonic() - began, None, "s")


def latencies(root: Path, server: OpenAIServer, saves: int) -> None:
    found = []
    for number in range(saves + 1):
        whole = root / ".new"
        whole.write_text(f"question {number}\n", encoding="utf-8")
        began = time.monotonic()
        whole.replace(root / f"n{number}_input.txt")
        found.append(server.wait_for_calls(number + 1)[-1].at - began)
    first, *rest = found
    row("first save, provider library loaded on the way", first, None, "s")
    row("atomic save until the provider has the request", statistics.median(rest), max(rest), "s")


def idle(pid: int, seconds: float) -> None:
    before = cpu_s(pid)
    time.sleep(seconds)
    row(f"CPU at rest, over {seconds:g} s", (cpu_s(pid) - before) / seconds * 100, None, "%")
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    row("memory at rest", int(resident) / 1024, None, "MB")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of all living threads, to the nanosecond: a tick is as long as a minute's rest costs."""
    spent = (task / "schedstat" for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int(file.read_text(encoding="ascii").split()[0]) for file in spent) / 1e9


def timed(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


def row(what: str, middle: float, worst: float | None, unit: str) -> None:
    print(f"{what:<50} {middle:>9.3f} {unit}" + ("" if worst is None else f"   worst {worst:.3f} {unit}"), flush=True)


if __name__ == "__main__":
    main()
