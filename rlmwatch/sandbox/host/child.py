"""
Processes for what the daemon does not do itself: one for each piece of work, ended with it.

They are Python without the user's site, environment and folder, in a session of their own. What they may do they give
up themselves (`sandbox/guest/lockdown.py`, or limits of the kernel).
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[3])


def program_of(module: str) -> str:
    """Return the program that runs `main` of *module*, for `begin`."""
    return f"import sys; sys.path.insert(0, sys.argv.pop(1)); from {module} import main; main()"


async def begin(program: str, *arguments: str) -> asyncio.subprocess.Process:
    """Begin a process that runs *program*; whoever calls this ends it, by `end`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-X", "utf8", "-c", program, _PACKAGE, *arguments),
        env={},
        cwd="/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


async def end(process: asyncio.subprocess.Process) -> None:
    """End *process*, which may have ended."""
    with suppress(ProcessLookupError):
        process.kill()
    # Shielded: a cancelled run must leave no process behind that nobody waits for.
    # Read to its end as well: `wait` alone goes on waiting while words that nobody reads are in the pipe.
    await asyncio.shield(process.communicate())


async def ask(program: str, *arguments: str, question: bytes, max_seconds: float) -> bytes:
    """
    Return what *program* makes of *question* on its standard input.

    Raises:
        TimeoutError: It took longer than *max_seconds*, its start included.
    """
    process = await begin(program, *arguments)
    try:
        async with asyncio.timeout(max_seconds):
            reply, _ = await process.communicate(question)
    finally:
        await end(process)
    return reply
