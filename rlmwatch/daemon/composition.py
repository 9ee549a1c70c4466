"""
The composition root: settings in, a running program out.

    App(place, …)          reads the settings, makes every part
      .serve(stop)         the daemon
      .once()              answers what is there, and ends
      .answer(path, …)     answers one file
      .sketches()          what would be asked, and what it would cost; nothing is sent

Tests and other programs build the same thing from other parts, through `Parts`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import structlog

from rlmwatch import clock
from rlmwatch.contract.names import InputName
from rlmwatch.daemon.credentials import Key, find_all, secrets, wanted
from rlmwatch.daemon.factories import build_documents, build_sandbox, find_model, handlers
from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.providers import runtime_config
from rlmwatch.daemon.stores import open_ledger, workspace_name
from rlmwatch.errors import NoProvider
from rlmwatch.execution.run_context import RunContextFactory, RuntimeConfig
from rlmwatch.execution.supervisor import Supervisor
from rlmwatch.execution.webhooks import Webhooks
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.ledger.ledger import Verbs
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice
from rlmwatch.runs.model import Run
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import Loaded, load, own_name
from rlmwatch.submissions.admission import rules
from rlmwatch.submissions.inbox import Inbox
from rlmwatch.watch.save_filter import Ports, WatchConfig
from rlmwatch.watch.watcher import Watcher
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.memory import Answered
from rlmwatch.workspace.owner import Lock
from rlmwatch.workspace.status import Live, StatusBoard, Writer

if TYPE_CHECKING:
    from rlmwatch.cluster.node import ClusterNode

log = structlog.get_logger()

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What another composition puts in place of the real parts.

    Attributes:
        find_model: Chooses and makes the provider.
        crash_at: Is told the named points at which a crash must lose nothing.
        on_text: Returns who listens to the text of a run; None where nobody does.
        on_live: Is told how far a run is.
        host: The name by which this machine answers; None for its own (see `config.own_name`).
    """

    find_model: Callable[[Loaded, Mapping[str, Key], Mapping[str, str]], Awaitable[tuple[Model, Choice]]] = find_model
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    on_text: Callable[[Run], Callable[[str], None] | None] = field(default=lambda _run: None)
    on_live: Callable[[Run, Live], None] = field(default=lambda _run, _live: None)
    host: str | None = None


class Role(Enum):
    """
    What a program does in its workspace.

    SERVES answers whatever is saved, ANSWERS what it was started for; of these there is one at a time. LOOKS answers
    nothing.
    """

    SERVES = "serves"
    ANSWERS = "answers"
    LOOKS = "looks"


