"""
Spans for OpenTelemetry: each run that was published here, told to a collector by OTLP over HTTP.

1. They are made of what ledger and trajectory say of a run that has ended (`runs/spans.py`); nothing is measured for
   them, and the library is loaded with the first run.
2. Nobody waits for the collector: each run is told by a thread that no end of the program waits for, one after the
   other. What does not fit into the queue, and what the collector did not take in the exporter's own time, is dropped.
3. A collector that fails is said once, and once more when it takes spans again.
4. A stop gives it `STOP_S` to take what waits.

The library's own variables hold, such as `OTEL_EXPORTER_OTLP_HEADERS`; the address is that of the settings alone.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

import structlog

from rlmwatch.addresses import shown
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.own_thread import in_own_thread
from rlmwatch.errors import ConfigError, LedgerError
from rlmwatch.runs.spans import Span, spans_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rlmwatch.daemon.builder import Builder
    from rlmwatch.daemon.otlp import Collector
    from rlmwatch.runs.model import Run

STOP_S = 2.0
"""A collector on the same machine takes a run in milliseconds; systemd and people wait for a stop."""
WAITING_RUNS = 1_000
"""A burst loses nothing; what waits are ids alone."""
HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")

log = structlog.get_logger()


def is_installed() -> bool:
    """Whether the extra is there."""
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """Return the values of the headers that go to the collector: keys are among them."""
    pairs = [pair.partition("=")[2].strip() for name in HEADERS for pair in environ.get(name, "").split(",")]
    return [form for value in pairs if value for form in (value, unquote(value))]


def trace(builder: Builder, told: list[Callable[[Run], None]]) -> None:
    """
    Have each run that is published told to the collector that the settings name, until *builder* closes; else nothing.

    Args:
        builder: Of this program, its ledger open.
        told: Is added what is to be told of each published run.

    Raises:
        ConfigError: The extra is not installed.
    """
    address = builder.config.loaded.settings.traces
    if address is None:
        return
    if not is_installed():
        raise ConfigError("traces: install rlmwatch[otel] to send traces")
    builder.redactor.know(secrets_of(builder.environ))
    traces = Traces(builder, address)
    traces.begin()
    builder.stack.push_async_callback(traces.aclose)
    told.append(traces.published)


@dataclass(slots=True)
class Traces:
    """Tells a collector of runs. Used on one loop."""

    builder: Builder
    address: str
    _queue: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(WAITING_RUNS))
    _task: asyncio.Task[None] | None = None
    _collector: Collector | None = None
    _failing: bool = False

    def begin(self) -> None:
        """Tell of runs from now on."""
        self._task = asyncio.create_task(self._work())

    def published(self, run: Run) -> None:
        """Have *run* told. Returns at once."""
        with suppress(asyncio.QueueFull):  # that the collector fails was said
            self._queue.put_nowait(run.run_id)

    async def aclose(self) -> None:
        """Tell of what waits, for a moment."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), STOP_S)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._collector is not None:
            self._collector.close()

    async def _work(self) -> None:
        while True:
            run_id = await self._queue.get()
            try:
                self._say(await self._tell(run_id))
            except LedgerError as error:
                log.warning("traces.not_sent", run=run_id, why=str(error))
            except Exception:
                log.exception("traces.fault", run=run_id)
            finally:
                self._queue.task_done()

    async def _tell(self, run_id: str) -> str | None:
        """Return why the collector did not take the spans of a run; None where it did."""
        settings, ledger = self.builder.config.loaded.settings, self.builder.ledger
        run = await ledger.get(run_id)
        assert run is not None  # noqa: S101 (no run leaves the ledger)
        calls = await (ledger.entries if settings.traces_content else ledger.outline)(run.run_id)
        make = partial(
            spans_of,
            run,
            calls,
            await ledger.steps(run.run_id),
            provider=self._provider(run),
            redact=self.builder.redactor.text if settings.traces_content else None,
        )
        return await in_own_thread(partial(self._send, make))

    def _send(self, make: Callable[[], Sequence[Span]]) -> str | None:
        """Send what *make* returns; return why it was not taken, if so. Blocks."""
        if self._collector is None:
            from rlmwatch.daemon.otlp import Collector  # takes half a second and 25 MB to load

            self._collector = Collector(self.address)
        return self._collector.send(make())

    def _provider(self, run: Run) -> str | None:
        """Return who answers calls of models for *run*, by the settings as they are now."""
        config = self.builder.config
        named = config.loaded.settings.options_for(run.kind, RunOptions.model_validate(dict(run.options))).provider
        return named or (None if config.model is None else config.model.provider)

    def _say(self, why: str | None) -> None:
        if why is not None and not self._failing:
            done = "runs go on; their spans are dropped until it takes them"
            log.warning("traces.unavailable", at=shown(self.address), why=why, done=done)
        if why is None and self._failing:
            log.info("traces.available", at=shown(self.address))
        self._failing = why is not None
