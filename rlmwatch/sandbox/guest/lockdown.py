"""
A process locks itself before it runs a line of a model's code.

Standard library only. Only the kernel is trusted: `ctypes` is reachable from any Python, so nothing here relies on
what Python code can or cannot name. The layers, each of which alone would stop most of it, in this order:

    process      own session, dies with its parent, no descriptors but its own, no executable data pages
    identity     never real root: root becomes an id that nobody else has
    namespaces   own user, net, ipc and uts namespaces and an empty root folder, where the kernel allows it
    limits       memory, processor time, descriptors, threads, no new file, no core
    landlock     no file, no TCP port, no abstract socket, no signal to outside
    seccomp      the system calls of `seccomp.py` and no others

`lock` does it for real; a probe calls it in a throw-away child and reads what it reported.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from rlmwatch.sandbox.guest import seccomp
from rlmwatch.sandbox.guest.kernel import Refused, capabilities, libc, prctl, set_capabilities

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 8, 22, 38
_PR_SET_THP_DISABLE = 41
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWUTS, _CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x04000000, 0x08000000, 0x10000000, 0x40000000
_CAP_SYS_CHROOT, _CAP_SYS_ADMIN = 18, 21
_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_RESTRICT = 444, 446  # the same on every architecture
_M_ARENA_MAX = -8

# systemd and useradd hand out nothing here (systemd's UIDS-GIDS table: 1879048192 to 2147483647 is unused).
_FIRST_LONE_ID = 0x70000000
_NOBODY = 65534

FIRST_FREE_FD = 6
"""Descriptors 0 to 2 are the null device, 3 to 5 the worker's own; all others are closed."""


class Layer(NamedTuple):
    """
    What became of one layer.

    Attributes:
        state: `on`; `missing` where the kernel has it not and the policy allows that; `off` where told not to use it.
        text: What it is, or why it is not.
    """

    name: str
    state: str
    text: str


def as_refused(error: Exception) -> tuple[str, str, str]:
    """Return layer, reason and cure of whatever `lock` raised."""
    if isinstance(error, Refused):
        return error.layer, error.reason, error.cure
    return "process", f"{type(error).__name__}: {error}", "Report this; it should not happen."


@dataclass(frozen=True)
class Policy:
    """
    Which layers, how much.

    Attributes:
        namespaces: False leaves namespaces and the empty root folder out, as on a kernel that has none.
        landlock: `need` refuses a machine without it, `try` goes on without, `off` leaves it out.
        memory_bytes: Address space of a session. A context takes about twice its size while it is handed over.
        cpu_s: Processor time of a session.
        descriptors: Open descriptors of a session.
        threads: Threads of a session; four times as many where they cannot be counted apart from the user's others.
    """

    namespaces: bool = True
    landlock: str = "need"
    memory_bytes: int = 1 << 30
    cpu_s: int = 600
    descriptors: int = 32
    threads: int = 64


def lock(
    policy: Policy, *, parent: int, empty_root: int, note: Callable[[str], None] = lambda _layer: None
) -> list[Layer]:
    """
    Lock this process down for good, and return what was done.

    Args:
        policy: Which layers.
        parent: The process that must still be alive; this one dies with it.
        empty_root: Descriptor of an empty folder, which is closed; -1 where there is none.
        note: Told the name of each layer before it is tried (a service filter may kill the process there).

    Raises:
        Refused: A layer that is needed cannot be had. The caller must end the process.
    """
    threads = _Threads(policy.threads)
    layers: tuple[tuple[str, Callable[[], Layer]], ...] = (
        ("process", lambda: _process(parent)),
        ("identity", lambda: _identity(threads)),
        ("namespaces", lambda: _namespaces(policy, empty_root)),
        ("limits", lambda: _limits(policy, threads.most())),
        ("landlock", lambda: _landlock(policy)),
        ("seccomp", _seccomp),
    )
    done = []
    for name, layer in layers:
        note(name)
        done.append(layer())
        if name == "namespaces":
            _tie_to(parent)  # a change of identity unties it
    _verify()
    return done


