"""
Pure: a worker's result frame → `CellResult`, every field looked at.

The worker cuts what it sends; this only holds it to that. What is of another shape was not sent by our worker.
"""

from __future__ import annotations

from typing import Any

from rlmwatch.sandbox.base import CellResult, Variable
from rlmwatch.sandbox.guest.frames import BadFrame

_MAX_OUTPUT_CHARS = 201_000  # the worker's limits, with what it says about the gap
_MAX_ERROR_CHARS = 9_000
_MAX_NAME_CHARS = 500
_MAX_EDGE_CHARS = 500
_MAX_NAMES = 200
_MAX_RESTORED = 1_000
_MAX_THREADS = 10_000
_COLUMNS = 5
_MAX_LENGTH = 1 << 62


def cell_result(frame: dict[str, Any], *, seconds: float, host_seconds: float, interrupted: bool) -> CellResult:
    """
    Return what *frame* says.

    Args:
        frame: The frame that ended the step.
        seconds: For the result.
        host_seconds: For the result.
        interrupted: Whether the cell was asked to stop at all.

    Raises:
        BadFrame: It is not the frame of a result.
    """
    result = frame.get("result")
    if not isinstance(result, dict):
        raise BadFrame("a step without a result")
    error = result.get("error")
    return CellResult(
        stdout=_text(result.get("stdout"), _MAX_OUTPUT_CHARS),
        stdout_length=_count(result.get("stdout_length"), _MAX_LENGTH),
        error=None if error is None else _text(error, _MAX_ERROR_CHARS),
        names=variables(result.get("names")),
        answer=result.get("answer") if error is None else None,
        restored=tuple(_text(name, _MAX_NAME_CHARS) for name in _list(result.get("restored"), _MAX_RESTORED)),
        interrupted=interrupted and result.get("interrupted") is True,
        seconds=seconds,
        host_seconds=host_seconds,
        threads=_count(result.get("threads"), _MAX_THREADS),
    )


def variables(reported: object) -> tuple[Variable, ...]:
    """
    Return the description of a session's names.

    Raises:
        BadFrame: It is none.
    """
    return tuple(_variable(line) for line in _list(reported, _MAX_NAMES))


def _variable(line: object) -> Variable:
    if not isinstance(line, list) or len(line) != _COLUMNS:
        raise BadFrame("no description of a name")
    name, kind, length, head, tail = line
    return Variable(
        name=_text(name, _MAX_NAME_CHARS),
        type=_text(kind, _MAX_NAME_CHARS),
        length=None if length is None else _count(length, _MAX_LENGTH),
        head=_text(head, _MAX_EDGE_CHARS),
        tail=_text(tail, _MAX_EDGE_CHARS),
    )


def _list(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise BadFrame("no list, or too long a one")
    return value


def _text(value: object, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise BadFrame("no text, or too long a one")
    return value


def _count(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise BadFrame("no number, or too large a one")
    return value
