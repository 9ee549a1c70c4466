"""
The port to a Python session in which a model's code runs, one cell after another.

What a session promises, whoever implements it:

1. The code reaches nothing but its own names, the standard library that needs no file, network or process, and the
   host functions of the cell. It cannot write anywhere and cannot start anything.
2. Names last from cell to cell, also those set before an exception or a soft interrupt.
3. The values given at `open`, `answer` and the host functions are put back after each cell that overwrote them.
4. Only what the code prints is output: the value of a last expression is not shown, as `exec` does it.
5. `answer(value)` counts when its cell ends without an exception; the last call wins.
6. Nothing of a cell runs on between cells: threads that it left are stopped until the next one starts.
7. Whatever the code does, the host is not harmed: a session that breaks its protocol is ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from rlmwatch.errors import RlmwatchError

JsonValue = Any
"""A str, number, bool, None, or lists and string-keyed dicts of them."""

REQUIRED: Final = object()
"""The default of a parameter that has none."""


class CellError(RlmwatchError):
    """
    Raised by a host function for the cell, which sees it raised by the call and may catch it.

    In the cell it is an exception of the class `name`: a built-in one (`TypeError`, `ValueError`, `TimeoutError`), or
    a class of that name under `Error`, which the cell finds among its names when the function declares it.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


