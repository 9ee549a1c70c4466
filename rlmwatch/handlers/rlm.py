"""A run of the recursive language model: what the kinds that use the engine have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlmwatch.contract.documents import Progress
from rlmwatch.engine.loop import run_engine
from rlmwatch.engine.prompts import Prompts, current_prompts
from rlmwatch.engine.task import Kit, Task
from rlmwatch.engine.tools import Tool
from rlmwatch.handlers.base import Bench
from rlmwatch.runs.model import Result, Run, RunStatus
from rlmwatch.workspace.context import Context


@dataclass(frozen=True, slots=True)
class Material:
    """
    What a run works on.

    Attributes:
        history: The variable `history`, where the conversation has one.
        tools: Offered beside the engine's own functions, by name.
    """

    context: Context
    history: str | None = None
    tools: Mapping[str, Tool] = field(default_factory=dict)


async def rlm(run: Run, question: str, material: Material, bench: Bench) -> Result:
    """
    Answer *question* with the engine.

    Question, history and prompts are pinned as texts: an edit of the session, or an upgrade, in the middle of a run
    changes nothing of what the model is asked.
    """
    pinned = run.pinned or await bench.pin(
        {
            "model": bench.options.model,
            "prompts": current_prompts().pinned(),
            "question": question,
            "history": material.history,
        }
    )
    ended = await run_engine(
        Task(pinned["question"], material.context.value, pinned["history"]),
        Kit(
            options=bench.options,
            calls=bench.calls,
            sandbox=bench.sandbox,
            trajectory=bench.trajectory,
            prompts=Prompts.of(pinned["prompts"]),
            tools=material.tools,
            progress=lambda step, steps, note: bench.progress(Progress(step=step, max_steps=steps, note=note)),
        ),
    )
    return Result(
        RunStatus.COMPLETE,
        ended.outcome,
        answer=ended.answer,
        partial=ended.partial,
        usage=bench.calls.used,
        notes=(*bench.notes(), *ended.notes, *material.context.notes),
        model=ended.model or bench.options.model,
    )
