"""How `rlmwatch doctor` says what it found: one line of verdict, what is wrong first, what is well in few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rlmwatch.cli.layout import counted
from rlmwatch.cli.output import put, put_wrapped

Mark = Literal["ok", "warning", "wrong", "fixed"]
NOT_SET = "not set"
"""What is found of a key that nobody has."""
SANDBOX = "sandbox, "
"""How the lines of its layers begin."""


@dataclass(frozen=True, slots=True)
class Line:
    """
    One thing that was looked at.

    Attributes:
        todo: What to do; `""` where all is well.
    """

    mark: Mark
    what: str
    found: str
    todo: str = ""


def verdict(lines: Sequence[Line]) -> str:
    """Return, in one line, whether rlmwatch can answer."""
    wrong, warnings = ([each.what for each in lines if each.mark == mark] for mark in ("wrong", "warning"))
    if wrong:
        return f"{counted(len(wrong), 'thing')} wrong: {', '.join(dict.fromkeys(wrong))}"
    if warnings:
        return f"ready, with {counted(len(warnings), 'warning')}: {', '.join(dict.fromkeys(warnings))}"
    return "ready: all is well"


def arranged(lines: Sequence[Line]) -> list[Line]:
    """
    Return *lines* as a person reads them: what is wrong first, then warnings, then what was fixed and what is well.

    Keys that are not set are one line; so is the sandbox, where none of its layers is ill.
    """
    well = [each for each in lines if each.mark == "ok"]
    unset = [each.what for each in well if each.found == NOT_SET]
    layers = [each.what.removeprefix(SANDBOX) for each in well if each.what.startswith(SANDBOX)]
    kept = [each for each in well if each.what not in unset and not each.what.startswith(SANDBOX)]
    if layers:
        ill = any(each.what.startswith("sandbox") for each in lines if each.mark != "ok")
        kept.append(Line("ok", "sandbox", ("else: " if ill else "locked down: ") + ", ".join(layers)))
    if unset:
        kept.append(Line("ok", "keys not set", ", ".join(unset)))
    first = [each for mark in ("wrong", "warning", "fixed") for each in lines if each.mark == mark]
    return [*first, *kept]


def print_report(lines: Sequence[Line]) -> None:
    """Print the verdict, a blank line, and what was found."""
    put(verdict(lines))
    put("")
    for line in arranged(lines):
        put_wrapped(f"{line.what}: {line.found}", head=f"{line.mark:>8}  ")
        if line.todo:
            put_wrapped(line.todo, head=f"{'':>8}  → ")
