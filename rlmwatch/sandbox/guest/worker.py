"""
The process of one session: it locks itself down, then does what its host asks, one step after another.

Standard library only. Its descriptors: 0 to 2 the null device, 3 requests, 4 replies, 5 the shared bytes, which it
can read and not write.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from rlmwatch.sandbox.guest.cell import CellRunner
from rlmwatch.sandbox.guest.channel import Channel, Interrupts
from rlmwatch.sandbox.guest.frames import encode
from rlmwatch.sandbox.guest.lockdown import Policy, as_refused, lock

REQUESTS, REPLIES, SHARED = 3, 4, 5


def work(policy: Policy, *, hello: str, parent: int, empty_root: int) -> NoReturn:
    """
    Lock down, say so in a frame with the id *hello*, and serve until the host is gone.

    Never returns: whatever happens, the process ends.
    """
    try:
        try:
            layers = lock(policy, parent=parent, empty_root=empty_root)
        except Exception as error:  # noqa: BLE001 (the host is told, whatever it is)
            _say(hello, {"refused": list(as_refused(error))})
            os._exit(1)
        _forget_the_disk()
        _say(hello, {"ready": [list(layer) for layer in layers]})
        _serve(Channel(REQUESTS, REPLIES, Interrupts()))
    finally:
        os._exit(1)


def _say(hello: str, what: dict[str, Any]) -> None:
    os.write(REPLIES, encode({"id": hello, **what}))


def _forget_the_disk() -> None:
    """Have imports of what is not loaded fail as any missing module does, without a look at the disk."""
    os.environ.clear()
    sys.argv = [""]
    sys.path.clear()
    sys.path_importer_cache.clear()


def _serve(channel: Channel) -> NoReturn:
    cells = CellRunner(channel)
    signal.signal(signal.SIGINT, channel.interrupts.handle)
    while True:
        request = channel.request()
        if request["op"] == "run":
            if "functions" in request:
                cells.offer(request["functions"])
            channel.finish({"result": cells.run(request["code"])})
        elif request["op"] == "set":
            channel.finish(_set(cells, channel, request))
        else:
            random.seed(request["seed"])
            channel.finish({"names": cells.names()})


def _set(cells: CellRunner, channel: Channel, request: dict[str, Any]) -> dict[str, Any]:
    try:
        value = request["value"] if "value" in request else _received(channel, request)
        cells.set(request["name"], value)
        return {"names": cells.names()}
    except (MemoryError, OSError):  # `mmap` has its own
        return {"problem": f"{request['name']} does not fit the memory of the session"}


def _received(channel: Channel, request: dict[str, Any]) -> Any:  # noqa: ANN401 (any JSON value)
    text = _joined(_pieces(channel, request))
    return text if request["plain"] else json.loads(text)


def _pieces(channel: Channel, request: dict[str, Any]) -> Iterator[str]:
    """Yield the pieces that the host puts into the shared bytes, one after another; each but the last is a step."""
    while True:
        with mmap.mmap(SHARED, request["bytes"], access=mmap.ACCESS_READ) as view:
            piece = str(view, "utf-8", "surrogatepass")
        yield piece
        if request["last"]:
            return
        channel.finish({})
        request = channel.request()


def _joined(pieces: Iterator[str]) -> str:
    """
    Return one str of the *pieces*, in the memory of that str alone.

    CPython appends to a local str in place once it has specialised this loop; `join` and `StringIO` need room for it
    twice.
    """
    text = ""
    for piece in pieces:
        text += piece
    return text


def warm_up() -> None:
    """Have CPython specialise `_joined`, for all that are forked from this process."""
    for _ in range(50):
        _joined(iter(["ab"] * 50))
