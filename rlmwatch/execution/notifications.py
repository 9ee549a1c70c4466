"""
Tells the user that a run is done: on their desktop, or by a command of theirs.

1. Only the user's own settings say that, and what is run; no file of a workspace does.
2. It is told of a run that took `notify_after_s` seconds or more, that failed, or that is held (once for each reason).
   A run that was cancelled or replaced by its user is not told.
3. The command has the facts in its environment, and of ours only what `PASSED_ON` names: no key. It runs in the user's
   home, without a shell, for at most `TIMEOUT_S`; then its whole process group is killed.
4. At most `AT_ONCE` at a time and `PER_MINUTE` in a minute; what is more is left out, and the log says so.

Nothing here fails a run: what goes wrong is in the log.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shlex
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, BinaryIO, cast

import structlog

from rlmwatch.contract.names import input_name
from rlmwatch.printable import printable
from rlmwatch.runs.model import Run, RunStatus
from rlmwatch.settings.model import Settings

TIMEOUT_S = 30.0
AT_ONCE = 4
PER_MINUTE = 20
MINUTE_S = 60.0
STOP_S = 3.0
"""What a stop waits for commands that run; a service manager waits 30 s for all of it."""
OUTPUT_BYTES = 2_000
"""Of what a command prints, for the log; the rest is thrown away."""
REMEMBERED = 1_000
"""Held runs, so that each reason is told once."""
BODY_CHARS = 300

PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"}
    | {"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS"}
    | {"XDG_RUNTIME_DIR", "XDG_SESSION_TYPE", "XDG_CURRENT_DESKTOP"}
    | {"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"}
)
"""Variables that a command gets; those of `LC_` beside."""

BUS_TIMEOUT_S = 5.0

log = structlog.get_logger()


@dataclass(slots=True)
class Notifications:
    """
    Told of each run that has ended, or is held. Used on one loop.

    Attributes:
        root: The workspace.
        settings: Returns what holds now.
        environ: Of this program.
        monotonic: Asks the monotonic clock.
        redact: Takes secrets out of any text.
        timeout_s: After which a command is killed.
    """

    root: Path
    settings: Callable[[], Settings]
    environ: Mapping[str, str]
    monotonic: Callable[[], float]
    redact: Callable[[str], str]
    timeout_s: float = TIMEOUT_S
    _begun: deque[float] = field(default_factory=deque)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _held: dict[str, str] = field(default_factory=dict)

    def published(self, run: Run) -> None:
        """Take note that *run* has ended, and its files are written."""
        self._held.pop(run.run_id, None)
        if run.status is RunStatus.FAILED or (
            run.status is RunStatus.COMPLETE and seconds(run) >= self.settings().notify_after_s
        ):
            self._tell(run)

    def held(self, run: Run) -> None:
        """Take note that *run* waits for its user."""
        why = run.held_for or ""
        if self._held.get(run.run_id) != why and len(self._held) < REMEMBERED:
            self._held[run.run_id] = why
            self._tell(run)

    async def finish(self, within_s: float = TIMEOUT_S) -> None:
        """Wait for what was begun, for *within_s* at most; then it is ended."""
        tasks = list(self._under_way)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, run: Run) -> None:
        settings = self.settings()
        command = argv(settings.notify_command)
        if settings.notify == "desktop":
            self._begin(run, desktop(*words(run)))
        if command:
            self._begin(run, self._call(run, command))

    def _begin(self, run: Run, work: Coroutine[Any, Any, None]) -> None:
        now = self.monotonic()
        while self._begun and self._begun[0] <= now - MINUTE_S:
            self._begun.popleft()
        if len(self._under_way) >= AT_ONCE or len(self._begun) >= PER_MINUTE:
            work.close()
            log.warning("notify.left_out", run=run.run_id, path=run.path, at_once=AT_ONCE, per_minute=PER_MINUTE)
            return
        self._begun.append(now)
        task = asyncio.create_task(self._logged(run, work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _logged(self, run: Run, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 (whatever a desktop or a command does, the run is done)
            why = self.redact(f"{type(error).__name__}: {error}")
            log.warning("notify.failed", run=run.run_id, path=run.path, why=printable(why))

    async def _call(self, run: Run, command: list[str]) -> None:
        facts_of = {"run": run.run_id, "path": run.path}
        async with _pipe() as (reader, write):
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write,
                stderr=asyncio.subprocess.STDOUT,
                env={**passed_on(self.environ), **facts(run, self.root)},
                cwd=_home(self.environ),
                start_new_session=True,
            )
            write.close()
            printed = b""
            try:
                async with asyncio.timeout(self.timeout_s):
                    printed = await _read(reader)
                    status = await process.wait()
            except TimeoutError:
                log.warning("notify.failed", **facts_of, why=f"still running after {self.timeout_s:g} s")
                return
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        said = printable(self.redact(printed.decode("utf-8", "replace")).strip(), lines=True)
        if status:
            log.warning("notify.failed", **facts_of, why=f"exit status {status}", printed=said)
        else:
            log.info("notify.done", **facts_of, printed=said)


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, BinaryIO]]:
    """Yield the two sides of a pipe. Both are closed at the end: what a command leaves behind may hold its own open."""
    read, write = (os.fdopen(fd, mode) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), read
    )
    try:
        yield reader, cast("BinaryIO", write)
    finally:
        transport.close()
        write.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return the beginning of what comes, once the other side is closed."""
    kept = b""
    while block := await reader.read(65_536):
        kept = (kept + block)[:OUTPUT_BYTES]
    return kept


