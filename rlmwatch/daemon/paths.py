"""Where things are: the workspace, its private state folder, the user's configuration folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rlmwatch.settings.sources import state_dir, user_config_dir
from rlmwatch.workspace.locate import find
from rlmwatch.workspace.owner import workspace_id


@dataclass(frozen=True, slots=True)
class WorkspacePaths:
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


def locate(argument: Path | None, environ: Mapping[str, str] = os.environ) -> WorkspacePaths:
    """
    Return the paths of the workspace: the argument, else `RLMWATCH_WORKSPACE`, else the current folder if it is one.

    Raises:
        UsageError: There is no such folder, or none was named.
    """
    root = find(argument, environ)
    return WorkspacePaths(root, state_dir(environ) / workspace_id(root), user_config_dir(environ))
