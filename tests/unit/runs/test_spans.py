"""runs/spans.py: a run that has ended as spans, by the conventions for generative AI."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.model import CallState, JournalEntry, Outcome, PaidCall, Result, Run, RunStatus, Usage
from rlmwatch.runs.spans import Span, spans_of
from rlmwatch.runs.trajectory import StepRecord

SECRET = "sk-made-up-secret"
RUN = Run(
    run_id="20261124T100000Z-job-0a1b2c", seq=1, path="diary/private_job_input.txt", kind=Kind.JOB,
    conversation="diary/private", prompt=f"private question {SECRET}", options={}, digest="sha256:a",
    status=RunStatus.COMPLETE, created_at="2026-11-24T09:59:00.000Z", started_at="2026-11-24T10:00:00.000Z",
    completed_at="2026-11-24T10:01:00.000Z", attempt=1,
    result=Result(
        RunStatus.COMPLETE, Outcome.SUCCESS, answer="private answer", usage=Usage(300, 60, 0.5, 3, 1), model="m-1"
    ),
)  # fmt: skip
INNER = ".1-0123abcd-1"
STEPS = [
    StepRecord(INNER, 1, 1, "private code", "private print", "raised", started_at="2026-11-24T10:00:05.000Z"),
    StepRecord("", 1, 1, f"code('{SECRET}')", "private print", "ok", started_at="2026-11-24T10:00:01.000Z", cell_s=2.5),
    StepRecord("", 2, 1, None, "", "answered", started_at="2026-11-24T10:00:30.000Z"),
]


def call(key: str, begun: int, ended: int | None, what: str = "llm", state: CallState = CallState.DONE) -> JournalEntry:
    request = {"messages": [{"role": "user", "content": f"private prompt {SECRET}"}], "query": "private query"}
    paid = PaidCall(key, what, "m-1" if what == "llm" else "exa", request, 200, 0.1)
    reply = {"text": "private reply", "finish_reason": "stop"} if state is CallState.DONE else None
    times = [None if second is None else f"2026-11-24T10:00:{second:02}.000Z" for second in (begun, ended)]
    return JournalEntry(paid, state, 1, times[0], times[1], reply, Usage(100, 20, 0.1, 1) if reply else None)


CALLS = [
    call("/1/aa/1", 1, 4),
    call(f"{INNER}/1/bb/1", 5, 9),
    call(f"{INNER}/1/cc/1", 9, 12, "search"),
    call("/2/dd/1", 30, None, state=CallState.INTENT),
    call("/3/ee/1", 40, 45, state=CallState.LOST),
]


def made(**changes: object) -> dict[str, Span]:
    spans = spans_of(RUN, CALLS, STEPS, provider="mistral", **changes)
    names = ["run", "1", "2", "1 of 1", "call 1", "inner call", "search", "call 2", "call 3"]
    return dict(zip(names, spans, strict=True))


def test_the_run_is_above_its_steps_and_these_above_their_calls():
    """Parents: run, step, call; a sub-engine's step is below the step that asked it; what fits nowhere is the run's."""
    spans = made()
    above = {
        name: next((n for n, s in spans.items() if s.span_id == span.parent_id), None) for name, span in spans.items()
    }
    assert above == {
        "run": None, "1": "run", "2": "run", "1 of 1": "1", "call 1": "1", "inner call": "1 of 1",
        "search": "1 of 1", "call 2": "2", "call 3": "run",
    }  # fmt: skip
    assert len({span.span_id for span in spans.values()}) == len(spans)
    assert len({span.trace_id for span in spans.values()}) == 1
    seen: set[int] = set()
    for span in spans.values():
        assert span.parent_id is None or span.parent_id in seen, "each after the one above it"
        seen.add(span.span_id)


def test_the_same_run_has_the_same_ids_and_another_run_others():
    """Told twice, a run is one trace; ids are of the size that OpenTelemetry gives them."""
    first, again = made(), made()
    assert [(s.trace_id, s.span_id) for s in first.values()] == [(s.trace_id, s.span_id) for s in again.values()]
    other = spans_of(replace(RUN, run_id="other"), CALLS, STEPS, provider=None)
    assert not {s.span_id for s in other} & {s.span_id for s in first.values()}
    assert other[0].trace_id != first["run"].trace_id
    assert all(0 < s.trace_id < 1 << 128 and 0 < s.span_id < 1 << 64 for s in first.values())


def test_names_and_values_are_those_of_the_conventions():
    """A run is an agent's invocation, a call a chat, a search a tool; tokens, cost and outcome stand there."""
    spans = made()
    assert (spans["run"].name, spans["run"].kind) == ("invoke_agent rlmwatch", "internal")
    assert spans["run"].attributes == {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "rlmwatch", "gen_ai.provider.name": "mistral_ai",
        "gen_ai.output.type": "text", "gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 300,
        "gen_ai.usage.output_tokens": 60, "rlmwatch.cost_usd": 0.5, "rlmwatch.run.id": RUN.run_id,
        "rlmwatch.run.kind": "job", "rlmwatch.run.attempts": 1, "rlmwatch.run.outcome": "success",
        "rlmwatch.run.partial": False,
    }  # fmt: skip
    assert (spans["call 1"].name, spans["call 1"].kind) == ("chat m-1", "client")
    assert spans["call 1"].attributes == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "mistral_ai", "gen_ai.request.model": "m-1",
        "gen_ai.request.max_tokens": 200, "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20,
        "rlmwatch.cost_usd": 0.1, "rlmwatch.run.id": RUN.run_id, "rlmwatch.call.attempt": 1,
    }  # fmt: skip
    assert spans["search"].name == "execute_tool search"
    assert spans["search"].attributes["gen_ai.operation.name"] == "execute_tool"
    assert (spans["1"].name, spans["1"].attributes["rlmwatch.step.ended"]) == ("step 1", "ok")


