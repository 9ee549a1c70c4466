"""Which workspace a named input file is in."""

from __future__ import annotations

import os
from pathlib import Path

from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.errors import UsageError
from rlmwatch.settings.user_folders import resolved
from rlmwatch.workspace.locate import WORKSPACE_VARIABLE, workspace_among


def paths_of(file: Path) -> tuple[WorkspacePaths, str]:
    """
    Return the workspace that *file* is in, and its POSIX path there.

    It is the nearest folder above with an `rlmwatch.toml` that is not only a sub-folder's, else `RLMWATCH_WORKSPACE`
    where that holds the file, else the file's own folder.

    Raises:
        UsageError: There is no such file, or none can have that name.
    """
    # Links above the file are resolved; the file itself is not: a link is no input, and is refused as one.
    absolute = resolved(file, follow=False)
    if not os.path.lexists(absolute):
        raise UsageError(f"{file}: no such file")
    named = os.environ.get(WORKSPACE_VARIABLE)
    around = [resolved(Path(named))] if named and resolved(Path(named)) in absolute.parents else []
    found = workspace_among(absolute.parents)
    root = found or (around or [absolute.parent])[0]
    return locate(root), absolute.relative_to(root).as_posix()
