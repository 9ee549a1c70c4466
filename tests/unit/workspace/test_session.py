"""workspace/session.py: one user at a time, nothing lost."""

import json

import pytest

from rlmwatch.contract.memory import Turn
from rlmwatch.contract.session import Used
from rlmwatch.errors import WorkspaceBusy, WorkspaceError
from rlmwatch.workspace.session import SessionFile, SessionLock

NOW = "2026-11-24T10:00:00.000Z"


@pytest.fixture
def file(tmp_path):
    return SessionFile(tmp_path, tmp_path / "research_session.json", "research")


def test_booking_twice_writes_once(file):
    """A repeated publish leaves the file alone, so that a sync tool has nothing to carry."""
    turn = Turn(run_id="r", input="q", answer="a")
    file.book("r", Used(output_tokens=5), turn, now=NOW)
    before = file.path.stat().st_mtime_ns
    file.book("r", Used(output_tokens=5), turn, now=NOW)
    assert file.path.stat().st_mtime_ns == before
    assert json.loads(file.path.read_text(encoding="utf-8"))["spent"]["output_tokens"] == 5


def test_a_damaged_session_is_set_aside_and_told(file):
    """It is never overwritten, and the person is told where it is."""
    file.path.write_text("{", encoding="utf-8")
    state, told = file.load(now=NOW)
    assert state.turns == ()
    assert "corrupt-20261124T100000Z" in told
    assert (file.root / "research_session.json.corrupt-20261124T100000Z").read_text(encoding="utf-8") == "{"


def test_a_session_of_a_newer_version_is_left_alone(file):
    """An older program does not touch what it does not understand."""
    file.path.write_text('{"schema_version": 99}', encoding="utf-8")
    with pytest.raises(WorkspaceError, match="newer rlmwatch"):
        file.load(now=NOW)


def test_one_user_at_a_time(file, tmp_path):
    """Whoever comes second is told; once the first has given it back, it is free."""
    first = SessionLock.acquire(tmp_path / "state", file.path)
    with pytest.raises(WorkspaceBusy, match="another run uses the session"):
        SessionLock.acquire(tmp_path / "state", file.path)
    SessionLock.acquire(tmp_path / "state", tmp_path / "other_session.json").release()
    first.release()
    SessionLock.acquire(tmp_path / "state", file.path).release()
