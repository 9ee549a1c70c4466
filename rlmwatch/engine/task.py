"""What an engine is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from rlmwatch.contract.options import RunOptions
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.prompts import Prompts
from rlmwatch.engine.sub_sessions import SubSessions
from rlmwatch.engine.tools import Tool
from rlmwatch.errors import NoProvider
from rlmwatch.runs.model import Outcome
from rlmwatch.runs.trajectory import Trajectory
from rlmwatch.sandbox.base import JsonValue, Sandbox

DEFAULT_STEPS = 8
"""Of an engine whose options say nothing (design, section 11)."""


@dataclass(frozen=True, slots=True)
class Task:
    """
    What is asked.

    Attributes:
        question: The person's words; they stand whole in the first request.
        context: The variable `context`: a str, or a mapping of path to text; None is an empty str.
        history: The variable `history`, where the conversation has one.
    """

    question: str
    context: JsonValue = None
    history: str | None = None

    def variables(self) -> dict[str, JsonValue]:
        """Return what the code finds among its names."""
        context = "" if self.context is None else self.context
        return {"context": context} if self.history is None else {"context": context, "history": self.history}


@dataclass(frozen=True, slots=True)
class EngineDeps:
    """
    What an engine works with.

    Attributes:
        options: `model` and `tokens` are needed; `sub_model`, `max_steps`, `temperature` and `system` (said after the
            rules) are used. Caps, and the deadline, are those of *calls*.
        calls: Resumed, where an earlier attempt may have paid for something.
        prompts: The texts that the run has frozen.
        tools: Offered beside the engine's own functions, by name.
        progress: Is told (step, steps, what is being done) of the run itself, not of sub-engines.
        sub_sessions: Lets so many sub-engines have a session at once.
        misfit: Returns why what the run itself gave to `answer` is not what was asked for; None where it is.
        max_depth: Levels of sub-engines; the lowest one's `rlm_query` is a plain sub-call.
    """

    options: RunOptions
    calls: Calls
    sandbox: Sandbox
    trajectory: Trajectory
    prompts: Prompts
    tools: Mapping[str, Tool] = field(default_factory=dict)
    progress: Callable[[int, int, str], None] = field(default=lambda _step, _steps, _note: None)
    max_depth: int = 1
    sub_sessions: SubSessions = field(default_factory=SubSessions)
    misfit: Callable[[JsonValue], Awaitable[str | None]] | None = None

    @property
    def model(self) -> str:
        """The model that writes the code."""
        if self.options.model is None:
            raise NoProvider("no model is named: set `model` in your config.toml or in the front matter")
        return self.options.model

    @property
    def sub_model(self) -> str:
        """The model of sub-calls."""
        return self.options.sub_model or self.model

    @property
    def tokens(self) -> int:
        """Output tokens of one call, at most."""
        if self.options.tokens is None:
            raise NoProvider("no `tokens` are set: how long may one reply be?")
        return self.options.tokens

    @property
    def steps(self) -> int:
        """Steps of an engine, at most."""
        return self.options.max_steps or DEFAULT_STEPS


@dataclass(frozen=True, slots=True)
class End:
    """
    Why an engine's steps ended.

    Attributes:
        value: The answer; None where one is still to be made of what was found.
        why: The error behind it, for a run that found nothing.
    """

    outcome: Outcome
    value: JsonValue = None
    why: Exception | None = None


@dataclass(frozen=True, slots=True)
class EngineResult:
    """
    How a run ended.

    Attributes:
        answer: The text for the person; indented JSON where the answer is no str.
        value: The answer as it was given.
        partial: The answer was cut short, or made though sub-calls were refused; `outcome` says by what.
        answered: The model gave the answer by `answer`; else a limit made one of what was found.
        steps: Steps that the run itself made.
        notes: `replay_diverged`, `usage_estimated`, as far as they hold.
        model: The model that wrote the code, as the provider says; None where it never replied.
    """

    answer: str
    value: JsonValue
    outcome: Outcome
    partial: bool
    steps: int
    notes: tuple[str, ...] = ()
    model: str | None = None
    answered: bool = False
