"""The daemon itself: start, stop, reload, who answers, and what a service manager is told."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer
from system.harness import DEADLINE_S, Home

from rlmwatch import clock


@pytest.fixture(autouse=True)
def fresh(home: Home) -> None:
    """What is told here is how the program starts and ends, so it starts as a person starts it."""
    home.fresh = True


def test_a_second_daemon_says_who_holds_the_folder(home: Home, provider: OpenAIServer):
    """Of two daemons on one folder the second ends with status 2 and names the process that answers."""
    link = home.root / "same_folder"
    link.symlink_to(home.workspace)
    with home.daemon() as daemon:
        for folder in (home.workspace, link):
            done = home.cli("run", str(folder))
            assert done.returncode == 2
            assert f"process {daemon.pid} on {socket.gethostname()}" in done.stderr
        home.save("a_input.txt", "still answered")
        daemon.answered("a_output.txt")
    assert provider.count == 1


def test_after_a_kill_the_folder_is_free_at_once(home: Home):
    """A daemon that was killed leaves nothing that keeps the next one out."""
    with home.daemon() as daemon:
        daemon.kill()
    with home.daemon() as daemon:
        home.save("a_input.txt", "hello")
        daemon.answered("a_output.txt")


def test_a_folder_of_many_inputs_that_is_no_workspace_is_asked_about(home: Home, provider: OpenAIServer):
    """More than 20 unanswered inputs and no `rlmwatch.toml`: status 2, nothing asked or written; --yes goes on."""
    for number in range(21):
        home.save(f"{number}_input.txt", f"question {number}")
    before = sorted(home.workspace.iterdir())
    done = home.cli("run", str(home.workspace))
    assert done.returncode == 2
    for word in ("21", "rlmwatch init", "--yes"):
        assert word in done.stderr
    assert provider.count == 0
    assert sorted(home.workspace.iterdir()) == before
    with home.daemon("--yes") as daemon:
        daemon.wait("answer.written", 21)
    (home.workspace / "rlmwatch.toml").unlink()
    with home.daemon() as daemon:  # all are answered: nothing to ask about
        home.save("more_input.txt", "one more")
        daemon.answered("more_output.txt")
    assert provider.count == 22


def test_ctrl_c_ends_cleanly(home: Home):
    """Ctrl+C ends an idle daemon at once with status 0, says so, and leaves no temporary file."""
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
        assert daemon.stop(signal.SIGINT) == 0
        assert [line["event"] for line in daemon.log][-1] == "stopped"
    assert [file.name for file in home.workspace.rglob(".*")] == []


def test_a_folder_whose_host_is_another_machine_is_left_alone_until_it_moves(home: Home, provider: OpenAIServer):
    """Where `rlmwatch.toml` names another host the daemon says so and idles; it begins, and ends, as the host moves."""
    me = socket.gethostname()
    home.save("rlmwatch.toml", 'host = "laptop"\n')
    home.save("a_input.txt", "whose turn?")
    mine = Home(home.root / "mine", provider)
    mine.save("rlmwatch.toml", f'host = "{me}"\n')
    with home.daemon() as idle, mine.daemon() as working:
        assert idle.wait("host.standby")["answers"] == "laptop"
        assert idle.seen("ready") == []
        home.save("b_input.txt", "mine now?")
        mine.save("c_input.txt", "still mine")
        working.answered("c_output.txt")
        assert provider.count == 1
        mine.save("rlmwatch.toml", 'host = "laptop"\n')
        home.save("rlmwatch.toml", f'host = "{me}"\n')
        idle.answered("a_output.txt")
        idle.answered("b_output.txt")
        working.wait("host.handover", answers="laptop")
        working.wait("host.standby", answers="laptop")
        mine.save("c_input.txt", "no longer mine")
        home.save("d_input.txt", "mine")
        idle.answered("d_output.txt")
        assert provider.count == 4


def test_take_over_moves_the_folder_to_this_machine(home: Home):
    """`rlmwatch run --take-over` names this host in `rlmwatch.toml`, keeps the rest of the file, and answers."""
    home.save("rlmwatch.toml", '# mine\nhost = "laptop"\n\n[chat]\ntokens = 9 # few\n')
    home.save("a_input.txt", "hello")
    with home.daemon("--take-over") as daemon:
        assert daemon.wait("host.taken_over")["before"] == "laptop"
        daemon.answered("a_output.txt")
    changed = f'# mine\nhost = "{socket.gethostname()}#{home.host_id}"\n\n[chat]\ntokens = 9 # few\n'
    assert home.read("rlmwatch.toml") == changed


def test_old_status_files_and_what_a_killed_writer_left_are_removed(home: Home):
    """Status files of runs that ended more than 30 days ago go, and temporary files of a killed daemon; others stay."""
    young = home.put_status(ended_days_ago=29)
    old = home.put_status(ended_days_ago=31)
    left = home.workspace / "sub" / ".syncthing.rlmwatch-0123abcd.tmp"
    home.save("sub/.syncthing.rlmwatch-0123abcd.tmp", "half an ans")
    home.save(".mine.tmp", "not the daemon's")
    home.save("jobs/notes.json", "[]")
    with home.daemon() as daemon:
        daemon.wait("status.pruned", files=1)
        daemon.wait("workspace.swept", files=1)
    assert (young.exists(), old.exists(), left.exists()) == (True, False, False)
    assert home.exists(".mine.tmp")
    assert home.exists("jobs/notes.json")


@contextmanager
def manager(folder: Path) -> Iterator[socket.socket]:
    """A service manager's notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        listening.settimeout(DEADLINE_S)
        yield listening


