"""`rlmwatch init`: a workspace with an example, and what to do next."""

from __future__ import annotations

import os
import socket
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Annotated

from rlmwatch import clock
from rlmwatch.cli.arguments import Flag, Folder
from rlmwatch.cli.layout import counted
from rlmwatch.cli.output import say
from rlmwatch.cli.warned import quiet
from rlmwatch.errors import UsageError, WorkspaceError
from rlmwatch.settings.sources import own_name, state_dir, user_config_dir
from rlmwatch.settings.user_folders import resolved
from rlmwatch.settings.workspace_file import WORKSPACE_FILE
from rlmwatch.watch.scan import FoundInput, Scan
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.hosts import host_rule, named_host, refuse_nested, this_host
from rlmwatch.workspace.os_errors import cannot

SETTINGS = """\
# What this workspace sets. Keys, addresses and ceilings go into your own config.toml, never here.

#ready_marker = "//send"      # only a file whose last line is this is a save
#on_new_save = "queue"        # or "replace", or "cancel"

[chat]
transcript = true             # every question and answer, to read on, in …_transcript.md
#tokens = 300
#system = "You answer in rhymes."

[research]
transcript = true

[job]
transcript = true

[exa]
transcript = true
"""
_SAMPLE = "share/rlmwatch/sample_workspace/"
"""Where the wheel puts the sample workspace; `pip` and `uv` note where that is on this machine."""
SHOWN = 3
"""Questions that are named at most."""
EXAMPLE = "What can a folder that answers files be good for? Name three things.\n"


def init(workspace: Folder = None, *, sample: Annotated[bool, Flag] = False) -> int:
    """
    Make a workspace, or add to one what it lacks. Files that are there stay as they are.

    Args:
        workspace: The folder; it is made if it is missing. Default is the current one.
        sample: Put the sample workspace into it, too: questions of other kinds, with material.
    """
    quiet()
    shipped = _sample() if sample else {}
    root = resolved(workspace or Path())
    refuse_nested(root, state_dir())
    known = (root / WORKSPACE_FILE).exists()
    questions: list[str] = []
    if known:
        host = named_host(root)  # also sees that its file can be read, before anything is added
        questions = _questions(root)
        by = f", in which {host.name} answers" if host else ""
        say(f"{root} is a workspace already{by}: {_in_words(questions)}.")
    _make(root)
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder")
    first = {} if questions else {"chat_input.txt": EXAMPLE.encode()}
    added = False
    for name, text in {WORKSPACE_FILE: SETTINGS.encode(), **first, **shipped}.items():
        if not os.path.lexists(root / name):
            _make_inside(root, name)
            atomic.write(root / name, text, within=root)
            say(f"made {root / name}")
            added = True
    if known:
        say("Nothing was overwritten." if added else "Nothing was added, and nothing overwritten.")
    me = this_host(own_name(user_config_dir(), os.environ, socket.gethostname()), state_dir())
    host_rule(root, me, now=clock.utc())
    say(
        f"""
Next:
  rlmwatch doctor {root}     checks keys, model and limits
  rlmwatch run {root}        watches the folder and answers
Then save chat_input.txt, or any <name>_input.txt, in your editor: the answer appears beside it."""
    )
    return 0


def _questions(root: Path) -> list[str]:
    """Return the inputs in the workspace *root*."""
    return sorted(found.name.path for found in Scan(root) if isinstance(found, FoundInput))


def _in_words(questions: list[str]) -> str:
    named = ", ".join(questions[:SHOWN]) + (", …" if len(questions) > SHOWN else "")
    return f"{counted(len(questions), 'question')} ({named})" if questions else "no question yet"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"{folder} cannot be made: {error.strerror}") from None


def _make_inside(root: Path, name: str) -> None:
    """Make the folders in which the file *name* of the workspace *root* lies; links are not followed."""
    for folder in reversed(PurePosixPath(name).parents[:-1]):
        try:
            safe_open.make_folder(root / folder, within=root)
        except OSError as error:
            raise cannot("make", root / folder, error) from error


def _sample() -> dict[str, bytes]:
    """
    Return the files of the sample workspace, by their path in it.

    Raises:
        WorkspaceError: They were not installed.
    """
    files = {
        file.as_posix().partition(_SAMPLE)[2]: Path(str(file.locate()))
        for file in metadata.files("rlmwatch") or ()
        if _SAMPLE in file.as_posix()
    }
    try:
        found = {name: path.read_bytes() for name, path in sorted(files.items())}
    except OSError as error:
        raise WorkspaceError(f"the sample workspace cannot be read: {error}; install rlmwatch again") from None
    if not found:
        raise WorkspaceError("this installation of rlmwatch came without its sample workspace; install it again")
    return found
