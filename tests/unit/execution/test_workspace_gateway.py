"""What is written of a run into the workspace, and what it does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rlmwatch.contract.documents import Progress
from rlmwatch.contract.kinds import Kind
from rlmwatch.documents.images import ImageReader
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.execution.attachments import Attachments
from rlmwatch.execution.workspace_gateway import WorkspaceGateway
from rlmwatch.runs.model import Outcome, Result, Run, RunStatus
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.publish import Later
from rlmwatch.workspace.status import DaemonProcess, Live, StatusBoard


def a_run(status: RunStatus, result: Result | None = None) -> Run:
    return Run(
        run_id="20261123T091500Z-chat-7f3a9c",
        seq=1,
        path="chat_input.txt",
        kind=Kind.CHAT,
        conversation="chat",
        prompt="hi",
        options={},
        digest="sha256:1",
        status=status,
        created_at="2026-11-23T09:15:00.000Z",
        started_at="2026-11-23T09:15:01.000Z",
        attempt=1,
        result=result,
    )


def test_a_status_that_is_deleted_as_its_run_ends_does_not_come_back(tmp_path: Path):
    """What waited for its second when the run ended is not written after it."""
    seconds = iter(f"2026-11-23T09:15:{1 + n / 10:06.3f}Z" for n in range(9))
    now = "2026-11-23T09:16:00.000Z"
    (tmp_path / "chat_input.txt").write_text("hi")
    root = Root.open(tmp_path)
    gateway = WorkspaceGateway(
        root,
        tmp_path,
        StatusBoard(root, DaemonProcess("here", 1)),
        lambda: next(seconds, now),
        lambda text: text,
        DocumentReader(Policy()),
        Attachments(tmp_path / "attached", DocumentReader(Policy()), ImageReader(Policy())),
    )
    running = a_run(RunStatus.RUNNING)
    asyncio.run(gateway.report(running))
    asyncio.run(gateway.report(running, Live(Progress(step=1))))
    assert gateway.board.waits
    gateway.publish(a_run(RunStatus.COMPLETE, Result(RunStatus.COMPLETE, Outcome.SUCCESS, "hello")), Later())
    (status,) = (tmp_path / "jobs").iterdir()
    status.unlink()
    assert gateway.board.flush(now=now) == 0
    assert not list((tmp_path / "jobs").iterdir())
