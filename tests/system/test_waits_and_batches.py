"""What a run waits for stands in the folder; what it does in great numbers holds up nobody."""

from __future__ import annotations

import json
import signal
import threading
from datetime import datetime

import pytest
from servers.openai_server import DEADLINE_S, Fault, Reply
from system.harness import Brain, Home, OpenAIServer

from rlmwatch import Client, JobStatus
from rlmwatch.execution.supervisor import GRACE_S

OVERLOADED = Fault.status(503, {"error": {"message": "the kitchen is full"}})


def test_while_a_call_is_tried_again_the_status_says_what_for(home: Home, provider: OpenAIServer, brain: Brain):
    """While a provider is asked again, `error` and the progress note say its words; then the answer comes, without."""
    fixed = threading.Event()
    brain.on("please", OVERLOADED, OVERLOADED, Reply("served", until=fixed))
    home.save("a_input.txt", "please")
    with home.daemon() as daemon:
        event = daemon.wait("call.retry_scheduled")
        assert "the kitchen is full" in event["why"]
        assert event["server"] == "openai"
        assert event["again_at"]
        assert not daemon.seen("stamina.retry_scheduled")
        (status,) = (home.workspace / "jobs").glob("*.json")
        text = home.appears(f"jobs/{status.name}", "the kitchen is full", "asked again at")
        found = json.loads(text)
        assert found["status"] == "running"
        assert "the kitchen is full" in found["error"]
        assert "the kitchen is full" in found["progress"]["note"]
        fixed.set()
        daemon.answered("a_output.txt")
    found = home.status_of("a_input.txt")
    assert (found["status"], found["error"], found["partial"]) == ("complete", None, False)


BATCHES = {
    "190,000 prompts": "answer(str(llm_batch(['x'] * 190000)))",
    "thousands by threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(60) as pool:
    list(pool.map(lambda n: llm_batch(['x' * 1000] * 150), range(60)))
""",
    "large prompts": "llm_batch(['x' * 700_000] * 40)",
    "sub-engines": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(60) as pool:
    list(pool.map(lambda n: rlm_query(f'part {n}', 'x' * 10_000), range(60)))
""",
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_run_with_a_great_batch_is_cancelled_and_others_are_answered(home: Home, name: str):
    """Whatever a run has in flight, another conversation is answered meanwhile, and a cancel ends it."""

    def answer(body):
        words = body["messages"][-1]["content"]
        if "go on" in words:
            return f"```python\n{BATCHES[name]}\n```"
        return "hello" if "beside" in words else Fault.stall()

    with OpenAIServer(answer) as server:
        home.provider = server
        client = Client(home.workspace)
        with home.daemon() as daemon:
            job = client.submit("go on", "material", max_seconds=120)
            server.wait_for_calls(2)
            home.save("a_input.txt", "beside")
            daemon.answered("a_output.txt")
            (home.workspace / f"jobs/{job.job_id}.cancel").touch()
            ended = client.wait(job.job_id, timeout=DEADLINE_S)
            assert ended.status is JobStatus.CANCELLED


@pytest.mark.parametrize("name", BATCHES)
def test_a_stop_does_not_wait_for_a_great_batch_and_the_run_goes_on_later(home: Home, name: str):
    """SIGTERM ends the daemon before the grace of a plain call is over; after a restart a cancel ends the same run."""

    def answer(body):
        return f"```python\n{BATCHES[name]}\n```" if "go on" in body["messages"][-1]["content"] else Fault.stall()

    with OpenAIServer(answer) as server:
        home.provider = server
        client = Client(home.workspace)
        with home.daemon() as daemon:
            job = client.submit("go on", "material", max_seconds=120)
            server.wait_for_calls(2)
            daemon.stop(signal.SIGTERM)
            stopping, stopped = (daemon.wait(event)["timestamp"] for event in ("stopping", "stopped"))
        took = datetime.fromisoformat(stopped) - datetime.fromisoformat(stopping)
        assert took.total_seconds() < GRACE_S, "it waited as for a plain call"
        with home.daemon():
            (home.workspace / f"jobs/{job.job_id}.cancel").touch()
            assert client.wait(job.job_id, timeout=DEADLINE_S).status is JobStatus.CANCELLED


@pytest.mark.parametrize("code", [429, 503])
def test_a_stop_does_not_wait_for_a_call_that_is_not_in_flight(home: Home, code: int):
    """A plain run that waits until its provider is asked again is left for the next start at once."""
    busy = Fault.status(code, headers={"Retry-After": "60"})
    with OpenAIServer([busy, "hello"]) as server:
        home.provider = server
        with home.daemon() as daemon:
            home.save("a_input.txt", "is anybody there?")
            daemon.wait("call.retry_scheduled")
            daemon.stop(signal.SIGTERM)
            stopping, stopped = (daemon.wait(event)["timestamp"] for event in ("stopping", "stopped"))
        took = datetime.fromisoformat(stopped) - datetime.fromisoformat(stopping)
        assert took.total_seconds() < GRACE_S, "it waited as for a call in flight"
        with home.daemon() as daemon:
            daemon.answered("a_output.txt")
