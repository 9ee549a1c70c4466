"""The daemon's side of a shared ledger: runs are handed out, and some of them are answered here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from rlmwatch import clock
from rlmwatch.cluster.cluster import Cluster
from rlmwatch.cluster.dispatcher import OUT_AT_ONCE, Dispatcher, Shared
from rlmwatch.cluster.run_worker import RunWorker
from rlmwatch.contract.kinds import Kind
from rlmwatch.execution.run_context import RunContextFactory, RuntimeConfig
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.handlers.base import Handler
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.postgres.ledger import PostgresLedger
from rlmwatch.sandbox.base import Sandbox


class ClusterNode:
    """
    Composes a daemon of a shared ledger. An asynchronous context manager.

    Attributes:
        terms: What holds for the runs that are answered here; a reload replaces it.
    """

    def __init__(self, url: str, ledger: Ledger[Any], workspace: str, terms: RuntimeConfig) -> None:
        if not isinstance(ledger, PostgresLedger):
            raise TypeError("only a ledger in Postgres is shared")
        self._ledger = ledger
        self._workspace = workspace
        self._cluster = Cluster(url, ledger)
        self._terms = terms
        self._answering: RunWorker | None = None

    async def __aenter__(self) -> Self:
        """
        Connect.

        Raises:
            LedgerError: The database cannot be used.
        """
        await self._cluster.__aenter__()
        self._cluster.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._cluster.__aexit__()

    @property
    def terms(self) -> RuntimeConfig:
        """What holds for the runs that are answered here."""
        return self._terms

    @terms.setter
    def terms(self, terms: RuntimeConfig) -> None:
        self._terms = terms
        if self._answering is not None:
            self._answering.benches.terms = terms

    def answer(self, sandbox: Sandbox, handlers: Mapping[Kind, Handler], *, at_once: int) -> None:
        """
        Answer some of the runs here, *at_once* at a time; none where that is 0 or there is no provider.

        Without a provider a run that is taken here would be held, though another machine could answer it.
        """
        if at_once and self._terms.model is not None:
            self._answering = RunWorker.with_parts(self._ledger, self._terms, sandbox, handlers)
            self._cluster.answer(self._answering, at_once=at_once)

    def supervisor(
        self,
        desk: WorkspaceGateway,
        handlers: Mapping[Kind, Handler],
        benches: RunContextFactory,
        crash_at: Callable[[str], None],
    ) -> Dispatcher:
        """Return the supervisor that hands runs out."""
        shared = Shared(self._ledger, self._cluster.handout, self._cluster.hearing, self._workspace)
        return Dispatcher(
            self._ledger, desk, handlers, benches, OUT_AT_ONCE, clock.monotonic, clock.utc, crash_at, shared=shared
        )
