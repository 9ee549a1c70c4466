"""
Where the view is drawn: the whole of a viewport, by rich; or, where a cursor cannot be moved, line by line.

Nothing here waits for the terminal: what it does not take at once is written by a thread (`cli/streams.py`). While
something waits there no other frame is drawn, so a terminal that was stopped (Ctrl+S) costs no memory and stops nobody.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.text import Text

from rlmwatch.cli.streams import BackgroundStream, in_foreground
from rlmwatch.cli.view.frame import frame, heading, hint, name_cells, notice_lines, row_lines
from rlmwatch.cli.view.questions import Heading, ViewState
from rlmwatch.cli.view.viewport import Viewport

USUAL = (80, 24)
"""Of a terminal that does not say how large it is."""
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
"""Whether a line that is too wide goes on in the next one (DECAWM): terminals differ in how wide they draw what stands
above or below a letter in Hindi or Thai, and a line that wraps would move all others."""
LAST_WORDS_S = 0.5
"""How long the terminal is waited for when the view leaves it to somebody else."""


class Screen(Protocol):
    """What shows the view."""

    def draw(self, shown: ViewState, *, now: datetime) -> bool:
        """Show it as it is *now*; False where the terminal does not take it now."""
        ...

    def leave(self) -> None:
        """Give the terminal back as it was. Idempotent; the next `draw` takes it again."""
        ...

    def close(self, shown: ViewState, *, now: datetime) -> None:
        """Give the terminal back, with the view as it was last."""
        ...


def screen_on(stream: BackgroundStream, environ: Mapping[str, str]) -> Screen:
    """Return what shows the view on the terminal *stream*."""
    return LineByLine(stream) if environ.get("TERM", "dumb") in ("dumb", "unknown", "") else FullScreen(stream)


def _size(stream: BackgroundStream) -> tuple[int, int]:
    try:
        width, height = os.get_terminal_size(stream.fileno())
    except OSError:
        return USUAL
    return width or USUAL[0], height or USUAL[1]


class FullScreen:
    """The whole terminal, drawn anew with each change: what was on it before comes back when the view leaves it."""

    def __init__(self, stream: BackgroundStream) -> None:
        self._stream = stream
        self._console = Console(file=stream, force_terminal=True, color_system="standard", highlight=False)  # type: ignore[arg-type]
        self._live: RichLive | None = None

    def draw(self, shown: ViewState, *, now: datetime) -> bool:
        """Draw a frame, in one piece."""
        if self._stream.behind or not in_foreground(self._stream):
            return False
        width, height = self._console.size = _size(self._stream)
        lines = frame(shown, Viewport(width, height, self._stream.encoding), now=now)
        with self._console:
            if self._live is None:
                self._live = RichLive(
                    console=self._console,
                    screen=True,
                    auto_refresh=False,
                    redirect_stdout=False,
                    redirect_stderr=False,
                    vertical_overflow="crop",
                )
                self._live.start()
                self._stream.write(NO_WRAP)
            self._live.update(Group(*map(_ended, lines)), refresh=True)
        return True

    def leave(self) -> None:
        """Give back what was on the terminal before, and its cursor."""
        if self._live is not None:
            self._stream.write(WRAP)
            self._live.stop()
            self._live = None
            self._stream.drain(LAST_WORDS_S)

    def close(self, shown: ViewState, *, now: datetime) -> None:
        """Leave, and write the view below what was there."""
        there = self._live is not None
        self.leave()
        if there and in_foreground(self._stream):
            width, height = _size(self._stream)
            lines = frame(shown, Viewport(width, max(height - 1, 1), self._stream.encoding), now=now)
            self._console.size = (width, height)
            self._console.print(Group(*map(_ended, lines)))


def _ended(line: Text) -> Text:
    line.end = "\n"
    return line


class LineByLine:
    """A line for each change, for a terminal whose cursor cannot be moved (TERM=dumb)."""

    def __init__(self, stream: BackgroundStream) -> None:
        self._stream = stream
        self._said: dict[str, tuple[object, ...]] = {}
        self._heading: Heading | None = None
        self._notices: list[object] = []

    def draw(self, shown: ViewState, *, now: datetime) -> bool:
        """Write what has changed."""
        if isinstance(self._stream.error, BrokenPipeError):
            raise self._stream.error
        if self._stream.behind or not in_foreground(self._stream):
            return False
        self._write(shown, now)
        return True

    def _write(self, shown: ViewState, now: datetime) -> None:
        viewport = Viewport(_size(self._stream)[0], None, self._stream.encoding)
        lines = []
        before, about = self._heading, shown.heading
        if before is None:
            lines += heading(shown, viewport)
        elif about.answers and before.answers != about.answers:
            lines += heading(shown, viewport)[:1]
        elif before.state != about.state:
            lines += hint(shown, viewport)
        self._heading = shown.heading
        new = [notice for notice in shown.notices if notice not in self._notices]
        self._notices = list(shown.notices)
        lines += [line for notice in new for line in notice_lines(notice, viewport)]
        names = name_cells(shown, viewport)
        for row in shown.rows.values():
            if self._said.get(row.key) != row.state:
                self._said[row.key] = row.state
                lines += row_lines(row, viewport, names, now=now)
        self._said = {key: state for key, state in self._said.items() if key in shown.rows}
        self._stream.write("".join(f"{line.plain.rstrip()}\n" for line in lines))

    def leave(self) -> None:
        """Do nothing: there is nothing to give back."""

    def close(self, shown: ViewState, *, now: datetime) -> None:
        """Write what has changed last."""
        if in_foreground(self._stream):
            self._write(shown, now)
