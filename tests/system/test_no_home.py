"""A user without a home and without an entry in /etc/passwd, as in a container with `--user` (issue 17, row 7)."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.harness import KEY, PROGRAM, SIDE_BY_SIDE
from system.researching import Coder
from system.test_shared_folder import as_user, shared

UID = 54_323
"""Of nobody."""
VERBS = {
    "run": ["run", "WORKSPACE"],
    "run --once": ["run", "--once", "WORKSPACE"],
    "answer": ["answer", "WORKSPACE/chat_input.txt"],
    "status": ["status"],
    "status of a workspace": ["status", "WORKSPACE"],
    "doctor": ["doctor"],
    "doctor of a workspace": ["doctor", "WORKSPACE"],
    "setup": ["setup", "--provider", "openai", "--key-file", "WORKSPACE/key", "--no-test"],
    "init": ["init", "WORKSPACE/new"],
    "reload": ["reload"],
    "the page": ["run", "--page", "127.0.0.1:0", "WORKSPACE"],
    "models": ["models"],
    "costs": ["costs"],
    "runs": ["runs", "WORKSPACE"],
    "show": ["show", "WORKSPACE/chat_input.txt"],
    "again": ["again", "WORKSPACE/chat_input.txt"],
    "submit": ["submit", "a task", "--workspace", "WORKSPACE"],
    "worker": ["worker"],
    "model fetch": ["model", "fetch"],
    "model where": ["model", "where"],
}
SYSTEM_PYTHON = "/usr/bin/python3"
__all__ = ["shared"]


@dataclass
class Nobody:
    """The user, and what they may write: a folder with a question."""

    root: Path
    before: tuple[str, ...]
    python: str
    variables: dict[str, str]

    @property
    def workspace(self) -> Path:
        return self.root / "shared"

    def __call__(self, *arguments: str, home: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one command; WORKSPACE in its arguments is the folder."""
        command = [each.replace("WORKSPACE", str(self.workspace)) for each in arguments]
        env = self.variables | variables | ({} if home is None else {"HOME": home})
        return subprocess.run(
            [*self.before, self.python, "-m", "rlmwatch", *command],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def folders(self) -> dict[str, str]:
        """Return the two variables that say where private state and settings lie, of folders that are there."""
        found = {"RLMWATCH_STATE_DIR": self.workspace.parent / "state", "XDG_CONFIG_HOME": self.root / "config"}
        for folder in found.values():
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        return {name: str(folder) for name, folder in found.items()}


def starts_itself(before: tuple[str, ...], python: str) -> bool:
    """Whether the user can start *python* of our version, and that another one, as the sandbox does."""
    ours = f"sys.version_info[:2] == {sys.version_info[:2]}"
    again = f"import subprocess, sys; sys.exit(not ({ours}) or subprocess.call([sys.executable, '-c', 'pass']))"
    try:
        return subprocess.run([*before, python, "-c", again], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def coder() -> Coder:
    return Coder()


@pytest.fixture
def provider(coder: Coder) -> Iterator[OpenAIServer]:
    with OpenAIServer(coder) as server:
        yield server


@pytest.fixture
def nobody(shared: Path, provider: OpenAIServer) -> Nobody:
    before = as_user(UID)
    python = next((each for each in (sys.executable, SYSTEM_PYTHON) if starts_itself(before, each)), None)
    if python is None:
        pytest.skip("this Python lies where no other user can start it, and the system's is of another version")
    (shared / "shared" / "chat_input.txt").write_text("dear")
    (shared / "shared" / "key").write_text(KEY)
    return Nobody(
        shared,
        before,
        python,
        {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join([str(PROGRAM), *site.getsitepackages()]),
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_KEY": KEY,
            "RLMWATCH_MODELS__DETECT_LOCAL": "false",
        },
    )


def in_one_line(ended: subprocess.CompletedProcess[str], *words: str) -> bool:
    """Whether a command did not work, and all that it said is one line with *words*."""
    said = ended.stderr.splitlines()
    return ended.returncode in (1, 2) and len(said) == 1 and all(word in said[0] for word in words)


def test_without_a_home_one_line_says_what_to_set(nobody: Nobody):
    """Every verb that needs a folder of the user ends with one line that names both variables."""
    cases = [(verb, None) for verb in VERBS] + [("run --once", ""), ("doctor", ""), ("reload", "relative")]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ended = list(pool.map(lambda case: nobody(*VERBS[case[0]], home=case[1]), cases))
    wrong = [
        (case, each.returncode, each.stderr)
        for case, each in zip(cases, ended, strict=True)
        if not in_one_line(each, "RLMWATCH_STATE_DIR", "XDG_CONFIG_HOME")
    ]
    assert wrong == []
    assert in_one_line(nobody("status", "~/questions"), "write the whole path")


@pytest.mark.parametrize("home", ["/", "/nonexistent", "/proc"])
def test_a_home_that_cannot_be_written_names_the_variable_too(nobody: Nobody, home: str):
    """A container's HOME=/ is there and of no use: the one line names the variable of what could not be written."""
    assert in_one_line(nobody(*VERBS["run --once"], home=home), home, "RLMWATCH_STATE_DIR")
    settings = nobody(*VERBS["setup"], home=home)
    assert in_one_line(settings, home, "XDG_CONFIG_HOME"), settings.stderr


def test_with_both_variables_all_works_the_sandbox_included(nobody: Nobody, coder: Coder):
    """A run of the engine computes in its sandbox, or `doctor` says what refuses it; no other variable is needed."""
    coder.on("letters", "answer(str(len(context)))")
    folders = nobody.folders()
    (nobody.workspace / "count_job_data.txt").write_text("x" * 321)
    (nobody.workspace / "count_job_input.txt").write_text("How many letters?")
    said = nobody(*VERBS["doctor of a workspace"], **folders)
    assert "Traceback" not in said.stderr, said.stderr
    for verb in ("run --once", "status", "runs", "costs", "model where", "setup", "reload", "models"):
        ended = nobody(*VERBS[verb], **folders)
        assert "Traceback" not in ended.stderr, (verb, ended.stderr)
        assert "RLMWATCH_STATE_DIR" not in ended.stderr, verb
    assert (nobody.root / "config" / "rlmwatch" / "config.toml").is_file()
    if "sandbox: locked down" not in said.stdout:
        assert "refused" in said.stdout
        pytest.skip("the sandbox is refused here, and doctor says so")
    assert (nobody.workspace / "count_job_output.txt").read_text() == "321\n"
    assert (nobody.workspace / "chat_output.txt").is_file()
