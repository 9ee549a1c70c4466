"""The filter of system calls, run by an interpreter of its own, for both architectures."""

import errno
import re
import struct
from pathlib import Path

import pytest

from rlmwatch.sandbox.guest import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, EACCES, ENOSYS = (0x50000 | number for number in (errno.EPERM, errno.EACCES, errno.ENOSYS))
THREAD = 0x3D0F00


def run(machine, name, *arguments, number=None, architecture=None):
    """Interpret the filter as the kernel would, and return its verdict."""
    column = list(seccomp.ARCHITECTURES).index(machine)
    number = seccomp.NUMBERS[name][column] if number is None else number
    data = struct.pack(
        "=IIQ6Q",
        number,
        seccomp.ARCHITECTURES[machine] if architecture is None else architecture,
        0,
        *(argument & (2**64 - 1) for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]),
    )
    code = seccomp.program(machine)
    at, accumulator = 0, 0
    while True:
        what, if_true, if_false, operand = code[at]
        at += 1
        if what == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif what == 0x54:
            accumulator &= operand
        elif what == 0x15:
            at += if_true if accumulator == operand else if_false
        elif what == 0x35:
            at += if_true if accumulator >= operand else if_false
        else:
            assert what == 0x06
            return operand


both = pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)


@both
def test_reading_and_waiting_pass(machine):
    """What needs no file, network or process is allowed."""
    for name in ("read", "write", "futex", "brk", "getrandom", "clock_nanosleep", "exit_group", "rt_sigreturn"):
        assert run(machine, name) == ALLOW


@both
def test_files_answer_as_without_permission(machine):
    """Opening and looking answer EACCES."""
    for name in ("openat", "newfstatat", "statx", "faccessat", "readlinkat", "openat2"):
        assert run(machine, name) == EACCES


@both
def test_everything_unknown_is_refused(machine):
    """A call that is on no list, also one of a kernel to come, answers EPERM."""
    column = list(seccomp.ARCHITECTURES).index(machine)
    known = {numbers[column] for numbers in seccomp.NUMBERS.values()}
    for number in set(range(1000)) - known:
        assert run(machine, "", number=number) == EPERM


@both
def test_no_page_becomes_executable(machine):
    """A mapping or a change of protection with PROT_EXEC is refused, also in odd bits."""
    assert run(machine, "mmap", 0, 4096, 3, 0x22) == ALLOW
    assert run(machine, "mprotect", 0, 4096, 3) == ALLOW
    for protection in (4, 5, 7, 0x1000004, (1 << 40) | 4):
        assert run(machine, "mmap", 0, 4096, protection, 0x22) == EPERM
        assert run(machine, "mprotect", 0, 4096, protection) == EPERM
    assert run(machine, "mmap", 0, 4096, 3, 0x40022) == EPERM


@both
def test_no_memory_is_shared_that_has_no_file(machine):
    """Shared pages without a file, in whichever spelling, are refused; private ones and shared files pass."""
    for flags in (0x22, 0x02, 0x01, 0x4022, 0x100022, 0x20022):
        assert run(machine, "mmap", 0, 4096, 3, flags) == ALLOW
    for flags in (0x21, 0x23, 0x4021, 0x100021, (1 << 40) | 0x21):
        assert run(machine, "mmap", 0, 4096, 3, flags) == EPERM


@both
def test_clocks_are_the_machines_and_its_own(machine):
    """No clock of another process, and none behind a descriptor, is read, waited for, or known to be there."""
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep"):
        for clock in (0, 1, 2, 3, 4, 5, 6, 7, 11):
            assert run(machine, name, clock) == ALLOW
        others = [~pid << 3 | kind for pid in (0, 1, 300, 4_194_304) for kind in range(8)]
        for clock in (*others, 8, 9, 10, 12, 1 << 30):
            assert run(machine, name, clock) == EPERM, clock


