"""Which of several folders with a `rlmwatch.toml` is the workspace (workspace/locate.py)."""

from __future__ import annotations

import pytest

from rlmwatch.workspace.locate import workspace_among


@pytest.mark.parametrize(
    ("outer", "inner", "chosen"),
    [
        ("", None, "outer"),
        (None, "", "inner"),
        ("", 'preset = "editor"', "outer"),
        ('host = "a"', "[chat]\ntokens = 1", "outer"),
        ('host = "a"', 'ready_marker = "//"', "outer"),
        ("", 'host = "a"', "inner"),
        ("", 'ready_marker = "//"', "inner"),
        ('host = "a"', "not toml", "outer"),
        (None, None, None),
    ],
)
def test_the_workspace_is_the_folder_whose_file_is_no_sub_folders(tmp_path, outer, inner, chosen):
    """A file that names a host is a workspace's; one that sets only a preset and options is a sub-folder's."""
    folders = {"outer": tmp_path / "outer", "inner": tmp_path / "outer" / "inner"}
    folders["inner"].mkdir(parents=True)
    for name, text in {"outer": outer, "inner": inner}.items():
        if text is not None:
            (folders[name] / "rlmwatch.toml").write_text(text)
    assert workspace_among([folders["inner"], folders["outer"]]) == (folders[chosen] if chosen else None)
