"""`rlmwatch branch FILE NEW`: a conversation goes on from here under another name, too."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath

from rlmwatch import clock
from rlmwatch.cli.arguments import Folder
from rlmwatch.cli.conversation import alone, named, refuse_under_way
from rlmwatch.cli.output import say
from rlmwatch.cli.warned import quiet
from rlmwatch.contract.names import InputName, input_name
from rlmwatch.contract.text import digest
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.errors import UsageError, WorkspaceError
from rlmwatch.runs.queue import Known
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.os_errors import cannot
from rlmwatch.workspace.turns import fork


def branch(file: Path, new: str, /, *, workspace: Folder = None) -> int:
    """
    Copy a conversation, so that it goes on from here under another name, too. Nothing is asked by that.

    Refused while a question of the conversation waits or is answered.

    Args:
        file: An input, such as chat_input.txt.
        new: The new input, such as idea_input.txt, or its name alone, such as idea; beside FILE.
        workspace: The folder that FILE is in; default is the nearest one of the file.
    """
    quiet()
    paths, name = named(file, workspace)
    target = _target(name, new)
    asyncio.run(refuse_under_way(paths, name))
    root = Root.open(paths.root)
    if os.path.lexists(root.path / target.path):
        raise UsageError(f"{target.path} is there already: choose another name")
    question = _question(root.path, name.path)
    with alone(paths, root, name):
        turns = fork(root, name, target, now=clock.utc())
    # A daemon that sees the new file finds its bytes known: nothing is asked.
    asyncio.run(_note(paths, target.path, digest(question)))
    atomic.write(root.path / target.path, question, within=root.path, question=root.path / name.path)
    many = "turn" if turns == 1 else "turns"
    say(f"{target.path}: goes on from {name.path}, with {turns} {many}; change it and save it to ask the next question")
    return 0


def _target(name: InputName, new: str) -> InputName:
    """
    Return the input that *new* names, of the kind of *name*, in its folder.

    Raises:
        UsageError: It cannot be one, or is of another kind.
    """
    folder = PurePosixPath(name.path).parent
    found = input_name((folder / new).as_posix()) if "/" not in new else None
    if found is None:
        before = "" if name.kind == "chat" else f"_{name.kind}"
        found = input_name((folder / f"{new}{before}_input{name.suffix}").as_posix())
    if found is None or "/" in new:
        raise UsageError(f"{new} cannot be the name of an input beside {name.path}: write one such as idea_input.txt")
    if found.kind is not name.kind:
        raise UsageError(f"{found.path} is a {found.kind}, and {name.path} a {name.kind}: choose a name of that kind")
    return found


def _question(root: Path, path: str) -> bytes:
    """
    Return the bytes of the input *path* in the workspace *root*.

    Raises:
        WorkspaceError: It is gone, or no plain file: links are not followed.
    """
    file = root / path
    try:
        raw = safe_open.read(file, within=root, max_bytes=safe_open.MAX_STATE_BYTES)
    except OSError as error:
        raise cannot("read", file, error) from error
    if raw is None:
        raise WorkspaceError(f"cannot read {file}: it is gone. Save it again, then call this again")
    return raw


async def _note(paths: WorkspacePaths, path: str, known: str) -> None:
    ledger = ledger_of(paths)
    try:
        await ledger.note(path, Known(known, None))
    finally:
        await ledger.aclose()
