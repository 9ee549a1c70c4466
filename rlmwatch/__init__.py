"""
A folder that answers: save a text file, and the answer appears beside it.

    run(task, data)          one run, here and now
    Session(path)            research with a budget, kept in a file
    Client(workspace)        jobs by files, answered by a daemon

Everything is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlmwatch.api import RunResult, Session, run
    from rlmwatch.client import Client, Job, JobStatus
    from rlmwatch.errors import RlmwatchError, SessionBudgetExceeded

from rlmwatch.version import __version__ as __version__

__all__ = ["Client", "Job", "JobStatus", "RlmwatchError", "RunResult", "Session", "SessionBudgetExceeded", "run"]

_WHERE = {
    "Client": "rlmwatch.client",
    "Job": "rlmwatch.client",
    "JobStatus": "rlmwatch.client",
    "run": "rlmwatch.api",
    "RunResult": "rlmwatch.api",
    "Session": "rlmwatch.api",
    "RlmwatchError": "rlmwatch.errors",
    "SessionBudgetExceeded": "rlmwatch.errors",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 (the names differ in kind)
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
