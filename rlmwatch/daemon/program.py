"""
A running program without a workspace: what the Python API composes for its runs.

It keeps to the user's own settings, keys and ceilings. Every paid call is
journalled in the user's private ledger for Python, so the day's ceiling holds
over all scripts, and `rlmwatch costs` knows of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

from rlmwatch import clock
from rlmwatch.contract.documents import UsageSoFar
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import Turn
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.session import SessionState, Used
from rlmwatch.daemon.credentials import Key, find_all, wanted
from rlmwatch.daemon.factories import build_sandbox, find_model
from rlmwatch.daemon.providers import runtime_config
from rlmwatch.errors import ProviderError, RunTimeout
from rlmwatch.execution.heard import Heard
from rlmwatch.execution.outcomes import Hold, ended_by
from rlmwatch.execution.run_context import RunContextFactory, RuntimeConfig
from rlmwatch.handlers.base import Handler
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.models.base import Model
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus, Save, Usage
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.runs.trajectory import StepRecord, Trajectory
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.settings.sources import load, state_dir, user_config_dir
from rlmwatch.workspace.context import Context
from rlmwatch.workspace.memory import Remembered
from rlmwatch.workspace.session import SessionFile, SessionLock
from rlmwatch.workspace.status import Live

LEDGER_FOLDER = "python"
"""Beside the workspaces' folders in the private state."""

OnStep = Callable[[StepRecord], None]


@dataclass(slots=True)
class Hands:
    """
    In place of a workspace: the material is in the caller's hands, and so is the session.

    Attributes:
        state: The private state folder, for the session's lock.
    """

    state: Path
    material: Context = field(default_factory=Context)
    kept: SessionFile | None = None

    async def memory(self, run: Run) -> Remembered:
        """Return no memory: a run by itself has none."""
        raise AssertionError(f"{run.run_id} is no chat")

    async def context(self, _run: Run, _paths: object, _roots: object) -> Context:
        """Return what the caller gave."""
        return self.material

    def note(self, run: Run, live: Live) -> None:
        """Nobody polls: steps are told by `on_step`."""

    def session_lock(self, _run: Run) -> SessionLock:
        """
        Take the session's lock.

        Raises:
            WorkspaceBusy: A daemon or another script uses it now.
        """
        return SessionLock.acquire(self.state, self._session().path)

    async def session(self, _run: Run) -> SessionState:
        """Return the session as it is in its file."""
        state, _ = await asyncio.to_thread(self._session().load, now=clock.utc())
        return state

    async def book(self, run: Run, used: Usage) -> None:
        """Book what *run* used so far."""
        spent = Used(output_tokens=used.output_tokens, cost_usd=used.cost_usd or 0.0)
        await asyncio.to_thread(self._session().book, run.run_id, spent, None, now=clock.utc())

    def note_spending(self, run: Run, used: Usage) -> None:
        """Book at once: it is one small write per step."""
        spent = Used(output_tokens=used.output_tokens, cost_usd=used.cost_usd or 0.0)
        self._session().book(run.run_id, spent, None, now=clock.utc())

    async def conclude(self, run: Run, result: Result) -> None:
        """
        Book how *run* ended, with its exchange, while its session is still locked.

        Raises:
            WorkspaceError: It cannot be stored; the ledger has the answer.
        """
        if self.kept is not None:
            spent = Used(output_tokens=result.usage.output_tokens, cost_usd=result.usage.cost_usd or 0.0)
            turn = None if result.answer is None else _turn(run, result, result.answer)
            await asyncio.to_thread(self.kept.book, run.run_id, spent, turn, now=clock.utc())

    def _session(self) -> SessionFile:
        if self.kept is None:
            raise AssertionError("a run of no session")
        return self.kept


def _turn(run: Run, result: Result, answer: str) -> Turn:
    return Turn(
        run_id=run.run_id,
        at=run.created_at,
        model=result.model,
        input=run.prompt,
        answer=answer,
        input_digest=run.digest,
        partial=True if result.partial else None,
        reason=result.outcome.value if result.partial else None,
        usage=UsageSoFar(**asdict(result.usage)),
    )


class _Telling:
    """A trajectory that also tells the caller of each step."""

    def __init__(self, kept: Trajectory, on_step: OnStep) -> None:
        self._kept = kept
        self._on_step = on_step

    async def step(self, run_id: str, record: StepRecord) -> None:
        await self._kept.step(run_id, record)
        self._on_step(record)

    async def steps(self, run_id: str) -> list[StepRecord]:
        return await self._kept.steps(run_id)


class Ended(Protocol):
    """What is done with a run's result before it counts as ended."""

    async def __call__(self, run: Run, result: Result) -> None:
        """Keep *result*."""
        ...


