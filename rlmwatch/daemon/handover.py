"""
Who has the folder, between programs of one machine: a daemon that starts waits for a command that ends soon.

1. Where another daemon has it, the one that starts says so and ends.
2. A command (`answer`, `submit --wait`, `run --once`) is asked for it, and gives it back within its grace; what it
   did goes on in the daemon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from rlmwatch import clock
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.errors import WorkspaceBusy
from rlmwatch.workspace.owner import Holder, ask_back, holder

PATIENCE_S = 15.0
"""Three times what a running call gets to end (`Supervisor.grace_s`)."""
LOOK_S = 0.2
TAKEN_S = 5.0
"""A daemon that asked for the folder has taken it by then, unless it was ended."""

T = TypeVar("T")

log = structlog.get_logger()


async def patiently(take: Callable[[], T], who_holds: Callable[[], Holder | None], root: Path) -> T:
    """
    Return what *take* takes; where a command has it, ask for the folder *root* and wait for up to `PATIENCE_S`.

    Args:
        take: Raises WorkspaceBusy where another process has it.
        who_holds: Returns that process. Both may block for `ASK_S`.
        root: The workspace.

    Raises:
        WorkspaceBusy: A daemon has it, or the command did not give it back.
    """
    give_up = clock.monotonic() + PATIENCE_S
    asked = False
    while True:
        try:
            return await asyncio.to_thread(take)
        except WorkspaceBusy as busy:
            who = await asyncio.to_thread(who_holds)
            if (who is not None and who.serves) or clock.monotonic() > give_up:
                raise
            # One that has just begun hears nothing yet.
            if not asked and await asyncio.to_thread(ask_back, root):
                log.info("folder.asked_back", why=str(busy))
                asked = True
        await asyncio.sleep(LOOK_S)


async def handed_over(paths: WorkspacePaths) -> None:
    """Wait until somebody has the folder that was just given back, or nobody took it within `TAKEN_S`."""
    give_up = clock.monotonic() + TAKEN_S
    while clock.monotonic() < give_up:
        if await asyncio.to_thread(holder, paths.state, paths.root) is not None:
            return
        await asyncio.sleep(LOOK_S)
