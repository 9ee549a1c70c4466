"""Runs without a workspace: the program behind the Python API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from rlmwatch import clock
from rlmwatch.daemon.builder import Builder, Parts
from rlmwatch.daemon.stores import shared_spending
from rlmwatch.errors import ProviderError, RunTimeout
from rlmwatch.execution.attempt import Attempt
from rlmwatch.execution.caller_storage import CallerStorage
from rlmwatch.execution.run_context import Listeners
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.ledger.sqlite.connection import MOVED_BY_HAND
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import Result, Run, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.settings.sources import state_dir, user_config_dir

PYTHON_LEDGER = Path("python", "ledger.sqlite3")
"""Of the Python API's runs, in the private state folder, beside the workspaces' folders."""


class DirectRunner:
    """
    Answers runs without a workspace, for the Python API. An asynchronous context manager.

    It keeps to the user's own settings, keys and ceilings. Every paid call is journalled in the user's private ledger
    for Python, so the day's ceiling holds across all scripts.

    Attributes:
        state: The private state folder of all workspaces.
    """

    def __init__(
        self, environ: Mapping[str, str], *, flags: Mapping[str, Any] | None = None, parts: Parts | None = None
    ) -> None:
        """
        Prepare; entering composes.

        Args:
            environ: Where variables are looked up.
            flags: Settings of the caller, over all others.
            parts: In place of the real ones.
        """
        self._builder = Builder(environ=environ, user_dir=user_config_dir(environ), flags=flags, parts=parts)
        self.state = state_dir(environ)

    async def __aenter__(self) -> Self:
        """
        Compose.

        Raises:
            ConfigError, LedgerError, NoProvider: It cannot begin.
        """
        try:
            await self._builder.read_config(self._builder.load())
            self._builder.load_client()
            path = self.state / PYTHON_LEDGER
            ledger = await self._builder.open_ledger(
                lambda: SqliteLedger.open(path, shared=shared_spending(path.parent), if_damaged=MOVED_BY_HAND)
            )
            await ledger.tell_spending(now=clock.utc())
            self._builder.make_sandbox()
        except BaseException:
            await self._builder.stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._builder.stack.aclose()

    @property
    def config(self) -> RuntimeConfig:
        """What holds for its runs."""
        return self._builder.config

    @property
    def sandbox(self) -> Sandbox:
        """Where a model's code runs."""
        return self._builder.sandbox

    async def answer(
        self, save: Save, storage: CallerStorage, *, on_step: Callable[[StepRecord], None] | None = None
    ) -> tuple[Run, Result]:
        """
        Answer *save* and return its ended run; its session, where it has one, knows of it then.

        Raises:
            RlmwatchError: It failed, and why; what was spent is booked.
        """
        ledger = self._builder.ledger
        admission = await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now=clock.utc())

        async def claim() -> Run | None:
            return admission.run and await ledger.claim(admission.run.run_id, now=clock.utc())

        attempts = self._builder.attempts(self._builder.prepare(storage, Listeners(on_step=on_step)), can_be_held=False)
        with Attempt(deps=attempts, claim=claim) as attempt:
            run = await attempt.carry_out()
            result = None if run is None else run.result
            if run is not None:
                await ledger.published(run.run_id)
            if attempt.error is not None and (result is None or result.status is not RunStatus.COMPLETE):
                if isinstance(attempt.error, RunTimeout) and result is not None and result.error:
                    raise RunTimeout(result.error) from attempt.error  # with the provider's words, if it kept failing
                raise attempt.error
            if run is None or result is None:
                raise AssertionError(f"{save.path} is not new")
            await storage.conclude(run, result)
        if result.status is RunStatus.FAILED:
            raise ProviderError(result.error or str(result.outcome))
        return run, result

    async def steps(self, run_id: str) -> list[StepRecord]:
        """Return the steps of a run's engine, oldest first."""
        return await self._builder.ledger.steps(run_id)
