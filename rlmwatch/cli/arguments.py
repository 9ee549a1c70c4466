"""
The words of a command line that mean the same in every verb.

WORKSPACE  the folder: `--workspace`, `-w`, or the first word of a verb that takes no other
RUN        a run: its id, the beginning or the last letters of that, or the file of its question (its newest run)
FILE       the file of a question
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rlmwatch.cli.files import paths_of
from rlmwatch.cli.ids import whole_id
from rlmwatch.contract.names import InputName, Submission, classify, input_name
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.errors import UsageError
from rlmwatch.settings.user_folders import expanded, resolved
from rlmwatch.workspace.polling import statuses

Folder = Annotated[Path | None, Parameter(name=("--workspace", "-w"))]
Flag = Parameter(negative=())
Json = Annotated[bool, Parameter(name="--json", negative=())]
RunName = Annotated[str, Parameter(name="RUN")]


def named_run(named: str, workspace: Path | None) -> tuple[WorkspacePaths, str]:
    """
    Return the workspace and the id of the run that a person means by *named*.

    Raises:
        UsageError: There is none, or several fit.
    """
    file = expanded(Path(named))
    whole = resolved(file, follow=False) if file.suffix else file  # an id is no name of a file
    if workspace is None and input_name(file.name) is not None and os.path.lexists(whole):
        paths, path = paths_of(file)
        return paths, _newest(paths, path, named)
    paths = locate(workspace)
    match _in_workspace(paths.root, file):
        case InputName(path=path):
            return paths, _newest(paths, path, named)
        case Submission(job_id=job_id):
            return paths, whole_id(paths.root, job_id)
        case _:
            return paths, whole_id(paths.root, named)


def _in_workspace(root: Path, file: Path) -> InputName | Submission | None:
    """Return which input or submission of the workspace *root* the path *file* is, from here or from there."""
    found = None
    for base in (each for each in (root, Path.cwd()) if os.access(each, os.X_OK)):
        absolute = resolved(base / file, follow=False)
        if absolute.is_relative_to(root) and absolute != root:
            name = classify(absolute.relative_to(root).as_posix())
            if isinstance(name, InputName | Submission) and (found is None or os.path.lexists(absolute)):
                found = name
    return found


def _newest(paths: WorkspacePaths, path: str, named: str) -> str:
    found = next((each.job_id for each in statuses(paths.root) if each.input == path), None)
    if found is None:
        raise UsageError(f"{named}: no run of it is known here; `rlmwatch answer {named}` asks it")
    return found
