"""Files that come to rest, on a real folder in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rlmwatch.watch.observer import PathEvent
from rlmwatch.watch.settle import HELD_OPEN_LIMIT_S, HELD_OPEN_REST_S, PROBE_EVERY_S, QUIET_S, UNPROVEN_REST_S
from rlmwatch.watch.settled_reader import Settled, SettledReader
from rlmwatch.workspace.snapshot import Absent, Content, NotAFile

PATH = "a_input.txt"
MAX_BYTES = 1000


class Scene:
    """A reader whose time is what the test says."""

    def __init__(self, root: Path) -> None:
        self.now = 0.0
        self.file = root / PATH
        self.reader = SettledReader(root, lambda: self.now)

    def event(self, event: PathEvent) -> None:
        self.reader.changed(PATH, event, now=self.now)

    async def after(self, seconds: float) -> list[Settled]:
        """Return what rests once *seconds* have gone by."""
        self.now += seconds
        return await self.reader.read(max_bytes=MAX_BYTES)

    async def text_after(self, seconds: float) -> str | None:
        """Return the whole text of the one file, or None while it does not rest."""
        settled = await self.after(seconds)
        assert len(settled) <= 1
        if not settled:
            return None
        assert isinstance(settled[0].found, Content)
        return settled[0].found.raw.decode()


def play(root: Path, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def told() -> None:
        await story(Scene(root))

    asyncio.run(told())


def test_a_closed_file_is_read_once_it_rests(tmp_path: Path):
    """What was closed is read after a short rest, once, and then nothing waits."""

    async def story(scene: Scene) -> None:
        scene.file.write_text("whole")
        scene.event(PathEvent.DONE)
        assert await scene.text_after(0) is None
        assert scene.reader
        assert await scene.text_after(QUIET_S) == "whole"
        scene.reader.rests(PATH)
        assert not scene.reader
        assert scene.reader.next_due() is None
        assert await scene.text_after(60) is None

    play(tmp_path, story)


def test_a_file_that_is_open_is_read_when_it_is_closed(tmp_path: Path):
    """While somebody has a file open for writing it is asked for again and again, and not read."""

    async def story(scene: Scene) -> None:
        with scene.file.open("w") as writing:
            writing.write("half")
            writing.flush()
            scene.event(PathEvent.WRITING)
            for _ in range(4):
                assert await scene.text_after(PROBE_EVERY_S) is None
                assert PATH in scene.reader
            writing.write(" and half")
        assert await scene.text_after(PROBE_EVERY_S) == "half and half"

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("mode", "written", "read_after_s"),
    [
        ("w", "half", None),
        ("w", "a whole line\n", 15.0),
        ("r+", "half", None),
        ("r+", "a whole line\n", 5.0),
    ],
)
def test_who_keeps_a_file_open_without_writing_must_prove_it(
    tmp_path: Path, mode: str, written: str, read_after_s: float | None
):
    """A writer that pauses with its file open is waited for; a program that shows its file is not waited for long."""

    async def story(scene: Scene) -> None:
        scene.file.touch()
        with scene.file.open(mode) as writing:
            writing.write(written)
            writing.flush()
            scene.event(PathEvent.WRITING)
            while (text := await scene.text_after(PROBE_EVERY_S)) is None and scene.now < HELD_OPEN_LIMIT_S - 1:
                pass
            if read_after_s is None:
                assert text is None
                writing.write(" and half")
            else:
                assert (text, scene.now) == (written, pytest.approx(read_after_s, abs=2 * PROBE_EVERY_S))
        if read_after_s is None:
            assert await scene.text_after(PROBE_EVERY_S) == "half and half"

    with capture_logs() as logs:
        play(tmp_path, story)
    waits = [entry for entry in logs if entry["event"] == "save.waiting_for_writer"]
    assert len(waits) == (0 if read_after_s == HELD_OPEN_REST_S else 1)
    assert all((entry["writer"] is None) == (mode == "r+") for entry in waits)


def test_a_file_that_is_open_for_very_long_is_read_and_the_log_says_so(tmp_path: Path):
    """A forgotten descriptor loses no save: after ten minutes without a change the file counts as it is."""

    async def story(scene: Scene) -> None:
        with scene.file.open("w") as writing:
            writing.write("half")
            writing.flush()
            scene.event(PathEvent.WRITING)
            assert await scene.text_after(QUIET_S) is None
            assert await scene.text_after(HELD_OPEN_LIMIT_S) == "half"

    with capture_logs() as logs:
        play(tmp_path, story)
    assert [entry["event"] for entry in logs] == ["save.read_while_open"]


def test_who_closes_a_file_beside_its_writer_does_not_make_it_whole(tmp_path: Path):
    """A `touch` or an appended line while another program is in the middle of writing makes no save of the half."""

    async def story(scene: Scene) -> None:
        with scene.file.open("w") as writing:
            writing.write("half")
            writing.flush()
            scene.event(PathEvent.DONE)
            for _ in range(100):
                assert await scene.text_after(PROBE_EVERY_S) is None
            writing.write(" and half")
        scene.event(PathEvent.DONE)
        assert await scene.text_after(QUIET_S) == "half and half"

    play(tmp_path, story)


def test_a_program_that_opens_a_closed_file_again_holds_nothing_up(tmp_path: Path):
    """An editor that has saved, closed, and opens the file again to show it, gets its answer at the second look."""

    async def story(scene: Scene) -> None:
        scene.file.write_text("no line end")
        with scene.file.open("r+"):
            scene.event(PathEvent.DONE)
            assert await scene.text_after(QUIET_S) is None
            assert await scene.text_after(PROBE_EVERY_S) == "no line end"

    play(tmp_path, story)


def test_a_file_that_grows_unheard_is_not_read_half(tmp_path: Path):
    """Where leases prove nothing, a file that grew since it was sighted is given as long a rest again."""

    async def story(scene: Scene) -> None:
        scene.reader.trust_leases = False
        scene.file.write_text("half")
        scene.event(PathEvent.WRITING)
        assert await scene.text_after(QUIET_S) is None
        scene.file.write_text("half and half")
        assert await scene.text_after(UNPROVEN_REST_S) is None
        assert await scene.text_after(QUIET_S) is None
        assert await scene.text_after(UNPROVEN_REST_S) == "half and half"

    play(tmp_path, story)


def test_what_comes_while_a_content_is_taken_counts(tmp_path: Path):
    """An event between the reading of a file and the answer for it is not lost with that answer."""

    async def story(scene: Scene) -> None:
        scene.file.write_text("first")
        scene.event(PathEvent.DONE)
        assert await scene.text_after(QUIET_S) == "first"
        scene.file.write_text("second")
        scene.event(PathEvent.DONE)
        scene.reader.rests(PATH)
        assert await scene.text_after(QUIET_S) == "second"

    play(tmp_path, story)


def test_what_could_not_be_taken_is_read_again(tmp_path: Path):
    """A content that was refused for now comes again, later each time, also one that was asked for by its time."""

    async def story(scene: Scene) -> None:
        scene.file.write_text("x")
        scene.event(PathEvent.DONE)
        assert await scene.text_after(QUIET_S) == "x"
        scene.reader.look_later(PATH)
        assert await scene.text_after(0) is None
        assert await scene.text_after(QUIET_S) == "x"
        scene.reader.look_again(PATH, at=scene.now + 1)
        assert await scene.text_after(0.5) is None
        assert await scene.text_after(0.5) == "x"
        scene.reader.look_later(PATH)
        assert await scene.text_after(UNPROVEN_REST_S) == "x"

    play(tmp_path, story)


def test_an_event_comes_before_a_time(tmp_path: Path):
    """A file that is to be read again at a time is read as soon as it changes, and not twice."""

    async def story(scene: Scene) -> None:
        scene.file.write_text("x")
        scene.reader.look_again(PATH, at=QUIET_S / 2)
        scene.event(PathEvent.DONE)
        assert await scene.text_after(QUIET_S) == "x"
        scene.reader.rests(PATH)
        assert await scene.after(120) == []

    play(tmp_path, story)


def test_what_is_no_file_is_said(tmp_path: Path):
    """A folder or nothing under the name is handed out as what it is."""

    async def story(scene: Scene) -> None:
        scene.event(PathEvent.DONE)
        assert await scene.after(QUIET_S) == [Settled(PATH, Absent())]
        scene.reader.forget(PATH)
        scene.file.mkdir()
        scene.event(PathEvent.DONE)
        [settled] = await scene.after(QUIET_S)
        assert isinstance(settled.found, NotAFile)

    play(tmp_path, story)


def test_a_survey_leaves_what_is_not_answered(tmp_path: Path):
    """A survey shows every path that waits at once; those that nobody answers for go on waiting."""

    async def story(scene: Scene) -> None:
        for name in ("a_input.txt", "b_input.txt"):
            (scene.file.parent / name).write_text(name)
            scene.reader.changed(name, PathEvent.WRITING, now=0)
        shown = []
        async for path, found in scene.reader.survey(max_bytes=MAX_BYTES):
            assert isinstance(found, Content)
            shown.append(path)
            if path == "a_input.txt":
                scene.reader.rests(path)
        assert sorted(shown) == ["a_input.txt", "b_input.txt"]
        [settled] = await scene.after(QUIET_S)
        assert settled.path == "b_input.txt"

    play(tmp_path, story)