@both
def test_processors_are_its_own(machine):
    """No other process is asked for its processors; the C library takes the answer for an old kernel's."""
    assert run(machine, "sched_getaffinity", 0, 128) == ALLOW
    for pid in (1, 300, 4_194_304, -1):
        assert run(machine, "sched_getaffinity", pid, 128) == ENOSYS


@both
def test_clone_makes_threads_only(machine):
    """Threads of glibc and musl pass; a process, a namespace or a flag more is refused; clone3 is not there."""
    assert run(machine, "clone", THREAD) == ALLOW
    assert run(machine, "clone", THREAD | 0x400000) == ALLOW
    for flags in (17, 0, 0x4111, THREAD | 0x10000000, THREAD & ~0x100, THREAD & ~0x10000, THREAD | 1):
        assert run(machine, "clone", flags) == EPERM
    assert run(machine, "clone3") == ENOSYS


@both
def test_sockets_come_in_stream_pairs_that_name_no_address(machine):
    """A datagram pair, another family, an address or an odd flag is refused."""
    assert run(machine, "socketpair", 1, 1 | 0o2000000, 0) == ALLOW
    assert run(machine, "socketpair", 1, 2, 0) == EPERM
    assert run(machine, "socketpair", 1, 5, 0) == EPERM
    assert run(machine, "socketpair", 2, 1, 0) == EPERM
    assert run(machine, "socketpair", 1, 1, 1) == EPERM
    assert run(machine, "sendto", 5, 1, 1, 0x4000, 0) == ALLOW
    assert run(machine, "sendto", 5, 1, 1, 1, 0) == EPERM
    assert run(machine, "sendto", 5, 1, 1, 0, 0x1000) == EPERM
    assert run(machine, "sendto", 5, 1, 1, 0, 1 << 32) == EPERM
    assert run(machine, "recvfrom", 5, 1, 1, 1) == EPERM


@both
def test_descriptors_can_be_copied_but_not_signal(machine):
    """A descriptor is copied and flagged by fcntl, made non-blocking by ioctl, and nothing else."""
    for command in (0, 1, 2, 3, 4, 1030):
        assert run(machine, "fcntl", 3, command) == ALLOW
    for command in (5, 6, 8, 10, 1024, 1031, 1033):
        assert run(machine, "fcntl", 3, command) == EPERM
    assert run(machine, "ioctl", 3, 0x5421) == ALLOW
    assert run(machine, "ioctl", 3, 0x5412) == EPERM
    assert run(machine, "madvise", 0, 0, 4) == ALLOW
    assert run(machine, "madvise", 0, 0, 100) == EPERM


@both
def test_calls_of_another_architecture_kill(machine):
    """32-bit and x32 calls are not answered at all."""
    assert run(machine, "read", architecture=0x40000003) == KILL
    assert run(machine, "", number=0x40000000 | 39) == KILL


@both
def test_the_program_is_one_that_the_kernel_takes(machine):
    """No jump leaves the program, and its size is below the kernel's limit of 4,096 instructions."""
    code = seccomp.program(machine)
    assert len(code) < 4096
    assert len(seccomp.assemble(code)) == 8 * len(code)
    for at, (what, if_true, if_false, _) in enumerate(code):
        if what in (0x15, 0x35):
            assert max(if_true, if_false) < 256
            assert at + 1 + max(if_true, if_false) < len(code)


@pytest.mark.parametrize(
    ("machine", "header"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        ("aarch64", "/usr/include/asm-generic/unistd.h"),
    ],
)
def test_the_numbers_are_those_of_the_kernels_own_headers(machine, header):
    """Each number is the one that the kernel publishes."""
    if not Path(header).exists():
        pytest.skip("the kernel's headers are not installed")
    column = list(seccomp.ARCHITECTURES).index(machine)
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text())
    published = {name: int(number) for name, number in found}
    published.setdefault("newfstatat", published.get("fstatat"))
    for name, numbers in seccomp.NUMBERS.items():
        assert published.get(name) == numbers[column], name
