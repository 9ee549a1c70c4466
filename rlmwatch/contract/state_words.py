"""
What people read of how a run stands: one word a state, one phrase a reason. Pure.

1. The values in status files, `--json`, logs and webhooks are a contract for programs, and stay as they are. Every
   screen (the view, the verbs, the page) shows the words of these tables, and no other.
2. An answer that is not whole is `cut short`; one of the engine that stands on no code is `not computed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rlmwatch.contract.documents import JobStatus, StatusFile

CUT_SHORT: Final = "cut short"
NOT_COMPUTED: Final = "not computed"
"""Also how a note begins that says so of an answer."""
NO_CODE: Final = "no_code"

STATES: Final[Mapping[str, str]] = {
    JobStatus.PENDING.value: "waiting",
    JobStatus.RUNNING.value: "running",
    JobStatus.HELD.value: "held",
    JobStatus.COMPLETE.value: "answered",
    JobStatus.FAILED.value: "failed",
    JobStatus.CANCELLED.value: "cancelled",
}
"""By the status of a run."""

WORDS: Final = (*STATES.values(), CUT_SHORT, NOT_COMPUTED)
"""All words for a state."""

REASONS: Final[Mapping[str, str]] = {
    "success": "answered",
    "step_limit": "step limit",
    "token_limit": "token limit",
    "cost_limit": "cost limit",
    "timeout": "time limit",
    NO_CODE: "the model wrote no program",
    "budget_exceeded": "its budget does not allow another call",
    "provider_error": "the provider withheld the rest, or gave up",
    "cancelled": "cancelled",
    "replaced": "a newer save took its place",
    "bad_input": "the question cannot be read",
    "error": "a fault in rlmwatch",
}
"""Why a run ended as it did, by its outcome."""

NO_ANSWER: Final[Mapping[str, str]] = {**REASONS, "provider_error": "the provider did not answer"}
"""The same where there is no answer."""

STEPS: Final[Mapping[str, str]] = {
    "ok": "",
    "answered": "gave its answer",
    "raised": "its code failed",
    "interrupted": "its code was stopped",
    "killed": "its session was ended",
    NO_CODE: "no program",
    "cut": "cut at its token limit",
}
"""How a step ended; nothing is said where nothing is to be said."""

CALLS: Final[Mapping[str, str]] = {
    "intent": "not answered yet",
    "done": "answered",
    "lost": "lost",
    "released": "refused, not charged",
}
"""What became of a paid call."""

STYLES: Final[Mapping[str, str]] = {
    "failed": "red",
    "held": "magenta",
    "running": "cyan",
    CUT_SHORT: "magenta",
    NOT_COMPUTED: "magenta",
    "answered": "green",
}
"""Colours of a terminal that can be read on a light and on a dark ground; no word depends on one."""


def not_computed(outcome: str | None, notes: Iterable[str] = ()) -> bool:
    """Whether an answer of the engine stands on no code, by its run's *outcome* and *notes*."""
    return outcome == NO_CODE or any(note.startswith(NOT_COMPUTED) for note in notes)


def state_word(status: str, *, outcome: str | None = None, partial: bool = False, notes: Iterable[str] = ()) -> str:
    """Return the word for the state of a run; a *status* that this version does not know, as it is."""
    if status == JobStatus.COMPLETE.value:
        if not_computed(outcome, notes):
            return NOT_COMPUTED
        if partial:
            return CUT_SHORT
    return STATES.get(status, status)


def word_of(status: StatusFile) -> str:
    """Return the word for the state that a status file tells."""
    return state_word(status.status.value, outcome=status.outcome, partial=status.partial, notes=status.notes)


def with_reason(status: str, *, outcome: str | None = None, partial: bool = False, notes: Iterable[str] = ()) -> str:
    """Return the word for the state of a run and, where it ended otherwise than with a whole answer, why."""
    word = state_word(status, outcome=outcome, partial=partial, notes=notes)
    if outcome is None or word in (STATES["complete"], outcome):
        return word
    reasons = REASONS if status == JobStatus.COMPLETE.value else NO_ANSWER
    reason = REASONS[NO_CODE] if word == NOT_COMPUTED else reasons.get(outcome, outcome.replace("_", " "))
    return f"{word}: {reason}"
