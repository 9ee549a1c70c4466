"""What pollers read of the folder of status files."""

from __future__ import annotations

import json

from rlmwatch.workspace.polling import statuses


def put(root, name, created_at):
    (root / "jobs").mkdir(exist_ok=True)
    facts = {"schema_version": 1, "job_id": name, "kind": "chat", "status": "complete", "created_at": created_at}
    (root / "jobs" / f"{name}.json").write_text(json.dumps(facts))


def test_the_newest_come_first_also_within_one_second(tmp_path):
    """Ids of one second end in chance; what was saved last is what a person looks for first."""
    put(tmp_path, "20261124T093000Z-chat-aaaaaa", "2026-11-24T09:30:00.900Z")
    put(tmp_path, "20261124T093000Z-chat-ffffff", "2026-11-24T09:30:00.100Z")
    put(tmp_path, "20261124T093000Z-job-bbbbbb", "2026-11-24T09:30:00.500Z")
    put(tmp_path, "20261124T092959Z-chat-cccccc", "2026-11-24T09:29:59.999Z")
    put(tmp_path, "20261124T093001Z-chat-000000", "2026-11-24T09:30:01.000Z")
    assert [status.job_id[-6:] for status in statuses(tmp_path)] == ["000000", "aaaaaa", "bbbbbb", "ffffff", "cccccc"]


def test_what_is_no_status_is_passed_over(tmp_path):
    """Other people's files, hidden ones, links and half a file stop nobody; a folder that is missing holds nothing."""
    assert list(statuses(tmp_path)) == []
    put(tmp_path, "20261124T093000Z-chat-aaaaaa", "2026-11-24T09:30:00.900Z")
    put(tmp_path, ".hidden", "2026-11-24T09:30:00.900Z")
    (tmp_path / "jobs" / "half.json").write_text('{"status": ')
    (tmp_path / "jobs" / "notes.txt").write_text("x")
    (tmp_path / "jobs" / "link.json").symlink_to("20261124T093000Z-chat-aaaaaa.json")
    (tmp_path / "jobs" / "folder.json").mkdir()
    assert [status.job_id for status in statuses(tmp_path)] == ["20261124T093000Z-chat-aaaaaa"]


def test_only_what_is_taken_is_read(tmp_path):
    """The newest of many costs one read, and those of its own second."""
    for second in range(10, 60):
        put(tmp_path, f"20261124T0930{second}Z-chat-aaaaaa", f"2026-11-24T09:30:{second}.000Z")
    found = statuses(tmp_path)
    assert next(found).job_id.startswith("20261124T093059Z")
    (tmp_path / "jobs" / "20261124T093058Z-chat-aaaaaa.json").unlink()  # not looked at yet
    assert next(found).job_id.startswith("20261124T093057Z")
