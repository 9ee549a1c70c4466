"""cli/view/viewer.py, screen.py and watching.py: when something is drawn, and where."""

from __future__ import annotations

import asyncio
import os
import pty
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from fakes.statuses import status

from rlmwatch.cli.streams import BackgroundStream
from rlmwatch.cli.view.questions import Heading, ViewState
from rlmwatch.cli.view.screen import FullScreen, LineByLine, screen_on
from rlmwatch.cli.view.viewer import FRAMES_PER_S, Viewer
from rlmwatch.contract.documents import dump
from rlmwatch.contract.kinds import Kind
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.daemon.stores import ledger_of
from rlmwatch.runs.model import Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.runs.waiting import NOT_RUNNING

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
DEADLINE_S = 30.0


@dataclass
class Drawn:
    """A screen that counts; it takes frames while it is *open*."""

    open: bool = True
    frames: list[str] = field(default_factory=list)
    drawn: asyncio.Event = field(default_factory=asyncio.Event)
    left: int = 0
    closed: str | None = None

    def draw(self, shown: ViewState, *, now: datetime) -> bool:
        if self.open:
            self.frames.append(", ".join(f"{row.name} {row.status}" for row in shown.rows.values()))
            self.drawn.set()
        return self.open

    def leave(self) -> None:
        self.left += 1

    def close(self, shown: ViewState, *, now: datetime) -> None:
        self.closed = shown.heading.state

    async def next(self) -> None:
        self.drawn.clear()
        async with asyncio.timeout(DEADLINE_S):
            await self.drawn.wait()


async def nothing_new(_shown: ViewState) -> bool:
    return False


def viewer(screen: Drawn, **more) -> Viewer:
    return Viewer(**({"shown": ViewState(Heading("~")), "screen": screen, "refresh": nothing_new} | more))


def test_what_other_threads_hand_over_is_drawn_and_at_rest_nothing_is():
    """A status from a worker thread makes a frame; a thousand at once do not make a thousand; then none is drawn."""

    async def look() -> tuple[list[str], int]:
        screen = Drawn()
        view = viewer(screen)
        view.on_status(status("early", "pending"))
        async with view.on_terminal():
            await screen.next()

            def hand_over() -> None:
                for number in range(1000):
                    view.on_status(status("a", "running", updated_at=f"{number:04}", attempt=1, note=str(number)))
                view.on_status(status("a", "complete", updated_at="2", attempt=1))

            thread = threading.Thread(target=hand_over)
            thread.start()
            while not screen.frames[-1].endswith("a complete"):
                await screen.next()
            thread.join()
            frames = len(screen.frames)
            for _ in range(5):
                await asyncio.sleep(1 / FRAMES_PER_S)
            at_rest = len(screen.frames) - frames
        return screen.frames, at_rest

    frames, at_rest = asyncio.run(look())
    assert frames[0] == "early pending"
    assert (frames[-1], at_rest) == ("early pending, a complete", 0)
    assert len(frames) < 100


def test_a_terminal_that_takes_nothing_loses_frames_and_then_shows_the_newest():
    """While the terminal is stopped no frame is drawn; when it goes on, what is true then is."""

    async def look() -> list[str]:
        screen = Drawn(open=False)
        view = viewer(screen)
        async with view.on_terminal():
            for word in ("pending", "running", "complete"):
                view.on_status(status("a", word))
                await asyncio.sleep(0)
            screen.open = True
            await screen.next()
        return screen.frames

    assert asyncio.run(look())[-1] == "a complete"


def test_a_fault_of_the_view_ends_the_view_alone():
    """What raises while drawing gives the terminal back and is told; the work in the block goes on."""

    async def look() -> tuple[list[Exception], int]:
        faults: list[Exception] = []
        told = asyncio.Event()

        async def broken(_shown: ViewState) -> bool:
            raise ValueError("no more")

        def failed(error: Exception) -> None:
            faults.append(error)
            told.set()

        screen = Drawn()
        view = viewer(screen, refresh=broken, failed=failed)
        async with view.on_terminal(), asyncio.timeout(DEADLINE_S):
            await told.wait()
        return faults, screen.left

    faults, left = asyncio.run(look())
    assert [str(each) for each in faults] == ["no more"]
    assert left >= 1


