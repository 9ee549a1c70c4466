"""daemon/paths.py and cli/files.py: which workspace is meant."""

import pytest

from rlmwatch.cli.files import paths_of
from rlmwatch.daemon.paths import locate
from rlmwatch.errors import UsageError


def test_the_argument_wins_over_the_variable_and_the_folder(tmp_path, monkeypatch):
    """A folder that is named is the workspace, wherever one stands."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "c" / "rlmwatch.toml").touch()
    monkeypatch.chdir(tmp_path / "c")
    environ = {"RLMWATCH_WORKSPACE": str(tmp_path / "b")}
    assert locate(tmp_path / "a", environ).root == tmp_path / "a"
    assert locate(None, environ).root == tmp_path / "b"
    assert locate(None, {}).root == tmp_path / "c"


def test_a_folder_that_is_no_workspace_is_not_taken_for_one(tmp_path, monkeypatch):
    """Started in some folder by mistake, it asks which one is meant."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="rlmwatch init"):
        locate(None, {})


def test_missing_and_wrong_folders_are_named(tmp_path):
    """The error says what stands at the path."""
    with pytest.raises(UsageError, match="no such folder"):
        locate(tmp_path / "none", {})
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        locate(tmp_path / "file", {})


def test_the_private_state_is_outside_and_can_be_moved(tmp_path):
    """The ledger is never in the workspace, which a sync tool copies."""
    (tmp_path / "w").mkdir()
    paths = locate(tmp_path / "w", {"RLMWATCH_STATE_DIR": str(tmp_path / "state")})
    assert paths.ledger.is_relative_to(tmp_path / "state")
    assert (
        locate(tmp_path / "w", {"XDG_STATE_HOME": str(tmp_path / "xdg")}).state.parent == tmp_path / "xdg" / "rlmwatch"
    )


def test_a_file_belongs_to_the_nearest_workspace_above(tmp_path):
    """`rlmwatch answer FILE` finds the workspace of the file, else takes its folder."""
    deep = tmp_path / "w" / "notes"
    deep.mkdir(parents=True)
    (deep / "x_input.txt").touch()
    paths, path = paths_of(deep / "x_input.txt")
    assert (paths.root, path) == (deep, "x_input.txt")
    (tmp_path / "w" / "rlmwatch.toml").touch()
    paths, path = paths_of(deep / "x_input.txt")
    assert (paths.root, path) == (tmp_path / "w", "notes/x_input.txt")
    with pytest.raises(UsageError, match="no such file"):
        paths_of(deep / "y_input.txt")
