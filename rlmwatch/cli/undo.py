"""`rlmwatch undo FILE`: the last turn of a conversation is taken back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath

from rlmwatch import clock
from rlmwatch.cli.arguments import Folder
from rlmwatch.cli.conversation import alone, named, refuse_under_way
from rlmwatch.cli.layout import cut, one_line
from rlmwatch.cli.output import say
from rlmwatch.cli.warned import quiet
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.settings.sources import load
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.turns import take_back

SHOWN_CELLS = 60


def undo(file: Path, /, *, workspace: Folder = None) -> int:
    """
    Take the last question and its answer back: the next question is asked as if they had not been.

    The answer's file shows the answer before. Refused while a question of the conversation waits or is answered.

    Args:
        file: An input, such as chat_input.txt.
        workspace: The folder that FILE is in; default is the nearest one of the file.
    """
    quiet()
    paths, name = named(file, workspace)
    asyncio.run(refuse_under_way(paths, name))
    root = Root.open(paths.root)
    with alone(paths, root, name):
        done = take_back(root, name, now=clock.utc(), marks=_marks(paths, name.kind))
    line = cut(one_line(done.turn.input), SHOWN_CELLS)
    output = PurePosixPath(name.output).name
    shows = f"{output} shows the answer before" if done.previous else f"{output} is gone: there was no answer before"
    kept = PurePosixPath(name.transcript if done.in_transcript else name.state).name
    say(f"{name.path}: taken back: “{line}”. {shows}; what was taken back stays in {kept}")
    return 0


def _marks(paths: WorkspacePaths, kind: Kind) -> bool:
    """Whether the settings have lines for the person in the files of answers."""
    settings = load(user_dir=paths.user_dir, workspace=paths.root, environ=os.environ).settings
    return settings.options_for(kind, RunOptions()).marks is not False
