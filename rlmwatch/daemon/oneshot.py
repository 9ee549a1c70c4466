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
from rlmwatch.daemon.turn import move_here
from rlmwatch.engine.call_codec import price_of
from rlmwatch.engine.task import DEFAULT_STEPS
from rlmwatch.errors import RlmwatchError, UsageError
from rlmwatch.execution.model_choice import choose_model
from rlmwatch.execution.run_context import searches_the_web
from rlmwatch.handlers import chat, job, structured
from rlmwatch.handlers.plain import refuse_unseeing
from rlmwatch.ledger.retention import answer_lost
from rlmwatch.models.base import Model, Request, Role
from rlmwatch.runs.attached import Attached, shown
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Save
from rlmwatch.runs.queue import Admission, Known
from rlmwatch.settings.model import tokens_of_job
from rlmwatch.watch.one import read_one
from rlmwatch.workspace.atomic import sweep
from rlmwatch.workspace.context import Context, MaterialFile, read_context, refuse_beside_chat
from rlmwatch.workspace.memory import load_chat
from rlmwatch.workspace.publish import mark_of, restore, restore_json


@dataclass(frozen=True, slots=True)
class OnceSummary:
    """
    How many runs ended how, of those that were answered here.

    Attributes:
        waiting: Have not ended.
        held: Those of them that wait for a person.
    """

    answered: int
    failed: int
    waiting: int
    held: int = 0


async def once(app: App, options: StartOptions, leave: asyncio.Event) -> OnceSummary:
    """
    Answer every unanswered input, also those of an earlier daemon, and return how that went.

    When *leave* is set, or a daemon asks for the folder, what is left goes on at the next start.

    Raises:
        UsageError: Another host answers here, or it may be the wrong folder.
    """
    if app.config.model is None:
        raise UsageError(app.config.no_model_reason)
    await begin(app, options)
    if options.take_over:
        move_here(app)
    only_here(app)
    await asyncio.to_thread(sweep, app.paths.root, before=clock.utc())
    await app.supervisor.recover()
    await app.inbox.begin()
    end = asyncio.Event()
    working = [asyncio.create_task(part.run(end)) for part in (app.watcher, app.inbox)]
    others = [asyncio.create_task(waits) for waits in (_at_rest(app), leave.wait(), app.wanted.wait())]
    try:
        await asyncio.wait({*working, *others}, return_when=asyncio.FIRST_COMPLETED)
        for task in working:
            if task.done():
                task.result()
        await _until_done(app, leave)
    finally:
        for waits_no_more in others:
            waits_no_more.cancel()
        end.set()
        await asyncio.gather(*working)
        await app.supervisor.close()
    await app.webhooks.deliver_now()
    await app.ceiling_watch.look()
    await app.notifications.finish()
    return await _summary(app)


async def _at_rest(app: App) -> None:
    """Return when the folder's saves and submissions are admitted."""
    await app.watcher.until_at_rest()
    await app.inbox.until_at_rest()


async def _summary(app: App) -> OnceSummary:
    counts = await app.ledger.count()
    waiting = sum(counts.get(status, 0) for status in (RunStatus.HELD, RunStatus.PENDING, RunStatus.RUNNING))
    done = app.supervisor
    unpublished = len(await app.ledger.unpublished())
    return OnceSummary(done.answered, done.unanswered, waiting + unpublished, counts.get(RunStatus.HELD, 0))


async def answer(app: App, path: str, leave: asyncio.Event) -> Run:
    """
    Answer the input *path* (POSIX, inside the workspace) and nothing else; return its run, ended or held.

    Where these bytes were answered before, and their material is the same, no call is made, and that run is returned.
    What an earlier process left of the same conversation goes first. When *leave* is set, or a daemon asks for the
    folder, the run is returned as it is, and goes on at the next start.

    Raises:
        UsageError: There is no such file, it is not an input, or its kind cannot be answered here.
        InputError: It holds nothing to answer.
    """
    if app.config.model is None:
        raise UsageError(app.config.no_model_reason)
    only_here(app)
    save = await read_one(app.paths.root, path, app.watcher.config)
    save = await app.captured(await app.watcher.under_its_name(save) or save)
    if save.kind not in app.supervisor.kinds:
        raise UsageError(f"{path}: this version cannot answer the kind {save.kind}")
    admission = await _admit(app, save)
    if admission.run is None and await app.material_changed(save):
        await app.ledger.again(save.path)
        admission = await _admit(app, save)
    if admission.run is None:
        return await _answered_before(app, save, leave)
    app.supervisor.only = save.conversation
    await app.supervisor.recover()
    app.supervisor.admitted(admission)
    await _until_done(app, leave)
    run = await app.ledger.get(admission.run.run_id)
    if run is None:
        raise AssertionError(admission.run.run_id)
    return run


