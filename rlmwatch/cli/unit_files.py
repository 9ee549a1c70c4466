"""
What a service of one folder is written as: names, drop-ins of systemd, a plist of launchd. Pure.

The units of `systemd/` are taken as they are; what is particular to a folder stands in a drop-in beside them.
"""

from __future__ import annotations

import plistlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath

from rlmwatch.errors import UsageError

USER_UNIT = "rlmwatch.service"
SYSTEM_UNIT = "rlmwatch@.service"
DROP_IN = "50-folder.conf"
USUAL_FOLDER = "rlmwatch"
"""In the home folder: what the units of `systemd/` watch by themselves."""
_FOLDER = "# Folder: "
_HEAD = "# Written by `rlmwatch service install`, which writes it anew; changes of yours go into a file beside it."
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 (they are looked for, not used)
_PROGRAMS_AT_HOME = (".local/bin", ".local/share/uv", ".local/share/pipx")


@dataclass(frozen=True, slots=True)
class Service:
    """
    The service of one folder.

    Attributes:
        name: Of the folder's state folder, which is unique.
        folder: The workspace, resolved.
        home: The home folder of who runs it.
        program: Command and arguments that start rlmwatch, all but `run FOLDER`.
        state: The folder of private state, across all workspaces.
        user_dir: The configuration folder.
        environ: Variables without which another process looks in other places.
        key_files: Name of a key → the file that holds it.
    """

    name: str
    folder: PurePath
    home: PurePath
    program: Sequence[str]
    state: PurePath
    user_dir: PurePath
    environ: Mapping[str, str] = field(default_factory=dict)
    key_files: Mapping[str, PurePath] = field(default_factory=dict)

    @property
    def unit(self) -> str:
        """The name of its user unit."""
        return USER_UNIT if self.folder == self.home / USUAL_FOLDER else f"rlmwatch-{self.name}.service"

    def instance(self, user: str) -> str:
        """Return the name of the system unit with which it runs as *user*."""
        only = self.folder == self.home / USUAL_FOLDER
        return f"rlmwatch@{user if only else f'{user}-{self.name}'}.service"


def quoted(value: object) -> str:
    """
    Return *value* as one word of a unit's setting, in which systemd expands and splits nothing.

    Raises:
        UsageError: No unit can hold it.
    """
    return '"' + _plain(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _plain(value: object) -> str:
    text = str(value)
    if not text.isprintable():
        raise UsageError(f"{text!r}: a unit of systemd cannot name it; rename the folder")
    return text.replace("%", "%%")


def _command(words: Sequence[object]) -> str:
    return " ".join(quoted(word).replace("$", "$$") for word in words)


def user_drop_in(service: Service) -> str:
    """Return the drop-in of a user unit."""
    lines = [
        _HEAD,
        f"{_FOLDER}{_plain(service.folder)}",
        "[Unit]",
        f"Description=rlmwatch: {_plain(service.folder)} is a folder that answers",
        "[Service]",
        "ExecStart=",
        f"ExecStart={_command([*service.program, 'run', service.folder])}",
        "ReadWritePaths=",
        f"ReadWritePaths={quoted(service.folder)} {quoted(service.state)}",
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in sorted(service.environ.items())),
        *(f"LoadCredential={name}:{_plain(path)}" for name, path in sorted(service.key_files.items())),
        *_visible_temporary(service),
    ]
    return "\n".join(lines) + "\n"


def system_drop_in(service: Service, user: str) -> str:
    """Return the drop-in of a system unit that runs as *user*."""
    read = [service.user_dir, *(service.home / each for each in _PROGRAMS_AT_HOME)]
    program = PurePosixPath(service.program[0]).parent.parent
    if service.home in program.parents and not any(each in (program, *program.parents) for each in read):
        read.append(program)
    lines = [
        _HEAD,
        f"{_FOLDER}{_plain(service.folder)}",
        "[Unit]",
        f"Description=rlmwatch: {_plain(service.folder)} is a folder that answers",
        "RequiresMountsFor=",
        f"RequiresMountsFor={quoted(service.folder)}",
        "[Service]",
        f"User={user}",
        "ExecStart=",
        f"ExecStart={_command([*service.program, 'run', service.folder])}",
        "StateDirectory=",
        f"StateDirectory=rlmwatch/{user}",
        f"Environment=RLMWATCH_STATE_DIR=%S/rlmwatch/{user}",
        "BindPaths=",  # takes back all of both kinds
        f"BindPaths={quoted(service.folder)}",
        *(f"BindReadOnlyPaths={_optional(quoted(each))}" for each in read),
        f"LoadCredential=OPENROUTER_API_KEY:/etc/rlmwatch/{user}/openrouter_api_key",
        f"LoadCredential=EXA_API_KEY:/etc/rlmwatch/{user}/exa_api_key",
        *_visible_temporary(service),
    ]
    return "\n".join(lines) + "\n"


def _optional(word: str) -> str:
    return f'"-{word[1:]}'


def _visible_temporary(service: Service) -> list[str]:
    """Return the line without which what lies in a temporary folder cannot be seen."""
    paths = [PurePosixPath(each) for each in (service.folder, service.state, service.program[0])]
    hidden = any(PurePosixPath(top) in path.parents for path in paths for top in _TEMPORARY)
    return ["PrivateTmp=no"] if hidden else []


def folder_of(drop_in: str) -> str | None:
    """Return the folder for which *drop_in* was written; None where it is not one of ours."""
    line = next((line for line in drop_in.splitlines() if line.startswith(_FOLDER)), None)
    return None if line is None else line.removeprefix(_FOLDER).replace("%%", "%")


def steps_for_root(service: Service, user: str, unit_text: str) -> str:
    """Return the shell commands with which root makes the system service of *user*."""
    instance = service.instance(user)
    folder = f"/etc/systemd/system/{instance}.d"
    return "\n".join(
        [
            f"# As root: the service of {shlex.quote(str(service.folder))}, which runs as {user}.",
            _written(f"/etc/systemd/system/{SYSTEM_UNIT}", unit_text),
            f"mkdir -p {shlex.quote(folder)}",
            _written(f"{folder}/{DROP_IN}", system_drop_in(service, user)),
            "# Its key, if it needs one: as a file that root alone reads; write the key into it.",
            f"key=/etc/rlmwatch/{user}/openrouter_api_key; [ -e $key ] || install -D -m 600 /dev/null $key",
            "systemctl daemon-reload",
            f"systemctl enable --now {shlex.quote(instance)}",
            f"# Then, as {user}: RLMWATCH_STATE_DIR=/var/lib/rlmwatch/{user} rlmwatch status",
        ]
    )


def _written(path: str, text: str) -> str:
    return f"cat > {shlex.quote(path)} <<'END_OF_UNIT'\n{text}END_OF_UNIT"


def launchd_plist(service: Service) -> str:
    """Return the property list with which launchd runs the service."""
    logs = service.home / "Library" / "Logs" / f"rlmwatch-{service.name}.log"
    content = {
        "Label": f"rlmwatch.{service.name}",
        "ProgramArguments": [*service.program, "run", "--log-format", "json", str(service.folder)],
        "EnvironmentVariables": dict(service.environ),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 30,
        "Umask": 0o077,
        "ProcessType": "Background",
        "StandardErrorPath": str(logs),
    }
    return plistlib.dumps(content).decode()