def hear(listening: socket.socket, until: str) -> str:
    """Return all that is said up to the first message with *until*."""
    heard: list[str] = []
    give_up = clock.monotonic() + DEADLINE_S
    while not heard or until not in heard[-1]:
        assert clock.monotonic() < give_up, f"no {until} in {heard}"  # pings go on coming
        heard.append(listening.recv(4096).decode())
    return "\n".join(heard)


def test_a_service_manager_is_told_of_every_change(home: Home):
    """Systemd hears READY, WATCHDOG pings, RELOADING with its time and READY again, and STOPPING."""
    with manager(home.root) as listening:
        home.variables |= {"NOTIFY_SOCKET": str(home.root / "notify"), "WATCHDOG_USEC": "3000000"}
        with home.daemon() as daemon:
            assert f"STATUS=watching {home.workspace}" in hear(listening, "READY=1")
            assert "STOPPING" not in hear(listening, "WATCHDOG=1")
            daemon.process.send_signal(signal.SIGHUP)
            reloading = hear(listening, "RELOADING=1")
            assert "MONOTONIC_USEC=" in reloading.splitlines()[-1]
            hear(listening, "READY=1")
            assert daemon.stop() == 0
            hear(listening, "STOPPING=1")


def test_an_idle_daemon_of_another_host_is_ready_and_alive_for_its_manager(home: Home):
    """A daemon that idles for another host is up: systemd hears READY with the reason, and STOPPING at the end."""
    home.save("rlmwatch.toml", 'host = "laptop"\n')
    with manager(home.root) as listening:
        home.variables |= {"NOTIFY_SOCKET": str(home.root / "notify"), "WATCHDOG_USEC": "30000000"}
        with home.daemon() as daemon:
            assert "idle: laptop answers here" in hear(listening, "READY=1")
            assert daemon.stop() == 0
            hear(listening, "STOPPING=1")


def test_what_a_first_start_leaves(home: Home):
    """The first daemon names its host; its ledger is in the user's own state folder, private, not in the workspace."""
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
        assert f'host = "{socket.gethostname()}#{home.host_id}"' in home.read("rlmwatch.toml")
        assert home.ledger.parent.stat().st_mode & 0o077 == 0
    assert [file for file in home.workspace.rglob("*") if "sqlite" in file.name or file.name == "lock"] == []


def test_settings_come_from_the_environment_too_and_reach_the_request(home: Home, provider: OpenAIServer):
    """`RLMWATCH_CHAT__TOKENS=500` holds over the files, and `rlmwatch.toml` over the user's own."""
    home.set('model = "user-model"\n[chat]\ntokens = 11\ntemperature = 0.25\n')
    home.save("rlmwatch.toml", "[chat]\ntokens = 22\nsystem = 'from the workspace'\n")
    home.variables["RLMWATCH_CHAT__TOKENS"] = "33"
    home.save("a_input.txt", "hello")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    body = provider.calls[0].body
    assert body["model"] == "user-model"
    assert body["temperature"] == 0.25
    assert body["messages"][0]["content"] == "from the workspace"
    assert body.get("max_completion_tokens", body.get("max_tokens")) == 33
    assert os.environ.get("RLMWATCH_CHAT__TOKENS") is None
