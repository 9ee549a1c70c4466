"""
Sets up what a handler works with: options, budget and paid calls of one attempt.

What holds for new runs (settings and model) stands in `RuntimeConfig`, which a reload
replaces as a whole: a run keeps the configuration that it began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rlmwatch.budget import Budget, Caps
from rlmwatch.contract.documents import Progress, StatusCaps, UsageSoFar
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.session import SessionState, Used
from rlmwatch.engine.call_site import AttemptScope
from rlmwatch.engine.calls import UNWRITTEN, Calls
from rlmwatch.engine.costs import Costs
from rlmwatch.engine.searches import Searches
from rlmwatch.engine.sub_sessions import SubSessions
from rlmwatch.errors import InputError, NoProvider, WorkspaceBusy
from rlmwatch.execution.model_choice import choose_model
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.execution.streaming import Stream
from rlmwatch.handlers.base import RunContext
from rlmwatch.json_schema.checker import problem_of
from rlmwatch.runs.attached import Attached
from rlmwatch.runs.journal import Journal
from rlmwatch.runs.model import Run, Usage
from rlmwatch.runs.queue import Queue
from rlmwatch.runs.trajectory import StepRecord, Trajectory
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.search.base import Search
from rlmwatch.workspace.context import Context, chars
from rlmwatch.workspace.memory import Remembered
from rlmwatch.workspace.status import Live

SESSION_POLL_S = 0.5
"""How often a session that a script uses is asked for again."""
NO_NOTES = (
    "`tools: files` searches the notes of a folder, and this run has none: a Python call and a cluster's worker work "
    "without the folder. Take `files` out, or name the material with `context`"
)


class RunLedger(Queue, Journal, Trajectory, Protocol):
    """All that the ledger stores of a run."""


class Releasable(Protocol):
    """Something that is held until it is given back."""

    def release(self) -> None:
        """Give it back. Idempotent."""
        ...


class RunStorage(Protocol):
    """
    Where a run's memory, material and session come from, and where its progress and spending are stored.

    `WorkspaceGateway` is the workspace itself, `PayloadStorage` what came with a dispatched run, `CallerStorage` what a
    Python program passes in.
    """

    async def memory(self, run: Run) -> Remembered:
        """Return the conversation's memory as it is now."""
        ...

    async def context(self, run: Run, paths: Sequence[str] | None, outside_roots: Sequence[Path]) -> Context:
        """
        Return the material of *run*.

        Raises:
            InputError: It cannot be read, or may not be.
        """
        ...

    async def attached(self, run: Run) -> Attached:
        """
        Return what the question of *run* mentions, ready to be sent; the same at each attempt.

        Raises:
            InputError: It cannot be used.
            NoProvider: It mentions a web page, which the user's settings do not allow.
        """
        ...

    async def session(self, run: Run) -> SessionState:
        """Return the research session of *run*."""
        ...

    def lock_session(self, run: Run) -> Releasable:
        """
        Take the lock of the session of *run*. Blocks no longer than a look.

        Raises:
            WorkspaceBusy: Another run uses it now.
        """
        ...

    async def book_spending(self, run: Run, used: Usage) -> None:
        """Book what *run* used so far in its session. Idempotent; a failure is logged, for the run's end books it."""
        ...

    def book_spending_soon(self, run: Run, used: Usage) -> None:
        """Do as `book_spending`, beside the work that goes on."""
        ...

    async def report_start(self, run: Run, live: Live) -> None:
        """Store that an attempt of *run* begins, before anything is paid. A failure is logged."""
        ...

    def report_progress(self, run: Run, live: Live) -> None:
        """Store how far *run* is, beside the work that goes on."""
        ...

    def stream(self, run: Run) -> Stream | None:
        """Return what shows the answer of *run* so far; None where nothing can."""
        ...

    def notes(self) -> Search | None:
        """Return what searches the folder's notes; None where there is no folder."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """
    What a program does with a run that goes on, beside storing it.

    Attributes:
        on_text: Returns what is given each piece of a run's text; None where nobody listens.
        on_live: Is given how far a run is.
        on_step: Is given each step of the engine, once it is durable.
    """

    on_text: Callable[[Run], Callable[[str], None] | None] = field(default=lambda _run: None)
    on_live: Callable[[Run, Live], None] = field(default=lambda _run, _live: None)
    on_step: Callable[[StepRecord], None] | None = None


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """
    What one attempt works with, and what it holds.

    Attributes:
        run: The run, with the options that hold for it.
        context: What its handler works with.
        closing: What is closed when its handler has ended.
        until_published: What is held until its files are written: the next run reads them.
    """

    run: Run
    context: RunContext
    closing: AsyncExitStack
    until_published: ExitStack


class PrepareRun(Protocol):
    """Sets up what a handler works with."""

    async def __call__(self, run: Run) -> PreparedRun:
        """
        Return what one attempt of *run* works with. Where it raises, it holds nothing.

        Raises:
            RlmwatchError: The run cannot begin (no provider, a bad option).
        """
        ...


@dataclass(slots=True, kw_only=True)
class RunContextFactory:
    """
    Makes run contexts by the configuration of the moment (port `PrepareRun`).

    Attributes:
        config: Returns what holds for new runs now.
        storage: Where memory and material come from, and progress goes to.
        sandbox: Where a model's code runs.
        monotonic: Asks the monotonic clock.
        utc: Asks the wall clock.
        listeners: Who else hears of a run.
        crash_at: Is told the named points at which a crash must lose nothing.
        costs: What was learned of what calls cost.
        sub_sessions: Lets as many sub-engines have a session at once as this machine bears.
    """

    config: Callable[[], RuntimeConfig]
    ledger: RunLedger
    storage: RunStorage
    sandbox: Sandbox
    monotonic: Callable[[], float]
    utc: Callable[[], str]
    listeners: Listeners = field(default_factory=Listeners)
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    costs: Costs = field(default_factory=Costs)
    sub_sessions: SubSessions = field(default_factory=SubSessions)

    async def __call__(self, run: Run) -> PreparedRun:
        """
        Return what one attempt of *run* works with.

        Raises:
            NoProvider: There is nothing to answer with.
            InputError: It names a provider that the user did not open to workspaces, or notes where there is no folder.
            UnknownPrice: The model's price is not known, and the workspace chose it (see `model_choice`).
            WorkspaceBusy: Another run has used the session until the time limit was up.
        """
        config = self.config()
        front_matter = RunOptions.model_validate(dict(run.options))
        chosen = await choose_model(config, run.kind, front_matter)
        options = chosen.options
        async with AsyncExitStack() as closing:
            with ExitStack() as until_published:
                session = await self._session(run, options, until_published) if run.kind is Kind.RESEARCH else None
                if session is None:
                    budget = Budget("run", Caps(options.max_tokens, options.max_cost_usd, options.max_searches))
                else:
                    options = _with_raised_caps(options, session, config, front_matter)
                    budget = _session_budget(options, session.spent_before(run.run_id))
                scope = self._scope(run, options, config)
                calls = Calls(scope, self.ledger, chosen.model, budget, costs=self.costs, crash_at=self.crash_at)
                searches = _searches(run, options, config, calls, self.storage)
                await calls.resume()
                report = _ProgressReport(run, options, calls, self.storage, self.listeners.on_live)
                calls.on_wait = report.again
                if searches is not None:
                    searches.note = report.note
                if session is not None:
                    closing.push_async_callback(self._book, run, calls)
                outside_roots = config.loaded.settings.context.outside_roots
                read = partial(self.storage.context, run, options.context, outside_roots)
                context = RunContext(
                    options=options,
                    calls=calls,
                    memory=partial(self.storage.memory, run),
                    freeze=partial(self._freeze, run, calls),
                    progress=report,
                    context=partial(report.with_material, read),
                    attached=partial(self.storage.attached, run),
                    sandbox=self.sandbox,
                    trajectory=_observed(self.ledger, self.listeners.on_step),
                    session=session,
                    searches=searches,
                    no_engine_reason=chosen.no_engine_reason,
                    price_note=chosen.note,
                    on_text=self._text_listener(run, options, calls, closing),
                    sub_sessions=self.sub_sessions,
                    check_answer=problem_of,
                    wants_json=run.wants_json is not None,
                )
                await self.storage.report_start(run, report.live)
                return PreparedRun(run, context, closing.pop_all(), until_published.pop_all())

    def _text_listener(
        self, run: Run, options: RunOptions, calls: Calls, closing: AsyncExitStack
    ) -> Callable[[str], None] | None:
        """Return what is given each piece of the answer; None where nobody listens, or it is checked as a whole."""
        if run.wants_json is not None:
            return None
        listener = self.listeners.on_text(run)
        stream = self.storage.stream(run) if options.stream else None
        if stream is None:
            return listener
        calls.on_again = stream.again
        closing.push_async_callback(stream.close)

        def on_text(piece: str) -> None:
            stream.add(piece)
            if listener is not None:
                listener(piece)

        return on_text

    def _scope(self, run: Run, options: RunOptions, config: RuntimeConfig) -> AttemptScope:
        deadline = self.monotonic() + (options.max_seconds or 0.0)
        return AttemptScope(run.run_id, run.attempt, config.ceilings, deadline, self.monotonic, self.utc)

    async def _session(self, run: Run, options: RunOptions, until_published: ExitStack) -> SessionState:
        """Take the run's session, as soon as nobody else on this machine uses it, and return what is in it."""
        give_up = self.monotonic() + (options.max_seconds or 0.0)
        while True:
            try:
                lock = await asyncio.to_thread(self.storage.lock_session, run)
                break
            except WorkspaceBusy:
                if self.monotonic() >= give_up:
                    raise
                await asyncio.sleep(SESSION_POLL_S)
        until_published.callback(lock.release)
        return await self.storage.session(run)

    async def _book(self, run: Run, calls: Calls) -> None:
        await self.storage.book_spending(run, calls.used)

    async def _freeze(self, run: Run, calls: Calls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return await calls.time.stored(self.ledger.freeze(run.run_id, run.attempt, values), UNWRITTEN)


class _ProgressReport:
    """
    Reports how far one attempt is.

    Attributes:
        live: What its status file says beside the ledger's row.
    """

    def __init__(
        self,
        run: Run,
        options: RunOptions,
        calls: Calls,
        storage: RunStorage,
        on_live: Callable[[Run, Live], None],
    ) -> None:
        self._run = run
        self._options = options
        self._calls = calls
        self._storage = storage
        self._on_live = on_live
        self._context_chars: int | None = None
        self.live = self._now(Progress())

    def __call__(self, progress: Progress) -> None:
        """Report *progress*, with what was used so far."""
        self.live = self._now(progress)
        self._storage.report_progress(self._run, self.live)
        self._on_live(self._run, self.live)
        if self._run.kind is Kind.RESEARCH:
            # Each step: whoever uses the session after a crash of ours knows what was spent.
            self._storage.book_spending_soon(self._run, self._calls.used)

    def note(self, note: str) -> None:
        """Report the step as it stands, with *note*."""
        self((self.live.progress or Progress()).model_copy(update={"note": note}))

    def again(self) -> None:
        """Report the step as it stands: what the run waits for has changed."""
        self(self.live.progress or Progress())

    async def with_material(self, read: Callable[[], Awaitable[Context]]) -> Context:
        """Return the material that *read* gives; how much it is stands in what is reported from now on."""
        found = await read()
        self._context_chars = chars(found)
        return found

    def _now(self, progress: Progress) -> Live:
        progress = progress.model_copy(update={"context_chars": self._context_chars})
        caps = StatusCaps(max_cost_usd=self._options.max_cost_usd, max_tokens=self._options.max_tokens)
        return Live(progress, UsageSoFar(**asdict(self._calls.used)), caps, self._options.model, self._calls.waits_for)


class _ObservedTrajectory:
    """A trajectory that also passes each step on."""

    def __init__(self, stored: Trajectory, on_step: Callable[[StepRecord], None]) -> None:
        self._stored = stored
        self._on_step = on_step

    async def step(self, run_id: str, record: StepRecord) -> None:
        await self._stored.step(run_id, record)
        self._on_step(record)

    async def steps(self, run_id: str) -> list[StepRecord]:
        return await self._stored.steps(run_id)


def _observed(stored: Trajectory, on_step: Callable[[StepRecord], None] | None) -> Trajectory:
    return stored if on_step is None else _ObservedTrajectory(stored, on_step)


def searches_the_web(kind: Kind, options: RunOptions) -> bool:
    """Whether a run may search the web: by its kind, or by `tools`."""
    return kind is Kind.EXA or "research" in (options.tools or ())


def _searches(
    run: Run, options: RunOptions, config: RuntimeConfig, calls: Calls, storage: RunStorage
) -> Searches | None:
    """
    Return what searches the web and the folder's notes for *run*, where its kind or `tools` allows it.

    Raises:
        NoProvider: Nobody searches the web here.
        InputError: There is no folder whose notes could be searched.
    """
    web, notes = searches_the_web(run.kind, options), "files" in (options.tools or ())
    if not (web or notes):
        return None
    if web and config.search is None:
        raise NoProvider(config.no_search_reason)
    files = storage.notes() if notes else None
    if notes and files is None:
        raise InputError(NO_NOTES)
    return Searches(calls, config.search if web else None, files)


def _with_raised_caps(
    options: RunOptions, session: SessionState, config: RuntimeConfig, front_matter: RunOptions
) -> RunOptions:
    """
    Return *options* with the caps that were raised in Python, where no front matter or setting says otherwise.

    The session's file lies in the workspace: whatever stands in it, the user's ceilings stay above.
    """
    table: RunOptions = config.loaded.settings.research
    raised = {
        cap: getattr(session, cap)
        for cap in ("max_tokens", "max_cost_usd")
        if getattr(session, cap) is not None and getattr(front_matter, cap) is None and getattr(table, cap) is None
    }
    return config.loaded.settings.under_ceilings(options.model_copy(update=raised))


def _session_budget(options: RunOptions, spent: Used) -> Budget:
    """Return the run's budget under its session's."""
    session = Budget(
        "session",
        Caps(options.max_tokens, options.max_cost_usd),
        tokens=spent.output_tokens,
        usd=spent.cost_usd,
    )
    return Budget("run", Caps(max_searches=options.max_searches), session)
