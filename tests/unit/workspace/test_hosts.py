"""One machine of many: who is named in a workspace, and who answers."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from rlmwatch.errors import ConfigError, UsageError, WorkspaceError
from rlmwatch.workspace.hosts import (
    Host,
    Mine,
    Theirs,
    host_rule,
    look_up,
    named_host,
    refuse_nested,
    take_over,
    this_host,
)
from rlmwatch.workspace.owner import FolderLock, Lock

NOW = "2026-11-23T09:15:02.000Z"
DEN, ATTIC = Host("den", "0de0de0d"), Host("attic", "a77ca77c")
OTHER_DEN = Host("den", "0badf00d")


def test_first_daemon_names_itself(tmp_path):
    """Where no machine is named, the first one names itself, and answers."""
    assert host_rule(tmp_path, DEN, now=NOW) == Mine()
    assert tomllib.loads((tmp_path / "rlmwatch.toml").read_text()) == {"host": str(DEN)}
    assert host_rule(tmp_path, DEN, now=NOW) == Mine()
    assert host_rule(tmp_path, ATTIC, now=NOW) == Theirs(DEN)


def test_naming_leaves_the_rest_of_the_file_alone(tmp_path):
    """Comments, order and line ends of the person's configuration stay."""
    text = '# My notes.\n# Two lines.\n\nready_marker = "//send"  # why\n\n[chat]\ntokens = 500\n'
    (tmp_path / "rlmwatch.toml").write_text(text)
    host_rule(tmp_path, DEN, now=NOW)
    after = (tmp_path / "rlmwatch.toml").read_text()
    lines = after.splitlines(keepends=True)
    added = [line for line in lines if line.startswith("host")]
    assert len(added) == 1
    assert "".join(line for line in lines if line not in added) == text
    assert lines[:3] == text.splitlines(keepends=True)[:3]
    assert tomllib.loads(after)["host"] == str(DEN)


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
    assert host_rule(tmp_path, DEN, now=NOW) == Mine()
    after = path.read_bytes().decode()
    assert tomllib.loads(after) == {**before, "host": str(DEN)}
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
    assert take_over(tmp_path, ATTIC, now=NOW) == Host("den")
    before, _, after = line.replace("'", '"').rpartition("den")
    assert path.read_text() == f'# top\n{before}{ATTIC}{after}\non_new_save = "queue"\n'
    assert path.stat().st_mode & 0o777 == 0o640
    assert take_over(tmp_path, ATTIC, now=NOW) is None
    assert host_rule(tmp_path, ATTIC, now=NOW) == Mine()


def test_take_over_of_nobodys_folder_names_this_machine(tmp_path):
    """Taking over where nobody answered names nobody as the one before."""
    assert take_over(tmp_path, ATTIC, now=NOW) is None
    assert host_rule(tmp_path, DEN, now=NOW) == Theirs(ATTIC)


def test_name_with_odd_characters_is_written_as_text(tmp_path):
    """A machine's name cannot break out of its line."""
    odd = 'a"b\\c\n[x]é'
    assert host_rule(tmp_path, Host(odd, "0dd0dd0d"), now=NOW) == Mine()
    assert host_rule(tmp_path, Host(odd, "0dd0dd0d"), now=NOW) == Mine()


@pytest.mark.parametrize("text", [b"host = den\n", b"host = 3\n", b"[host]\n", b"host = 'a'\nhost = 'b'\n", b"\xff\n"])
def test_file_that_cannot_be_understood_is_left_alone(tmp_path, text):
    """A configuration with a mistake is named, and not touched."""
    (tmp_path / "rlmwatch.toml").write_bytes(text)
    for ask in (host_rule, take_over):
        with pytest.raises(ConfigError, match=r"rlmwatch\.toml"):
            ask(tmp_path, DEN, now=NOW)
    assert (tmp_path / "rlmwatch.toml").read_bytes() == text


@pytest.mark.parametrize("text", ['host = """den"""\n', "host = '''\nden'''\n", 'a.b = 1\nhost = "den"\na.c = 2\n'])
def test_host_that_is_written_in_an_unusual_way_is_changed(tmp_path, text):
    """However the old host is written, taking over changes it and nothing else that the file says."""
    (tmp_path / "rlmwatch.toml").write_text(text)
    assert take_over(tmp_path, ATTIC, now=NOW) == Host("den")
    assert tomllib.loads((tmp_path / "rlmwatch.toml").read_text()) == {**tomllib.loads(text), "host": str(ATTIC)}


