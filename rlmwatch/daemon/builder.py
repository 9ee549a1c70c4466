"""
What every program that answers is made of, in order, and closed in reverse.

settings → provider and search → ledger → sandbox → attempts

Tests and other programs build the same thing from other parts, through `Parts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import structlog

from rlmwatch import clock
from rlmwatch.contract.documents import StatusFile
from rlmwatch.daemon.credentials import Key, find_all, secrets, wanted
from rlmwatch.daemon.factories import handlers, load_client
from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.providers import runtime_config
from rlmwatch.daemon.shared_parts import SharedParts
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import ConfigError, NoProvider
from rlmwatch.execution.attempt import AttemptDeps
from rlmwatch.execution.run_context import Listeners, PreparedRun, PrepareRun, RunContextFactory, RunStorage
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice
from rlmwatch.runs.model import Run
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.search.fetch import FetchedPage, fetch
from rlmwatch.settings.sources import Loaded, load

if TYPE_CHECKING:
    from rlmwatch.cluster.run_worker import RunWorker
    from rlmwatch.ledger.postgres.ledger import PostgresLedger

L = TypeVar("L", bound=Ledger[Any])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """
    What another composition puts in place of the real parts.

    Attributes:
        find_model: Chooses and makes the provider; None for `SharedParts.find_model`.
        keys: Keys of the caller, over those that are found.
        users_options: Whether what a run itself says is the user's own word, and no file's.
        listeners: What hears of a run that goes on.
        on_status: Is given each status of a run, from any thread; None where nobody looks.
        crash_at: Is told the named points at which a crash must lose nothing.
        fetch: Fetches a web page.
        host: The name by which this machine answers; None for its own (see `config.own_name`).
        shared: What several folders of one process have in common; None where there is one.
        left_out: Workspaces that this process does not serve beside this one, where one lies in the other.
    """

    find_model: Callable[[Loaded, Mapping[str, Key], Mapping[str, str]], Awaitable[tuple[Model, Choice]]] | None = None
    keys: Mapping[str, Key] = field(default_factory=dict)
    users_options: bool = False
    listeners: Listeners = field(default_factory=Listeners)
    on_status: Callable[[StatusFile], None] | None = None
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    fetch: Callable[[str], Awaitable[FetchedPage]] = fetch
    host: str | None = None
    shared: SharedParts | None = None
    left_out: Collection[Path] = ()


class Builder:
    """
    Makes what every program that answers is made of. An asynchronous context manager: leaving closes what it made.

    Attributes:
        config: What holds for new runs; `read_config` replaces it.
        choice: Why it is this provider; None where there is none.
        documents: Turns documents into text, in as many processes at once as this machine bears; made once.
        stack: What is closed at the end.
    """

    config: RuntimeConfig
    choice: Choice | None
    ledger: Ledger[Any]
    sandbox: Sandbox
    documents: DocumentReader | None = None

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        user_dir: Path,
        workspace: Path | None = None,
        flags: Mapping[str, Any] | None = None,
        parts: Parts | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        """
        Prepare; nothing is read yet.

        Args:
            environ: Where variables are looked up.
            user_dir: The user's configuration folder.
            workspace: Whose settings hold too; None where there is no workspace.
            flags: Settings of the command line or the caller, over all others.
            parts: In place of the real ones.
            redactor: Takes secrets out of the log.
        """
        self.environ = environ
        self.parts = parts or Parts()
        self.redactor = redactor or Redactor()
        self.stack = AsyncExitStack()
        self._shared = self.parts.shared or SharedParts()
        if self.parts.shared is None:
            self.stack.push_async_callback(self._shared.aclose)
        self._user_dir = user_dir
        self._workspace = workspace
        self._flags = flags
        self._loading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    def load(self, *, with_workspace: bool = True) -> Loaded:
        """
        Read the settings. Blocks.

        Raises:
            ConfigError: A file is wrong.
        """
        workspace = self._workspace if with_workspace else None
        return load(user_dir=self._user_dir, workspace=workspace, environ=self.environ, flags=self._flags)

    def workspace_problem(self) -> str | None:
        """Return what is wrong with the workspace's own settings; None where nothing is. Blocks."""
        try:
            self.load()
        except ConfigError as error:
            try:
                self.load(with_workspace=False)
            except ConfigError:  # the user's own are wrong, whatever the workspace's say
                return None
            return str(error)
        return None

    async def read_config(self, loaded: Loaded, *, needs_provider: bool = True) -> None:
        """
        Find keys, provider and search for *loaded*: they hold for new runs.

        Where there was a configuration before, runs that go on keep it. A provider for which nothing has changed stays
        the same, with its connections and its rate limits.

        Args:
            loaded: The settings.
            needs_provider: False: without a provider the program goes on, and its runs are held.

        Raises:
            NoProvider: There is none.
            ConfigError: The settings ask for one that cannot be.
        """
        keys = self.parts.keys
        try:
            found = await asyncio.to_thread(find_all, self.environ, self._user_dir, named=wanted(loaded.settings))
            keys = {**found, **keys}
            self.redactor.know(secrets(loaded.settings, keys))
            model, choice = await (self.parts.find_model or self._shared.find_model)(loaded, keys, self.environ)
        except NoProvider as error:
            if needs_provider:
                raise
            log.error("model.none", why=str(error))  # noqa: TRY400 (a person's matter, not a fault)
            made, self.choice, reason = None, None, str(error)
        else:
            if self.parts.find_model is not None:
                self.stack.push_async_callback(model.aclose)
            log.info("model.chosen", provider=model.provider, model=choice.model, why=choice.why)
            made, self.choice, reason = (model, choice), choice, ""
        if self.documents is None:
            self.documents = self._shared.documents(loaded)
        self.config = runtime_config(
            loaded,
            keys,
            self.environ,
            made,
            documents=self.documents,
            no_model_reason=reason,
            users_options=self.parts.users_options,
            shared=self._shared,
        )
        if self.config.search is not None:
            self.stack.push_async_callback(self.config.search.aclose)

    def load_client(self) -> None:
        """Begin to load what the first call needs, in a thread; runs wait for it, before their time limit starts."""
        self._loading = asyncio.create_task(load_client(self.choice))
        self.stack.callback(self._loading.cancel)

    async def client_loaded(self) -> None:
        """Wait until the first call can be made at once."""
        if self._loading is not None:
            await asyncio.shield(self._loading)

    async def open_ledger(self, opened: Callable[[], L]) -> L:
        """
        Open the ledger of this program.

        Raises:
            LedgerError, ConfigError: As *opened* raises, which may block.
        """
        ledger = await asyncio.to_thread(opened)
        self.stack.push_async_callback(ledger.aclose)
        self.ledger = ledger
        return ledger

    def make_sandbox(self) -> None:
        """Make the sandbox. Nothing is started before the first run that needs it."""
        self.sandbox = self._shared.sandbox(self.config.loaded)

    def prepare(self, storage: RunStorage, listeners: Listeners | None = None) -> PrepareRun:
        """Return what sets up the contexts of runs whose memory and material come from *storage*."""
        factory = RunContextFactory(
            config=lambda: self.config,
            ledger=self.ledger,
            storage=storage,
            sandbox=self.sandbox,
            monotonic=clock.monotonic,
            utc=clock.utc,
            listeners=listeners or Listeners(),
            crash_at=self.parts.crash_at,
            costs=self._shared.costs,
            sub_sessions=self._shared.sub_sessions,
        )

        async def prepare(run: Run) -> PreparedRun:
            await self.client_loaded()
            return await factory(run)

        return prepare

    def attempts(
        self, prepare: PrepareRun, *, can_be_held: bool = True, can_be_given_back: bool = False
    ) -> AttemptDeps:
        """Return what the attempts of this program have in common."""
        return AttemptDeps(
            ledger=self.ledger,
            handlers=handlers(),
            prepare=prepare,
            utc=clock.utc,
            crash_at=self.parts.crash_at,
            can_be_held=can_be_held,
            can_be_given_back=can_be_given_back,
        )

    def describe(self) -> str:
        """Return, in a few words, what answers."""
        return f"{self.choice.model} ({self.choice.provider})" if self.choice else "nothing: see model.none"

    def run_worker(self, ledger: PostgresLedger) -> RunWorker:
        """Return what answers dispatched runs in this program."""
        from rlmwatch.cluster.run_worker import PayloadStorage, PrepareDispatched, RunWorker

        storage = PayloadStorage(ledger)
        prepare = PrepareDispatched(ledger, storage, self.prepare(storage))
        attempts = self.attempts(prepare, can_be_given_back=True)
        return RunWorker(ledger=ledger, storage=storage, attempts=attempts, utc=clock.utc)
