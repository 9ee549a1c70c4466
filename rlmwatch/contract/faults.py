"""What is wrong with a value, in words for the person who wrote it, in place of the validator's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHOWN_CHARS = 40
"""Of a value that is shown: enough to find it again."""

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a table of keys and values",
    "model": "a table of keys and values",
    "dataclass": "a table of keys and values",
    "finite": "a finite number",
    "url": "an address",
    "path": "a path",
}
"""First word of pydantic's error type (docs.pydantic.dev, "Validation Errors") → what it asks for."""

_OF_KIND = ("_type", "_parsing", "_from_float", "_number", "_attributes_type")

_WHOLE = {"missing": "is missing", "string_too_short": "must not be empty", "extra_forbidden": "no such key"}

_BOUNDS = {
    "greater_than": ("gt", "a number above {}"),
    "greater_than_equal": ("ge", "{} or more"),
    "less_than": ("lt", "a number below {}"),
    "less_than_equal": ("le", "at most {}"),
}


def in_words(fault: Mapping[str, Any]) -> str:
    """Return what is wrong, for one entry of a `ValidationError.errors()`; our own words stay as they are."""
    kind, context = str(fault["type"]), fault.get("ctx") or {}
    if kind in _WHOLE:
        return _WHOLE[kind]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return _given(fault) + "expected " + words.format(f"{context.get(name):g}")
    if kind in ("literal_error", "enum"):
        return _given(fault) + f"expected {context.get('expected')}"
    if kind == "string_pattern_mismatch":
        return _given(fault) + f"expected text that fits {context.get('pattern')}"
    if kind.endswith(_OF_KIND) and (wanted := _KINDS.get(kind.partition("_")[0])) is not None:
        return _given(fault) + f"expected {wanted}"
    return str(fault["msg"]).removeprefix("Value error, ")


def _given(fault: Mapping[str, Any]) -> str:
    """Return the value itself where it is short and plain: a list or a table would hide what is expected."""
    value = fault.get("input")
    if value is None or isinstance(value, (list, dict, tuple)):
        return ""
    shown = str(value) if not isinstance(value, bool) else str(value).lower()
    return f"{shown[:SHOWN_CHARS]}{' …' if len(shown) > SHOWN_CHARS else ''} was given, "