async def desktop(title: str, body: str) -> None:
    """
    Show a notification on the user's desktop.

    Raises:
        OSError, RuntimeError, TimeoutError: There is no desktop to be reached.
    """
    if importlib.util.find_spec("jeepney") is None:
        raise RuntimeError("install rlmwatch[desktop], or take `notify` out of your config.toml")
    from jeepney import DBusAddress, MessageType, new_method_call
    from jeepney.io.asyncio import open_dbus_router

    where = DBusAddress(
        "/org/freedesktop/Notifications", "org.freedesktop.Notifications", "org.freedesktop.Notifications"
    )
    # Some servers take the body for markup.
    given: tuple[object, ...] = ("rlmwatch", 0, "", title, escape(body, quote=False), [], {}, -1)
    async with asyncio.timeout(BUS_TIMEOUT_S), open_dbus_router(bus="SESSION") as router:
        reply = await router.send_and_get_reply(new_method_call(where, "Notify", "susssasa{sv}i", given))
    if reply.header.message_type is MessageType.error:
        raise RuntimeError(f"the desktop refused: {reply.body}")


def argv(command: str | tuple[str, ...] | None) -> list[str]:
    """Return the words of *command*: a text is parted as a shell would, but no shell is asked."""
    return shlex.split(command) if isinstance(command, str) else list(command or ())


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of *environ* a command may see."""
    return {name: value for name, value in environ.items() if name in PASSED_ON or name.startswith("LC_")}


def facts(run: Run, root: Path) -> dict[str, str]:
    """Return what a command is told of *run*; a fact that there is none of is an empty text."""
    result, name = run.result, input_name(run.path)
    answered = run.status is RunStatus.COMPLETE and name is not None
    price = None if result is None else result.usage.cost_usd
    error = run.held_for if run.status is RunStatus.HELD else None if result is None else result.error
    values = {
        "FILE": str(root / run.path),
        "STATUS": run.status.value,
        "OUTCOME": "" if result is None else result.outcome.value,
        "ANSWER": str(root / name.output) if answered and name is not None else "",
        "ERROR": error or "",
        "SECONDS": f"{seconds(run):.1f}",
        "PRICE_USD": "" if price is None else f"{price:.6f}",
        "RUN": run.run_id,
        "KIND": run.kind.value,
        "FOLDER": str(root),
    }
    # No variable can hold a NUL, nor what the file system spells in no encoding be printed.
    return {f"RLMWATCH_{key}": value.replace("\0", "") for key, value in values.items()}


def words(run: Run) -> tuple[str, str]:
    """Return title and body of a notification, in plain words; nothing of the question or the answer is in them."""
    error = run.held_for if run.status is RunStatus.HELD else run.result and run.result.error
    first = next(iter((error or "").splitlines()), "")
    match run.status:
        case RunStatus.COMPLETE:
            body = f"answered after {seconds(run):.0f} s"
        case RunStatus.HELD:
            body = f"waits for you: {first}"
        case _:
            body = f"no answer: {first}"
    title = printable(run.path.encode("utf-8", "replace").decode())
    return title, printable(body.encode("utf-8", "replace").decode())[:BODY_CHARS]


def seconds(run: Run) -> float:
    """Return how long *run* has taken since it was begun; 0 where it never was, or has not ended."""
    if run.started_at is None or run.completed_at is None:
        return 0.0
    return (datetime.fromisoformat(run.completed_at) - datetime.fromisoformat(run.started_at)).total_seconds()


def _home(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME") or "/"
    return home if Path(home).is_dir() else "/"
