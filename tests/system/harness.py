"""
What the system tests are made of: a person's home with a workspace, the real daemon in it, and a provider on loopback.

    home.save("chat_input.txt", "Hello")
    with home.daemon() as daemon:
        daemon.wait("answer.written", path="chat_output.txt")
        home.read("chat_output.txt")

The daemon is `python -m rlmwatch run … --log-format json` with a clean environment. What it does is known from its log:
nothing here sleeps and hopes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers.openai_server import Answer, Call, OpenAIServer
from system.daemon import DEADLINE_S, Daemon
from system.forkserver import PROGRAM, Process, start

from rlmwatch import clock

KEY = "made-up-key-7f3a9c51d2"
POLL_S = 0.01
SIDE_BY_SIDE = 3
MODEL = "gpt-4.1-mini"
"""What is asked where only `OPENAI_API_KEY` is there."""


class Brain:
    """
    What the provider answers, by the text of the question; a script for `OpenAIServer`.

    A question that no rule is about gets `re: <question>`.
    """

    def __init__(self) -> None:
        self._rules: dict[str, list[Answer]] = {}

    def on(self, word: str, *answers: Answer) -> None:
        """Answer questions that hold *word* with *answers* in order; the last one is repeated."""
        self._rules[word] = list(answers)

    def __call__(self, body: dict[str, Any]) -> Answer:
        asked = question(body)
        for word, answers in self._rules.items():
            if word in asked:
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return f"re: {asked[:200]}"


def question(body: Mapping[str, Any]) -> str:
    """Return the text of the last message of a request: the input."""
    last: str | list[dict[str, Any]] = body["messages"][-1]["content"]
    return last if isinstance(last, str) else "".join(part.get("text", "") for part in last)


def asked(server: OpenAIServer, word: str) -> list[Call]:
    """Return the calls whose question holds *word*."""
    return [call for call in server.calls if word in question(call.body)]


@dataclass
class Home:
    """
    One person's home: a workspace, a configuration folder, private state.

    Attributes:
        root: The home folder.
        provider: Who answers; None where the person has no provider.
        key: Their key; None where they have none.
        variables: What else is in their environment.
        fresh: Their programs are started as a person starts them, not from the fork server.
    """

    root: Path
    provider: OpenAIServer | None = None
    key: str | None = KEY
    variables: dict[str, str] = field(default_factory=dict)
    fresh: bool = False

    def __post_init__(self) -> None:
        for folder in (self.workspace, self.config):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def config(self) -> Path:
        return self.root / "config" / "rlmwatch"

    @property
    def states(self) -> Path:
        """The folder of all private state."""
        return self.root / "state"

    @property
    def ledger(self) -> Path:
        (found,) = self.states.glob("rlmwatch/*/ledger.sqlite3")
        return found

    @property
    def host_id(self) -> str:
        """By which this person's machine is told apart."""
        return (self.states / "rlmwatch" / "host_id").read_text().strip()

    def environ(self) -> dict[str, str]:
        """Return the whole environment of this person's programs."""
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_STATE_HOME": str(self.states),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(PROGRAM),
            "RLMWATCH_MODELS__DETECT_LOCAL": "false",  # what else listens on this machine is no part of a test
        }
        if self.provider is not None:
            env["OPENAI_BASE_URL"] = self.provider.url
        if self.key is not None:
            env["OPENAI_API_KEY"] = self.key
        return env | self.variables

    def save(self, path: str, content: str | bytes) -> None:
        """Save a file of the workspace in place, as most editors do."""
        file = self.workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, path: str) -> str:
        return (self.workspace / path).read_text(encoding="utf-8")

    def cut_short(self, path: str, by: str) -> str:
        """Return the answer in *path* without its last line; that says *by* what it was cut short."""
        answer, _, mark = self.read(path).rpartition("\n\n")
        assert mark.startswith(f"(cut short: {by}; see jobs/"), mark
        assert (self.workspace / mark.rpartition("see ")[2].rstrip(")\n")).is_file(), mark
        return answer

    def appears(self, path: str, *words: str) -> str:
        """Wait until a file of the workspace holds *words*, and return its text; for what no event of the log tells."""
        give_up = clock.monotonic() + DEADLINE_S
        while clock.monotonic() < give_up:
            text = self.read(path) if self.exists(path) else ""
            if text and all(word in text for word in words):
                return text
            time.sleep(POLL_S)
        raise AssertionError(f"{path} with {words} did not appear; it is {text!r}")

    def exists(self, path: str) -> bool:
        return (self.workspace / path).exists()

    def state(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read(path))
        return found

    def turns(self, path: str) -> list[str]:
        """Return the inputs in a state file, in order; none where there is no file."""
        return [turn["input"] for turn in self.state(path)["turns"]] if self.exists(path) else []

    def statuses(self) -> list[dict[str, Any]]:
        """Return every status file, oldest first: by time, since the ids of one second are in no order."""
        found = [json.loads(file.read_text("utf-8")) for file in self.workspace.glob("jobs/*.json")]
        return sorted(found, key=lambda status: status.get("created_at") or "")

    def status_of(self, path: str) -> dict[str, Any]:
        """Return the newest status of the input *path*."""
        return [status for status in self.statuses() if status["input"] == path][-1]

    def put_status(self, *, ended_days_ago: int) -> Path:
        """Put there the status file of a run that ended so long ago, and return it."""
        then = datetime.fromisoformat(clock.utc()) - timedelta(days=ended_days_ago)
        at = then.strftime("%Y-%m-%dT%H:%M:%SZ")
        run = f"{then:%Y%m%dT%H%M%SZ}-chat-0a1b2c"
        facts = {"schema_version": 1, "job_id": run, "kind": "chat", "status": "complete", "completed_at": at}
        self.save(f"jobs/{run}.json", json.dumps(facts))
        file = self.workspace / "jobs" / f"{run}.json"
        os.utime(file, (then.timestamp(), then.timestamp()))
        return file

    def set(self, text: str) -> None:
        """Write the person's own `config.toml`."""
        (self.config / "config.toml").write_text(text)

    @contextmanager
    def daemon(self, *options: str, before: tuple[str, ...] = (), program: list[str] | None = None) -> Iterator[Daemon]:
        """
        Run the daemon until the block ends, and wait until it is ready or has ended.

        Args:
            options: Of `rlmwatch run`.
            before: A command that starts it.
            program: In place of `rlmwatch run`.
        """
        usual = ["-m", "rlmwatch", "run", str(self.workspace), "--log-format", "json", *options]
        daemon = Daemon(self.start(*(program or usual), before=before, stdout=subprocess.DEVNULL))
        try:
            daemon.until_up()
            yield daemon
            daemon.stop()
            assert daemon.faults == []
        finally:
            daemon.close()

    def start(self, *args: str, before: tuple[str, ...] = (), stdout: int = subprocess.PIPE) -> Process:
        """Start `python <args>` in this person's environment, by the command *before*; its errors can be read."""
        return start(
            args,
            before=before,
            env=self.environ(),
            cwd=self.root,
            fresh=self.fresh,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )

    def cli(self, *arguments: str, deadline_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        process = self.start("-m", "rlmwatch", *arguments)
        try:
            said, errors = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(arguments, process.wait(), said, errors)

    def cli_side_by_side(self, *calls: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
        """Run several commands at the same time, and return how each ended, in their order."""
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            return list(pool.map(lambda arguments: self.cli(*arguments), calls))


def as_an_ordinary_user() -> tuple[str, ...]:
    """Return the command before the daemon's that takes root's rights over other people's files; skip where none."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("runs as root, whom no folder refuses, and there is no setpriv to run as somebody less")
    lost = "-dac_override,-dac_read_search"
    return (setpriv, f"--bounding-set={lost}", f"--inh-caps={lost}")
