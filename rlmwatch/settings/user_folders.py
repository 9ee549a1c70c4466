"""
Folders of the user, and what a user without a home is told.

A container that runs as a number of its own (`--user 12345`) has neither `HOME` nor an entry in `/etc/passwd`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
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


def resolved(path: Path, *, follow: bool = True) -> Path:
    """
    Return *path*, as a person has named it, whole and without links; it need not be there.

    Args:
        path: A file or a folder; `~` is the home folder.
        follow: Whether a link at its end is followed, too.

    Raises:
        UsageError: Nothing can have that name: it is too long, its links lead round in a circle, a folder on the way is
            closed to this user.
    """
    whole = expanded(path)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            whole.stat(follow_symlinks=follow)
        return whole.resolve() if follow else whole.parent.resolve() / whole.name
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links, before Python 3.13
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def own_home() -> Path:
    """
    Return the user's home folder.

    Raises:
        ConfigError: There is none.
    """
    found = home()
    if found is None:
        raise ConfigError(NO_HOME)
    return found


def home() -> Path | None:
    """Return the user's home folder; None where there is none."""
    try:
        return Path.home()
    except RuntimeError:
        return None
