"""engine/run_time.py: the time of an attempt stands still while the ledger is waited for."""

import asyncio
from functools import wraps

import pytest

from rlmwatch import clock
from rlmwatch.engine.run_time import RunTime

SHORT_S = 0.05


def in_a_loop(test):
    """Make an asynchronous test one for pytest."""

    @wraps(test)
    def run():
        asyncio.run(test())

    return run


class Waits:
    """A verb of the ledger that takes until `over`."""

    def __init__(self):
        self.over = asyncio.Event()

    async def __call__(self):
        await self.over.wait()
        return "stored"


def run_time(told=None):
    return RunTime(clock.monotonic, (told if told is not None else []).append)


def longer_than_the_limit(verb):
    """Let *verb* end when a limit that began now would have passed."""
    asyncio.get_running_loop().call_later(4 * SHORT_S, verb.over.set)


@in_a_loop
async def test_1_a_limit_takes_no_time_of_a_wait_for_the_ledger():
    """However long the disk is full, what is limited goes on afterwards with the time that it had left."""
    time, verb = run_time(), Waits()
    reached = []

    async def work():
        async with time.limit(SHORT_S), time.limit(60):
            longer_than_the_limit(verb)
            reached.append(await time.stored(verb(), "full"))
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await work()
    assert reached == ["stored"]


@in_a_loop
async def test_1_a_limit_that_begins_during_a_wait_waits_too():
    """A last call that is begun meanwhile is not cut off by the disk either."""
    time, verb = run_time(), Waits()
    storing = asyncio.create_task(time.stored(verb(), "full"))
    await asyncio.sleep(0)
    longer_than_the_limit(verb)
    async with time.limit(SHORT_S):
        await storing


@in_a_loop
async def test_1_its_clock_stands_still():
    """Who asks how much time is left is told the same before and after."""
    now = 100.0
    time, verb = RunTime(lambda: now, lambda _words: None), Waits()
    storing = asyncio.create_task(time.stored(verb(), "full"))
    await asyncio.sleep(0)
    now = 500.0
    assert time.now() == 100.0
    verb.over.set()
    await storing
    assert time.now() == 100.0
    now = 501.0
    assert time.now() == 101.0


@in_a_loop
async def test_1_a_wait_that_outlives_its_limit_does_no_harm():
    """A run was cancelled while its reply waited: that the reply is stored later, or given up, raises nothing."""
    time, first, second = run_time(), Waits(), Waits()
    async with time.limit(60):
        storing = [asyncio.create_task(time.stored(verb(), "full")) for verb in (first, second)]
        await asyncio.sleep(0)
    first.over.set()
    storing[1].cancel()
    stored, given_up = await asyncio.gather(*storing, return_exceptions=True)
    assert stored == "stored"
    assert isinstance(given_up, asyncio.CancelledError)


@in_a_loop
async def test_2_a_long_wait_is_told_until_it_is_over():
    """The person is told what is waited for, once it takes longer than a moment, and when it no longer is."""
    told = []
    heard, verb = asyncio.Event(), Waits()

    def tell(words):
        told.append(words)
        heard.set()

    time = RunTime(clock.monotonic, tell)
    storing = asyncio.create_task(time.stored(verb(), "the disk is full"))
    await heard.wait()
    assert told == ["the disk is full"]
    verb.over.set()
    await storing
    assert told == ["the disk is full", None]
