"""Files of the workspace that are large, or whose values are: they cost little memory, and stop nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from system.harness import Home

FILE_MB = 12
"""Of `{},`: the parser makes 60 bytes of each."""
COSTLY_MB = 250
CHEAP_MB = 120
"""Three times the file (bytes, text, text without strings), and slack; far below what its values take."""
FAULTS_MB = 200
"""pydantic takes 400 bytes for each value that is wrong, and took 1,300 to tell them all."""
DAEMON_MB = 400
"""A daemon with all its libraries takes 100."""

CHILD = """
import json, sys
from pathlib import Path
from rlmwatch.contract.names import InputName, Submission, classify
from rlmwatch.runs.submitted import to_submission
from rlmwatch.workspace import jobs, memory, polling, session

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

root, now = Path(sys.argv[1]), "2026-11-24T09:30:00Z"
before = peak()
{read}
print(peak() - before)
"""

READERS = {
    "the memory of a chat": 'print(memory.load_chat(root, classify("chat_input.txt"), now=now).warning)',
    "a session": 'print(session.SessionFile(root, root / "chat_state.json", "x").load(now=now)[1])',
    "ended runs": 'print(jobs.ended(root, ["a"]))',
    "what was answered": 'print(memory.shown_runs(root, ["a"]), memory.beside(root, classify("chat_input.txt")))',
    "the list for pollers": "print(list(polling.statuses(root)))",
    "a job file": (
        'raw = (root / "jobs/a.json").read_bytes()\n'
        'print(repr(to_submission(classify("jobs/a.json"), raw, size=len(raw), max_bytes=100_000_000))[:200])'
    ),
}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a workspace whose state and job files hold millions of empty objects."""
    content = '{"status": "complete", "input_digest": "x", "data": [' + "{}," * (FILE_MB * 1_000_000 // 3) + "{}]}"
    (tmp_path / "jobs").mkdir()
    for name in ("chat_state.json", "jobs/a.json"):
        (tmp_path / name).write_text(content)
    return tmp_path


def cost_mb(root: Path, read: str) -> float:
    """Return by how much the peak memory of a process grows that does *read*."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(read=read), str(root)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def test_what_parsing_such_a_file_costs(hostile: Path):
    """Control: its values take many times its size."""
    assert cost_mb(hostile, 'json.loads((root / "jobs/a.json").read_bytes())') > COSTLY_MB


@pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))
def test_structure_is_bounded_before_it_is_parsed(hostile: Path, read: str):
    """Whoever reads a file of the workspace spends little on one that is all structure."""
    assert cost_mb(hostile, read) < CHEAP_MB


@pytest.mark.parametrize(
    ("read", "content"),
    [
        ("the memory of a chat", '{"turns": [' + "{}," * 160_000 + "{}]}"),
        ("a session", '{"turns": [' + "{}," * 160_000 + "{}]}"),
        ("the list for pollers", '{"status": "pending", "notes": [' + "1," * 249_000 + "1]}"),
        ("a job file", '{"status": "pending", "task": "x", "context": [' + "1," * 249_000 + "1]}"),
    ],
)
def test_faults_without_number_cost_little(tmp_path: Path, read: str, content: str):
    """Half a megabyte in which every value is wrong is refused in one sentence, not in one for each."""
    (tmp_path / "jobs").mkdir()
    for name in ("chat_state.json", "jobs/a.json"):
        (tmp_path / name).write_text(content)
    assert cost_mb(tmp_path, READERS[read]) < FAULTS_MB


def peak_mb(pid: int) -> float:
    """Return the most memory that the process *pid* ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@pytest.mark.parametrize(
    ("content", "why"),
    [('{"turns": [' + "{}," * 10_000_000 + "{}]}", "items"), ('{"turns": [], "x": "' + "x" * 32_000_000 + '"}', "MB")],
    ids=["structure", "size"],
)
def test_a_state_file_that_is_too_large_is_set_aside_and_that_is_told(home: Home, content: str, why: str):
    """The conversation starts afresh; the file is kept, and log and notes say why."""
    home.save("chat_state.json", content)
    home.save("chat_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.answered("chat_output.txt")
        daemon.wait("memory.moved_aside", path="chat_state.json", why=lambda said: why in said)
        assert peak_mb(daemon.pid) < DAEMON_MB
    (aside,) = home.workspace.glob("chat_state.json.corrupt-*")
    assert aside.stat().st_size == len(content)
    assert any(aside.name in note and why in note for note in home.status_of("chat_input.txt")["notes"])
    assert home.turns("chat_state.json") == ["hello"]


@pytest.mark.parametrize("megabytes", [9, 60])
def test_a_job_file_that_is_all_structure_has_failed_and_says_so(home: Home, megabytes: int):
    """It costs the daemon little, what was written is kept, and other jobs are answered."""
    content = '{"status": "pending", "task": "x", "data": [' + "{}," * (megabytes * 1_000_000 // 3) + "{}]}"
    home.save("jobs/a.json", content)
    with home.daemon() as daemon:
        daemon.wait("run.failed", path="jobs/a.json")
        home.save("chat_input.txt", "hello")
        daemon.answered("chat_output.txt")
        assert peak_mb(daemon.pid) < DAEMON_MB
    assert (home.workspace / "jobs/a.json.rejected").stat().st_size == len(content)
    (status,) = [each for each in home.statuses() if each["job_id"] == "a"]
    assert (status["outcome"], "data_path" in status["error"]) == ("bad_input", True)
