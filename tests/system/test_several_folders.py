"""Several folders, one daemon: each for itself, and what they have in common."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.daemon import Daemon
from system.harness import Brain, Home, asked


@pytest.fixture
def second(home: Home) -> Path:
    """Another folder of the same person."""
    folder = home.root / "second"
    folder.mkdir()
    return folder


@contextmanager
def daemon_of(home: Home, *folders: Path | str) -> Iterator[Daemon]:
    """Run one daemon for *folders*; none for those of config.toml."""
    program = ["-m", "rlmwatch", "run", *map(str, folders), "--log-format", "json"]
    with home.daemon(program=program) as daemon:
        yield daemon


def ready(daemon: Daemon, folder: Path) -> None:
    daemon.wait("ready", workspace=str(folder))


def answers(home: Home, daemon: Daemon, folder: Path, name: str = "chat") -> None:
    """See that a question in *folder* is answered."""
    (folder / f"{name}_input.txt").write_text(f"question {name} in {folder.name}")
    daemon.wait("answer.written", path=f"{name}_output.txt", workspace=str(folder))
    assert (folder / f"{name}_output.txt").read_text() == f"re: question {name} in {folder.name}\n"


def test_one_process_answers_in_each_folder(home: Home, second: Path, provider: OpenAIServer):
    """`run DIR DIR`: one process, and each folder has its own answers, ledger and lock; log lines name the folder."""
    with daemon_of(home, home.workspace, second) as daemon:
        for folder in (home.workspace, second):
            ready(daemon, folder)
            answers(home, daemon, folder)
            assert f"process {daemon.pid} " in home.cli("status", "--workspace", str(folder)).stdout
        everywhere = json.loads(home.cli("status", "--json").stdout)["daemons"]
        assert {(each["workspace"], each["pid"]) for each in everywhere} == {
            (str(folder), daemon.pid) for folder in (home.workspace, second)
        }
        busy = home.cli("run", str(second))
        assert busy.returncode == 2
    assert len(list(home.states.glob("rlmwatch/*/ledger.sqlite3"))) == 2
    assert provider.count == 2
    runs = [entry for entry in daemon.log if entry["event"].startswith(("run.", "save.", "answer."))]
    assert {entry["workspace"] for entry in runs} == {str(home.workspace), str(second)}


def test_a_missing_folder_does_not_stop_the_others_and_is_taken_up_when_it_is_there(home: Home, second: Path):
    """A folder that is not there is said, the others are served, and after a reload it is, too."""
    missing = home.root / "missing"
    with daemon_of(home, missing, second) as daemon:
        ready(daemon, second)
        assert "no such folder" in daemon.wait("workspace.not_served", workspace=str(missing))["why"]
        answers(home, daemon, second)
        missing.mkdir()
        assert home.cli("reload", str(second)).returncode == 0
        ready(daemon, missing)
        answers(home, daemon, missing)


def test_a_folder_that_another_daemon_holds_is_taken_up_when_that_ends(home: Home, second: Path):
    """A folder that another daemon holds is left to it; when that has ended, a reload takes it up."""
    with daemon_of(home, home.workspace) as other:
        ready(other, home.workspace)
        with daemon_of(home, home.workspace, second) as daemon:
            ready(daemon, second)
            why = daemon.wait("workspace.not_served", workspace=str(home.workspace))["why"]
            assert str(other.pid) in why
            answers(home, daemon, second)
            other.stop()
            daemon.hup()
            ready(daemon, home.workspace)
            answers(home, daemon, home.workspace)


def test_a_folder_with_broken_settings_waits_and_the_others_are_answered(home: Home, second: Path):
    """A broken `rlmwatch.toml` stops its own folder alone, which goes on by itself when the file is right."""
    (second / "rlmwatch.toml").write_text("[chat\n")
    with daemon_of(home, home.workspace, second) as daemon:
        ready(daemon, home.workspace)
        daemon.wait("settings.wrong", workspace=str(second))
        answers(home, daemon, home.workspace)
        (second / "rlmwatch.toml").write_text("[chat]\ntokens = 50\n")
        ready(daemon, second)
        answers(home, daemon, second)


def test_a_folder_that_is_removed_meanwhile_does_not_stop_the_others(home: Home, second: Path):
    """A folder that goes away while it is served waits to come back; the other is answered."""
    with daemon_of(home, home.workspace, second) as daemon:
        ready(daemon, second)
        ready(daemon, home.workspace)
        shutil.rmtree(second)
        daemon.wait("watch.paused", workspace=str(second))
        answers(home, daemon, home.workspace)


def test_a_folder_within_another_is_not_answered_twice(home: Home, provider: OpenAIServer):
    """A folder that lies in another one of the list is answered there, once, and this is said."""
    inner = home.workspace / "inner"
    inner.mkdir()
    with daemon_of(home, home.workspace, inner) as daemon:
        ready(daemon, home.workspace)
        assert "lies in" in daemon.wait("workspace.not_served", workspace=str(inner))["why"]
        (inner / "chat_input.txt").write_text("once")
        daemon.wait("answer.written", path="inner/chat_output.txt")
        answers(home, daemon, home.workspace)  # a second answer to the one before would have come by now
    assert len(asked(provider, "once")) == 1
    assert not (inner / "jobs").exists()


def test_the_folders_of_the_settings_and_a_reload_that_adds_and_removes_one(home: Home, second: Path):
    """`workspaces` in config.toml: `run` alone serves these; a reload takes up an added and a removed one."""
    third = home.root / "third"
    third.mkdir()
    home.set(f'workspaces = ["{home.workspace}", "{second}"]\n')
    with daemon_of(home) as daemon:
        ready(daemon, home.workspace)
        ready(daemon, second)
        home.set(f'workspaces = ["{second}", "{third}", "{second}"]\n')
        daemon.hup()
        ready(daemon, third)
        daemon.wait("workspace.left", workspace=str(home.workspace))
        answers(home, daemon, third)
        answers(home, daemon, second)
        home.set("workspaces = 7\n")
        daemon.hup()
        daemon.wait("reload.failed")
        answers(home, daemon, third, "still")
        home.set("")
        assert "not running here" in home.cli("status", "--workspace", str(home.workspace)).stdout
    assert len(daemon.seen("ready", workspace=str(second))) == 1


@pytest.mark.parametrize("value", ['["questions"]', '["./x"]', '"~/questions"', "[7]"])
def test_a_folder_of_the_settings_is_a_whole_path(home: Home, value: str):
    """What is not a list of whole paths is an error that names the setting; so it is in a workspace's own file."""
    home.set(f"workspaces = {value}\n")
    done = home.cli("run")
    assert done.returncode == 2
    assert "workspaces" in done.stderr


