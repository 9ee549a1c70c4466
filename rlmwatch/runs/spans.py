"""
A run that has ended, as spans of OpenTelemetry: one of the run, one a step, one a call. Pure.

Names are those of its semantic conventions for generative AI, and `rlmwatch.…` where these have none.

1. A run is the root; its steps are below it, and the calls of a step below that. A sub-engine's steps are below the
   step that asked it. A call of no known step is below the run.
2. What is there again has the same ids: the trace's comes from the run's id.
3. A span reaches from its own beginning, or that of the first span below it, to the end of the last one below it.
4. Nothing of the content (question, answer, prompts, code, what was searched, paths) unless that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from rlmwatch.runs.model import CallState, JournalEntry, Outcome, Run, RunStatus, Usage
from rlmwatch.runs.trajectory import StepRecord

AGENT = "rlmwatch"
PROVIDERS = {"azure": "azure.ai.openai", "gemini": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}
"""What the conventions call providers that have another name here."""

FAILED_STEPS = frozenset({"raised", "interrupted", "killed"})

Value = str | bool | int | float
Facts = dict[str, Value | None]
"""Attributes; those that are None are not known."""

NS_PER_S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """
    One span.

    Attributes:
        trace_id: 128 bits, the same for all spans of a run.
        span_id: 64 bits.
        parent_id: The span above it; None for the run.
        kind: `client` where another server was asked.
        start_ns: Nanoseconds since 1970.
        end_ns: Likewise.
        failed: Whether it ended in an error.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    kind: Literal["internal", "client"]
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    failed: bool = False


def spans_of(
    run: Run,
    calls: Sequence[JournalEntry],
    steps: Sequence[StepRecord],
    *,
    provider: str | None,
    redact: Callable[[str], str] | None = None,
) -> list[Span]:
    """
    Return the spans of *run*, each after the one above it.

    Args:
        run: It has ended.
        calls: Its journal; with requests and replies where content is asked for.
        steps: Its trajectory.
        provider: Who answered its calls of models, by our name.
        redact: Takes secrets out of content; None where no content is asked for.
    """
    trace = _Trace(run, PROVIDERS.get(provider or "", provider), None if redact is None else _Content(redact))
    ids = {(record.path, record.step): trace.id_of("step", record.path, record.step) for record in steps}
    # By depth: a step is stored when it has ended, after those of the engines below it.
    by_depth = sorted(steps, key=lambda record: record.path.count("."))
    spans = [trace.root()]
    spans += [trace.step(record, ids.get(_asked_by(record.path), trace.root_id)) for record in by_depth]
    spans += [trace.call(entry, nth, ids.get(_made_in(entry), trace.root_id)) for nth, entry in enumerate(calls)]
    return _around_those_below(spans)


@dataclass(frozen=True, slots=True)
class _Content:
    """
    Puts content into attributes.

    Attributes:
        text: Takes secrets out of it.
    """

    text: Callable[[str], str]

    def messages(self, messages: Collection[Mapping[str, Any]]) -> str:
        """Return *messages* as the conventions' schema has them; of images nothing."""
        form = [
            {
                "role": message["role"],
                "parts": [{"type": "text", "content": message["content"] or ""}],
                **({"finish_reason": message["finish_reason"]} if "finish_reason" in message else {}),
            }
            for message in messages
        ]
        return self.json(form)

    def json(self, value: object) -> str:
        """Return *value* as JSON, without the secrets in its strings."""
        return json.dumps(self._clean(value), ensure_ascii=False)

    def _clean(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(inner) for inner in value]
        return value


