"""daemon/vitals.py, with a real socket in the place of the service manager's, and real threads that are wedged."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlmwatch.daemon.systemd import Manager
from rlmwatch.daemon.vitals import Vitals, worker_thread
from rlmwatch.ledger.sqlite.ledger import SqliteLedger


def pings(listener):
    """Return how many pings have arrived."""
    count = 0
    while True:
        try:
            assert listener.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            return count
        count += 1


async def answered(vitals):
    async with asyncio.timeout(20):
        await asyncio.wait([vitals._asked])


@pytest.mark.parametrize("wedged", ["ledger", "threads"])
def test_a_ping_goes_out_only_once_each_part_has_answered(tmp_path, wedged):
    """A ledger thread or the worker threads that stand still end the pings; when they go on, so do the pings."""

    async def story(listener):
        ledger = SqliteLedger.open(tmp_path / "ledger.sqlite3")
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        vitals = Vitals({"ledger": ledger.alive, "threads": worker_thread})
        manager = Manager(str(tmp_path / "notify"), 60)
        for _ in range(3):  # the control
            vitals.ping(manager)
            await answered(vitals)
        assert pings(listener) == 3
        go_on, stands = threading.Event(), threading.Event()

        def stand_still(*_):
            stands.set()
            go_on.wait(30)

        stuck = ledger._read(stand_still) if wedged == "ledger" else asyncio.to_thread(stand_still)
        stuck = asyncio.ensure_future(stuck)
        while not stands.is_set():  # noqa: ASYNC110 (a thread sets it)
            await asyncio.sleep(0)
        for _ in range(3):
            vitals.ping(manager)
            await asyncio.sleep(0)
        assert pings(listener) == 1  # what was asked before it stood still had been answered; no more
        go_on.set()
        await stuck
        await answered(vitals)
        vitals.ping(manager)
        assert pings(listener) == 1
        await answered(vitals)
        await ledger.aclose()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        asyncio.run(story(listener))


def test_where_nobody_hears_the_pings_nothing_is_asked():
    """Without a service manager no thread or process is woken."""
    asked = []

    async def story():
        async def probe():
            asked.append(1)

        vitals = Vitals({"part": probe})
        vitals.ping(Manager(None, None))
        await asyncio.sleep(0)
        assert vitals._asked is None

    asyncio.run(story())
    assert asked == []


def test_a_part_that_fails_is_not_a_wedged_one(tmp_path):
    """A part whose question raises has answered: the pings go on."""

    async def story(listener):
        async def dead():
            raise OSError("gone")

        vitals = Vitals({"part": dead})
        for _ in range(3):
            vitals.ping(Manager(str(tmp_path / "notify"), 60))
            await answered(vitals)
        assert pings(listener) == 3

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        asyncio.run(story(listener))
