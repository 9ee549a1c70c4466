"""The host's side: a process for each question, ended with it (`child.py` says why)."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlmwatch.errors import InputError

MAX_SECONDS = 20.0
"""From its start to its reply; it has 2 s of processor time, and takes 0.2 s."""
KEPT = 100
"""Schemas that were found good, of which a program knows that they are: a folder has a few."""

_LAUNCH = "import sys; sys.path.insert(0, sys.argv.pop(1)); from rlmwatch.json_schema.child import main; main()"
_good: set[str] = set()
_PACKAGE = str(Path(__file__).parents[2])


async def check_schema(schema: Any, where: str) -> None:  # noqa: ANN401 (JSON)
    """
    Return if *schema*, of the file *where*, is a JSON Schema.

    Raises:
        InputError: It is none, or holding a value against it could not be tried; says why.
    """
    text = json.dumps(schema)
    if text in _good:
        return
    reply = await _asked({"schema": schema})
    if (problem := reply["problem"]) is not None:
        raise InputError(f"`schema`: {where}: it is not a JSON Schema: {problem}")
    if len(_good) >= KEPT:
        _good.clear()
    _good.add(text)


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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-X", "utf8", "-c", _LAUNCH, _PACKAGE),
        env={},
        cwd="/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(MAX_SECONDS):
            out, _ = await process.communicate(json.dumps(question).encode())
        reply: dict[str, Any] = json.loads(out)
    except (TimeoutError, ValueError):
        raise InputError("`schema`: to check the answer by it takes too much time or memory; make it simpler") from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        # Shielded, and read to its end: a cancelled run leaves neither a process nor an open pipe behind.
        await asyncio.shield(process.communicate())
    return reply
