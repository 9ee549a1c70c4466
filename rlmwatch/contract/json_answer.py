"""
Answers in JSON: the schema that they are to fit, and the JSON in what a model wrote. Pure.

1. A schema is a JSON Schema of at most `MAX_SCHEMA_BYTES`, in a draft that the validator knows. `$ref` leads to what
   stands in the same file: nothing else is ever opened, on this machine or another.
2. The JSON of an answer is the whole text, or the one block in a fence (```` ```json ````) that it holds; it is kept as
   the model wrote it. `NaN`, `Infinity` and numbers that no float holds are not JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Final

from rlmwatch.contract.structure import excess
from rlmwatch.contract.text import decode
from rlmwatch.errors import InputError

MAX_SCHEMA_BYTES: Final = 64 * 1024
"""A schema goes into the prompt: this is some 16,000 tokens."""
MAX_ANSWER_MARKS: Final = 200_000
"""Brackets, commas and colons in an answer: some 4 MB, the largest answer that is stored."""

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_FENCES: Final = ("```", "~~~")


class NotJson(ValueError):
    """A text holds no JSON; the text says why, for the model and the person."""


def read_schema(raw: bytes, where: str) -> dict[str, Any]:
    """
    Return the JSON Schema in *raw*, the file *where*; whether it is one, the validator says.

    Raises:
        InputError: It is too large, is not a JSON object, or refers to another file; names the file.
    """
    try:
        return _schema(raw)
    except (InputError, NotJson) as error:
        raise InputError(f"`schema`: {where}: {error}") from None


def _schema(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_SCHEMA_BYTES:
        raise InputError(f"it is larger than {MAX_SCHEMA_BYTES // 1024} KB: make it shorter")
    schema = parsed(decode(raw))
    if not isinstance(schema, dict):
        raise InputError("a JSON Schema begins with { and ends with }")
    for name, reference in _references(schema):
        if not reference.startswith("#"):
            raise InputError(
                f'"{name}": "{reference[:200]}" is not in the file itself, and nothing else is opened; copy it into '
                '"$defs", and write "#/$defs/NAME"'
            )
    return schema


def _references(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        yield from ((name, value[name]) for name in _REFERENCES if isinstance(value.get(name), str))
        inner: Any = value.values()
    else:
        inner = value if isinstance(value, list) else ()
    for each in inner:
        yield from _references(each)


def answer_in(text: str) -> tuple[str, Any]:
    """
    Return the JSON in *text*, which a model wrote, as it stands there, and its value; rule 2.

    Raises:
        NotJson: There is none.
    """
    whole = text.strip()
    try:
        return whole, parsed(whole)
    except NotJson as error:
        blocks = list(_blocks(whole))
        if len(blocks) != 1:
            raise error from None
    return blocks[0], parsed(blocks[0])


def parsed(text: str) -> Any:  # noqa: ANN401 (JSON)
    """
    Return the value of the JSON *text*.

    Raises:
        NotJson: It is not JSON, or so large or deep that it is not parsed.
    """
    body = text.encode("utf-8", "replace")
    if (why := excess(body, max_marks=MAX_ANSWER_MARKS)) is not None:
        raise NotJson(f"it {why}")
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_float)
    except json.JSONDecodeError as error:
        raise NotJson(f"it is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError as error:  # a number of 5,000 digits
        raise NotJson(f"it is not JSON: {error}") from None


def is_json(text: str) -> bool:
    """Whether *text* is JSON."""
    try:
        parsed(text)
    except NotJson:
        return False
    return True


def json_of(value: object) -> str:
    """
    Return *value* as JSON text, for people.

    Raises:
        NotJson: It holds a number that JSON has not.
    """
    try:
        return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    except ValueError:
        raise NotJson("it holds a number that JSON has not (NaN or Infinity)") from None


def allows_object(schema: object) -> bool:
    """Whether the root of *schema* may be an object, as far as its `type` says."""
    kind = schema.get("type", "object") if isinstance(schema, dict) else "object"
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _blocks(text: str) -> Iterator[str]:
    """Yield what stands in each fence of *text* that is closed, and is of JSON or of no language."""
    fence, lines, is_json = "", list[str](), False
    for line in text.splitlines():
        bare = line.strip()
        if fence:
            if bare == fence:
                if is_json:
                    yield "\n".join(lines)
                fence = ""
            lines.append(line)
        elif bare.startswith(_FENCES):
            fence = bare[: len(bare) - len(bare.lstrip(bare[0]))]
            lines, is_json = [], bare.removeprefix(fence).strip().lower() in ("", "json", "jsonc", "json5")


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a number of JSON")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number
