"""
The real watcher, snapshot, SQLite ledger and kernel under any order of saves and kills, beside a plain model.

Takes real seconds: the settle rule waits, so the examples are few and the steps many.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from memory_queue import Surroundings

from rlmwatch.errors import WorkspaceBusy
from rlmwatch.ledger.sqlite.ledger import SqliteLedger
from rlmwatch.watch.save_filter import Ports, WatchConfig
from rlmwatch.watch.watcher import Watcher
from rlmwatch.workspace.owner import FolderLock

T = TypeVar("T")

DEADLINE_S = 30.0
"""Far above what any wait needs; one that takes that long has failed."""

PATHS = st.sampled_from(["a_input.txt", "b_input.txt", "deep/c_input.txt"])
STYLES = st.sampled_from(["in place", "atomic", "truncate, then write", "append", "backup, then new"])


@dataclass
class Daemon:
    """The folder's lock, a watcher and a ledger, as one process would have them."""

    root: Path
    file: Path
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Raise WorkspaceBusy where another daemon has the folder; then nothing was begun."""
        self.lock = FolderLock(self.root, "here", "2026-11-23T09:15:02.000Z", serves=True)
        self.lock.take()
        self.ledger = SqliteLedger.open(self.file)
        around = Surroundings().ports()
        told = around.accepts, around.on_change
        ports = Ports(self.ledger, around.shows, lambda _admission: self.changed.set(), *told)
        self.watcher = Watcher(self.root, WatchConfig(), ports)
        await self.watcher.first_scan()
        self._running = asyncio.create_task(self.watcher.run(asyncio.Event()))

    async def kill(self) -> None:
        """End the watcher wherever it is. The ledger is not closed: what it had committed is there, and no more."""
        self._running.cancel()
        await asyncio.wait([self._running])
        self.lock.release()  # as the kernel does for a process that ends

    async def admitted(self, path: str) -> None:
        """Wait until *path* has a run."""
        async with asyncio.timeout(DEADLINE_S):
            while path not in await self.ledger.known():
                await self.changed.wait()
                self.changed.clear()

    async def rest(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.watcher.until_at_rest()


class WatchForReal(RuleBasedStateMachine):
    """
    The model keeps, per path, every content that was complete at some moment, in order. Whatever happens, this holds.

    1. Only such contents ran, in that order, and none twice in a row.
    2. At rest the content that is in a file is the one that ran last.
    3. A second daemon begins nothing, whatever its ledger and its path to the folder.
    4. Of a path that came to rest after every change, each content ran.
    """

    @initialize()
    def begin(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="rlmwatch-machine-"))
        self.root = self.place / "workspace"
        (self.root / "deep").mkdir(parents=True)
        (self.place / "link").symlink_to(self.root)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.saved: dict[str, list[str]] = {}
        self.hasty: set[str] = set()  # paths that changed again before they came to rest
        self.moved: set[str] = set()  # paths that changed since the last rest
        self.half: dict[str, tuple[BinaryIO, str]] = {}
        self.number = 0
        self.daemons: list[Daemon] = []
        self._start()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_S + 5)

    def _start(self) -> None:
        self.daemon = Daemon(self.root, self.place / "ledger.sqlite3")
        self.daemons.append(self.daemon)
        self._do(self.daemon.start())

    def _text(self) -> str:
        self.number += 1
        return f"text {self.number}\n" * 3

    def _note(self, path: str, text: str | None) -> None:
        """Note in the model that *path* holds *text* now; None: it is gone, or being written."""
        if path in self.moved:
            self.hasty.add(path)
        self.moved.add(path)
        if text is not None:
            self.saved.setdefault(path, []).append(text)

    def _finish(self, path: str) -> None:
        """Let the writer that has *path* open write the rest and close."""
        if path in self.half:
            file, rest = self.half.pop(path)
            file.write(rest.encode())
            file.close()

    @rule(path=PATHS, style=STYLES)
    def save(self, path: str, style: str) -> None:
        self._finish(path)
        file, text = self.root / path, self._text()
        match style:
            case "in place":
                with file.open("wb") as writing:
                    for line in text.encode().splitlines(keepends=True):
                        writing.write(line)
                        writing.flush()
            case "atomic":
                new = file.with_name(f".{file.name}.new")
                new.write_text(text)
                new.replace(file)
            case "truncate, then write":
                file.write_text("")
                file.write_text(text)
            case "append":
                with file.open("a") as writing:
                    writing.write(text)
                text = file.read_text()
            case "backup, then new":
                if file.exists():
                    file.rename(file.with_name(f"{file.name}~"))
                file.write_text(text)
        self._note(path, text)

    @rule(path=PATHS)
    def write_half(self, path: str) -> None:
        """A slow writer: it has the file open, and half of its text in it."""
        self._finish(path)
        text = self._text()
        file = (self.root / path).open("wb", buffering=0)
        file.write(text[:10].encode())
        self.half[path] = (file, text[10:])
        self._note(path, text)

    @precondition(lambda self: self.half)
    @rule(data=st.data())
    def write_the_rest(self, data: st.DataObject) -> None:
        self._finish(data.draw(st.sampled_from(sorted(self.half))))

    @rule(path=PATHS)
    def same_bytes_again(self, path: str) -> None:
        self._finish(path)
        file = self.root / path
        if file.exists():
            file.write_bytes(file.read_bytes())

    @rule(path=PATHS)
    def touch(self, path: str) -> None:
        if (self.root / path).exists():
            os.utime(self.root / path)

    @rule(path=PATHS, other=PATHS)
    def rename(self, path: str, other: str) -> None:
        self._finish(path)
        self._finish(other)
        if path != other and (self.root / path).exists():
            text = (self.root / path).read_text()
            (self.root / path).rename(self.root / other)
            self._note(path, None)
            self._note(other, text)

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        self._finish(path)
        if (self.root / path).exists():
            (self.root / path).unlink()
            self._note(path, None)

    @rule()
    def folder_moves_in(self) -> None:
        text = self._text()
        tree = self.place / f"tree{self.number}"
        (tree / "x").mkdir(parents=True)
        (tree / "x" / "y_input.txt").write_text(text)
        tree.rename(self.root / tree.name)
        self._note(f"{tree.name}/x/y_input.txt", text)

    @rule()
    def kill(self) -> None:
        self._do(self.daemon.kill())
        self._start()

    @rule()
    def kill_and_save_while_down(self) -> None:
        self._do(self.daemon.kill())
        self.save("b_input.txt", "in place")
        self._start()

    @rule(by_a_link=st.booleans())
    def a_second_daemon_is_turned_away(self, by_a_link: bool) -> None:
        """One with a ledger of its own, of another user or environment: it begins nothing."""
        root = self.place / "link" if by_a_link else self.root
        second = Daemon(root, self.place / "second" / "ledger.sqlite3")
        with pytest.raises(WorkspaceBusy):
            self._do(second.start())
        assert not second.file.parent.exists()

    @rule()
    def time_passes(self) -> None:
        """Wait until a later save has run: whatever was due before it was looked at, also what is half written."""
        self.number += 1
        sentinel = f"sentinel{self.number}_input.txt"
        (self.root / sentinel).write_text("seen\n")
        self._do(self.daemon.admitted(sentinel))

    @rule()
    def rest(self) -> None:
        """Wait until everything so far was read, and compare."""
        for path in [*self.half]:
            self._finish(path)
        self.time_passes()
        self._do(self.daemon.rest())
        self._compare()
        self.moved.clear()

    def _compare(self) -> None:
        runs: dict[str, list[str]] = {}
        for run in reversed(self._do(self.daemon.ledger.recent(10_000))):
            if not run.path.startswith("sentinel"):
                runs.setdefault(run.path, []).append(run.prompt)
        for path, prompts in runs.items():
            saved = iter(self.saved[path])
            assert all(prompt in saved for prompt in prompts), f"{path}: {prompts} ran, of {self.saved[path]}"
            assert all(earlier != later for earlier, later in pairwise(prompts)), f"{path}: {prompts}"
        for path, texts in self.saved.items():
            if (self.root / path).exists():
                assert runs.get(path, [""])[-1] == (self.root / path).read_text(), f"{path}: the last save did not run"
            if path not in self.hasty:
                assert runs.get(path, []) == texts, f"{path} had time to be read after each save"

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.rest()
        finally:
            self._do(self.daemon.kill())
            for daemon in self.daemons:
                self._do(daemon.ledger.aclose())
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()
            shutil.rmtree(self.place)


TestWatchForReal = WatchForReal.TestCase
TestWatchForReal.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink what takes seconds would take hours
)
