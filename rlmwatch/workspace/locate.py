"""Which folder is the workspace, where nobody has opened it yet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from rlmwatch.errors import ConfigError, UsageError
from rlmwatch.settings.folder_file import FOLDER_KEYS
from rlmwatch.settings.user_folders import resolved
from rlmwatch.settings.workspace_file import WORKSPACE_FILE, parse, read_text

WORKSPACE_VARIABLE = "RLMWATCH_WORKSPACE"


def workspace_among(folders: Iterable[Path]) -> Path | None:
    """
    Return which of *folders*, each in the next one, is the workspace that the first is in; None for none of them.

    1. Only one with a `rlmwatch.toml` may be.
    2. The nearest whose file names a `host`.
    3. Else the nearest whose file sets something that the file of a sub-folder may not.
    4. Else the outermost: the others are its sub-folders, which set a preset or options.
    """
    files = [folder for folder in folders if (folder / WORKSPACE_FILE).is_file()]
    keys = {folder: _keys(folder) for folder in files}
    named = [folder for folder in files if "host" in keys[folder]]
    whole = [folder for folder in files if not keys[folder] <= FOLDER_KEYS]
    return next(iter([*named, *whole, *reversed(files)]), None)


def _keys(folder: Path) -> frozenset[str]:
    try:
        return frozenset(parse(folder, read_text(folder)))
    except ConfigError:  # whoever uses it says what is wrong with it
        return frozenset({""})


def is_named(argument: Path | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether *argument*, the variable or the current folder says which workspace is meant."""
    return argument is not None or bool(environ.get(WORKSPACE_VARIABLE)) or (Path.cwd() / WORKSPACE_FILE).is_file()


def find(argument: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """
    Return the workspace, resolved: the argument, else `RLMWATCH_WORKSPACE`, else the current folder if it is one.

    Where the current folder's `rlmwatch.toml` is that of a sub-folder, it is the workspace around it.

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
        named = workspace_among((here, *here.parents)) or here
    root = resolved(named)
    if not root.exists():
        raise UsageError(f"{root}: no such folder. Make it with: rlmwatch init {named}")
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; a workspace is a folder")
    return root
