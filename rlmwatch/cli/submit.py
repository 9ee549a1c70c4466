"""`rlmwatch submit`: hand in a job."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlmwatch.cli.arguments import Flag, Folder, Json
from rlmwatch.cli.numbers import Whole
from rlmwatch.cli.output import print_json, put, say
from rlmwatch.cli.waiting import interruptible, job_values, print_ended, until_ended
from rlmwatch.cli.warned import quiet, warn_in_words
from rlmwatch.client import Client, Job, Options
from rlmwatch.contract.documents import JobStatus
from rlmwatch.contract.text import decode
from rlmwatch.daemon.composition import App
from rlmwatch.daemon.handover import handed_over
from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.oneshot import answer_job
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.errors import ConfigError, InputError, NoProvider, UsageError, WorkspaceBusy, WorkspaceError
from rlmwatch.settings.sources import own_name
from rlmwatch.settings.user_folders import expanded, resolved
from rlmwatch.workspace.hosts import Theirs, look_up, this_host
from rlmwatch.workspace.owner import holder

STDIN = "-"
LOOK_EVERY_S = 1.0
"""How often it is looked whether somebody still answers, while waiting."""


@dataclass(frozen=True, slots=True)
class _How:
    wait: bool
    as_json: bool


def submit(  # noqa: PLR0913 (the flags of a command line)
    *task: Annotated[str, Parameter(allow_leading_hyphen=True)],
    file: Path | None = None,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    model: str | None = None,
    tokens: Annotated[int | None, Whole] = None,
    max_steps: Annotated[int | None, Whole] = None,
    max_tokens: Annotated[int | None, Whole] = None,
    max_cost_usd: float | None = None,
    webhook: str | None = None,
    wait: Annotated[bool, Flag] = False,
    workspace: Folder = None,
    as_json: Json = False,
) -> int:
    """
    Hand in a job, print its id, and return at once; with --wait, print its answer.

    Args:
        task: What to do; `-` reads it from standard input.
        file: Read the task from this file.
        data: File to work on, or a folder of the workspace; `-` reads standard input.
        model: Model, in place of the configured one.
        tokens: Output tokens of one call, at most.
        max_steps: Steps of a run of the engine, at most.
        max_tokens: Output tokens of the whole run, at most.
        max_cost_usd: US dollars of the whole run, at most.
        webhook: Where to report the end; your config.toml says which hosts are allowed.
        wait: Wait for the answer. Where no daemon runs, it is answered here.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        as_json: Print the job as JSON.
    """
    quiet()
    paths = locate(workspace)
    client = Client(paths.root)
    options: Options = {
        "model": model,
        "tokens": tokens,
        "max_steps": max_steps,
        "max_tokens": max_tokens,
        "max_cost_usd": max_cost_usd,
        "webhook": webhook,
    }
    for named in (file, Path(data) if data not in (None, STDIN) else None):
        if named is not None:
            _refuse_link_out(paths.root, named)
    words = _task(task, file, data)
    material = _material(paths, data)
    try:
        job = client.submit(words, **options, **material)
    except InputError as error:
        raise UsageError(str(error)) from None
    return handed_in(paths, client, job, wait=wait, as_json=as_json)


def handed_in(paths: WorkspacePaths, client: Client, job: Job, *, wait: bool, as_json: bool) -> int:
    """Say what becomes of *job*, and wait for it where that is asked; return the exit status."""
    if not wait:
        if as_json:
            print_json(job_values(job))
        else:
            put(job.job_id)
        if (where := _nobody(paths)) is not None:
            say(f"rlmwatch: {where}")
        return 0
    try:
        ended = asyncio.run(_wait(paths, client, job))
    except KeyboardInterrupt:
        say(f"rlmwatch: {job.job_id} is handed in, and goes on: `rlmwatch status {job.job_id}`, `rlmwatch cancel …`")
        raise
    return print_ended(ended, as_json=as_json)


async def _wait(paths: WorkspacePaths, client: Client, job: Job) -> Job:
    """Return *job* once it has ended: answered by whoever answers in the workspace, or here where nobody does."""
    telling = asyncio.create_task(until_ended(client, job.job_id))
    try:
        while True:
            if (where := _nobody(paths)) is not None:
                say(f"rlmwatch: {where} It is answered here.")
                with suppress(WorkspaceBusy):  # somebody has begun meanwhile
                    await _answered_here(paths, job)
                    now = await asyncio.to_thread(client.status, job.job_id)
                    if now.ended or now.status is JobStatus.HELD:  # nobody here could release it
                        return now
                    await handed_over(paths)
            ended, _ = await asyncio.wait({telling}, timeout=LOOK_EVERY_S)
            if ended:
                return await telling
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _answered_here(paths: WorkspacePaths, job: Job) -> None:
    redactor = Redactor()
    warn_in_words(redactor)
    try:
        with interruptible() as leave:
            async with App(paths, redactor=redactor) as app:
                await answer_job(app, job.job_id, leave)
        if leave.is_set():
            raise KeyboardInterrupt
    except (UsageError, NoProvider) as error:
        raise UsageError(f"{error}\n{job.job_id} is handed in, and is answered when rlmwatch runs here") from error


def _nobody(paths: WorkspacePaths) -> str | None:
    """Say, in words, that no daemon answers here now; None where one does, here or on another machine."""
    if holder(paths.state, paths.root) is not None:
        return None
    with suppress(ConfigError, WorkspaceError):
        me = this_host(own_name(paths.user_dir, os.environ, socket.gethostname()), paths.state.parent)
        if isinstance(look_up(paths.root, me), Theirs):
            return None
    return f"no daemon runs here now; `rlmwatch run {paths.root}` answers what waits."


def _task(words: tuple[str, ...], file: Path | None, data: str | None) -> str:
    if bool(words) == (file is not None):
        raise UsageError("what is to be done? Give the task as arguments, `-` for standard input, or --file FILE")
    # A word may be `-`, so the parser takes whatever begins with it for a word.
    unknown = next((word for word in words if word.startswith("-") and word != STDIN), None)
    if unknown is not None:
        raise UsageError(f"{unknown}: no such option; a task with such words goes through `-` or --file")
    if file is not None:
        return _text(file)
    if words == (STDIN,):
        if data == STDIN:
            raise UsageError("standard input can be the task or the data, not both")
        return _decoded(sys.stdin.buffer.read(), "standard input")
    return " ".join(words)


def _refuse_link_out(root: Path, named: Path) -> None:
    """
    Return unless *named* lies in the workspace *root* and is a link out of it: whoever writes there could have made it.

    Raises:
        UsageError: It is one.
    """
    target = resolved(named)
    whole = Path(os.path.abspath(expanded(named)))  # noqa: PTH100 (links stay)
    if any(above.resolve() == root for above in whole.parents) and not target.is_relative_to(root):
        raise UsageError(f"{named}: a link leads out of the workspace; it is not followed. Name the file itself")


def _material(paths: WorkspacePaths, data: str | None) -> dict[str, str]:
    """Return the job's `data`, or `data_path` where that lies in the workspace and need not be copied."""
    if data is None:
        return {}
    if data == STDIN:
        return {"data": _decoded(sys.stdin.buffer.read(), "standard input")}
    path = expanded(Path(data))
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a NUL character
        why = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
        raise UsageError(f"--data {data}: {why}") from None
    if resolved != paths.root and resolved.is_relative_to(paths.root):
        return {"data_path": resolved.relative_to(paths.root).as_posix()}
    if path.is_dir():
        raise UsageError(f"--data {data}: a folder must lie in the workspace {paths.root}")
    return {"data": _text(path)}


def _text(path: Path) -> str:
    try:
        return _decoded(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _decoded(raw: bytes, where: str) -> str:
    try:
        return decode(raw)
    except InputError as error:
        raise UsageError(f"{where}: {error}") from None
