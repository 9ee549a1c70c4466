"""
The public Python API: one run, or a session, in this process.

    run(task, data)          one plain call, or a run of the engine where there is something to work on
    Session(path)            questions on the same material under one budget, kept in a file

Both are synchronous, and may be called from a running event loop (a notebook).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import structlog
from pydantic import ValidationError

from rlmwatch import clock
from rlmwatch.contract.faults import in_words
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import Keywords, RunOptions
from rlmwatch.contract.session import SessionState
from rlmwatch.daemon.composition import DirectRunner, Parts
from rlmwatch.daemon.credentials import Key
from rlmwatch.errors import SessionBudgetExceeded, UsageError, WorkspaceBusy
from rlmwatch.execution.caller_storage import CallerStorage, save_of
from rlmwatch.execution.run_context import SESSION_POLL_S
from rlmwatch.runs.model import Outcome, Usage
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.settings.model import DEFAULTS
from rlmwatch.settings.providers import OPENAI_KEY
from rlmwatch.settings.sources import state_dir
from rlmwatch.workspace.context import Context
from rlmwatch.workspace.session import SessionFile, SessionLock

BUSY_S = 30.0
"""How long a change of the caps waits for a run that uses the session: a short one ends, a long one is worth saying."""

CALLERS_KEY = "api_key"
"""The name of the key that a caller hands over, where it is said whose it is."""

T = TypeVar("T")

OnStep = Callable[[StepRecord], None]

Data = str | Mapping[str, str] | None
"""What a run works on: a text, or texts by name."""


class CallOptions(Keywords, total=False):
    """
    What a caller may set; each has the meaning of the front matter's key, see `RunOptions`.

    Attributes:
        provider: A provider's name, in place of the one that is found.
        base_url: Address of any server that speaks the OpenAI protocol.
        api_key: Its key, in place of the one that is found.
        on_step: Is given each step of the engine.
    """

    base_url: str | None
    api_key: str | None
    on_step: OnStep | None


@dataclass(frozen=True, slots=True)
class RunResult:
    """
    How a run ended.

    Attributes:
        answer: The answer.
        partial: It was cut short; `outcome` says by what.
        usage: Tokens, US dollars, calls and searches of the whole run.
        steps: Steps of the engine, sub-engines included; none where the task was one plain call.
        sources: Pages that were fetched.
        notes: Things worth knowing that are not errors.
        run_id: Its id in the ledger.
    """

    answer: str
    partial: bool
    outcome: Outcome
    usage: Usage
    steps: tuple[StepRecord, ...]
    sources: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    model: str | None
    run_id: str


def run(task: str, data: Data = None, **options: Unpack[CallOptions]) -> RunResult:
    """
    Answer *task*, with *data* as the variable `context` where there is any.

    One plain call when there is no data, no tools and no `max_steps` above 1; a run of the engine otherwise; `mode`
    (`chat` or `rlm`) says otherwise.

    Raises:
        UsageError: An option that does not exist, or a value that it cannot have.
        NoProvider: There is nothing to answer with; the text names the ways out.
        NoCodingModel: It is work for the engine, and what answers is known to write no code (the embedded model).
        BudgetError: A cap or ceiling allows no call.
        ProviderError: The provider gave no answer, in its own words.
        SandboxUnavailable: This machine cannot lock down the engine's sandbox.
    """
    call = _Call.of(options)
    return _in_a_loop(call.answer(Kind.JOB, task, call.options, _storage(data)))


def _storage(data: Data, session: SessionFile | None = None) -> CallerStorage:
    material = Context(data if data is None or isinstance(data, str) else dict(data))
    return CallerStorage(state_dir(), clock.utc, material, session)


class Session:
    """
    Questions on the same material under one budget, kept in a file.

    The same file as the daemon's: both may use it, one after the other.

    Attributes:
        path: The session's file; it is made by the first run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "research_session.json",
        *,
        max_cost_usd: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """
        Open the session in *path*.

        Args:
            path: Its file.
            max_cost_usd: Cap in US dollars across all its runs; default is what was raised before, else 0.05.
            max_tokens: Cap in output tokens across all its runs; default is what was raised before, else 1,200.
        """
        self.path = Path(path).absolute()
        name = self.path.name.removesuffix("_session.json").removesuffix(".json")
        self._file = SessionFile(self.path.parent, self.path, name)
        self._max_tokens = max_tokens
        self._max_cost_usd = max_cost_usd

    def run(self, prompt: str, data: Data = None, **options: Unpack[CallOptions]) -> RunResult:
        """
        Answer *prompt* with what the session knows, and book what it used.

        Raises:
            SessionBudgetExceeded: Nothing is left; no call was made. `raise_caps` lets it go on.
            RlmwatchError: As `run`.
        """
        call = _Call.of(options)
        capped = RunOptions(max_tokens=self._max_tokens, max_cost_usd=self._max_cost_usd).over(call.options)
        return _in_a_loop(call.answer(Kind.RESEARCH, prompt, capped, _storage(data, self._file)))

    @property
    def max_tokens(self) -> int:
        """The cap in output tokens."""
        return self._max_tokens or self._state().max_tokens or DEFAULTS[Kind.RESEARCH].max_tokens or 0

    @property
    def max_cost_usd(self) -> float:
        """The cap in US dollars."""
        return self._max_cost_usd or self._state().max_cost_usd or DEFAULTS[Kind.RESEARCH].max_cost_usd or 0.0

    @property
    def remaining_tokens(self) -> int:
        """Output tokens that are left."""
        return max(0, self.max_tokens - self._state().spent.output_tokens)

    @property
    def remaining_cost_usd(self) -> float:
        """US dollars that are left."""
        return max(0.0, self.max_cost_usd - self._state().spent.cost_usd)

    def raise_caps(self, *, max_tokens: int | None = None, max_cost_usd: float | None = None) -> None:
        """
        Set new caps, here and in the file, so that the daemon and other scripts keep to them too.

        Raises:
            WorkspaceBusy: Another run uses the session, and did not end within `BUSY_S`.
        """
        caps = {"max_tokens": max_tokens, "max_cost_usd": max_cost_usd}
        given = {name: value for name, value in caps.items() if value is not None}
        self._max_tokens = max_tokens or self._max_tokens
        self._max_cost_usd = max_cost_usd or self._max_cost_usd
        self._change(lambda state: state.model_copy(update=given))

    def clear(self) -> None:
        """
        Forget exchanges and spending; the caps stay.

        Raises:
            WorkspaceBusy: Another run uses the session, and did not end within `BUSY_S`.
        """

        def cleared(state: SessionState) -> SessionState:
            return SessionState(
                conversation=state.conversation, max_tokens=state.max_tokens, max_cost_usd=state.max_cost_usd
            )

        self._change(cleared)

    def _change(self, change: Callable[[SessionState], SessionState]) -> None:
        lock = _locked(self.path)
        try:
            self._file.change(change, now=clock.utc())
        finally:
            lock.release()

    def _state(self) -> SessionState:
        return self._file.load(now=clock.utc())[0]


