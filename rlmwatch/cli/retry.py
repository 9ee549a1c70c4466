"""`rlmwatch retry ID`: ask once more what failed or was cancelled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlmwatch.cli.again import again
from rlmwatch.cli.ids import whole_id
from rlmwatch.cli.output import quiet
from rlmwatch.cli.submit import Flag, handed_in
from rlmwatch.client import Client
from rlmwatch.contract.names import input_name
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import UsageError
from rlmwatch.runs.model import Outcome, Run, RunStatus
from rlmwatch.runs.submitted import ENCLOSED
from rlmwatch.workspace.status import REJECTED


def retry(
    job_id: str,
    /,
    *,
    wait: Annotated[bool, Flag] = False,
    workspace: Annotated[Path | None, Parameter(name=("--workspace", "-w"))] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """
    Ask once more what failed or was cancelled: a job as a new one with the same content, an input file as it is now.

    Args:
        job_id: As `rlmwatch jobs` lists it.
        wait: For a job: wait for the answer. Where no daemon runs, it is answered here.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        as_json: For a job: print it as JSON.
    """
    quiet()
    paths = locate(workspace)
    job_id = whole_id(paths.root, job_id)
    run = asyncio.run(_find(paths, job_id))
    if run is None:
        raise UsageError(f"{job_id}: this machine's ledger has no such run; `rlmwatch jobs` lists what is known")
    _refuse(run, job_id)
    if input_name(run.path) is not None:
        return again(paths.root / run.path)
    client = Client(paths.root)
    given = {name: run.enclosed[name] for name in ENCLOSED if name in run.enclosed}
    return handed_in(paths, client, client.submit(run.prompt, **run.options, **given), wait=wait, as_json=as_json)


def _refuse(run: Run, job_id: str) -> None:
    """
    Return if *run* may be asked once more.

    Raises:
        UsageError: Why not, and what to do instead.
    """
    if not run.status.ended:
        raise UsageError(f"{job_id} has not ended; `rlmwatch cancel {job_id}` ends it")
    if run.status is RunStatus.COMPLETE:
        raise UsageError(f"{job_id} has its answer; `rlmwatch again FILE` asks an input file again")
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
