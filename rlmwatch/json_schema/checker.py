"""The host's side: a process for each question, ended with it (`child.py` says why)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rlmwatch.errors import InputError
from rlmwatch.sandbox.host import child

MAX_SECONDS = 20.0
"""From its start to its reply; it has 2 s of processor time, and takes 0.2 s."""
KEPT = 100
"""Schemas that were found good, of which a program knows that they are."""

_PROGRAM = child.program_of("rlmwatch.json_schema.child")


@dataclass(slots=True)
class SchemaChecker:
    """Tells whether schemas are such, each once: a folder has a few."""

    _good: set[str] = field(default_factory=set)

    async def check(self, schema: Any, where: str) -> None:  # noqa: ANN401 (JSON)
        """
        Return if *schema*, of the file *where*, is a JSON Schema.

        Raises:
            InputError: It is none, or holding a value against it could not be tried; says why.
        """
        text = json.dumps(schema)
        if text in self._good:
            return
        reply = await _asked({"schema": schema})
        if (problem := reply["problem"]) is not None:
            raise InputError(f"`schema`: {where}: it is not a JSON Schema: {problem}")
        if len(self._good) >= KEPT:
            self._good.clear()
        self._good.add(text)


async def problem_of(schema: Any, value: Any) -> str | None:  # noqa: ANN401 (JSON)
    """
    Return why *value* does not fit *schema*, in the validator's words; None where it does, or any value would.

    Raises:
        InputError: It cannot be known: that takes too much time or memory. Another answer would help nothing.
    """
    if schema is None:
        return None
    problem: str | None = (await _asked({"schema": schema, "value": value}))["problem"]
    return problem


async def _asked(question: dict[str, Any]) -> dict[str, Any]:
    try:
        out = await child.ask(_PROGRAM, question=json.dumps(question).encode(), max_seconds=MAX_SECONDS)
        reply: dict[str, Any] = json.loads(out)
    except (TimeoutError, ValueError):
        raise InputError("`schema`: to check the answer by it takes too much time or memory; make it simpler") from None
    return reply
