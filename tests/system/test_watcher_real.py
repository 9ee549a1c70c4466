# ruff: noqa: ASYNC240 (these tests are the people and programs that change the folder)
"""The watcher on real folders: real operations, the kernel's events, real faults."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from memory_queue import Surroundings
from saves.replay import Replayer, load
from structlog.testing import capture_logs

from rlmwatch.contract.text import digest
from rlmwatch.runs.queue import Known
from rlmwatch.watch.save_filter import Ports, WatchConfig
from rlmwatch.watch.watcher import Watcher
from rlmwatch.workspace.snapshot import signature

TRACES = Path(__file__).parent.parent / "saves" / "traces"
DEADLINE_S = 30.0
"""Far above what any test needs; a test that waits that long has failed."""

PLAYED = (
    "shell-redirect-existing",  # in-place
    "vim-nowb-new",  # create-new
    "vim-wq-existing",  # backup-rename-rewrite
    "nvim-default-existing",
    "rsync-default",  # temp-rename
    "npm-write-file-atomic",
    "pluma-existing",  # temp-rename-probed
    "sed-i-bak",  # swap-two-renames
    "git-checkout-branch",  # unlink-create
    "shell-mv-in-same-fs-over",  # rename-in
    "rsync-delay-updates",
    "shell-ln-hard",  # link-in
    "py-mmap",  # mapped-write
    "py-chunks-sleep",  # slow-in-place
    "py-writer-never-closes",
    "py-two-saves-1s",  # several-saves
    "py-burst-100",
    "delete-recreate",
    "cp-r-dir-in",  # folder-arrives
    "mkdir-then-file",
    "trash-restore",  # goes-away
    "shell-touch",  # no-change
    "shell-touch-new-empty",
    "syncthing-conflict",  # conflict-copy
    "syncthing-output-conflict",  # other-files
    "shell-ln-sym",  # symlink
    "sshfs-remote-save",  # remote-silent: with events here
)


@dataclass
class Live:
    """A running watcher and what it was told to admit."""

    root: Path
    around: Surroundings
    watcher: Watcher
    waiting: int
    changed: asyncio.Event
    sentinels: int = 0

    def put(self, path: str, text: str = "hello\n") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait until *happened*, asked after every admission and log line's turn of the loop."""
        async with asyncio.timeout(DEADLINE_S):
            while not happened():
                try:
                    async with asyncio.timeout(0.05):
                        await self.changed.wait()
                except TimeoutError:
                    continue
                finally:
                    self.changed.clear()

    async def admitted(self, path: str, text: str | None = None) -> None:
        prompts = self.around.queue.prompts
        await self.until(lambda: (text in prompts(path)) if text is not None else prompts(path))

    async def settled(self) -> None:
        """Wait until a later save was seen, and everything before it was read."""
        self.sentinels += 1
        self.put("sentinel_input.txt", f"sentinel {self.sentinels}\n")
        await self.admitted("sentinel_input.txt", f"sentinel {self.sentinels}\n")
        await self.until(lambda: self.watcher.at_rest)

    def runs(self, path: str) -> list[str]:
        return self.around.queue.prompts(path)


