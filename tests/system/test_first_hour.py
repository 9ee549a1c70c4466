"""What somebody meets in the first hour: init on a folder that is one already, and where the page may stand."""

from __future__ import annotations

import socket

import pytest
from system.harness import Home


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as line:
        port: int = line.getsockname()[1]
        return port


def test_init_of_a_workspace_says_what_is_there_and_overwrites_nothing(home: Home):
    """Called where a workspace is, init says so, names what lies there, and puts no second first question there."""
    folder = str(home.workspace)
    done = home.cli("init", folder)
    assert "already" not in done.stderr
    (home.workspace / "chat_input.txt").unlink()
    home.save("garden_input.txt", "mine")
    home.save("rlmwatch.toml", "[chat]\ntokens = 77\n")
    done = home.cli("init", folder)
    assert done.returncode == 0
    assert f"{folder} is a workspace already" in done.stderr
    assert "1 question (garden_input.txt)" in done.stderr
    assert "Nothing was added" in done.stderr
    assert not home.exists("chat_input.txt")
    assert "tokens = 77" in home.read("rlmwatch.toml")
    done = home.cli("init", folder, "--sample")
    assert "made" in done.stderr
    assert "Nothing was overwritten" in done.stderr
    assert home.read("garden_input.txt") == "mine"


def test_init_of_a_workspace_with_a_wrong_file_adds_nothing(home: Home):
    """Where rlmwatch.toml cannot be understood, init says why and leaves the folder alone."""
    home.save("rlmwatch.toml", "[chat\n")
    done = home.cli("init", str(home.workspace))
    assert done.returncode == 2
    assert "rlmwatch.toml" in done.stderr
    assert not home.exists("chat_input.txt")


def test_a_port_alone_is_one_of_this_machine(home: Home):
    """`--page PORT` shows the page at 127.0.0.1:PORT; `[::1]:PORT` is taken as it is."""
    port = free_port()
    with home.daemon("--page", str(port)) as daemon:
        assert daemon.wait("page.ready")["at"] == f"http://127.0.0.1:{port}/"
    with home.daemon("--page", "[::1]:0") as daemon:
        assert daemon.wait("page.ready")["at"].startswith("http://[::1]:")


@pytest.mark.parametrize("address", ["0.0.0.0:8080", "192.168.1.2:8080", "99999", "localhost", "[::]:8080"])
def test_a_page_for_others_is_refused_with_the_reason(home: Home, address: str):
    """An address that others can reach, or that is none, is refused: status 2, why, and the way to see it elsewhere."""
    done = home.cli("run", "--page", address, str(home.workspace))
    assert done.returncode == 2
    assert "for this machine alone" in done.stderr
    assert "ssh -L" in done.stderr


def test_the_help_says_what_the_page_takes(home: Home):
    """The help of `run` says ADDRESS:PORT."""
    assert "ADDRESS:PORT" in " ".join(home.cli("run", "--help").stdout.split())
