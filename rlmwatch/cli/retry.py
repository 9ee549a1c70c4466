"""`rlmwatch retry RUN`: ask once more what failed or was cancelled."""

from __future__ import annotations

import asyncio
from typing import Annotated

from rlmwatch.cli.again import ask_again
from rlmwatch.cli.arguments import Flag, Folder, Json, RunName, named_run
from rlmwatch.cli.submit import handed_in
from rlmwatch.cli.warned import quiet
from rlmwatch.client import Client
from rlmwatch.contract.names import input_name
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import UsageError
from rlmwatch.ledger.retention import FORGOTTEN
from rlmwatch.runs.model import Outcome, Run, RunStatus
from rlmwatch.runs.submitted import ENCLOSED
from rlmwatch.workspace.status import REJECTED


def retry(
    run: RunName,
    /,
    *,
    wait: Annotated[bool, Flag] = False,
    workspace: Folder = None,
    as_json: Json = False,
) -> int:
    """
    Ask once more what failed or was cancelled: a job as a new one with the same content, an input file as it is now.

    Args:
        run: Its id, as `rlmwatch runs` lists it, or the beginning or last letters of that; or the file of its question.
        wait: For a job: wait for the answer. Where no daemon runs, it is answered here.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        as_json: For a job: print it as JSON.
    """
    quiet()
    paths, job_id = named_run(run, workspace)
    found = asyncio.run(_find(paths, job_id))
    if found is None:
        raise UsageError(f"{job_id}: this machine's ledger has no such run; `rlmwatch runs` lists what is known")
    _refuse(found, job_id)
    if input_name(found.path) is not None:
        return ask_again(paths, found.path)
    client = Client(paths.root)
    given = {name: found.enclosed[name] for name in ENCLOSED if name in found.enclosed}
    return handed_in(paths, client, client.submit(found.prompt, **found.options, **given), wait=wait, as_json=as_json)


def _refuse(run: Run, job_id: str) -> None:
    """
    Return if *run* may be asked once more.

    Raises:
        UsageError: Why not, and what to do instead.
    """
    if not run.status.ended:
        raise UsageError(f"{job_id} has not ended; `rlmwatch cancel {job_id}` ends it")
    if run.status is RunStatus.COMPLETE:
        raise UsageError(f"{job_id} has its answer; `rlmwatch again` asks a question once more in any case")
    if input_name(run.path) is None and run.result is not None and FORGOTTEN in run.result.notes:
        raise UsageError(f"{job_id} ended long ago: {FORGOTTEN}. Hand the job in anew with `rlmwatch submit`")
    if input_name(run.path) is None and run.result is not None and run.result.outcome is Outcome.BAD_INPUT:
        raise UsageError(
            f"{job_id} could not be read: fix {run.path}{REJECTED} and save it in jobs/ under a new name, <id>.json"
        )


async def _find(paths: WorkspacePaths, job_id: str) -> Run | None:
    ledger = ledger_if_any(paths)
    if ledger is None:
        return None
    try:
        return await ledger.find(job_id)
    finally:
        await ledger.aclose()
