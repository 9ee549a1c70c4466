"""
The composition root: settings in, a running program out.

    Builder            makes what every program that answers is made of (`daemon/builder.py`)
    App                a workspace's program: the daemon, --once, answer, --dry-run
    DirectRunner       runs without a workspace: the Python API (`daemon/direct_runner.py`)
    worker.work        a cluster's worker (`daemon/worker.py`)

Tests and other programs build the same thing from other parts, through `Parts`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from rlmwatch import clock
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.builder import Builder, Parts
from rlmwatch.daemon.ceiling_watch import CeilingWatch
from rlmwatch.daemon.direct_runner import DirectRunner
from rlmwatch.daemon.executors import executor, join_cluster
from rlmwatch.daemon.factories import build_images, handlers
from rlmwatch.daemon.ledger_upkeep import open_sound
from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.save_rules import marks_of, transcribes_of, watch_config
from rlmwatch.daemon.state_lock import take_state
from rlmwatch.daemon.stores import open_shared_of, shared_spending, workspace_name
from rlmwatch.daemon.traces import trace
from rlmwatch.daemon.vitals import Vitals, worker_thread
from rlmwatch.errors import ConfigError, LedgerError
from rlmwatch.execution.attachments import FOLDER, Attachments
from rlmwatch.execution.capture import Capture
from rlmwatch.execution.folder_history import FolderHistory
from rlmwatch.execution.material import changed
from rlmwatch.execution.notifications import Notifications
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.execution.supervisor import Supervisor
from rlmwatch.execution.webhooks import Webhooks
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.runs.model import UNRESOLVED, Run, Save
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import Loaded, own_name
from rlmwatch.submissions.admission import rules
from rlmwatch.submissions.inbox import Inbox
from rlmwatch.watch.save_filter import Ports, WatchConfig
from rlmwatch.watch.watcher import Watcher
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.hosts import Host, this_host
from rlmwatch.workspace.owner import FolderLock
from rlmwatch.workspace.status import DaemonProcess, StatusBoard

if TYPE_CHECKING:
    from rlmwatch.cluster.node import ClusterNode

__all__ = ["App", "Builder", "DirectRunner", "Parts", "Role"]

RUNS_LOOKED_AT = 20
"""Newest runs of a conversation, among which is the last one of an input."""


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
        on_published: What else is told of each run that was published.
        wanted: Set where a daemon starts and asks for the folder, which a command holds.
        lacks_workspace_settings: Whether those could not be read when it began: it must answer nothing then.
        node: Its part in a cluster; None where the ledger is its own.
        ceiling_watch: How near the user's ceilings are.
    """

    root: Root
    me: Host
    folder_lock: FolderLock
    attachments: Attachments
    gateway: WorkspaceGateway
    captured: Capture
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
        self.on_published: list[Callable[[Run], None]] = []
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
        documents = self._builder.documents
        assert documents is not None  # noqa: S101 (the configuration was read)
        self.attachments = Attachments(
            self.paths.state / FOLDER,
            documents,
            build_images(self.config.loaded, documents),
            pages_allowed=lambda: self._settings().web.pages,
            fetch=self._builder.parts.fetch,
        )
        self.gateway = WorkspaceGateway(
            self.root,
            self.paths.state.parent,
            board,
            clock.utc,
            redact,
            documents,
            self.attachments,
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
        carries_out, workers = executor(self._builder, self.gateway, self.node, workspace_name(self.paths, self.host))
        kinds = handlers().keys()
        self.supervisor = Supervisor(
            ledger=self.ledger,
            workspace=self.gateway,
            history=self.history,
            executor=carries_out,
            kinds=kinds,
            workers=workers,
            monotonic=clock.monotonic,
            utc=clock.utc,
            crash_at=self._builder.parts.crash_at,
            on_published=self._published,
            on_held=self.notifications.held,
        )
        self.captured = Capture(self.root.path, self.paths.user_dir, self._settings, clock.utc)
        self.inbox = Inbox(
            self.root,
            self.ledger,
            self.supervisor,
            lambda: rules(self._settings(), kinds, self.host),
            captured=self.captured,
            attach=self.attach,
        )
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
            attach=self.attach,
            captured=self.captured,
        )
        self.watcher = Watcher(self.root.path, self._watch_config(), ports)

    async def _same_bytes(self, path: str) -> None:
        with suppress(LedgerError):  # a number for `rlmwatch costs`, for which no save waits
            await self.ledger.spare_save(path, now=clock.utc())

    async def attach(self, save: Save) -> Save:
        """
        Return *save* with what its question mentions, as it is now.

        Raises:
            WorkspaceError: It cannot be stored now.
        """
        return await asyncio.to_thread(self.attachments.capture, self.root.path, save)

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
                if UNRESOLVED in run.enclosed:
                    return save.problem is None
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
        return self._builder.workspace_problem()

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
            self.me = this_host(self.host, self.paths.state.parent)
            self.folder_lock = await take_state(
                self.paths,
                self.me,
                builder.stack,
                serves=self._role is Role.DAEMON,
                wanted=self.wanted,
                left_out=builder.parts.left_out,
            )
        self.root = Root.open(self.paths.root)
        url = loaded.settings.ledger
        if url is None:
            ledger = await builder.open_ledger(self._open_file)
            await ledger.tell_spending(now=clock.utc())
            await builder.read_config(loaded, needs_provider=False)
            builder.make_sandbox()
        else:
            cluster = await builder.open_ledger(lambda: open_shared_of(self.paths, url, self.host))
            await builder.read_config(loaded, needs_provider=False)
            builder.make_sandbox()
            if self._role is not Role.DRY_RUN:
                self.node = await join_cluster(builder, url, cluster)
        if self._role is not Role.DRY_RUN:
            trace(builder, self.on_published)
            builder.load_client()
        self.compose()

    def _open_file(self) -> SqliteLedger:
        if self._role is Role.DRY_RUN:  # another program may use it
            return SqliteLedger.open(self.paths.ledger, shared=shared_spending(self.paths.state))
        return open_sound(self.paths, now=clock.utc())

    def _watch_config(self) -> WatchConfig:
        return watch_config(self._settings())

    def _settings(self) -> Settings:
        return self.config.loaded.settings

    def _published(self, run: Run) -> None:
        self.inbox.published(run)
        self.webhooks.published(run)
        self.ceiling_watch.notify()
        for tell in self.on_published:
            tell(run)
        self.notifications.published(run)
