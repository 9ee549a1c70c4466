"""
Makes the pictures of the README from the real program, in a real terminal (tmux), with a provider on loopback.

    make pictures

Needs tmux. The provider's answers are scripted, for the same pictures each time but for ids and seconds.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))

from servers.openai_server import OpenAIServer, Reply  # noqa: E402

from rlmwatch import clock  # noqa: E402

COLUMNS = 80
ROWS = 24
DEADLINE_S = 60.0

LEVELS = """\
```python
lines = [line for line in context.splitlines() if " ERROR " in line]
days = {}
for line in lines:
    days[line[:10]] = days.get(line[:10], 0) + 1
print(len(lines), max(days, key=days.get))
```"""
WORST = """\
```python
worst = max(days, key=days.get)
print(worst, days[worst])
```"""
ANSWER = """\
```python
answer(f"{worst} was the worst day: {days[worst]} of {len(lines)} errors, most of them time-outs of the disk.")
```"""

SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">
<title>{label}</title>
<style>text {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 20px; \
white-space: pre; }}</style>
<rect width="100%" height="100%" rx="10" fill="#1d1f21"/>
{text}
</svg>
"""
CELL, LINE, MARGIN = 12.2, 26, 22  # pixels; a cell is wider than any font's, so that columns stay columns
FOREGROUND = "#c5c8c6"


def main() -> None:
    """Make each picture."""
    if shutil.which("tmux") is None:
        raise SystemExit("tmux is needed: apt-get install tmux")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, OpenAIServer(replies) as server:
        screen = Screen(Path(folder), server.url)
        try:
            run(screen)
        finally:
            screen.close()


def replies(body: dict[str, Any]) -> Reply:
    """Answer as a good model would, slowly enough to be seen."""
    asked = " ".join(str(message["content"]) for message in body["messages"])
    if "Which day" not in asked:
        return Reply("Trust the morning fog: it lifts when you begin to walk.", gap_s=0.02)
    first = next(n for n, message in enumerate(body["messages"]) if "Which day" in str(message["content"]))
    steps = sum(message["role"] == "assistant" for message in body["messages"][first:])  # not those of the example
    return Reply((LEVELS, WORST, ANSWER)[min(steps, 2)], gap_s=0.03)


class Screen:
    """A terminal of 80 columns in a person's home."""

    def __init__(self, home: Path, provider: str) -> None:
        self.home = home
        self.socket = str(home / "tmux")
        tools = home / "bin"
        tools.mkdir()
        (tools / "rlmwatch").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rlmwatch "$@"\n')
        (tools / "rlmwatch").chmod(0o755)
        self.environ = {
            "HOME": str(home),
            "PATH": f"{tools}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "OPENAI_API_KEY": "made-up",
            "OPENAI_BASE_URL": provider,
            "RLMWATCH_MODELS__DETECT_LOCAL": "false",
        }
        self.tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "bash --norc --noprofile")

    def tmux(self, *arguments: str) -> str:
        """Run tmux on a server of its own; return what it prints."""
        command = ["tmux", "-S", self.socket, "-f", "/dev/null", *arguments]
        done = subprocess.run(command, env=self.environ, cwd=self.home, capture_output=True, text=True, check=True)
        return done.stdout

    def types(self, line: str) -> None:
        """Type *line* and Enter."""
        self.tmux("send-keys", "-l", line)
        self.tmux("send-keys", "Enter")

    def shows(self, ready: Callable[[str], object]) -> str:
        """Return what stands on the screen, with its colours, once *ready* says so of its words."""
        give_up = clock.monotonic() + DEADLINE_S
        while not ready(words := self.tmux("capture-pane", "-p")):
            if clock.monotonic() > give_up:
                raise SystemExit(f"the picture did not come to be; on the screen stands\n{words}")
            time.sleep(0.05)
        return self.tmux("capture-pane", "-e", "-p")

    def close(self) -> None:
        """End the terminal and what runs in it."""
        self.tmux("kill-server")


def run(screen: Screen) -> None:
    """Draw `rlmwatch run`: a chat that was answered, and a job whose material is read by code."""
    folder = screen.home / "questions"
    folder.mkdir()
    (folder / "rlmwatch.toml").write_text("")
    screen.types("PS1='$ '; clear; rlmwatch run questions")
    screen.shows(lambda words: "Ctrl+C" in words)
    (folder / "chat_input.txt").write_text("A proverb about beginning, please.\n")
    screen.shows(lambda words: "✓" in words)
    levels = ("INFO ", "INFO ", "ERROR", "WARN ")
    log = (f"2026-11-{day % 28 + 1:02} 09:{day % 60:02} {levels[day * 7 % 4]} disk: time-out" for day in range(4_000))
    (folder / "server_job_data.log").write_text("\n".join(log))
    (folder / "server_job_input.txt").write_text("Which day had the most errors, and of what kind?\n")
    draw("run", screen.shows(lambda words: re.search(r"step [23]", words)), "rlmwatch run in a terminal: two questions")
    screen.shows(lambda words: words.count("✓") > 1)
    screen.tmux("send-keys", "C-c")
    screen.types("clear; cd questions; ls; cat server_job_output.txt; rlmwatch runs")
    draw("folder", screen.shows(lambda words: words.rstrip().endswith("$")), "The folder afterwards, and rlmwatch runs")


def draw(name: str, screen: str, label: str) -> None:
    """Write the screen as `<name>.svg`: text, so that it can be read and copied."""
    console = Console(width=COLUMNS, color_system="truecolor", force_terminal=True, legacy_windows=False)
    lines = [Text.from_ansi(line) for line in screen.rstrip("\n").split("\n")]
    drawn = []
    for row, line in enumerate(lines):
        column = 0
        for segment in console.render(line, console.options.update(no_wrap=True, width=COLUMNS)):
            if (text := segment.text.rstrip("\n")).strip():
                drawn.append(tspan(text, column, row, segment.style))
            column += segment.cell_length if segment.text != "\n" else 0
    width, height = COLUMNS * CELL + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    svg = SVG.format(width=round(width), height=height, label=html.escape(label), text="\n".join(drawn))
    (HERE / f"{name}.svg").write_text(svg)


def tspan(text: str, column: int, row: int, style: Style | None) -> str:
    """Return *text* at its place, each character in its cell."""
    x, y = MARGIN + column * CELL, MARGIN + (row + 0.75) * LINE
    said = [f'x="{x:.1f}"', f'y="{y:.1f}"', f'textLength="{len(text) * CELL:.1f}"']
    colour = FOREGROUND
    if style and style.color and not style.color.is_default:
        colour = style.color.get_truecolor(SVG_EXPORT_THEME).hex
    said.append(f'fill="{colour}"')
    if style and style.bold:
        said.append('font-weight="bold"')
    if style and style.dim:
        said.append('opacity="0.6"')
    return f"<text {' '.join(said)}>{html.escape(text)}</text>"


if __name__ == "__main__":
    main()
