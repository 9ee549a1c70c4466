"""One daemon on one machine, one machine of many."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

from rlmwatch.errors import ConfigError, WorkspaceBusy, WorkspaceError
from rlmwatch.workspace.owner import Lock, Mine, Theirs, holder, host_rule, is_served, take_over, workspace_id

NOW = "2026-11-23T09:15:02.000Z"

HOLDS_THE_LOCK = """
import pathlib, sys, os
from rlmwatch.workspace.owner import Lock
lock = Lock.acquire(pathlib.Path(sys.argv[1]), host="den", pid=os.getpid(), now="2026-11-23T09:15:02.000Z")
print("held", flush=True)
sys.stdin.read()
"""


def _acquire(folder, host="here"):
    return Lock.acquire(folder, host=host, pid=4242, now=NOW)


def test_second_daemon_is_told_who_is_first(tmp_path):
    """A second daemon on the same workspace learns process, machine and time of the first."""
    with (
        _acquire(tmp_path / "state"),
        pytest.raises(WorkspaceBusy, match=r"process 4242 on here, since 2026-11-23T09:15:02"),
    ):
        _acquire(tmp_path / "state", host="there")


def test_who_serves_is_told_from_who_does_one_thing(tmp_path):
    """Others wait for a daemon's answer, but only for a command's end."""
    assert not is_served(tmp_path)
    with _acquire(tmp_path):
        assert (holder(tmp_path) is None, is_served(tmp_path)) == (False, False)
    with Lock.acquire(tmp_path, host="here", pid=1, now=NOW, serves=True):
        assert is_served(tmp_path)
        (tmp_path / "lock").write_bytes(b"")
        assert not is_served(tmp_path)
    assert (holder(tmp_path), is_served(tmp_path)) == (None, False)


def test_released_lock_can_be_taken(tmp_path):
    """After the first daemon ended another may start; releasing twice is no error."""
    lock = _acquire(tmp_path)
    lock.release()
    lock.release()
    with _acquire(tmp_path, host="next"):
        assert b'"next"' in (tmp_path / "lock").read_bytes()


def test_state_folder_is_private(tmp_path):
    """The private state folder is made, for this user alone."""
    with _acquire(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "a" / "b" / "lock").stat().st_mode & 0o777 == 0o600


def test_lock_of_a_killed_daemon_is_free(tmp_path):
    """After kill -9 the lock needs no cleaning up."""
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WorkspaceBusy, match=f"process {holder.pid} on den"):
            _acquire(tmp_path)
        holder.kill()
        holder.wait()
    _acquire(tmp_path).release()


def test_program_that_the_daemon_starts_does_not_keep_the_lock(tmp_path):
    """A child that outlives the daemon does not hold the workspace."""
    lock = _acquire(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        _acquire(tmp_path).release()
        child.stdin.close()


def test_lock_that_says_nothing_yet_is_still_busy(tmp_path):
    """A daemon that has the lock and has not written its name is respected."""
    with _acquire(tmp_path):
        (tmp_path / "lock").write_bytes(b"")
        with pytest.raises(WorkspaceBusy, match="another rlmwatch answers"):
            _acquire(tmp_path)


def test_state_folder_that_cannot_be_made_is_told(tmp_path):
    """A file in the state folder's place is an error that names it."""
    (tmp_path / "state").touch()
    with pytest.raises(WorkspaceError, match="state"):
        _acquire(tmp_path / "state" / "deeper")


def test_workspace_id_is_stable_readable_and_of_the_real_path(tmp_path):
    """The same folder has one id, also through a link; another of the same name has another."""
    for folder in ("a/My Notes", "b/My Notes"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "My Notes")
    one, other = workspace_id(tmp_path / "a" / "My Notes"), workspace_id(tmp_path / "b" / "My Notes")
    assert one.startswith("My-Notes-")
    assert one != other
    assert workspace_id(tmp_path / "link") == one
    assert workspace_id(tmp_path / "a" / ".." / "a" / "My Notes") == one


@pytest.mark.parametrize("name", ["...", "日本", "x" * 200, "a/b\nc", os.fsdecode(b"caf\xe9")])
def test_workspace_id_is_a_file_name(tmp_path, name):
    """Whatever the folder is called, its id is a plain and short file name."""
    made = workspace_id(tmp_path / name)
    assert made == "".join(c for c in made if c.isascii() and (c.isalnum() or c in "._-"))
    assert len(made) < 60
    assert made[0] not in ".-"


def test_first_daemon_names_itself(tmp_path):
    """Where no machine is named, the first one names itself, and answers."""
    assert host_rule(tmp_path, "den", now=NOW) == Mine()
    assert tomllib.loads((tmp_path / "rlmwatch.toml").read_text()) == {"host": "den"}
    assert host_rule(tmp_path, "den", now=NOW) == Mine()
    assert host_rule(tmp_path, "attic", now=NOW) == Theirs("den")


