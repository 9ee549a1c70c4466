"""
The daemon of a machine with another name: `host_child.py WORKSPACE HOST [--take-over]`.

Composed as `rlmwatch run` composes it, but for that one part.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rlmwatch.daemon.composition import App, Parts
from rlmwatch.daemon.logging import Redactor, configure
from rlmwatch.daemon.paths import locate
from rlmwatch.daemon.service import StartOptions, serve
from rlmwatch.daemon.systemd import Manager


async def main(workspace: Path, host: str, *flags: str) -> None:
    """Serve *workspace* as the machine *host*."""
    redactor = Redactor()
    configure("json", redactor)
    options = StartOptions(take_over="--take-over" in flags)
    async with App(locate(workspace), redactor=redactor, parts=Parts(host=host)) as app:
        await serve(app, asyncio.Event(), options=options, manager=Manager(None, None))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
