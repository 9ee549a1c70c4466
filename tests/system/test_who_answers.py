"""Who answers in a folder: one process of a machine, one host of many, and what the others say (issue 13)."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers.openai_server import Answer, Fault, OpenAIServer, Reply
from system.daemon import Daemon
from system.harness import Brain, Home, question
from system.researching import Body, Coder


def another_environment(home: Home, name: str = "service") -> Home:
    """Return the same machine and folder in another environment: private state and settings elsewhere."""
    root = home.root / name
    root.mkdir()
    (root / "workspace").symlink_to(home.workspace)
    return Home(root, home.provider)


def questions(provider: OpenAIServer) -> list[str]:
    return sorted(question(call.body) for call in provider.calls)


# Row 3: one process of the machine


def test_a_second_daemon_in_another_environment_says_who_answers(home: Home, provider: OpenAIServer):
    """With another state folder the second daemon ends with status 2 and names the first; each save is asked once."""
    service = another_environment(home)
    with service.daemon() as first:
        for options in ((), ("--take-over",), ("--once",)):
            done = home.cli("run", str(home.workspace), *options)
            assert done.returncode == 2, done.stderr
            assert f"process {first.pid} on {socket.gethostname()}, since " in done.stderr
        home.save("a_input.txt", "asked once")
        first.answered("a_output.txt")
        assert f"process {first.pid}" in home.cli("status", "--workspace", str(home.workspace)).stdout
        done = home.cli("answer", str(home.workspace / "a_input.txt"))
        assert (done.returncode, done.stdout) == (0, "re: asked once\n")
    with home.daemon() as second:  # the first has ended, so the other environment of the same machine may answer
        home.save("b_input.txt", "asked by the other")
        second.answered("b_output.txt")
    assert questions(provider) == ["asked by the other", "asked once"]


def test_a_killed_daemon_of_another_environment_keeps_nobody_out(home: Home):
    """After kill -9 the folder is free at once, for every environment."""
    with another_environment(home).daemon() as first:
        first.kill()
    with home.daemon() as second:
        home.save("a_input.txt", "hello")
        second.answered("a_output.txt")


# Row 7: one host of many


def test_two_hosts_of_one_name_do_not_both_answer(home: Home, provider: OpenAIServer):
    """A machine of the same name, with a synced copy of the folder, stands by, and says so in the folder."""
    with home.daemon() as daemon:
        home.save("a_input.txt", "hello")
        daemon.answered("a_output.txt")
        twin = Home(home.root / "twin", provider)
        shutil.copytree(home.workspace, twin.workspace, dirs_exist_ok=True)
        with twin.daemon() as other:
            told = other.wait("host.standby")
            assert (told["answers"], told["id"]) == (socket.gethostname(), home.host_id)
            twin.save("b_input.txt", "not mine")
            text = twin.appears("rlmwatch_status.txt", "stands by", twin.host_id)
            assert f"{socket.gethostname()} (id {home.host_id}) answers in this folder" in text
            assert text.startswith("As of 20")
            assert other.seen("save.admitted") == []
        assert not home.exists("rlmwatch_status.txt")  # a folder of one machine has none
    assert provider.count == 1
    with twin.daemon("--take-over") as other:
        other.answered("b_output.txt")
        assert f"(id {twin.host_id}) answers in this folder" in twin.read("rlmwatch_status.txt")
    assert "nobody answers in this folder" in twin.read("rlmwatch_status.txt")
    assert home.read("rlmwatch.toml") != twin.read("rlmwatch.toml")


def test_a_container_that_was_made_anew_is_the_same_host(home: Home):
    """With the same private state, another hostname answers on; a file of an older version gets the id."""
    home.save("rlmwatch.toml", 'host = "first"\n')
    for number, name in enumerate(("first", "second")):
        home.variables["RLMWATCH_HOST"] = name
        with home.daemon() as daemon:
            home.save("a_input.txt", f"hello {number}")
            daemon.answered("a_output.txt")
    assert home.read("rlmwatch.toml") == f'host = "first#{home.host_id}"\n'


def in_a_network_of_its_own(home: Home) -> tuple[str, ...]:
    """Return the command before a program that runs it as in a container; skip where that is not possible."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may make no network namespace")
    try:
        os.setxattr(home.workspace, "user.test", b"")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    return (unshare, "--net")


