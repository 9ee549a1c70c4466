"""
The system calls that a worker may make, as a seccomp filter that the kernel runs.

Standard library only. The filter is a program of classic BPF, assembled here for x86_64 and aarch64: a few dozen
lines are the smaller evil beside a system library that may be missing. Rules:

1. another architecture's calls (32 bit, x32) kill the process;
2. `ALLOWED` pass: memory, time, threads' waiting, reading and writing what is open;
3. `ALLOWED_IF` pass when their arguments do: no page becomes executable, none is shared that has no file (what is
   unmapped of those stays while a page of them is mapped, and counts under no limit), `clone` makes threads only,
   sockets come in connected stream pairs and name no address, clocks and processors are the process's own, and no
   lock inherits priority: who waits for such a one names its owner by number, and learns whether there is one;
4. `clone3` answers ENOSYS, so that the C library falls back to `clone`, whose flags can be looked at;
   `sched_getaffinity` of another process likewise: the C library asks it about its threads, and does without;
5. `NO_FILES` answer EACCES, as a file without permission does, so that Python's own fallbacks work;
6. everything else answers EPERM.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* by `os.uname().machine`."""

_X32_BIT = 0x40000000
_PROT_EXEC = 4
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
_MAP_HUGETLB = 0x40000
# REALTIME MONOTONIC PROCESS_CPUTIME THREAD_CPUTIME MONOTONIC_RAW REALTIME_COARSE MONOTONIC_COARSE BOOTTIME TAI. The
# clock of another process is a negative number that its id is part of, and so is one behind a descriptor.
_CLOCKS = (0, 1, 2, 3, 4, 5, 6, 7, 11)
_ADVICE = (4, 8, 14, 15)  # MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE: what allocators use
# VM FS FILES SIGHAND THREAD SYSVSEM SETTLS PARENT_SETTID CHILD_CLEARTID: pthread_create of glibc; musl adds DETACHED.
_CLONE_THREAD = 0x3D0F00
_CLONE_DETACHED = 0x400000
# WAIT WAKE REQUEUE CMP_REQUEUE WAKE_OP WAIT_BITSET WAKE_BITSET, each with PRIVATE_FLAG and CLOCK_REALTIME.
_FUTEX = (0, 1, 3, 4, 5, 9, 10)
_FUTEX_FLAGS = 0x180
_FIONBIO = 0x5421
_FCNTL = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
_AF_UNIX = 1
_SOCK_STREAM = 1
_SOCK_FLAGS = 0o2004000  # SOCK_CLOEXEC, SOCK_NONBLOCK
_MSG_DONTWAIT = 0x40
_MSG_NOSIGNAL = 0x4000
_ALL = 0xFFFFFFFF

ALLOWED = tuple(
    """read write close fstat poll lseek brk munmap mremap rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack select
    pselect6 ppoll sched_yield nanosleep gettimeofday getpid gettid getuid geteuid getgid getegid getrusage times
    set_tid_address set_robust_list rseq restart_syscall epoll_create1 epoll_ctl epoll_wait epoll_pwait getrandom exit
    exit_group""".split(),  # noqa: SIM905 (read as prose)
)
NO_FILES = tuple(
    """open openat openat2 creat stat lstat newfstatat statx access faccessat faccessat2 readlink
    readlinkat""".split(),  # noqa: SIM905
)


class Check(NamedTuple):
    """
    One look at an argument: `(argument & mask)` must be one of `values`.

    Attributes:
        argument: 0-based. Only its low half is looked at, which is what the kernel uses of an int.
        whole: Whether the high half must be 0 (a pointer).
    """

    argument: int
    values: tuple[int, ...] = (0,)
    mask: int = _ALL
    whole: bool = False


