"""`rlmwatch init`: a workspace with an example, and what to do next."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from rlmwatch import clock
from rlmwatch.cli.output import quiet, say
from rlmwatch.errors import UsageError, WorkspaceError
from rlmwatch.settings.sources import own_name, user_config_dir
from rlmwatch.settings.workspace_file import WORKSPACE_FILE
from rlmwatch.workspace import atomic
from rlmwatch.workspace.owner import host_rule

SETTINGS = """\
# What this workspace sets. Keys, addresses and ceilings go into your own config.toml, never here.

#ready_marker = "//send"      # only a file whose last line is this is a save
#on_new_save = "queue"        # or "replace", or "cancel"

[chat]
#tokens = 300
#system = "You answer in rhymes."
"""
EXAMPLE = "What can a folder that answers files be good for? Name three things.\n"


def init(workspace: Path = Path(), /) -> int:
    """
    Make a workspace. Files that are there stay as they are.

    Args:
        workspace: The folder; it is made if it is missing. Default is the current one.
    """
    quiet()
    root = workspace.expanduser().resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(f"{root} cannot be made: {error.strerror}") from None
    if not root.is_dir():
        raise UsageError(f"{root} is no folder")
    for name, text in ((WORKSPACE_FILE, SETTINGS), ("chat_input.txt", EXAMPLE)):
        if not (root / name).exists():
            atomic.write(root / name, text.encode())
            say(f"made {root / name}")
    host_rule(root, own_name(user_config_dir(), os.environ, socket.gethostname()), now=clock.utc())
    say(
        f"""
Next:
  rlmwatch doctor {root}     checks keys, model and limits
  rlmwatch run {root}        watches the folder and answers
Then save chat_input.txt, or any <name>_input.txt, in your editor: the answer appears beside it."""
    )
    return 0
