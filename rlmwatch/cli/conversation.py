"""What the verbs share that change a whole conversation: `undo`, `branch`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rlmwatch.cli.files import paths_of
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import InputName, input_name
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.daemon.stores import ledger_if_any
from rlmwatch.errors import UsageError
from rlmwatch.settings.user_folders import expanded, resolved
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.session import SessionLock, session_of


def named(file: Path, workspace: Path | None) -> tuple[WorkspacePaths, InputName]:
    """
    Return the workspace of the input *file*, and its name there; with a *workspace*, of the file in that.

    Raises:
        UsageError: It is not an input, or not there.
    """
    paths, path = paths_of(file) if workspace is None else _inside(locate(workspace), file)
    name = input_name(path)
    if name is None:
        raise UsageError(f"{path} is not an input file: its name must end in _input.txt, _input.md or the like")
    return paths, name


def _inside(paths: WorkspacePaths, file: Path) -> tuple[WorkspacePaths, str]:
    absolute = resolved(paths.root / expanded(file), follow=False)
    if not absolute.is_relative_to(paths.root) or not os.path.lexists(absolute):
        raise UsageError(f"{file}: no such file in {paths.root}")
    return paths, absolute.relative_to(paths.root).as_posix()


async def refuse_under_way(paths: WorkspacePaths, name: InputName) -> None:
    """
    Pass where no question of the conversation of *name* waits, runs, is held, or has an answer that is not written yet.

    Raises:
        UsageError: One does.
    """
    ledger = ledger_if_any(paths)
    if ledger is None:
        return
    try:
        for run in [*await ledger.open_in(name.conversation), *await ledger.unpublished()]:
            if run.conversation == name.conversation:
                how = "has an answer that is not written yet" if run.status.ended else f"is {run.status}"
                raise UsageError(
                    f"{name.path}: a question of this conversation {how} ({run.run_id}): wait for its answer, or end "
                    f"it with `rlmwatch cancel {run.run_id}`; then call this again"
                )
    finally:
        await ledger.aclose()


@contextmanager
def alone(paths: WorkspacePaths, root: Root, name: InputName) -> Iterator[None]:
    """
    Keep scripts out of a research session meanwhile.

    Raises:
        WorkspaceBusy: One uses it now.
    """
    with ExitStack() as stack:
        if name.kind is Kind.RESEARCH:
            stack.callback(SessionLock.acquire(paths.state.parent, session_of(root, name).path).release)
        yield
