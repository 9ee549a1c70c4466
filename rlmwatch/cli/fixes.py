"""
What `rlmwatch doctor --fix` does: only what cannot lose anything, each said in a line.

1. A folder that was named and is not there is made, with its settings file and a first question, as `init` does. A
   folder that is there is left as it is: it may be the wrong one.
2. The user's own file of keys, where others may read it, is closed to them (0600).
3. Temporary files of killed writers, an hour old and older, are removed where no rlmwatch has the folder.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime, timedelta
from pathlib import Path

from rlmwatch import clock
from rlmwatch.cli.init import init
from rlmwatch.cli.layout import counted
from rlmwatch.cli.report import Line
from rlmwatch.daemon.credentials import DOTENV
from rlmwatch.daemon.paths import locate
from rlmwatch.errors import RlmwatchError
from rlmwatch.settings.sources import user_config_dir
from rlmwatch.settings.user_folders import expanded, resolved
from rlmwatch.workspace.atomic import sweep
from rlmwatch.workspace.owner import holder

OLD = timedelta(hours=1)
"""No writer takes as long to write one file."""
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def open_to_others(file: Path) -> Line | None:
    """Return the warning that *file*, with keys in it, can be read by other users; None where it cannot."""
    try:
        found = file.stat()
    except OSError:
        return None
    if not found.st_mode & OTHERS:
        return None
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    return Line(
        "warning", "key file", f"{file} has mode {mode}: others may read it", "`rlmwatch doctor --fix` closes it"
    )


def apply_fixes(workspace: Path | None) -> list[Line]:
    """Do what is safe for *workspace* and the user's own files; return what was done, and what could not be."""
    lines = [*_folder(workspace), *_key_file(user_config_dir() / DOTENV)]
    try:
        paths = locate(workspace)
    except RlmwatchError:
        return lines or [Line("ok", "fix", "nothing to do")]
    if holder(paths.state, paths.root) is None:
        before = datetime.fromisoformat(clock.utc()) - OLD
        if swept := sweep(paths.root, before=before.isoformat()):
            lines.append(Line("fixed", "temporary files", f"{counted(swept, 'file')} of killed writers removed"))
    return lines or [Line("ok", "fix", "nothing to do")]


def _folder(workspace: Path | None) -> list[Line]:
    if workspace is None or os.path.lexists(expanded(workspace)):
        return []
    try:
        init(workspace)
    except RlmwatchError as error:
        return [Line("wrong", "workspace", str(error))]
    return [Line("fixed", "workspace", f"{resolved(workspace)} made, with a first question in it")]


def _key_file(file: Path) -> list[Line]:
    if open_to_others(file) is None:
        return []
    try:
        if file.stat().st_uid != os.geteuid() or file.is_symlink():
            return [Line("warning", "key file", f"{file} is a link, or not yours: left as it is")]
        file.chmod(0o600)
    except OSError as error:
        return [Line("wrong", "key file", f"{file} cannot be closed to others: {error.strerror}")]
    return [Line("fixed", "key file", f"{file} closed to others (mode 0600)")]
