"""Questions whose newest run has no whole answer, and which older answer still stands beside them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from rlmwatch.contract.marks import when
from rlmwatch.contract.names import input_name
from rlmwatch.contract.state_words import STATES, state_word, with_reason
from rlmwatch.runs.model import Run, RunStatus


class RunOfFile(Protocol):
    """What is needed of a run to tell which answer stands beside its question."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102


R = TypeVar("R", bound=RunOfFile)


@dataclass(frozen=True, slots=True)
class UnansweredRun:
    """
    The newest run of a question, which failed, was cancelled, or has an answer that is not whole.

    Attributes:
        why: In words; also which older answer still stands.
    """

    run: Run
    why: str


def unanswered(recent: Sequence[Run]) -> list[UnansweredRun]:
    """Return those of *recent* (the newest first) that are the newest of an input, and have no whole answer."""
    newest: dict[str, Run] = {}
    for run in recent:
        newest.setdefault(run.path, run)
    found = []
    for run in newest.values():
        result = run.result
        if result is None or input_name(run.path) is None:
            continue
        outcome, partial, notes = result.outcome.value, result.partial, result.notes
        word = state_word(run.status.value, outcome=outcome, partial=partial, notes=notes)
        if word == STATES["complete"]:
            continue
        reason = with_reason(run.status.value, outcome=outcome, partial=partial, notes=notes).removeprefix(f"{word}: ")
        first = next(iter((result.error or "").splitlines()), "")
        why = "; ".join(filter(None, (first or reason, earlier_answer(run, recent))))
        found.append(UnansweredRun(run, why))
    return found


def earlier_answer(run: Run, runs: Iterable[Run]) -> str:
    """Return, in words, which older answer of *runs* still stands beside the question of *run*; `""` for none."""
    name, last = input_name(run.path), answered_before(run, runs, order=lambda each: each.seq)
    if name is None or last is None:
        return ""
    return f"{name.output} still holds the answer of {when(last.completed_at or '')}"


def answered_before(run: R, runs: Iterable[R], *, order: Callable[[R], Any]) -> R | None:
    """Return which of *runs*, by their *order*, has the answer that stands beside the question of *run*, or None."""
    if input_name(run.path) is None or run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
        return None
    older = (each for each in runs if each.path == run.path and order(each) < order(run))
    return max((each for each in older if each.status == RunStatus.COMPLETE), key=order, default=None)
