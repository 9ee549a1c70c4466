"""workspace/liveness.py: what a status file says of a run, seen from here."""

import json
import os
import socket
import subprocess

import pytest

from rlmwatch import clock
from rlmwatch.client import Client, JobStatus
from rlmwatch.contract.documents import read_status
from rlmwatch.workspace.owner import FolderLock
from rlmwatch.workspace.polling import status, statuses


def put(root, **more):
    """Write a status file of a run that goes on."""
    (root / "jobs").mkdir(exist_ok=True)
    values = {"job_id": "a", "kind": "chat", "status": "running", "input_digest": "sha256:0", "host": "elsewhere"}
    (root / "jobs/a.json").write_text(json.dumps(values | more), encoding="utf-8")


def dead_pid():
    """Return the id of a process that has ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_a_run_of_a_dead_daemon_is_not_shown_as_running(tmp_path):
    """`status`, `jobs` and the client say `pending`, and why: its process is gone."""
    put(tmp_path, host=socket.gethostname(), pid=dead_pid())
    for found in (status(tmp_path, "a"), next(statuses(tmp_path)), Client(tmp_path).status("a")):
        assert found.status is JobStatus.PENDING
        assert "is gone" in found.error


@pytest.mark.parametrize("host", [socket.gethostname(), "elsewhere"])
def test_a_run_of_a_living_daemon_or_another_machine_is_shown_as_it_says(tmp_path, host):
    """What cannot be known from here is not guessed."""
    put(tmp_path, host=host, pid=os.getpid() if host != "elsewhere" else dead_pid())
    assert status(tmp_path, "a").status is JobStatus.RUNNING


def test_a_number_that_another_process_got_is_not_the_daemon(tmp_path):
    """After a restart of the machine its processes have the numbers of earlier ones: what began later is not it."""
    put(tmp_path, host=socket.gethostname(), pid=os.getpid(), updated_at="2020-01-01T00:00:00.000Z")
    assert status(tmp_path, "a").status is JobStatus.PENDING
    put(tmp_path, host=socket.gethostname(), pid=os.getpid(), updated_at=clock.utc())
    assert status(tmp_path, "a").status is JobStatus.RUNNING


def test_who_holds_the_folder_runs_whatever_the_clock_said(tmp_path):
    """A daemon that wrote its file before the clock of the machine was set is there as long as it holds the folder."""
    put(tmp_path, host=socket.gethostname(), pid=os.getpid(), updated_at="1970-01-01T00:00:00.000Z")
    lock = FolderLock(tmp_path, "here", clock.utc(), serves=True)
    lock.take()
    try:
        assert status(tmp_path, "a").status is JobStatus.RUNNING
    finally:
        lock.release()


def test_held_is_a_status_that_has_not_ended_and_a_reader_of_version_1_still_finds_its_ends(tmp_path):
    """Schema version 2 adds a word and changes nothing else; a held run may run again, so it is no later stage."""
    put(tmp_path, status="held", schema_version=2, error="no key", pid=dead_pid(), host=socket.gethostname())
    held = Client(tmp_path).status("a")
    assert (held.status, held.ended, held.error) == (JobStatus.HELD, False, "no key")
    assert JobStatus.HELD.stage == JobStatus.RUNNING.stage
    assert [word for word in JobStatus if word.ended] == ["complete", "failed", "cancelled"]
    old = {"schema_version": 1, "job_id": "a", "kind": "chat", "status": "running"}
    assert read_status(json.dumps(old).encode(), job_id="a").status is JobStatus.RUNNING