@asynccontextmanager
async def watching(
    root: Path, around: Surroundings | None = None, config: WatchConfig | None = None
) -> AsyncIterator[Live]:
    around = around or Surroundings()
    changed = asyncio.Event()
    ports = around.ports()

    def told(admission: object) -> None:
        around.admissions.append(admission)  # type: ignore[arg-type]
        changed.set()

    watcher = Watcher(
        root,
        config or WatchConfig(check_s=0.1),
        Ports(ports.queue, ports.shows, told, ports.accepts, ports.on_change),
    )
    waiting = await watcher.first_scan()
    stop = asyncio.Event()
    running = asyncio.create_task(watcher.run(stop))
    try:
        yield Live(root, around, watcher, waiting, changed)
    finally:
        stop.set()
        await running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def test_recorded_saves_as_real_operations(root: Path, tmp_path: Path):
    """What real savers do to a folder starts the right runs, though all of them work at once."""
    replayers = []
    around = Surroundings()
    for name in PLAYED:
        replayer = Replayer(load(TRACES / f"{name}.json"), root / name)
        replayer.elsewhere = tmp_path / "elsewhere" / name
        replayer.prepare()
        for path in replayer.trace["before"]:
            file = root / name / path
            if not file.is_symlink():
                around.queue.inputs[f"{name}/{path}"] = Known(digest(file.read_bytes()), signature(file.stat()))
        replayers.append(replayer)

    async def go() -> Live:
        async with watching(root, around, WatchConfig(max_bytes=100_000_000)) as live:
            with ThreadPoolExecutor(len(replayers)) as threads:
                loop = asyncio.get_running_loop()
                await asyncio.gather(*(loop.run_in_executor(threads, r.run, 1.0, 7.0) for r in replayers))
            await live.settled()
            return live

    live = asyncio.run(go())
    assert live.waiting == 0
    for name, replayer in zip(PLAYED, replayers, strict=True):
        mine = [save for save in around.queue.saves if save.path.startswith(f"{name}/")]
        runs = {(save.path.removeprefix(f"{name}/"), save.digest) for save in mine}
        least, most = (0, 0) if name == "shell-ln-sym" else replayer.trace["accept_runs"]
        assert least <= len(mine) <= most, name
        assert runs <= {(path, digest(text)) for path, text in replayer.admissible()}, name
        last = {path: known.digest for path, known in around.queue.inputs.items()}
        if name != "shell-ln-sym":
            for path, text in replayer.expected():
                assert last[f"{name}/{path}"] == digest(text), name


def test_what_was_saved_while_nobody_watched_is_found(root: Path):
    """At the start, unanswered inputs are counted before any is admitted; the answered ones stay answered."""
    around = Surroundings()
    for number in range(30):
        (root / f"{number}_input.txt").write_text(f"{number}\n")
    (root / "blank_input.txt").write_text("\n")
    (root / "old_input.txt").write_text("old\n")
    (root / "again_input.txt").write_text("again\n")
    around.answered.digests["old_input.txt"] = digest(b"old\n")
    around.queue.inputs["again_input.txt"] = Known(digest(b"again\n"), None)

    async def go() -> None:
        async with watching(root, around) as live:
            assert live.waiting == 30
            assert around.queue.runs == []
            await live.until(lambda: len(around.queue.runs) == 30)
            await live.settled()

    asyncio.run(go())
    assert len(around.queue.runs) == 31
    assert "old_input.txt" not in around.queue.prompts()
    assert around.queue.inputs["old_input.txt"].signature == signature((root / "old_input.txt").stat())
    assert around.queue.inputs["again_input.txt"].signature == signature((root / "again_input.txt").stat())


def test_a_save_between_the_first_scan_and_the_loop_is_not_lost(root: Path):
    """The kernel is asked before the folder is walked, so nothing falls between."""

    async def go() -> None:
        stop = asyncio.Event()
        around = Surroundings(admissions=Stopper(stop))
        watcher = Watcher(root, WatchConfig(), around.ports())
        assert await watcher.first_scan() == 0
        (root / "note_input.txt").write_text("hello\n")
        async with asyncio.timeout(DEADLINE_S):
            await watcher.run(stop)
        assert around.queue.prompts() == ["hello\n"]

    class Stopper(list):
        def __init__(self, stop: asyncio.Event) -> None:
            self.stop = stop

        def append(self, item: object) -> None:
            self.stop.set()

    asyncio.run(go())


