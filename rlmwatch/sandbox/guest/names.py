"""
Describe the names of a session to a model that will not see their values.

Standard library only. Only plain values are looked into, and by their exact type: the methods of a cell's own classes
are not called.
"""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

EDGE_CHARS = 500
MAX_NAMES = 200
_ITEMS = 8  # of a container, in its description
_DEPTH = 3
_MAX_BITS = 2_000  # larger integers take long to write out
_SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset, deque, range, Counter, OrderedDict, defaultdict)
_MAPPINGS = (dict, Counter, OrderedDict, defaultdict)
_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("{", "}"),
    deque: ("[", "]"),
}


def described(names: Mapping[str, Any], *, without: Mapping[str, Any]) -> list[list[Any]]:
    """
    Return `[name, type, length or None, head, tail]` for each name, in the order of their making.

    Names that begin with `_` and those in *without* are left out; of more than `MAX_NAMES`, the oldest.
    """
    reported = [
        (name, value)
        for name, value in list(names.items())
        if isinstance(name, str) and not name.startswith("_") and name not in without
    ]
    return [_line(name[:EDGE_CHARS], value) for name, value in reported[-MAX_NAMES:]]


def shortened(text: str, most: int) -> str:
    """Return *text*, cut in the middle to about *most* characters, with the gap named."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} characters left out]\n{text[-half:]}"


def _line(name: str, value: Any) -> list[Any]:  # noqa: ANN401 (any value of a cell)
    kind = type(value)
    if kind is str:
        return [name, "str", len(value), value[:EDGE_CHARS], value[max(EDGE_CHARS, len(value) - EDGE_CHARS) :]]
    if issubclass(kind, type):
        return [name, "type", None, "", ""]
    length = len(value) if _is_one(kind, _SIZED) else None
    opaque = _is_one(kind, (types.ModuleType, types.FunctionType))
    return [name, _name_of(kind)[:EDGE_CHARS], length, "" if opaque else _brief(value, _DEPTH)[:EDGE_CHARS], ""]


def _brief(value: Any, depth: int) -> str:  # noqa: ANN401 (any value of a cell)
    """Return a short text for a plain value; the type's name for any other."""
    kind = type(value)
    if value is None or _is_one(kind, (bool, float, complex, range)):
        return repr(value)
    if kind is int:
        return repr(value) if value.bit_length() <= _MAX_BITS else f"<int of {value.bit_length():,} bits>"
    if _is_one(kind, (str, bytes, bytearray)):
        return repr(value[:EDGE_CHARS])[:EDGE_CHARS]
    if depth and _is_one(kind, _MAPPINGS):
        inner = (f"{_brief(key, depth - 1)}: {_brief(item, depth - 1)}" for key, item in value.items())
        return "{" + _joined(inner, len(value)) + "}"
    if depth and _is_one(kind, tuple(_BRACKETS)):
        opening, closing = _BRACKETS[kind]
        return opening + _joined((_brief(item, depth - 1) for item in value), len(value)) + closing
    return f"<{_name_of(kind)}>"[:EDGE_CHARS]


def _is_one(kind: type, of: tuple[type, ...]) -> bool:
    return any(kind is one for one in of)  # `in` would ask a metaclass of the cell


def _name_of(kind: type) -> str:
    return str(type.__getattribute__(kind, "__name__"))


def _joined(items: Iterable[str], count: int) -> str:
    shown = list(islice(items, _ITEMS))
    more = [f"… {count - len(shown)} more"] if count > len(shown) else []
    return ", ".join([*shown, *more])[:EDGE_CHARS]
