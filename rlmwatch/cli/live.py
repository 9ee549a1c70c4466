"""One line at the terminal that says how far a run is: step, what is being done, spending."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from rlmwatch.contract.documents import Progress, UsageSoFar
from rlmwatch.money import dollars
from rlmwatch.printable import printable


class LiveLine:
    """
    The line, on standard error; nothing where that is not a terminal. A context manager.

    It is taken away by the first `stop`, so that it never stands among the words of an answer.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        console = Console(stderr=True)
        if console.is_terminal:
            self._status = self._stack.enter_context(console.status("reading the question"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def tell(self, progress: Progress | None, usage: UsageSoFar) -> None:
        """Say how far it is."""
        if self._status is not None and progress is not None:
            self._status.update(escape(printable(how_far(progress, usage))))
            self._status.start()

    def pause(self) -> None:
        """Take the line away until there is more to tell: something else is printed."""
        if self._status is not None:
            self._status.stop()

    def stop(self) -> None:
        """Take the line away. Idempotent."""
        self._status = None
        self._stack.close()


def how_far(progress: Progress, usage: UsageSoFar) -> str:
    """Return *progress* and what was used so far, in one line for a person."""
    parts = []
    if progress.step:
        parts.append(f"step {progress.step}" + (f" of {progress.max_steps}" if progress.max_steps else ""))
    if progress.note:
        parts.append(" ".join(progress.note.split()))
    if usage.llm_calls or usage.searches:
        parts.append(f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out")
    if usage.searches:
        parts.append(f"{usage.searches} search{'' if usage.searches == 1 else 'es'}")
    if usage.cost_usd:
        parts.append(dollars(usage.cost_usd))
    return " · ".join(parts)
