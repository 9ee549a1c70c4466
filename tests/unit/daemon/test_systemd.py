"""daemon/systemd.py: what the service manager is told."""

import socket

import pytest

from rlmwatch.daemon.systemd import Manager


def test_the_manager_hears_every_word(tmp_path):
    """Ready, reloading, pings and stopping arrive at the socket that the manager named."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        manager = Manager.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 7)
        assert manager.watchdog_s == 60
        manager.ready("watching /w")
        manager.reloading(1.5)
        manager.ping()
        manager.stopping()
        heard = [listener.recv(1000).decode() for _ in range(4)]
    assert heard == ["READY=1\nSTATUS=watching /w", "RELOADING=1\nMONOTONIC_USEC=1500000", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_socket_is_spelled_with_a_nul(tmp_path):
    """Managers may name an abstract socket, with a leading @."""
    name = f"rlmwatch-test-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        Manager.of({"NOTIFY_SOCKET": f"@{name}"}, 1).ping()
        assert listener.recv(100) == b"WATCHDOG=1"


def test_without_a_manager_nothing_happens(tmp_path):
    """The daemon runs the same in a terminal, and when its manager went away."""
    assert Manager.of({}, 1) == Manager(None, None)
    Manager.of({}, 1).ready("x")
    Manager.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}, 1).ready("x")


def test_pings_for_another_process_are_not_ours():
    """A child that inherited the variables does not ping for its parent."""
    assert Manager.of({"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, 2).watchdog_s is None


@pytest.mark.parametrize(
    "text",
    [
        "idle: x\nWATCHDOG=trigger answers here",
        "idle: x\rMAINPID=1",
        "idle: x\x0bSTOPPING=1",
        "idle: x\u2028y",
        "\x1b[31m",
    ],
)
@pytest.mark.parametrize("how", ["ready", "status"])
def test_a_status_is_one_line_whatever_is_in_it(tmp_path, text, how):
    """A name with line breaks or control characters in it gives the manager no order of its own."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(20)
        getattr(Manager(address, None), how)(text)
        heard = listener.recv(4096).decode().splitlines()
    assert [line.partition("=")[0] for line in heard] == (["READY", "STATUS"] if how == "ready" else ["STATUS"])
    assert "\x1b" not in heard[-1]


def test_a_long_status_is_cut_so_that_the_manager_takes_it(tmp_path):
    """Systemd ignores a message of more than 4,096 bytes, READY with it."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(20)
        Manager(address, None).ready("idle: " + "\U0001f600" * 60_000)
        assert len(listener.recv(1 << 20)) <= 4096
