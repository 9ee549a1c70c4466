"""`rlmwatch service`, with a service manager that writes down what it is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from system.harness import Home

from rlmwatch.cli.service import ServiceStatus

ROOT = Path(__file__).parents[2]
MANAGER = """\
#!/bin/sh
# A user's service manager: units are files here, and what it is asked is written down.
echo "${0##*/} $*" >> "$HOME/asked"
case "$*" in
  *"$REFUSES"*) [ -n "$REFUSES" ] && { echo "Failed to connect to bus" >&2; exit 1; } ;;
esac
for unit; do :; done
case "$*" in
  "--user show --property=Version") echo Version=252 ;;
  "--user show "*) [ -e "$HOME/active/$unit" ] && echo ActiveState=active || echo ActiveState=inactive
      echo SubState=running; echo UnitFileState=enabled; echo NRestarts=2; echo "StatusText=watching it" ;;
  "--user restart "*) mkdir -p "$HOME/active"; touch "$HOME/active/$unit" ;;
  "--user disable --now "*) rm -f "$HOME/active/$unit" ;;
  "show-user "*) echo Linger=no ;;
esac
exit 0
"""


@pytest.fixture
def person(home: Home) -> Home:
    """A person with a service manager that is a script."""
    programs = home.root / "programs"
    programs.mkdir()
    for name in ("systemctl", "loginctl", "systemd-analyze", "journalctl"):
        (programs / name).write_text(MANAGER)
        (programs / name).chmod(0o755)
    home.variables |= {"PATH": f"{programs}:/usr/bin:/bin", "REFUSES": "\n"}
    home.fresh = True  # `log` becomes another program
    return home


def units(home: Home) -> dict[str, str]:
    """Return the units of this person and what is beside them, by name."""
    folder = home.root / "config" / "systemd" / "user"
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_text(encoding="utf-8") for file in files}


def asked(home: Home) -> list[str]:
    """Return what the manager was asked to do; questions are left out."""
    lines = (home.root / "asked").read_text().splitlines()
    return [line for line in lines if line.startswith("systemctl") and " show " not in line]


def folder(home: Home, name: str = "my 100% notes") -> Path:
    path = home.root / name
    path.mkdir()
    return path


def test_install_writes_verifies_starts_and_says_what_is_next(person: Home):
    """The unit is written as it is shipped, with a drop-in for the folder; it is enabled and started."""
    notes = folder(person)
    done = person.cli("service", "install", str(notes))
    assert done.returncode == 0, done.stderr
    written = units(person)
    (unit,) = [name for name in written if "/" not in name]
    assert written[unit] == (ROOT / "systemd" / "rlmwatch.service").read_text()
    drop_in = written[f"{unit}.d/50-folder.conf"]
    assert f'"run" "{notes}"'.replace("%", "%%") in drop_in
    assert '"XDG_STATE_HOME=' in drop_in
    assert asked(person) == [
        f"systemctl --user {what}" for what in ("daemon-reload", f"enable {unit}", f"restart {unit}")
    ]
    assert f"verify {person.root}/config/systemd/user/{unit}" in (person.root / "asked").read_text()
    for word in ("rlmwatch service status", "loginctl enable-linger"):
        assert word in done.stderr


def test_a_service_looks_where_its_user_looks(person: Home):
    """Variables that say where configuration, state and models are stand in the unit; the help names the default."""
    assert person.cli("service", "install", str(folder(person))).returncode == 0
    written = "".join(units(person).values())
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        assert f"{name}={person.environ()[name]}" in written
    told = " ".join(person.cli("service", "install", "--help").stdout.replace("│", " ").split())
    assert "else the current folder if it is a workspace" in told


def test_the_state_folder_is_there_before_the_service_starts(person: Home):
    """A folder that a unit may write must be there: the private state is made, for its user alone."""
    assert person.cli("service", "install", str(person.workspace)).returncode == 0
    assert (person.states / "rlmwatch").stat().st_mode & 0o777 == 0o700


def test_a_key_of_the_shell_alone_is_named_and_not_written(person: Home):
    """The service has no key that stands in a shell's environment: the person is told where to put it."""
    done = person.cli("service", "install", str(person.workspace))
    assert "OPENAI_API_KEY is in this shell's environment only" in done.stderr
    assert person.key not in done.stdout + done.stderr + "".join(units(person).values())
    (person.config / "openai_api_key").write_text(person.key)
    done = person.cli("service", "install", str(person.workspace))
    assert "shell's environment" not in done.stderr
    assert f"LoadCredential=OPENAI_API_KEY:{person.config}/openai_api_key" in "".join(units(person).values())


