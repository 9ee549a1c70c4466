"""Questions whose newest run has no whole answer, and which older answer still stands beside them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlmwatch.contract.marks import when
from rlmwatch.contract.names import input_name
from rlmwatch.contract.state_words import STATES, state_word, with_reason
from rlmwatch.runs.model import Run, RunStatus


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
    name = input_name(run.path)
    if name is None or not run.status.ended or run.status is RunStatus.COMPLETE:
        return ""
    older = [each for each in runs if each.path == run.path and each.seq < run.seq]
    last = max((each for each in older if each.status is RunStatus.COMPLETE), key=lambda each: each.seq, default=None)
    return "" if last is None else f"{name.output} still holds the answer of {when(last.completed_at or '')}"
