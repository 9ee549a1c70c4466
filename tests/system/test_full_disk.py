"""The disk of the private state fills under a run: nothing that was paid for is lost (issue 13, row 2)."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from servers.openai_server import Answer, OpenAIServer, Reply
from system.daemon import Daemon
from system.harness import Home
from system.researching import Body, Coder

CALLS = "for n in range(3): print(llm_query(f'part {n}'))"
LIMIT_S = 4
FULL_CHILD = Path(__file__).with_name("full_child.py")


def in_mounts_of_its_own(state: Path) -> tuple[str, ...]:
    """Return the command before a daemon's that gives *state* a small disk; skip where nobody may mount."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("a sandbox needs more than one user id, so that only root can give a daemon its own mounts")
    mount = f"mount -t tmpfs -o size=8m none {state}"
    tried = subprocess.run(["unshare", "--mount", "sh", "-ec", mount], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("nothing can be mounted here")
    return ("unshare", "--mount", "sh", "-ec", f'{mount}; exec "$@"', "-")


def inside(daemon: Daemon, script: str) -> None:
    """Run a shell script among the mounts that *daemon* sees."""
    subprocess.run(
        ["nsenter", f"--target={daemon.pid}", "--mount", "sh", "-ec", script],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip


def test_a_run_of_the_engine_waits_for_space_beyond_its_time_limit(tmp_path: Path):
    """
    A sub-call's reply that cannot be stored waits in memory and takes nothing of the run's time: it had ended.

    A later save waits behind it; both are answered once there is space, and each call is paid for once.
    """
    goes_on = threading.Event()
    coder = Coder()
    coder.on("letters", CALLS, "answer('the end')")
    subs = 0

    def sub(_body: Body) -> Answer:
        nonlocal subs
        subs += 1
        return Reply("counted", until=goes_on) if subs == 2 else "counted"

    coder.sub = sub
    with OpenAIServer(coder) as provider:
        home = Home(tmp_path / "home", provider)
        home.states.mkdir()
        with home.daemon(before=in_mounts_of_its_own(home.states)) as daemon:
            home.save("a_job_data.txt", "x" * 500)
            home.save("a_job_input.txt", f"---\nmax_seconds: {LIMIT_S}\n---\ncount the letters")
            provider.wait_for_calls(3)
            inside(daemon, f"cat /dev/zero > {home.states}/fill || true")
            goes_on.set()
            daemon.wait("ledger.waiting")
            status = next(home.workspace.glob("jobs/*.json")).relative_to(home.workspace).as_posix()
            home.appears(status, "kept in memory")
            home.save("a_job_input.txt", "count the letters again")
            with pytest.raises(AssertionError):  # for longer than its time limit it neither ends nor asks
                daemon.wait("run.failed", timeout=LIMIT_S + 1)
            assert provider.count == 3
            inside(daemon, f"rm {home.states}/fill")
            daemon.answered("a_job_output.txt", 2)
        statuses = home.statuses()
    assert [(each["outcome"], each["answer"]) for each in statuses] == [("success", "the end")] * 2
    assert [each["usage"]["llm_calls"] for each in statuses] == [5, 5]
    assert provider.count == 10


def test_a_stop_while_a_reply_waits_for_the_disk_is_clean(tmp_path: Path):
    """SIGTERM ends the daemon with status 0 meanwhile; its log has no error that nobody can act on."""
    goes_on = threading.Event()
    with OpenAIServer(lambda _body: Reply("the answer", until=goes_on)) as provider:
        home = Home(tmp_path / "home", provider)
        home.states.mkdir()
        with home.daemon(before=in_mounts_of_its_own(home.states)) as daemon:
            home.save("a_input.txt", "dear")
            provider.wait_for_calls(1)
            inside(daemon, f"cat /dev/zero > {home.states}/fill || true")
            goes_on.set()
            daemon.wait("ledger.waiting")
            status = next(home.workspace.glob("jobs/*.json")).relative_to(home.workspace).as_posix()
            home.appears(status, "kept in memory")
            assert daemon.stop() == 0
            assert [line for line in daemon.log if line["level"] == "error"] == []


def test_a_save_that_cannot_be_admitted_is_told_beside_it(tmp_path: Path):
    """While the ledger can take no save, its error file says so; it is asked by itself, and the text goes."""
    with OpenAIServer(lambda _body: "the answer") as provider:
        home = Home(tmp_path / "home", provider)
        home.states.mkdir()
        with home.daemon(before=in_mounts_of_its_own(home.states)) as daemon:
            home.save("warm_input.txt", "warm up")
            daemon.answered("warm_output.txt")
            inside(daemon, f"cat /dev/zero > {home.states}/fill || true")
            home.save("a_input.txt", "---\ntokens: many\n---\n" + "long " * 10_000)
            home.save("b_input.txt", "long " * 10_000)
            for name in ("a", "b"):
                home.appears(f"{name}_error.txt", "the disk is full", "not asked yet")
            home.save("b_input.txt", " \n")  # thought better of it
            assert provider.count == 1
            inside(daemon, f"rm {home.states}/fill")
            daemon.wait("run.failed", path="a_input.txt")
            assert "tokens" in home.appears("a_error.txt", "line 2")
            home.save("b_input.txt", "short")
            daemon.answered("b_output.txt")
            assert not home.exists("b_error.txt")
    assert provider.count == 2


def test_a_run_whose_end_cannot_be_stored_ends_once_there_is_space(tmp_path: Path):
    """
    The disk fills after the reply was recorded and before the run's end is: nothing is asked or paid again.

    A later save waits behind it, whose answer has the first one in its memory.
    """
    with OpenAIServer(lambda body: f"to {len(body['messages'])} messages") as provider:
        home = Home(tmp_path / "home", provider)
        home.states.mkdir()
        program = [str(FULL_CHILD), str(home.workspace), "call.recorded", f"{home.states}/fill"]
        with home.daemon(before=in_mounts_of_its_own(home.states), program=program) as daemon:
            home.save("chat_input.txt", "first")
            daemon.wait("ledger.waiting")
            home.save("chat_input.txt", "second " * 3000)
            assert not home.exists("chat_output.txt")
            inside(daemon, f"rm {home.states}/fill")
            daemon.answered("chat_output.txt", 2)
        statuses = home.statuses()
    assert [each["status"] for each in statuses] == ["complete"] * 2
    assert [turn.strip()[:6] for turn in home.turns("chat_state.json")] == ["first", "second"]
    assert provider.count == 2
    first, second = ([message["role"] for message in call.body["messages"]] for call in provider.calls)
    assert len(second) == len(first) + 2
