"""`rlmwatch service`: have folders answered from log-in or boot on, by systemd."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from rlmwatch.cli import user_manager
from rlmwatch.cli.arguments import Flag, Json
from rlmwatch.cli.layout import Column
from rlmwatch.cli.output import print_json, print_table, put, say
from rlmwatch.cli.unit_files import SYSTEM_UNIT, USER_UNIT, Service, launchd_plist, steps_for_root
from rlmwatch.cli.user_manager import Installed
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.credentials import KEYS, find_all, wanted
from rlmwatch.daemon.paths import WorkspacePaths, locate
from rlmwatch.errors import UsageError, WorkspaceBusy
from rlmwatch.settings.sources import load, state_dir
from rlmwatch.settings.user_folders import own_home, resolved
from rlmwatch.workspace.owner import holder, user_name, workspace_id

app = App(name="service", help="Have folders answered from log-in or boot on, by systemd.")

PLACES = ("RLMWATCH_STATE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
"""Variables that say where things are: a service must look where its user looks."""
LOG_LINES = 50

_COLUMNS = (
    Column("folder", keep="end", grows=True),
    Column("state", styles={"active (running)": "green", "": "red"}),
    Column("starts"),
    Column("restarts", right=True),
    Column("says"),
    Column("unit"),
)


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """
    One service of `service status --json`.

    Attributes:
        unit: Its systemd unit.
        state: systemd's ActiveState: `active` where it runs.
        sub_state: systemd's SubState, such as `running` or `auto-restart`.
        enabled: Whether it starts with the session.
        restarts: How often systemd has started it anew; None where that is not known.
        says: What the daemon says of itself, or why it does not run; `""` for neither.
    """

    folder: str
    unit: str
    state: str
    sub_state: str
    enabled: bool
    restarts: int | None
    says: str


@app.command
def install(
    *folders: Path,
    system: Annotated[bool, Flag] = False,
    launchd: Annotated[bool, Flag] = False,
) -> int:
    """
    Write the unit of each folder, have systemd check it, start it now and with your session.

    A unit that is there already is written anew, which is what an upgrade needs.

    Args:
        folders: The folders, one service each; default is $RLMWATCH_WORKSPACE, else the current folder if it is a
            workspace.
        system: Change nothing; print what root must do for a service that starts at boot, in more restricted
            surroundings.
        launchd: Change nothing; print a property list for the launchd of macOS. Untested.
    """
    quiet()
    services = [_service(locate(folder)) for folder in folders or (None,)]
    if launchd:
        for service in services:
            put(launchd_plist(service))
        return 0
    if system:
        for service in services:
            put(steps_for_root(service, user_name(os.getuid()), user_manager.shipped(SYSTEM_UNIT)))
        return 0
    user_manager.require()
    for service in services:
        _refuse_second(service)
    for service in services:
        _install(service)
    units = " ".join(service.unit for service in services)
    say(f"\nNext: rlmwatch service status, rlmwatch service log; reload: systemctl --user reload {units}")
    if not user_manager.lingers():
        say(
            "They start when you log in and end when you log out. To have them run from boot on: loginctl enable-linger"
        )
    return 0


@app.command
def status(*, as_json: Json = False) -> int:
    """
    Show each service: its folder, whether it runs, and what it says. Exit status 1 where one does not run.

    Args:
        as_json: Print JSON.
    """
    quiet()
    user_manager.require()
    found = [_status(each) for each in user_manager.installed()]
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        rows = [
            asdict(each)
            | {
                "state": f"{each.state} ({each.sub_state})",
                "starts": "with the session" if each.enabled else "by hand",
            }
            for each in found
        ]
        print_table(_COLUMNS, rows, empty="No service is installed. Install one with: rlmwatch service install FOLDER")
    return 0 if found and all(each.state == "active" for each in found) else 1


def _status(each: Installed) -> ServiceStatus:
    facts = user_manager.facts(each.unit)
    result, restarts = facts.get("Result", "success"), facts.get("NRestarts", "")
    return ServiceStatus(
        folder=each.folder,
        unit=each.unit,
        state=facts.get("ActiveState", "unknown"),
        sub_state=facts.get("SubState", "?"),
        enabled=facts.get("UnitFileState") == "enabled",
        restarts=int(restarts) if restarts.isdecimal() else None,
        says=facts.get("StatusText") or ("" if result == "success" else result),
    )


@app.command
def log(
    folder: Path | None = None,
    /,
    *,
    follow: Annotated[bool, Parameter(name=("--follow", "-f"), negative=())] = False,
    lines: Annotated[int, Parameter(name=("--lines", "-n"))] = LOG_LINES,
) -> int:
    """
    Show the log of a service, as `journalctl` has it.

    Args:
        folder: Of which folder; default is the only one that is installed.
        follow: Go on with what comes.
        lines: The last so many lines.
    """
    quiet()
    each = _one(folder)
    command = ["journalctl", "--user", f"--user-unit={each.unit}", f"--lines={lines}", "--output=cat"]
    try:
        os.execvp(command[0], [*command, *(["--follow"] if follow else [])])  # noqa: S606 (a program of the system)
    except OSError as error:
        raise UsageError(f"journalctl cannot be started: {error.strerror}") from None


@app.command
def uninstall(folder: Path | None = None, /) -> int:
    """
    Stop the service of a folder and remove its unit. The folder, its answers and the private state stay.

    Args:
        folder: Of which folder; default is the only one that is installed.
    """
    quiet()
    user_manager.require()
    each = _one(folder)
    user_manager.control("disable", "--now", each.unit)
    user_manager.remove(each.unit)
    user_manager.control("daemon-reload")
    say(f"{each.unit} is stopped and removed; {each.folder} and its private state stay as they are.")
    return 0


def _service(paths: WorkspacePaths) -> Service:
    settings = load(user_dir=paths.user_dir, workspace=paths.root, environ=os.environ).settings
    named = wanted(settings) | set(KEYS)
    files = {name: paths.user_dir / name.lower() for name in named}
    return Service(
        name=workspace_id(paths.root),
        folder=paths.root,
        home=own_home().resolve(),
        program=user_manager.program(),
        state=state_dir().absolute(),
        user_dir=paths.user_dir.absolute(),
        environ={name: str(Path(os.environ[name]).absolute()) for name in PLACES if os.environ.get(name)},
        key_files={name: file.absolute() for name, file in files.items() if file.is_file()},
    )


def _refuse_second(service: Service) -> None:
    """
    Return unless a daemon answers in the folder that is not this service.

    Raises:
        WorkspaceBusy: One does.
    """
    if user_manager.facts(service.unit).get("ActiveState") in ("active", "activating", "reloading"):
        return
    who = holder(Path(service.state) / service.name, Path(service.folder))
    if who is not None:
        raise WorkspaceBusy(f"{who} answers in {service.folder} already. Stop it first, then install the service")


def _install(service: Service) -> None:
    unit = user_manager.write(service, user_manager.shipped(USER_UNIT))
    remark = user_manager.verify(unit)
    user_manager.control("daemon-reload")
    user_manager.control("enable", service.unit)
    user_manager.control("restart", service.unit)
    say(f"{service.unit} answers in {service.folder}: {unit}")
    if remark:
        say(f"systemd remarks: {remark}")
    for name in _only_in_shell(service):
        say(
            f"{name} is in this shell's environment only, which the service does not have: store it with "
            f"`rlmwatch setup`, or in {service.user_dir / name.lower()} (mode 600), and install again"
        )


def _only_in_shell(service: Service) -> list[str]:
    """Return the names of the keys that only variables of this process hold."""
    settings = load(user_dir=Path(service.user_dir), workspace=Path(service.folder), environ=os.environ).settings
    named = wanted(settings)
    here = find_all(os.environ, Path(service.user_dir), named=named)
    in_shell = [name for name, key in here.items() if key.origin == "environment" and name not in service.key_files]
    without = {name: value for name, value in os.environ.items() if name not in in_shell}
    there = find_all(without, Path(service.user_dir), named=named) if in_shell else {}
    return [name for name in in_shell if name not in there]


def _one(folder: Path | None) -> Installed:
    """
    Return the installed service of *folder*, or the only one.

    Raises:
        UsageError: There is none, or several.
    """
    known = user_manager.installed()
    if folder is not None:
        root = str(resolved(folder))
        known = [each for each in known if each.folder == root]
    if len(known) == 1:
        return known[0]
    if not known:
        raise UsageError("no such service is installed; `rlmwatch service status` lists what is")
    raise UsageError(f"which folder? There are: {', '.join(each.folder for each in known)}")
