"""daemon/streaming.py: the answer so far, seldom, whole, and never after the end."""

import asyncio
import threading

from structlog.testing import capture_logs

from rlmwatch.errors import WorkspaceError
from rlmwatch.execution.streaming import Stream


class Folder:
    """Takes what is written."""

    def __init__(self, refuses=False):
        self.written = []
        self.refuses = refuses
        self.go_on = threading.Event()
        self.go_on.set()

    def write(self, text):
        if self.refuses:
            raise WorkspaceError("the disk is full")
        self.go_on.wait()
        self.written.append(text)


async def until(ready):
    while not ready():  # noqa: ASYNC110 (the other side is a thread)
        await asyncio.sleep(0.001)


def test_2_many_pieces_are_few_writes():
    """Pieces that come within a second of a write wait for the next one; each write is the whole text so far."""

    async def story():
        folder = Folder()
        stream = Stream(folder.write, "r", every_s=0.2)
        for number in range(50):
            stream.add(f"{number} ")
        await until(lambda: folder.written)
        for number in range(50, 100):
            stream.add(f"{number} ")
        await until(lambda: len(folder.written) == 2)
        await stream.close()
        return folder.written

    first, second = asyncio.run(story())
    assert first == "".join(f"{number} " for number in range(50))
    assert second == "".join(f"{number} " for number in range(100))


def test_3_a_call_that_is_made_again_begins_anew():
    """What a broken call had said is no part of the answer so far."""

    async def story():
        folder = Folder()
        stream = Stream(folder.write, "r", every_s=0.01)
        stream.add("wrong beginning")
        await until(lambda: folder.written == ["wrong beginning"])
        stream.again()
        stream.add("right")
        await until(lambda: len(folder.written) == 2)
        await stream.close()
        return folder.written

    assert asyncio.run(story())[-1] == "right"


def test_4_nothing_is_written_once_it_is_closed():
    """Closing waits for the write that is under way; nothing comes after it, so a removed file stays removed."""

    async def story():
        folder = Folder()
        folder.go_on.clear()
        stream = Stream(folder.write, "r", every_s=0.01)
        stream.add("one")
        await asyncio.sleep(0)
        closing = asyncio.create_task(stream.close())
        stream.add(" two")
        await asyncio.sleep(0.02)
        assert not closing.done()
        folder.go_on.set()
        await closing
        at_the_end = list(folder.written)
        stream.add(" three")
        await asyncio.sleep(0.05)
        await stream.close()
        return at_the_end, folder.written

    at_the_end, later = asyncio.run(story())
    assert at_the_end == later == ["one"]


def test_5_a_folder_that_cannot_take_it_is_logged_once():
    """A full disk is no fault of the run: the answer goes on, and the log says once that it is not shown."""

    async def story():
        stream = Stream(Folder(refuses=True).write, "r", every_s=0.001)
        for _ in range(20):
            stream.add("piece ")
            await asyncio.sleep(0.002)
        await stream.close()

    with capture_logs() as logs:
        asyncio.run(story())
    assert [line["event"] for line in logs] == ["stream.not_written"]
