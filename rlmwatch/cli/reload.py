"""`rlmwatch reload`: have the daemon read its settings again, and say what came of it."""

from __future__ import annotations

import os
import signal
import time

from rlmwatch import clock
from rlmwatch.cli.arguments import Folder
from rlmwatch.cli.everywhere import all_paths
from rlmwatch.cli.output import say
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.in_force import InForce, in_force
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.errors import ConfigError, UsageError
from rlmwatch.settings.sources import load
from rlmwatch.workspace.locate import is_named
from rlmwatch.workspace.owner import Holder, holder

ANSWER_S = 15.0
"""A daemon may wait 3 s for the keyring, and for a server on this machine."""
LOOK_S = 0.05


def reload(workspace: Folder = None) -> int:
    """
    Have the daemon read settings and keys again; runs that wait for a person go on.

    What is wrong with your settings is said here, and the daemon keeps the last good ones. A change of rlmwatch.toml is
    taken up without it.

    Args:
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace, else your
            only daemon's.
    """
    quiet()
    paths = locate(workspace) if is_named(workspace) else _only_one()
    who = holder(paths.state, paths.root)
    if who is None or not who.serves:
        raise UsageError(f"no daemon runs here now; start one with: rlmwatch run {paths.root}")
    load(user_dir=paths.user_dir, workspace=paths.root, environ=os.environ)
    if not who.pid:
        raise UsageError(f"{who} cannot be reached from here: call `rlmwatch reload` where it runs")
    found = ask_daemon(paths, who)
    if found is None:
        say(f"{who} was asked to read its settings again; its log says how that goes")
        return 0
    if found.problem is not None:
        raise ConfigError(f"{found.problem}\nThe daemon of {paths.root} keeps its last good settings")
    say(f"{paths.root}: settings and keys were read again")
    say(f"  by: {who}")
    for change in found.changed:
        say(f"  changed: {change}")
    if not found.changed:
        say("  changed: nothing in the settings; held questions go on")
    say(f"  answers: {found.answers}")
    return 0


def served() -> list[tuple[list[WorkspacePaths], Holder]]:
    """Return the daemons of this user, each once, with the folders in which it answers."""
    found: dict[object, tuple[list[WorkspacePaths], Holder]] = {}
    for each in all_paths():
        who = holder(each.state, each.root)
        if who is not None and who.serves:
            found.setdefault(who.pid or each.root, ([], who))[0].append(each)  # in a container a process has no number
    return list(found.values())


def _only_one() -> WorkspacePaths:
    """
    Return a workspace of the only daemon of this user.

    Raises:
        UsageError: There is none, or more than one.
    """
    daemons = [folders for folders, _ in served()]
    if not daemons:
        raise UsageError("no daemon of yours runs now; start one with: rlmwatch run WORKSPACE")
    if len(daemons) > 1:
        calls = "".join(f"\n  rlmwatch reload {folders[0].root}" for folders in daemons)
        raise UsageError(f"{len(daemons)} daemons of yours run: which one?{calls}")
    return daemons[0][0]


def ask_daemon(paths: WorkspacePaths, who: Holder) -> InForce | None:
    """
    Have the daemon *who* read its settings again, and return what it works with then; None where it does not say.

    Raises:
        UsageError: It cannot be asked.
    """
    before = in_force(paths.state, who)
    try:
        os.kill(who.pid, signal.SIGUSR1)
    except ProcessLookupError:
        raise UsageError(f"{who} has just ended") from None
    except PermissionError:
        raise UsageError(f"{who} belongs to another user, who can reload it") from None
    give_up = clock.monotonic() + ANSWER_S
    while before is not None and clock.monotonic() < give_up:
        found = in_force(paths.state, who)
        if found is not None and found.reads != before.reads:
            return found
        time.sleep(LOOK_S)
    return None
