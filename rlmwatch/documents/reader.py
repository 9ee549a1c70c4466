"""
The host's side of reading documents: one confined process a run, ended with it.

1. No thread of the daemon parses or waits: other conversations do not notice.
2. A document has limits of time, memory and text; what passes one is an error that names the file.
3. Cancelling (a run's time limit, a stop) ends the process at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

from rlmwatch.contract.formats import suffix
from rlmwatch.documents.extract import SMALLER
from rlmwatch.documents.formats import FORMATS
from rlmwatch.errors import InputError
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host import child
from rlmwatch.workspace.context import DocumentText

AT_ONCE = 2
"""Processes that read documents and images, in the whole daemon; more would only share the processors."""
MAX_TEXT_BYTES = 64 << 20
"""Of one document, as JSON. A book of a thousand pages has some 3 MB."""
MAX_TOTAL_CHARS = 200_000_000
"""Of all documents of a run: as many as there may be bytes of material. A small archive may unpack to a large text."""
MAX_SECONDS = 60.0
"""For one document; a PDF of 300 full pages takes 3 s."""
START_S = 30.0
"""A cold disk; it takes 0.4 s."""

LAUNCH = child.program_of("rlmwatch.documents.child")


class _Ended(Exception):
    """The process ended, or said what it may not say; the text is why."""


@dataclass(slots=True)
class DocumentReader:
    """
    Turns documents into text. Belongs to one event loop.

    Attributes:
        policy: How the process locks itself down.
        max_seconds: For one document.
        max_chars: Of the texts of all documents of a run.
        launch: The program of the process.
        slots: Of processes at once; the images' too.
    """

    policy: Policy
    max_seconds: float = MAX_SECONDS
    max_chars: int = MAX_TOTAL_CHARS
    launch: str = LAUNCH
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def texts(self, documents: Mapping[str, bytes]) -> dict[str, DocumentText | InputError]:
        """
        Return the text of each of *documents* (path for people → bytes), or why there is none.

        A document that ends the process, or takes too long, costs only itself.

        Raises:
            InputError: The texts are too large together.
        """
        found: dict[str, DocumentText | InputError] = {}
        for path, raw in documents.items():
            if not raw:
                found[path] = InputError(f"context: {path} is empty")
                continue
            library = FORMATS[suffix(path)].extra
            if library is not None and find_spec(library) is None:
                found[path] = InputError(
                    f"context: {path}: to read it, install rlmwatch[documents] (pip install 'rlmwatch[documents]'; it "
                    f"brings {library}), and save the question again"
                )
        waiting = [path for path in documents if path not in found]
        async with self.slots:
            while waiting:
                process = await self._start({suffix(path) for path in waiting})
                try:
                    await self._read(process, documents, waiting, found)
                finally:
                    await child.end(process)
        return found

    async def _start(self, suffixes: set[str]) -> asyncio.subprocess.Process:
        policy, wanted = json.dumps(asdict(self.policy)), json.dumps(sorted(suffixes))
        return await child.begin(self.launch, policy, str(os.getpid()), wanted)

    async def _read(
        self,
        process: asyncio.subprocess.Process,
        documents: Mapping[str, bytes],
        waiting: list[str],
        found: dict[str, DocumentText | InputError],
    ) -> None:
        """
        Have *process* read what is *waiting*, until all is read or a document has ended it.

        Raises:
            InputError: The texts are too large together.
        """
        path = waiting[0]
        limit_s = START_S
        chars = sum(len(text) for text in found.values() if isinstance(text, DocumentText))
        try:
            async with asyncio.timeout(START_S):
                await _reply(process)
            limit_s = self.max_seconds
            while waiting:
                path = waiting[0]
                async with asyncio.timeout(limit_s):
                    said = await _asked(process, suffix(path), documents[path])
                text = found[waiting.pop(0)] = _result(path, said)
                chars += len(text) if isinstance(text, DocumentText) else 0
                if chars > self.max_chars:
                    raise InputError(
                        f"context: with {path} the texts of the documents are longer than {self.max_chars:,} "
                        "characters; name fewer files"
                    )
        except (_Ended, TimeoutError) as error:
            why = str(error) or f"it takes longer than {limit_s:g} s; {SMALLER}"
            found[waiting.pop(0)] = InputError(f"context: {path} cannot be read: {why}")


def _result(path: str, said: dict[str, Any]) -> DocumentText | InputError:
    text = said.get("text")
    if not isinstance(text, str):
        return InputError(f"context: {path} cannot be read: {said.get('problem')}")
    if not text.strip():
        return InputError(f"context: {path} holds no text, perhaps only pictures of it")
    return DocumentText(text, tuple(said["left_out"]))


async def _asked(process: asyncio.subprocess.Process, ending: str, raw: bytes) -> dict[str, Any]:
    assert process.stdin is not None  # noqa: S101 (a pipe was asked for)
    with suppress(ConnectionError):  # then the reply says why
        for piece in (ending.encode(), raw):
            process.stdin.write(struct.pack(">I", len(piece)))
            process.stdin.write(piece)
            await process.stdin.drain()
    return await _reply(process)


async def _reply(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
    try:
        (size,) = struct.unpack(">I", await process.stdout.readexactly(4))
        if size > MAX_TEXT_BYTES:
            raise _Ended(f"its text is larger than {MAX_TEXT_BYTES >> 20} MB; {SMALLER}")
        said: dict[str, Any] = json.loads(await process.stdout.readexactly(size))
    except (asyncio.IncompleteReadError, ValueError):
        raise _Ended(
            f"it ended the process that reads documents (too much memory or processor time); {SMALLER}"
        ) from None
    if "refused" in said:
        layer, reason, cure = said["refused"]
        raise _Ended(f"documents are read in a locked-down process, which is refused here ({layer}: {reason}). {cure}")
    return said