async def _admit(app: App, save: Save) -> Admission:
    """Admit *save*, unless the folder shows its answer and nobody asked for it again."""
    save = await app.attach(save)
    name = input_name(save.path)
    known = (await app.ledger.known()).get(save.path)
    if name is not None:
        shown = await app.history.shows(name, save.digest, known=known is not None)
        save = replace(save, after=shown.number)
        asks_again = known is not None and known.digest == ""
        if shown.answered and not asks_again and (await app.ledger.precedent(save)).open <= shown.number:
            await app.ledger.note(save.path, Known(save.digest, save.signature))
            return Admission(None)
    return await app.ledger.admit(save, on_new_save=app.watcher.config.on_new_save, now=clock.utc())


async def _until_done(app: App, leave: asyncio.Event) -> None:
    """
    Work until nothing is left that could be done, *leave* is set, or a daemon asks for the folder.

    Then what still runs ends here: at once for *leave*, else within its grace. It goes on at the next start.
    """
    working = asyncio.create_task(app.supervisor.until_idle())
    waiting = [asyncio.create_task(event.wait()) for event in (leave, app.wanted)]
    try:
        await asyncio.wait({working, *waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, *waiting):
            task.cancel()
        if leave.is_set():
            app.supervisor.grace_s = 0.0
        await app.supervisor.close()


async def answer_job(app: App, job_id: str, leave: asyncio.Event) -> None:
    """
    Answer the job file of *job_id*, which is whole, and nothing else; its status says how that went.

    It ends as `answer` does when *leave* is set, or a daemon asks for the folder.

    Raises:
        UsageError: There is nothing to answer with, or another host answers here.
    """
    if app.config.model is None:
        raise UsageError(app.config.no_model_reason)
    only_here(app)
    await app.inbox.admit_now(job_id)
    await _until_done(app, leave)
    await app.webhooks.deliver_now()


async def _answered_before(app: App, save: Save, leave: asyncio.Event) -> Run:
    """
    Return the run that answered these bytes; finish it first, where an earlier process could not.

    An output that was deleted is written anew, from the conversation's own file, or else from the ledger.
    """
    run = await _run_of(app, save)
    if run is not None and not run.published:
        app.supervisor.only = save.conversation
        await app.supervisor.recover()
        await _until_done(app, leave)
        run = await _run_of(app, save)
    name, result = input_name(save.path), None if run is None else run.result
    lost = answer_lost(run)
    if name is not None and (run is None or (result is not None and result.answer is not None)):
        text = await asyncio.to_thread(
            restore,
            app.gateway.root,
            name,
            save.digest,
            or_else=None if result is None or lost else result.answer,
            or_else_mark=None if run is None or result is None else mark_of(run, result),
            marks=app.marks(save),
        )
        if text is not None and (save if run is None else run).wants_json is not None:
            await asyncio.to_thread(restore_json, app.gateway.root, name, text)
        if text is not None and (run is None or lost):
            return _answered_elsewhere(save, text)
    if run is None or lost:
        raise no_longer_known(save, lost)
    return run


def no_longer_known(save: Save, lost: str | None) -> UsageError:
    """Return what to say where *save* was answered, and its answer is not in the ledger: *lost* says why."""
    name = input_name(save.path)
    output = None if name is None else name.output if save.wants_json is None else name.json_output
    where = f". Its answer may still be in {output}" if output is not None else ""
    return UsageError(
        f"{save.path} was answered before, and {lost or 'its run is no longer known here'}{where}; "
        f"`rlmwatch again {save.path}` asks again"
    )


async def _run_of(app: App, save: Save) -> Run | None:
    runs = await app.ledger.recent(100, save.conversation)
    return next((run for run in runs if run.path == save.path and run.digest == save.digest), None)


def _answered_elsewhere(save: Save, answer: str) -> Run:
    """Return the run of *save*, which this ledger does not know, as the folder shows it."""
    return Run(
        run_id="",
        seq=0,
        path=save.path,
        kind=save.kind,
        conversation=save.conversation,
        prompt=save.prompt,
        options=save.options,
        digest=save.digest,
        status=RunStatus.COMPLETE,
        created_at="",
        result=Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer),
        published=True,
    )


