"""Several folders, one daemon, in this process: which of them is served, and what a service manager hears of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rlmwatch.daemon.logging import Redactor
from rlmwatch.daemon.service import StartOptions
from rlmwatch.daemon.several import SeveralFolders
from rlmwatch.daemon.systemd import Manager
from rlmwatch.workspace.owner import FolderLock, workspace_id

DEADLINE_S = 60.0
ELSEWHERE = 'host = "elsewhere#0badf00d"\n'


@dataclass(frozen=True, slots=True)
class HeardManager(Manager):
    """
    A service manager that keeps the status of each READY.

    Attributes:
        breaks: A status with these words is a fault of whoever tells it.
    """

    breaks: str | None = None
    heard: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def ready(self, status: str) -> None:
        self.heard.put_nowait(status)
        if self.breaks is not None and self.breaks in status:
            raise ValueError("made up")

    async def hears(self, *words: str) -> str:
        """Wait until it hears a status with all *words*, and return it."""
        found: list[str] = []
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    found.append(await self.heard.get())
                    if all(word in found[-1] for word in words):
                        return found[-1]
        except TimeoutError:
            raise AssertionError(f"not heard: {words}, but {found}") from None


@dataclass
class Person:
    """Somebody with folders, and a file of replies that answers."""

    home: Path

    def __post_init__(self) -> None:
        (self.home / "config" / "rlmwatch").mkdir(parents=True)
        (self.home / "replies.toml").write_text('[[replies]]\ntext = "ok"\nrepeat = true\n')

    @property
    def environ(self) -> Mapping[str, str]:
        return {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "RLMWATCH_STATE_DIR": str(self.home / "state"),
            "RLMWATCH_PROVIDER": "scripted",
            "RLMWATCH_PROVIDERS__SCRIPTED__REPLIES": str(self.home / "replies.toml"),
        }

    def folder(self, name: str, settings: str | None = None) -> Path:
        made = self.home / name
        made.mkdir(parents=True, exist_ok=True)
        if settings is not None:
            (made / "rlmwatch.toml").write_text(settings)
        return made

    def lists(self, *folders: Path) -> None:
        """Write *folders* as the `workspaces` of config.toml."""
        text = ", ".join(f'"{folder}"' for folder in folders)
        (self.home / "config" / "rlmwatch" / "config.toml").write_text(f"workspaces = [{text}]\n")

    def state(self, folder: Path) -> Path:
        return self.home / "state" / workspace_id(folder)

    @asynccontextmanager
    async def daemon(
        self, *named: Path, options: StartOptions | None = None, breaks: str | None = None, **more: Any
    ) -> AsyncIterator[Served]:
        """Serve the *named* folders, or those of config.toml, in the block."""
        manager = HeardManager(None, None, breaks)
        folders = SeveralFolders(
            named=named,
            options=options or StartOptions(),
            flags={},
            environ=self.environ,
            manager=manager,
            redactor=Redactor(),
            **more,
        )
        stop = asyncio.Event()
        serving = asyncio.create_task(folders.serve(stop))
        try:
            yield Served(folders, manager.hears)
        finally:
            stop.set()
            await serving


@dataclass(frozen=True)
class Served:
    """A daemon that serves folders."""

    folders: SeveralFolders
    hears: Callable[..., Any]


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


@pytest.fixture
def nested(person: Person) -> tuple[Path, Path]:
    """A folder, and one in it that was a workspace before."""
    outer, inner = person.folder("outer"), person.folder("outer/inner")

    async def used() -> None:
        async with person.daemon(inner) as daemon:
            await daemon.hears("watching 1 of 1")

    asyncio.run(used())
    assert "host" in (inner / "rlmwatch.toml").read_text()
    return outer, inner


@pytest.mark.parametrize("inner_first", [False, True])
def test_of_nested_folders_the_outer_one_is_served(person: Person, nested: tuple[Path, Path], inner_first: bool):
    """Where an outer and an inner folder are named, the outer one is served, and the inner refused in one line."""
    outer, inner = nested

    async def serve() -> None:
        async with person.daemon(*((inner, outer) if inner_first else (outer, inner))) as daemon:
            said = await daemon.hears("watching 1 of 2")
            assert f"{inner}: not served: {inner} lies in {outer}" in said
            assert "host" in (outer / "rlmwatch.toml").read_text()

    with capture_logs() as log:
        asyncio.run(serve())
    (refused,) = [entry for entry in log if entry["event"] == "workspace.not_served"]
    assert refused["workspace"] == str(inner)
    assert str(inner / "rlmwatch.toml") in refused["why"]


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize("kept", ["outer", "inner"])
def test_nested_folders_recover_when_the_setting_is_fixed(
    person: Person, request: pytest.FixtureRequest, kept: str, used: bool
):
    """Whichever of the two is taken out of `workspaces`, the other one is served after a reload, and a restart."""
    if used:
        request.getfixturevalue("nested")
    outer, inner = person.folder("outer"), person.folder("outer/inner")
    person.lists(outer, inner)

    async def fix() -> None:
        async with person.daemon() as daemon:
            await daemon.hears("watching 1 of 2")
            person.lists(outer if kept == "outer" else inner)
            await daemon.folders.reload()
            await daemon.hears("watching 1 of 1")

    async def restart() -> None:
        async with person.daemon() as daemon:
            await daemon.hears("watching 1 of 1")

    asyncio.run(fix())
    asyncio.run(restart())


def test_an_outer_folder_that_is_added_takes_the_inner_ones_place(person: Person, nested: tuple[Path, Path]):
    """An outer folder that a reload adds is served once the inner one is not any more: never both at once."""
    outer, inner = nested
    person.lists(inner)
    served: list[tuple[str, bool]] = []

    def on_served(root: Path, app: object) -> None:
        served.append((root.name, app is not None))

    async def add() -> None:
        async with person.daemon(on_served=on_served) as daemon:
            await daemon.hears("watching 1 of 1")
            person.lists(inner, outer)
            await daemon.folders.reload()
            await daemon.hears("watching 1 of 2", f"{inner}: not served")
            assert served == [("inner", True), ("inner", False), ("outer", True)]

    asyncio.run(add())


def test_an_outer_folder_waits_for_another_process_that_has_the_inner_one(person: Person, nested: tuple[Path, Path]):
    """While another daemon answers in the inner folder, the outer one is refused; it is served once that has ended."""
    outer, inner = nested

    async def serve() -> None:
        other = FolderLock(inner, "other", "2026-11-29T02:00:00Z", serves=True)
        other.take()
        try:
            async with person.daemon(outer, inner) as daemon:
                assert f"the workspace {inner} lies in" in await daemon.hears("watching 0 of 2")
                other.release()
                await daemon.folders.reload()
                await daemon.hears("watching 1 of 2")
        finally:
            other.release()

    asyncio.run(serve())


def test_an_outer_folder_is_refused_where_another_machine_answers_in_the_inner_one(
    person: Person, nested: tuple[Path, Path]
):
    """What lies in the inner folder would be answered twice: there by the other machine, here as part of the outer."""
    outer, inner = nested
    (inner / "rlmwatch.toml").write_text(ELSEWHERE)

    async def serve() -> None:
        async with person.daemon(outer, inner) as daemon:
            assert f"the workspace {inner} lies in" in await daemon.hears("watching 0 of 2")

    asyncio.run(serve())


@dataclass(frozen=True)
class HungFolder:
    """A folder whose private state does not answer in the block, as on a dead mount: a pipe stands there."""

    root: Path
    pipe: Path

    def __enter__(self) -> None:
        self.pipe.parent.mkdir(parents=True)
        os.mkfifo(self.pipe)

    def __exit__(self, *_: object) -> None:
        """Let go of who reads the pipe, or will."""
        writer = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK)
        self.pipe.unlink()
        os.close(writer)


@pytest.fixture
def hung(person: Person) -> HungFolder:
    folder = person.folder("hung")
    return HungFolder(folder, person.state(folder) / "settings.json")


def test_a_folder_that_hangs_keeps_ready_from_no_other(person: Person, hung: HungFolder):
    """READY comes without a folder whose disk does not answer, and names it; it is served once its disk does."""
    fine = person.folder("fine")

    async def serve() -> None:
        async with person.daemon(fine, hung.root, up_within_s=0.5) as daemon:
            with hung:
                await daemon.hears("watching 1 of 2", f"{hung.root}: not served: ")
            await daemon.hears("watching 2 of 2")

    with capture_logs() as log:
        asyncio.run(serve())
    late = [entry["workspace"] for entry in log if entry["event"] == "workspace.not_served"]
    assert late.count(str(hung.root)) == 1


def test_a_folder_that_hangs_at_a_reload_keeps_ready_from_no_other(person: Person, hung: HungFolder):
    """A reload takes up an added folder, and says that it is done, without one whose disk does not answer."""
    fine, added = person.folder("fine"), person.folder("added")
    person.lists(fine)

    async def serve() -> None:
        async with person.daemon(up_within_s=0.5) as daemon:
            await daemon.hears("watching 1 of 1")
            with hung:
                person.lists(fine, added, hung.root)
                await daemon.folders.reload()
                await daemon.hears("watching 2 of 3", f"{hung.root}: not served: ")
            await daemon.hears("watching 3 of 3")

    asyncio.run(serve())


def test_take_over_is_for_the_first_start_alone(person: Person):
    """`--take-over` moves the folders that are named at the start, at the first try, and none that is added later."""
    named, late, added = person.folder("named", ELSEWHERE), person.home / "late", person.home / "added"
    person.lists(named, late)

    async def serve() -> None:
        async with person.daemon(options=StartOptions(take_over=True)) as daemon:
            assert f"{late}: not served: " in await daemon.hears("watching 1 of 2")
            assert ELSEWHERE not in (named / "rlmwatch.toml").read_text()
            for folder in (late, added):
                person.folder(folder.name, ELSEWHERE)
            person.lists(named, late, added)
            await daemon.folders.reload()
            await daemon.hears("watching 1 of 3", f"{late}: idle: elsewhere", f"{added}: idle: elsewhere")
            for folder in (late, added):
                assert (folder / "rlmwatch.toml").read_text() == ELSEWHERE

    asyncio.run(serve())


def test_the_same_reason_is_told_once(person: Person):
    """A reason, and the traceback of a fault, is in the log once, however often the folder is tried."""
    fine, faulty = person.folder("fine"), person.folder("faulty")
    tries: asyncio.Queue[Path] = asyncio.Queue()

    def statuses_of(root: Path) -> Callable[[Any], None]:
        if root == faulty:
            tries.put_nowait(root)
            raise ValueError("made up")
        return lambda _status: None

    async def serve() -> None:
        async with person.daemon(fine, faulty, statuses_of=statuses_of) as daemon:
            await daemon.hears("watching 1 of 2", "made up")
            for _ in range(3):
                await asyncio.wait_for(tries.get(), DEADLINE_S)
                await daemon.folders.reload()

    with capture_logs() as log:
        asyncio.run(serve())
    told = [entry["event"] for entry in log if entry.get("log_level") in ("warning", "error")]
    assert told == ["workspace.fault", "workspace.not_served"]


def test_the_same_reason_is_told_again_after_the_folder_was_served(person: Person):
    """A folder that fails, is served, and fails for the same reason is in the log twice: both are news."""
    one, other = person.folder("one"), person.folder("other")

    async def serve() -> None:
        async with person.daemon(one, other, breaks="watching 2 of 2") as daemon:
            await daemon.hears("watching 2 of 2")
            await daemon.hears("watching 1 of 2", "not served: a fault")
            await daemon.folders.reload()
            await daemon.hears("watching 2 of 2")
            await daemon.hears("watching 1 of 2", "not served: a fault")

    with capture_logs() as log:
        asyncio.run(serve())
    assert sum(entry["event"] == "workspace.not_served" for entry in log) == 2