def test_every_name_of_genai_is_in_the_conventions():
    """No attribute is called `gen_ai.…` that OpenTelemetry's package of conventions does not have."""
    conventions = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    there = {
        value for name, value in vars(conventions).items() if name.startswith("GEN_AI_") and isinstance(value, str)
    }
    used = {name for span in made(redact=str).values() for name in span.attributes if name.startswith("gen_ai.")}
    assert len(used) > 12
    assert used <= there
    operations = {operation.value for operation in conventions.GenAiOperationNameValues}
    assert {span.attributes.get("gen_ai.operation.name", "chat") for span in made().values()} <= operations
    providers = {provider.value for provider in conventions.GenAiProviderNameValues}
    from rlmwatch.runs.spans import PROVIDERS

    assert set(PROVIDERS.values()) <= providers


def test_nothing_of_the_content_is_told_unless_it_is_asked_for():
    """Without content: no question, answer, prompt, code, query or path; with it: all of these, without secrets."""
    content = ["private question", "private answer", "private prompt", "private reply", "private query", "private code"]
    content += ["private print", "diary/private"]
    plain = json.dumps([(span.name, dict(span.attributes)) for span in made().values()])
    assert "private" not in plain
    assert "diary" not in plain
    full = json.dumps([dict(span.attributes) for span in made(redact=lambda text: text.replace(SECRET, "…")).values()])
    assert [word for word in content if word not in full] == []
    assert SECRET not in full


def test_content_has_the_form_of_the_conventions():
    """Messages are JSON with a role and parts; an answer says how it ended."""
    facts = made(redact=str)["call 1"].attributes
    assert json.loads(facts["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": f"private prompt {SECRET}"}]}
    ]
    assert json.loads(facts["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "private reply"}], "finish_reason": "stop"}
    ]


def test_a_span_is_as_long_as_what_is_below_it():
    """Times are those of ledger and trajectory; a step ends with its last call, and begins with its first."""
    spans = made()
    zero = spans["run"].start_ns
    seconds = {name: ((s.start_ns - zero) / 1e9, (s.end_ns - zero) / 1e9) for name, s in spans.items()}
    assert seconds["run"] == (0, 60)
    assert seconds["call 1"] == (1, 4)
    assert seconds["1 of 1"] == (5, 12)
    assert seconds["1"] == (1, 12)
    assert seconds["call 2"] == seconds["2"] == (30, 30)
    replayed = spans_of(RUN, CALLS, [replace(STEPS[1], started_at="2026-11-24T10:00:50.000Z")], provider=None)
    assert (replayed[1].start_ns - zero) / 1e9 == 1, "an attempt before had made its call"


def test_what_failed_is_an_error_with_its_type():
    """A failed run, a cell that raised, a call without an answer are errors; the `error.type` of each says which."""
    spans = made()
    assert {name for name, span in spans.items() if span.failed} == {"1 of 1", "call 2", "call 3"}
    assert spans["1 of 1"].attributes["error.type"] == "raised"
    assert spans["call 3"].attributes["error.type"] == "lost"
    timeout = replace(RUN, status=RunStatus.FAILED, result=Result(RunStatus.FAILED, Outcome.TIMEOUT))
    (root,) = spans_of(timeout, [], [], provider=None)
    assert (root.failed, root.attributes["error.type"]) == (True, "timeout")
    refused = replace(RUN, status=RunStatus.FAILED, started_at=None, result=Result(RunStatus.FAILED, Outcome.BAD_INPUT))
    (root,) = spans_of(refused, [], [], provider=None)
    assert root.end_ns - root.start_ns == 120 * 10**9, "from its save on, where it never began"
