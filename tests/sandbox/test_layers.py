"""What is refused, what goes on without, and what a person is told."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rlmwatch.errors import SandboxUnavailable
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host import fork_server
from rlmwatch.sandbox.host.process import ProcessSandbox

ROOT = Path(__file__).parents[2]
ENOSYS, EPERM, KILL, NOTHING = 0x50026, 0x50001, 0x80000000, 0x50000
LANDLOCK = {"x86_64": 444, "aarch64": 444}[os.uname().machine]
UNSHARE = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
SETRESUID = {"x86_64": 117, "aarch64": 147}[os.uname().machine]
PRCTL = {"x86_64": 157, "aarch64": 167}[os.uname().machine]
PR_SET_SECCOMP = 22

_WRAPPER = """\
#!{python} -IS
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0)]
for number, argument, verdict in {rules}:
    if argument is None:
        code += [(0x15, 0, 1, number), (6, 0, 0, verdict)]
    else:
        code += [(0x15, 0, 4, number), (0x20, 0, 0, 16), (0x15, 0, 1, argument), (6, 0, 0, verdict), (0x20, 0, 0, 0)]
code.append((6, 0, 0, 0x7FFF0000))
data = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(data)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(head)), 0, 0) == 0
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def python_on_a_machine_where(tmp_path, *rules):
    """Return an interpreter under a filter as a service or an old kernel has it: (call, first argument, verdict)."""
    wrapper = tmp_path / "python"
    wrapper.write_text(textwrap.dedent(_WRAPPER.format(python=sys.executable, rules=list(rules))))
    wrapper.chmod(0o755)
    return str(wrapper)


def try_machine(python, policy=None):
    """Return the probe's report, and what a cell printed or why there is no session."""

    async def go():
        sandbox = ProcessSandbox(policy, python=python)
        try:
            report = await sandbox.probe()
            try:
                session = await sandbox.open({"context": "hello"})
            except SandboxUnavailable as error:
                return report, error
            result = await session.run_cell("print(context)", timeout_s=10)
            await session.close()
            return report, result.stdout
        finally:
            await sandbox.aclose()

    return asyncio.run(go())


def refused(report):
    return {line.layer: line for line in report.lines if line.state == "refused"}


def test_this_machine_locks_down_a_sandbox():
    """Each layer is tried and told, and the kernel's own word is read at the end."""
    report, printed = try_machine(sys.executable)
    assert not refused(report)
    layers = ["process", "identity", "namespaces", "limits", "landlock", "seccomp", "host"]
    assert [line.layer for line in report.lines] == layers
    assert printed == "hello\n"


def test_without_landlock_there_is_no_sandbox_unless_allowed(tmp_path):
    """The reason and the setting are named; with the setting it goes on without."""
    python = python_on_a_machine_where(tmp_path, (LANDLOCK, None, ENOSYS))
    report, error = try_machine(python)
    assert refused(report)
    line = refused(report)["landlock"]
    assert "no Landlock" in line.text
    assert "allow_degraded" in line.cure
    assert "allow_degraded" in str(error)
    report, printed = try_machine(python, Policy(landlock="try"))
    assert not refused(report)
    assert [line.state for line in report.lines if line.layer == "landlock"] == ["missing"]
    assert printed == "hello\n"


def test_a_service_filter_that_refuses_landlock_is_told_from_a_kernel_without(tmp_path):
    """EPERM is a filter's word: the reason says so, and the cure is to allow the calls, not to boot another way."""
    report, _ = try_machine(python_on_a_machine_where(tmp_path, (LANDLOCK, None, EPERM)))
    line = refused(report)["landlock"]
    assert "a filter of the service or container" in line.text
    assert "landlock_create_ruleset" in line.cure


def test_a_service_filter_that_kills_is_recognised(tmp_path):
    """SIGSYS in the throw-away process names the layer and what the unit needs."""
    report, error = try_machine(python_on_a_machine_where(tmp_path, (LANDLOCK, None, KILL)))
    line = refused(report)["landlock"]
    assert "SIGSYS" in line.text
    assert "SystemCallFilter" in line.cure
    assert isinstance(error, SandboxUnavailable)


def test_without_namespaces_the_other_layers_hold(tmp_path):
    """A kernel or container that gives none is told of, and cells run."""
    report, printed = try_machine(python_on_a_machine_where(tmp_path, (UNSHARE, None, EPERM)))
    assert [line.state for line in report.lines if line.layer == "namespaces"] == ["missing"]
    assert printed == "hello\n"


def test_without_seccomp_there_is_no_sandbox(tmp_path):
    """No setting allows that."""
    python = python_on_a_machine_where(tmp_path, (PRCTL, PR_SET_SECCOMP, EPERM))
    report, error = try_machine(python, Policy(landlock="try"))
    assert "seccomp" in refused(report)
    assert "seccomp" in str(error)


def test_a_filter_that_is_only_claimed_is_found_out(tmp_path):
    """Where the kernel says yes and does nothing, what must fail is tried, and does not fail."""
    report, error = try_machine(python_on_a_machine_where(tmp_path, (PRCTL, PR_SET_SECCOMP, NOTHING)))
    assert "not in force" in refused(report)["seccomp"].text
    assert "not in force" in str(error)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be refused for being root")
def test_real_root_that_cannot_become_another_user_is_refused(tmp_path):
    """A worker is never real root."""
    report, error = try_machine(python_on_a_machine_where(tmp_path, (SETRESUID, None, EPERM)))
    assert "real root" in refused(report)["identity"].text
    assert "ordinary user" in str(error)


def test_an_interpreter_that_is_none_is_refused(tmp_path):
    """The text names it."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    broken.chmod(0o755)
    report, error = try_machine(str(broken))
    assert "no such luck" in next(iter(refused(report).values())).text
    assert "no such luck" in str(error)
    report, error = try_machine(str(tmp_path / "missing"))
    assert refused(report)
    assert "missing" in str(error)


def test_a_process_without_a_filter_does_not_pass_as_one_that_has_it():
    """The host reads the kernel's word about the process, not the process's own."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert "seccomp" in fork_server.filtered(process.pid)
    finally:
        process.kill()
        process.communicate()
    assert "cannot be read" in fork_server.filtered(process.pid)


def test_what_runs_in_the_sandbox_is_the_standard_library_alone():
    """The worker half imports without site packages and without the rest of the package."""
    modules = [f"rlmwatch.sandbox.guest.{name}" for name in ("zygote", "worker", "lockdown", "frames", "seccomp")]
    code = fork_server._LAUNCH.replace("from rlmwatch.sandbox.guest.zygote import main\nmain()", "")
    code += f"import {', '.join(modules)}\nprint(*[n for n in sys.modules if n.startswith('rlmwatch')])\n"
    code += "print([n for n, m in sys.modules.items() if 'site-packages' in str(getattr(m, '__file__', ''))])"
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT / "rlmwatch")], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    halves = {"zygote", "worker", "lockdown", "frames", "seccomp", "cell", "channel", "names", "kernel"}
    assert set(told[0].split()) == {
        "rlmwatch",
        "rlmwatch.contract",
        "rlmwatch.contract.structure",  # pure, and standard library only
        "rlmwatch.sandbox",
        "rlmwatch.sandbox.guest",
        *(f"rlmwatch.sandbox.guest.{name}" for name in halves),
    }
    assert told[1] == "[]"
