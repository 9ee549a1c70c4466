"""A run of the recursive language model: what the kinds that use the engine have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rlmwatch.contract.documents import Progress
from rlmwatch.contract.options import RunOptions
from rlmwatch.engine.loop import run_engine
from rlmwatch.engine.prompts import Prompts, current_prompts
from rlmwatch.engine.searches import Searches
from rlmwatch.engine.task import Kit, Task
from rlmwatch.handlers.base import Bench
from rlmwatch.runs.model import Result, Run, RunStatus
from rlmwatch.search.citations import check, sources_document
from rlmwatch.workspace.context import Context


@dataclass(frozen=True, slots=True)
class Material:
    """
    What a run works on.

    Attributes:
        history: The variable `history`, where the conversation has one.
    """

    context: Context
    history: str | None = None


async def rlm(run: Run, question: str, material: Material, bench: Bench) -> Result:
    """
    Answer *question* with the engine.

    Question, history, options and prompts are pinned: an edit of the session or the settings, or an upgrade, in the
    middle of a run changes nothing of what the model is asked. Caps are those of the moment.
    """
    pinned = run.pinned or await bench.pin(
        {
            "model": bench.options.model,
            "options": bench.options.model_dump(mode="json", exclude_none=True),
            "prompts": current_prompts().pinned(),
            "question": question,
            "history": material.history,
        }
    )
    ended = await run_engine(
        Task(pinned["question"], material.context.value, pinned["history"]),
        Kit(
            options=RunOptions.model_validate(dict(pinned["options"])),
            calls=bench.calls,
            sandbox=bench.sandbox,
            trajectory=bench.trajectory,
            prompts=Prompts.of(pinned["prompts"]),
            tools={} if bench.searches is None else {"research": bench.searches.tool()},
            progress=lambda step, steps, note: bench.progress(Progress(step=step, max_steps=steps, note=note)),
        ),
    )
    result = Result(
        RunStatus.COMPLETE,
        ended.outcome,
        answer=ended.answer,
        partial=ended.partial,
        usage=bench.calls.used,
        notes=(*bench.notes(), *ended.notes, *material.context.notes),
        model=ended.model or bench.options.model,
    )
    return _with_sources(result, bench.searches)


def _with_sources(result: Result, searches: Searches | None) -> Result:
    """Return *result* with its answer checked against the pages that were fetched, if any were."""
    if searches is None or not searches.fetched:
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