class SessionDied(RlmwatchError):
    """
    The session is gone, and all its names with it; nothing else is harmed.

    The caller may open a new session and tell the model what happened. It may replay earlier cells, not this one:
    it would end the new session in the same way.

    Attributes:
        reason: `crashed`: its process ended (`os._exit`, a closed descriptor, a fault in native code, too much memory).
            `violated`: it broke the protocol and was killed.
        lost: Names that are gone.
    """

    def __init__(self, text: str, *, reason: Literal["crashed", "violated"], lost: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.reason = reason
        self.lost = lost


@dataclass(frozen=True, slots=True)
class Failure:
    """
    One item of a batch that failed; in the cell it is an instance of the exception class `name`, not raised.

    Only the items of a list that a host function returns may be failures.
    """

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    One parameter of a host function.

    Attributes:
        type: What the host takes: `strings` is a list of str, `json` anything. An int passes for a float.
        default: `REQUIRED`, or a JSON value. A parameter whose default is None takes None.
    """

    name: str
    type: Literal["str", "int", "float", "bool", "strings", "json"] = "str"
    default: JsonValue = REQUIRED


@dataclass(frozen=True, slots=True)
class HostFunction:
    """
    A function of the host that a cell calls by name, as if it were synchronous.

    Threads of a cell may call at the same time. Whatever it raises but `CellError` ends the session and comes out of
    `run_cell`.

    Attributes:
        call: Called with every parameter by keyword. Returns a JSON value, or a list with `Failure` items.
        errors: Names of the errors that it raises, so that the cell has the classes to catch.
        record: Name of the class that the dicts of a returned list are shown as in the cell: still a dict, whose keys
            are attributes too, and which prints as one; `""` leaves them plain.
        doc: For `help(name)` in the cell.
    """

    name: str
    call: Callable[..., Awaitable[JsonValue]]
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[str, ...] = ()
    doc: str = ""
    record: str = ""

    def checked(self, arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """
        Return what to call with: *arguments* as they came from the cell, and the defaults.

        Raises:
            CellError: `TypeError`: an argument is missing, unknown or of another type.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in arguments:
            if name not in known:
                raise CellError("TypeError", f"{self.name}() has no parameter {name!r}")
        chosen = {}
        for parameter in self.parameters:
            value = arguments.get(parameter.name, parameter.default)
            if value is REQUIRED:
                raise CellError("TypeError", f"{self.name}() needs {parameter.name!r}")
            if not (value is None and parameter.default is None) and not _fits(value, parameter.type):
                kind = type(value).__name__
                raise CellError("TypeError", f"{self.name}(): {parameter.name} must be {parameter.type}, not {kind}")
            chosen[parameter.name] = value
        return chosen


@dataclass(frozen=True, slots=True)
class Variable:
    """
    What is told of one name of a session.

    Attributes:
        type: Name of the value's type.
        length: Where it has one.
        head: First 500 characters of a str, or of a short description of another plain value; else empty.
        tail: Last 500 characters of a str longer than the head.
    """

    name: str
    type: str
    length: int | None
    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class CellResult:
    """
    What became of one cell. Texts come from the cell: never trusted, never longer than said here.

    Attributes:
        stdout: What it printed, stdout and stderr as they came; cut in the middle above 200,000 characters.
        stdout_length: Its true length, in characters.
        error: The traceback where it ended by an exception (cut in the middle above 8,000 characters), or why it was
            ended.
        names: The names of the session after it, in the order of their making, at most 200, `_names` left out.
        answer: What it gave to `answer`, or None.
        restored: Names that it overwrote and that were put back.
        lost: Where it was killed: the names that are gone.
        interrupted: It passed its time limit and was stopped; names survive.
        killed: It passed its time limit and could not be stopped: the session is gone, as `alive` says.
        seconds: How long it ran, without the time that it waited for host functions.
        host_seconds: How long at least one host function was running.
        threads: Threads that it left behind; they are stopped.
    """

    stdout: str = ""
    stdout_length: int = 0
    error: str | None = None
    names: tuple[Variable, ...] = ()
    answer: JsonValue = None
    restored: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    interrupted: bool = False
    killed: bool = False
    seconds: float = 0.0
    host_seconds: float = 0.0
    threads: int = 0


class SandboxSession(Protocol):
    """One Python session. Not for two tasks at once. Cancelling a call ends the session."""

    @property
    def alive(self) -> bool:
        """Whether another cell can run."""
        ...

    async def run_cell(self, code: str, *, timeout_s: float, functions: Sequence[HostFunction] = ()) -> CellResult:
        """
        Run *code*; it may call *functions*.

        Args:
            code: Python.
            timeout_s: Limit without the time spent in host functions. After it a soft interrupt is sent for a second,
                then the session is killed; host functions are refused from the limit on.
            functions: May change from cell to cell.

        Raises:
            SessionDied: The session is gone.
            Exception: What a host function raised; the session is gone too.
        """
        ...

    async def close(self) -> None:
        """End the session at once. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class ReportLine:
    """
    What a machine offers of one layer.

    Attributes:
        state: `on`; `missing` or `off`: it goes without; `refused`: no sandbox here.
        text: What was found.
        cure: What to do, where anything.
    """

    layer: str
    state: Literal["on", "missing", "off", "refused"]
    text: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Whether this machine can lock down a sandbox, layer by layer, as tried."""

    lines: tuple[ReportLine, ...]


class Sandbox(Protocol):
    """Where sessions come from. Works from any event loop and thread."""

    async def probe(self) -> Report:
        """Find out by trying, in a throw-away process, what this machine offers. Raises nothing."""
        ...

    async def alive(self) -> None:
        """Return once what runs beside the sessions has answered, or was found not to and ended. Starts nothing."""
        ...

    async def start(self) -> None:
        """
        Get ready, so that `open` is quick. Idempotent; `open` does it where it was not done.

        Raises:
            SandboxUnavailable: This machine cannot.
        """
        ...

    async def open(self, values: Mapping[str, JsonValue], *, seed: int | None = None, run: str = "") -> SandboxSession:
        """
        Open a session that has *values* as names, which are put back when overwritten.

        Args:
            values: By name, e.g. `context`.
            seed: For `random`, so that a replay draws the same numbers.
            run: Whose it is: the sessions of one run have one limit of memory together.

        Raises:
            SandboxUnavailable: This machine cannot lock it down; why, and what to do.
            ValueError: A value does not fit the session's memory, is not JSON, or a name is no name.
            SessionDied: The session ended before it was ready.
            OSError: The machine has no descriptor, process or memory left for it now.
        """
        ...

    async def aclose(self) -> None:
        """End all sessions and processes. Idempotent."""
        ...


def _fits(value: JsonValue, kind: str) -> bool:
    if kind == "json":
        return True
    if kind == "strings":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    return isinstance(value, {"str": str, "int": int, "float": (int, float)}[kind])  # type: ignore[arg-type]
