"""daemon/traces.py and otlp.py: loaded where traces are asked for; what a collector is sent, and why it took none."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys

import pytest
from servers.hook_server import HookServer

from rlmwatch.daemon.traces import secrets_of
from rlmwatch.runs.spans import Span

RUN = Span("invoke_agent rlmwatch", 5, 1, None, "internal", 10**18, 10**18 + 9, {"gen_ai.agent.name": "rlmwatch"})
CALL = Span("chat m", 5, 2, 1, "client", 10**18 + 1, 10**18 + 8, {"gen_ai.usage.input_tokens": 3}, failed=True)


@pytest.fixture
def collector_at(monkeypatch):
    """Make collectors whose exporter gives up soon, and close them."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from rlmwatch.daemon.otlp import Collector

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    made = []

    def make(address: str) -> Collector:
        made.append(Collector(address))
        return made[-1]

    yield make
    for collector in made:
        collector.close()
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)


def test_nothing_of_opentelemetry_is_loaded_before_the_first_run_is_told():
    """A daemon without traces loads nothing of OpenTelemetry; with them, nothing either until a run has ended."""
    theirs = "[n for n in sys.modules if n.startswith('opentelemetry')]"
    code = f"import rlmwatch.cli.run, rlmwatch.daemon.traces, sys; rlmwatch.daemon.traces.is_installed; print({theirs})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_values_of_headers_are_secrets():
    """Keys for the collector, as they stand in the standard variables and as they are sent, are kept out of the log."""
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=abcdef123, authorization=Basic%20dXNlcg==",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "",
    }
    assert set(secrets_of(environ)) == {"abcdef123", "Basic%20dXNlcg==", "Basic dXNlcg=="}
    assert secrets_of({}) == []


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_a_collector_is_sent_the_spans_as_they_are(collector_at, monkeypatch, path):
    """Ids, parents, kinds, times and errors arrive; who tells is rlmwatch, unless the variable says another."""
    from servers.otlp import spans_in

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=for-the-collector")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-notes")
    with HookServer([200]) as server:
        assert collector_at(f"http://{server.place}{path}").send([RUN, CALL]) is None
        (told,) = server.told
    assert (told.path, told.headers["api-key"]) == ("/v1/traces", "for-the-collector")
    run, call = spans_in(told.body)
    assert (run.name, run.parent_id, run.is_client, run.is_error) == ("invoke_agent rlmwatch", b"", False, False)
    assert run.trace_id == call.trace_id == (5).to_bytes(16)
    assert (run.span_id, call.span_id, call.parent_id) == ((1).to_bytes(8), (2).to_bytes(8), (1).to_bytes(8))
    assert (call.start_ns, call.end_ns, call.is_client, call.is_error) == (10**18 + 1, 10**18 + 8, True, True)
    assert call.facts == {"gen_ai.usage.input_tokens": 3}
    assert run.service["service.name"] == "my-notes"


def test_the_standard_variable_switches_it_off(collector_at, monkeypatch):
    """With `OTEL_SDK_DISABLED=true` nothing is sent."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with HookServer([200]) as server:
        assert collector_at(f"http://{server.place}").send([RUN, CALL]) is None
        assert server.told == []


@pytest.mark.parametrize(
    ("status", "words"), [(401, "HTTP 401"), (400, "HTTP 400"), (503, "HTTP 503"), (307, "Redirects are not followed")]
)
def test_why_a_collector_took_nothing_is_said(collector_at, status, words):
    """A refusal, a fault and a redirect are named; a key does not follow to where a redirect leads."""
    with HookServer([200]) as elsewhere, HookServer([status], location=elsewhere.url) as server:
        why = collector_at(f"http://user:made-up-password@{server.place}").send([RUN, CALL])
        assert server.told[0].headers["authorization"].startswith("Basic ")
        assert elsewhere.told == []
    assert words in why
    assert "made-up-password" not in why


def test_a_collector_that_is_not_there_or_says_nothing_is_given_up(collector_at, caplog):
    """A refused connection and a silent server end in words, within the exporter's time; the library logs nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert "timed out" in collector_at(f"http://127.0.0.1:{port}").send([RUN, CALL])
    assert "refused" in collector_at(f"http://127.0.0.1:{port}").send([RUN, CALL])
    assert caplog.records == []
