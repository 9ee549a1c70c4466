"""How the verbs print: tables for people, JSON for programs, the same facts in both."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_json(value: object) -> None:
    """Print *value* as JSON, for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


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


def _cell(value: object) -> Any:  # noqa: ANN401 (rich takes text or renderables)
    from rich.text import Text

    if value is None:
        return Text("-")
    return Text(f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value))


def say(text: str) -> None:
    """Tell a person something that is no result: to standard error, so that output can be piped on."""
    print(text, file=sys.stderr)


def quiet() -> None:
    """Log only what a person must know; a verb that prints its own result tells the rest itself."""
    from rlmwatch.daemon.logging import Redactor, configure

    configure("text", Redactor(), level=logging.WARNING)
