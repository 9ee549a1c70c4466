"""
Ends by itself: answer what is there, answer one file, or show what would be asked.

The same parts as the daemon's, so the same save has the same run whichever way it is answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import input_name
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.app import App
from rlmwatch.engine.calls import price_of
from rlmwatch.errors import RlmwatchError, UsageError
from rlmwatch.handlers.chat import compose
from rlmwatch.models.base import Message
from rlmwatch.runs.model import Run, RunStatus, Save
from rlmwatch.watch.one import read_one
from rlmwatch.workspace.memory import load_chat


@dataclass(frozen=True, slots=True)
class Tally:
    """How many runs ended how, of those that were answered here."""

    answered: int
    failed: int
    waiting: int


async def once(app: App) -> Tally:
    """Answer every unanswered input, also those of an earlier daemon, and return how that went."""
    if app.terms.model is None:
        raise UsageError(app.terms.why_none)
    await app.watcher.first_scan()
    await app.supervisor.recover()
    leave = asyncio.Event()
    watching = asyncio.create_task(app.watcher.run(leave))
    try:
        resting = asyncio.create_task(app.watcher.until_at_rest())
        await asyncio.wait({watching, resting}, return_when=asyncio.FIRST_COMPLETED)
        resting.cancel()
        if watching.done():
            watching.result()
        await app.supervisor.until_idle()
    finally:
        leave.set()
        await watching
        await app.supervisor.close()
    return await _tally(app)


async def _tally(app: App) -> Tally:
    ended = app.supervisor.ended
    answered = sum(run.status is RunStatus.COMPLETE for run in ended)
    counts = await app.ledger.count()
    waiting = counts.get(RunStatus.HELD, 0) + counts.get(RunStatus.PENDING, 0)
    return Tally(answered, len(ended) - answered, waiting + len(await app.ledger.unpublished()))


async def answer(app: App, path: str) -> Run:
    """
    Answer the input *path* (POSIX, inside the workspace) and return its ended or held run.

    Where these bytes were answered before, no call is made, and that run is returned.

    Raises:
        UsageError: There is no such file, it is no input, or its kind cannot be answered here.
        InputError: It holds nothing to answer.
    """
    if app.terms.model is None:
        raise UsageError(app.terms.why_none)
    save = await read_one(app.place.root, path, app.watcher.config)
    if save.kind not in app.supervisor.handlers:
        raise UsageError(f"{path}: this version cannot answer the kind {save.kind}")
    admission = await app.ledger.admit(save, on_new_save=app.watcher.config.on_new_save, now=clock.utc())
    if admission.run is None:
        return await _answered_before(app, save)
    app.supervisor.admitted(admission)
    await app.supervisor.until_idle()
    await app.supervisor.close()
    run = await app.ledger.get(admission.run.run_id)
    if run is None:
        raise AssertionError(admission.run.run_id)
    return run


async def _answered_before(app: App, save: Save) -> Run:
    """Return the run that answered these bytes; finish it first, where an earlier process could not."""
    await app.supervisor.recover()
    await app.supervisor.until_idle()
    await app.supervisor.close()
    for run in await app.ledger.recent(100, save.conversation):
        if run.path == save.path and run.digest == save.digest:
            return run
    raise UsageError(
        f"{save.path} was answered before, and its run is no longer known here; `rlmwatch again {save.path}` asks again"
    )


@dataclass(frozen=True, slots=True)
class Sketch:
    """
    What one unanswered input would ask.

    Attributes:
        usd: Upper bound of its cost; None where the price is unknown.
        problem: Why it would not be asked; None where it would.
    """

    path: str
    kind: Kind
    model: str | None
    messages: tuple[Message, ...]
    tokens: int | None
    usd: float | None
    problem: str | None


async def sketches(app: App) -> list[Sketch]:
    """Return what would be asked now, for every unanswered input. Sends, admits and writes nothing."""
    try:
        return [await _sketch(app, save) for save in await app.watcher.unanswered()]
    finally:
        await app.watcher.stop()


async def _sketch(app: App, save: Save) -> Sketch:
    options = app.terms.options(save.kind, RunOptions.model_validate(dict(save.options)))
    name = input_name(save.path)
    if save.problem or name is None:
        return Sketch(save.path, save.kind, options.model, (), options.tokens, None, save.problem)
    try:
        memory = await asyncio.to_thread(load_chat, app.place.root, name, now=clock.utc())
        request = compose(save.prompt, options, memory.state)
    except RlmwatchError as error:
        return Sketch(save.path, save.kind, options.model, (), options.tokens, None, str(error))
    price = price_of(app.terms.model, request) if app.terms.model else None
    usd = None if price is None else price.input_usd + request.max_tokens * price.usd_per_output_token
    return Sketch(
        save.path, save.kind, request.model, request.messages, request.max_tokens, usd, app.terms.why_none or None
    )
