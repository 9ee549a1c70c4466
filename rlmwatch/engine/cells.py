"""
Run the cells of one engine, in one session after another.

A session that died is replaced by a new one that has the given variables alone;
what the code had made is gone, and the model is told which names. Its cells are
not run again: the one that ended the session would end the next one too.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from rlmwatch.engine.reply import Cell
from rlmwatch.engine.transcript import StepOutcome
from rlmwatch.errors import InputError, SandboxUnavailable
from rlmwatch.runs.trajectory import Ended
from rlmwatch.sandbox.base import CellResult, HostFunction, JsonValue, Sandbox, SandboxSession, SessionDied

log = structlog.get_logger()

LONGEST_CELL_S = 30.0
CELL_SHARE = 0.25
"""A cell's time limit, and the most of a run's time limit that it may take (design, section 7)."""
SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""What a machine runs out of and gets back when other runs end: descriptors, memory, processes."""
SCARCE_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Between tries to open a session then: as long as a cell of another run takes."""
MEANT_TO_ANSWER = "answer("
"""In code that raised: it may have called `answer`, which then did not count."""


@dataclass(frozen=True, slots=True)
class Ran:
    """
    What became of a cell.

    Attributes:
        outcome: For the transcript.
        ended: For the trajectory.
        answer: What it gave to `answer`; None where it gave nothing that counts.
        cell_s: Seconds that it ran, without waiting for calls.
        calls_s: Seconds that it waited for calls.
    """

    outcome: StepOutcome
    ended: Ended
    answer: JsonValue = None
    cell_s: float = 0.0
    calls_s: float = 0.0


@dataclass(slots=True)
class Cells:
    """
    The session of one engine.

    Attributes:
        values: The variables that each session begins with.
        seed: For `random`, the same at each attempt.
        timeout_s: Time limit of one cell, without waiting for calls.
        run_id: The id of the run, which may have more sessions, those of its sub-engines.
        waits_s: Between tries to open a session on a machine that has run out of something.
    """

    sandbox: Sandbox
    values: Mapping[str, JsonValue]
    seed: int
    timeout_s: float
    functions: Sequence[HostFunction]
    run_id: str
    waits_s: Sequence[float] = SCARCE_WAITS_S
    _session: SandboxSession | None = field(default=None)

    async def open(self) -> None:
        """
        Begin a session, in place of the one before.

        Raises:
            SandboxUnavailable: This machine cannot lock it down.
            InputError: The variables are too large for a session.
        """
        await self.close()
        for wait_s in (*self.waits_s, None):
            try:
                self._session = await self.sandbox.open(self.values, seed=self.seed, run=self.run_id)
            except ValueError as error:
                raise InputError(f"the context cannot be handed to the code: {error}") from error
            except OSError as error:
                if error.errno not in SCARCE:
                    raise
                if wait_s is None:
                    raise SandboxUnavailable(
                        f"no session for the model's code: this machine has none left of what it takes ({error}). "
                        "Raise LimitNOFILE= and MemoryMax= of the service (`ulimit -n` by hand), or lower `workers`"
                    ) from error
                log.warning("sandbox.waiting", why=str(error), again_in_s=wait_s)
                await asyncio.sleep(wait_s)
            else:
                return

    async def close(self) -> None:
        """End the session. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def run(self, cell: Cell) -> Ran:
        """
        Run *cell*, where it has code.

        Raises:
            Exception: What a host function raised that ends the run.
        """
        if cell.code is None:
            return Ran(StepOutcome(cell), "cut" if cell.cut else "no_code")
        if self._session is None:
            await self.open()
        assert self._session is not None  # noqa: S101 (says what `open` has done)
        try:
            result = await self._session.run_cell(cell.code, timeout_s=self.timeout_s, functions=self.functions)
        except SessionDied as died:
            await self._forget()
            return Ran(StepOutcome(cell, ended_by=died.reason, lost=died.lost), "killed")
        if result.killed or not self._session.alive:
            await self._forget()
        return _ran(cell, result, self.timeout_s)

    async def _forget(self) -> None:
        with suppress(SessionDied):
            await self.close()
        self._session = None


def cell_limit_s(run_limit_s: float) -> float:
    """Return the time limit of a cell in a run that may take *run_limit_s*."""
    return min(LONGEST_CELL_S, CELL_SHARE * max(0.0, run_limit_s))


def _ran(cell: Cell, result: CellResult, timeout_s: float) -> Ran:
    failed = result.error is not None or result.interrupted or result.killed
    answer = None if failed else result.answer
    stopped = result.interrupted or result.killed
    outcome = StepOutcome(
        cell,
        output=result.stdout,
        output_chars=result.stdout_length,
        error=None if stopped else result.error,
        restored=result.restored,
        interrupted_s=timeout_s if result.interrupted else None,
        ended_by="limit" if result.killed else None,
        lost=result.lost,
        answer_failed=failed and MEANT_TO_ANSWER in (cell.code or ""),
    )
    return Ran(outcome, _ended(result, answered=answer is not None), answer, result.seconds, result.host_seconds)


def _ended(result: CellResult, *, answered: bool) -> Ended:
    if result.killed:
        return "killed"
    if result.interrupted:
        return "interrupted"
    if result.error is not None:
        return "raised"
    return "answered" if answered else "ok"