def test_a_container_on_the_folder_of_its_machine_stands_by(home: Home, provider: OpenAIServer):
    """With state and network of its own, a second daemon on the very folder stands by, and says who answers."""
    contained = in_a_network_of_its_own(home)
    other = another_environment(home)
    with home.daemon() as daemon, other.daemon(before=contained) as second:
        told = second.wait("host.standby")
        assert (told["answers"], told["id"]) == (socket.gethostname(), home.host_id)
        text = home.appears("rlmwatch_status.txt", "stands by", other.host_id)
        assert f"{socket.gethostname()} (id {home.host_id}) answers in this folder" in text
        home.save("a_input.txt", "asked once")
        daemon.answered("a_output.txt")
        assert second.seen("save.admitted") == []
    with other.daemon(before=contained) as second:  # whether the first one runs, it cannot know
        second.wait("host.standby")
    with home.daemon(before=contained) as daemon:  # a container that was made anew, with the same state
        daemon.wait("ready")
    assert provider.count == 1


# Issue 12, row 21: nested workspaces


def test_a_workspace_inside_another_is_refused_at_start(home: Home):
    """Neither one inside nor one around a workspace starts: status 2, with the other's name."""
    inner = home.workspace / "deep" / "inner"
    inner.mkdir(parents=True)
    with home.daemon():
        pass
    for words in (("run", str(inner)), ("run", "--once", str(inner)), ("init", str(inner / "new"))):
        done = home.cli(*words)
        assert (done.returncode, str(home.workspace) in done.stderr) == (2, True), done.stderr
    (home.workspace / "rlmwatch.toml").unlink()
    assert home.cli("run", "--once", str(inner)).returncode == 0
    done = home.cli("run", str(home.workspace))
    assert (done.returncode, f"the workspace {inner}" in done.stderr) == (2, True), done.stderr


# Row 10: the terminal


@contextmanager
def at_a_terminal(home: Home, *before: str) -> Iterator[tuple[Daemon, int]]:
    """Run the daemon as the one program of a terminal; yield it, and the window's side of that."""
    window, inside = pty.openpty()
    # As a window's shell would: a session of its own, whose controlling terminal this is.
    program = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    command = [*before, sys.executable, "-m", "rlmwatch", "run", str(home.workspace), "--log-format", "json"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command],
        stdin=inside,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=home.environ(),
        cwd=home.root,
        text=True,
    )
    os.close(inside)
    daemon = Daemon(process)
    try:
        daemon.until_up()
        yield daemon, window
    finally:
        daemon.close()


def test_a_closed_window_ends_the_daemon_cleanly(home: Home):
    """SIGHUP with a terminal reads the settings again; when the terminal is lost the daemon ends, with status 0."""
    with at_a_terminal(home) as (daemon, window):
        daemon.hup()
        assert daemon.seen("stop.asked") == []
        home.save("a_input.txt", "hello")
        daemon.answered("a_output.txt")
        os.close(window)
        assert daemon.ended() == 0
        assert daemon.log[-1]["event"] == "stopped"
        assert len(daemon.seen("reloaded")) == 1


def test_a_daemon_that_is_to_outlive_its_window_does(home: Home):
    """Started with nohup, or by a service manager, it goes on without its terminal, and SIGHUP reads the settings."""
    with at_a_terminal(home, "nohup") as (daemon, window):
        os.close(window)
        daemon.wait("reloaded")
        assert home.cli("reload", str(home.workspace)).returncode == 0
        daemon.wait("reloaded", 2)
        home.save("a_input.txt", "hello")
        daemon.answered("a_output.txt")
    home.variables["NOTIFY_SOCKET"] = str(home.root / "nobody_listens")
    with at_a_terminal(home) as (daemon, window):
        os.close(window)
        daemon.wait("reloaded")
        assert daemon.stop() == 0


