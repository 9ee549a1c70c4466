"""The limit of memory holds over the sessions of a run, and over all: each attack beside its control."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rlmwatch import clock
from rlmwatch.sandbox.base import SessionDied
from rlmwatch.sandbox.host.memory import MemoryLimits, held_bytes
from rlmwatch.sandbox.host.process import ProcessSandbox

MB = 1 << 20
EACH_MB = 60
FILL = f"x = bytearray(b'x') * ({EACH_MB} << 20)\nprint(len(x))"
LIMIT = 150 * MB
NONE = 1 << 50
DEADLINE_S = 20.0


@asynccontextmanager
async def sessions(limits, runs):
    """Open a session for each of *runs* in a sandbox with the *limits*."""
    sandbox = ProcessSandbox(limits=limits)
    try:
        opened = [await sandbox.open({"context": "hello"}, run=run) for run in runs]
        before = {session.pid: held_bytes(session.pid) for session in opened}

        def held():
            return sum(held_bytes(session.pid) - before[session.pid] for session in opened if session.alive)

        yield opened, held
        for session in opened:
            await session.close()
    finally:
        await sandbox.aclose()


async def fill(session):
    """Fill EACH_MB in the session, and return why it ended, if it did."""
    try:
        await session.run_cell(FILL, timeout_s=30)
    except SessionDied as died:
        return str(died)
    return ""


async def until(true):
    """Wait until *true()* is."""
    end = clock.monotonic() + DEADLINE_S
    while not true():
        assert clock.monotonic() < end
        await asyncio.sleep(0.005)


ATTACKS = {
    "many sessions of one run": (MemoryLimits(NONE, LIMIT, NONE), ["a"] * 5),
    "many runs": (MemoryLimits(NONE, NONE, LIMIT), list("abcde")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_many_sessions_hold_no_more_than_the_limit_together(attack):
    """Sessions that each keep to their own limit pass none together: the largest end, with the reason."""

    async def go(limits):
        async with sessions(limits, ATTACKS[attack][1]) as (opened, held):
            for session in opened:
                await fill(session)
            if limits.run == limits.total == NONE:
                return held(), [session.alive for session in opened], []
            await until(lambda: held() <= LIMIT)
            dead = [session for session in opened if not session.alive]
            return held(), [session.alive for session in opened], [await fill(session) for session in dead]

    held, alive, _ = asyncio.run(go(MemoryLimits(NONE, NONE, NONE)))
    assert held > 2 * LIMIT - 10 * MB, "the control: nothing else holds them back"
    assert all(alive)
    held, alive, reasons = asyncio.run(go(ATTACKS[attack][0]))
    assert held <= LIMIT
    assert alive.count(True) >= 2
    assert reasons
    assert all("together" in reason for reason in reasons)


def test_sessions_of_another_run_do_not_notice():
    """Where one run holds too much, a session of another keeps its names and goes on."""

    async def go():
        async with sessions(MemoryLimits(NONE, LIMIT, NONE), ["other", "a", "a", "a"]) as (opened, _):
            other, *greedy = opened
            await other.run_cell(FILL, timeout_s=30)
            for session in greedy:
                await fill(session)
            await until(lambda: not all(session.alive for session in greedy))
            return (await other.run_cell("print(len(x))", timeout_s=30)).stdout

    assert asyncio.run(go()) == f"{EACH_MB * MB}\n"


def test_one_that_is_ended_in_the_middle_of_a_cell_says_why_and_what_is_lost():
    """The caller gets the limit in words, and the names that are gone."""

    async def go():
        async with sessions(MemoryLimits(LIMIT, NONE, NONE), ["a"]) as ((session,), _):
            await session.run_cell("kept = 1", timeout_s=30)
            with pytest.raises(SessionDied) as died:
                await session.run_cell(f"x = [bytearray(b'x') * {MB} for _ in range(400)]", timeout_s=30)
            return died.value

    died = asyncio.run(go())
    assert "150 MB of memory" in str(died)
    assert died.lost == ("context", "kept")


def thp(pid):
    """Return whether the kernel gives huge pages to the process, by its own word."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return lines["THP_enabled"].strip()


@pytest.mark.skipif("THP_enabled" not in Path("/proc/self/status").read_text(), reason="the kernel does not say")
def test_a_session_gets_no_huge_pages():
    """A huge page of which all is unmapped but a small page stays in memory uncounted, so there are none."""

    async def go():
        async with sessions(MemoryLimits(NONE, NONE, NONE), ["a"]) as ((session,), _):
            return thp(session.pid)

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert thp(child.pid) == "1", "the control: a process of this machine gets them"
    finally:
        child.communicate(b"\n")
    assert asyncio.run(go()) == "0"
