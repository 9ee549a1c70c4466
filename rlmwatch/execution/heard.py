"""What the supervisor hears of a run while a handler answers it, and the port through which it asks for a bench."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from rlmwatch.handlers.base import RunContext
from rlmwatch.runs.model import Run
from rlmwatch.workspace.status import Live


class RunContexts(Protocol):
    """Sets up what a handler works with."""

    async def __call__(self, run: Run, heard: Heard) -> RunContext:
        """
        Return the bench of one attempt of *run*.

        Raises:
            RlmwatchError: The run cannot begin (no provider, a bad option).
        """
        ...


@dataclass(slots=True)
class Heard:
    """
    What is heard of a run while it goes on.

    Attributes:
        bench: What its handler works with; None before.
        live: What its status file says beside the ledger's row.
        max_seconds: Its time limit.
        closing: What is to be given back when its handler has ended.
        until_published: What is held until its files are written: who comes next reads them.
    """

    bench: RunContext | None = None
    live: Live | None = None
    max_seconds: float | None = None
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)
    until_published: ExitStack = field(default_factory=ExitStack)
