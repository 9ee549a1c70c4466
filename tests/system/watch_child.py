"""
A watcher in a process of its own, so that a test can stop it, take away its rights or its kernel's resources.

One JSON object per line on standard output: `{"ready": <unanswered>}`, then `{"path": …, "prompt": …}` per run. The
log goes to standard error. Ends when standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import structlog
from memory_queue import Surroundings

from rlmwatch.watch.save_filter import Ports, WatchConfig
from rlmwatch.watch.watcher import Watcher


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201 (a program's output)


async def main(root: str, rescan_s: float) -> None:
    around = Surroundings()
    ports = around.ports()
    told = Ports(
        ports.queue,
        ports.shows,
        lambda admission: say(path=admission.run.path, prompt=admission.run.prompt),
        ports.accepts,
        ports.on_change,
    )
    watcher = Watcher(Path(root), WatchConfig(poll_s=0.5, check_s=0.2, rescan_s=rescan_s), told)
    say(ready=await watcher.first_scan())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, stop.set)
    await watcher.run(stop)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
