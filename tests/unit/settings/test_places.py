"""Settings from all places, on a disk in memory: whatever lies there, the error names the file and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlmwatch.errors import ConfigError
from rlmwatch.settings.sources import load, own_name, state_dir, user_config_dir

USER, WORKSPACE = Path("/u/config.toml"), Path("/w/rlmwatch.toml")


def loaded(environ=None, flags=None):
    return load(user_dir=USER.parent, workspace=WORKSPACE.parent, environ=environ or {}, flags=flags)


def test_each_place_wins_over_the_one_before_and_is_named_as_origin(disk):
    """The user's file, the workspace's, a variable, a flag: for each key the last one that says it holds."""
    disk.create_file(USER, contents="keep_jobs_days = 1\nmax_input_mb = 1\nworkers = 1\n[chat]\ntokens = 1\n")
    disk.create_file(WORKSPACE, contents="keep_jobs_days = 2\n[chat]\ntokens = 2\n")
    found = loaded({"RLMWATCH_CHAT__TOKENS": "3", "RLMWATCH_WORKERS": "3"}, {"workers": 4})
    settings = found.settings
    assert (settings.max_input_mb, settings.keep_jobs_days, settings.chat.tokens, settings.workers) == (1, 2, 3, 4)
    assert {key: found.origins[key] for key in ("max_input_mb", "keep_jobs_days", "chat.tokens", "workers")} == {
        "max_input_mb": str(USER),
        "keep_jobs_days": str(WORKSPACE),
        "chat.tokens": "RLMWATCH_CHAT__TOKENS",
        "workers": "the command line",
    }


def test_no_file_anywhere_is_no_error(disk):
    """A new user in a new folder has the defaults."""
    assert loaded().origins == {}


@pytest.mark.parametrize("file", [USER, WORKSPACE])
@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_passed_over(disk, file, mark):
    """An editor that begins files with a byte order mark makes no wrong setting."""
    disk.create_file(file, contents="keep_jobs_days = 9\r\n".encode(mark))
    assert loaded().settings.keep_jobs_days == 9


@pytest.mark.parametrize("file", [USER, WORKSPACE])
@pytest.mark.parametrize(
    "content",
    [
        b"keep_jobs_days = 9\n\xff",
        b"keep_jobs_days = " + b"9" * 5_000,
        b"x = " + b"[" * 20_000,
        b"keep_jobs_days",
        b"keep_jobs_days = 9\x00",
    ],
    ids=["latin", "long number", "brackets", "half", "nul"],
)
def test_a_file_that_is_no_toml_is_named(disk, file, content):
    """Whatever bytes lie there, the person reads which file is meant, and there is no traceback."""
    disk.create_file(file, contents=content)
    with pytest.raises(ConfigError, match=f"^{file}: "):
        loaded()


@pytest.mark.parametrize("file", [USER, WORKSPACE])
def test_a_file_without_the_right_to_read_it_is_named(disk, file):
    """A configuration that this user may not read is told, not passed over: it may hold a ceiling."""
    disk.create_file(file, contents="keep_jobs_days = 9\n")
    disk.chmod(file, 0o000)
    with pytest.raises(ConfigError, match=f"{file}: cannot be read: .*Permission denied"):
        loaded()


@pytest.mark.parametrize("file", [USER, WORKSPACE])
def test_a_folder_in_a_files_place_is_named(disk, file):
    """A folder that has the configuration's name is told."""
    disk.create_dir(file)
    with pytest.raises(ConfigError, match=f"^{file}: "):
        loaded()


def test_the_users_own_file_may_be_a_link_and_the_workspaces_not(disk):
    """People keep their own configuration elsewhere and link it; a link in a workspace may have come from anybody."""
    disk.create_file("/home/me/dotfiles/rlmwatch.toml", contents="keep_jobs_days = 9\n")
    disk.create_symlink(USER, "/home/me/dotfiles/rlmwatch.toml")
    assert loaded().settings.keep_jobs_days == 9
    disk.create_symlink(WORKSPACE, "/home/me/dotfiles/rlmwatch.toml")
    with pytest.raises(ConfigError, match=f"{WORKSPACE}: is a link"):
        loaded()


def test_this_machines_name_comes_from_what_belongs_to_it_alone(disk):
    """`RLMWATCH_HOST`, else the user's own file, else the host name: never the workspace, which travels."""
    disk.create_file(WORKSPACE, contents='host = "theirs"\n')
    assert own_name(USER.parent, {}, "den") == "den"
    disk.create_file(USER, contents='host = "mine"\n')
    assert own_name(USER.parent, {}, "den") == "mine"
    assert own_name(USER.parent, {"RLMWATCH_HOST": "attic"}, "den") == "attic"


def test_private_folders_are_where_the_user_moved_them():
    """`XDG_CONFIG_HOME`, `XDG_STATE_HOME` and `RLMWATCH_STATE_DIR` say where things are."""
    assert user_config_dir({"XDG_CONFIG_HOME": "/c"}) == Path("/c/rlmwatch")
    assert state_dir({"XDG_STATE_HOME": "/s"}) == Path("/s/rlmwatch")
    assert state_dir({"XDG_STATE_HOME": "/s", "RLMWATCH_STATE_DIR": "/x"}) == Path("/x")
