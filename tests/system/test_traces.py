"""Traces of a real daemon, told to a collector on loopback (issue 17, point 4)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from servers.hook_server import HookServer
from servers.openai_server import OpenAIServer
from system.daemon import DEADLINE_S
from system.harness import KEY, MODEL, Brain, Home
from system.researching import Coder

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
from servers.otlp import Received, spans_in


def received(collector: HookServer) -> list[Received]:
    return [span for told in collector.told for span in spans_in(told.body)]


def home_with(folder: Path, provider: OpenAIServer, collector: str, more: str = "") -> Home:
    home = Home(folder / "home", provider)
    home.set(f'traces = "{collector}"\n{more}[prices."{MODEL}"]\ninput = 0\noutput = 1000\n')
    return home


def test_a_run_its_steps_and_its_calls_are_one_trace_without_content(tmp_path: Path):
    """A job by the engine: run → step → call, with models, tokens and cost; no word of question, material or answer."""
    coder = Coder()
    coder.on("hushed", "found = llm_query('whispered prompt')\nprint(found)", "answer('muffled answer ' + found)")
    coder.sub = lambda _body: "quiet reply"
    with OpenAIServer(coder) as provider, HookServer([200]) as collector:
        home = home_with(tmp_path, provider, f"http://{collector.place}")
        home.save("veiled_job_data.txt", "shrouded material")
        with home.daemon() as daemon:
            home.save("veiled_job_input.txt", "hushed question")
            daemon.answered("veiled_job_output.txt")
            collector.wait(1)
        status = home.status_of("veiled_job_input.txt")
    assert "muffled answer quiet reply" in home.read("veiled_job_output.txt")
    spans = received(collector)
    by_id = {span.span_id: span for span in spans}
    (run,) = [span for span in spans if not span.parent_id]
    assert (run.name, run.facts["rlmwatch.run.id"]) == ("invoke_agent rlmwatch", status["job_id"])
    steps = [span for span in spans if span.name.startswith("step ")]
    assert [(span.name, by_id[span.parent_id]) for span in steps] == [("step 1", run), ("step 2", run)]
    calls = [span for span in spans if span.name == f"chat {MODEL}"]
    assert [by_id[span.parent_id].name for span in calls] == ["step 1", "step 1", "step 2"]
    assert len(spans) == 1 + len(steps) + len(calls)
    assert {span.trace_id for span in spans} == {run.trace_id}
    for span in calls:
        assert span.is_client
        assert (span.facts["gen_ai.operation.name"], span.facts["gen_ai.provider.name"]) == ("chat", "openai")
        assert run.start_ns <= by_id[span.parent_id].start_ns <= span.start_ns <= span.end_ns <= run.end_ns
    assert sum(span.facts["gen_ai.usage.output_tokens"] for span in calls) == run.facts["gen_ai.usage.output_tokens"]
    assert sum(span.facts["rlmwatch.cost_usd"] for span in calls) == pytest.approx(status["usage"]["cost_usd"])
    sent = b"".join(told.body for told in collector.told)
    words = ("hushed", "whispered", "quiet", "muffled", "shrouded", "veiled", KEY, str(home.workspace))
    assert [word for word in words if word.encode() in sent] == []


def test_content_is_told_where_it_is_asked_for_and_never_a_key(tmp_path: Path):
    """With `traces_content` prompts and answers go along, a known key in them does not."""
    brain = Brain()
    brain.on("my key", f"your key is {KEY}")
    with OpenAIServer(brain) as provider, HookServer([200]) as collector:
        home = home_with(tmp_path, provider, f"http://{collector.place}/v1/traces", "traces_content = true\n")
        with home.daemon() as daemon:
            home.save("chat_input.txt", "what is my key?")
            daemon.answered("chat_output.txt")
            collector.wait(1)
    run, call = received(collector)
    assert call.parent_id == run.span_id
    for span in (run, call):
        assert "what is my key?" in span.facts["gen_ai.input.messages"]
        assert "your key is" in span.facts["gen_ai.output.messages"]
    assert KEY.encode() not in b"".join(told.body for told in collector.told)


@pytest.mark.parametrize("manner", ["refuses", "hangs"])
def test_a_dead_collector_costs_no_run_anything_and_is_said_once(tmp_path: Path, manner: str):
    """Runs are answered beside it, and it is one warning, whether it refuses or says nothing."""
    with OpenAIServer(Brain()) as provider, socket.create_server(("127.0.0.1", 0)) as server:
        home = home_with(tmp_path, provider, f"http://127.0.0.1:{server.getsockname()[1]}")
        home.variables["OTEL_EXPORTER_OTLP_TIMEOUT"] = "0.3"
        if manner == "refuses":
            server.close()
        with home.daemon() as daemon:
            for name in ("a", "b", "c"):
                home.save(f"{name}_input.txt", f"question {name}")
                daemon.answered(f"{name}_output.txt")
            assert daemon.wait("traces.unavailable")["level"] == "warning"
            home.save("last_input.txt", "one more")
            daemon.answered("last_output.txt")
            assert daemon.stop() == 0
        assert len(daemon.seen("traces.unavailable")) == 1
        assert "opentelemetry" not in daemon.said.lower()


def test_a_stop_does_not_wait_for_a_hanging_collector(tmp_path: Path):
    """A collector that says nothing for its whole time limit, ten minutes, does not keep the daemon from its end."""
    with OpenAIServer(Brain()) as provider, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_S)
        home = home_with(tmp_path, provider, f"http://127.0.0.1:{server.getsockname()[1]}")
        home.variables["OTEL_EXPORTER_OTLP_TIMEOUT"] = "600"
        with home.daemon() as daemon:
            home.save("chat_input.txt", "one")
            daemon.answered("chat_output.txt")
            with server.accept()[0]:
                assert daemon.stop() == 0


def test_what_was_answered_just_before_a_stop_is_told(tmp_path: Path):
    """`run --once` ends with its answer, and its trace has gone."""
    with OpenAIServer(Brain()) as provider, HookServer([200]) as collector:
        home = home_with(tmp_path, provider, f"http://{collector.place}")
        home.save("chat_input.txt", "one")
        assert home.cli("run", "--once", str(home.workspace)).returncode == 0
        assert [span.name for span in received(collector)] == ["invoke_agent rlmwatch", f"chat {MODEL}"]
