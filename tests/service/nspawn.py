"""
The service as systemd really runs it: in a Debian of its own, booted by systemd-nspawn, never on this machine's root.

    python tests/service/nspawn.py     # three minutes

Needs root, a mirror, and systemd-nspawn and debootstrap, or `apt-get download` (nothing is installed here). Where it
cannot run, it says why in one line and exits with 0; where a check fails, it says which, and exits with 1.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rlmwatch import clock

ROOT = Path(__file__).resolve().parents[2]
SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
"""The Debian whose Python takes the compiled packages of this environment."""
PACKAGES = "systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,python3,procps"
PLACE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
MACHINE = f"rlmwatch-test-{os.getpid()}"
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
"""What systemd-nspawn 252 refuses unless it is named."""
DEADLINE_S = 90.0
POLL_S = 0.3
HOME = "/home/alice"
ODD = f'{HOME}/my 100% no$te"s \\ x:y'

PROVIDER = """
import json, sys, time
sys.path.insert(0, "/opt/tests")
from servers.openai_server import OpenAIServer
CODE = 'I look.\\n\\n```python\\nprint(len(context))\\nanswer("counted in the sandbox")\\n```\\n'
def reply(body):
    text = json.dumps(body)
    return CODE if "context" in text and "python" in text else "An answer.\\n"
with OpenAIServer(reply) as server:
    open("/run/provider", "w").write(server.url)
    while True:
        time.sleep(0.2)
        open("/run/keys", "w").write("".join(call.headers.get("authorization", "") + "\\n" for call in server.calls))
