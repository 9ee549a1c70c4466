"""`rlmwatch again FILE`: the same text is asked once more."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath

from rlmwatch.cli.files import paths_of
from rlmwatch.cli.output import quiet, say
from rlmwatch.contract.names import input_name
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.errors import UsageError
from rlmwatch.runs.model import RunStatus
from rlmwatch.runs.queue import Known
from rlmwatch.workspace.owner import holder


def again(file: Path, /) -> int:
    """
    Ask a question a second time without changing its file. It is paid for again; the answer before is kept beside.

    Args:
        file: An input, such as chat_input.txt.
    """
    quiet()
    paths, path = paths_of(file)
    name = input_name(path)
    if name is None:
        raise UsageError(f"{path} is not an input file: its name must end in _input.txt, _input.md or the like")
    if (waits := asyncio.run(_forget(paths, path))) is not None:
        say(f"{path}: {waits}")
        return 0
    # Opened for writing and closed, with nothing written: the event of a save, and the file stays as it is.
    os.close(os.open(paths.root / path, os.O_WRONLY | os.O_NOFOLLOW))
    kept = f"a second try is paid for like the first, whose answer stays in {PurePosixPath(name.state).name}"
    if holder(paths.state, paths.root):
        say(f"{path}: asked again; {kept}")
    else:
        say(f"{path}: will be asked again when rlmwatch runs here next; {kept}")
    return 0


async def _forget(paths: WorkspacePaths, path: str) -> str | None:
    """Have the next save of *path* be a new one; where its question still waits, return that in words instead."""
    ledger = ledger_of(paths)
    try:
        known = (await ledger.known()).get(path)
        for run in await ledger.open_runs():
            if known is not None and (run.path, run.digest) == (path, known.digest):
                if run.status is RunStatus.HELD:
                    return f"is held, and is asked once that is fixed and `rlmwatch reload` was called: {run.held_for}"
                return "is not answered yet: it waits or is worked on, and is not asked twice"
        if not await ledger.again(path):
            # Never seen by this ledger, but perhaps answered by an earlier one: known now, and as not admitted.
            await ledger.note(path, Known("", None))
        return None
    finally:
        await ledger.aclose()
