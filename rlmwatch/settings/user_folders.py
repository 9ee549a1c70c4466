"""
Folders of the user, and what a user without a home is told.

A container that runs as a number of its own (`--user 12345`) has neither `HOME` nor an entry in `/etc/passwd`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rlmwatch.errors import ConfigError, UsageError

NO_HOME = (
    "this user has no home folder (no HOME, no entry in /etc/passwd). Set RLMWATCH_STATE_DIR to the folder for the "
    "private state, which must be kept, and XDG_CONFIG_HOME to the one that holds rlmwatch/config.toml"
)


def in_home(folder: Callable[[str], Path]) -> Path:
    """
    Return rlmwatch's *folder* (one of platformdirs) of this user.

    Raises:
        ConfigError: The user has no home; the text names the variables to set.
    """
    try:
        return folder("rlmwatch")
    except RuntimeError:
        raise ConfigError(NO_HOME) from None


def expanded(path: Path) -> Path:
    """
    Return *path* with the home folder in place of `~`.

    Raises:
        UsageError: There is no such home.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise UsageError(f"{path}: `~` stands for no folder here; write the whole path") from None


def home() -> Path | None:
    """Return the user's home folder; None where there is none."""
    try:
        return Path.home()
    except RuntimeError:
        return None
