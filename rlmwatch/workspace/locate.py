"""Which folder is the workspace, where nobody has opened it yet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rlmwatch.errors import UsageError
from rlmwatch.settings.user_folders import expanded
from rlmwatch.settings.workspace_file import WORKSPACE_FILE

WORKSPACE_VARIABLE = "RLMWATCH_WORKSPACE"


def is_named(argument: Path | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether *argument*, the variable or the current folder says which workspace is meant."""
    return argument is not None or bool(environ.get(WORKSPACE_VARIABLE)) or (Path.cwd() / WORKSPACE_FILE).is_file()


def find(argument: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """
    Return the workspace, resolved: the argument, else `RLMWATCH_WORKSPACE`, else the current folder if it is one.

    Raises:
        UsageError: There is no such folder, or none was named.
    """
    named = argument or (Path(environ[WORKSPACE_VARIABLE]) if environ.get(WORKSPACE_VARIABLE) else None)
    if named is None:
        here = Path.cwd()
        if not (here / WORKSPACE_FILE).is_file():
            raise UsageError(
                f"which workspace? {here} has no {WORKSPACE_FILE}. Name the folder, set {WORKSPACE_VARIABLE}, "
                "or make one with `rlmwatch init WORKSPACE`"
            )
        named = here
    root = expanded(named).resolve()
    if not root.exists():
        raise UsageError(f"{root}: no such folder. Make it with: rlmwatch init {named}")
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; a workspace is a folder")
    return root
