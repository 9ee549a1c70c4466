"""
Ends by itself: answer what is there, answer one file, or show what would be asked.

The same parts as the daemon's, so the same save has the same run whichever way it is answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from rlmwatch import clock
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import input_name
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.composition import App
from rlmwatch.daemon.service import StartOptions, begin, only_here
from rlmwatch.engine.call_codec import price_of
from rlmwatch.engine.task import DEFAULT_STEPS
from rlmwatch.errors import RlmwatchError, UsageError
from rlmwatch.execution.model_choice import choose_model
from rlmwatch.execution.run_context import searches_the_web
from rlmwatch.handlers import chat, job
from rlmwatch.models.base import Message, Model, Request
from rlmwatch.runs.model import Run, RunStatus, Save
from rlmwatch.watch.one import read_one
from rlmwatch.workspace.atomic import sweep
from rlmwatch.workspace.context import read_context, refuse_beside_chat
from rlmwatch.workspace.memory import load_chat


@dataclass(frozen=True, slots=True)
class OnceSummary:
    """How many runs ended how, of those that were answered here."""

    answered: int
    failed: int
    waiting: int


async def once(app: App, options: StartOptions) -> OnceSummary:
    """
    Answer every unanswered input, also those of an earlier daemon, and return how that went.

    Raises:
        UsageError: Another host answers here, or it may be the wrong folder.
    """
    if app.config.model is None:
        raise UsageError(app.config.no_model_reason)
    await begin(app, options)
    only_here(app)
    await asyncio.to_thread(sweep, app.paths.root, before=clock.utc())
    await app.supervisor.recover()
    await app.inbox.begin()
    leave = asyncio.Event()
    working = [asyncio.create_task(part.run(leave)) for part in (app.watcher, app.inbox)]
    try:
        resting = asyncio.create_task(_at_rest(app))
        await asyncio.wait({*working, resting}, return_when=asyncio.FIRST_COMPLETED)
        resting.cancel()
        for task in working:
            if task.done():
                task.result()
        await app.supervisor.until_idle()
    finally:
        leave.set()
        await asyncio.gather(*working)
        await app.supervisor.close()
    await app.webhooks.deliver_now()
    return await _summary(app)


async def _at_rest(app: App) -> None:
    """Return when the folder's saves and submissions are admitted."""
    await app.watcher.until_at_rest()
    await app.inbox.until_at_rest()


async def _summary(app: App) -> OnceSummary:
    ended = app.supervisor.ended
    answered = sum(run.status is RunStatus.COMPLETE for run in ended)
    counts = await app.ledger.count()
    waiting = counts.get(RunStatus.HELD, 0) + counts.get(RunStatus.PENDING, 0)
    return OnceSummary(answered, len(ended) - answered, waiting + len(await app.ledger.unpublished()))


async def answer(app: App, path: str) -> Run:
    """
    Answer the input *path* (POSIX, inside the workspace) and return its ended or held run.

    Where these bytes were answered before, and their material is the same, no call is made, and that run is returned.

    Raises:
        UsageError: There is no such file, it is not an input, or its kind cannot be answered here.
        InputError: It holds nothing to answer.
    """
    if app.config.model is None:
        raise UsageError(app.config.no_model_reason)
    only_here(app)
    save = await read_one(app.paths.root, path, app.watcher.config)
    if save.kind not in app.supervisor.kinds:
        raise UsageError(f"{path}: this version cannot answer the kind {save.kind}")
    admission = await app.ledger.admit(save, on_new_save=app.watcher.config.on_new_save, now=clock.utc())
    if admission.run is None and await app.material_changed(save):
        await app.ledger.again(path)
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


async def answer_job(app: App, job_id: str) -> None:
    """
    Answer the job file of *job_id*, which is whole, and nothing else; its status says how that went.

    Raises:
        UsageError: There is nothing to answer with, or another host answers here.
    """
    if app.config.model is None:
        raise UsageError(app.config.no_model_reason)
    only_here(app)
    await app.inbox.admit_now(job_id)
    await app.supervisor.until_idle()
    await app.supervisor.close()
    await app.webhooks.deliver_now()


async def _answered_before(app: App, save: Save) -> Run:
    """Return the run that answered these bytes; finish it first, where an earlier process could not."""
    run = await _run_of(app, save)
    if not run.published:
        await app.supervisor.recover()
        await app.supervisor.until_idle()
        await app.supervisor.close()
        run = await _run_of(app, save)
    return run


async def _run_of(app: App, save: Save) -> Run:
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
        steps: Steps of the engine, at most; None for one plain call.
        usd: Upper bound of its cost; None where the price is unknown, or where no cap was set for a run of the engine.
        problem: Why it would not be asked; None where it would.
    """

    path: str
    kind: Kind
    model: str | None
    messages: tuple[Message, ...]
    tokens: int | None
    usd: float | None
    problem: str | None
    steps: int | None = None


async def sketches(app: App) -> list[Sketch]:
    """Return what would be asked now, for every unanswered input. Sends, admits and writes nothing."""
    try:
        return [await _sketch(app, save) for save in await app.watcher.unanswered()]
    finally:
        await app.watcher.stop()


async def _sketch(app: App, save: Save) -> Sketch:
    given = RunOptions.model_validate(dict(save.options))
    options = app.config.loaded.settings.options_for(save.kind, given)
    nothing = Sketch(
        path=save.path,
        kind=save.kind,
        model=options.model,
        messages=(),
        tokens=options.tokens,
        usd=None,
        problem=save.problem,
    )
    if save.problem:
        return nothing
    model: Model | None = None
    try:
        if app.config.model is not None or options.provider is not None:
            chosen = await choose_model(app.config, save.kind, given, learn=False)
            model, options = chosen.model, chosen.options
            nothing = replace(nothing, model=options.model)
        request = await _first_request(app, save, options)
    except RlmwatchError as error:
        return replace(nothing, problem=str(error))
    if request is None:
        message = Message("user", save.prompt)
        cannot_search = searches_the_web(save.kind, options) and app.config.search is None
        no_search = app.config.no_search_reason if cannot_search else None
        steps = options.max_steps or DEFAULT_STEPS
        problem = (app.config.no_model_reason if model is None else "") or no_search
        return replace(nothing, messages=(message,), steps=steps, usd=options.max_cost_usd, problem=problem)
    price = price_of(model.price(request.model), request) if model else None
    usd = None if price is None else price.input_usd + request.max_tokens * price.usd_per_output_token
    problem = None if model else app.config.no_model_reason or None
    return replace(nothing, messages=request.messages, usd=usd, problem=problem)


async def _first_request(app: App, save: Save, options: RunOptions) -> Request | None:
    """Return the one request of a plain call; None for a run of the engine, whose requests depend on its replies."""
    name = input_name(save.path)
    if save.kind is Kind.CHAT and name is not None:
        await asyncio.to_thread(refuse_beside_chat, app.paths.root, name)
        memory = await asyncio.to_thread(load_chat, app.paths.root, name, now=clock.utc())
        return chat.compose(save.prompt, options, memory.state)
    if save.kind is not Kind.JOB or name is None:
        return None
    found = await asyncio.to_thread(read_context, app.paths.root, name, options.context)
    context = found.context(dict.fromkeys(found.documents, "(not read yet)"))
    return job.compose(save.prompt, options) if job.is_plain(options, context) else None
