"""One machine of many: who is named in a workspace, and who answers."""

from __future__ import annotations

import tomllib

import pytest

from rlmwatch.errors import ConfigError
from rlmwatch.workspace.hosts import Host, Mine, Theirs, host_rule, take_over

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
