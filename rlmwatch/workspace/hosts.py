"""
Which machine answers in a workspace that several share: the `host` of `rlmwatch.toml`, which the sync tool carries.

    host = "desk#1a2b3c4d"

A host is its name, for people, and an id, which is made once and kept in the user's private state. The rule:

1. Nobody is named: this host names itself.
2. The id is ours: this host answers, whatever its name is by now (a container that was made anew).
3. A name without an id (as older versions and people write it) is ours: this host answers, and adds its id.
4. Another id under our name, but this very folder was named from this machine: this host answers. Its private state
   was lost, or is another user's. The folder itself knows it by an extended attribute, the mark, with the id, its own
   inode and the machine, so a copy of the folder, here or elsewhere, does not.
5. But where that mark was made since this machine has started, and in another network namespace, another host answers:
   a container, or the machine around ours. Neither sees the other's lock (`owner.py`). Where it was made before, this
   host names itself, so that the other one, should it be there too, finds itself in this rule.
6. Else another host answers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from rlmwatch.errors import ConfigError, UsageError, WorkspaceError
from rlmwatch.settings.workspace_file import WORKSPACE_FILE, parse, parse_toml, read_text
from rlmwatch.workspace import atomic
from rlmwatch.workspace.os_errors import cannot_use_state
from rlmwatch.workspace.owner import holder_of_folder, known_workspaces

ID_FILE = "host_id"
"""In the folder of the user's private state, beside those of the workspaces."""
MACHINE_ID = Path("/etc/machine-id")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Of the running kernel, which all its containers share."""
NETWORK = Path("/proc/self/ns/net")
_MARK = re.compile(r"(?P<named>\S+ \S+ \S+)(?: (?P<boot>\S+) (?P<network>\S+))?\Z")
"""Older versions write no more than `named`."""
_ATTRIBUTE = "user.rlmwatch.host"
_ID = re.compile(r"[0-9a-f]{8}\Z")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Host:
    """
    A machine that answers.

    Attributes:
        name: For people.
        id: Eight hexadecimal digits; None where only its name is known.
    """

    name: str
    id: str | None = None

    def __str__(self) -> str:
        return self.name if self.id is None else f"{self.name}#{self.id}"

    def described(self, me: Host) -> str:
        """Return its name for people on the machine *me*; with its id where the names are the same."""
        return f"another machine or container named {self.name} (id {self.id})" if self.name == me.name else self.name

    @classmethod
    def of(cls, text: str) -> Host:
        """Return the host that *text*, the value of `host`, names."""
        name, mark, found = text.rpartition("#")
        return cls(name, found) if mark and name and _ID.match(found) else cls(text)


def this_host(name: str, states: Path) -> Host:
    """
    Return this machine: its *name*, and the id in *states*, the folder of the user's private state, made where missing.

    Raises:
        WorkspaceError: The folder cannot be used.
    """
    path = states / ID_FILE
    try:
        states.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _make_id(path)
        found = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise cannot_use_state(path, error) from error
    if not _ID.match(found):
        raise WorkspaceError(f"{path}: is not the id of a host: eight of 0-9 a-f. Remove the file: it is made anew.")
    return Host(name, found)


def _make_id(path: Path) -> None:
    """Store a new id at *path*, whole at once and only once: two programs that start together have one."""
    host_id = secrets.token_hex(4)
    made = path.with_name(f".{path.name}.{host_id}.tmp")
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="ascii") as file:  # noqa: PTH123 (a descriptor)
            file.write(f"{host_id}\n")
        with suppress(FileExistsError):
            path.hardlink_to(made)
    finally:
        made.unlink()


def named_host(root: Path) -> Host | None:
    """
    Return the host that answers in *root*, as `rlmwatch.toml` says; None where it names none.

    Raises:
        ConfigError: The file is not TOML, or its `host` is not text.
    """
    text = parse(root, read_text(root)).get("host")
    return Host.of(text) if text else None


@dataclass(frozen=True, slots=True)
class Mine:
    """This machine answers."""


@dataclass(frozen=True, slots=True)
class Theirs:
    """Another machine, *host*, answers; this one stays idle and says so."""

    host: Host


def look_up(root: Path, me: Host) -> Mine | Theirs | None:
    """
    Return who answers in *root*; None where nobody is named. Writes nothing.

    Raises:
        ConfigError: As `named_host`.
    """
    named = named_host(root)
    if named is None:
        return None
    if named.id == me.id or (named.name == me.name and (named.id is None or _is_from_here(root, named.id))):
        return Mine()
    return Theirs(named)


def host_rule(root: Path, me: Host, *, now: str) -> Mine | Theirs:
    """
    Return whether this machine answers in *root*; where nobody is named, it names itself first.

    Two machines that both find nobody, before the sync tool carried anything, both answer until it has; then the
    file that won decides at the next look.

    Args:
        root: The workspace.
        me: This machine.
        now: For the comment beside the line that it writes.

    Raises:
        ConfigError: As `named_host`.
        WorkspaceError: The file cannot be written.
    """
    rule = look_up(root, me)
    if rule is None:
        _set_host(root, me, now=now)
        return Mine()
    named = named_host(root)
    if isinstance(rule, Mine) and named is not None:
        if named.id == me.id:
            _set_mark(root, me)
        elif me.id is not None and (named.id is None or not _is_of_this_boot(root)):
            try:
                _set_host(root, me, now=now)
            except (ConfigError, WorkspaceError) as error:  # what stands there is enough to answer
                log.warning("host.id_not_written", why=str(error))
    return rule


def take_over(root: Path, me: Host, *, now: str) -> Host | None:
    """
    Make this machine the one that answers in *root*; return the one that did before, if another did.

    Raises:
        ConfigError, WorkspaceError: As `host_rule`.
    """
    rule = look_up(root, me)
    if isinstance(rule, Mine):
        host_rule(root, me, now=now)
        return None
    _set_host(root, me, now=now)
    return rule.host if rule is not None else None


def refuse_nested(root: Path, states: Path, *, left_out: Collection[Path] = (), me: Host | None = None) -> None:
    """
    Return if *root* neither lies in another workspace nor has one in it: each save would be answered twice.

    Found above it are folders whose `rlmwatch.toml` names a host; below it those that *states*, the folder of the
    user's private state, knows, where they still name one. One that names the same host as *root* counts only while a
    process answers in it: one daemon was to serve both, and else neither could be served any more.

    Args:
        root: The workspace.
        states: The folder of the user's private state.
        left_out: What this machine does not serve beside it: where it names *me*, it counts as one of the same host.
        me: This machine.

    Raises:
        UsageError: It does; the text says which.
    """
    own = _host_of(root)

    def answers(other: Path) -> bool:
        host = _host_of(other)
        if host is None:
            return False
        is_same = host == own or (other in left_out and host == me)
        return not is_same or holder_of_folder(other) is not None

    for above in root.parents:
        if answers(above):
            raise UsageError(
                f"{root} lies in the workspace {above}, which answers in it already: each save would be "
                "answered twice. Use that one, or move one of them elsewhere."
            )
    for other in known_workspaces(states):
        if root in other.parents and answers(other):
            raise UsageError(
                f"the workspace {other} lies in {root}: each save there would be answered twice. "
                f"Move one of them elsewhere, or remove {other / WORKSPACE_FILE} and answer from {root} alone."
            )


def _host_of(folder: Path) -> Host | None:
    try:
        return named_host(folder)
    except ConfigError:  # somebody's file, that no daemon would answer by
        return None


def _mark(root: Path) -> re.Match[str] | None:
    """Return the parts of the extended attribute of *root*; None where it has none of ours."""
    try:
        return _MARK.match(os.getxattr(root, _ATTRIBUTE).decode("ascii", "replace"))
    except OSError:
        return None


def _is_from_here(root: Path, host_id: str) -> bool:
    """Whether *root* was named from this machine by the host *host_id*, and not by another environment that may run."""
    mark = _mark(root)
    if mark is None or mark["named"] != _named(root, host_id):
        return False
    return mark["boot"] != _boot() or mark["network"] == _network()


def _is_of_this_boot(root: Path) -> bool:
    mark = _mark(root)
    return mark is not None and mark["boot"] == _boot()


def _named(root: Path, host_id: str) -> str:
    """Return what says in a mark that this folder was named from this machine by the host *host_id*."""
    try:
        machine = MACHINE_ID.read_bytes()
    except OSError:
        machine = b""
    return f"{host_id} {root.stat().st_ino} {hashlib.sha256(b'rlmwatch' + machine).hexdigest()[:16]}"


def _boot() -> str:
    """Return what is another after each start of this machine, and the same in all its containers."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"


