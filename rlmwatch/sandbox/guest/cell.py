"""
Run the cells of one session: names, output, errors, answer.

Standard library only. It serves honest code well; that dishonest code does no harm is the kernel's and the host's
part, and nothing here is relied on for it.
"""

from __future__ import annotations

import builtins
import inspect
import io
import linecache
import mmap
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from rlmwatch.sandbox.guest import frames
from rlmwatch.sandbox.guest.channel import CellInterrupted, Channel
from rlmwatch.sandbox.guest.names import described, shortened

MAX_OUTPUT_CHARS = 200_000  # the host shows a model far less; this keeps a bomb in the worker
MAX_ERROR_CHARS = 8_000
MAX_ANSWER_BYTES = 4 * 1024 * 1024
_RESERVE_BYTES = 16 * 1024 * 1024  # of address space, given up when memory runs out, to tell of it
_OURS = os.path.dirname(__file__)  # noqa: PTH120 (a prefix of text)
_LIBRARY = os.path.dirname(os.__file__) + "/"  # noqa: PTH120
_BUILTINS = dict(vars(builtins))
_restore_builtins: Callable[[Mapping[str, Any]], None] = vars(builtins).update
_ABSENT = object()


class Error(Exception):
    """A host function could not do it: the base of all its errors, and an item of a batch that failed."""

    __module__ = "builtins"


