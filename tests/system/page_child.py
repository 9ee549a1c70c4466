"""
The daemon, for which this machine is the public internet: `page_child.py WORKSPACE [POINT]`.

Composed as `rlmwatch run` composes it, but for the addresses that may be connected to, and a point at which it kills
itself with SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path

from rlmwatch.daemon.composition import App, Parts
from rlmwatch.daemon.logging import Redactor, configure
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.service import StartOptions, serve
from rlmwatch.daemon.systemd import Manager
from rlmwatch.search.fetch import fetch


async def main(workspace: Path, point: str) -> None:
    """Serve *workspace* until *point* is reached."""

    def crash_at(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    redactor = Redactor()
    configure("json", redactor)
    parts = Parts(crash_at=crash_at, fetch=partial(fetch, may_connect=lambda address: address == "127.0.0.1"))
    async with App(locate(workspace), redactor=redactor, parts=parts) as app:
        await serve(app, asyncio.Event(), options=StartOptions(), manager=Manager(None, None))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""))