def _process(parent: int) -> Layer:
    if os.getsid(0) != os.getpid():
        os.setsid()
    _tie_to(parent)
    # READ_IMPLIES_EXEC would make every readable page executable.
    libc.personality(0)
    # A huge page that is unmapped but for one small page stays whole, and is counted as that small page.
    prctl("process", _PR_SET_THP_DISABLE, 1)
    # An arena for each thread would reserve 64 MB of the address space each.
    libc.mallopt(_M_ARENA_MAX, 1)
    return Layer("process", "on", "own session, dies with its host")


def _tie_to(parent: int) -> None:
    prctl("process", _PR_SET_DUMPABLE, 0)
    end_with(parent)


def end_with(parent: int) -> None:
    """
    Have the kernel kill this process when the thread that started it ends.

    Raises:
        Refused: *parent* is gone already.
    """
    prctl("process", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise Refused("process", "the host is gone", "Nothing to do.")


def _identity(threads: _Threads) -> Layer:
    if 0 not in os.getresuid():
        threads.shared_with(os.getuid())
        return Layer("identity", "on", f"uid {os.getuid()}, an ordinary user")
    cure = "Run rlmwatch as an ordinary user, or give it CAP_SETUID and CAP_SETGID and more than one mapped id."
    prctl("identity", _PR_SET_KEEPCAPS, 1)
    try:
        if os.getgroups():
            os.setgroups([])
        lone = _become(_FIRST_LONE_ID + os.getpid(), _NOBODY)
    except OSError as error:
        raise Refused("identity", f"real root cannot become another user ({error.strerror})", cure) from error
    set_capabilities(capabilities() & (1 << _CAP_SYS_CHROOT | 1 << _CAP_SYS_ADMIN))
    if 0 in (*os.getresuid(), *os.getresgid()):
        raise Refused("identity", "still real root", cure)
    return Layer("identity", "on", f"uid {lone}, root no more")


def _become(*ids: int) -> int:
    """Take the first of *ids* that the kernel lets us have, as user and group."""
    for last, lone in zip([False] * (len(ids) - 1) + [True], ids, strict=True):
        try:
            os.setresgid(lone, lone, lone)
            os.setresuid(lone, lone, lone)
        except OSError:
            if last:
                raise
        else:
            return lone
    raise AssertionError


def _namespaces(policy: Policy, empty_root: int) -> Layer:
    own = False
    reasons = []
    if policy.namespaces:
        networks = _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
        # No id is mapped in: in there we are nobody at all. The second try is for one who was root a moment ago.
        own = libc.unshare(_CLONE_NEWUSER | networks) == 0
        if not own and libc.unshare(networks) != 0:
            reasons.append(f"no namespaces for this user ({os.strerror(ctypes.get_errno())})")
        reasons += _entered(empty_root)
    if empty_root >= 0:
        os.close(empty_root)
    set_capabilities(0)
    if capabilities():
        raise Refused("namespaces", "capabilities stay", "Report this; it should not happen.")
    if not policy.namespaces:
        return Layer("namespaces", "off", "left out")
    if reasons:
        return Layer("namespaces", "missing", f"{'; '.join(reasons)}; the other layers hold")
    return Layer("namespaces", "on", f"own {'user, ' if own else ''}net, ipc, uts; the root folder is empty")


def _entered(empty_root: int) -> list[str]:
    """Make *empty_root* the root folder, and return why that failed."""
    if empty_root < 0:
        return ["no empty root folder (no temporary folder can be written)"]
    try:
        os.fchdir(empty_root)
        os.chroot(".")
        os.chdir("/")
    except OSError as error:
        return [f"no empty root folder ({error.strerror})"]
    return []


def _limits(policy: Policy, threads: int) -> Layer:
    limits = {
        resource.RLIMIT_AS: policy.memory_bytes,
        resource.RLIMIT_CPU: policy.cpu_s,
        resource.RLIMIT_NOFILE: policy.descriptors,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NPROC: threads,
    }
    for what, most in limits.items():
        hard = resource.getrlimit(what)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(what, (value, value))
        except (OSError, ValueError) as error:
            raise Refused("limits", f"limit {what}: {error}", "Report this; it should not happen.") from error
    return Layer("limits", "on", f"{policy.memory_bytes >> 20} MB, {policy.cpu_s} s of processor time")


class _Threads:
    """
    How many threads the user may have, so that this process can have so many of its own.

    The kernel counts all that a user has. They are ours alone for an id that nobody else has, and, since Linux 5.14,
    in a user namespace. Elsewhere the others are counted first, and some room is left for them to grow.
    """

    _ROOM = 4

    def __init__(self, own: int) -> None:
        self._own = own
        self._user = -1
        self._others = -1

    def shared_with(self, user: int) -> None:
        """Note that the *user* is an ordinary one; an old kernel's count must be taken while `/proc` can be seen."""
        self._user = user
        release = os.uname().release.split(".")
        if (int(release[0]), int("".join(c for c in release[1] if c.isdigit()) or 0)) < (5, 14):
            self._others = _tasks_of(user)

    def most(self) -> int:
        """Return the limit, after namespaces were made or not."""
        if self._user < 0 or (os.getuid() != self._user and self._others < 0):  # an unmapped id reads as another
            return self._own
        return self._own * self._ROOM + (self._others if self._others >= 0 else _tasks_of(self._user))


def _tasks_of(user: int) -> int:
    """Return how many threads the *user* has, as far as `/proc` shows them."""
    count = 0
    with suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 (no more modules than needed)
            with (
                suppress(OSError),
                open(  # noqa: PTH123
                    f"/proc/{name}/status", encoding="utf-8", errors="replace"
                ) as file,
            ):
                status = dict(line.split(":", 1) for line in file if ":" in line)
                if int(status["Uid"].split()[0]) == user:
                    count += int(status["Threads"])
    return count


def _landlock(policy: Policy) -> Layer:
    if policy.landlock == "off":
        return Layer("landlock", "off", "left out")
    version = libc.syscall(_SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        problem = ctypes.get_errno()
        filtered = problem == errno.EPERM  # the kernel's own are ENOSYS and EOPNOTSUPP
        what = "a filter of the service or container refuses it" if filtered else "the kernel has no Landlock"
        reason = f"{what} ({os.strerror(problem)})"
        if policy.landlock == "need":
            cure = "Boot with lsm=…,landlock (Linux 5.13), or set allow_degraded = true."
            if filtered:
                cure = (
                    "Allow landlock_create_ruleset, _add_rule and _restrict_self in it, or set allow_degraded = true."
                )
            raise Refused("landlock", reason, cure)
        return Layer("landlock", "missing", f"{reason}; the other layers hold")
    files = (1 << 13) - 1
    for since, bit in ((2, 13), (3, 14), (5, 15)):  # REFER, TRUNCATE, IOCTL_DEV
        files |= (version >= since) << bit
    fields = [files, *([3] if version >= 4 else []), *([3] if version >= 6 else [])]  # noqa: PLR2004 (ABI numbers)
    rules = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(_SYS_LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), ctypes.c_uint32(0))
    prctl("landlock", _PR_SET_NO_NEW_PRIVS, 1)
    if ruleset < 0 or libc.syscall(_SYS_LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)) != 0:
        raise Refused("landlock", os.strerror(ctypes.get_errno()), "Another filter is in the way (container, service).")
    os.close(ruleset)
    return Layer("landlock", "on", f"version {version}, everything denied")


def _seccomp() -> Layer:
    machine = os.uname().machine
    if machine not in seccomp.ARCHITECTURES or struct.calcsize("P") != 8:  # noqa: PLR2004 (bytes of a pointer)
        raise Refused("seccomp", f"no filter for {machine}", "Use a 64-bit Python on x86_64 or aarch64.")
    code = seccomp.assemble(seccomp.program(machine))
    array = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(array)))
    prctl("seccomp", _PR_SET_NO_NEW_PRIVS, 1)
    cure = "Use a kernel with CONFIG_SECCOMP_FILTER; in a container or service, allow seccomp."
    prctl("seccomp", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header), cure=cure)
    return Layer("seccomp", "on", f"{len(code) // 8} instructions")


def _verify() -> None:
    """
    Try what must fail.

    Raises:
        Refused: It did not.
    """
    for what, attempt in _attempts():
        try:
            attempt()
        except (OSError, ValueError):  # `resource` makes a ValueError of EPERM
            continue
        raise Refused("seccomp", f"not in force: {what} went through", "Report this; no model's code was run.")


def _attempts() -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "opening a file", lambda: os.open("/", os.O_RDONLY)
    yield "making a socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    yield "changing a limit", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
