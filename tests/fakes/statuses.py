"""Status files as tests of the view and of tables need them."""

from __future__ import annotations

from typing import Any

from rlmwatch.contract.documents import JobStatus, StatusFile
from rlmwatch.contract.kinds import Kind


def status(name: str, status: str, **more: Any) -> StatusFile:
    """Return the status file of the question *name*; *more* stands over what is usual."""
    usual: dict[str, Any] = {
        "job_id": name.replace("/", "-"),
        "kind": Kind.CHAT,
        "status": JobStatus(status),
        "input": name,
        "input_digest": "sha256:1",
        "created_at": "2026-11-28T12:00:00Z",
        "started_at": None if status == "pending" else "2026-11-28T12:00:00Z",
    }
    return StatusFile(**(usual | more))