class App:
    """
    One workspace's running program. An asynchronous context manager: entering takes the lock and opens the ledger.

    Attributes:
        terms: What holds for new runs; `reload` replaces it.
        choice: Why it is this provider; None where there is none.
        host: The name by which this machine answers.
    """

    terms: RuntimeConfig
    choice: Choice | None
    watcher: Watcher
    inbox: Inbox
    supervisor: Supervisor
    webhooks: Webhooks
    ledger: Verbs[Any]
    sandbox: Sandbox
    sharing: ClusterNode | None

    def __init__(
        self,
        place: WorkspacePaths,
        *,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
        parts: Parts | None = None,
        redactor: Redactor | None = None,
        role: Role = Role.ANSWERS,
    ) -> None:
        """
        Prepare; entering composes.

        Args:
            place: The workspace and where its private state is.
            environ: Where variables are looked up.
            flags: Settings of the command line, over all others.
            parts: In place of the real ones.
            redactor: Takes secrets out of the log.
            role: What it is to do.
        """
        self.place = place
        self.parts = parts or Parts()
        self._environ = os.environ if environ is None else environ
        self.host = self.parts.host or own_name(place.user_dir, self._environ, socket.gethostname())
        self._flags = flags
        self._redactor = redactor or Redactor()
        self._role = role
        self._stack = AsyncExitStack()
        self.sharing = None

    async def __aenter__(self) -> Self:
        """
        Take the lock, open the ledger, choose the provider, make the parts.

        Raises:
            ConfigError, WorkspaceError, LedgerError: It cannot begin. `WorkspaceBusy` says who holds the folder.
        """
        try:
            loaded = self._load()
            if self._role is not Role.LOOKS:
                serves = self._role is Role.SERVES
                lock = Lock.acquire(self.place.state, host=self.host, pid=os.getpid(), now=clock.utc(), serves=serves)
                self._stack.callback(lock.release)
            root = Root.open(self.place.root)
            self.ledger = open_ledger(self.place, loaded.settings, self.host)
            self._stack.push_async_callback(self.ledger.aclose)
            self.terms = await self._terms(loaded)
            self._stack.push_async_callback(lambda: _close(self.terms))
            self.root = root
            self.sandbox = build_sandbox(loaded)
            self._stack.push_async_callback(self.sandbox.aclose)
            if loaded.settings.ledger is not None and self._role is not Role.LOOKS:
                self.sharing = await self._share(loaded.settings.ledger, loaded.settings.workers)
            self.compose()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def reload(self) -> None:
        """
        Read the settings and keys again; runs that waited for a person go on.

        Raises:
            ConfigError: A file is wrong. The last good settings stay.
        """
        terms = await self._terms(self._load())
        # Calls that are under way keep their connection until they end; then it closes with the loop.
        self._stack.push_async_callback(_close, self.terms)
        self.terms = self.benches.terms = terms
        if self.sharing is None:
            self.supervisor.workers = terms.loaded.settings.workers
        else:
            self.sharing.terms = terms
        self.watcher.config = self._watch_config()
        await self.supervisor.release_held()

    def _load(self) -> Loaded:
        return load(user_dir=self.place.user_dir, workspace=self.place.root, environ=self._environ, flags=self._flags)

    async def _terms(self, loaded: Loaded) -> RuntimeConfig:
        self.choice = None
        keys: Mapping[str, Key] = {}
        try:
            names = wanted(loaded.settings)
            keys = await asyncio.to_thread(find_all, self._environ, self.place.user_dir, named=names)
            self._redactor.know(secrets(loaded.settings, keys))
            model, self.choice = await self.parts.find_model(loaded, keys, self._environ)
        except NoProvider as error:
            log.error("model.none", why=str(error))  # noqa: TRY400 (a person's matter, not a fault)
            return runtime_config(loaded, keys, self._environ, why_none=str(error))
        log.info("model.chosen", provider=model.provider, model=self.choice.model, why=self.choice.why)
        return runtime_config(loaded, keys, self._environ, (model, self.choice))

    async def _share(self, url: str, workers: int) -> ClusterNode:
        """Begin to hand runs out over the shared ledger, and to answer some of them here."""
        from rlmwatch.cluster.node import ClusterNode

        sharing = ClusterNode(url, self.ledger, workspace_name(self.place, self.host), self.terms)
        await self._stack.enter_async_context(sharing)
        sharing.answer(self.sandbox, handlers(), at_once=workers)
        return sharing

    def _watch_config(self) -> WatchConfig:
        settings = self.terms.loaded.settings
        return WatchConfig(
            ready_marker=settings.ready_marker,
            max_bytes=int(settings.max_input_mb * MB),
            on_new_save=OnNewSave(settings.on_new_save),
        )

    def compose(self) -> None:
        """Make the parts that stand on settings, ledger and folder; again where another host answered meanwhile."""
        root = self.root
        can = handlers()
        board = StatusBoard(root, Writer(self.host, os.getpid()))
        self.desk = WorkspaceGateway(
            root,
            self.place.state.parent,
            board,
            clock.utc,
            self._redactor.text,
            build_documents(self.terms.loaded),
        )
        self.benches = RunContextFactory(
            self.terms,
            self.ledger,
            self.desk,
            self.sandbox,
            clock.monotonic,
            clock.utc,
            self.parts.on_text,
            self.parts.crash_at,
            self.parts.on_live,
            self.desk.stream,
        )
        if self.sharing is not None:
            self.supervisor = self.sharing.supervisor(self.desk, can, self.benches, self.parts.crash_at)
        else:
            self.supervisor = Supervisor(
                self.ledger,
                self.desk,
                can,
                self.benches,
                self.terms.loaded.settings.workers,
                clock.monotonic,
                clock.utc,
                self.parts.crash_at,
            )
        self.inbox = Inbox(root, self.ledger, self.supervisor, lambda: rules(self._settings(), can, self.host))
        self.webhooks = Webhooks(self.ledger, lambda: self._settings().webhooks, clock.utc, self._redactor.text)
        self.supervisor.on_published = self._published
        answered = Answered(root.path)

        async def answered_before(name: InputName) -> str | None:
            return await asyncio.to_thread(answered.digest, name)

        ports = Ports(
            self.ledger,
            answered_before,
            self.supervisor.admitted,
            can.__contains__,
            self.inbox.changed,
        )
        self.watcher = Watcher(root.path, self._watch_config(), ports)

    def _settings(self) -> Settings:
        return self.terms.loaded.settings

    def _published(self, run: Run) -> None:
        self.inbox.published(run)
        self.webhooks.published(run)

    def describe(self) -> str:
        """Return, in a few words, what answers."""
        return f"{self.choice.model} ({self.choice.provider})" if self.choice else "nothing: see model.none"


async def _close(terms: RuntimeConfig) -> None:
    for part in (terms.model, terms.search, terms.providers):
        if part is not None:
            await part.aclose()