def test_the_same_bytes_again_start_nothing(root: Path):
    """A second save of the same text, a touch and a copy over itself start no run."""

    async def go() -> None:
        async with watching(root) as live:
            live.put("note_input.txt")
            await live.admitted("note_input.txt")
            live.put("note_input.txt")
            os.utime(root / "note_input.txt")
            shutil.copy(root / "note_input.txt", root / ".copy")
            (root / ".copy").replace(root / "note_input.txt")
            await live.settled()
            assert live.runs("note_input.txt") == ["hello\n"]

    asyncio.run(go())


def test_a_thousand_saves_in_a_second(root: Path):
    """A script that writes a thousand questions gets a thousand runs."""

    async def go() -> None:
        async with watching(root) as live:
            await asyncio.to_thread(lambda: [live.put(f"{n % 50}/{n}_input.txt", f"{n}\n") for n in range(1000)])
            await live.until(lambda: len(live.around.queue.runs) == 1000)
            await live.settled()
            assert len(live.around.queue.runs) == 1001

    asyncio.run(go())


def test_folders_made_and_filled_at_once(root: Path):
    """A hundred folders that are made and filled faster than they can be watched lose no question."""

    async def go() -> None:
        async with watching(root) as live:
            await asyncio.to_thread(lambda: [live.put(f"a{n}/b/c/note_input.txt", f"{n}\n") for n in range(100)])
            await live.until(lambda: len(live.around.queue.runs) == 100)
            live.put("a7/b/c/note_input.txt", "7, changed\n")
            await live.admitted("a7/b/c/note_input.txt", "7, changed\n")
            await live.settled()
            assert len(live.around.queue.runs) == 102

    asyncio.run(go())


def test_a_folder_that_is_moved_in(root: Path, tmp_path: Path):
    """A folder with questions that is moved into the workspace is answered, and watched from then on."""
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "note_input.txt").write_text("hello\n")

    async def go() -> None:
        async with watching(root) as live:
            tree.rename(root / "moved")
            await live.admitted("moved/deep/note_input.txt")
            live.put("moved/deep/note_input.txt", "more\n")
            await live.admitted("moved/deep/note_input.txt", "more\n")

    asyncio.run(go())


def test_what_only_looks_like_an_input_is_refused(root: Path, tmp_path: Path):
    """A pipe and a link with an input's name are refused with a reason; a folder of that name is a folder."""
    (tmp_path / "secret").write_text("secret\n")

    async def go() -> None:
        with capture_logs() as logs:
            async with watching(root) as live:
                os.mkfifo(root / "pipe_input.txt")
                (root / "link_input.txt").symlink_to(tmp_path / "secret")
                (root / "folder_input.txt").mkdir()
                live.put("folder_input.txt/note_input.txt")
                await live.admitted("folder_input.txt/note_input.txt")
                await live.settled()
                assert len(live.around.queue.runs) == 2
        refused = {log["path"]: log["reason"] for log in logs if log["event"] == "save.refused"}
        assert refused == {"pipe_input.txt": "a pipe", "link_input.txt": "a link"}

    asyncio.run(go())


@pytest.mark.parametrize("how", ["deleted", "moved away", "replaced"])
def test_a_root_that_goes_and_comes_back(root: Path, tmp_path: Path, how: str):
    """When the workspace goes the daemon says so and waits; when it is back, so are its answers, without a repeat."""

    async def go() -> None:
        with capture_logs() as logs:
            async with watching(root) as live:
                live.put("note_input.txt")
                await live.admitted("note_input.txt")
                if how == "replaced":
                    new = tmp_path / "new"
                    shutil.copytree(root, new)
                    root.rename(tmp_path / "old")
                    new.rename(root)
                else:
                    root.rename(tmp_path / "old")
                    if how == "deleted":
                        shutil.rmtree(tmp_path / "old")
                    await live.until(lambda: live.watcher.paused)
                    if how == "deleted":
                        root.mkdir()
                        live.put("note_input.txt")
                    else:
                        (tmp_path / "old").rename(root)
                await live.until(lambda: any(log["event"] == "watch.restarted" for log in logs))
                live.put("deep/er_input.txt")
                await live.admitted("deep/er_input.txt")
                await live.settled()
                assert live.runs("note_input.txt") == ["hello\n"]
                assert live.watcher.paused is None
                assert not live.watcher.polling

    asyncio.run(go())


