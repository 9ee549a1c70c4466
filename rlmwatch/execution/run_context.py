"""
Sets up what a handler works with: options, budget and paid calls of one attempt.

What holds for new runs (settings and model) stands in `RuntimeConfig`, which a reload
replaces as a whole: a run keeps the terms that it began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from rlmwatch.budget import Budget, Caps
from rlmwatch.contract.documents import Caps as StatusCaps
from rlmwatch.contract.documents import Progress, UsageSoFar
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.session import SessionState, Used
from rlmwatch.engine.call_site import AttemptScope
from rlmwatch.engine.calls import Calls
from rlmwatch.engine.searches import Searches
from rlmwatch.errors import NoProvider, WorkspaceBusy
from rlmwatch.execution.heard import Heard
from rlmwatch.execution.model_choice import Providers, choose_model
from rlmwatch.execution.streaming import Stream
from rlmwatch.handlers.base import RunContext
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice
from rlmwatch.runs.journal import Ceilings, Journal
from rlmwatch.runs.model import Run, Usage
from rlmwatch.runs.queue import Queue
from rlmwatch.runs.trajectory import Trajectory
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.search.base import Search
from rlmwatch.settings.sources import Loaded
from rlmwatch.workspace.context import Context
from rlmwatch.workspace.memory import Remembered
from rlmwatch.workspace.status import Live

SESSION_POLL_S = 0.5
"""How often a session that a script uses is asked for again."""
NO_SEARCH = (
    "searching the web needs EXA_API_KEY: get a key at dashboard.exa.ai, and put it into the environment, "
    "or into the file .env in rlmwatch's folder of your configuration (never into the workspace)"
)


class Ledger(Queue, Journal, Trajectory, Protocol):
    """All that the ledger keeps of a run."""


class Held(Protocol):
    """Something that is held until it is given back."""

    def release(self) -> None:
        """Give it back. Idempotent."""
        ...


class RunStorage(Protocol):
    """Where a run's memory, material and session come from, and where it says how far it is: see `WorkspaceGateway`."""

    async def memory(self, run: Run) -> Remembered: ...  # noqa: D102 (see `WorkspaceGateway`)

    async def context(self, run: Run, paths: Sequence[str] | None, outside_roots: Sequence[Path]) -> Context: ...  # noqa: D102

    async def session(self, run: Run) -> SessionState: ...  # noqa: D102

    async def book(self, run: Run, used: Usage) -> None: ...  # noqa: D102

    def session_lock(self, run: Run) -> Held: ...  # noqa: D102

    def note(self, run: Run, live: Live) -> None: ...  # noqa: D102

    def note_spending(self, run: Run, used: Usage) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """
    What holds for new runs.

    Attributes:
        model: The provider; None where there is none.
        default_model: Model of runs that name none.
        why_none: Why there is no provider, for the person; `""` where there is one.
        search: Searches the web; None where there is no key for it.
        why_no_search: Why there is none, for the person.
        choice: How the provider was chosen.
        providers: The providers that a run may name beside; None where there are none.
        users_options: Whether what a run itself says is the user's own word: a program's of theirs, no file's.
    """

    loaded: Loaded
    model: Model | None
    default_model: str | None
    why_none: str = ""
    search: Search | None = None
    why_no_search: str = NO_SEARCH
    choice: Choice | None = None
    providers: Providers | None = None
    users_options: bool = False

    @property
    def ceilings(self) -> Ceilings:
        """The user's ceilings over all runs."""
        found = self.loaded.settings.ceilings
        return Ceilings(found.max_cost_usd_per_day, found.max_cost_usd_per_month)


