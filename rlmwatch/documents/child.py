"""
The process that reads documents: it loads what it needs, locks itself down, then turns bytes into text.

A document may be made to take all memory and time, or to use a fault in a library. So it is locked down as a session of
the sandbox is: no file, no network, no other process. Its descriptors: 0 requests, 1 replies; both in frames of four
bytes of length (big-endian) and as many bytes.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import struct
import sys
from contextlib import suppress
from typing import Any, NoReturn

from rlmwatch.documents.extract import SMALLER, UnreadableDocument
from rlmwatch.documents.formats import FORMATS, readers, with_enclosed
from rlmwatch.sandbox.guest.lockdown import Policy, as_refused, lock
from rlmwatch.sandbox.guest.zygote import empty_folder

NICE = 10
"""Documents wait for whoever answers a person."""
MAX_DEPTH = 5000
"""Calls within calls: a document may be some 800 elements deep."""


def main() -> NoReturn:
    """
    Lock down and serve until the parent is gone.

    The arguments: the policy as JSON, the parent's process id, the endings of the documents to come as JSON.
    """
    suffixes = json.loads(sys.argv[3])
    found = readers(suffixes)
    for library in ("encodings", *{name for each in with_enclosed(suffixes) for name in FORMATS[each].packages}):
        _load_whole(library)
    with suppress(OSError):  # a filter of the service may refuse it
        os.nice(NICE)
    sys.setrecursionlimit(MAX_DEPTH)
    try:
        lock(Policy(**json.loads(sys.argv[1])), parent=int(sys.argv[2]), empty_root=empty_folder())
    except Exception as error:  # noqa: BLE001 (the host is told, whatever it is)
        _reply({"refused": list(as_refused(error))})
        os._exit(1)
    _reply({"ready": True})
    while True:
        suffix = _frame().decode()
        raw = _frame()
        try:
            text, left_out = found[suffix](raw)
            _reply({"text": _clean(text), "left_out": left_out})
        except UnreadableDocument as error:
            _reply({"problem": str(error)})
        except MemoryError:
            del raw
            _reply({"problem": f"it takes too much memory; {SMALLER}"})
        except RecursionError:
            _reply({"problem": "it is nested too deeply"})
        except Exception as error:  # noqa: BLE001 (a broken document may raise anything)
            _reply({"problem": f"{type(error).__name__}: {error}"[:500]})


def _clean(text: str) -> str:
    r"""Return *text* as any other text of the material is: with `\n` line ends, no NULs and no half characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _load_whole(library: str) -> None:
    """Load every module of *library*: once locked down, nothing can be loaded any more."""
    with suppress(ImportError):
        path = importlib.import_module(library).__path__
        for module in pkgutil.walk_packages(path, f"{library}."):
            with suppress(ImportError):  # what only another system, or another extra, has
                importlib.import_module(module.name)


def _frame() -> bytes:
    return _read(struct.unpack(">I", _read(4))[0])


def _read(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return bytes(data)


def _reply(what: dict[str, Any]) -> None:
    data = json.dumps(what).encode()
    view = memoryview(struct.pack(">I", len(data)) + data)
    while view:
        view = view[os.write(1, view) :]