def test_a_workspace_that_comes_late(root: Path):
    """A daemon that starts before its folder is mounted waits for it."""

    async def go() -> None:
        root.rmdir()
        async with watching(root) as live:
            assert live.waiting == 0
            assert live.watcher.paused
            root.mkdir()
            live.put("note_input.txt")
            await live.admitted("note_input.txt")

    asyncio.run(go())


@pytest.mark.parametrize("victim", ["emitter", "dispatcher", "reader"])
def test_a_thread_that_died_is_replaced(root: Path, victim: str):
    """When one of the library's threads ends, watching begins anew, and nothing that was saved meanwhile is lost."""

    async def go() -> None:
        async with watching(root) as live:
            assert live.watcher._observer._running
            fd, observer = live.watcher._observer._running
            dying = {"emitter": next(iter(observer.emitters)), "dispatcher": observer, "reader": fd}[victim]
            await asyncio.to_thread(dying.stop)
            live.put("note_input.txt")
            await live.admitted("note_input.txt")
            await live.until(lambda: live.watcher._observer.fault is None)
            live.put("other_input.txt")
            await live.admitted("other_input.txt")

    asyncio.run(go())


def test_jobs_are_passed_on(root: Path):
    """Submissions and cancel requests are handed on, each when it appears, and no input is looked for there."""
    (root / "jobs").mkdir()  # where it appears later, the inbox is told of the folder, and lists it

    async def go() -> None:
        async with watching(root) as live:
            live.put("jobs/one.json", "{}")
            live.put("jobs/x_input.txt")
            live.put("jobs/one.cancel", "")
            (root / ".two").write_text("{}")
            (root / ".two").rename(root / "jobs" / "two.json")
            await live.until(lambda: len(set(live.around.jobs)) == 3)
            await live.settled()
            assert set(live.around.jobs) == {"jobs/one.json", "jobs/one.cancel", "jobs/two.json"}
            assert live.runs("jobs/x_input.txt") == []

    asyncio.run(go())


def test_a_save_that_the_ledger_could_not_take_is_offered_again(root: Path):
    """A full disk delays a run, and loses none."""

    async def go() -> None:
        with capture_logs() as logs:
            async with watching(root) as live:
                live.around.queue.broken = True
                live.put("note_input.txt")
                await live.until(lambda: sum(log["event"] == "save.not_admitted" for log in logs) > 1)
                live.around.queue.broken = False
                await live.admitted("note_input.txt")

    asyncio.run(go())


def test_a_rescan_asks_the_ledger_nothing(root: Path):
    """The safety net costs a walk and no more, however many inputs there are."""

    async def go() -> None:
        async with watching(root, config=WatchConfig(check_s=0.05, rescan_s=0.05)) as live:
            live.put("note_input.txt")
            await live.admitted("note_input.txt")
            with capture_logs() as logs:
                await live.until(lambda: sum(log["event"] == "watch.walked" for log in logs) > 3)
            assert live.around.queue.asked == 1
            assert all(log["differing"] == 0 for log in logs if log["event"] == "watch.walked")

    asyncio.run(go())


def test_ignored_folders_have_no_watch(root: Path):
    """A tree of a package manager costs no watch, and is no reason to poll."""
    for number in range(20):
        (root / "node_modules" / str(number)).mkdir(parents=True)
    (root / "a" / ".git").mkdir(parents=True)

    async def go() -> None:
        async with watching(root) as live:
            await live.until(lambda: live.watcher.at_rest)
            (root / "node_modules" / "new").mkdir()
            await live.settled()
            assert live.watcher._observer._watches() == 2
            assert not live.watcher.polling

    asyncio.run(go())
