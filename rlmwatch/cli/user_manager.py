"""The service manager of this user, as `systemctl --user` and its relatives tell of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rlmwatch.cli.unit_files import DROP_IN, Service, folder_of, user_drop_in
from rlmwatch.errors import UsageError, WorkspaceError
from rlmwatch.settings.user_folders import own_home
from rlmwatch.workspace import atomic

_FACTS = ("ActiveState", "SubState", "UnitFileState", "ActiveEnterTimestamp", "NRestarts", "StatusText", "Result")
_SHARE = "share/systemd/"


@dataclass(frozen=True, slots=True)
class Installed:
    """A unit that `service install` has written, and its folder."""

    unit: str
    folder: str


def shipped(name: str) -> str:
    """
    Return the text of the unit *name* of `systemd/`: of this source tree, else as the wheel has installed it.

    Raises:
        WorkspaceError: It came without it.
    """
    places = [Path(__file__).parents[2] / "systemd" / name]
    places += [
        Path(str(file.locate()))
        for file in metadata.files("rlmwatch") or ()
        if _SHARE in file.as_posix() and file.name == name
    ]
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise WorkspaceError(f"this installation of rlmwatch came without {name}; install it again")


def units_folder() -> Path:
    """Return where a user's own units are, which systemd reads first."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else own_home() / ".config") / "systemd" / "user"


def installed() -> list[Installed]:
    """Return what `service install` has written and nobody removed."""
    found = []
    for drop_in in sorted(units_folder().glob(f"rlmwatch*.service.d/{DROP_IN}")):
        folder = folder_of(drop_in.read_text(encoding="utf-8", errors="replace"))
        if folder is not None:
            found.append(Installed(drop_in.parent.name.removesuffix(".d"), folder))
    return found


def missing() -> str | None:
    """Return why no service manager of this user can be used, and what else there is; None where one answers."""
    if shutil.which("systemctl") is None:
        return (
            "there is no systemd here: start `rlmwatch run FOLDER` with whatever starts programs on this machine "
            "(docs/operations.md), or see --launchd"
        )
    done = _run("systemctl", "--user", "show", "--property=Version")
    if done.returncode == 0:
        return None
    return (
        f"no service manager of this user answers ({_words(done)}). Log in as this user, without su or sudo, or "
        "have root make a system service: `rlmwatch service install --system` prints how"
    )


def require() -> None:
    """
    Return if a service manager of this user answers.

    Raises:
        UsageError: There is none; what else there is.
    """
    why = missing()
    if why is not None:
        raise UsageError(why)


def write(service: Service, unit_text: str) -> Path:
    """
    Write unit and drop-in of *service*, and return the unit's file.

    Raises:
        UsageError: A unit of that name is there that this did not write.
        WorkspaceError: It cannot be written.
    """
    unit = units_folder() / service.unit
    drop_in = units_folder() / f"{service.unit}.d" / DROP_IN
    text = user_drop_in(service)
    if unit.exists() and not drop_in.exists() and unit.read_text(encoding="utf-8", errors="replace") != unit_text:
        raise UsageError(
            f"{unit} is there and `rlmwatch service install` did not write it. Move it away; what you changed in it "
            f"goes into a file of its own in {drop_in.parent}"
        )
    try:
        service_state = Path(service.state)
        service_state.mkdir(mode=0o700, parents=True, exist_ok=True)
        drop_in.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(unit, unit_text.encode())
        atomic.write(drop_in, text.encode())
    except OSError as error:
        raise WorkspaceError(f"{error.filename or unit}: cannot be written: {error.strerror}") from None
    return unit


def remove(unit: str) -> None:
    """Remove what `write` has written of *unit*; a drop-in of the person stays."""
    folder = units_folder() / f"{unit}.d"
    (folder / DROP_IN).unlink(missing_ok=True)
    (units_folder() / unit).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def verify(unit: Path) -> str:
    """
    Return what systemd says about *unit* that is no reason not to start it; empty where it says nothing.

    Raises:
        WorkspaceError: It cannot be started as it is.
    """
    if shutil.which("systemd-analyze") is None:
        return ""
    done = _run("systemd-analyze", "--user", "--man=no", "verify", str(unit))
    if done.returncode != 0:
        raise WorkspaceError(f"systemd does not take {unit}: {_words(done)}")
    return _words(done)


def control(*arguments: str) -> None:
    """
    Call `systemctl --user`.

    Raises:
        WorkspaceError: It failed; what it said.
    """
    done = _run("systemctl", "--user", *arguments)
    if done.returncode != 0:
        raise WorkspaceError(f"systemctl --user {' '.join(arguments)} failed: {_words(done)}")


def facts(unit: str) -> dict[str, str]:
    """Return what the manager knows of *unit*, by its own names; empty where it does not say."""
    done = _run("systemctl", "--user", "show", f"--property={','.join(_FACTS)}", unit)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def lingers() -> bool:
    """Whether the user's services go on after the last log-out; True where nobody says."""
    if shutil.which("loginctl") is None:
        return True
    done = _run("loginctl", "show-user", str(os.getuid()), "--property=Linger")
    return done.returncode != 0 or done.stdout.strip() != "Linger=no"


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 (programs of the system, by their usual names)
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except OSError as error:
        raise WorkspaceError(f"{command[0]} cannot be started: {error.strerror}") from None


def _words(done: subprocess.CompletedProcess[str]) -> str:
    said = " ".join((done.stderr.strip() or done.stdout.strip()).split())
    return said or (f"exit status {done.returncode}" if done.returncode else "")


def program() -> Sequence[str]:
    """Return the command that starts this very rlmwatch, by whole paths."""
    script = Path(sys.executable).with_name("rlmwatch")
    # -P: the home folder, in which a service starts, is no place to import from.
    return [str(script)] if script.is_file() else [sys.executable, "-P", "-m", "rlmwatch"]
