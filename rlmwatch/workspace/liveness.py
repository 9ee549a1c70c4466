"""What a status file says of a run, seen from here: one whose daemon is gone does not run."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rlmwatch import clock
from rlmwatch.contract.documents import JobStatus, StatusFile
from rlmwatch.workspace.owner import holder_of_folder

GONE = "the rlmwatch that worked on it (process {pid}) is gone; it goes on when rlmwatch runs here again"
SLACK = timedelta(seconds=2)
"""Between two of the machine's clocks: more than their steps."""


def seen_now(found: StatusFile, root: Path) -> StatusFile:
    """
    Return *found*, of the workspace *root*, as it is to be shown: `running` by a daemon that has ended is `pending`.

    1. Of another machine's daemon nothing is known here, so its word stands.
    2. A process of this machine that is there, but holds no folder and has begun after the file was written, as after
       a restart of the machine, is another one that got the number.
    """
    if found.status is not JobStatus.RUNNING or found.pid is None or found.host != socket.gethostname():
        return found
    if _lives(found.pid) and not (_began_after(found.pid, found.updated_at) and _holds_not(found.pid, root)):
        return found
    return found.model_copy(update={"status": JobStatus.PENDING, "error": GONE.format(pid=found.pid)})


def _lives(pid: int) -> bool:
    """Whether there is a process *pid*, of whichever user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _began_after(pid: int, written: str | None) -> bool:
    """Whether the process *pid* has begun later than *written*; False where that cannot be known."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])  # proc_pid_stat(5)
        age_s = clock.since_boot() - ticks / os.sysconf("SC_CLK_TCK")
        last = datetime.fromisoformat(written or "")
        last = (last if last.tzinfo else last.replace(tzinfo=UTC)) + SLACK
    except (OSError, ValueError, IndexError, OverflowError):
        return False
    return datetime.fromisoformat(clock.utc()) - timedelta(seconds=age_s) > last


def _holds_not(pid: int, root: Path) -> bool:
    who = holder_of_folder(root)
    return who is None or who.pid not in (0, pid)
