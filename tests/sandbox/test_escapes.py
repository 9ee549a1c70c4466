"""Attempts to get out: each is shown to leak where nothing holds it, and to leak nothing in the sandbox."""

import asyncio
import os
import sys

import pytest
from sandbox.escapes import ESCAPES
from sandbox.ordinary import CONTEXT, ORDINARY
from sandbox.play import VARIANTS, play_as, play_bare

from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host.process import ProcessSandbox

AN_ORDINARY_USER = 41_234 if os.getuid() == 0 else None
HOSTS = [
    pytest.param(user, variant, id=f"{'this user' if user is None else 'an ordinary user'}, {variant}")
    for user, variant in [
        (None, "default"),
        (AN_ORDINARY_USER, "default"),
        (AN_ORDINARY_USER, "no namespaces"),
        (AN_ORDINARY_USER, "no landlock"),
        (None, "seccomp alone"),
    ]
]


@pytest.mark.skipif(os.getuid() != 0, reason="a raw socket or a new root folder leaks only for root")
def test_every_attempt_that_can_leak_leaks_in_a_bare_subprocess():
    """An attempt that fails anywhere proves nothing."""
    played = play_bare(ESCAPES)
    assert len(played) >= 60
    assert {name: verdict for name, verdict in played.items() if not verdict.leaked} == {}


@pytest.mark.parametrize(("user", "variant"), HOSTS)
def test_nothing_leaks_and_the_host_stays_well(user, variant):
    """No attempt gets what it wants, whichever layers are there, and the host goes on after each."""
    played = play_as(user, variant)
    assert set(played) == {attempt.name for attempt in ESCAPES} | {"all"}
    assert {name: verdict for name, verdict in played.items() if verdict.leaked or verdict.harmed} == {}
    assert played["all"].ended == "result"


@pytest.mark.parametrize("variant", VARIANTS)
def test_ordinary_cells_work(variant):
    """What needs no file, network or process works as anywhere."""

    async def go():
        sandbox = ProcessSandbox(VARIANTS[variant])
        try:
            session = await sandbox.open({"context": CONTEXT})
            results = {name: await session.run_cell(code, timeout_s=20) for name, code in ORDINARY.items()}
            await session.close()
            return results
        finally:
            await sandbox.aclose()

    results = asyncio.run(go())
    assert len(results) >= 60
    assert {name: result.error for name, result in results.items() if result.error} == {}


def test_threads_are_bounded_also_where_they_cannot_be_counted():
    """Address space stops a bomb of threads, and the session goes on."""

    async def go():
        sandbox = ProcessSandbox(Policy(namespaces=False), python=sys.executable)
        try:
            session = await sandbox.open({"context": ""})
            bomb = await session.run_cell(
                "import threading\nstop = threading.Event()\nn = 0\nwhile True:\n"
                "    threading.Thread(target=stop.wait).start(); n += 1",
                timeout_s=20,
            )
            after = await session.run_cell("stop.set()\nprint(n < 1000)", timeout_s=20)
            await session.close()
            return bomb, after
        finally:
            await sandbox.aclose()

    bomb, after = asyncio.run(go())
    assert "can't start new thread" in bomb.error
    assert after.stdout == "True\n"