def _locked(session: Path) -> SessionLock:
    """Return the session's lock, as soon as nobody else holds it."""
    give_up = clock.monotonic() + BUSY_S
    while True:
        try:
            return SessionLock.acquire(state_dir(), session)
        except WorkspaceBusy:
            if clock.monotonic() >= give_up:
                raise
        time.sleep(SESSION_POLL_S)


@dataclass(frozen=True, slots=True)
class _Call:
    """
    What the options of one call come to.

    Attributes:
        runner: The program that answers.
        options: Those of the run.
        on_step: Is given each step of the engine.
    """

    runner: DirectRunner
    options: RunOptions
    on_step: OnStep | None

    @classmethod
    def of(cls, options: CallOptions) -> Self:
        """
        Take apart what the caller set.

        Raises:
            UsageError: An option that does not exist, or a value that it cannot have.
        """
        rest: dict[str, Any] = dict(options)
        on_step = rest.pop("on_step", None)
        flags = {name: rest.pop(name, None) for name in ("provider", "base_url")}
        api_key = rest.pop("api_key", None)
        try:
            chosen = RunOptions.model_validate({name: value for name, value in rest.items() if value not in (None, ())})
        except ValidationError as wrong:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {in_words(e)}" for e in wrong.errors())
            raise UsageError(f"run(): {faults}") from None
        keys = {}
        key = Key.of(CALLERS_KEY, api_key, "the call") if api_key else None
        if key is not None and (flags["provider"] or flags["base_url"]):
            flags["key"] = CALLERS_KEY
            keys[CALLERS_KEY] = key
        elif key is not None:
            keys[OPENAI_KEY] = replace(key, name=OPENAI_KEY)
        return cls(DirectRunner(os.environ, flags=flags, parts=Parts(keys=keys, users_options=True)), chosen, on_step)

    async def answer(self, kind: Kind, task: str, options: RunOptions, storage: CallerStorage) -> RunResult:
        """Answer *task*; see `run` and `Session.run`."""
        async with self.runner as runner:
            run, result = await runner.answer(save_of(kind, task, options), storage, on_step=self.on_step)
            return RunResult(
                answer=result.answer or "",
                partial=result.partial,
                outcome=result.outcome,
                usage=result.usage,
                steps=tuple(await runner.steps(run.run_id)),
                sources=tuple(json.loads(result.sources)["pages"]) if result.sources else (),
                notes=result.notes,
                model=result.model,
                run_id=run.run_id,
            )


def _keep_quiet() -> None:
    """Log warnings only, to standard error, unless the caller's program has set up structlog itself."""
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


def _in_a_loop(work: Coroutine[Any, Any, T]) -> T:
    """Carry out *work* in an event loop of its own, in a thread of its own where this one has a loop already."""
    _keep_quiet()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    done: list[T] = []
    failed: list[BaseException] = []

    def there() -> None:
        try:
            done.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 (it is raised again in the caller's thread)
            failed.append(error)

    thread = threading.Thread(target=there, name="rlmwatch-run")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


__all__ = ["RunResult", "Session", "SessionBudgetExceeded", "run"]
