"""`rlmwatch show RUN`: what a run asked, wrote, ran, saw and answered, step by step; live with --follow."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from cyclopts import Parameter

from rlmwatch import clock
from rlmwatch.cli.arguments import Flag, Folder, Json, RunName, named_run
from rlmwatch.cli.live import LiveLine
from rlmwatch.cli.output import print_json
from rlmwatch.cli.trajectory import Printer
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import InputError, UsageError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.runs.model import JournalEntry, Run
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.runs.transitions import shown
from rlmwatch.runs.unanswered import earlier_answer
from rlmwatch.workspace.polling import status as read_one
from rlmwatch.workspace.status import job_id

POLL_S = 0.5
"""Between two looks at the ledger while a run is followed; a step takes seconds."""


LOOKED_AT = 100
"""Newest runs of a conversation among which an older answer is looked for."""


@dataclass(frozen=True, slots=True)
class RunDetails:
    """
    All that the ledger keeps of one run.

    Attributes:
        status: In the word that `jobs` and `status` have for it.
    """

    run: Run
    status: str
    steps: list[StepRecord]
    calls: list[JournalEntry]


def show(
    run: RunName,
    /,
    *,
    workspace: Folder = None,
    calls: Annotated[bool, Flag] = False,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), negative=())] = False,
    as_json: Json = False,
) -> int:
    """
    Show one run: its question; each step's words, code and output, time and cost; its answer.

    Args:
        run: Its id, as `rlmwatch runs` lists it, or the beginning or last letters of that; or the file of its question.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        calls: Also show every paid call with its request and reply.
        follow: Go on until the run has ended, or is held.
        as_json: Print JSON; with --follow, once it has ended.
    """
    quiet()
    paths, run_id = named_run(run, workspace)
    found = asyncio.run(_shown(paths, run_id, follow=follow, printer=None if as_json else Printer(calls=calls)))
    if as_json:
        print_json(_values(found))
    return 0


def _values(found: RunDetails) -> dict[str, object]:
    return {
        "run": asdict(found.run) | {"status": found.status},
        "steps": [asdict(step) for step in found.steps],
        "calls": [asdict(call) for call in found.calls],
    }


async def _shown(paths: WorkspacePaths, run_id: str, *, follow: bool, printer: Printer | None) -> RunDetails:
    """Print the run by *printer*, if there is one; with *follow* as it goes on, until it has ended or is held."""
    ledger = _ledger(paths)
    try:
        found = await _details(paths, ledger, await _run_of(ledger, run_id))
        if printer is not None:
            printer.head(found.run, found.status, now=clock.utc())
            printer.steps(found.steps, found.calls)
        with LiveLine() as line:
            while follow and not found.run.status.ended and found.status != "held":
                _tell(line, paths, found.run)
                await asyncio.sleep(POLL_S)
                run = await ledger.get(found.run.run_id)
                if run is None:
                    raise UsageError(f"{found.run.run_id} is no longer in the ledger")
                found = await _details(paths, ledger, run)
                if printer is not None and printer.is_new(found.steps):
                    line.pause()
                    printer.steps(found.steps, found.calls)
        if printer is not None:
            of_conversation = await ledger.recent(LOOKED_AT, found.run.conversation)
            printer.end(found.run, found.status, found.calls, stands=earlier_answer(found.run, of_conversation))
        return found
    finally:
        await ledger.aclose()


def _tell(line: LiveLine, paths: WorkspacePaths, run: Run) -> None:
    try:
        found = read_one(paths.root, job_id(run))
    except InputError:
        return
    if found is not None:
        line.tell(found.progress, found.usage)


async def _find(paths: WorkspacePaths, run_id: str) -> RunDetails:
    ledger = _ledger(paths)
    try:
        return await _details(paths, ledger, await _run_of(ledger, run_id))
    finally:
        await ledger.aclose()


def _ledger(paths: WorkspacePaths) -> Ledger[Any]:
    ledger = ledger_if_any(paths)
    if ledger is None:
        raise UsageError(f"{paths.root} has no ledger on this machine: nothing was answered here")
    return ledger


async def _run_of(ledger: Ledger[Any], run_id: str) -> Run:
    return await ledger.find(run_id) or await _by_part(ledger, run_id)


async def _details(paths: WorkspacePaths, ledger: Ledger[Any], run: Run) -> RunDetails:
    word = _word(paths, run)
    steps, calls = await ledger.steps(run.run_id), await ledger.entries(run.run_id)
    return RunDetails(replace(run), word, steps, calls)


def _word(paths: WorkspacePaths, run: Run) -> str:
    """Return the status of *run* as its status file shows it; the ledger's, where that says otherwise or is gone."""
    word = shown(run)
    try:
        found = read_one(paths.root, job_id(run))
    except InputError:
        return word
    return found.status.value if found is not None and not run.status.ended and not found.status.ended else word


async def _by_part(ledger: Ledger[Any], part: str) -> Run:
    recent = await ledger.recent(1000)
    found = [run for run in recent if run.run_id.startswith(part)] or [
        run for run in recent if run.run_id.endswith(f"-{part}")
    ]
    if len(found) != 1:
        how_many = "no run" if not found else f"{len(found)} runs"
        raise UsageError(f"{how_many} with the id {part}; `rlmwatch runs` lists them")
    return found[0]
