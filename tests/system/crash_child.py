"""
The daemon, which kills itself with SIGKILL at a named point: `crash_child.py WORKSPACE POINT`.

Composed as `rlmwatch run` composes it, but for that one part.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from rlmwatch.daemon.composition import App, Parts
from rlmwatch.daemon.logging import Redactor, configure
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.service import StartOptions, serve
from rlmwatch.daemon.systemd import Manager


async def main(workspace: Path, point: str) -> None:
    """Serve *workspace* until *point* is reached."""

    def crash_at(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    redactor = Redactor()
    configure("json", redactor)
    async with App(locate(workspace), redactor=redactor, parts=Parts(crash_at=crash_at)) as app:
        await serve(app, asyncio.Event(), options=StartOptions(), manager=Manager(None, None))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