def test_several_folders_have_a_service_each(person: Home):
    """Each folder has a unit of its own; status lists them, log and uninstall ask which one, and take that one."""
    first, second = folder(person, "one"), folder(person, "two %h")
    assert person.cli("service", "install", str(first), str(second)).returncode == 0
    shown = person.cli("service", "status")
    assert shown.returncode == 0
    assert [line.split("  ")[0] for line in shown.stdout.splitlines()[1:]] == [str(first), str(second)]
    listed = json.loads(person.cli("service", "status", "--json").stdout)
    assert [(each["folder"], each["state"], each["restarts"]) for each in listed] == [
        (str(folder), "active", 2) for folder in (first, second)
    ]
    assert set(listed[0]) == set(ServiceStatus.__dataclass_fields__)
    which = person.cli("service", "uninstall")
    assert (which.returncode, "which folder?" in which.stderr) == (2, True)
    assert person.cli("service", "uninstall", str(second)).returncode == 0
    assert len(units(person)) == 2
    logged = person.cli("service", "log", "-n", "5")
    assert logged.returncode == 0
    (line,) = [line for line in (person.root / "asked").read_text().splitlines() if line.startswith("journalctl")]
    assert "rlmwatch-one-" in line
    assert "--lines=5" in line


def test_uninstall_leaves_the_folder_and_what_the_person_wrote(person: Home):
    """Of the units only what was written goes; a drop-in of the person, the folder and the state stay."""
    notes = folder(person)
    person.cli("service", "install", str(notes))
    (unit,) = [name for name in units(person) if "/" not in name]
    mine = person.root / "config" / "systemd" / "user" / f"{unit}.d" / "mine.conf"
    mine.write_text("[Service]\nMemoryMax=4G\n")
    assert person.cli("service", "uninstall", str(notes)).returncode == 0
    assert list(units(person)) == [f"{unit}.d/mine.conf"]
    assert notes.is_dir()
    assert f"systemctl --user disable --now {unit}" in asked(person)
    assert person.cli("service", "status").returncode == 1


def test_a_unit_of_the_person_is_not_overwritten(person: Home):
    """A unit of the same name that this did not write stays as it is, and the person is told."""
    usual = folder(person, "rlmwatch")
    own = person.root / "config" / "systemd" / "user" / "rlmwatch.service"
    own.parent.mkdir(parents=True)
    own.write_text("[Service]\nExecStart=/bin/true\n")
    done = person.cli("service", "install", str(usual))
    assert (done.returncode, "did not write it" in done.stderr) == (2, True)
    assert own.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_a_folder_that_is_answered_in_already_has_no_second_daemon(person: Home):
    """Where a daemon answers that is not the service, it is named, and no unit is written."""
    with person.daemon():
        done = person.cli("service", "install", str(person.workspace))
    assert (done.returncode, "Stop it first" in done.stderr) == (2, True)
    assert units(person) == {}


@pytest.mark.parametrize("step", ["--user verify", "enable", "restart"])
def test_what_systemd_refuses_is_told(person: Home, step: str):
    """Where systemd refuses the unit or does not start it, its own words are shown, and the exit status is 1."""
    person.variables["REFUSES"] = "verify" if "verify" in step else step
    done = person.cli("service", "install", str(person.workspace))
    assert (done.returncode, "Failed to connect to bus" in done.stderr) == (1, True)


@pytest.mark.parametrize("verb", [["install"], ["status"], ["uninstall"]])
def test_without_a_service_manager_one_line_says_what_else_there_is(person: Home, verb: list[str]):
    """Without systemd, or where no manager of this user answers, nothing is written, and the line names a way."""
    arguments = [*verb, *([str(person.workspace)] if verb == ["install"] else [])]
    person.variables["REFUSES"] = "Version"
    done = person.cli("service", *arguments)
    assert (done.returncode, "--system" in done.stderr) == (2, True)
    empty = person.root / "empty"
    empty.mkdir()
    person.variables["PATH"] = str(empty)
    done = person.cli("service", *arguments)
    assert (done.returncode, "there is no systemd here" in done.stderr) == (2, True)
    assert units(person) == {}


def test_what_is_printed_for_root_and_for_launchd_changes_nothing(person: Home):
    """`--system` prints steps that a shell takes, `--launchd` a property list; neither asks a manager or writes."""
    done = person.cli("service", "install", "--system", str(folder(person)))
    assert done.returncode == 0
    assert "systemctl enable --now rlmwatch@" in done.stdout
    assert subprocess.run(["sh", "-n"], input=done.stdout, text=True, check=False).returncode == 0
    assert "<plist" in person.cli("service", "install", "--launchd", str(person.workspace)).stdout
    assert units(person) == {}
    assert not (person.root / "asked").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("name", ["rlmwatch", 'my 100% no$te"s \\ x:y', "日本"])
def test_systemd_finds_nothing_to_say_about_what_is_written(person: Home, name: str):
    """`systemd-analyze verify` prints nothing about the unit of a folder, whatever its name, with its drop-in."""
    (person.root / "programs" / "systemd-analyze").unlink()
    person.variables["XDG_RUNTIME_DIR"] = str(person.root)
    done = person.cli("service", "install", str(folder(person, name)))
    assert done.returncode == 0, done.stderr
    assert "systemd remarks" not in done.stderr
