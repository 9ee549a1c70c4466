"""The commands that README and the guide show work, one after another, in a person's empty home."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from servers.openai_server import OpenAIServer

from rlmwatch import clock

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
"""Seconds after which a command counts as stuck; each takes one or two."""
ENDS_BY_ITSELF = ("--once", "--dry-run")


def commands(page: Path) -> list[str]:
    """Return the lines of the blocks marked `sh`, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def goes_on(command: str) -> bool:
    """Whether *command* is the daemon, which runs until somebody stops it."""
    return command.startswith("rlmwatch run ") and not any(option in command for option in ENDS_BY_ITSELF)


def replies(body: dict[str, Any]) -> str:
    """Answer; where JSON is asked for, with some; where the engine asks, with a cell that does."""
    if "response_format" in body:
        return '{"month": "February", "total": 37.2}'
    engine = "answer(" in str(body["messages"][0]["content"])
    return '```python\nanswer("An answer.")\n```' if engine else "An answer."


@pytest.fixture
def home(tmp_path):
    """An empty home, `rlmwatch` on the path, and a provider on loopback in place of a paid one."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "rlmwatch").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rlmwatch "$@"\n')
    (tools / "rlmwatch").chmod(0o755)
    with OpenAIServer(replies) as server:
        yield {
            "HOME": str(tmp_path),
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "OPENAI_API_KEY": "made-up-key-c51d2",
            "EXA_API_KEY": "made-up-key-93aa1",
            "OPENAI_BASE_URL": server.url,
            "RLMWATCH_MODELS__DETECT_LOCAL": "false",
        }


def run(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=env,
        cwd=env["HOME"],
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def watch(command: str, env: dict[str, str]) -> tuple[int, str]:
    """Run the daemon until it has written an answer, then press Ctrl+C; return its exit status and its log."""
    daemon = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=env,
        cwd=env["HOME"],
        text=True,
    )
    said = []
    try:
        assert daemon.stderr is not None
        give_up = clock.monotonic() + DEADLINE_S
        for line in daemon.stderr:
            said.append(line)
            if "answer.written" in line:
                daemon.send_signal(signal.SIGINT)
            assert clock.monotonic() < give_up, "".join(said)
        return daemon.wait(DEADLINE_S), "".join(said)
    finally:
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_the_commands_of_a_page_work_in_their_order(page, home):
    """A person who types the commands of the page one after another sees none of them fail, and gets an answer."""
    shown = commands(ROOT / page)
    assert any(command.startswith("rlmwatch") for command in shown)
    for command in shown:
        if goes_on(command):
            status, said = watch(command, home)
        else:
            done = run(command, home)
            status, said = done.returncode, done.stdout + done.stderr
        assert status == 0, f"{page}: {command}\n{said}"
    answer = Path(home["HOME"], "questions", "chat_output.txt")
    assert answer.read_text(encoding="utf-8") == "An answer.\n"
