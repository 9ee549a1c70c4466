"""In place of a workspace, for a run of the Python API: what the caller passes in, and a session's file."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from rlmwatch.contract.documents import UsageSoFar
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import Turn
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.session import SessionState, Used
from rlmwatch.errors import WorkspaceError
from rlmwatch.execution.streaming import Stream
from rlmwatch.runs.attached import NOTHING_ATTACHED, Attached
from rlmwatch.runs.model import Result, Run, Save, Usage
from rlmwatch.workspace.context import Context
from rlmwatch.workspace.memory import Remembered
from rlmwatch.workspace.session import SessionFile, SessionLock
from rlmwatch.workspace.status import Live

log = structlog.get_logger()


def save_of(kind: Kind, prompt: str, options: RunOptions) -> Save:
    """Return a save of nothing but a caller's prompt: each is new."""
    name = f"python/{uuid.uuid4().hex}"
    values = options.model_dump(mode="json", exclude_none=True)
    digest = f"sha256:{hashlib.sha256(prompt.encode()).hexdigest()}"
    return Save(name, kind, name, prompt, values, digest)


@dataclass(slots=True)
class CallerStorage:
    """
    Material and session of one run of the Python API (port `RunStorage`).

    Attributes:
        state: The private state folder, for the session's lock.
        utc: Asks the wall clock.
        material: What the caller passed in.
        session_file: The session; None for a run by itself.
    """

    state: Path
    utc: Callable[[], str]
    material: Context = field(default_factory=Context)
    session_file: SessionFile | None = None

    async def memory(self, run: Run) -> Remembered:
        """Return no memory: a run by itself has none."""
        raise AssertionError(f"{run.run_id} is not a chat")

    async def context(self, _run: Run, _paths: object, _outside_roots: object) -> Context:
        """Return what the caller passed in."""
        return self.material

    async def attached(self, _run: Run) -> Attached:
        """Return nothing: there is no folder in which a prompt could mention anything."""
        return NOTHING_ATTACHED

    async def session(self, _run: Run) -> SessionState:
        """Return the session as it is in its file."""
        state, _ = await asyncio.to_thread(self._session().load, now=self.utc())
        return state

    def lock_session(self, _run: Run) -> SessionLock:
        """
        Take the session's lock.

        Raises:
            WorkspaceBusy: A daemon or another script uses it now.
        """
        return SessionLock.acquire(self.state, self._session().path)

    async def book_spending(self, run: Run, used: Usage) -> None:
        """Book what *run* used so far."""
        await asyncio.to_thread(self.book_spending_soon, run, used)

    def book_spending_soon(self, run: Run, used: Usage) -> None:
        """Book what *run* used so far, at once: it is one small write per step."""
        try:
            self._session().book(run.run_id, _spent(used), None, now=self.utc())
        except WorkspaceError as error:
            log.warning("session.not_booked", run=run.run_id, why=str(error))

    async def report_start(self, run: Run, live: Live) -> None:
        """Nothing: nobody polls."""

    def report_progress(self, run: Run, live: Live) -> None:
        """Nothing: nobody polls; `on_step` is given the steps."""

    def stream(self, _run: Run) -> Stream | None:
        """Nothing: the caller waits for the answer."""
        return None

    def notes(self) -> None:
        """Nothing: there is no folder."""

    async def conclude(self, run: Run, result: Result) -> None:
        """
        Book how *run* ended, with its exchange, while its session is still locked.

        Raises:
            WorkspaceError: It cannot be stored; the ledger has the answer.
        """
        if self.session_file is not None:
            turn = None if result.answer is None else _turn(run, result, result.answer)
            await asyncio.to_thread(self.session_file.book, run.run_id, _spent(result.usage), turn, now=self.utc())

    def _session(self) -> SessionFile:
        if self.session_file is None:
            raise AssertionError("a run without a session")
        return self.session_file


def _spent(used: Usage) -> Used:
    return Used(output_tokens=used.output_tokens, cost_usd=used.cost_usd or 0.0)


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
