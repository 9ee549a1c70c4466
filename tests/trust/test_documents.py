"""Documents that take for ever stop nobody: not the other conversations, not the stop, not their own run's limit."""

from __future__ import annotations

import signal
from datetime import datetime

import pytest
from behaviour.test_documents import heavy_pdf
from system.harness import Home

from rlmwatch.execution.supervisor import GRACE_S

pytest.importorskip("pypdf")
DOCUMENTS = 8


def test_slow_documents_end_with_their_run_and_nobody_else_notices(home: Home):
    """Eight PDFs that take minutes, under a limit of 3 s: they end, a chat is answered meanwhile, a stop obeyed."""
    slow = heavy_pdf()
    with home.daemon() as daemon:
        for n in range(DOCUMENTS):
            home.save(f"s{n}_job_data/a.pdf", slow)
            home.save(f"s{n}_job_input.txt", "---\nmax_seconds: 3\n---\nread it")
        daemon.wait("run.started", path="s0_job_input.txt")
        home.save("chat_input.txt", "anybody")
        daemon.wait("answer.written", path="chat_output.txt")
        assert not [status for status in home.statuses() if status["status"] == "complete" and status["kind"] == "job"]
        for n in range(DOCUMENTS):
            daemon.wait("run.failed", path=f"s{n}_job_input.txt")
        assert "3 s" in home.read("s0_job_error.txt")
        home.save("t_job_data/a.pdf", slow)
        home.save("t_job_input.txt", "read it")
        daemon.wait("run.started", path="t_job_input.txt")
        assert daemon.stop(signal.SIGTERM) == 0
        stopping, stopped = (daemon.wait(event)["timestamp"] for event in ("stopping", "stopped"))
    took = datetime.fromisoformat(stopped) - datetime.fromisoformat(stopping)
    assert took.total_seconds() < GRACE_S, "it waited as for a call in flight"