def test_the_last_frame_says_what_is_over_and_no_longer_what_ctrl_c_does():
    """At the end the view stands there as it was last; where the block failed, it does not."""

    async def end(error: Exception | None) -> Drawn:
        screen = Drawn()
        view = viewer(screen, at_end="Stopped")
        try:
            async with view.on_terminal():
                if error:
                    raise error
        except OSError:
            pass
        assert error or view.shown.heading.ends == ""
        return screen

    assert asyncio.run(end(None)).closed == "Stopped"
    failed = asyncio.run(end(OSError("x")))
    assert (failed.closed, failed.left) == (None, 1)


def test_secrets_are_taken_out_of_errors():
    """What a provider said is shown without the key."""

    async def look() -> str:
        view = viewer(Drawn(), redact=lambda text: text.replace("sk-1", "[secret]"))
        view.on_status(status("a", "failed", error="wrong key sk-1"))
        async with view.on_terminal():
            return view.shown.rows["a"].text

    assert asyncio.run(look()) == "wrong key [secret]"


# Screens


@pytest.fixture
def window() -> Iterator[tuple[BackgroundStream, int]]:
    """Give a terminal as a program sees it, and the window's side of it."""
    master, slave = pty.openpty()
    stream = BackgroundStream(slave, "utf-8", limit=None)
    try:
        yield stream, master
    finally:
        stream.drain(DEADLINE_S)
        os.close(slave)
        os.close(master)


def shows(window: tuple[BackgroundStream, int]) -> str:
    """Return what the program has written; the kernel hands it over in pieces, so a mark is written behind it."""
    stream, master = window
    stream.write("\x04")
    found = b""
    while not found.endswith(b"\x04"):
        found += os.read(master, 1 << 16)
    stream.drain(DEADLINE_S)
    return found[:-1].decode()


def one(name: str = "a_input.txt") -> ViewState:
    view = ViewState(Heading("~/questions"))
    view.take(status(name, "pending"))
    return view


def test_the_whole_screen_is_taken_and_given_back(window):
    """On leaving: no alternate screen, lines wrap again, the cursor is there, and the view stands below."""
    screen = FullScreen(window[0])
    assert screen.draw(one(), now=NOW)
    drawn = shows(window)
    for on in ("\x1b[?1049h", "\x1b[?25l", "\x1b[?7l", "a_input.txt"):
        assert on in drawn
    screen.close(one(), now=NOW)
    ended = shows(window)
    for off in ("\x1b[?1049l", "\x1b[?25h", "\x1b[?7h"):
        assert off in ended
    assert "a_input.txt" in ended.split("\x1b[?1049l")[1]


def test_colours_are_the_terminals_own_and_none_with_no_color(window, monkeypatch):
    """Only the eight base colours, bold and dim; with NO_COLOR no colour at all."""
    view = one()
    view.take(status("b", "failed", error="broken. Mend it"))
    FullScreen(window[0]).draw(view, now=NOW)
    drawn = shows(window)
    assert "\x1b[31m" in drawn
    assert "\x1b[38;" not in drawn
    assert not any(f"\x1b[{colour}m" in drawn for colour in (30, 37, *range(90, 108)))
    monkeypatch.setenv("NO_COLOR", "1")
    FullScreen(window[0]).draw(view, now=NOW)
    assert "\x1b[31m" not in shows(window)


def test_a_terminal_without_a_cursor_gets_a_line_for_each_change(window):
    """TERM=dumb: no sequence at all, a line when a question's state changes, none when nothing does."""
    screen = screen_on(window[0], {"TERM": "dumb"})
    assert isinstance(screen, LineByLine)
    view = one()
    for word in ("pending", "pending", "running"):
        view.take(status("a_input.txt", word))
        assert screen.draw(view, now=NOW)
        window[0].drain(DEADLINE_S)
    view.take(status("a_input.txt", "complete", answer="yes"))
    screen.close(view, now=NOW)
    drawn = shows(window)
    assert "\x1b" not in drawn
    assert [line[0] for line in drawn.splitlines() if "a_input" in line] == ["○", "▸", "✓"]


def test_the_heading_stands_once_line_by_line(window):
    """The whole heading comes once; who answers, once that is known, and another model are one line each."""
    screen = screen_on(window[0], {"TERM": "dumb"})
    view = one()
    for answers in ("", "gpt-4.1-mini", "gpt-4.1-mini", "small"):
        view.heading = replace(view.heading, answers=answers)
        screen.draw(view, now=NOW)
        window[0].drain(DEADLINE_S)
    drawn = shows(window)
    assert drawn.count("any <name>_input.txt") == 1
    assert drawn.count("gpt-4.1-mini") == 1
    assert drawn.count("small") == 1