def test_naming_leaves_the_rest_of_the_file_alone(tmp_path):
    """Comments, order and line ends of the person's configuration stay."""
    text = '# My notes.\n# Two lines.\n\nready_marker = "//send"  # why\n\n[chat]\ntokens = 500\n'
    (tmp_path / "rlmwatch.toml").write_text(text)
    host_rule(tmp_path, "den", now=NOW)
    after = (tmp_path / "rlmwatch.toml").read_text()
    lines = after.splitlines(keepends=True)
    added = [line for line in lines if line.startswith("host")]
    assert len(added) == 1
    assert "".join(line for line in lines if line not in added) == text
    assert lines[:3] == text.splitlines(keepends=True)[:3]
    assert tomllib.loads(after)["host"] == "den"


@pytest.mark.parametrize(
    "text",
    [
        "[chat]\ntokens = 500\n",
        "# of the marker\nready_marker = '//send'",
        '[chat]\nsystem = """\nhost = "no"\n[x]\n"""\n',
        '# a\r\n\r\n[chat]\r\nsystem = "x"\r\n',
        "\ufeff[chat]\ntokens = 500\n",
        'host = ""\n[chat]\nhost = ""\n',
        "",
        "\n\n# only a comment",
    ],
)
def test_naming_says_what_the_file_said_and_the_host(tmp_path, text):
    """Whatever the file looks like, afterwards it says the same, and who answers."""
    path = tmp_path / "rlmwatch.toml"
    path.write_bytes(text.encode())
    before = tomllib.loads(text.removeprefix("\ufeff"))
    assert host_rule(tmp_path, "den", now=NOW) == Mine()
    after = path.read_bytes().decode()
    assert tomllib.loads(after) == {**before, "host": "den"}
    assert ("\r\n" in text) == ("\r\n" in after)
    assert after.replace("\r\n", "").count("\n") == 0 or "\r\n" not in text


@pytest.mark.parametrize(
    "line",
    [
        'host = "den"  # the old machine',
        "host='den'",
        '"host" = "den"',
        '  host = "den"',
        'note = """\nhost = "den"\n"""\nhost = "den"',
    ],
)
def test_take_over_changes_the_name_in_its_line(tmp_path, line):
    """Another machine takes over by its name in the same line; everything else stays, comments too."""
    path = tmp_path / "rlmwatch.toml"
    path.write_text(f'# top\n{line}\non_new_save = "queue"\n')
    path.chmod(0o640)
    assert take_over(tmp_path, "attic", now=NOW) == "den"
    before, _, after = line.replace("'", '"').rpartition("den")
    assert path.read_text() == f'# top\n{before}attic{after}\non_new_save = "queue"\n'
    assert path.stat().st_mode & 0o777 == 0o640
    assert take_over(tmp_path, "attic", now=NOW) is None
    assert host_rule(tmp_path, "attic", now=NOW) == Mine()


def test_take_over_of_nobodys_folder_names_this_machine(tmp_path):
    """Taking over where nobody answered names nobody as the one before."""
    assert take_over(tmp_path, "attic", now=NOW) is None
    assert host_rule(tmp_path, "den", now=NOW) == Theirs("attic")


def test_name_with_odd_characters_is_written_as_text(tmp_path):
    """A machine's name cannot break out of its line."""
    odd = 'a"b\\c\n[x]é'
    assert host_rule(tmp_path, odd, now=NOW) == Mine()
    assert host_rule(tmp_path, odd, now=NOW) == Mine()


@pytest.mark.parametrize("text", [b"host = den\n", b"host = 3\n", b"[host]\n", b"host = 'a'\nhost = 'b'\n", b"\xff\n"])
def test_file_that_cannot_be_understood_is_left_alone(tmp_path, text):
    """A configuration with a mistake is named, and not touched."""
    (tmp_path / "rlmwatch.toml").write_bytes(text)
    for ask in (host_rule, take_over):
        with pytest.raises(ConfigError, match=r"rlmwatch\.toml"):
            ask(tmp_path, "den", now=NOW)
    assert (tmp_path / "rlmwatch.toml").read_bytes() == text


@pytest.mark.parametrize("text", ['host = """den"""\n', "host = '''\nden'''\n", 'a.b = 1\nhost = "den"\na.c = 2\n'])
def test_host_that_is_written_in_an_unusual_way_is_changed(tmp_path, text):
    """However the old host is written, taking over changes it and nothing else that the file says."""
    (tmp_path / "rlmwatch.toml").write_text(text)
    assert take_over(tmp_path, "attic", now=NOW) == "den"
    assert tomllib.loads((tmp_path / "rlmwatch.toml").read_text()) == {**tomllib.loads(text), "host": "attic"}


def test_linked_configuration_is_neither_followed_nor_replaced(tmp_path):
    """A link in the configuration's place is not followed, since it may lead anywhere; it is left, and told."""
    (tmp_path / "mine.toml").write_text("host = 'attic'\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "rlmwatch.toml").symlink_to("../mine.toml")
    for ask in (host_rule, take_over):
        with pytest.raises(ConfigError, match="is a link, which is not followed"):
            ask(tmp_path / "w", "den", now=NOW)
    assert (tmp_path / "w" / "rlmwatch.toml").is_symlink()
    assert (tmp_path / "mine.toml").read_text() == "host = 'attic'\n"
