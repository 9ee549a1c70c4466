"""
The daemon with a wall clock that jumps: `clock_child.py WORKSPACE FILE`; FILE holds seconds to add to the real one.

Composed as `rlmwatch run` composes it. The one place that asks the time is exchanged before anything else is made.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rlmwatch import clock
from rlmwatch.daemon.composition import App
from rlmwatch.daemon.logging import Redactor, configure
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.service import StartOptions, serve
from rlmwatch.daemon.systemd import Manager


async def main(workspace: Path) -> None:
    """Serve *workspace*."""
    redactor = Redactor()
    configure("json", redactor)
    async with App(locate(workspace), redactor=redactor) as app:
        await serve(app, asyncio.Event(), options=StartOptions(), manager=Manager(None, None))


if __name__ == "__main__":
    file, true_utc = Path(sys.argv[2]), clock.utc

    def utc() -> str:
        """Return the real time, moved by what the file says."""
        moved = datetime.fromisoformat(true_utc()) + timedelta(seconds=float(file.read_text()))
        return moved.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    clock.utc = utc
    asyncio.run(main(Path(sys.argv[1])))
