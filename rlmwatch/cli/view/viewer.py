"""
Keeps the view on a terminal, beside the work that it shows.

Facts come in from any thread (`on_status`, `on_event`); a frame is drawn when one has changed something, at most
`FRAMES_PER_S` times a second, and once a second while a run goes on, whose seconds pass. At rest nothing is done.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rlmwatch import clock
from rlmwatch.cli.view.questions import ViewState
from rlmwatch.cli.view.screen import Screen
from rlmwatch.contract.documents import StatusFile

FRAMES_PER_S = 8
TICK_S = 1.0


@dataclass(slots=True, kw_only=True)
class Viewer:
    """
    The view on one terminal.

    Attributes:
        shown: What it shows.
        screen: Where.
        refresh: Brings up to date what nobody hands over (who answers, what was spent), and returns whether it changed
            anything; before a frame, at most once a second.
        polls: Whether `refresh` is to be asked each second, since nobody hands anything over.
        redact: Takes secrets out of what others wrote.
        failed: Is told of a fault of the view itself: it is over then, and what it shows goes on.
        at_end: What is said of the daemon in the last frame, since it ends too; None where it goes on.
    """

    shown: ViewState
    screen: Screen
    refresh: Callable[[ViewState], Awaitable[bool]]
    polls: bool = False
    redact: Callable[[str], str] = field(default=lambda text: text)
    failed: Callable[[Exception], None] = field(default=lambda _error: None)
    at_end: str | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _early: list[Callable[[], bool]] = field(default_factory=list)  # what came before there was a terminal to show it
    _refreshed_at: float = float("-inf")
    _stale: bool = True  # `refresh` is to be asked
    _undrawn: bool = True
    _over: bool = False

    def on_status(self, status: StatusFile, folder: str = "") -> None:
        """Take in the status of a run; in *folder*, where there are several. From any thread."""
        error = None if status.error is None else self.redact(status.error)
        self._soon(lambda: self.shown.take(status.model_copy(update={"error": error}), folder))

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Take in an event of the log, without secrets. From any thread."""
        at = _now().strftime("%H:%M")
        self._soon(lambda: self.shown.hear(event, at=at))

    def on_page(self, where: str) -> None:
        """Show the address of the page, which no log may have."""
        self._soon(lambda: self.shown.show_page(where))

    def on_folders(self, folder: str) -> None:
        """Show *folder* as what is served."""

        def take() -> bool:
            self.shown.heading = replace(self.shown.heading, folder=folder)
            return True

        self._soon(take)

    def _soon(self, take: Callable[[], bool]) -> None:
        if self._loop is None:
            self._early.append(take)
            return
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, take)

    def _take(self, take: Callable[[], bool]) -> None:
        if take():
            self._stale = True
            self._draw_soon()

    def _draw_soon(self) -> None:
        self._undrawn = True
        self._changed.set()

    @asynccontextmanager
    async def on_terminal(self) -> AsyncIterator[None]:
        """Show the view in the block. Then the terminal is given back, with the last frame where all went well."""
        self._loop = asyncio.get_running_loop()
        for take in self._early:
            self._take(take)
        self._early.clear()
        with self._terminal_signals():
            drawing = asyncio.create_task(self._keep_drawn())
            try:
                yield
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)
                if not self._over:
                    await self._draw_last()
            finally:
                drawing.cancel()
                self.screen.leave()

    async def _draw_last(self) -> None:
        await asyncio.sleep(0)  # what was handed over last is taken in
        try:
            await self.refresh(self.shown)
            if self.at_end is not None:
                self.shown.end(self.at_end)
            self.shown.heading = replace(self.shown.heading, ends="")
            self.screen.close(self.shown, now=_now())
        except Exception as error:  # noqa: BLE001 (as `_keep_drawn`)
            self.failed(error)

    async def _keep_drawn(self) -> None:
        try:
            while True:
                now = clock.monotonic()
                if (self._stale or self.polls) and now - self._refreshed_at >= TICK_S:
                    self._refreshed_at, self._stale = now, False
                    self._undrawn |= await self.refresh(self.shown)
                if self._undrawn or self.shown.works:
                    self._undrawn = not self.screen.draw(self.shown, now=_now())
                await asyncio.sleep(1 / FRAMES_PER_S)
                await self._until_due()
        except Exception as error:  # noqa: BLE001 (a fault of the view does not end what it shows)
            self._over = True
            self.screen.leave()
            self.failed(error)

    async def _until_due(self) -> None:
        """Wait until something has changed; where something is to be looked at in any case, a second at most."""
        again = self.polls or self._stale or self._undrawn or self.shown.works
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_S if again else None):
                await self._changed.wait()
        self._changed.clear()

    @contextmanager
    def _terminal_signals(self) -> Iterator[None]:
        """Heed what the terminal says in the block: another size (SIGWINCH), Ctrl+Z (SIGTSTP), `fg` (SIGCONT)."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGWINCH, signal.SIGCONT]
        for number in numbers:
            loop.add_signal_handler(number, self._draw_soon)
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            numbers.append(signal.SIGTSTP)
            loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _suspend(self) -> None:
        """Give the terminal back to the shell, and stop as if nobody had heeded the signal."""
        loop = asyncio.get_running_loop()
        self.screen.leave()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)  # goes on here, after `fg` or `bg`
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        self._draw_soon()


def _now() -> datetime:
    return datetime.fromisoformat(clock.utc()).astimezone()
