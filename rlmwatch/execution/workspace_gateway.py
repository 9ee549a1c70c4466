"""
What rlmwatch does in the person's folder for its runs: read memory and material, report, explain, publish.

The blocking work runs in worker threads; nothing here decides anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath

import structlog

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState, Turn, without_outgrown, without_repeat
from rlmwatch.contract.names import JOBS, InputName, input_name
from rlmwatch.contract.session import SessionState, Used
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import WROTE, InputError, WorkspaceError
from rlmwatch.execution.attachments import Attachments
from rlmwatch.execution.streaming import Stream
from rlmwatch.runs.attached import Attached
from rlmwatch.runs.model import Run, Usage
from rlmwatch.search.notes import NOTES_INDEX, NoteSearch
from rlmwatch.workspace import safe_open
from rlmwatch.workspace.context import Context, by_path, describe, read_context, refuse_beside_chat
from rlmwatch.workspace.health import Root, storable
from rlmwatch.workspace.memory import Remembered, load_chat
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.owner import workspace_id
from rlmwatch.workspace.publish import Later, explain, publish, save_waits, show
from rlmwatch.workspace.session import SessionFile, SessionLock, session_of
from rlmwatch.workspace.status import Live, StatusBoard

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HeldSession:
    """
    A session's lock that a run holds.

    Attributes:
        on_release: Is called when it is given back.
    """

    lock: SessionLock
    on_release: Callable[[], None]

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        self.on_release()
        self.lock.release()


@dataclass(slots=True)
class WorkspaceGateway:
    """
    Reads and writes the workspace for the runs of one daemon (port `RunStorage`).

    Attributes:
        state: The folder of all private state, across all workspaces: scripts lock a session there too.
        redact: Takes secrets out of any text that goes into a file.
        documents: Turns documents among the material into text.
        attachments: What goes along with the questions.
        marks: Whether the files of a run have the lines of `contract/marks.py`.
        transcribes: Whether the answer of a run goes into a transcript.
    """

    root: Root
    state: Path
    board: StatusBoard
    utc: Callable[[], str]
    redact: Callable[[str], str]
    documents: DocumentReader
    attachments: Attachments
    marks: Callable[[Run], bool] = field(default=lambda _run: True)
    transcribes: Callable[[Run], bool] = field(default=lambda _run: False)
    _notes: NoteSearch | None = None
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _locked_sessions: set[str] = field(default_factory=set)
    _in_steps: set[str] = field(default_factory=set)
    _between_calls: set[str] = field(default_factory=set)

    def ready_for(self, run: Run) -> None:
        """
        Return if the answer of *run* could be stored now. Blocks.

        Raises:
            WorkspaceError: It could not; the text says what to do.
        """
        self._check_root()
        self._check_jobs()
        name = input_name(run.path)
        if name is None:  # a job file: its answer goes into its status
            return
        output = self.root.path / name.output
        # A question whose folder is gone is answered in its status file alone.
        storable(output.parent if output.parent.exists() else self.root.path)
        if output.is_dir() and not output.is_symlink():
            raise WorkspaceError(f"{output} is a folder, where the answer is to go. Rename or remove it.")

    def _check_jobs(self) -> None:
        """
        Check that status files can be stored: an answer without its status is not published.

        Raises:
            WorkspaceError: They cannot.
        """
        jobs = self.root.path / JOBS
        try:
            with safe_open.folder(jobs, within=self.root.path):
                storable(jobs)
        except FileNotFoundError:
            storable(self.root.path)
        except OSError as error:
            raise cannot("store status files in", jobs, error) from error

    def _check_root(self) -> None:
        """
        Check that the workspace is there; one that took its place, under the same path, is the workspace from now on.

        Raises:
            WorkspaceError: It is not there, or not mounted.
        """
        try:
            self.root.check()
        except WorkspaceError as error:
            self.root = self.board.root = self.root.reopened()
            log.warning("workspace.replaced", path=str(self.root.path), why=str(error), done="going on with it")

    async def report(self, run: Run, live: Live | None = None) -> None:
        """Write the status of *run*, where that is due. A folder that cannot take it is logged."""
        try:
            await asyncio.to_thread(self.board.update, run, live, now=self.utc())
        except WorkspaceError as error:
            log.warning("status.not_written", run=run.run_id, why=str(error))

    async def report_start(self, run: Run, live: Live) -> None:
        """Write that an attempt of *run* begins."""
        await self.report(run, live)

    def report_progress(self, run: Run, live: Live) -> None:
        """Write how far *run* is, beside the work that goes on; at most once a second, the rest by `flush`."""
        (self._between_calls.add if live.waits_for is not None else self._between_calls.discard)(run.run_id)
        if live.progress is not None and live.progress.step and live.waits_for is None:
            at = live.progress
            self._in_steps.add(run.run_id)
            log.info("run.step", run=run.run_id, step=at.step, of=at.max_steps, note=at.note)
        self._in_background(self.report(run, live))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def stops_at_once(self, run_id: str) -> bool:
        """Whether nothing is lost where the run is cut off: no call of it is in flight, or it goes by steps."""
        return run_id in self._in_steps or run_id in self._between_calls

    async def flush(self) -> None:
        """Write what waited for its second."""
        if not self.board.waits:
            return
        try:
            await asyncio.to_thread(self.board.flush, now=self.utc())
        except WorkspaceError as error:
            log.warning("status.not_written", why=str(error))

    async def memory(self, run: Run) -> Remembered:
        """
        Return what was said before *run* in its conversation; a damaged file is moved aside first. A job file has none.

        Where it asks anew what was asked last (`rlmwatch again`), the answer to that is not among it.

        Raises:
            InputError: The run is a chat, and there is material for it, which it would not read.
        """
        name = input_name(run.path)
        if name is None:
            if run.kind is Kind.CHAT and {"data", "data_path"} & run.enclosed.keys():
                raise InputError("a chat is one plain call, which does not read `data`; leave `handler` out")
            return Remembered(ChatState())
        if run.kind is Kind.CHAT:
            await asyncio.to_thread(refuse_beside_chat, self.root.path, name)
        found = await asyncio.to_thread(load_chat, self.root.path, _name(run), now=self.utc())
        return replace(found, state=found.state.model_copy(update={"turns": _before(found.state.turns, run)}))

    async def context(self, run: Run, paths: Sequence[str] | None, outside_roots: Sequence[Path]) -> Context:
        """
        Return the material of *run*.

        Raises:
            InputError: It cannot be read, or may not be.
        """
        name = input_name(run.path)
        self._between_calls.add(run.run_id)  # a document may take a minute to read
        try:
            if name is None:
                found = await self._of_a_job(run, paths, outside_roots)
            else:
                found = await self._material(name, paths, outside_roots)
        finally:
            self._between_calls.discard(run.run_id)
        log.info("run.context", run=run.run_id, context=describe(found))
        return found

    async def attached(self, run: Run) -> Attached:
        """
        Return what the question of *run* mentions, ready to be sent.

        Raises:
            InputError, NoProvider: As `Attachments.of`.
        """
        self._between_calls.add(run.run_id)  # a page may take half a minute to come
        try:
            return await self.attachments.of(run)
        finally:
            self._between_calls.discard(run.run_id)

    async def _of_a_job(self, run: Run, paths: Sequence[str] | None, outside_roots: Sequence[Path]) -> Context:
        """Return what a job file encloses, and what it names."""
        data, path = run.enclosed.get("data"), run.enclosed.get("data_path")
        named = [*([path] if path else []), *(paths or ())]
        if not named:
            return Context(data)
        found = await self._material(None, named, outside_roots)
        return found if data is None else replace(found, value={"data": data, **by_path(found, named)})

    async def _material(
        self, name: InputName | None, paths: Sequence[str] | None, outside_roots: Sequence[Path]
    ) -> Context:
        found = await asyncio.to_thread(read_context, self.root.path, name, paths, outside_roots=outside_roots)
        return found.context(await self.documents.texts(found.documents))

    def lock_session(self, run: Run) -> HeldSession:
        """
        Take the lock of the session of *run*; *run* may be published under it. Blocks no longer than a look.

        Raises:
            WorkspaceBusy: Another run uses it now.
        """
        lock = SessionLock.acquire(self.state, self._session_file(run).path)
        self._locked_sessions.add(run.run_id)
        return HeldSession(lock, partial(self._locked_sessions.discard, run.run_id))

    async def session(self, run: Run) -> SessionState:
        """Return the session before *run*, as `memory`; a damaged file is moved aside first."""
        state, warning = await asyncio.to_thread(self._session_file(run).load, now=self.utc())
        if warning:
            log.warning("run.warning", run=run.run_id, path=run.path, what=warning)
        return state.model_copy(update={"turns": _before(state.turns, run)})

    async def book_spending(self, run: Run, used: Usage) -> None:
        """Book what *run* used so far in its session. Where the folder cannot take it, publishing books it later."""
        spent = Used(output_tokens=used.output_tokens, cost_usd=used.cost_usd or 0.0)
        try:
            await asyncio.to_thread(self._session_file(run).book, run.run_id, spent, None, now=self.utc())
        except WorkspaceError as error:
            log.warning("session.not_booked", run=run.run_id, why=str(error))

    def book_spending_soon(self, run: Run, used: Usage) -> None:
        """Book what *run* used so far, beside the work that goes on."""
        self._in_background(self.book_spending(run, used))

    def _session_file(self, run: Run) -> SessionFile:
        return session_of(self.root, _name(run))

    def stream(self, run: Run) -> Stream | None:
        """Return what shows the answer of *run* so far; None for a job file, whose answer goes into its status."""
        if input_name(run.path) is None:
            return None

        def write(text: str) -> None:
            show(self.root, run, self.redact(text))

        return Stream(write, run.run_id)

    def notes(self) -> NoteSearch:
        """Return what searches the folder's notes."""
        if self._notes is None:
            self._notes = NoteSearch(lambda: self.root.path, self.state / workspace_id(self.root.path) / NOTES_INDEX)
        return self._notes

    def explain(self, run: Run, why: str) -> None:
        """Write *why* into the conversation's `…_error.txt`, if the folder can take it. Blocks."""
        try:
            explain(self.root, self._as_marked(run), self.redact(why))
        except WorkspaceError as error:
            log.warning("error_file.not_written", run=run.run_id, why=str(error))

    async def save_waits(self, path: str, why: str | None) -> None:
        """Write why the save of *path* is not admitted yet into its `…_error.txt`; None withdraws that."""
        try:
            await asyncio.to_thread(save_waits, self.root, path, None if why is None else self.redact(why))
        except WorkspaceError as error:  # it may be the same disk
            log.warning("error_file.not_written", path=path, why=str(error))

    def publish(self, run: Run, later: Later) -> None:
        """
        Write an ended run's answer, memory, error and status. Blocks; repeating it does no harm.

        Args:
            run: The run.
            later: What came after it.

        Raises:
            WorkspaceError: Something cannot be stored; what was written before it stays.
        """
        result = run.result
        if result is not None and result.error is not None:
            run = replace(run, result=replace(result, error=self.redact(result.error)))
        run = self._as_marked(run)
        self._check_root()
        with self._session_locked(run):
            self._in_steps.discard(run.run_id)
            self._between_calls.discard(run.run_id)
            progress = self.board.progress_of(run.run_id)
            report = publish(self.root, run, later=later, by=self.board.by, now=self.utc(), progress=progress)
        self.board.update(run, now=self.utc())  # nothing of it is to be flushed any more
        for warning in report.warnings:
            log.warning("run.warning", run=run.run_id, path=run.path, what=warning)
        if not report.superseded:  # the publisher has logged that
            self._log_end(run)

    def _as_marked(self, run: Run) -> Run:
        """Return *run* with what the settings say of its marks, and of its transcript."""
        marks = {} if self.marks(run) else {"marks": False}
        return replace(run, options={**run.options, **marks, "transcript": self.transcribes(run)})

    @contextmanager
    def _session_locked(self, run: Run) -> Iterator[None]:
        """Hold the session of a research run, whose file is read and written."""
        if run.kind is not Kind.RESEARCH or run.run_id in self._locked_sessions:
            yield
            return
        held = self.lock_session(run)
        try:
            yield
        finally:
            held.release()

    def _log_end(self, run: Run) -> None:
        result = run.result
        if result is None:
            return
        facts = {"run": run.run_id, "path": run.path, "outcome": str(result.outcome)}
        if result.answer is not None:
            used = result.usage
            log.info(
                "answer.written",
                **{**facts, "path": name.output if (name := input_name(run.path)) else run.path},
                model=result.model,
                tokens=used.output_tokens,
                cost_usd=used.cost_usd,
            )
        elif result.error is not None:
            log.warning("run.failed", **facts, why=self.redact(result.error.partition(WROTE)[0]))
        else:
            log.info("run.ended", **facts)


def _before(turns: tuple[Turn, ...], run: Run) -> tuple[Turn, ...]:
    file = PurePosixPath(run.path).name
    asked = Turn(input="", answer="", file=file, save_number=run.number or None, continues=run.continues)
    return without_repeat(without_outgrown(turns, asked), file=file, digest=run.digest)


def _name(run: Run) -> InputName:
    name = input_name(run.path)
    if name is None:
        raise AssertionError(f"not the run of an input: {run.path}")
    return name
