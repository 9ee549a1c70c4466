"""Where things are: the workspace, its private state folder, the user's configuration folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlmwatch.config import WORKSPACE_FILE, state_dir, user_config_dir
from rlmwatch.errors import UsageError
from rlmwatch.workspace.owner import workspace_id

WORKSPACE_VARIABLE = "RLMWATCH_WORKSPACE"


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where one workspace and what belongs to it are.

    Attributes:
        root: The workspace, resolved.
        state: The private state folder of this workspace: ledger and lock. Never in the workspace.
        user_dir: The user's configuration folder: `config.toml`, `.env`.
    """

    root: Path
    state: Path
    user_dir: Path

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.state / "ledger.sqlite3"


def locate(argument: Path | None, environ: Mapping[str, str] = os.environ) -> Place:
    """
    Return the place of the workspace: the argument, else `RLMWATCH_WORKSPACE`, else the current folder if it is one.

    Raises:
        UsageError: There is no such folder, or none was named.
    """
    named = argument or (Path(environ[WORKSPACE_VARIABLE]) if environ.get(WORKSPACE_VARIABLE) else None)
    if named is None:
        here = Path.cwd()
        if not (here / WORKSPACE_FILE).is_file():
            raise UsageError(
                f"which workspace? {here} has no {WORKSPACE_FILE}. Name the folder, set {WORKSPACE_VARIABLE}, "
                "or make one with `rlmwatch init DIR`"
            )
        named = here
    root = named.expanduser().resolve()
    if not root.exists():
        raise UsageError(f"{root}: no such folder. Make it with: rlmwatch init {named}")
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; a workspace is a folder")
    return Place(root, state_dir(environ) / workspace_id(root), user_config_dir(environ))