class Output(io.TextIOBase):
    """
    What a cell prints: the first and the last half of `MAX_OUTPUT_CHARS`, and how much it was.

    Attributes:
        length: Characters written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.length = 0
        self._head: list[str] = []
        self._head_room = MAX_OUTPUT_CHARS // 2
        self._tail = ""
        self.buffer = _Bytes(self)

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def write(self, text: str) -> int:
        """Take *text*."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.length += len(text)
        head = text[: self._head_room]
        if head:
            self._head.append(head)
            self._head_room -= len(head)
        if len(head) < len(text):
            tail = self._tail + text[max(len(head), len(text) - MAX_OUTPUT_CHARS) :]
            # Twice the room before it is cut: cutting at each write would copy it each time.
            self._tail = tail if len(tail) <= MAX_OUTPUT_CHARS else tail[-MAX_OUTPUT_CHARS // 2 :]
        return len(text)

    def text(self) -> str:
        """Return what was kept, with the gap named."""
        head = "".join(self._head)
        tail = self._tail[-MAX_OUTPUT_CHARS // 2 :]
        gap = self.length - len(head) - len(tail)
        return f"{head}\n[{gap:,} characters left out]\n{tail}" if gap > 0 else head + tail


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:  # noqa: ANN401 (any buffer)
        self._output.write(bytes(data).decode("utf-8", "replace"))
        return len(data)


class CellRunner:
    """
    The names of a session, and the cells that have run on them.

    Attributes:
        channel: For host functions.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._module = types.ModuleType("__main__")
        self._names = vars(self._module)
        self._values: dict[str, Any] = {}
        self._functions: dict[str, Any] = {}
        self._errors: dict[str, type[Exception]] = {}
        self._count = 0
        self._answer: list[Any] = []
        self._reserve: mmap.mmap | None = None
        self._take = self._take_answer  # one object, so that it is known again

    def set(self, name: str, value: Any) -> None:  # noqa: ANN401 (any JSON value)
        """Give *name* the value, which is put back when a cell overwrites it."""
        self._names[name] = self._values[name] = value

    def offer(self, functions: list[dict[str, Any]]) -> None:
        """Have the cells find the host's *functions* and their errors, and no others of before."""
        for name in {**self._functions, **self._errors}:
            self._names.pop(name, None)
        self._functions = {function["name"]: self._proxy(function) for function in functions}
        declared = {error for function in functions for error in function["errors"]}
        self._errors = {
            name: self._errors.get(name) or _error_class(name) for name in sorted(declared) if name not in _BUILTINS
        }

    def run(self, code: str) -> dict[str, Any]:
        """Run *code* and return what became of it, as the host's `CellResult` has it."""
        self._count += 1
        self._answer = []
        self._put_back()
        output = Output()
        sys.stdout = sys.stderr = output
        sys.stdin = io.StringIO()
        sys.modules["__main__"] = self._module
        interrupts = self.channel.interrupts
        interrupts.forget()
        signal.signal(signal.SIGINT, interrupts.handle)
        error = None
        try:
            try:
                self._keep_reserve()
                interrupts.running = True
                self._execute(code)
            except BaseException as raised:  # noqa: BLE001 (a cell may raise anything)
                self._give_up_reserve()
                error = raised
                text = _reported(raised)
        except CellInterrupted as late:
            interrupts.running = False
            error, text = late, _reported(late)
        interrupts.running = False
        _restore_builtins(_BUILTINS)
        restored = self._put_back()
        return {
            "stdout": output.text(),
            "stdout_length": output.length,
            "error": None if error is None else text,
            "names": described(self._names, without=self._ours()),
            "answer": self._answer[-1] if self._answer and error is None else None,
            "restored": restored,
            "interrupted": isinstance(error, CellInterrupted),
            "threads": max(0, threading.active_count() - 1),
        }

    def names(self) -> list[list[Any]]:
        """Describe the names as they are."""
        return described(self._names, without=self._ours())

    def _execute(self, code: str) -> None:
        file = f"<cell {self._count}>"
        lines = code.splitlines(keepends=True)
        linecache.cache[file] = (len(code), None, lines, file)  # a traceback shows the lines
        exec(compile(code, file, "exec", dont_inherit=True), self._names)  # noqa: S102 (that is what a cell is)

    def _keep_reserve(self) -> None:
        if self._reserve is None:
            with suppress(OSError):  # there is no room now; the cell may make some
                self._reserve = mmap.mmap(-1, _RESERVE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def _give_up_reserve(self) -> None:
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def _ours(self) -> dict[str, Any]:
        return {**self._functions, **self._errors, "answer": self._take, "Error": Error}

    def _put_back(self) -> list[str]:
        """Put back what is not the cell's to change, and return what it had changed."""
        self._names["__builtins__"] = builtins
        changed = []
        for name, value in {**self._values, **self._ours()}.items():
            if self._names.get(name, _ABSENT) is not value:
                changed.append(name)
                self._names[name] = value
        return changed

    def _take_answer(self, value: Any) -> None:  # noqa: ANN401 (any JSON value)
        """End the run with *value*: a str, or anything that can be written as JSON."""
        if value is None:
            raise ValueError("answer() needs a value, not None")
        if isinstance(value, str) and all(char.isspace() or not char.isprintable() for char in value):
            raise ValueError("answer() needs a text; this one is empty")
        try:
            data = frames.encode({"answer": value}, max_bytes=MAX_ANSWER_BYTES)
        except frames.BadFrame as error:
            raise ValueError(f"answer(): {error}") from None
        except TypeError as error:
            raise TypeError(f"answer() takes a str or JSON: {error}") from None
        self._answer.append(frames.decode(data[4:])["answer"])  # a copy: what the cell changes later does not count

    def _proxy(self, declared: dict[str, Any]) -> Callable[..., Any]:
        name = declared["name"]
        record = _record_class(declared["record"]) if declared["record"] else None
        signature = inspect.Signature(
            [
                inspect.Parameter(
                    parameter["name"],
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=parameter.get("default", inspect.Parameter.empty),
                )
                for parameter in declared["parameters"]
            ],
        )

        def function(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (a host function's own)
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{name}{signature}: {error}") from None
            reply = self.channel.call(name, bound.arguments)
            if "error" in reply:
                raise self._failure(*reply["error"])
            value = reply["value"]
            for place, failure in reply.get("failures", {}).items():
                value[int(place)] = self._failure(*failure)
            if record is not None and isinstance(value, list):
                value = [record(item) if isinstance(item, dict) else item for item in value]
            return value

        function.__name__ = function.__qualname__ = name
        function.__doc__ = declared["doc"]
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    def _failure(self, name: str, text: str) -> Exception:
        known = self._errors.get(name) or _BUILTINS.get(name)
        if isinstance(known, type) and issubclass(known, Exception):
            return known(text)
        return Error(text)


class Record(dict):  # type: ignore[type-arg]  # (its keys are the host's)
    """
    A dict whose keys are attributes too, and which prints as one object.

    Where it has `highlights`, they are printed in place of its `text`, of which only the length is.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (a field's own)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(self)}") from None

    def __repr__(self) -> str:
        fields = {key: repr(value) for key, value in self.items()}
        if self.get("highlights") and "text" in fields:
            fields["text"] = f"<{len(self['text'])} characters>"
        return f"{type(self).__name__}({', '.join(f'{key}={value}' for key, value in fields.items())})"


def _record_class(name: str) -> type[Record]:
    return type(name, (Record,), {"__module__": "builtins", "__slots__": ()})


def _error_class(name: str) -> type[Exception]:
    return type(name, (Error,), {"__module__": "builtins"})


def _reported(error: BaseException) -> str:
    """Return the traceback of *error*, without our own frames. Never raises."""
    try:
        reported = traceback.TracebackException.from_exception(error, compact=True)
        _without_ours(reported)
        return shortened("".join(reported.format()), MAX_ERROR_CHARS)
    except BaseException:  # noqa: BLE001 (its `__str__` is the cell's)
        return f"{type(error).__name__} (its text could not be had)"


def _without_ours(reported: traceback.TracebackException | None) -> None:
    if reported is None:
        return
    reported.stack[:] = [frame for frame in reported.stack if not frame.filename.startswith(_OURS)]
    for frame in reported.stack:
        frame.filename = frame.filename.removeprefix(_LIBRARY)  # the path may name a person
    _without_ours(reported.__cause__)
    _without_ours(reported.__context__)
    for part in getattr(reported, "exceptions", None) or ():
        _without_ours(part)
