"""What is made for installing: man pages, shell completion, the container."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rlmwatch.cli.main import VERBS, build
from rlmwatch.settings.sources import ENV_OUTSIDE

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
IMAGE = "docker.io/library/python:3.13-slim"


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    """The man pages, made as `make man` does."""
    folder = tmp_path_factory.mktemp("man")
    subprocess.run(
        [sys.executable, ROOT / "tools/man.py", folder],
        check=True,
        timeout=DEADLINE_S,
        cwd=ROOT,
        capture_output=True,
    )
    return folder


def test_every_verb_has_a_man_page_with_each_of_its_options(pages: Path):
    """Each verb has a page of its own, whose words and options are those of its help."""
    app = build()
    for name in VERBS:
        for below in [each for each in app[name] if not each.startswith("-")] or [None]:
            command = app[name][below] if below else app[name]
            page = (pages / f"rlmwatch-{name}{f'-{below}' if below else ''}.1").read_text().replace("\\-", "-")
            options = {
                each for argument in command.assemble_argument_collection() for each in argument.names if each[0] == "-"
            }
            assert {each for each in options if f"\\fB{each}\\fR" not in page} == set()
    assert "rlmwatch-setup" in (pages / "rlmwatch.1").read_text().replace("\\-", "-")


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff to print man pages with")
def test_man_prints_every_page_without_a_warning(pages: Path):
    """Every page is printed without a warning, and its first line names it."""
    for page in sorted(pages.iterdir()):
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", "-K", "utf8", "-P-c", page],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        assert done.stderr == "", page.name
        assert page.stem.upper() in re.sub(".\b", "", done.stdout).splitlines()[0]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_verbs_and_options(tmp_path: Path, shell: str):
    """`--install-completion` puts a script into the person's home that knows every verb, and the shell accepts it."""
    done = subprocess.run(
        [sys.executable, "-m", "rlmwatch", "--install-completion", "--shell", shell],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [file for file in tmp_path.rglob("*rlmwatch*") if file.is_file()]
    (script,) = found
    text = script.read_text()
    assert {verb for verb in VERBS if verb not in text} == set()
    assert "--key-file" in text or "key-file" in text
    if shutil.which(shell):
        subprocess.run([shell, "-n", script], check=True, timeout=DEADLINE_S)


def test_the_container_is_made_of_what_there_is():
    """Each file that the Containerfile copies is in the tree, and nothing is installed but by its hash."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    missing = [name for names in copied for name in names if not (ROOT / name).exists()]
    assert missing == []
    assert {name for names in copied for name in names} >= {"rlmwatch", "pyproject.toml", "systemd", "sample_workspace"}
    assert text.count("pip install") == text.count("--require-hashes") + text.count("--no-deps")
    named = set(re.findall(r"RLMWATCH_[A-Z_]+", text))
    assert named <= ENV_OUTSIDE


def test_the_compose_example_keeps_the_state_and_holds_no_key():
    """The example keeps the private state across containers, and hands keys over as files."""
    service = yaml.safe_load((ROOT / "compose.example.yaml").read_text(encoding="utf-8"))["services"]["rlmwatch"]
    assert any(each.endswith(":/state") for each in service["volumes"])
    assert any(each.endswith(":/workspace") for each in service["volumes"])
    assert service["environment"] == {"CREDENTIALS_DIRECTORY": "/run/secrets"}
    assert service["secrets"] == ["OPENAI_API_KEY"]


def builder() -> str | None:
    """Return the program that can build the image here without a registry; None where there is none."""
    for program in ("podman", "buildah"):
        if shutil.which(program) is None:
            continue
        asked = [program, "inspect", "--type", "image", IMAGE]
        if subprocess.run(asked, capture_output=True, timeout=DEADLINE_S, check=False).returncode == 0:
            return program
    return None


def test_the_image_is_built_and_answers():
    """Where podman or buildah is, and the base image lies here, the image is built and prints its version."""
    program = builder()
    if program is None:
        pytest.skip(f"neither podman nor buildah with {IMAGE} is here")
    subprocess.run([program, "build", "-q", "-t", "rlmwatch-test", ROOT], check=True, timeout=600)
    if program == "podman":
        done = subprocess.run(
            [program, "run", "--rm", "rlmwatch-test", "--version"],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
        assert re.match(r"\d+\.\d+", done.stdout)
