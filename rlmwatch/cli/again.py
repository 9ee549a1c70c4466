"""`rlmwatch again RUN`: the same text is asked once more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from rlmwatch.cli.arguments import Folder, RunName, named_run
from rlmwatch.cli.files import paths_of
from rlmwatch.cli.output import say
from rlmwatch.cli.warned import quiet
from rlmwatch.contract.names import JOBS, input_name
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.errors import UsageError
from rlmwatch.runs.model import RunStatus
from rlmwatch.runs.queue import Known
from rlmwatch.settings.user_folders import expanded
from rlmwatch.workspace import safe_open
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.owner import holder
from rlmwatch.workspace.polling import status as read_one


def again(run: RunName, /, *, workspace: Folder = None) -> int:
    """
    Ask a question a second time without changing its file. It is paid for again; the answer before is kept beside.

    Args:
        run: The file of the question, such as chat_input.txt; or its run: an id, its beginning or last letters.
        workspace: The folder; default is that of the file, else $RLMWATCH_WORKSPACE, else the current folder.
    """
    quiet()
    file = expanded(Path(run))
    if workspace is None and os.path.lexists(file):
        return ask_again(*paths_of(file))
    paths, job_id = named_run(run, workspace)
    found = read_one(paths.root, job_id)
    if found is None:
        raise UsageError(f"{run}: no such file, and no such run in {paths.root}; `rlmwatch runs` lists them")
    return ask_again(paths, found.input)


def ask_again(paths: WorkspacePaths, path: str) -> int:
    """Have the question of the file *path* of the workspace asked once more, and say when; return the exit status."""
    question = input_name(path)
    if question is None:
        what = "its run came from jobs/: `rlmwatch retry` hands such a job in again where it failed"
        name = "is not the file of a question: its name must end in _input.txt, _input.md or the like"
        raise UsageError(f"{path} {name if Path(path).parent.name != JOBS else f'cannot be saved again; {what}'}")
    if (waits := asyncio.run(_forget(paths, path))) is not None:
        say(f"{path}: {waits}")
        return 0
    kept = f"a second try is paid for like the first, whose answer stays in {PurePosixPath(question.state).name}"
    if holder(paths.state, paths.root):
        say(f"{path}: asked again; {kept}")
    else:
        say(f"{path}: will be asked again when rlmwatch runs here next; {kept}")
    return 0


async def _forget(paths: WorkspacePaths, path: str) -> str | None:
    """
    Have *path* saved again, as a new save; where its question still waits, return that in words instead.

    Raises:
        UsageError: There is no such file.
        WorkspaceError: It cannot be saved; nothing was forgotten.
    """
    ledger = ledger_of(paths)
    try:
        known = (await ledger.known()).get(path)
        for run in await ledger.open_runs():
            if known is not None and (run.path, run.digest) == (path, known.digest):
                if run.status is RunStatus.HELD:
                    return f"is held, and is asked once that is fixed and `rlmwatch reload` was called: {run.held_for}"
                return "is not answered yet: it waits or is worked on, and is not asked twice"
        with _saved(paths.root, path):
            if not await ledger.again(path):
                # Never seen by this ledger, but perhaps answered by an earlier one: known now, and as not admitted.
                await ledger.note(path, Known("", None))
        return None
    finally:
        await ledger.aclose()


@contextmanager
def _saved(root: Path, path: str) -> Iterator[None]:
    """
    Hold *path* open for writing in the block; nothing is written. That it is closed then is the event of a save.

    Raises:
        UsageError: There is no such file.
        WorkspaceError: It cannot be opened, or is no plain file: links are not followed.
    """
    file = root / path
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(safe_open.folder(file.parent, within=root, listed=False))
            stack.enter_context(safe_open.regular(folder, file.name, access=os.O_WRONLY))
        except FileNotFoundError:
            raise UsageError(f"{path}: no such file in {root}") from None
        except OSError as error:
            raise cannot("save", file, error) from error
        yield
