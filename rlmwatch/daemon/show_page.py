"""
The page beside a daemon: begun where the user's settings ask for it, and never in the daemon's way.

Its whole address, with the token, is told at a terminal and by `rlmwatch status`, and stands in no log. It is kept in
the private state folder of the daemon's workspace (`page`, 0600) while the daemon has that folder.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from rlmwatch.daemon.composition import App
from rlmwatch.daemon.stores import cluster_installed
from rlmwatch.errors import ConfigError
from rlmwatch.ledger.sqlite.reading import read_only
from rlmwatch.ledger.statement import Db
from rlmwatch.settings.sources import load
from rlmwatch.workspace.owner import holder, known_states

if TYPE_CHECKING:
    from rlmwatch.page.facts import WorkspaceAt
    from rlmwatch.page.server import PageServer

FILE = "page"
AGAIN_S = 30.0
"""Between two tries to get the port: another daemon of this user may show the page, and end."""

log = structlog.get_logger()


@asynccontextmanager
async def page_beside(app: App, tell: Callable[[str], None] | None) -> AsyncIterator[None]:
    """
    Show the page at the address that the settings name, for as long as the block runs; nothing without one.

    Args:
        app: The daemon's program.
        tell: Is told the whole address; None where nobody reads along.
    """
    file = app.paths.state / FILE
    _forget(file)  # of a daemon that was killed
    address = app.config.loaded.settings.page
    if address is None:
        yield
        return
    showing = asyncio.create_task(_show(app, address, file, tell))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


def page_url(states: Path) -> str | None:
    """Return the whole address at which a daemon of this user shows the page; None where none does."""
    for state, root in known_states(states).items():
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads((state / FILE).read_bytes())
            who = holder(state, root)
            if who is not None and who.pid in (0, kept["pid"]):
                return str(kept["url"])
    return None


async def _show(app: App, address: str, file: Path, tell: Callable[[str], None] | None) -> None:
    """Serve the page until cancelled; whatever goes wrong is logged, and the daemon goes on."""
    reported = None
    try:
        await asyncio.to_thread(importlib.import_module, "rlmwatch.page.server")  # 0.1 s, beside the start
        while True:
            try:
                async with _server(app, address) as server:
                    app.hide(server.token)
                    _keep(file, server.url)
                    log.info("page.ready", at=server.place, cure="`rlmwatch status` shows the whole address")
                    if tell is not None:
                        tell(f"The page: {server.url}")
                    await asyncio.Event().wait()
            except OSError as error:
                why = "another program has this port" if error.errno == errno.EADDRINUSE else str(error)
                other = page_url(app.paths.state.parent)
                if why != reported and other is not None:
                    log.info("page.elsewhere", at=address, done="another daemon of yours shows it; this one follows")
                elif why != reported:
                    log.warning("page.unavailable", at=address, why=why, done=f"tried again every {AGAIN_S:.0f} s")
                reported = why
            await asyncio.sleep(AGAIN_S)
    except Exception:
        log.exception("page.fault")
    finally:
        _forget(file)


def _server(app: App, address: str) -> PageServer:
    from rlmwatch.page.facts import Sources
    from rlmwatch.page.model import CeilingView
    from rlmwatch.page.server import PageAddress, PageServer

    def ceiling() -> CeilingView:
        ceilings = app.config.loaded.settings.ceilings
        return CeilingView(ceilings.max_cost_usd_per_day, ceilings.per == "user" or shared)

    def problem(root: Path) -> str | None:
        try:
            load(user_dir=app.paths.user_dir, workspace=root, environ=os.environ)
        except ConfigError as error:
            return str(error)
        return None

    url = app.config.loaded.settings.ledger
    shared = url is not None
    host, _, port = address.rpartition(":")
    sources = Sources(app.paths.state.parent, _ledgers(url, app.host), problem, shared=shared)
    where = PageAddress("::1" if host == "[::1]" else "127.0.0.1", int(port))
    return PageServer(where, sources, ceiling, app.redact)


def _ledgers(url: str | None, host: str) -> Callable[[WorkspaceAt], AbstractContextManager[Db] | None]:
    """Return what opens the ledger of a workspace for reading: its file, or its part of the one at *url*."""

    def ledger_file(at: WorkspaceAt) -> AbstractContextManager[Db] | None:
        path = at.state / "ledger.sqlite3"
        return read_only(path) if path.exists() else None

    def ledger(at: WorkspaceAt) -> AbstractContextManager[Db] | None:
        return ledger_file(at) if url is None or at.root is None else _shared(url, f"{host}/{at.name}")

    return ledger


@contextmanager
def _shared(url: str, workspace: str) -> Iterator[Db]:
    cluster_installed()
    from rlmwatch.ledger.postgres.connection import Server

    server = Server(url, workspace)
    db = server.open(create=False)
    try:
        server.begin(db, writes=False)
        yield db
    except server.failures as error:
        raise server.explain(error) from None
    finally:
        server.close(db)


def _keep(file: Path, url: str) -> None:
    """
    Write the address down for `page_url`.

    Raises:
        OSError: It cannot be written.
    """
    _forget(file)
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps({"pid": os.getpid(), "url": url}).encode() + b"\n")
    finally:
        os.close(fd)


def _forget(file: Path) -> None:
    with suppress(OSError):
        file.unlink(missing_ok=True)
