"""Looking at due paths on a real folder, with real writers."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlmwatch.watch.reading import Look, look_at
from rlmwatch.watch.settle import Due
from rlmwatch.workspace.snapshot import Content, WriterState

PATH = "note_input.txt"


def look(root: Path, *, probe: bool = False, recheck: bool = False) -> Look:
    (seen,) = look_at(root, [Due(PATH, probe, recheck)], max_bytes=1000, trust_leases=True)
    return seen


@pytest.mark.parametrize("probe", [True, False])
def test_who_has_it_open_is_seen_before_and_after_the_read(tmp_path: Path, probe: bool):
    """A writer that is at work when the file was read is told of, though its first event has not come."""
    with (tmp_path / PATH).open("w") as writing:
        writing.write("half")
        writing.flush()
        assert look(tmp_path, probe=probe, recheck=True) == Look(PATH, WriterState.BUSY)
    seen = look(tmp_path, probe=probe, recheck=True)
    assert isinstance(seen.snapshot, Content)
    assert (seen.writer, seen.snapshot.raw) == (WriterState.FREE, b"half")


def test_what_is_read_in_any_case_is_not_probed(tmp_path: Path):
    """A program that keeps its file open for ever is answered."""
    with (tmp_path / PATH).open("w") as writing:
        writing.write("whole")
        writing.flush()
        seen = look(tmp_path)
    assert isinstance(seen.snapshot, Content)
    assert seen.snapshot.raw == b"whole"
