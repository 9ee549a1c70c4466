"""
The process that holds a value against a JSON Schema: one question on its standard input, one reply on its output.

A schema that came with the folder may be made to take time without end: a few lines of `anyOf` ask more than a machine
answers in a year, in native code, which no thread of ours could end. So this process has limits of its own, and is
ended by them or by its parent; the daemon does not notice.
"""

from __future__ import annotations

import json
import resource
import sys
from itertools import islice
from typing import Any, NoReturn

CPU_SECONDS = 2
"""An answer of a megabyte takes a tenth of one."""
MEMORY_BYTES = 1 << 30
SHOWN = 5
"""Faults that are named: a model mends what it is told, and the rest at its next try."""
SHOWN_CHARS = 300
"""Of one fault: it quotes the value."""
BACKTRACKS = 100_000
"""Of a regular expression in a schema."""


def main() -> None:
    """Answer one question: {schema, value?} → {problem: words or null}."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(_reply(json.load(sys.stdin)), sys.stdout)


def _reply(asked: dict[str, Any]) -> dict[str, Any]:
    import jsonschema_rs

    def never(uri: str) -> NoReturn:
        raise ValueError(f"{uri} is not opened")

    try:
        validator = jsonschema_rs.validator_for(
            asked["schema"],
            validate_formats=True,
            retriever=never,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS),
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        return {"problem": _words(error)}
    if "value" not in asked:
        return {"problem": None}
    faults = [_words(error) for error in islice(validator.iter_errors(asked["value"]), SHOWN)]
    return {"problem": "; ".join(faults) or None}


def _words(error: Any) -> str:  # noqa: ANN401 (of a library without types for it)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in getattr(error, "instance_path", ()))
    text = str(getattr(error, "message", error))
    text = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
    return f"at {path.lstrip('.')}: {text}" if path else text
