"""
The composition root: settings in, a running program out.

    Builder            makes what every program that answers is made of, in order, and closes it in reverse:
                       settings → provider and search → ledger → sandbox → attempts
    App                a workspace's program: the daemon, --once, answer, --dry-run
    DirectRunner       runs without a workspace: the Python API
    worker.work        a cluster's worker (`daemon/worker.py`)

Tests and other programs build the same thing from other parts, through `Parts`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import structlog
from pydantic import ValidationError

from rlmwatch import clock
from rlmwatch.contract.documents import StatusFile
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.ceiling_watch import CeilingWatch
from rlmwatch.daemon.credentials import Key, find_all, secrets, wanted
from rlmwatch.daemon.factories import build_documents, build_sandbox, find_model, handlers, load_client
from rlmwatch.daemon.handover import patiently
from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.providers import runtime_config
from rlmwatch.daemon.stores import open_shared_of, shared_spending, workspace_name
from rlmwatch.daemon.vitals import Vitals, worker_thread
from rlmwatch.errors import ConfigError, LedgerError, NoProvider, ProviderError, RunTimeout
from rlmwatch.execution.attempt import Attempt, AttemptDeps
from rlmwatch.execution.caller_storage import CallerStorage
from rlmwatch.execution.executor import Executor, LocalExecutor
from rlmwatch.execution.folder_history import FolderHistory
from rlmwatch.execution.material import changed
from rlmwatch.execution.notifications import Notifications
from rlmwatch.execution.run_context import Listeners, PreparedRun, PrepareRun, RunContextFactory, RunStorage
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.execution.supervisor import Supervisor
from rlmwatch.execution.webhooks import Webhooks
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.models.base import Model
from rlmwatch.models.select import Choice
from rlmwatch.runs.model import Result, Run, RunStatus, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.sandbox.base import Sandbox
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import Loaded, load, own_name, state_dir, user_config_dir
from rlmwatch.submissions.admission import rules
from rlmwatch.submissions.inbox import Inbox
from rlmwatch.watch.save_filter import Ports, WatchConfig
from rlmwatch.watch.watcher import Watcher
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.hosts import Host, refuse_nested, this_host
from rlmwatch.workspace.owner import FolderLock, Lock, holder
from rlmwatch.workspace.status import DaemonProcess, StatusBoard

if TYPE_CHECKING:
    from rlmwatch.cluster.node import ClusterNode
    from rlmwatch.cluster.run_worker import RunWorker
    from rlmwatch.ledger.postgres.ledger import PostgresLedger

MB = 1_000_000
RUNS_LOOKED_AT = 20
"""Newest runs of a conversation, among which is the last one of an input."""
PYTHON_LEDGER = Path("python", "ledger.sqlite3")
"""Of the Python API's runs, in the private state folder, beside the workspaces' folders."""

L = TypeVar("L", bound=Ledger[Any])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """
    What another composition puts in place of the real parts.

    Attributes:
        find_model: Chooses and makes the provider.
        keys: Keys of the caller, over those that are found.
        users_options: Whether what a run itself says is the user's own word, and no file's.
        listeners: What hears of a run that goes on.
        on_status: Is given each status of a run, from any thread; None where nobody looks.
        crash_at: Is told the named points at which a crash must lose nothing.
        host: The name by which this machine answers; None for its own (see `config.own_name`).
    """

    find_model: Callable[[Loaded, Mapping[str, Key], Mapping[str, str]], Awaitable[tuple[Model, Choice]]] = find_model
    keys: Mapping[str, Key] = field(default_factory=dict)
    users_options: bool = False
    listeners: Listeners = field(default_factory=Listeners)
    on_status: Callable[[StatusFile], None] | None = None
    crash_at: Callable[[str], None] = field(default=lambda _point: None)
    host: str | None = None


class Builder:
    """
    Makes what every program that answers is made of. An asynchronous context manager: leaving closes what it made.

    Attributes:
        config: What holds for new runs; `read_config` replaces it.
        choice: Why it is this provider; None where there is none.
        stack: What is closed at the end.
    """

    config: RuntimeConfig
    choice: Choice | None
    ledger: Ledger[Any]
    sandbox: Sandbox

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

    async def read_config(self, loaded: Loaded, *, needs_provider: bool = True) -> None:
        """
        Find keys, provider and search for *loaded*: they hold for new runs.

        Where there was a configuration before, runs that go on keep it; its connections close at the end.

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
            model, choice = await self.parts.find_model(loaded, keys, self.environ)
        except NoProvider as error:
            if needs_provider:
                raise
            log.error("model.none", why=str(error))  # noqa: TRY400 (a person's matter, not a fault)
            made, self.choice, reason = None, None, str(error)
        else:
            self.stack.push_async_callback(model.aclose)
            log.info("model.chosen", provider=model.provider, model=choice.model, why=choice.why)
            made, self.choice, reason = (model, choice), choice, ""
        self.config = runtime_config(
            loaded, keys, self.environ, made, no_model_reason=reason, users_options=self.parts.users_options
        )
        for part in (self.config.search, self.config.providers):
            if part is not None:
                self.stack.push_async_callback(part.aclose)

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
        self.sandbox = build_sandbox(self.config.loaded)
        self.stack.push_async_callback(self.sandbox.aclose)

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


