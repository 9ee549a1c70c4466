"""The watcher in a process of its own: stopped, without rights, and with a kernel that has nothing left to give."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
DEADLINE_S = 60
MAX_EVENTS = Path("/proc/sys/fs/inotify/max_queued_events")


@dataclass
class Child:
    """A watcher in another process."""

    process: subprocess.Popen[str]
    log: Path

    def __post_init__(self) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def next(self) -> dict[str, object]:
        try:
            said: dict[str, object] = json.loads(self._lines.get(timeout=DEADLINE_S))
        except queue.Empty:
            raise AssertionError(self.log.read_text()) from None
        return said

    def runs(self, number: int) -> dict[object, object]:
        """Wait for *number* runs and return prompts by path; no path may run twice."""
        seen: dict[object, object] = {}
        for _ in range(number):
            said = self.next()
            assert said["path"] not in seen
            seen[said["path"]] = said["prompt"]
        return seen


@contextmanager
def child(root: Path, *before: str, rescan_s: float = 60.0) -> Iterator[Child]:
    """Start a watcher on *root*, through the command *before*; it ends with its standard input."""
    log = root.parent / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*before, sys.executable, str(TESTS / "system" / "watch_child.py"), str(root), str(rescan_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=1,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"},
        )
    watcher = Child(process, log)
    try:
        yield watcher
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(DEADLINE_S)
        watcher.reader.join()
        process.stdout.close()


def in_a_namespace(setting: str, value: int) -> list[str]:
    """Return a command that runs another with *setting* of the kernel lowered for it alone; skip where it may not."""
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        f'echo {value} > /proc/sys/user/{setting} && exec "$@"',
    ]
    tried = [*command, "-", "true"]
    if not shutil.which("unshare") or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    return [*command, "-"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def put(root: Path, make: Callable[[int], str], number: int) -> dict[object, object]:
    """Write *number* inputs and return what should run."""
    for n in range(number):
        (root / make(n)).parent.mkdir(parents=True, exist_ok=True)
        (root / make(n)).write_text(f"{n}\n")
    return {make(n): f"{n}\n" for n in range(number)}


def test_events_that_the_kernel_dropped(root: Path):
    """Saves that overflow the kernel's queue while the daemon is stopped are answered, each once."""
    (root / "sub").mkdir()
    number = int(MAX_EVENTS.read_text()) // 2  # created, modified, closed: three events each
    with child(root) as watcher:
        assert watcher.next() == {"ready": 0}
        os.kill(watcher.process.pid, signal.SIGSTOP)
        expected = put(root / "sub", lambda n: f"{n}_input.txt", number)
        os.kill(watcher.process.pid, signal.SIGCONT)
        assert watcher.runs(number) == {f"sub/{name}": text for name, text in expected.items()}
        assert "watch.events_lost" in watcher.log.read_text()
        (root / "sub" / "later_input.txt").write_text("later\n")
        assert watcher.runs(1) == {"sub/later_input.txt": "later\n"}


def test_too_few_watches(root: Path):
    """When the kernel has no watch left the daemon says so, and the folders without one are walked."""
    put(root, lambda n: f"{n}/empty.txt", 40)
    with child(root, *in_a_namespace("max_inotify_watches", 10)) as watcher:
        assert watcher.next() == {"ready": 0}
        expected = put(root, lambda n: f"{n}/note_input.txt", 40)
        assert watcher.runs(40) == expected
        log = watcher.log.read_text()
        assert "watch.too_few_watches" in log
        assert "unwatched=31" in log


@pytest.mark.parametrize("setting", ["max_inotify_instances", "max_inotify_watches"])
def test_no_events_at_all(root: Path, setting: str):
    """When the kernel refuses to watch the daemon says so and walks; a save is answered all the same."""
    with child(root, *in_a_namespace(setting, 0)) as watcher:
        assert watcher.next() == {"ready": 0}
        expected = put(root, lambda n: f"a/{n}_input.txt", 3)
        assert watcher.runs(3) == expected
        assert "watch.no_events" in watcher.log.read_text()


def without_rights() -> list[str]:
    """Return a command that runs another without root's right to read everything."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("cannot give up root's rights here")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_what_may_not_be_read(root: Path):
    """A file or folder without permission is named in the log, stops nothing, and runs once it may be read."""
    put(root, lambda n: ("open_input.txt", "shut_input.txt", "shut/note_input.txt")[n], 3)
    (root / "shut_input.txt").chmod(0)
    (root / "shut").chmod(0)
    with child(root, *without_rights(), rescan_s=0.5) as watcher:
        assert watcher.next() == {"ready": 1}
        assert watcher.runs(1) == {"open_input.txt": "0\n"}
        (root / "last_input.txt").write_text("last\n")
        assert watcher.runs(1) == {"last_input.txt": "last\n"}
        (root / "shut").chmod(0o755)
        (root / "shut_input.txt").chmod(0o644)
        assert watcher.runs(2) == {"shut_input.txt": "1\n", "shut/note_input.txt": "2\n"}
        log = watcher.log.read_text()
    assert log.count("watch.folder_unreadable") == 1
    assert log.count("save.refused") == 1
    assert "watch.too_few_watches" not in log