def test_reload_has_the_daemon_read_its_settings(home: Home):
    """`rlmwatch reload` says whom it asked; a wrong setting, and that nobody runs, is status 2."""
    folder = str(home.workspace)
    assert home.cli("reload", folder).returncode == 2
    with home.daemon() as daemon:
        done = home.cli("reload", folder)
        assert (done.returncode, f"process {daemon.pid}" in done.stderr) == (0, True)
        daemon.wait("reloaded")
        home.set("workers = -1\n")
        done = home.cli("reload", folder)
        assert (done.returncode, "workers" in done.stderr) == (2, True)
        assert len(daemon.seen("reloaded")) == 1


# Row 14: what answer waits for


def test_answer_beside_a_daemon_says_why_there_is_no_answer(home: Home, brain: Brain):
    """A held run, a blank file, and a daemon without a provider: `answer` says the reason and ends with status 1."""
    brain.on("refuse", Fault.status(401, {"error": {"message": "who are you?"}}))
    home.save("held_input.txt", "refuse this")
    home.save("blank_input.txt", "  \n")
    with home.daemon() as daemon:
        daemon.wait("run.held")
        held, blank = home.cli_side_by_side(
            *(("answer", str(home.workspace / f"{name}_input.txt")) for name in ("held", "blank"))
        )
    assert (held.returncode, held.stdout, "who are you?" in held.stderr) == (1, "", True)
    assert (blank.returncode, blank.stdout, "nothing to answer" in blank.stderr) == (1, "", True)


def test_answer_beside_a_daemon_without_a_provider_says_so(tmp_path: Path):
    """Where the daemon has nothing to answer with, `answer` says how to give it that, and does not wait."""
    home = Home(tmp_path / "home", None, None)
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.wait("run.held")
        done = home.cli("answer", str(home.workspace / "a_input.txt"))
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr


# Row 15: answer does not become the daemon


def test_answer_takes_its_own_file_over_and_gives_the_folder_back(home: Home, provider: OpenAIServer, brain: Brain):
    """When the daemon it waits for stops, `answer` asks its own file alone; a daemon that starts gets the folder."""
    never = threading.Event()
    brain.on("mine", Reply("cut short", until=never), Reply("cut short again", until=never), Reply("the answer"))
    home.set("workers = 1\n")
    with ThreadPoolExecutor() as pool:
        with home.daemon() as daemon:
            home.save("mine_input.txt", "mine")
            daemon.wait("run.started")
            home.save("other_input.txt", "the other")
            daemon.wait("save.admitted", path="other_input.txt")
            answering = pool.submit(home.cli, "answer", str(home.workspace / "mine_input.txt"))
            daemon.stop()
        provider.wait_for_calls(2)
        assert questions(provider) == ["mine", "mine"]
        with home.daemon() as daemon:  # it waits, and is not sent away
            assert daemon.seen("folder.asked_back")
            daemon.answered("other_output.txt")
            daemon.answered("mine_output.txt")
            done = answering.result()
    assert (done.returncode, done.stdout) == (0, "the answer\n"), done.stderr
    assert questions(provider) == ["mine", "mine", "mine", "the other"]
    never.set()


