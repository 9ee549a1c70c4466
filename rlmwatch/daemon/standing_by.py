"""
Says in the folder who answers there, where several machines share it: `rlmwatch_status.txt`.

A machine that stands by writes it, once each time that it begins to. The one that answers writes into it only where it
is there already, so a folder of one machine has none.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from rlmwatch.contract.names import STATUS_TEXT
from rlmwatch.errors import WorkspaceError
from rlmwatch.settings.workspace_file import WORKSPACE_FILE
from rlmwatch.workspace import atomic
from rlmwatch.workspace.hosts import Host
from rlmwatch.workspace.snapshot import look

log = structlog.get_logger()


def standing_by(me: Host, other: Host, *, now: str) -> str:
    """Return what is said where *other* answers, and this machine stands by."""
    return (
        f"As of {now}, {_words(other)} answers in this folder, as {WORKSPACE_FILE} says. "
        f"{_words(me)} stands by and answers nothing here.\n"
        f"To have {me.name} answer, start it there with `rlmwatch run --take-over`.\n"
    )


def answering(me: Host, *, now: str) -> str:
    """Return what is said where this machine answers."""
    return f"As of {now}, {_words(me)} answers in this folder.\n"


def nobody(me: Host, *, now: str) -> str:
    """Return what is said where this machine has answered, and was stopped."""
    return f"As of {now}, nobody answers in this folder: rlmwatch was stopped on {_words(me)}.\n"


def _words(host: Host) -> str:
    return host.name if host.id is None else f"{host.name} (id {host.id})"


def tell(root: Path, text: str, *, anew: bool) -> None:
    """Write *text* into the status file of *root*; where there is none yet, only if *anew*."""
    try:
        if anew or look(root, STATUS_TEXT) is not None:
            atomic.write(root / STATUS_TEXT, text.encode("utf-8", "replace"), within=root)
    except WorkspaceError as error:
        log.warning("host.not_told", why=str(error))