ALLOWED_IF = {
    "mmap": (
        Check(2, mask=_PROT_EXEC),
        Check(3, mask=_MAP_HUGETLB),
        Check(3, values=(0, _MAP_SHARED, _MAP_ANONYMOUS), mask=_MAP_SHARED | _MAP_ANONYMOUS),
    ),
    "mprotect": (Check(2, mask=_PROT_EXEC),),
    "madvise": (Check(2, values=_ADVICE),),
    "clone": (Check(0, values=(_CLONE_THREAD,), mask=_ALL & ~_CLONE_DETACHED),),
    "clock_gettime": (Check(0, values=_CLOCKS),),
    "clock_getres": (Check(0, values=_CLOCKS),),
    "clock_nanosleep": (Check(0, values=_CLOCKS),),
    "sched_getaffinity": (Check(0),),
    "futex": (Check(1, values=_FUTEX, mask=_ALL & ~_FUTEX_FLAGS),),
    "ioctl": (Check(1, values=(_FIONBIO,)),),
    "fcntl": (Check(1, values=_FCNTL),),
    # A datagram pair could be sent from to any unix socket of the machine.
    "socketpair": (
        Check(0, values=(_AF_UNIX,)),
        Check(1, values=(_SOCK_STREAM,), mask=_ALL & ~_SOCK_FLAGS),
        Check(2),
    ),
    # Flags such as MSG_OOB reach kernel code that has had its share of faults.
    "sendto": (Check(3, mask=_ALL & ~(_MSG_DONTWAIT | _MSG_NOSIGNAL)), Check(4, whole=True)),
    "recvfrom": (Check(3, mask=_ALL & ~_MSG_DONTWAIT),),
}

REFUSED_WITH = {"sched_getaffinity": errno.ENOSYS, "futex": errno.ENOSYS}
"""What those of `ALLOWED_IF` answer that do not pass; the others EPERM."""

# name: (x86_64, aarch64); None where the architecture has no such call. From the kernel's unistd.h.
NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll": (7, None),
    "lseek": (8, 62),
    "brk": (12, 214),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "select": (23, None),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "nanosleep": (35, 101),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "gettimeofday": (96, 169),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getrusage": (98, 165),
    "times": (100, 153),
    "futex": (202, 98),
    "set_tid_address": (218, 96),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "restart_syscall": (219, 128),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "getrandom": (318, 278),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "clone": (56, 220),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "clone3": (435, 435),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "creat": (85, None),
    "stat": (4, None),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
}

_LOAD, _AND, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_RET_KILL, _RET_ERRNO, _RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


def program(machine: str) -> list[Instruction]:
    """
    Return the filter for *machine*, a key of `ARCHITECTURES`.

    Raises:
        KeyError: There is none for it.
    """
    column = list(ARCHITECTURES).index(machine)
    code: list[Instruction] = [
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _RET_KILL),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _RET_KILL),
    ]
    blocks = {name: [_returning(_RET_ALLOW)] for name in ALLOWED}
    blocks |= {
        name: [*_checked(checks, REFUSED_WITH.get(name, errno.EPERM)), _returning(_RET_ALLOW)]
        for name, checks in ALLOWED_IF.items()
    }
    blocks |= {name: [_returning(_RET_ERRNO | errno.EACCES)] for name in NO_FILES}
    blocks |= {"clone3": [_returning(_RET_ERRNO | errno.ENOSYS)]}
    for name, block in blocks.items():
        number = NUMBERS[name][column]
        if number is not None:
            code += [(_JUMP_EQUAL, 0, len(block), number), *block]
    return [*code, _returning(_RET_ERRNO | errno.EPERM)]


def assemble(code: list[Instruction]) -> bytes:
    """Return *code* as the array of `struct sock_filter` that the kernel takes."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _returning(what: int) -> Instruction:
    return (_RETURN, 0, 0, what)


def _checked(checks: tuple[Check, ...], refused_with: int) -> list[Instruction]:
    """Return code that falls through when all *checks* hold and answers *refused_with* when one does not."""
    code: list[Instruction] = []
    for check in checks:
        low = _OFFSET_ARGUMENTS + 8 * check.argument
        if check.whole:
            code += [(_LOAD, 0, 0, low + 4), (_JUMP_EQUAL, 1, 0, 0), _returning(_RET_ERRNO | refused_with)]
        code.append((_LOAD, 0, 0, low))
        if check.mask != _ALL:
            code.append((_AND, 0, 0, check.mask))
        after = len(check.values)
        code += [(_JUMP_EQUAL, after - i, 0, value) for i, value in enumerate(check.values)]
        code.append(_returning(_RET_ERRNO | refused_with))
    return code