class Program:
    """
    Settings, provider, ledger and sandbox, ready for runs. An asynchronous context manager.

    Attributes:
        state: The private state folder, over all workspaces.
    """

    ledger: SqliteLedger
    terms: RuntimeConfig
    sandbox: Sandbox
    state: Path

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        flags: Mapping[str, Any] | None = None,
        keys: Mapping[str, Key] | None = None,
        model: Model | None = None,
    ) -> None:
        """
        Prepare; entering composes.

        Args:
            environ: Where variables are looked up.
            flags: Settings of the caller, over all others.
            keys: Keys of the caller, over those that are found.
            model: A provider of the caller, in place of the one that is found.
        """
        self._environ = environ
        self._flags = flags
        self._keys = keys or {}
        self._model = model
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """
        Compose.

        Raises:
            ConfigError, LedgerError, NoProvider: It cannot begin.
        """
        user_dir = user_config_dir(self._environ)
        loaded = load(user_dir=user_dir, workspace=None, environ=self._environ, flags=self._flags)
        self.state = state_dir(self._environ)
        try:
            if self._model is None:
                found = await asyncio.to_thread(find_all, self._environ, user_dir, named=wanted(loaded.settings))
                keys = {**found, **self._keys}
                made = await find_model(loaded, keys, self._environ)
                self._stack.push_async_callback(made[0].aclose)
                self.terms = runtime_config(loaded, keys, self._environ, made, users_options=True)
                for part in (self.terms.search, self.terms.providers):
                    if part is not None:
                        self._stack.push_async_callback(part.aclose)
            else:
                self.terms = RuntimeConfig(loaded, self._model, loaded.settings.model, users_options=True)
            self.ledger = SqliteLedger.open(self.state / LEDGER_FOLDER / "ledger.sqlite3")
            self._stack.push_async_callback(self.ledger.aclose)
            self.sandbox = build_sandbox(loaded)
            self._stack.push_async_callback(self.sandbox.aclose)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def answer(
        self, save: Save, handler: Handler, hands: Hands, *, on_step: OnStep | None = None
    ) -> tuple[Run, Result]:
        """
        Answer *save* and return its ended run; its session, where it has one, knows of it then.

        Raises:
            RlmwatchError: It failed, and why; what was spent is booked.
        """
        admission = await self.ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=clock.utc())
        run = admission.run and await self.ledger.claim(admission.run.run_id, now=clock.utc())
        if run is None:
            raise AssertionError(f"{save.path} is not new")
        heard = Heard()
        maker = RunContextFactory(self.terms, self.ledger, hands, self.sandbox, clock.monotonic, clock.utc)
        heard.closing.callback(heard.until_published.close)  # the last thing: `conclude` has written the files by then
        async with heard.closing:
            try:
                bench = await maker(run, heard)
                if on_step is not None:
                    bench = replace(bench, trajectory=_Telling(self.ledger, on_step))
                async with asyncio.timeout(heard.max_seconds):
                    result = await handler(run, bench)
            except TimeoutError:
                late = RunTimeout(f"no answer within {heard.max_seconds:g} seconds (max_seconds)")
                result = await self._failed(run, late, heard)
            except Exception as error:  # noqa: BLE001 (it is raised again, unless some text had come)
                result = await self._failed(run, error, heard)
            await self.ledger.finish(run.run_id, run.attempt, result, now=clock.utc())
            await self.ledger.published(run.run_id)
            await hands.conclude(run, result)
        if result.status is RunStatus.FAILED:
            raise ProviderError(result.error or str(result.outcome))
        return run, result

    async def _failed(self, run: Run, error: Exception, heard: Heard) -> Result:
        """End *run* as its error says; return how, where some text had come, else raise *error*."""
        end = ended_by(error, heard.bench)
        if end is None or isinstance(end, Hold):
            end = Result(RunStatus.FAILED, Outcome.PROVIDER_ERROR, error=str(error))
        if end.status is RunStatus.COMPLETE:
            return end
        await self.ledger.finish(run.run_id, run.attempt, end, now=clock.utc())
        await self.ledger.published(run.run_id)
        if isinstance(error, RunTimeout) and end.error:
            raise RunTimeout(end.error) from error  # with the provider's words, where it kept failing
        raise error


def save_of(kind: Kind, prompt: str, options: RunOptions) -> Save:
    """Return a save of nothing but a caller's words: each is new."""
    name = f"python/{uuid.uuid4().hex}"
    said = options.model_dump(mode="json", exclude_none=True)
    digest = f"sha256:{hashlib.sha256(prompt.encode()).hexdigest()}"
    return Save(name, kind, name, prompt, said, digest)
