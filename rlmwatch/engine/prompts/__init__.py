"""
The engine's prose: what the models are told, in files beside this one.

A run pins the texts themselves, not only their version: an upgrade in the
middle of a run goes on with the words that it began with, or its replies in the
journal would answer other requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

PROMPT_VERSION = 3
"""Raised with every change of a text here; a golden test holds both together."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """
    All texts of one version.

    Attributes:
        root: The rules of a run; `{tools}` is where the functions are listed.
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
            {**now.notices, **frozen["notices"]},
        )


@cache
def current_prompts() -> Prompts:
    """Return the texts of this version."""
    return Prompts(
        PROMPT_VERSION, _text("root"), _text("sub"), _text("synthesis"), _table("functions"), _table("notices")
    )


def _table(name: str) -> dict[str, str]:
    lines = (line.partition(": ") for line in _text(name).splitlines())
    return {key: text for key, _, text in lines}


def _text(name: str) -> str:
    return files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8").strip("\n")
