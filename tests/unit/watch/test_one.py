"""Reading one input on demand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rlmwatch.errors import InputError, UsageError
from rlmwatch.watch.one import read_one
from rlmwatch.watch.save_filter import WatchConfig


def read(root: Path, path: str, config: WatchConfig | None = None) -> str:
    return asyncio.run(read_one(root, path, config or WatchConfig())).prompt


def test_the_save_that_a_file_holds(tmp_path: Path):
    """`rlmwatch answer FILE` reads the file as it is now."""
    (tmp_path / "note_input.txt").write_text("hello\n")
    assert read(tmp_path, "note_input.txt") == "hello\n"


def test_no_such_file(tmp_path: Path):
    """A file that is not there is a fault of the call."""
    with pytest.raises(UsageError, match=r"note_input\.txt: no such file"):
        read(tmp_path, "note_input.txt")


@pytest.mark.parametrize("path", ["notes.txt", ".git/x_input.txt", "jobs/x_input.txt", "x_output.txt"])
def test_a_name_that_is_no_inputs(tmp_path: Path, path: str):
    """A file that could never be an input is refused with the reason."""
    with pytest.raises(UsageError, match="is not an input"):
        read(tmp_path, path)


def test_a_link_is_refused(tmp_path: Path):
    """A link is not followed, whoever asks."""
    (tmp_path / "note_input.txt").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="a link"):
        read(tmp_path, "note_input.txt")


def test_blank_is_said(tmp_path: Path):
    """A blank file has nothing to answer, and a missing marker is named."""
    (tmp_path / "note_input.txt").write_text(" \n")
    with pytest.raises(InputError, match="blank"):
        read(tmp_path, "note_input.txt")
    (tmp_path / "note_input.txt").write_text("hello\n")
    with pytest.raises(InputError, match="//send"):
        read(tmp_path, "note_input.txt", WatchConfig(ready_marker="//send"))


def test_an_open_file_is_read(tmp_path: Path):
    """The person asked for it, so an editor that keeps the file open does not matter."""
    with (tmp_path / "note_input.txt").open("w") as file:
        file.write("hello\n")
        file.flush()
        assert read(tmp_path, "note_input.txt") == "hello\n"
