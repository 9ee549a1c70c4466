"""`rlmwatch reload`: have the daemon read its settings again."""

from __future__ import annotations

import os
import signal

from rlmwatch.cli.arguments import Folder
from rlmwatch.cli.output import say
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.paths import locate
from rlmwatch.errors import UsageError
from rlmwatch.settings.sources import load
from rlmwatch.workspace.owner import holder


def reload(workspace: Folder = None) -> int:
    """
    Have the daemon read settings and keys again; runs that wait for a person go on.

    What is wrong with your settings is said here, and the daemon keeps the last good ones.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
    """
    quiet()
    paths = locate(workspace)
    who = holder(paths.state, paths.root)
    if who is None or not who.serves:
        raise UsageError(f"no daemon runs here now; start one with: rlmwatch run {paths.root}")
    load(user_dir=paths.user_dir, workspace=paths.root, environ=os.environ)
    if not who.pid:
        raise UsageError(f"{who} cannot be reached from here: call `rlmwatch reload` where it runs")
    try:
        os.kill(who.pid, signal.SIGUSR1)
    except ProcessLookupError:
        raise UsageError(f"{who} has just ended") from None
    except PermissionError:
        raise UsageError(f"{who} belongs to another user, who can reload it") from None
    say(f"{who} reads its settings again; its log says how that went")
    return 0
