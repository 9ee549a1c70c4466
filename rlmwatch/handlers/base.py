"""The port between the supervisor and the kinds: what a handler gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rlmwatch.contract.documents import Progress
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.session import SessionState
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.searches import Searches
from rlmwatch.engine.sub_sessions import SubSessions
from rlmwatch.runs.attached import Attached
from rlmwatch.runs.model import Result, Run
from rlmwatch.runs.trajectory import Trajectory
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.workspace.context import Context
from rlmwatch.workspace.memory import Remembered

CheckAnswer = Callable[[Any, Any], Awaitable[str | None]]
"""Given (schema, value)."""


async def _fits(_schema: object, _value: object) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class RunContext:
    """
    What a handler works with.

    Attributes:
        options: What holds for this run, the model's name included.
        calls: Makes paid calls.
        memory: Reads the conversation's memory from the workspace.
        freeze: Fixes what must not change between attempts; returns what was fixed first.
        context: Reads the material that the input names or that lies beside it.
        attached: Returns what the question mentions, ready to be sent; the same at each attempt.
        sandbox: Where a model's code runs.
        trajectory: Keeps the steps of the engine.
        searches: Searches the web or the folder's notes, where the kind or `tools` allows it; None elsewhere.
        session: The research session as it was before this run; None for other kinds.
        progress: Says how far the run is.
        sub_sessions: Lets as many sub-engines have a session at once as this machine bears, across all runs.
        on_text: Is given each new piece of the answer; None where nobody listens.
        no_engine_reason: Why the engine cannot work with this model, for the person; None where it can.
        check_answer: Returns why a value does not fit a JSON Schema; None where it does.
        wants_json: Whether the answer is to be JSON.
        price_note: What a poller should know of the model's price; None where that is known.
    """

    options: RunOptions
    calls: Calls
    memory: Callable[[], Awaitable[Remembered]]
    freeze: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
    progress: Callable[[Progress], None]
    context: Callable[[], Awaitable[Context]]
    attached: Callable[[], Awaitable[Attached]]
    sandbox: Sandbox
    trajectory: Trajectory
    searches: Searches | None = None
    session: SessionState | None = None
    on_text: Callable[[str], None] | None = None
    sub_sessions: SubSessions = field(default_factory=SubSessions)
    no_engine_reason: str | None = None
    price_note: str | None = None
    check_answer: CheckAnswer = field(default=_fits)
    wants_json: bool = False

    def notes(self) -> tuple[str, ...]:
        """Return what a poller should know of the run's spending, and of its replies."""
        return (*(() if self.price_note is None else (self.price_note,)), *self.calls.notes)


class Handler(Protocol):
    """Answers the runs of one kind."""

    async def __call__(self, run: Run, run_context: RunContext) -> Result:
        """
        Answer *run*.

        May be called again for the same run after a crash: what it paid for comes from the journal, and what it
        frozen is the same.

        Raises:
            RlmwatchError: The supervisor decides by the class what becomes of the run.
        """
        ...