class Role(Enum):
    """
    What a program does in its workspace.

    A DAEMON answers whatever is saved, ONE_SHOT what it was started for; of these there is one at a time. DRY_RUN
    answers nothing.
    """

    DAEMON = "daemon"
    ONE_SHOT = "one_shot"
    DRY_RUN = "dry_run"


class App:
    """
    One workspace's running program. An asynchronous context manager: entering takes the lock and opens the ledger.

    Attributes:
        paths: The workspace and where its private state is.
        host: The name by which this machine answers.
        me: This machine, by its name and id.
        folder_lock: Of the workspace on this machine; to be taken where this machine answers.
        wanted: Set where a daemon starts and asks for the folder, which a command holds.
        lacks_workspace_settings: Whether those could not be read when it began: it must answer nothing then.
        node: Its part in a cluster; None where the ledger is its own.
        ceiling_watch: How near the user's ceilings are.
    """

    root: Root
    me: Host
    folder_lock: FolderLock
    gateway: WorkspaceGateway
    history: FolderHistory
    watcher: Watcher
    inbox: Inbox
    supervisor: Supervisor
    webhooks: Webhooks
    notifications: Notifications
    node: ClusterNode | None
    ceiling_watch: CeilingWatch

    def __init__(
        self,
        paths: WorkspacePaths,
        *,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
        parts: Parts | None = None,
        redactor: Redactor | None = None,
        role: Role = Role.ONE_SHOT,
    ) -> None:
        """
        Prepare; entering composes.

        Args:
            paths: The workspace and where its private state is.
            environ: Where variables are looked up.
            flags: Settings of the command line, over all others.
            parts: In place of the real ones.
            redactor: Takes secrets out of the log.
            role: What it is to do.
        """
        self._builder = Builder(
            environ=os.environ if environ is None else environ,
            user_dir=paths.user_dir,
            workspace=paths.root,
            flags=flags,
            parts=parts,
            redactor=redactor,
        )
        self.paths = paths
        parts = self._builder.parts
        self.host = parts.host or own_name(paths.user_dir, self._builder.environ, socket.gethostname())
        self._role = role
        self.wanted = asyncio.Event()
        self.lacks_workspace_settings = False
        self.node = None

    async def __aenter__(self) -> Self:
        """
        Take the lock, choose the provider, open the ledger, make the parts.

        Raises:
            ConfigError, WorkspaceError, LedgerError: It cannot begin. `WorkspaceBusy` says who holds the folder.
        """
        try:
            await self._open()
        except BaseException:
            await self._builder.stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._builder.stack.aclose()

    @property
    def config(self) -> RuntimeConfig:
        """What holds for new runs; `reload` replaces it."""
        return self._builder.config

    @property
    def ledger(self) -> Ledger[Any]:
        """The ledger of this workspace."""
        return self._builder.ledger

    async def reload(self) -> None:
        """
        Read the settings and keys again; runs that waited for a person go on.

        Raises:
            ConfigError: A file is wrong. The last good settings stay.
        """
        loaded = await asyncio.to_thread(self._builder.load)
        await self._builder.read_config(loaded, needs_provider=False)
        self.lacks_workspace_settings = False
        self._builder.load_client()
        if self.node is None:
            self.supervisor.workers = self._settings().workers
        self.watcher.config = self._watch_config()
        await self.supervisor.release_held()

    def compose(self) -> None:
        """Make the parts that stand on settings, ledger and folder; again where another host answered meanwhile."""
        redact = self._builder.redactor.text
        board = StatusBoard(self.root, DaemonProcess(self.host, os.getpid()), self._builder.parts.on_status)
        documents = build_documents(self.config.loaded)
        self.gateway = WorkspaceGateway(
            self.root,
            self.paths.state.parent,
            board,
            clock.utc,
            redact,
            documents,
            marks=self.marks,
            transcribes=self.transcribes,
        )
        self.history = FolderHistory(self.root.path, self.ledger)
        self._builder.stack.callback(self.history.close)
        if self._role is Role.DAEMON:
            self.history.begin()
        self.ceiling_watch = CeilingWatch(self.ledger, lambda: self.config.ceilings)
        self.notifications = Notifications(
            self.root.path, self._settings, self._builder.environ, clock.monotonic, redact
        )
        executor, workers = self._executor()
        kinds = handlers().keys()
        self.supervisor = Supervisor(
            ledger=self.ledger,
            workspace=self.gateway,
            history=self.history,
            executor=executor,
            kinds=kinds,
            workers=workers,
            monotonic=clock.monotonic,
            utc=clock.utc,
            crash_at=self._builder.parts.crash_at,
            on_published=self._published,
            on_held=self.notifications.held,
        )
        self.inbox = Inbox(self.root, self.ledger, self.supervisor, lambda: rules(self._settings(), kinds, self.host))
        self.webhooks = Webhooks(self.ledger, lambda: self._settings().webhooks, clock.utc, redact)
        ports = Ports(
            queue=self.ledger,
            shows=self.history.shows,
            on_admitted=self.supervisor.admitted,
            accepts=kinds.__contains__,
            on_change=self.inbox.changed,
            material_changed=self.material_changed,
            on_same_bytes=self._same_bytes,
            save_waits=self.gateway.save_waits,
        )
        self.watcher = Watcher(self.root.path, self._watch_config(), ports)

    async def _same_bytes(self, path: str) -> None:
        with suppress(LedgerError):  # a number for `rlmwatch costs`, for which no save waits
            await self.ledger.spare_save(path, now=clock.utc())

    def marks(self, asked: Save | Run) -> bool:
        """Whether the files of *asked* have the lines of `contract/marks.py`."""
        return marks_of(self._settings(), asked)

    def transcribes(self, run: Run) -> bool:
        """Whether the answer of *run* goes into a transcript."""
        return transcribes_of(self._settings(), run)

    async def material_changed(self, save: Save) -> bool:
        """Whether the material of *save*, whose bytes were asked before, is another now (`execution/material.py`)."""
        settings = self.config.loaded.settings
        options = settings.options_for(save.kind, RunOptions.model_validate(dict(save.options)))
        for run in await self.ledger.recent(RUNS_LOOKED_AT, save.conversation):
            if run.path == save.path:
                roots = settings.context.outside_roots
                return save.problem is None and await asyncio.to_thread(
                    changed, self.root.path, run, options.context, roots
                )
        return False

    async def client_loaded(self) -> None:
        """Wait until the provider's first call can be made at once."""
        await self._builder.client_loaded()

    def describe(self) -> str:
        """Return, in a few words, what answers."""
        return self._builder.describe()

    def redact(self, text: str) -> str:
        """Return *text* without the secrets that are known now."""
        return self._builder.redactor.text(text)

    def hide(self, secret: str) -> None:
        """Keep *secret* out of the log and of what is written for a person, from now on."""
        self._builder.redactor.know([secret])

    def vitals(self) -> Vitals:
        """Return what knows whether the parts of this program are alive."""

        async def watcher() -> None:  # `compose` makes another one
            await self.watcher.alive()

        parts = {"ledger": self.ledger.alive, "threads": worker_thread, "watcher": watcher}
        return Vitals(parts | {"sandbox": self._builder.sandbox.alive})

    def workspace_problem(self) -> str | None:
        """Return what is wrong with the workspace's own settings; None where nothing is. Blocks."""
        try:
            self._builder.load()
        except ConfigError as error:
            try:
                self._builder.load(with_workspace=False)
            except ConfigError:  # the user's own are wrong, whatever the workspace's say
                return None
            return str(error)
        return None

    def _load_first(self) -> Loaded:
        """
        Read the settings; for a daemon, which waits until the workspace's are right, without those where need be.

        Raises:
            ConfigError: The user's are wrong; for other programs also the workspace's.
        """
        try:
            return self._builder.load()
        except ConfigError:
            if self._role is not Role.DAEMON:
                raise
            loaded = self._builder.load(with_workspace=False)
            self.lacks_workspace_settings = True
            return loaded

    async def _open(self) -> None:
        builder = self._builder
        loaded = await asyncio.to_thread(self._load_first)
        if self._role is not Role.DRY_RUN:
            await self._take_state()
        self.root = Root.open(self.paths.root)
        url = loaded.settings.ledger
        if url is None:
            shared = shared_spending(self.paths.state)
            ledger = await builder.open_ledger(lambda: SqliteLedger.open(self.paths.ledger, shared=shared))
            await ledger.tell_spending(now=clock.utc())
            await builder.read_config(loaded, needs_provider=False)
            builder.make_sandbox()
        else:
            cluster = await builder.open_ledger(lambda: open_shared_of(self.paths, url, self.host))
            await builder.read_config(loaded, needs_provider=False)
            builder.make_sandbox()
            if self._role is not Role.DRY_RUN:
                self.node = await self._join_cluster(url, cluster)
        if self._role is not Role.DRY_RUN:
            builder.load_client()
        self.compose()

    async def _take_state(self) -> None:
        """Take the private state of the workspace; the folder itself is taken when it is known who answers in it."""
        states, serves = self.paths.state.parent, self._role is Role.DAEMON
        refuse_nested(self.paths.root, states)
        loop = asyncio.get_running_loop()

        def asked_back() -> None:
            loop.call_soon_threadsafe(self.wanted.set)

        self.folder_lock = FolderLock(self.paths.root, self.host, clock.utc(), serves, asked_back)

        def acquire() -> Lock:
            return Lock.acquire(
                self.paths.state,
                host=self.host,
                pid=os.getpid(),
                now=clock.utc(),
                serves=serves,
                root=self.paths.root,
            )

        lock = (
            await patiently(acquire, lambda: holder(self.paths.state, self.paths.root), self.paths.root)
            if serves
            else acquire()
        )
        self._builder.stack.callback(lock.release)
        self._builder.stack.callback(self.folder_lock.release)
        self.me = this_host(self.host, states)

    async def _join_cluster(self, url: str, ledger: PostgresLedger) -> ClusterNode:
        """
        Begin to sweep and to follow runs, and to answer some of them here: none where `workers` is 0.

        Without a provider none either: a run that is taken here would be held, though another machine could answer it.
        """
        from rlmwatch.cluster.node import ClusterNode

        node = await self._builder.stack.enter_async_context(ClusterNode(url, ledger))
        node.start_monitor()
        if self.config.model is not None and self._settings().workers:
            node.start_worker(self._builder.run_worker(ledger), at_once=self._settings().workers)
        return node

    def _executor(self) -> tuple[Executor, int]:
        """Return what carries out the runs, and how many at a time."""
        if self.node is None:
            prepare = self._builder.prepare(self.gateway, self._builder.parts.listeners)
            attempts = self._builder.attempts(prepare)
            local = LocalExecutor(ledger=self.ledger, workspace=self.gateway, attempts=attempts, utc=clock.utc)
            return local, self._settings().workers
        from rlmwatch.cluster.dispatcher import MAX_DISPATCHED, Dispatcher

        dispatcher = Dispatcher(
            ledger=self.node.ledger,
            jobs=self.node.jobs,
            monitor=self.node.monitor,
            name=workspace_name(self.paths, self.host),
            workspace=self.gateway,
            config=lambda: self.config,
            utc=clock.utc,
            crash_at=self._builder.parts.crash_at,
        )
        return dispatcher, MAX_DISPATCHED

    def _watch_config(self) -> WatchConfig:
        return watch_config(self._settings())

    def _settings(self) -> Settings:
        return self.config.loaded.settings

    def _published(self, run: Run) -> None:
        self.inbox.published(run)
        self.webhooks.published(run)
        self.ceiling_watch.notify()
        self.notifications.published(run)


def watch_config(settings: Settings) -> WatchConfig:
    """Return what counts as a save under *settings*."""
    return WatchConfig(
        ready_marker=settings.ready_marker,
        max_bytes=int(settings.max_input_mb * MB),
        on_new_save=OnNewSave(settings.on_new_save),
        webhook=settings.webhooks.url_for,
        name_notes=settings.name_notes,
        sees_typing=settings.ready_marker is None and "on_new_save" not in settings.model_fields_set,
    )


def transcribes_of(settings: Settings, run: Run) -> bool:
    """Whether *settings*, and *run* itself, have its answer in a transcript."""
    return settings.options_for(run.kind, _said_by(run)).transcript is True


def marks_of(settings: Settings, asked: Save | Run) -> bool:
    """Whether *settings*, and *asked* itself, have lines for the person in its files (`contract/marks.py`)."""
    return settings.options_for(asked.kind, _said_by(asked)).marks is not False


def _said_by(asked: Save | Run) -> RunOptions:
    try:
        return RunOptions.model_validate(dict(asked.options))
    except ValidationError:  # a run of another version
        return RunOptions()


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
                lambda: SqliteLedger.open(path, shared=shared_spending(path.parent))
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