@dataclass(frozen=True, slots=True)
class SketchMessage:
    """One message of a request, as people are shown it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sketch:
    """
    What one unanswered input would ask.

    Attributes:
        steps: Steps of the engine, at most; None for one plain call.
        usd: Upper bound of its cost; None where the price is unknown, or where no cap was set for a run of the engine.
        problem: Why it would not be asked; None where it would.
        preset: The preset whose options and text hold; None where there is none.
        json_schema: What the answer is to fit; true for any JSON, None for a text.
        material: The files that go along, of which a run of the engine looks at parts.
        notes: What of the material would be passed over, or left out.
        attached: What its question mentions, in words.
    """

    path: str
    kind: Kind
    model: str | None
    messages: tuple[SketchMessage, ...]
    tokens: int | None
    usd: float | None
    problem: str | None
    steps: int | None = None
    preset: str | None = None
    json_schema: str | bool | None = None
    material: tuple[MaterialFile, ...] = ()
    notes: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()


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
        preset=options.preset,
        json_schema=None if save.wants_json is None else save.wants_json.get("path", True),
    )
    if save.problem:
        return nothing
    model: Model | None = None
    no_engine_reason: str | None = None
    try:
        if app.config.model is not None or options.provider is not None:
            chosen = await choose_model(app.config, save.kind, given, learn=False)
            model, options, no_engine_reason = chosen.model, chosen.options, chosen.no_engine_reason
            nothing = replace(nothing, model=options.model)
        captured, attached = await asyncio.to_thread(app.attachments.preview, app.paths.root, save)
        nothing = replace(nothing, attached=tuple(map(shown, captured)))
        if model is not None:
            refuse_unseeing(attached, model, options.model)
        context = await _material(app, save, options)
        nothing = replace(nothing, material=context.files, notes=context.notes)
        request = await _first_request(app, save, options, context, attached)
    except RlmwatchError as error:
        return replace(nothing, problem=str(error))
    if request is None:
        message = SketchMessage("user", structured.question(save, by_code=True))
        cannot_search = searches_the_web(save.kind, options) and app.config.search is None
        no_search = app.config.no_search_reason if cannot_search else None
        steps = options.max_steps or DEFAULT_STEPS
        problem = (app.config.no_model_reason if model is None else "") or no_engine_reason or no_search
        tokens = tokens_of_job(options, plain=False)
        usd = options.max_cost_usd
        return replace(nothing, messages=(message,), tokens=tokens, steps=steps, usd=usd, problem=problem)
    nothing = replace(nothing, tokens=request.max_tokens)
    price = price_of(model.price(request.model), request) if model else None
    usd = None if price is None else price.input_usd + request.max_tokens * price.usd_per_output_token
    problem = None if model else app.config.no_model_reason or None
    messages = tuple(SketchMessage(message.role, message.content) for message in request.messages)
    return replace(nothing, messages=messages, usd=usd, problem=problem)


async def _material(app: App, save: Save, options: RunOptions) -> Context:
    """Return the material of *save*, as a run of it would have it; a chat has none."""
    name = input_name(save.path)
    if name is None or save.kind is Kind.CHAT:
        return Context()
    roots = app.config.loaded.settings.context.outside_roots
    found = await asyncio.to_thread(read_context, app.paths.root, name, options.context, outside_roots=roots)
    return found.context(await app.gateway.documents.texts(found.documents))


async def _first_request(
    app: App, save: Save, options: RunOptions, context: Context, attached: Attached
) -> Request | None:
    """Return the one request of a plain call; None for a run of the engine, whose requests depend on its replies."""
    name = input_name(save.path)
    if save.kind is Kind.CHAT and name is not None:
        await asyncio.to_thread(refuse_beside_chat, app.paths.root, name)
        memory = await asyncio.to_thread(load_chat, app.paths.root, name, now=clock.utc())
        return chat.request(save, options, memory.state, attached)
    if save.kind is not Kind.JOB:
        return None
    return job.request(save, options, attached) if job.is_plain(options, context) else None
