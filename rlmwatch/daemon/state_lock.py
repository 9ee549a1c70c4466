"""Take the private state of a workspace: its one user, and the folder's lock that goes with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path

from rlmwatch import clock
from rlmwatch.daemon.handover import patiently
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.workspace.hosts import Host, refuse_nested
from rlmwatch.workspace.owner import FolderLock, Lock, holder


async def take_state(
    paths: WorkspacePaths,
    me: Host,
    stack: AsyncExitStack,
    *,
    serves: bool,
    wanted: asyncio.Event,
    left_out: Collection[Path] = (),
) -> FolderLock:
    """
    Take the private state for this program; *stack* gives it back.

    Args:
        paths: The workspace and where its private state is.
        me: This machine.
        stack: Is given what releases both locks.
        serves: Whether it is a daemon, which waits for a command that holds the state.
        wanted: Is set where a daemon starts and asks for the folder.
        left_out: As in `refuse_nested`.

    Returns:
        The lock of the folder itself, not taken yet: it is when it is known who answers in it.

    Raises:
        UsageError: It lies in another workspace, or one in it.
        WorkspaceError: It cannot be taken. `WorkspaceBusy` says who holds it.
    """
    await asyncio.to_thread(refuse_nested, paths.root, paths.state.parent, left_out=left_out, me=me)
    loop = asyncio.get_running_loop()

    def asked_back() -> None:
        loop.call_soon_threadsafe(wanted.set)

    folder_lock = FolderLock(paths.root, me.name, clock.utc(), serves, asked_back)

    def acquire() -> Lock:
        return Lock.acquire(paths.state, host=me.name, pid=os.getpid(), now=clock.utc(), serves=serves, root=paths.root)

    lock = await patiently(acquire, lambda: holder(paths.state, paths.root), paths.root) if serves else acquire()
    stack.callback(lock.release)
    stack.callback(folder_lock.release)
    return folder_lock
