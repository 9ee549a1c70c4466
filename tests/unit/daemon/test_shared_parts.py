"""What several folders of one process have in common is there once."""

from __future__ import annotations

from pathlib import Path

from rlmwatch.daemon.shared_parts import SharedParts
from rlmwatch.settings.sources import load


def test_all_folders_read_documents_by_one_reader(tmp_path: Path):
    """So the limit of processes that read documents is the daemon's, and not each folder's."""
    one, other = (load(user_dir=tmp_path, workspace=None, environ={}) for _ in range(2))
    (tmp_path / "config.toml").write_text("[sandbox]\nallow_degraded = true\n", encoding="utf-8")
    degraded = load(user_dir=tmp_path, workspace=None, environ={})
    shared = SharedParts()
    assert shared.documents(one) is shared.documents(other)
    assert shared.documents(one) is not shared.documents(degraded)