COMMANDS = {
    "answer": ("answer", "slow_input.txt"),
    "submit": ("submit", "--wait", "slow", "--workspace", "."),
    "once": ("run", "--once", "."),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_whatever_command_answers_gives_the_folder_to_a_daemon(
    home: Home, provider: OpenAIServer, brain: Brain, command: str
):
    """A daemon that starts beside a command gets the folder and goes on with the run; the command tells its answer."""
    never = threading.Event()
    brain.on("slow", Reply("cut short", until=never), Reply("by the daemon"))
    if command != "submit":
        home.save("slow_input.txt", "slow")
    places = {".": str(home.workspace), "slow_input.txt": str(home.workspace / "slow_input.txt")}
    process = home.start("-m", "rlmwatch", *(places.get(word, word) for word in COMMANDS[command]))
    provider.wait_for_calls(1)
    with home.daemon() as daemon:
        daemon.wait("answer.written" if command != "submit" else "run.started")
        said, errors = process.communicate(timeout=60)
    if command == "once":
        assert (process.wait(), "1 waiting" in errors) == (1, True), errors
    else:
        assert (process.wait(), said) == (0, "by the daemon\n"), errors
    assert provider.count == 2
    never.set()


def test_answer_where_another_machine_answers_says_so(home: Home):
    """Beside a daemon that stands by, `answer` says who answers, and does not wait."""
    home.save("rlmwatch.toml", 'host = "laptop#0badf00d"\n')
    home.save("a_input.txt", "hello")
    with home.daemon():
        done = home.cli("answer", str(home.workspace / "a_input.txt"))
    assert (done.returncode, "laptop answers in" in done.stderr) == (2, True), done.stderr


# Row 16: Ctrl+C


WORDS_OF_LIBRARIES = ("Traceback", "asyncio", "SessionDied", "a fault in rlmwatch", "CancelledError", "internal_error")
FIRST = "print(len(context))"
IN_A_CELL = "llm_query('a sub-call')\nimport time\ntime.sleep(25)"
MOMENTS = {"in its first call": (FIRST, 1, 1), "in a later call": (FIRST, 2, 2), "in a cell": (IN_A_CELL, 2, None)}
"""The code of the first step, the calls until Ctrl+C, and which of them is never answered."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_leaves_a_run_of_the_engine_for_the_next_start(tmp_path: Path, moment: str):
    """Whenever Ctrl+C comes, however often, one line says what waits, and the next `answer` goes on from there."""
    first, calls, unanswered = MOMENTS[moment]
    never = threading.Event()
    coder = Coder()
    coder.on("count", first, "answer('the end')")
    made = 0

    def brain(body: Body) -> Answer:
        nonlocal made
        made += 1
        return Reply("late", until=never) if made == unanswered else coder(body)

    with OpenAIServer(brain) as provider:
        home = Home(tmp_path / "home", provider)
        home.save("a_job_input.txt", "count the letters")
        home.save("a_job_data.txt", "x" * 5000)
        file = str(home.workspace / "a_job_input.txt")
        process = home.start("-m", "rlmwatch", "answer", file)
        provider.wait_for_calls(calls)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
        assert process.wait() == 130
        assert said == ""
        assert errors.count("\n") == 1, errors
        assert "a_job_input.txt waits: it goes on when" in errors
        assert not any(word in errors for word in WORDS_OF_LIBRARIES)
        assert not home.exists("a_job_error.txt")
        never.set()
        coder.on("count", FIRST, "answer('the end')")
        done = home.cli("answer", file)
        assert (done.returncode, done.stdout) == (0, "the end\n"), done.stderr
        assert home.status_of("a_job_input.txt")["status"] == "complete"


def test_ctrl_c_beside_a_daemon_says_that_it_goes_on(home: Home, brain: Brain):
    """Ctrl+C in an `answer` that waits for a daemon leaves the run to that, and says so in one line."""
    go_on = threading.Event()
    brain.on("slow", Reply("done", until=go_on))
    with home.daemon() as daemon:
        home.save("a_input.txt", "slow")
        daemon.wait("run.started")
        process = home.start("-m", "rlmwatch", "answer", str(home.workspace / "a_input.txt"))
        assert process.stderr is not None
        assert "a daemon answers here already" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.wait() == 130
        assert errors == "rlmwatch: interrupted. a_input.txt: a daemon goes on, and its answer comes to a_output.txt\n"
        go_on.set()
        daemon.answered("a_output.txt")