def test_the_folders_have_one_rate_limit(home: Home, second: Path, provider: OpenAIServer):
    """`requests_per_minute` holds over all folders of the process: a second call waits, in whichever folder it is."""
    home.set("[models]\nrequests_per_minute = 1\n")
    with daemon_of(home, home.workspace, second) as daemon:
        for folder in (home.workspace, second):
            ready(daemon, folder)
        (home.workspace / "a_input.txt").write_text("one")
        daemon.wait("answer.written", path="a_output.txt")
        (second / "b_input.txt").write_text("two")
        daemon.wait("rate_limit.waiting", workspace=str(second))
        assert provider.count == 1
        daemon.kill()


def test_a_slow_answer_in_one_folder_holds_up_no_other(home: Home, second: Path, brain: Brain):
    """Each folder has its own runs: while one waits for the provider, the other is answered; a stop ends both."""
    from servers.openai_server import Fault

    brain.on("slow", Fault.stall())
    with daemon_of(home, home.workspace, second) as daemon:
        for folder in (home.workspace, second):
            ready(daemon, folder)
        (home.workspace / "slow_input.txt").write_text("slow")
        daemon.wait("save.admitted", workspace=str(home.workspace))
        answers(home, daemon, second)
        assert daemon.stop(signal.SIGTERM) == 0


def test_once_takes_one_folder(home: Home, second: Path):
    """`--once` and `--dry-run` take one folder, and say so."""
    done = home.cli("run", "--once", str(home.workspace), str(second))
    assert done.returncode == 2
    assert "one folder" in done.stderr


def test_the_service_manager_hears_when_all_that_can_be_are_ready(home: Home, second: Path, tmp_path: Path):
    """READY comes once each folder is watched or known not to be, says how many, and the watchdog is pinged."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)
        heard.settimeout(30)
        home.variables |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}
        with daemon_of(home, home.workspace, second, home.root / "missing"):
            said = heard.recv(4096).decode()
            while not said.startswith("READY=1"):
                said = heard.recv(4096).decode()
            assert "watching 2 of 3 folders" in said
            assert "missing" in said
            while "WATCHDOG=1" not in said:
                said = heard.recv(4096).decode()