def test_linked_configuration_is_neither_followed_nor_replaced(tmp_path):
    """A link in the configuration's place is not followed, since it may lead anywhere; it is left, and told."""
    (tmp_path / "mine.toml").write_text("host = 'attic'\n")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "rlmwatch.toml").symlink_to("../mine.toml")
    for ask in (host_rule, take_over):
        with pytest.raises(ConfigError, match="is a link, which is not followed"):
            ask(tmp_path / "w", DEN, now=NOW)
    assert (tmp_path / "w" / "rlmwatch.toml").is_symlink()
    assert (tmp_path / "mine.toml").read_text() == "host = 'attic'\n"


def test_a_host_has_one_id_for_good(tmp_path):
    """The id is made once, for this user alone, and stays, also under another name; another state has another."""
    first = this_host("den", tmp_path / "states")
    assert this_host("attic", tmp_path / "states") == Host("attic", first.id)
    assert (tmp_path / "states" / "host_id").stat().st_mode & 0o777 == 0o600
    assert this_host("den", tmp_path / "other").id != first.id
    assert Host.of(str(first)) == first
    assert [file.name for file in (tmp_path / "states").iterdir()] == ["host_id"]


def test_a_damaged_id_is_told(tmp_path):
    """What is no id is neither used nor replaced in silence."""
    (tmp_path / "host_id").write_text("not an id\n")
    with pytest.raises(WorkspaceError, match="host_id"):
        this_host("den", tmp_path)


@pytest.mark.parametrize("text", ["den", "den#", "#0de0de0d", "den#0DE0DE0D", "den#0de0de0", "a#b", "den#0de0de0d "])
def test_a_name_that_is_no_name_with_an_id_is_a_name(text):
    """Only `name#` and eight hexadecimal digits hold an id."""
    assert Host.of(text) == Host(text)


def test_an_old_name_gets_its_id(tmp_path):
    """A file that names a host as older versions did keeps working: the machine of that name adds its id."""
    (tmp_path / "rlmwatch.toml").write_text('host = "den"  # mine\n[chat]\ntokens = 5\n')
    assert host_rule(tmp_path, ATTIC, now=NOW) == Theirs(Host("den"))
    assert host_rule(tmp_path, DEN, now=NOW) == Mine()
    assert (tmp_path / "rlmwatch.toml").read_text() == f'host = "{DEN}"  # mine\n[chat]\ntokens = 5\n'


def test_an_old_name_in_a_file_that_cannot_be_written_is_enough(tmp_path):
    """Where the id cannot be added, the machine of that name answers all the same."""
    (tmp_path / "rlmwatch.toml").write_text('host = "den"\n')
    (tmp_path / ".syncthing.rlmwatch-x").mkdir()
    odd = Host("den", None)
    assert host_rule(tmp_path, odd, now=NOW) == Mine()


def _copied(tmp_path):
    """Return a workspace that *den* answers in, and what a sync tool makes of it elsewhere, attributes and all."""
    (tmp_path / "w").mkdir()
    assert host_rule(tmp_path / "w", DEN, now=NOW) == Mine()
    shutil.copytree(tmp_path / "w", tmp_path / "copy")
    return tmp_path / "w", tmp_path / "copy"


def test_of_two_machines_of_one_name_one_answers(tmp_path):
    """A machine of the same name that gets the folder by sync stands by, until it takes over; then the first does."""
    first, second = _copied(tmp_path)
    assert host_rule(second, OTHER_DEN, now=NOW) == Theirs(DEN)
    assert DEN.described(OTHER_DEN) == "another machine or container named den (id 0de0de0d)"
    assert take_over(second, OTHER_DEN, now=NOW) == DEN
    shutil.copy2(second / "rlmwatch.toml", first / "rlmwatch.toml")
    assert host_rule(first, DEN, now=NOW) == Theirs(OTHER_DEN)
    assert host_rule(second, OTHER_DEN, now=NOW) == Mine()


def test_a_new_container_of_the_same_state_is_the_same_host(tmp_path):
    """With the same private state but another hostname it is the same host; the file stays as it is."""
    assert host_rule(tmp_path, DEN, now=NOW) == Mine()
    before = (tmp_path / "rlmwatch.toml").read_bytes()
    assert host_rule(tmp_path, Host("f3a9c51d2e07", DEN.id), now=NOW) == Mine()
    assert (tmp_path / "rlmwatch.toml").read_bytes() == before


def test_a_machine_that_lost_its_private_state_knows_its_own_folder(tmp_path):
    """With a new id but the same name, it answers in the very folder that it had named itself in, not in a copy."""
    first, second = _copied(tmp_path)
    try:
        os.getxattr(first, "user.rlmwatch.host")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    assert host_rule(first, OTHER_DEN, now=NOW) == Mine()
    assert host_rule(second, OTHER_DEN, now=NOW) == Theirs(DEN)
    assert host_rule(first, ATTIC, now=NOW) == Theirs(DEN)


MARK = "user.rlmwatch.host"


