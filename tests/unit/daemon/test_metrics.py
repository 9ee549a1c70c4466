"""daemon/metrics.py: what is counted, and what is not shown."""

from dataclasses import replace

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.ceilings import uses
from rlmwatch.runs.journal import Ceilings
from rlmwatch.runs.model import CallState, JournalEntry, Outcome, PaidCall, Result, Run, RunStatus, Usage

prometheus = pytest.importorskip("prometheus_client")
from rlmwatch.daemon.metrics import RunCounters, ceiling_gauges  # noqa: E402 (only where the extra is installed)

RUN = Run(
    run_id="r1", seq=1, path="secret_plan_input.txt", kind=Kind.CHAT, conversation="secret_plan", prompt="the plan",
    options={}, digest="sha256:a", status=RunStatus.COMPLETE, created_at="2026-11-24T10:00:00.000Z",
    result=Result(RunStatus.COMPLETE, Outcome.SUCCESS, answer="an answer", usage=Usage(20, 5, 0.25, 2, 1)),
)  # fmt: skip


def test_runs_are_counted_by_kind_and_outcome_with_what_they_used():
    """Two answered runs and one that failed; a run without a known cost adds no dollars; no name stands there."""
    registry = prometheus.CollectorRegistry()
    counters = RunCounters(registry)
    counters.count(RUN)
    counters.count(RUN)
    counters.count(replace(RUN, result=Result(RunStatus.FAILED, Outcome.TIMEOUT, usage=Usage(1, 0, None, 1))))
    counters.count(replace(RUN, result=None))
    got = registry.get_sample_value
    assert got("rlmwatch_runs_total", {"kind": "chat", "outcome": "success"}) == 2
    assert got("rlmwatch_runs_total", {"kind": "chat", "outcome": "timeout"}) == 1
    assert got("rlmwatch_calls_total", {"kind": "chat"}) == 5
    assert got("rlmwatch_searches_total", {"kind": "chat"}) == 2
    assert got("rlmwatch_tokens_total", {"kind": "chat", "direction": "input"}) == 41
    assert got("rlmwatch_tokens_total", {"kind": "chat", "direction": "output"}) == 10
    assert got("rlmwatch_cost_usd_total", {"kind": "chat"}) == 0.5
    text = prometheus.generate_latest(registry).decode()
    assert not [word for word in ("secret", "plan", "answer", "r1") if word in text.replace("rlmwatch", "")]


def test_how_long_runs_and_calls_took_is_counted():
    """A run counts from its start to its end, a call only where it was answered; a clock that was set back counts 0."""
    registry = prometheus.CollectorRegistry()
    counters = RunCounters(registry)
    started, ended = "2026-11-24T10:00:00.000Z", "2026-11-24T10:00:12.500Z"
    counters.count(replace(RUN, started_at=started, completed_at=ended))
    counters.count(replace(RUN, started_at=ended, completed_at=started))
    call = PaidCall("/1/a/1", "llm", "m", {})
    answered = JournalEntry(call, CallState.DONE, 1, started, "2026-11-24T10:00:02.000Z")
    counters.time([answered, replace(answered, state=CallState.LOST), JournalEntry(call, CallState.INTENT, 1, started)])
    counters.time([replace(answered, call=replace(call, what="search"))])
    got = registry.get_sample_value
    assert got("rlmwatch_run_seconds_sum", {"kind": "chat"}) == 12.5
    assert got("rlmwatch_run_seconds_count", {"kind": "chat"}) == 2
    assert got("rlmwatch_call_seconds_sum", {"what": "llm"}) == 2.0
    assert got("rlmwatch_call_seconds_count", {"what": "llm"}) == 1
    assert got("rlmwatch_call_seconds_count", {"what": "search"}) == 1


def test_each_ceiling_that_there_is_has_its_limit_and_what_is_left():
    """A ceiling of the day of 4 dollars, of which one is spent, leaves 3; none for the month is no gauge."""
    limit, left = ceiling_gauges(uses(Ceilings(per_day_usd=4.0), (1.0, 9.0)))
    assert [(sample.labels, sample.value) for sample in limit.samples] == [({"period": "day"}, 4.0)]
    assert [(sample.labels, sample.value) for sample in left.samples] == [({"period": "day"}, 3.0)]
