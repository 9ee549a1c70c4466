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
from typing import Any, NoReturn

from rlmwatch.sandbox.cell import Cells
from rlmwatch.sandbox.channel import Channel, Interrupts
from rlmwatch.sandbox.frames import encode
from rlmwatch.sandbox.lockdown import Policy, Refused, lock

REQUESTS, REPLIES, SHARED = 3, 4, 5


def work(policy: Policy, *, hello: str, parent: int, empty_root: int) -> NoReturn:
    """
    Lock down, say so in a frame with the id *hello*, and serve until the host is gone.

    Never returns: whatever happens, the process ends.
    """
    try:
        try:
            layers = lock(policy, parent=parent, empty_root=empty_root)
        except Refused as refused:
            _say(hello, {"refused": [refused.layer, refused.reason, refused.cure]})
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
    cells = Cells(channel)
    signal.signal(signal.SIGINT, channel.interrupts.handle)
    while True:
        request = channel.request()
        if request["op"] == "run":
            if "functions" in request:
                cells.offer(request["functions"])
            channel.finish({"result": cells.run(request["code"])})
        elif request["op"] == "set":
            channel.finish(_set(cells, request))
        else:
            random.seed(request["seed"])
            channel.finish({"names": cells.names()})


def _set(cells: Cells, request: dict[str, Any]) -> dict[str, Any]:
    try:
        value = request["value"] if "value" in request else _shared(request["bytes"], plain=request["plain"])
    except MemoryError:
        return {"problem": f"{request['name']} does not fit the memory of the session"}
    cells.set(request["name"], value, kept=request["kept"])
    return {"names": cells.names()}


def _shared(size: int, *, plain: bool) -> Any:  # noqa: ANN401 (any JSON value)
    """Return the value that lies in the first *size* shared bytes: a *plain* str, or JSON."""
    with mmap.mmap(SHARED, size, access=mmap.ACCESS_READ) as view:
        if plain:
            return str(view, "utf-8", "surrogatepass")
        return json.loads(view[:])
