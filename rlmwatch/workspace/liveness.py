"""What a status file says of a run, seen from here: one whose daemon is gone does not run."""

from __future__ import annotations

import os
import socket

from rlmwatch.contract.documents import JobStatus, StatusFile

GONE = "the rlmwatch that worked on it (process {pid}) is gone; it goes on when rlmwatch runs here again"


def seen_now(found: StatusFile) -> StatusFile:
    """
    Return *found* as it is to be shown: `running` by a process of this machine that has ended is `pending`.

    Of another machine's daemon nothing is known here, so its word stands.
    """
    if found.status is not JobStatus.RUNNING or found.pid is None or found.host != socket.gethostname():
        return found
    if _lives(found.pid):
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
