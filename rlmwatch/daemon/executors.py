"""Who carries out a workspace's runs: this process, or the machines that share its ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlmwatch import clock
from rlmwatch.daemon.builder import Builder
from rlmwatch.execution.executor import Executor, LocalExecutor
from rlmwatch.execution.workspace_gateway import WorkspaceGateway

if TYPE_CHECKING:
    from rlmwatch.cluster.node import ClusterNode
    from rlmwatch.ledger.postgres.ledger import PostgresLedger


async def join_cluster(builder: Builder, url: str, ledger: PostgresLedger) -> ClusterNode:
    """
    Begin to sweep and to follow runs, and to answer some of them here: none where `workers` is 0.

    Without a provider none either: a run that is taken here would be held, though another machine could answer it.
    """
    from rlmwatch.cluster.node import ClusterNode

    node = await builder.stack.enter_async_context(ClusterNode(url, ledger))
    node.start_monitor()
    workers = builder.config.loaded.settings.workers
    if builder.config.model is not None and workers:
        node.start_worker(builder.run_worker(ledger), at_once=workers)
    return node


def executor(builder: Builder, gateway: WorkspaceGateway, node: ClusterNode | None, name: str) -> tuple[Executor, int]:
    """Return what carries out the runs of the workspace *name*, and how many at a time."""
    if node is None:
        attempts = builder.attempts(builder.prepare(gateway, builder.parts.listeners))
        local = LocalExecutor(ledger=builder.ledger, workspace=gateway, attempts=attempts, utc=clock.utc)
        return local, builder.config.loaded.settings.workers
    from rlmwatch.cluster.dispatcher import MAX_DISPATCHED, Dispatcher

    dispatcher = Dispatcher(
        ledger=node.ledger,
        jobs=node.jobs,
        monitor=node.monitor,
        name=name,
        workspace=gateway,
        config=lambda: builder.config,
        utc=clock.utc,
        crash_at=builder.parts.crash_at,
    )
    return dispatcher, MAX_DISPATCHED