@dataclass(frozen=True, slots=True)
class _Trace:
    """
    Makes the spans of one run.

    Attributes:
        content: None where there shall be none.
    """

    run: Run
    provider: str | None
    content: _Content | None

    @property
    def trace_id(self) -> int:
        return int.from_bytes(sha256(self.run.run_id.encode()).digest()[:16])

    @property
    def root_id(self) -> int:
        return self.id_of("run")

    def id_of(self, *what: str | int) -> int:
        """Return the id of a span of this run, by *what* it is of."""
        named = json.dumps([self.run.run_id, *what])
        return int.from_bytes(sha256(named.encode()).digest()[:8])

    def root(self) -> Span:
        run, result = self.run, self.run.result
        facts: Facts = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": AGENT,
            "gen_ai.provider.name": self.provider,
            "gen_ai.output.type": "text" if run.wants_json is None else "json",
            "rlmwatch.run.id": run.run_id,
            "rlmwatch.run.kind": run.kind.value,
            "rlmwatch.run.attempts": run.attempt,
        }
        if result is not None:
            outcome = result.outcome.value
            facts |= _used(result.usage) | {
                "gen_ai.request.model": result.model,
                "rlmwatch.run.outcome": outcome,
                "rlmwatch.run.partial": result.partial,
                "error.type": None if result.outcome is Outcome.SUCCESS else outcome,
            }
        if self.content is not None:
            facts["rlmwatch.run.path"] = self.content.text(run.path)
            facts["gen_ai.conversation.id"] = self.content.text(run.conversation)
            facts["gen_ai.input.messages"] = self.content.messages([{"role": "user", "content": run.asked}])
            if result is not None and result.answer is not None:
                answer = [{"role": "assistant", "content": result.answer}]
                facts["gen_ai.output.messages"] = self.content.messages(answer)
        return Span(
            name=f"invoke_agent {AGENT}",
            trace_id=self.trace_id,
            span_id=self.root_id,
            parent_id=None,
            kind="internal",
            start_ns=_ns(run.started_at or run.created_at),
            end_ns=_ns(run.completed_at or run.created_at),
            attributes=_known(facts),
            failed=run.status is RunStatus.FAILED,
        )

    def step(self, record: StepRecord, parent_id: int) -> Span:
        failed = record.ended in FAILED_STEPS
        facts: Facts = {
            "rlmwatch.run.id": self.run.run_id,
            "rlmwatch.step.number": record.step,
            "rlmwatch.step.depth": record.path.count("."),
            "rlmwatch.step.ended": record.ended,
            "rlmwatch.step.code_s": record.cell_s,
            "rlmwatch.step.calls_s": record.calls_s,
            "error.type": record.ended if failed else None,
        }
        if self.content is not None:
            facts["rlmwatch.step.code"] = None if record.code is None else self.content.text(record.code)
            facts["rlmwatch.step.shown"] = self.content.text(record.shown)
        start = _ns(record.started_at or self.run.started_at or self.run.created_at)
        return Span(
            name=f"step {record.step}",
            trace_id=self.trace_id,
            span_id=self.id_of("step", record.path, record.step),
            parent_id=parent_id,
            kind="internal",
            start_ns=start,
            end_ns=start + round((record.cell_s + record.calls_s) * NS_PER_S),
            attributes=_known(facts),
            failed=failed,
        )

    def call(self, entry: JournalEntry, nth: int, parent_id: int) -> Span:
        name, facts = self._asked_model(entry) if entry.call.what == "llm" else self._searched(entry)
        failed = entry.state is not CallState.DONE
        facts |= {
            "rlmwatch.run.id": self.run.run_id,
            "rlmwatch.call.attempt": entry.attempt,
            "error.type": entry.state.value if failed else None,
        }
        return Span(
            name=name,
            trace_id=self.trace_id,
            span_id=self.id_of("call", nth),
            parent_id=parent_id,
            kind="client",
            start_ns=_ns(entry.started_at),
            end_ns=_ns(entry.ended_at or entry.started_at),
            attributes=_known(facts),
            failed=failed,
        )

    def _asked_model(self, entry: JournalEntry) -> tuple[str, Facts]:
        call, reply = entry.call, entry.reply
        facts: Facts = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": call.model,
            "gen_ai.request.max_tokens": call.reserved_tokens,
        }
        if entry.usage is not None:
            facts |= _used(entry.usage)
        if self.content is not None:
            facts["gen_ai.input.messages"] = self.content.messages(call.request.get("messages", ()))
            if reply is not None:
                answer = {"role": "assistant", "content": reply["text"], "finish_reason": reply["finish_reason"]}
                facts["gen_ai.output.messages"] = self.content.messages([answer])
        return f"chat {call.model}", facts

    def _searched(self, entry: JournalEntry) -> tuple[str, Facts]:
        call = entry.call
        facts: Facts = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.what,
            "gen_ai.tool.type": "extension",  # the conventions' word for an API that is asked from here
            "gen_ai.provider.name": call.model,
            "rlmwatch.cost_usd": None if entry.usage is None else entry.usage.cost_usd,
        }
        if self.content is not None:
            facts["gen_ai.tool.call.arguments"] = self.content.json(call.request)
            facts["gen_ai.tool.call.result"] = None if entry.reply is None else self.content.json(entry.reply)
        return f"execute_tool {call.what}", facts


def _used(usage: Usage) -> Facts:
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "rlmwatch.cost_usd": usage.cost_usd,
    }


def _known(facts: Facts) -> dict[str, Value]:
    return {name: value for name, value in facts.items() if value is not None}


def _asked_by(path: str) -> tuple[str, int]:
    """Return the step that asked the engine *path* (see `engine.loop`); one that does not exist for the run's own."""
    above, _, name = path.rpartition(".")
    number = name.partition("-")[0]
    return above, int(number) if number.isdecimal() else 0


def _made_in(entry: JournalEntry) -> tuple[str, int]:
    """Return the step in which a call was made, by its key (see `PaidCall`)."""
    path, _, rest = entry.call.key.partition("/")
    number = rest.partition("/")[0]
    return path, int(number) if number.isdecimal() else 0


def _ns(time: str) -> int:
    """Return *time*, RFC 3339, in nanoseconds since 1970."""
    return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1) * 1000


def _around_those_below(spans: Sequence[Span]) -> list[Span]:
    """Return *spans*, each as long as those below it: a replayed step began after calls that an attempt before made."""
    times = {span.span_id: (span.start_ns, max(span.start_ns, span.end_ns)) for span in spans}
    for span in reversed(spans):
        if span.parent_id is not None:
            (start, end), (from_ns, to_ns) = times[span.span_id], times[span.parent_id]
            times[span.parent_id] = (min(start, from_ns), max(end, to_ns))
    return [replace(span, start_ns=times[span.span_id][0], end_ns=times[span.span_id][1]) for span in spans]
