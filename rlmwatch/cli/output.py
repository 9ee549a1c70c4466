"""How the verbs print: tables for people, JSON for programs, the same facts in both."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from rlmwatch.cli.layout import GAP, Column, joined, table, wrapped
from rlmwatch.cli.streams import LAST_WORDS_S, BackgroundStream
from rlmwatch.printable import is_hidden, printable

LEAST_CELLS, USUAL_CELLS = 20, 80
"""Of a line that is broken at words, however narrow the terminal; of a terminal that does not say."""


def put(text: str) -> None:
    """Print *text*, a fact or a sentence of ours with values from elsewhere in it, harmless for a terminal."""
    _print_wrapped(printable(text, lines=True), room(), sys.stdout)


def put_answer(text: str, *, end: str = "\n") -> None:
    """Print an answer: as it is into a pipe or file, harmless on a terminal."""
    print(printable(text, lines=True) if sys.stdout.isatty() else text, end=end)


def print_json(value: object) -> None:
    """Print *value* as JSON, for programs. What a terminal would obey is escaped: to a parser it is the same."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    print("".join(json.dumps(char)[1:-1] if is_hidden(char) and char != "\n" else char for char in text))


def room() -> int | None:
    """Return the cells of a line at the terminal; None where the output goes elsewhere, and is to be whole."""
    import shutil  # on other systems it asks for what is not there, and this module says what rlmwatch needs

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _room_beside() -> int | None:
    """Return the same of standard error, whose terminal may be the only one."""
    if not sys.stderr.isatty():
        return None
    import os
    import shutil

    with suppress(OSError, ValueError, AttributeError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_CELLS
    return shutil.get_terminal_size().columns


def _print_wrapped(text: str, cells: int | None, stream: TextIO) -> None:
    """Print *text*, on a terminal of so many *cells* broken between words; elsewhere as it is."""
    print(text if cells is None else "\n".join(wrapped(text, max(LEAST_CELLS, cells))), file=stream)


def print_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """Print *rows* as a table of *columns*, one line each (see `layout.py`); *empty* where there are none."""
    if not rows:
        print(empty)
        return
    lines = table(columns, rows, room())
    if not sys.stdout.isatty():
        print("\n".join(map(joined, lines)))
        return
    console = Console()
    for number, line in enumerate(lines):
        text = Text()
        for at, (column, cell) in enumerate(zip(columns, line, strict=True)):
            style = "bold" if number == 0 else column.styles.get(cell.strip(), column.styles.get("", ""))
            text.append(GAP * bool(at)).append(cell, style=style)
        text.rstrip()
        console.print(text, soft_wrap=True)


def put_wrapped(text: str, *, head: str = "") -> None:
    """Print *text* after *head*, on a terminal broken at words into lines that all begin below its first word."""
    whole = f"{head}{printable(text, lines=True)}"
    width = room()
    if width is None:
        print(whole)
        return
    indent = " " * cell_len(head)
    for number, line in enumerate(wrapped(printable(text, lines=True), max(LEAST_CELLS, width - len(indent)))):
        print(f"{indent if number else head}{line}".rstrip())


def styled(text: str, style: str = "") -> Text:
    """Return *text* for rich's console, harmless for a terminal."""
    return Text(printable(text, lines=True), style=style)


def say(text: str) -> None:
    """Tell a person something that is not a result: to standard error, so that output can be piped on."""
    _print_wrapped(printable(text, lines=True), _room_beside(), sys.stderr)


def say_after(text: str) -> None:
    """As `say`, after the results that were printed before, where both go to one terminal."""
    if isinstance(sys.stdout, BackgroundStream):
        sys.stdout.drain(LAST_WORDS_S)
    say(text)


def ask(question: str, usual: str) -> str:
    """Ask a person at the terminal; return the answer without blanks around it, or *usual* where there is none."""
    print(f"{_prompt(f'{question} [{usual}]' if usual else question)}: ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise KeyboardInterrupt  # Ctrl+D: they want no more
    return line.strip() or usual


def ask_hidden(question: str) -> str:
    """Ask for a secret at the terminal, which does not show it. Ctrl+D is as Ctrl+C."""
    from getpass import getpass

    try:
        return getpass(f"{_prompt(question)}: ", stream=sys.stderr)
    except EOFError:
        raise KeyboardInterrupt from None


def _prompt(question: str) -> str:
    """Return *question*, on a terminal broken between words so that `: ` fits behind its last one."""
    text, cells = printable(question, lines=True), _room_beside()
    return text if cells is None else "\n".join(wrapped(text, max(LEAST_CELLS, cells - len(": "))))
