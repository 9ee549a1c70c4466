"""What `rlmwatch doctor` says of the workspace: can it be written, who answers, what is not asked."""

from __future__ import annotations

from pathlib import Path

from rlmwatch.cli.layout import counted
from rlmwatch.cli.report import Line
from rlmwatch.daemon.in_force import InForce
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.unasked import SHOWN, Asked, unasked
from rlmwatch.errors import RlmwatchError
from rlmwatch.settings.model import Settings
from rlmwatch.watch.scan import Scan, UnlistedFolder
from rlmwatch.workspace.health import Root, storable
from rlmwatch.workspace.hosts import named_host
from rlmwatch.workspace.owner import Holder

INOTIFY = Path("/proc/sys/fs/inotify")
SPARE_WATCHES = 1000
"""Other programs of the same user, editors and sync tools, watch folders too."""
NOT_ASKED = 5
"""Files that are listed at most; `status` has them all."""


def folder_lines(paths: WorkspacePaths, who: Holder | None) -> list[Line]:
    """Return whether answers can be stored in the folder, and who answers there."""
    lines = []
    try:
        storable(Root.open(paths.root).path)
        lines.append(Line("ok", "workspace", f"{paths.root} can be written to"))
    except RlmwatchError as error:
        lines.append(Line("wrong", "workspace", str(error), "answers could not be stored: no call is made until then"))
    todo = "" if who else f"start it with: rlmwatch run {paths.root}"
    lines.append(Line("ok" if who else "warning", "daemon", str(who or "not running here"), todo))
    try:
        lines.append(Line("ok", "host", str(named_host(paths.root) or "none named yet; the first daemon names itself")))
    except RlmwatchError as error:
        lines.append(Line("wrong", "host", str(error)))
    return lines


def outdated_lines(paths: WorkspacePaths, running: InForce | None) -> list[Line]:
    """Return which of the user's files the daemon has not read as they are."""
    changed = running.outdated(paths) if running is not None else []
    return [Line("warning", "settings", said, "until then the daemon works with the earlier ones") for said in changed]


async def not_asked_lines(
    paths: WorkspacePaths, asked: Asked, settings: Settings, running: InForce | None
) -> list[Line]:
    """Return the files of the workspace that are not asked, and why."""
    found = await unasked(paths, asked, settings, running)
    shown = [Line("warning", "not asked", f"{each.path}: {each.because}", each.cure) for each in found[:NOT_ASKED]]
    if more := len(found) - len(shown):
        many = f"{more} or more other files" if len(found) == SHOWN else counted(more, "other file")
        shown.append(Line("warning", "not asked", many, f"rlmwatch status {paths.root} lists them"))
    return shown


def watches_line(paths: WorkspacePaths) -> Line:
    """Compare the kernel's limits with the folders to be watched."""
    scan = Scan(paths.root)
    closed = [found.path for found in scan if isinstance(found, UnlistedFolder)]
    try:
        watches = int((INOTIFY / "max_user_watches").read_text(encoding="ascii"))
        instances = int((INOTIFY / "max_user_instances").read_text(encoding="ascii"))
        queue = int((INOTIFY / "max_queued_events").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Line("warning", "inotify", "this system has none", "the folder is looked at every 5 s instead")
    found = f"{counted(scan.folders, 'folder')} of {watches} watches, {instances} instances, {queue} events queued"
    if scan.folders + SPARE_WATCHES > watches:
        todo = f"sysctl fs.inotify.max_user_watches={max(524_288, 2 * scan.folders)}; until then the rest is polled"
        return Line("warning", "inotify", found, todo)
    if closed:
        return Line(
            "warning", "inotify", f"{found}; unreadable: {', '.join(closed[:5])}", "give read access, or ignore"
        )
    return Line("ok", "inotify", found)
