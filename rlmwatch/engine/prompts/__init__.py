"""
The engine's prose: what the models are told, in files beside this one.

A run pins the texts themselves, not only their version: an upgrade in the
middle of a run goes on with the words that it began with, or its replies in the
journal would answer other requests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

PROMPT_VERSION = 7
"""Raised with every change of a text here; a golden test holds both together."""
STEERING = ("request", "asked", "long", "line", "unset", "bare")
"""Notices that change what a run asks by being there: a run that froze its texts before them goes on without."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """
    All texts of one version.

    Attributes:
        root: The rules of a run; `{tools}` is where the functions are listed.
        example: A worked example as turns before the question, from the user first; empty in a run older than it.
        request: What the first message ends with: what is wanted now; empty in a run older than it.
        sub: The system prompt of a sub-call.
        synthesis: The system prompt of the last call of a run that reached a limit.
        functions: How each function is listed, by name.
        notices: How things are said in observations, by name.
    """

    version: int
    root: str
    sub: str
    synthesis: str
    functions: Mapping[str, str]
    notices: Mapping[str, str]
    example: tuple[str, ...] = ()
    request: str = ""

    @property
    def is_guided(self) -> bool:
        """Whether these texts are of a version with `engine/guidance.py`; an older run goes on without."""
        return bool(self.request)

    def frozen(self) -> dict[str, Any]:
        """Return the texts as JSON values, to be frozen with the run."""
        return asdict(self)

    @classmethod
    def of(cls, frozen: Mapping[str, Any]) -> Prompts:
        """Return the texts that a run frozen; words that a newer version added are taken from it."""
        now = current_prompts()
        return cls(
            frozen["version"],
            frozen["root"],
            frozen["sub"],
            frozen["synthesis"],
            {**now.functions, **frozen["functions"]},
            {**now.notices, **dict.fromkeys(STEERING, ""), **frozen["notices"]},
            tuple(frozen.get("example", ())),
            frozen.get("request", ""),
        )


@cache
def current_prompts() -> Prompts:
    """Return the texts of this version."""
    return read_prompts(files(__name__))


def read_prompts(folder: Traversable) -> Prompts:
    """Return the texts of the files in *folder*, named as those beside this one."""

    def text(name: str) -> str:
        return folder.joinpath(f"{name}.md").read_text(encoding="utf-8").strip("\n")

    return Prompts(
        PROMPT_VERSION,
        text("root"),
        text("sub"),
        text("synthesis"),
        _table(text("functions")),
        {name: notice.replace("\\n", "\n") for name, notice in _table(text("notices")).items()},
        _turns(text("example")),
        text("request"),
    )


def _table(text: str) -> dict[str, str]:
    lines = (line.partition(": ") for line in text.splitlines())
    return {key: said for key, _, said in lines}


def _turns(text: str) -> tuple[str, ...]:
    """Return the turns of a conversation whose lines `## user` and `## assistant` take turns."""
    return tuple(turn.strip("\n") for turn in re.split(r"^## (?:user|assistant)\n", text, flags=re.MULTILINE)[1:])
