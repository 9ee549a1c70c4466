"""Which sessions must end for the memory that they hold."""

import os
import subprocess
import sys

import pytest

from rlmwatch.sandbox.host.memory import Holding, MemoryLimits, available_bytes, excess, held_bytes

MB = 1 << 20
LIMITS = MemoryLimits(session=100 * MB, run=150 * MB, total=300 * MB)


def holdings(**held):
    """Return holdings by number; `a1=90` is session 1 of run a, which holds 90 MB."""
    return {int(name[1:]): Holding(name[0].strip("_"), size * MB) for name, size in held.items()}


def test_up_to_the_limits_nothing_ends():
    """What is exactly at the limits goes on."""
    assert excess(holdings(a1=100, a2=50, b3=100, b4=50), LIMITS) == {}
    assert excess({}, LIMITS) == {}


def test_1_one_that_holds_more_than_a_session_may_ends():
    """It alone, and the reason names the limit."""
    found = excess(holdings(a1=101, a2=40), LIMITS)
    assert found.keys() == {1}
    assert "100 MB" in found[1]


def test_2_the_largest_of_a_run_ends_and_no_other_run_notices():
    """The sessions of one run have one limit together."""
    found = excess(holdings(a1=70, a2=60, a3=30, b4=100), LIMITS)
    assert found.keys() == {1}
    assert "its run" in found[1]


def test_2_sessions_of_no_run_are_not_added_up():
    """Who opens a session without saying for which run is judged alone."""
    assert excess(holdings(_1=90, _2=90, _3=90), LIMITS) == {}


def test_3_the_largest_of_all_ends():
    """Many runs that each keep to their limit end where they pass the limit over all."""
    found = excess(holdings(a1=80, b2=90, c3=70, d4=80), LIMITS)
    assert found.keys() == {2}
    assert "all sessions" in found[2]


def test_4_it_goes_on_until_what_is_left_fits():
    """One after another ends, the largest first; the smallest survive."""
    assert excess(holdings(a1=60, a2=70, a3=80, a4=10), LIMITS).keys() == {3}
    assert excess({n: Holding(str(n), 90 * MB) for n in range(10)}, LIMITS).keys() == set(range(7))


def test_what_a_process_holds_is_read():
    """A process that fills memory holds it, and one that is gone holds nothing."""
    code = f"x = bytearray(b'x') * {64 * MB}\nprint(flush=True)\ninput()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    assert 64 * MB <= held_bytes(process.pid) < 128 * MB
    process.communicate(b"\n")
    assert held_bytes(process.pid) == 0


def group(root, path, name, text):
    """Write a limit of a control group below *root*."""
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("line", "groups", "most"),
    [
        ("0::/", {}, 8000),
        ("0::/a/b", {("a", "memory.max"): f"{2000 * MB}\n", ("a/b", "memory.max"): "max\n"}, 2000),
        ("0::/a/b", {("a", "memory.max"): f"{2000 * MB}\n", ("a/b", "memory.max"): f"{500 * MB}\n"}, 500),
        ("4:memory:/out/of/sight", {("memory", "memory.limit_in_bytes"): f"{900 * MB}\n"}, 900),
        ("4:memory:/", {("memory", "memory.limit_in_bytes"): "9223372036854771712\n"}, 8000),
        ("5:cpu,cpuacct:/x", {("cpu", "memory.max"): f"{MB}\n"}, 8000),
    ],
)
def test_what_there_is_for_this_program_is_the_machines_or_its_control_groups(tmp_path, line, groups, most):
    """The least limit counts of the machine, the program's control group and those around it, of either version."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal:       {8000 * 1024} kB\nMemFree: 1 kB\n")
    (tmp_path / "proc/self/cgroup").write_text(f"3:freezer:/\n{line}\n")
    for (path, name), text in groups.items():
        group(tmp_path, path, name, text)
    assert available_bytes(tmp_path) == most * MB


def test_the_limits_of_this_machine_let_one_session_have_its_own():
    """Half of what there is, but never less than one session may have."""
    assert 0 < available_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert MemoryLimits.on_this_machine(1 << 50).total == 1 << 50
    assert MemoryLimits.on_this_machine(MB).total == max(MB, available_bytes() // 2)