def _mark_made(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Have the folder marked as if at another time or from elsewhere: *change* gets the mark's parts."""
    try:
        parts = os.getxattr(folder, MARK).decode().split()
    except OSError:
        pytest.skip("this file system has no extended attributes")
    os.setxattr(folder, MARK, " ".join(change(parts)).encode())


def test_another_environment_of_the_running_machine_is_another_host(tmp_path):
    """A folder that was named since the machine started, in another network namespace, is answered in from there."""
    assert host_rule(tmp_path, DEN, now=NOW) == Mine()
    _mark_made(tmp_path, lambda parts: [*parts[:4], "net:[1]"])
    assert host_rule(tmp_path, OTHER_DEN, now=NOW) == Theirs(DEN)
    assert take_over(tmp_path, OTHER_DEN, now=NOW) == DEN
    _mark_made(tmp_path, lambda parts: [*parts[:4], "net:[1]"])
    assert host_rule(tmp_path, DEN, now=NOW) == Theirs(OTHER_DEN)
    assert host_rule(tmp_path, OTHER_DEN, now=NOW) == Mine()  # a container that was made anew


@pytest.mark.parametrize("parts", [3, 5], ids=["of an older version", "before the last start"])
def test_after_a_start_the_first_environment_names_itself(tmp_path, parts):
    """With a mark from before the machine's start the first that asks answers, and the other then finds itself out."""
    assert host_rule(tmp_path, DEN, now=NOW) == Mine()
    _mark_made(tmp_path, lambda found: [*found[:3], "another-start", "net:[1]"][:parts])
    assert look_up(tmp_path, OTHER_DEN) == Mine()
    assert named_host(tmp_path) == DEN
    assert host_rule(tmp_path, OTHER_DEN, now=NOW) == Mine()
    assert named_host(tmp_path) == OTHER_DEN
    _mark_made(tmp_path, lambda found: [*found[:4], "net:[1]"])
    assert host_rule(tmp_path, DEN, now=NOW) == Theirs(OTHER_DEN)


@pytest.mark.parametrize("deep", ["inner", "a/b/inner"])
def test_a_workspace_inside_another_is_refused_by_name(tmp_path, deep):
    """Neither the inner one starts below the outer, nor the outer above the inner; each names the other."""
    outer, inner = tmp_path / "outer", tmp_path / "outer" / deep
    inner.mkdir(parents=True)
    host_rule(outer, DEN, now=NOW)
    with pytest.raises(UsageError, match=rf"lies in the workspace {outer},"):
        refuse_nested(inner, tmp_path / "states")
    (outer / "rlmwatch.toml").unlink()
    refuse_nested(inner, tmp_path / "states")
    host_rule(inner, DEN, now=NOW)
    Lock.acquire(tmp_path / "states" / "inner-1", host="den", pid=1, now=NOW, root=inner).release()
    with pytest.raises(UsageError, match=rf"the workspace {inner} lies in"):
        refuse_nested(outer, tmp_path / "states")
    refuse_nested(inner, tmp_path / "states")
    (inner / "rlmwatch.toml").write_text("")  # a person has given it up
    refuse_nested(outer, tmp_path / "states")


def test_of_two_nested_workspaces_that_one_host_names_the_one_that_is_answered_counts(tmp_path):
    """Where one daemon was to serve both, either can be served alone, while nobody answers in the other one."""
    outer, inner, states = tmp_path / "outer", tmp_path / "outer" / "inner", tmp_path / "states"
    inner.mkdir(parents=True)
    for root in (inner, outer):
        host_rule(root, DEN, now=NOW)
        Lock.acquire(states / root.name, host="den", pid=1, now=NOW, root=root).release()
    for root, other in ((inner, outer), (outer, inner)):
        refuse_nested(root, states)
        held = FolderLock(other, "den", NOW, serves=True)
        held.take()
        try:
            for left_out in ((), (other,)):
                with pytest.raises(UsageError, match=rf"workspace {other}\b"):
                    refuse_nested(root, states, left_out=left_out, me=DEN)
        finally:
            held.release()
    take_over(inner, ATTIC, now=NOW)
    with pytest.raises(UsageError, match="answered twice"):
        refuse_nested(outer, states, left_out=[inner], me=DEN)
    take_over(inner, DEN, now=NOW)
    (outer / "rlmwatch.toml").unlink()
    with pytest.raises(UsageError, match="answered twice"):
        refuse_nested(outer, states)
    refuse_nested(outer, states, left_out=[inner], me=DEN)


def test_what_names_no_host_is_no_workspace_around(tmp_path):
    """A folder above with other settings, a broken file, or none in its place keeps nothing from starting."""
    (tmp_path / "w").mkdir()
    for text in ("", "[chat]\ntokens = 5\n", "host = [\n"):
        (tmp_path / "rlmwatch.toml").write_text(text)
        refuse_nested(tmp_path / "w", tmp_path / "states")
    assert named_host(tmp_path / "w") is None
