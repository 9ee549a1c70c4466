"""A run of the recursive language model: what the kinds that use the engine have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from rlmwatch.citations.check import check, sources_document
from rlmwatch.contract.documents import Progress
from rlmwatch.contract.json_answer import NotJson
from rlmwatch.contract.options import RunOptions
from rlmwatch.engine.loop import run_engine
from rlmwatch.engine.prompts import Prompts, current_prompts
from rlmwatch.engine.searches import Searches
from rlmwatch.engine.task import EngineDeps, EngineResult, Task
from rlmwatch.errors import InputError, NoCodingModel
from rlmwatch.handlers import plain, structured
from rlmwatch.handlers.base import RunContext
from rlmwatch.models.base import Message, Reply, Request
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Usage
from rlmwatch.sandbox.base import JsonValue
from rlmwatch.settings.model import tokens_of_job
from rlmwatch.workspace.context import Context

NOT_COMPUTED = (
    "not computed: the model answered in prose, without code; nothing in this answer was counted or looked up"
)
IN_ONE_PIECE = "stream: the engine's answer comes in one piece, so none of it was shown before"


@dataclass(frozen=True, slots=True)
class Material:
    """
    What a run works on.

    Attributes:
        history: The variable `history`, where the conversation has one.
    """

    context: Context
    history: str | None = None


async def rlm(run: Run, question: str, material: Material, run_context: RunContext) -> Result:
    """
    Answer *question* with the engine.

    Question, history, options and prompts are frozen: an edit of the session or the settings, or an upgrade, in the
    middle of a run changes nothing of what the model is asked. Caps are those of the moment.

    What the question mentions is an entry of `context` under its name, beside the material.

    Raises:
        InputError: It mentions images, which no code can see.
        NoCodingModel: The model is known to be unable to; nothing was frozen or paid.
    """
    if run_context.no_engine_reason is not None:
        raise NoCodingModel(run_context.no_engine_reason)
    attached = await run_context.attached()
    if attached.images:
        names = ", ".join(image.name for image in attached.images)
        raise InputError(f"images ({names}) are for a chat, or a job that is one plain call: code cannot see them")
    frozen = run.frozen or await run_context.freeze(
        {
            "model": run_context.options.model,
            "options": _with_tokens(run_context.options).model_dump(mode="json", exclude_none=True),
            "prompts": current_prompts().frozen(),
            "question": _with_notes(question, run_context.searches),
            "history": material.history,
            "material": material.context.digest,
            "files": [asdict(file) for file in material.context.files],
            **({"attached": dict(attached.digests)} if attached.digests else {}),
        }
    )
    ended = await run_engine(
        Task(frozen["question"], _with_attached(material.context.value, attached.texts), frozen["history"]),
        EngineDeps(
            options=RunOptions.model_validate(dict(frozen["options"])),
            calls=run_context.calls,
            sandbox=run_context.sandbox,
            trajectory=run_context.trajectory,
            prompts=Prompts.of(frozen["prompts"]),
            tools={} if run_context.searches is None else run_context.searches.tools(),
            sub_sessions=run_context.sub_sessions,
            misfit=None if run.wants_json is None else partial(_misfit, run.wants_json, run_context),
            progress=lambda step, steps, note: run_context.progress(Progress(step=step, max_steps=steps, note=note)),
        ),
    )
    if run.wants_json is not None:
        ended = await _in_json(ended, frozen["question"], run.wants_json, run_context)
    result = Result(
        RunStatus.COMPLETE,
        ended.outcome,
        answer=ended.answer,
        partial=ended.partial,
        usage=run_context.calls.used,
        notes=(*run_context.notes(), *_told(ended, run_context), *ended.notes, *material.context.notes),
        model=ended.model or run_context.options.model,
    )
    checked = _with_sources(result, run_context.searches, material.context, answered=ended.answered)
    # In JSON nothing is marked and no list is added: what the check found stands in the notes and the sources.
    is_json = run.wants_json is not None and checked.answer is not None
    return replace(checked, answer=ended.answer) if is_json else checked


async def _misfit(wants: Mapping[str, Any], run_context: RunContext, answer: object) -> str | None:
    """Return why *answer*, which the model's code gave, is not the JSON that was asked for; None where it is."""
    try:
        await structured.judged(answer, wants["schema"], run_context.check_answer, is_value=True)
    except NotJson as error:
        return str(error)
    return None


async def _in_json(
    ended: EngineResult, question: str, wants: Mapping[str, Any], run_context: RunContext
) -> EngineResult:
    """
    Return *ended* with its answer as JSON; one that a limit made, and that is not, is asked for once more.

    Raises:
        InvalidAnswer: It is not JSON at the second try either.
    """
    check, options = run_context.check_answer, run_context.options
    try:
        text = await structured.judged(ended.value, wants["schema"], check, is_value=ended.answered)
    except NotJson:
        model = ended.model or options.model or ""
        reply = Reply(ended.answer, "stop", Usage(), model)
        request = Request(
            options.model or model,
            (Message("user", question),),
            tokens_of_job(options, plain=False),
            options.temperature,
            answer_format={"schema": wants["schema"]},
        )
        text = (await structured.answered(request, reply, wants, run_context)).text
    return replace(ended, answer=text)


def _with_notes(question: str, searches: Searches | None) -> str:
    """Return *question* with how the folder's notes are searched, where they may be."""
    return question if searches is None or searches.files is None else f"{question}\n\n{plain.prompt('notes')}"


def _with_tokens(options: RunOptions) -> RunOptions:
    """Return *options* with the `tokens` of a call, where nobody set any."""
    return options.model_copy(update={"tokens": tokens_of_job(options, plain=False)})


def _with_attached(value: JsonValue, texts: Mapping[str, str]) -> JsonValue:
    """Return the material *value* with *texts* by their names; a single text, or other data, is then `data`."""
    if not texts:
        return value
    if value is None:
        return dict(texts)
    return {**(value if isinstance(value, dict) else {"data": value}), **texts}


def _told(ended: EngineResult, run_context: RunContext) -> tuple[str, ...]:
    """Return what a person should know of how the answer came about."""
    notes = [NOT_COMPUTED] if ended.outcome is Outcome.NO_CODE else []
    if run_context.options.stream:
        notes.append(IN_ONE_PIECE)
    return tuple(notes)


def _with_sources(result: Result, searches: Searches | None, context: Context, *, answered: bool) -> Result:
    """Return *result* with its answer checked against the pages that were fetched, if any were."""
    if searches is None:
        return result
    if failed := searches.failed:
        if not answered and not searches.fetched and context.value is None:
            # What a limit makes of nothing is no answer: the person is told what the search said.
            return replace(
                result,
                status=RunStatus.FAILED,
                outcome=Outcome.PROVIDER_ERROR,
                answer=None,
                partial=False,
                error=f"no search gave a page, {len(failed)} failed; the last one: {failed[-1]}",
            )
        result = replace(result, notes=(*result.notes, f"searches: {len(failed)} failed; the last one: {failed[-1]}"))
    result = replace(result, notes=(*result.notes, *searches.notes()))
    if not searches.fetched and not searches.unread:
        return result
    if result.answer is None:
        return replace(result, sources=sources_document(searches.fetched))
    checked = check(result.answer, searches.pages)
    return replace(
        result,
        answer=checked.text,
        notes=(*result.notes, *checked.notes),
        sources=sources_document(searches.fetched, checked),
    )
