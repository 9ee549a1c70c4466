"""What a daemon writes down of the settings that it works with."""

from __future__ import annotations

import os

import pytest

from rlmwatch.daemon.in_force import FILE, changes, in_force, noted, write_in_force
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.settings.model import Settings
from rlmwatch.settings.sources import load
from rlmwatch.workspace.owner import Holder


@pytest.fixture
def paths(tmp_path):
    for name in ("root", "state", "user"):
        (tmp_path / name).mkdir()
    return WorkspacePaths(tmp_path / "root", tmp_path / "state", tmp_path / "user")


def written(paths):
    loaded = load(user_dir=paths.user_dir, workspace=paths.root, environ={})
    write_in_force(paths.state, noted(42, loaded, paths.user_dir, "m (p)"))


def test_it_is_the_word_of_the_daemon_that_runs(paths):
    """What another process wrote, one that was killed, says nothing of the one that has the folder now."""
    written(paths)
    assert in_force(paths.state, Holder(42, serves=True)).answers == "m (p)"
    assert in_force(paths.state, Holder(0, serves=True)) is not None
    for other in (None, Holder(43, serves=True), Holder(42, serves=False)):
        assert in_force(paths.state, other) is None


def test_each_time_has_another_number(paths):
    """Who waits for a reload sees by a number that it is over, also where nothing has changed."""
    written(paths)
    first = in_force(paths.state, Holder(42, serves=True)).reads
    written(paths)
    assert in_force(paths.state, Holder(42, serves=True)).reads == first + 1


def test_a_file_of_another_version_or_none_is_passed_over(paths):
    """Half a file, or one that says other things, is as none; unknown keys of a later version are no harm."""
    who = Holder(42, serves=True)
    for text in ("", "{", '{"pid": 42}', "[]"):
        (paths.state / FILE).write_text(text)
        assert in_force(paths.state, who) is None
    (paths.state / FILE).write_text('{"pid": 42, "reads": 1, "max_input_mb": 1, "later": true}')
    assert in_force(paths.state, who) is not None


@pytest.mark.parametrize("name", ["config.toml", ".env"])
def test_a_file_of_the_user_that_changed_since_is_named(paths, name):
    """Made, changed or removed: the file is named, with what takes it up; a file that was read is not."""
    file = paths.user_dir / name
    written(paths)
    file.write_text("")
    assert [name in said for said in in_force(paths.state, Holder(42, serves=True)).outdated(paths)] == [True]
    written(paths)
    found = in_force(paths.state, Holder(42, serves=True))
    assert found.outdated(paths) == []
    os.utime(file, ns=(1, 1))
    assert f"rlmwatch reload {paths.root}" in found.outdated(paths)[0]


def test_changes_are_named_and_secrets_are_not():
    """Numbers, and what a workspace may set, are shown with their value; addresses and what else by the name alone."""
    before = Settings()
    after = Settings.model_validate(
        {
            "host": "me",
            "ready_marker": "//send",
            "workers": 2,
            "base_url": "http://me:made-up@127.0.0.1:1/v1",
            "webhooks": {"secret": "whsec_" + "A" * 43 + "="},
            "chat": {"system": "x" * 200},
        }
    )
    said = changes(before, after)
    assert 'ready_marker = "//send"' in said
    assert "workers = 2" in said
    assert "base_url" in said
    assert not [each for each in said if "made-up" in each or "AAAA" in each or "host" in each or len(each) > 90]
    assert changes(after, before)[0] == "ready_marker is not set"
    assert changes(before, before) == []
