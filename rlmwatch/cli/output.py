"""How the verbs print: tables for people, JSON for programs, the same facts in both."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlmwatch.printable import is_hidden, printable


def put(text: str) -> None:
    """Print *text*, a fact or a sentence of ours with values from elsewhere in it, harmless for a terminal."""
    print(printable(text, lines=True))


def put_answer(text: str, *, end: str = "\n") -> None:
    """Print an answer: as it is into a pipe or file, harmless on a terminal."""
    print(printable(text, lines=True) if sys.stdout.isatty() else text, end=end)


def print_json(value: object) -> None:
    """Print *value* as JSON, for programs. What a terminal would obey is escaped: to a parser it is the same."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    print("".join(json.dumps(char)[1:-1] if is_hidden(char) and char != "\n" else char for char in text))


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
    """Print *rows* as a table of *columns*; *empty* where there are none."""
    if not rows:
        print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(table, markup=False)


def money(usd: float) -> str:
    """Return *usd* as a person reads it: two decimals, and more only where there are more, up to a millionth."""
    whole, _, part = f"{usd:.6f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"


def _cell(value: object) -> Any:  # noqa: ANN401 (rich takes text or renderables)
    if value is None:
        return Text("-")
    return styled(money(value) if isinstance(value, float) else str(value))


def styled(text: str, style: str = "") -> Text:
    """Return *text* for rich's console, harmless for a terminal."""
    return Text(printable(text, lines=True), style=style)


def say(text: str) -> None:
    """Tell a person something that is not a result: to standard error, so that output can be piped on."""
    print(printable(text, lines=True), file=sys.stderr)


def quiet() -> None:
    """Log only what a person must know; a verb that prints its own result tells the rest itself."""
    from rlmwatch.daemon.logging import Redactor, configure

    configure("text", Redactor(), level=logging.WARNING)


def ask(question: str, usual: str) -> str:
    """Ask a person at the terminal; return the answer without blanks around it, or *usual* where there is none."""
    print(printable(f"{question} [{usual}]: "), end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise KeyboardInterrupt  # Ctrl+D: they want no more
    return line.strip() or usual


def ask_hidden(question: str) -> str:
    """Ask for a secret at the terminal, which does not show it. Ctrl+D is as Ctrl+C."""
    from getpass import getpass

    try:
        return getpass(f"{question}: ", stream=sys.stderr)
    except EOFError:
        raise KeyboardInterrupt from None