def test_nothing_is_drawn_onto_what_still_waits():
    """While a frame waits for its reader, the next one is refused."""
    reader, writer = os.pipe()
    stream = BackgroundStream(writer, "utf-8", limit=None)
    try:
        screen = FullScreen(stream)
        stream.write("x" * 200_000)  # more than a pipe takes
        assert not screen.draw(one(), now=NOW)
        left = 200_000
        while left:
            left -= len(os.read(reader, left))
        assert stream.drain(DEADLINE_S)
        assert screen.draw(one(), now=NOW)
        screen.leave()
        stream.drain(DEADLINE_S)
    finally:
        os.close(writer)
        os.close(reader)


# A daemon elsewhere


@pytest.fixture
def paths(tmp_path) -> WorkspacePaths:
    for name in ("w", "state", "config"):
        (tmp_path / name).mkdir()
    (tmp_path / "w/jobs").mkdir()
    return WorkspacePaths((tmp_path / "w").resolve(), tmp_path / "state", tmp_path / "config")


def put(paths: WorkspacePaths, *statuses) -> None:
    for each in statuses:
        beside = paths.root / "jobs" / f".{each.job_id}"
        beside.write_bytes(dump(each))
        beside.rename(paths.root / "jobs" / f"{each.job_id}.json")


def test_a_folder_without_a_daemon_shows_what_its_files_say(paths):
    """Status files of another machine, no daemon, no ledger: their rows, and that nobody answers here."""
    from rlmwatch.cli.view.watching import WatchedFolder

    async def look() -> None:
        folder, view = WatchedFolder(paths, {}), ViewState(Heading("~"))
        assert await folder.refresh(view)
        assert (view.rows, view.heading.state, view.heading.spent_usd) == ({}, NOT_RUNNING, None)
        put(
            paths,
            status("b_input.txt", "held", host="desk", pid=1, error="no key", created_at="2026-11-28T12:00:01Z"),
            status("a_input.txt", "complete", host="desk", pid=1, answer="yes", model="gpt", created_at="2026"),
        )
        assert await folder.refresh(view)
        assert [row.name for row in view.rows.values()] == ["a_input.txt", "b_input.txt"]
        assert view.heading.answers == "gpt"
        assert not await folder.refresh(view)
        put(paths, status("b_input.txt", "complete", answer="now", created_at="2026-11-28T12:00:01Z"))
        assert await folder.refresh(view)
        assert view.rows["b_input.txt"].text == "now"
        (paths.root / "jobs/b_input.txt.json").write_text("no JSON")
        (paths.root / "rlmwatch.toml").write_text("tokns = 3")
        folder._settings_at = float("-inf")
        await folder.refresh(view)
        assert "tokns" in view.notices[0].what
        await folder.aclose()

    asyncio.run(look())


def test_a_run_that_goes_on_is_shown_however_old_it_is(paths):
    """The newest files are looked at, and those of runs that have not ended by the ledger."""
    from rlmwatch.cli.view.watching import NEWEST, WatchedFolder

    async def look() -> None:
        ledger = ledger_of(paths, {})
        try:
            save = Save("old_input.txt", Kind.CHAT, "old", "?", {}, "sha256:1")
            run = (await ledger.admit(save, on_new_save=OnNewSave.QUEUE, now="2020-01-01T00:00:00Z")).run
            assert run is not None
        finally:
            await ledger.aclose()
        put(paths, status("old_input.txt", "pending", job_id=run.run_id))
        put(paths, *(status(f"20261128T{n:06}Z", "complete", answer="x") for n in range(NEWEST + 10)))
        folder, view = WatchedFolder(paths, {}), ViewState(Heading("~"))
        await folder.refresh(view)
        assert "old_input.txt" in {row.name for row in view.rows.values()}
        assert view.heading.spent_usd == 0.0
        await folder.aclose()

    asyncio.run(look())


def test_what_a_dead_daemon_left_does_not_run(paths):
    """A run whose process is gone waits, as `status` says, also where no file changes."""
    import socket
    import subprocess

    from rlmwatch.cli.view.watching import WatchedFolder

    child = subprocess.Popen(["sleep", "60"])

    async def look() -> None:
        folder, view = WatchedFolder(paths, {}), ViewState(Heading("~"))
        put(paths, status("a_input.txt", "running", host=socket.gethostname(), pid=child.pid))
        await folder.refresh(view)
        assert view.works
        child.kill()
        child.wait()
        assert await folder.refresh(view)
        assert not view.works
        assert "is gone" in view.rows["a_input.txt"].text
        await folder.aclose()

    asyncio.run(look())
