"""Everything an engine runs on, from fakes, with the real sandbox: an `EngineHarness` is one run over its attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fakes.memory import Kill, Killed, MemoryJournal, MemoryTrajectory

from rlmwatch import clock
from rlmwatch.budget import Budget, Caps
from rlmwatch.contract.options import RunOptions
from rlmwatch.engine.call_site import AttemptScope
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.loop import run_engine
from rlmwatch.engine.prompts import Prompts, current_prompts
from rlmwatch.engine.task import EngineDeps, EngineResult, Task
from rlmwatch.models.base import Message, Request
from rlmwatch.models.scripted import Script, ScriptedModel
from rlmwatch.runs.journal import Ceilings
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.sandbox.host.process import ProcessSandbox


@cache
def shared_sandbox() -> ProcessSandbox:
    """
    Return the one sandbox of this process, with which it ends.

    To start one takes longer than most runs; each attempt has a session of its own.
    """
    return ProcessSandbox()


def py(code: str) -> str:
    """A reply that is one block of code."""
    return f"```python\n{code}\n```"


def is_root(request: Request) -> bool:
    """Whether the request asks an engine's model for its next step."""
    return request.messages[0].content.startswith("You answer by writing Python")


def is_synthesis(request: Request) -> bool:
    """Whether the request asks for an answer from what was found."""
    return request.messages[0].content.startswith("A run has reached its limit")


def asked(request: Request) -> Message:
    """The message with the question, after the turns of the worked example."""
    return request.messages[1 + len(current_prompts().example)]


def steps_done(request: Request) -> int:
    """How many replies the request's engine has had."""
    return sum(message.role == "assistant" for message in request.messages[1 + len(current_prompts().example) :])


def play(cells: list[str], sub: Callable[[Request], Any] = lambda _request: "sub reply", end: Any = "synthesis"):
    """A script: the cells in order for the root, *sub* for sub-calls, *end* for the synthesis."""

    def reply(request: Request) -> Any:
        if is_synthesis(request):
            return end(request) if callable(end) else end
        return cells[steps_done(request)] if is_root(request) else sub(request)

    return reply


@dataclass
class EngineHarness:
    """One run; each `run` is an attempt."""

    script: Script
    options: dict[str, Any] = field(default_factory=dict)
    caps: Caps = field(default_factory=Caps)
    session: Budget | None = None
    seconds: float = 60.0
    passed_s: float = 0.0
    usd_per_token: tuple[float, float] | None = (0.0, 0.0)
    prices: dict[str, tuple[float, float] | None] | None = None
    ceilings: Ceilings = field(default_factory=lambda: Ceilings(per_day_usd=None))
    tools: dict[str, Any] = field(default_factory=dict)
    max_depth: int = 1
    sandbox: Callable[[], Sandbox] | None = None
    """In place of the one that all benches share."""
    prompts: Prompts = field(default_factory=current_prompts)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    trajectory: MemoryTrajectory = field(init=False)
    progress: list[tuple[int, int, str]] = field(default_factory=list)
    model: ScriptedModel = field(init=False)
    calls: Calls = field(init=False)
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.trajectory = MemoryTrajectory(self.journal)

    async def attempt(self, question: str = "How many?", context: Any = "abc", **task: Any) -> EngineResult:
        self.model = ScriptedModel(self.script, usd_per_token=self.usd_per_token)
        if self.prices is not None:
            self.model.price = self.prices.__getitem__
        options = RunOptions(**{"model": "m", "tokens": 1000, "max_steps": 8, **self.options})
        self.passed_s = 0.0
        frame = AttemptScope(
            "run-1", self.journal.attempt, self.ceilings, self.now() + self.seconds, self.now, clock.utc
        )
        self.budget = Budget("run", self.caps, parent=self.session)
        self.calls = Calls(frame, self.journal, self.model, self.budget, crash_at=self.journal.kill)
        await self.calls.resume()
        sandbox = self.sandbox() if self.sandbox is not None else shared_sandbox()
        try:
            deps = EngineDeps(
                options,
                self.calls,
                sandbox,
                self.trajectory,
                self.prompts,
                self.tools,
                lambda *told: self.progress.append(told),
                self.max_depth,
            )
            return await run_engine(Task(question, context, **task), deps)
        finally:
            if self.sandbox is not None:
                await sandbox.aclose()

    def run(self, *args: Any, **task: Any) -> EngineResult:
        return asyncio.run(self.attempt(*args, **task))

    def killed_at(self, point: int, *args: Any, **task: Any) -> bool:
        """Run an attempt that is killed at its *point*-th named point; False where it ended before."""
        self.journal.kill = Kill(point)
        with suppress(Killed):
            self.run(*args, **task)
        struck, self.journal.kill = self.journal.kill.dead, Kill()
        self.journal.attempt += 1
        return struck

    def again(self, *args: Any, **task: Any) -> EngineResult:
        """Run another attempt, as the daemon does it for a run that was not published."""
        self.journal.attempt += 1
        return self.run(*args, **task)

    def now(self) -> float:
        """Monotonic seconds, and those that a test lets pass at once (`passed_s`)."""
        return clock.monotonic() + self.passed_s

    def roots(self) -> list[Request]:
        """The requests of this attempt that asked the run's own model for a step."""
        return [request for request in self.model.requests if is_root(request)]