"""


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def leave(why: str) -> NoReturn:
    """Say why this machine cannot do it, and end well."""
    tell(f"tests/service/nspawn.py was not run: {why}")
    sys.exit(0)


def until(what: str, true: Callable[[], bool]) -> None:
    """Wait until *true* is; fail after the deadline."""
    give_up = clock.monotonic() + DEADLINE_S
    while not true():
        if clock.monotonic() > give_up:
            raise AssertionError(f"not seen within {DEADLINE_S:.0f} s: {what}")
        time.sleep(POLL_S)
    tell(f"  ok  {what}")


def run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})


def tools(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return how debootstrap is called, and the environment for both programs; they are fetched where they miss."""
    if shutil.which("systemd-nspawn") and shutil.which("debootstrap"):
        return ["debootstrap"], {}
    if not shutil.which("apt-get"):
        leave("systemd-nspawn or debootstrap is not here, and there is no apt-get to fetch them")
    folder.mkdir(exist_ok=True)
    names = ("debootstrap", "systemd-container", "libsystemd-shared")
    done = subprocess.run(
        ["apt-get", "-q", "download", *names], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        leave(f"systemd-nspawn and debootstrap cannot be fetched: {done.stderr.strip().splitlines()[-1][:150]}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    os.environ["PATH"] = f"{folder}/usr/bin:{folder}/usr/sbin:{os.environ['PATH']}"
    (library,) = folder.glob("usr/lib/*/systemd/libsystemd-shared-*.so")
    return [str(folder / "usr/sbin/debootstrap")], {
        "DEBOOTSTRAP_DIR": str(folder / "usr/share/debootstrap"),
        "LD_LIBRARY_PATH": str(library.parent),
    }


def build(tree: Path, suite: str, debootstrap: list[str], env: dict[str, str]) -> None:
    """Make the Debian, with this rlmwatch as a wheel in it."""
    done = run(*debootstrap, "--variant=minbase", f"--include={PACKAGES}", suite, str(tree), env=env)
    if done.returncode != 0:
        leave(f"debootstrap could not make a {suite}: {(done.stdout + done.stderr).strip().splitlines()[-1][:150]}")
    subprocess.run(["chroot", str(tree), "useradd", "-m", "-s", "/bin/bash", "alice"], check=True)
    lingering = tree / "var/lib/systemd/linger"
    lingering.mkdir(parents=True, exist_ok=True)
    (lingering / "alice").touch()
    prefix = tree / "opt/rlmwatch"
    subprocess.run(["chroot", str(tree), "python3", "-m", "venv", "--without-pip", "/opt/rlmwatch"], check=True)
    packages = prefix / PLACE
    mine = Path(sysconfig.get_path("purelib"))
    skip = shutil.ignore_patterns(
        "__pycache__", "*.pth", "rlmwatch*", "_rlmwatch*", "mypy*", "ruff*", "uv*", "xllamacpp*"
    )
    shutil.copytree(mine, packages, ignore=skip, symlinks=True, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory() as out:
        wheel = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, str(ROOT)]
        subprocess.run(wheel, check=True)
        (built,) = Path(out).glob("rlmwatch-*.whl")
        target = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--prefix", str(prefix)]
        subprocess.run([*target, "--ignore-installed", "--no-warn-script-location", str(built)], check=True)
    command = prefix / "bin/rlmwatch"
    _, _, rest = command.read_text().partition("\n")
    command.write_text(f"#!/opt/rlmwatch/bin/python3\n{rest}")
    link = tree / "usr/local/bin/rlmwatch"
    link.symlink_to("/opt/rlmwatch/bin/rlmwatch")
    shutil.copytree(ROOT / "tests/servers", tree / "opt/tests/servers", dirs_exist_ok=True)
    (tree / "opt/tests/provider.py").write_text(PROVIDER)


class Container:
    """The Debian while it runs."""

    def __init__(self, tree: Path, env: dict[str, str]) -> None:
        self.tree, self._env = tree, env

    def boot(self) -> None:
        self._process = subprocess.Popen(
            [
                *("systemd-nspawn", "-q", "-D", str(self.tree), f"--machine={MACHINE}", "--register=no", "--keep-unit"),
                *("--private-network", "--console=pipe", "--link-journal=no", f"--system-call-filter={LANDLOCK}"),
                "--boot",
            ],
            env={**os.environ, **self._env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            preexec_fn=own_cgroups,  # noqa: PLW1509 (there is one thread)
            start_new_session=True,
        )
        until("the machine has booted", lambda: self.inside("systemctl is-system-running").strip() == "running")
        self.inside("systemd-run --unit=provider /opt/rlmwatch/bin/python3 /opt/tests/provider.py; true")
        until("the provider listens", lambda: bool(self.inside("cat /run/provider")))
        address = self.inside("cat /run/provider")
        settings = f'base_url = "{address}"\nmodel = "test-model"\nkey = "OPENROUTER_API_KEY"\n'
        self.alice(f"mkdir -p ~/.config/rlmwatch; printf %s {shlex.quote(settings)} > ~/.config/rlmwatch/config.toml")

    def off(self) -> None:
        self.inside("systemctl poweroff")
        self._process.wait(DEADLINE_S)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)
        for own in cgroups():
            for folder in sorted((each for each in own.rglob("*") if each.is_dir()), reverse=True):
                folder.rmdir()
            own.rmdir()

    def inside(self, script: str) -> str:
        """Run *script* as root in there, and return what it printed."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return ""
        namespaces = ("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")
        return run("nsenter", "-t", children[0], *namespaces, "sh", "-c", script).stdout

    def alice(self, script: str) -> str:
        """Run *script* as alice, as if she had logged in, and return what it printed."""
        whole = f"export XDG_RUNTIME_DIR=/run/user/$(id -u) HOME={HOME} LANG=C.UTF-8; cd; {script}"
        return self.inside(f"runuser -u alice -- sh -c {shlex.quote(whole)} 2>&1")

    def answered(self, folder: str, name: str, text: str = "An answer.") -> None:
        file = self.tree / folder.lstrip("/") / f"{name}_output.txt"
        until(f"{name}_input.txt is answered", lambda: file.exists() and text in file.read_text())

    def save(self, folder: str, name: str) -> None:
        self.alice(f"echo Question {name}? > {shlex.quote(f'{folder}/{name}_input.txt')}")


def cgroups() -> list[Path]:
    """Return the cgroups of this machine's own, where the hierarchies are that systemd needs."""
    top = Path("/sys/fs/cgroup")
    places = [top / "systemd", top / "unified", top]
    return [place / MACHINE for place in places if (place / "cgroup.procs").exists()]


def own_cgroups() -> None:
    """Put this process into cgroups of its own."""
    for own in cgroups():
        own.mkdir(exist_ok=True)
        (own / "cgroup.procs").write_text(str(os.getpid()))


def user_service(machine: Container) -> None:
    """A user service: save, key, sandbox, reload, wedged, killed."""
    folder, unit = f"{HOME}/rlmwatch", "rlmwatch.service"
    machine.alice("rlmwatch init ~/rlmwatch; echo key-by-credential-7 > ~/.config/rlmwatch/openrouter_api_key")
    machine.alice("chmod 600 ~/.config/rlmwatch/openrouter_api_key")
    tell(machine.alice("rlmwatch service install ~/rlmwatch"))
    machine.answered(folder, "chat")
    until("the key came by credential", lambda: "key-by-credential-7" in machine.inside("cat /run/keys"))
    journal_fields(machine, folder)
    machine.alice("mkdir ~/rlmwatch/count_job_data; seq 500 > ~/rlmwatch/count_job_data/n.txt")
    machine.save(folder, "count_job")
    machine.answered(folder, "count_job", "counted in the sandbox")
    under = doctor_under(machine, "--user", "etc/systemd/user/doctor.service", "rlmwatch.service", "%h/rlmwatch", unit)
    assert "locked down: process, identity, namespaces, limits, landlock, seccomp, host" in under, under
    tell("  ok  doctor under the user unit: every layer of the sandbox")
    machine.alice(f"systemctl --user reload {unit}")
    until("a reload is in the log", lambda: "reloaded" in machine.alice("rlmwatch service log"))
    drop_in = f"~/.config/systemd/user/{unit}.d"
    machine.alice(f"printf '[Service]\\nWatchdogSec=3\\nTimeoutAbortSec=2\\nRestartSec=1\\n' > {drop_in}/quick.conf")
    machine.alice(f"systemctl --user daemon-reload; systemctl --user restart {unit}")

    def restarts() -> int:
        return int(machine.alice(f"systemctl --user show -P NRestarts {unit}") or 0)

    for signal, what in (("STOP", "the watchdog restarts a wedged daemon"), ("KILL", "a killed daemon is restarted")):
        before = restarts()
        machine.save(folder, f"after_{signal.lower()}")
        machine.alice(f"systemctl --user kill --kill-whom=main --signal={signal} {unit}")
        until(what, lambda before=before: restarts() > before)
        machine.answered(folder, f"after_{signal.lower()}")
    machine.alice(f"systemctl --user stop {unit}")
    machine.save(folder, "pending")


def system_service(machine: Container) -> None:
    """The system service of a folder with an odd name, by the steps that are printed for root."""
    folder = shlex.quote(ODD)
    machine.alice(f"mkdir -p {folder}; rlmwatch init {folder}")
    steps = machine.alice(f"rlmwatch service install --system {folder}")
    (machine.tree / "root/steps.sh").write_text(steps)
    machine.inside("mkdir -p /etc/rlmwatch/alice; echo key-of-root-8 > /etc/rlmwatch/alice/openrouter_api_key")
    machine.inside("sh /root/steps.sh")
    machine.answered(ODD, "chat")
    journal_fields(machine, ODD)
    until("root's key came by credential", lambda: "key-of-root-8" in machine.inside("cat /run/keys"))
    machine.alice(f"mkdir {folder}/count_job_data; seq 500 > {folder}/count_job_data/n.txt")
    machine.save(ODD, "count_job")
    machine.answered(ODD, "count_job", "counted in the sandbox")
    place = "etc/systemd/system/doctor@.service"
    under = doctor_under(machine, "", place, "rlmwatch@.service", "/home/%i/rlmwatch", "doctor@alice")
    assert "sandbox: else: process, identity, limits, landlock, seccomp, host" in under, under
    tell("  ok  doctor under the system unit: every layer but namespaces, which it names")


def journal_fields(machine: Container, folder: str) -> None:
    """The lines of the one run that the folder has by now are found by its id, with the documented fields."""
    (status,) = (machine.tree / folder.lstrip("/") / "jobs").glob("*-chat-*.json")

    def lines() -> list[dict[str, str]]:
        found = machine.inside(f"journalctl --no-pager RLMWATCH_RUN={status.stem} -o json").splitlines()
        return [json.loads(line) for line in found]

    wanted = {"save.admitted", "run.started", "answer.written"}
    until("journalctl finds a run's lines by its id", lambda: wanted <= {line["RLMWATCH_EVENT"] for line in lines()})
    for line in lines():
        told = json.loads(line["MESSAGE"])
        assert (told["event"], told["run"]) == (line["RLMWATCH_EVENT"], status.stem), line
        assert (line["RLMWATCH_RUN"], line["RLMWATCH_WORKSPACE"]) == (status.stem, folder), line
        assert (line["SYSLOG_IDENTIFIER"], line["PRIORITY"]) == ("rlmwatch", "6"), line
    (written,) = [line for line in lines() if line["RLMWATCH_EVENT"] == "answer.written"]
    assert written["RLMWATCH_PATH"] == "chat_output.txt", written
    log = machine.alice(f"rlmwatch log {status.stem} -w {shlex.quote(folder)}")
    assert "answer.written" in log, log


def doctor_under(machine: Container, of: str, place: str, unit: str, folder: str, instance: str) -> str:
    """Return what doctor says with all restrictions of *unit*."""
    text = (ROOT / "systemd" / unit).read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("Watchdog", "Notify", "Restart", "ExecReload"))]
    lines = ["Type=oneshot" if line.startswith("Type=") else line for line in lines]
    start = f"ExecStart=/usr/bin/env rlmwatch doctor {folder}"
    lines = [start if line.startswith("ExecStart=") else line for line in lines]
    (machine.tree / place).write_text("\n".join(lines) + "\n")
    who, name = (machine.alice, "doctor") if of else (machine.inside, instance)
    who(f"systemctl {of} daemon-reload; systemctl {of} start {name}")
    return machine.inside("journalctl --no-pager -o cat -n 80 | grep sandbox")


def main() -> int:
    """Run all checks."""
    suite = SUITES.get(sys.version_info[:2])
    if os.geteuid() != 0:
        leave("it needs root")
    if suite is None:
        leave(f"no Debian has Python {sys.version_info.major}.{sys.version_info.minor}; call it with 3.11 or 3.13")
    if not os.access("/sys/fs/cgroup", os.W_OK) or not Path("/proc/self/ns/pid").exists():
        leave("this machine lets nobody make cgroups or namespaces")
    with tempfile.TemporaryDirectory(prefix="rlmwatch-nspawn-") as scratch:
        debootstrap, env = tools(Path(scratch) / "tools")
        tree = Path(scratch).resolve() / "tree"
        build(tree, suite, debootstrap, env)
        machine = Container(tree, env)
        try:
            machine.boot()
            user_service(machine)
            tell("reboot, with a save that waits")
            machine.off()
            machine.boot()
            machine.answered(f"{HOME}/rlmwatch", "pending")
            system_service(machine)
            machine.off()
        except AssertionError as error:
            tell(f"tests/service/nspawn.py: {error}\n{machine.inside('journalctl --no-pager -o cat -n 40')}")
            return 1
        finally:
            machine.end()
    tell("tests/service/nspawn.py: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