def _network() -> str:
    """Return the network namespace of this process: those in one see each other's lock."""
    try:
        return str(NETWORK.readlink())
    except OSError:
        return "unknown"


def _set_mark(root: Path, me: Host) -> None:
    with suppress(OSError):  # where there are none, a lost private state needs `--take-over`
        if me.id is None:
            return
        mark = f"{_named(root, me.id)} {_boot()} {_network()}"
        found = _mark(root)
        if found is None or found.group() != mark:
            os.setxattr(root, _ATTRIBUTE, mark.encode())


def _set_host(root: Path, me: Host, *, now: str) -> None:
    """
    Write `host` into `rlmwatch.toml` and leave all else as it is: comments, order, line ends.

    What was edited is parsed again: it is written only if it says exactly what it said, and the new host.
    """
    path = root / WORKSPACE_FILE
    text = read_text(root)
    wanted = {**parse(root, text), "host": str(me)}
    edited = _with_host(path, text, str(me), now=now)
    if parse_toml(path, edited) != wanted:
        raise _unsafe(path, str(me))
    atomic.write(path, edited.encode(), within=root)
    _set_mark(root, me)
    log.info("owner.host_written", host=str(me))


def _with_host(path: Path, text: str, me: str, *, now: str) -> str:
    """Return *text* with the host *me*: in its line where it has one, else in a new one behind the other keys."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        if "host" in document:
            document["host"] = me
        else:
            host = tomlkit.string(me).comment(f"answers here since {now}; `rlmwatch run --take-over` moves it")
            host.trivia.trail = "\r\n" if "\r\n" in text else "\n"
            document.add("host", host)
        return document.as_string()
    except TOMLKitError as error:
        raise _unsafe(path, me) from error


def _unsafe(path: Path, me: str) -> ConfigError:
    return ConfigError(f"{path}: `host` cannot be changed safely. Write it yourself: host = {json.dumps(me)}")
