"""
The log: a stable event name plus facts, and never a secret.

On a terminal each line is for people; under a service manager, or with
`--log-format json`, each line is one JSON object. Every line passes one
processor that replaces the values of known secrets, wherever they stand.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from rlmwatch.daemon.journal import SystemdJournal
from rlmwatch.printable import printable
from rlmwatch.redaction import redact

Format = Literal["text", "json"]
HIDDEN = "[secret]"
SHORTEST_SECRET = 6
"""Shorter values are not keys, and replacing them would eat ordinary words."""


class Redactor:
    """Replaces the values of known secrets in anything that is logged or written for a person."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: list[str] = []
        self.know(secrets)

    def know(self, secrets: Iterable[str]) -> None:
        """Replace these values too, from now on."""
        found = {s for s in secrets if len(s) >= SHORTEST_SECRET} | set(self._secrets)
        # The longest first: a secret may be the beginning of another.
        self._secrets = sorted(found, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return *text* without the secrets."""
        return redact(text, self._secrets, HIDDEN)

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Redact one log event, nested values included."""
        return {key: self._value(value) for key, value in event.items()}

    def _value(self, value: Any) -> Any:  # noqa: ANN401 (a log takes anything)
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(inner) for inner in value]
        if isinstance(value, int | float | None):
            return value
        return self.text(str(value))


class _Steady:
    """
    A stream that never raises.

    A log whose reader went away (`2>&1 | head`), or whose disk is full, does not stop the answering.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


def _on_its_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make one log event harmless for a terminal, and keep it on one line; tracebacks have theirs."""
    return {printable(key): _harmless(value, lines=key == "exception") for key, value in event.items()}


def _harmless(value: Any, *, lines: bool = False) -> Any:  # noqa: ANN401 (a log takes anything)
    if isinstance(value, int | float | None):
        return value
    return printable(value if isinstance(value, str) else str(value), lines=lines)


def configure(
    form: Format,
    redactor: Redactor,
    *,
    stream: TextIO | None = None,
    level: int = logging.INFO,
    journal: SystemdJournal | None = None,
) -> None:
    """
    Send structlog, and the warnings of libraries, to *stream* (default: standard error).

    Lines of JSON go to the *journal* in its place, with fields, as long as that takes them.
    """
    out = _Steady(stream or sys.stderr)
    first: list[Any] = []
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        # Without the values of local variables: they are prompts, answers and keys.
        tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        last: list[Any] = [tracebacks, redactor, structlog.processors.JSONRenderer()]
        if journal is not None:
            first = [*last[:-1], _to_journal(journal)]
    else:
        shared[-1] = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        console = structlog.dev.ConsoleRenderer(
            colors=out.isatty(), pad_event_to=18, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )
        last = [structlog.processors.format_exc_info, redactor, _on_its_line, console]
    structlog.configure(
        processors=[*shared, *(first or last)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", out)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(cast("TextIO", out))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _to_journal(journal: SystemdJournal) -> Callable[..., str]:
    """Return what renders an event as JSON, and hands it to *journal*; the line is left where that takes it not."""
    render = structlog.processors.JSONRenderer()

    def send(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        line = str(render(logger, method, event))
        if journal.takes(line, event):
            raise structlog.DropEvent
        return line

    return send


def observe(
    on_event: Callable[[Mapping[str, Any]], None], redactor: Callable[..., Any], *, level: int = logging.INFO
) -> None:
    """
    Hand structlog's events, and the standard library's warnings, to *on_event* in place of a log, without secrets.

    Args:
        on_event: Is given each event with its facts, its `level` and its name, `event`; where it is of an error that
            was raised, with that as `fault`, and its `traceback`. From any thread.
        redactor: As in `configure`.
        level: As in `configure`.
    """

    def hand_over(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        on_event(event)
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            _with_fault,
            redactor,
            hand_over,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Handover(on_event, redactor)], force=True)


def _with_fault(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put what was raised into words."""
    found = event.pop("exc_info", None)
    error = found if isinstance(found, BaseException) else sys.exc_info()[1] if found else None
    if error is not None:
        event["fault"] = f"{type(error).__name__}: {error}"
        event["traceback"] = "".join(traceback.format_exception(error))
    return event


class _Handover(logging.Handler):
    """Hands over what other libraries log."""

    def __init__(self, on_event: Callable[[Mapping[str, Any]], None], redactor: Callable[..., Any]) -> None:
        super().__init__()
        self._on_event = on_event
        self._redactor = redactor

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over *record*."""
        event = {"event": f"{record.name} says", "level": record.levelname.lower(), "what": record.getMessage()}
        raised = record.exc_info[1] if record.exc_info else None
        self._on_event(self._redactor(None, "", _with_fault(None, "", {**event, "exc_info": raised})))
