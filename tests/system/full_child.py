"""
The daemon, whose disk of private state fills when a point is first reached: `full_child.py WORKSPACE POINT FILE`.

Composed as `rlmwatch run` composes it, but for that one part. FILE lies on that disk and is what fills it.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from rlmwatch.daemon.composition import App, Parts
from rlmwatch.daemon.logging import Redactor, configure
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.service import StartOptions, serve
from rlmwatch.daemon.systemd import Manager

BLOCK = b"\0" * 4096


async def main(workspace: Path, point: str, fill: Path) -> None:
    """Serve *workspace*; its disk is full from *point* on, until *fill* is removed."""
    filled = False

    def crash_at(name: str) -> None:
        nonlocal filled
        if name == point and not filled:
            filled = True
            with suppress(OSError), fill.open("wb", buffering=0) as file:
                while True:
                    file.write(BLOCK)

    redactor = Redactor()
    configure("json", redactor)
    async with App(locate(workspace), redactor=redactor, parts=Parts(crash_at=crash_at)) as app:
        await serve(app, asyncio.Event(), options=StartOptions(), manager=Manager(None, None))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
