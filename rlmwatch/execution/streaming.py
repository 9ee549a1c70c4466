"""
Shows the answer so far of a run with `stream: true`, in `…_output.partial.txt`.

1. Only a plain call's text is shown, as it comes: a chat's, and that of a job without material. An answer of the
   engine is made by code and comes in one piece, after its citations were checked, so nothing is shown of it.
2. At most once a second (`EVERY_S`): a sync tool carries every rewrite. Writing happens in a worker thread, atomically.
3. When a call breaks off and is made again, the text begins anew.
4. Once closed it writes nothing more, so that publishing, which removes the file, is not overtaken.
5. A folder that cannot take it does not end the run: it is logged, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from rlmwatch.errors import WorkspaceError

EVERY_S = 1.0
"""Between two writes of one file (file contract, section 3)."""

log = structlog.get_logger()


@dataclass(slots=True)
class Stream:
    """
    The answer so far of one attempt. Belongs to its event loop.

    Attributes:
        write: Puts the text so far into the workspace. Blocks.
        run_id: For the log.
        every_s: Seconds between two writes.
    """

    write: Callable[[str], None]
    run_id: str
    every_s: float = EVERY_S
    _pieces: list[str] = field(default_factory=list)
    _shown: int = 0
    _writing: asyncio.Task[None] | None = None
    _closed: bool = False

    def add(self, piece: str) -> None:
        """Take in the next piece of text, and see that it is shown."""
        self._pieces.append(piece)
        if self._writing is None and not self._closed:
            self._writing = asyncio.create_task(self._show())

    def again(self) -> None:
        """Forget the text: the call that it came from broke off, and is made again."""
        self._pieces.clear()
        self._shown = 0

    async def close(self) -> None:
        """Write nothing more; what is being written is waited for. Idempotent."""
        self._closed = True
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _show(self) -> None:
        while len(self._pieces) != self._shown:
            self._shown = len(self._pieces)
            written = asyncio.ensure_future(asyncio.to_thread(self.write, "".join(self._pieces)))
            try:
                await asyncio.shield(written)
            except asyncio.CancelledError:
                await asyncio.gather(written, return_exceptions=True)
                raise
            except WorkspaceError as error:
                log.warning("stream.not_written", run=self.run_id, why=str(error))
                self._closed = True
                break
            await asyncio.sleep(self.every_s)
        self._writing = None
