"""
Numbers for Prometheus at a loopback address: what this daemon answered since its start, and how it stands.

1. Counters and histograms are of runs that this process published. No names of files, no conversations, no content.
2. Gauges are asked of the ledger at each scrape, by the daemon's own loop; a scrape that it cannot answer has none.
3. Whatever goes wrong is logged, and the daemon goes on.
"""

from __future__ import annotations

import asyncio
import errno
import importlib.util
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from rlmwatch.daemon.composition import App
from rlmwatch.errors import ConfigError, LedgerError
from rlmwatch.runs.ceilings import CeilingUse
from rlmwatch.runs.model import CallState, JournalEntry, Run, RunStatus
from rlmwatch.version import __version__

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

AGAIN_S = 30.0
"""Between two tries to get the port."""
ASK_S = 5.0
"""For the gauges; Prometheus itself waits for ten seconds."""
BUCKETS_S = (0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900)
"""Up to the longest time limit that a kind has by default (`settings.model.DEFAULTS`)."""
SHOWN = {"waiting": RunStatus.PENDING, "running": RunStatus.RUNNING, "held": RunStatus.HELD}
"""Open runs, in the words of every screen."""

log = structlog.get_logger()


class RunCounters:
    """What was answered since the start, in the *registry*."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Histogram

        self._runs = Counter("rlmwatch_runs", "Runs that ended.", ["kind", "outcome"], registry=registry)
        self._calls = Counter("rlmwatch_calls", "Calls of models.", ["kind"], registry=registry)
        self._searches = Counter("rlmwatch_searches", "Searches on the web.", ["kind"], registry=registry)
        self._tokens = Counter("rlmwatch_tokens", "Tokens as reported.", ["kind", "direction"], registry=registry)
        self._usd = Counter("rlmwatch_cost_usd", "US dollars, where the cost is known.", ["kind"], registry=registry)
        self._run_s = Histogram(
            "rlmwatch_run_seconds", "From a run's start to its end.", ["kind"], registry=registry, buckets=BUCKETS_S
        )
        self._call_s = Histogram(
            "rlmwatch_call_seconds", "Of calls that got a reply.", ["what"], registry=registry, buckets=BUCKETS_S
        )

    def count(self, run: Run) -> None:
        """Count *run*, which has ended and was published. Not idempotent."""
        if run.result is None:
            return
        usage, kind = run.result.usage, run.kind.value
        self._runs.labels(kind, run.result.outcome.value).inc()
        self._calls.labels(kind).inc(usage.llm_calls)
        self._searches.labels(kind).inc(usage.searches)
        self._tokens.labels(kind, "input").inc(usage.input_tokens)
        self._tokens.labels(kind, "output").inc(usage.output_tokens)
        self._usd.labels(kind).inc(usage.cost_usd or 0.0)
        if run.started_at is not None and run.completed_at is not None:
            self._run_s.labels(kind).observe(seconds(run.started_at, run.completed_at))

    def time(self, calls: Sequence[JournalEntry]) -> None:
        """Count how long the *calls* of a run took. Not idempotent."""
        for entry in calls:
            if entry.state is CallState.DONE and entry.ended_at is not None:
                self._call_s.labels(entry.call.what).observe(seconds(entry.started_at, entry.ended_at))


def seconds(since: str, until: str) -> float:
    """Return the seconds from *since* to *until*, RFC 3339; none where a clock was set back between them."""
    return max(0.0, (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds())


class Gauges:
    """How the daemon stands, asked at each scrape, which comes in a thread of its own."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        """Return open runs and ceilings; nothing of what cannot be known now."""
        from prometheus_client.core import GaugeMetricFamily

        yield GaugeMetricFamily("rlmwatch_up", f"The daemon answers (rlmwatch {__version__}).", value=1)
        asked = asyncio.run_coroutine_threadsafe(self._app.ledger.count(), self._loop)
        try:
            count = asked.result(ASK_S)
        except (TimeoutError, LedgerError):
            asked.cancel()
        else:
            runs = GaugeMetricFamily("rlmwatch_open_runs", "Runs that have not ended.", labels=["state"])
            for word, status in SHOWN.items():
                runs.add_metric([word], count[status])
            yield runs
        yield from ceiling_gauges(self._app.ceiling_watch.uses)


def ceiling_gauges(uses: Iterable[CeilingUse]) -> Iterable[Metric]:
    """Return the user's ceilings and what they still allow."""
    from prometheus_client.core import GaugeMetricFamily

    limit = GaugeMetricFamily("rlmwatch_ceiling_usd", "The ceiling, in US dollars.", labels=["period"])
    left = GaugeMetricFamily("rlmwatch_ceiling_left_usd", "What calls may still cost.", labels=["period"])
    for use in uses:
        limit.add_metric([use.period], use.limit_usd)
        left.add_metric([use.period], use.left_usd)
    return (limit, left)


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("prometheus_client") is not None


@asynccontextmanager
async def metrics_beside(app: App) -> AsyncIterator[None]:
    """
    Serve the metrics at the address that the settings name, for as long as the block runs; nothing without one.

    Raises:
        ConfigError: The extra is not installed.
    """
    address = app.config.loaded.settings.metrics
    if address is None:
        yield
        return
    if not is_installed():
        raise ConfigError("metrics: install rlmwatch[metrics] to serve metrics")
    registry = registry_of(app)
    counters = RunCounters(registry)
    published: asyncio.Queue[Run] = asyncio.Queue()
    app.on_published += [counters.count, published.put_nowait]  # from the first run on, whenever the port is there
    tasks = [asyncio.create_task(_time(app, published, counters)), asyncio.create_task(_serve(address, registry))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def registry_of(app: App) -> CollectorRegistry:
    """Return a registry that tells of *app* and of this process, to be used on the running loop."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Gauges(app, asyncio.get_running_loop()))
    return registry


async def _time(app: App, published: asyncio.Queue[Run], counters: RunCounters) -> None:
    while True:
        run = await published.get()
        with suppress(LedgerError):  # a latency less: nothing waits for it
            counters.time(await app.ledger.outline(run.run_id))


async def _serve(address: str, registry: CollectorRegistry) -> None:
    from prometheus_client import start_http_server

    host, _, port = address.rpartition(":")
    where = "::1" if host == "[::1]" else "127.0.0.1"
    reported = None
    while True:
        try:
            server, thread = await asyncio.to_thread(start_http_server, int(port), where, registry)
            break
        except OSError as error:
            why = "another program has this port" if error.errno == errno.EADDRINUSE else str(error)
            if why != reported:
                log.warning("metrics.unavailable", at=address, why=why, done=f"tried again every {AGAIN_S:.0f} s")
            reported = why
        await asyncio.sleep(AGAIN_S)
    try:
        shown = f"[{where}]" if ":" in where else where
        log.info("metrics.ready", at=f"http://{shown}:{server.server_port}/metrics")
        await asyncio.Event().wait()
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