@dataclass(slots=True)
class RunContextFactory:
    """
    Makes benches under the terms of the moment.

    Attributes:
        desk: Reads memory and material, and writes how far a run is.
        sandbox: Where a model's code runs.
        on_text: Returns who listens to a run's text; None where nobody does.
        on_live: Is told how far a run is.
        stream: Returns what shows a run's answer so far, for those that ask for it; None where nothing can.
    """

    terms: RuntimeConfig
    ledger: Ledger
    desk: RunStorage
    sandbox: Sandbox
    monotonic: Callable[[], float]
    utc: Callable[[], str]
    on_text: Callable[[Run], Callable[[str], None] | None] = field(default=lambda _run: None)
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    on_live: Callable[[Run, Live], None] = field(default=lambda _run, _live: None)
    stream: Callable[[Run], Stream | None] = field(default=lambda _run: None)

    async def __call__(self, run: Run, heard: Heard) -> RunContext:
        """
        Return the bench of one attempt of *run*.

        Raises:
            NoProvider: There is nothing to answer with.
            InputError: It names a provider that the user did not open to workspaces.
            UnknownPrice: The model's price is not known, and the workspace chose it (see `model_choice`).
        """
        terms = self.terms
        said = RunOptions.model_validate(dict(run.options))
        heard.max_seconds = terms.loaded.settings.options_for(run.kind, said).max_seconds
        chosen = await choose_model(terms, run.kind, said)
        options = chosen.options
        session = await self._session(run, options, heard) if run.kind is Kind.RESEARCH else None
        if session is None:
            budget = Budget("run", Caps(options.max_tokens, options.max_cost_usd, options.max_searches))
        else:
            options = _with_raised_caps(options, session, terms, said)
            budget = _session_budget(options, session.spent_before(run.run_id))
        calls = Calls(self._frame(run, options), self.ledger, chosen.model, budget, crash_at=self.crash_at)
        searches = self._searches(run, options, calls)
        await calls.resume()
        heard.live = _live(options, calls, Progress())
        heard.bench = RunContext(
            options=options,
            calls=calls,
            memory=partial(self.desk.memory, run),
            pin=partial(self._pin, run),
            progress=partial(self._progress, run, heard),
            context=partial(self.desk.context, run, options.context, terms.loaded.settings.context.outside_roots),
            sandbox=self.sandbox,
            trajectory=self.ledger,
            session=session,
            searches=searches,
            price_note=chosen.note,
            on_text=self._listener(run, options, calls, heard),
        )
        if searches is not None:
            searches.note = partial(self._note_search, run, heard)
        if session is not None:
            heard.closing.push_async_callback(self._book, run, calls)
        return heard.bench

    def _listener(self, run: Run, options: RunOptions, calls: Calls, heard: Heard) -> Callable[[str], None] | None:
        """Return who is given each piece of the answer; None where nobody listens."""
        listener = self.on_text(run)
        stream = self.stream(run) if options.stream else None
        if stream is None:
            return listener
        calls.on_again = stream.again
        heard.closing.push_async_callback(stream.close)

        def hear(piece: str) -> None:
            stream.hear(piece)
            if listener is not None:
                listener(piece)

        return hear

    def _searches(self, run: Run, options: RunOptions, calls: Calls) -> Searches | None:
        """Return what searches the web for *run*, where its kind or `tools` allows it."""
        if not searches_the_web(run.kind, options):
            return None
        if self.terms.search is None:
            raise NoProvider(self.terms.why_no_search)
        return Searches(calls, self.terms.search)

    def _frame(self, run: Run, options: RunOptions) -> AttemptScope:
        deadline = self.monotonic() + (options.max_seconds or 0.0)
        return AttemptScope(run.run_id, run.attempt, self.terms.ceilings, deadline, self.monotonic, self.utc)

    async def _session(self, run: Run, options: RunOptions, heard: Heard) -> SessionState:
        """Take the run's session, as soon as nobody else on this machine uses it, and return what is in it."""
        give_up = self.monotonic() + (options.max_seconds or 0.0)
        while True:
            try:
                lock = await asyncio.to_thread(self.desk.session_lock, run)
                break
            except WorkspaceBusy:
                if self.monotonic() >= give_up:
                    raise
                await asyncio.sleep(SESSION_POLL_S)
        heard.until_published.callback(lock.release)
        return await self.desk.session(run)

    async def _book(self, run: Run, calls: Calls) -> None:
        await self.desk.book(run, calls.used)

    def _progress(self, run: Run, heard: Heard, progress: Progress) -> None:
        bench = heard.bench
        if bench is None:
            return
        heard.live = _live(bench.options, bench.calls, progress)
        self.desk.note(run, heard.live)
        self.on_live(run, heard.live)
        if run.kind is Kind.RESEARCH:
            # Each step: whoever uses the session after a crash of ours knows what was spent.
            self.desk.note_spending(run, bench.calls.used)

    def _note_search(self, run: Run, heard: Heard, note: str) -> None:
        at = (heard.live.progress if heard.live else None) or Progress()
        self._progress(run, heard, at.model_copy(update={"note": note}))

    async def _pin(self, run: Run, pinned: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self.ledger.pin(run.run_id, run.attempt, pinned)


def searches_the_web(kind: Kind, options: RunOptions) -> bool:
    """Whether a run may search the web: by its kind, or by `tools`."""
    return kind is Kind.EXA or "research" in (options.tools or ())


def _live(options: RunOptions, calls: Calls, progress: Progress) -> Live:
    """Return what a status file says of a run that goes on."""
    budget = StatusCaps(max_cost_usd=options.max_cost_usd, max_tokens=options.max_tokens)
    return Live(progress, UsageSoFar(**asdict(calls.used)), budget, options.model)


def _with_raised_caps(options: RunOptions, session: SessionState, terms: RuntimeConfig, said: RunOptions) -> RunOptions:
    """
    Return *options* with the caps that were raised in Python, where no front matter or setting says otherwise.

    The session's file lies in the workspace: whatever stands in it, the user's ceilings stay above.
    """
    table: RunOptions = terms.loaded.settings.research
    raised = {
        cap: getattr(session, cap)
        for cap in ("max_tokens", "max_cost_usd")
        if getattr(session, cap) is not None and getattr(said, cap) is None and getattr(table, cap) is None
    }
    return terms.loaded.settings.under_ceilings(options.model_copy(update=raised))


def _session_budget(options: RunOptions, spent: Used) -> Budget:
    """Return the run's budget under its session's."""
    session = Budget(
        "session",
        Caps(options.max_tokens, options.max_cost_usd),
        tokens=spent.output_tokens,
        usd=spent.cost_usd,
    )
    return Budget("run", Caps(max_searches=options.max_searches), session)
