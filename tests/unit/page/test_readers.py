"""Threads that read for the page, and never hold anybody up."""

import asyncio
import threading

import pytest

from rlmwatch.page.readers import Busy, Readers


def test_the_same_thing_is_read_once_at_a_time():
    """Who asks for what is being read already gets that result."""

    async def story() -> None:
        readers, go, times = Readers(), threading.Event(), []

        def work() -> int:
            times.append(1)
            go.wait(20)
            return len(times)

        both = asyncio.gather(readers.read("a", work), readers.read("a", work))
        await asyncio.sleep(0)
        go.set()
        assert await both == [1, 1]
        assert await readers.read("a", work) == 2

    asyncio.run(story())


def test_a_disk_that_hangs_holds_up_its_own_reading_alone():
    """What takes too long is given up; another thing is read meanwhile; too many are refused at once."""

    async def story() -> None:
        readers, go = Readers(wait_s=0.05, max_threads=2), threading.Event()
        with pytest.raises(Busy):
            await readers.read("hangs", lambda: go.wait(20))
        assert await readers.read("works", lambda: 7) == 7
        with pytest.raises(Busy):
            await readers.read("hangs too", lambda: go.wait(20))
        with pytest.raises(Busy):
            await readers.read("one too many", lambda: 7)
        go.set()

    asyncio.run(story())


def test_what_the_work_raises_is_raised_where_it_was_asked_for():
    """An error belongs to who asked, and the next reading begins anew."""

    async def story() -> None:
        readers = Readers()

        def breaks() -> None:
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await readers.read("a", breaks)
        assert await readers.read("a", lambda: 1) == 1

    asyncio.run(story())
