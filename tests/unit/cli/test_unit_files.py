"""cli/unit_files.py: what a service of one folder is written as."""

import plistlib
from pathlib import PurePosixPath

import pytest

from rlmwatch.cli.unit_files import (
    Service,
    folder_of,
    launchd_plist,
    quoted,
    steps_for_root,
    system_drop_in,
    user_drop_in,
)
from rlmwatch.errors import UsageError

HOME = PurePosixPath("/home/alice")


def service(folder="/home/alice/notes", **more):
    usual = {
        "name": "notes-0123456789ab",
        "folder": PurePosixPath(folder),
        "home": HOME,
        "program": ["/opt/rlmwatch/bin/rlmwatch"],
        "state": HOME / ".local/state/rlmwatch",
        "user_dir": HOME / ".config/rlmwatch",
    }
    return Service(**usual | more)


def values(text, key):
    """Return what *text* sets *key* to, line by line."""
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("my notes", '"my notes"'),
        ("100%h", '"100%%h"'),
        ('a"b', '"a\\"b"'),
        ("a\\x20", '"a\\\\x20"'),
        ("a:b;c#d", '"a:b;c#d"'),
        ("日本", '"日本"'),
    ],
)
def test_a_name_is_one_word_in_which_systemd_expands_nothing(name, word):
    """Blanks, quotation marks, backslashes and percent signs of a folder's name reach rlmwatch as they are."""
    assert quoted(name) == word


@pytest.mark.parametrize("name", ["a\nExecStart=/bin/sh", "a\tb", "a\x1bb", "a\udcffb", "a\u2028b"])
def test_a_name_that_no_unit_can_hold_is_refused(name):
    """A line break or a byte that is no text in a folder's name makes no line of a unit: it is refused."""
    for render in (user_drop_in, lambda each: system_drop_in(each, "alice")):
        with pytest.raises(UsageError, match="rename the folder"):
            render(service(f"/srv/{name}"))


def test_a_dollar_sign_names_no_variable_in_a_command():
    """A dollar sign in a folder's name is doubled in the command, where systemd would expand it, and nowhere else."""
    text = user_drop_in(service("/srv/a$HOME"))
    assert values(text, "ExecStart")[-1] == '"/opt/rlmwatch/bin/rlmwatch" "run" "/srv/a$$HOME"'
    assert values(text, "ReadWritePaths")[-1].startswith('"/srv/a$HOME" ')


def test_only_the_chosen_folder_and_the_private_state_are_writable():
    """A user unit takes back the usual folder before it names its own, and the state of its user."""
    text = user_drop_in(service())
    assert values(text, "ExecStart")[0] == ""
    assert values(text, "ReadWritePaths") == ["", '"/home/alice/notes" "/home/alice/.local/state/rlmwatch"']


def test_a_system_unit_takes_back_its_folders_before_it_binds_others():
    """An empty BindReadOnlyPaths takes back the BindPaths before it, too: it never stands behind one."""
    text = system_drop_in(service(), "alice")
    assert values(text, "BindPaths") == ["", '"/home/alice/notes"']
    assert "" not in values(text, "BindReadOnlyPaths")
    assert values(text, "User") == ["alice"]
    assert values(text, "StateDirectory") == ["", "rlmwatch/alice"]


@pytest.mark.parametrize(
    ("program", "bound"),
    [
        ("/opt/rlmwatch/bin/rlmwatch", False),
        ("/home/alice/src/rlmwatch/.venv/bin/rlmwatch", True),
        ("/home/alice/.local/bin/rlmwatch", False),
    ],
)
def test_a_program_in_the_home_folder_can_be_seen_by_a_system_unit(program, bound):
    """A system unit hides the home folder: where the program is installed in it, that place is bound, read-only."""
    paths = values(system_drop_in(service(program=[program]), "alice"), "BindReadOnlyPaths")
    assert ('"-/home/alice/src/rlmwatch/.venv"' in paths) is bound


@pytest.mark.parametrize(
    ("folder", "program", "own"),
    [
        ("/home/alice/notes", "/opt/bin/rlmwatch", True),
        ("/tmp/notes", "/opt/bin/rlmwatch", False),
        ("/home/alice/notes", "/var/tmp/venv/bin/rlmwatch", False),
    ],
)
def test_what_lies_in_a_temporary_folder_is_not_hidden(folder, program, own):
    """A folder or program under /tmp is seen by its service: it has no temporary folder of its own then."""
    for text in (
        user_drop_in(service(folder, program=[program])),
        system_drop_in(service(folder, program=[program]), "alice"),
    ):
        assert values(text, "PrivateTmp") == ([] if own else ["no"])


def test_keys_are_handed_over_by_their_files_names_alone():
    """Each file with a key is a credential of its name; places that variables name are the service's too."""
    text = user_drop_in(
        service(key_files={"OPENAI_API_KEY": HOME / "k 1%"}, environ={"XDG_STATE_HOME": "/data/my state"})
    )
    assert values(text, "LoadCredential") == ["OPENAI_API_KEY:/home/alice/k 1%%"]
    assert values(text, "Environment") == ['"XDG_STATE_HOME=/data/my state"']


def test_each_folder_has_a_unit_of_its_own():
    """The usual folder has the usual name; any other one has its own, as a user unit and as a system unit."""
    assert service("/home/alice/rlmwatch").unit == "rlmwatch.service"
    assert service("/home/alice/rlmwatch").instance("alice") == "rlmwatch@alice.service"
    assert service().unit == "rlmwatch-notes-0123456789ab.service"
    assert service().instance("alice") == "rlmwatch@alice-notes-0123456789ab.service"


@pytest.mark.parametrize("folder", ["/home/alice/notes", "/srv/100% sure", "/srv/日本 #1"])
def test_a_drop_in_tells_its_folder(folder):
    """Which folder a unit is of is read back from what was written; a drop-in of a person tells none."""
    assert folder_of(user_drop_in(service(folder))) == folder
    assert folder_of("[Service]\nMemoryMax=4G\n") is None


def test_root_overwrites_no_key():
    """The steps for root make an empty file for the key only where none is."""
    steps = steps_for_root(service(), "alice", "[Service]\nUser=%i\n")
    (line,) = [line for line in steps.splitlines() if "/dev/null" in line]
    assert "[ -e $key ] ||" in line
    assert "[Service]\nUser=%i\nEND_OF_UNIT\n" in steps
    assert "systemctl enable --now rlmwatch@alice-notes-0123456789ab.service" in steps


def test_launchd_has_the_command_word_by_word():
    """The property list starts the same command, without a shell, and again when it fails."""
    plist = plistlib.loads(launchd_plist(service("/Users/a/my 100% notes")).encode())
    assert plist["ProgramArguments"][-1] == "/Users/a/my 100% notes"
    assert plist["KeepAlive"] == {"SuccessfulExit": False}
