"""`rlmwatch show RUN`: what a run asked, ran, saw and answered, step by step."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax

from rlmwatch.cli.ids import whole_id
from rlmwatch.cli.output import money, print_json, quiet, styled
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import InputError, UsageError
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.printable import printable
from rlmwatch.runs.model import JournalEntry, Run, Usage
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.runs.transitions import shown
from rlmwatch.workspace.polling import status as read_one
from rlmwatch.workspace.status import job_id

PIPE_WIDTH = 120
"""Columns where the output is not a terminal."""


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
    run_id: str,
    /,
    *,
    workspace: Annotated[Path | None, Parameter(name=("--workspace", "-w"))] = None,
    calls: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """
    Show the trajectory of one run: each step's code, what it printed, its calls, usage and times.

    Args:
        run_id: As `rlmwatch jobs` lists it; its beginning is enough where only one run has it.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        calls: Also show every paid call with its request and reply.
        as_json: Print JSON.
    """
    quiet()
    found = asyncio.run(_find(locate(workspace), run_id))
    if as_json:
        print_json(
            {
                "run": asdict(found.run) | {"status": found.status},
                "steps": [asdict(step) for step in found.steps],
                "calls": [asdict(call) for call in found.calls],
            }
        )
        return 0
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    _print_head(console, found)
    for step in found.steps:
        _print_step(console, step)
    if calls or not found.steps:
        for call in found.calls:
            _print_call(console, call)
    _print_end(console, found)
    return 0


async def _find(paths: WorkspacePaths, run_id: str) -> RunDetails:
    ledger = ledger_if_any(paths)
    if ledger is None:
        raise UsageError(f"{paths.root} has no ledger on this machine: nothing was answered here")
    try:
        run = await ledger.find(whole_id(paths.root, run_id)) or await _by_beginning(ledger, run_id)
        return RunDetails(run, _word(paths, run), await ledger.steps(run.run_id), await ledger.entries(run.run_id))
    finally:
        await ledger.aclose()


def _word(paths: WorkspacePaths, run: Run) -> str:
    """Return the status of *run* as its status file shows it; the ledger's, where that says otherwise or is gone."""
    word = shown(run)
    try:
        found = read_one(paths.root, job_id(run))
    except InputError:
        return word
    return found.status.value if found is not None and not run.status.ended and not found.status.ended else word


async def _by_beginning(ledger: Ledger[Any], beginning: str) -> Run:
    found = [run for run in await ledger.recent(1000) if run.run_id.startswith(beginning)]
    if len(found) != 1:
        how_many = "no run" if not found else f"{len(found)} runs"
        raise UsageError(f"{how_many} with the id {beginning}; `rlmwatch jobs` lists them")
    return found[0]


def _print_head(console: Console, found: RunDetails) -> None:
    run = found.run
    console.print(styled(run.run_id, style="bold"), styled(f"{run.kind}, {found.status}, attempt {run.attempt}"))
    console.print(styled(f"{run.path}, saved {run.created_at}"))
    console.print(styled(run.prompt.strip()))


def _print_step(console: Console, step: StepRecord) -> None:
    where = f"step {step.step}" if not step.path else f"sub-engine {step.path} step {step.step}"
    times = f"{step.cell_s:.2f} s in code, {step.calls_s:.2f} s in calls"
    console.print(Rule(styled(f"{where}: {step.ended}, {_usage(step.usage)}, {times}"), align="left"))
    if step.code is not None:
        console.print(Syntax(printable(step.code, lines=True), "python", word_wrap=True, background_color="default"))
    console.print(styled(step.shown.rstrip(), style="dim"))
    if step.answer is not None:
        console.print(styled(f"answer: {step.answer}"))


def _print_call(console: Console, entry: JournalEntry) -> None:
    call = entry.call
    what = f"{call.what} {call.model}: {entry.state}, {_usage(entry.usage or Usage())}, {call.key}"
    console.print(Rule(styled(what), align="left"))
    for message in call.request.get("messages", ()):
        console.print(styled(f"{message['role']}: {message['content'].strip()}", style="dim"))
    if entry.reply is not None:
        console.print(styled(str(entry.reply.get("text", entry.reply))))


def _print_end(console: Console, found: RunDetails) -> None:
    run, result = found.run, found.run.result
    if result is None:
        console.print(Rule(styled(run.held_for or found.status), align="left"))
        return
    partial = ", partial" if result.partial else ""
    console.print(Rule(styled(f"{result.outcome}{partial}, {_usage(result.usage)}"), align="left"))
    console.print(styled(result.answer or result.error or ""))
    for note in result.notes:
        console.print(styled(f"note: {note}"))


def _usage(usage: Usage) -> str:
    cost = "" if usage.cost_usd is None else f", {money(usage.cost_usd)} USD"
    searches = f", {usage.searches} searches" if usage.searches else ""
    return f"{usage.llm_calls} calls, {usage.input_tokens} + {usage.output_tokens} tokens{cost}{searches}"
