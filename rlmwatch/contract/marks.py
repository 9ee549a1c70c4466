"""
What stands beside an answer for the person: the line under one that is not whole, and the times at an error. Pure.

These are in `…_output.txt` and `…_error.txt` alone: memory, status files and programs have the bare texts, so that no
mark is ever taken for the model's words, or told to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rlmwatch.contract.state_words import CUT_SHORT, NOT_COMPUTED, REASONS, not_computed


def mark(outcome: str, *, partial: bool, notes: Sequence[str] = (), see: str) -> str | None:
    """
    Return the line that says what an answer is; None where it is whole and, in a run of the engine, computed.

    Args:
        outcome: Of its run.
        partial: Whether something is missing.
        notes: Of its run.
        see: Where more is said: the run's status file.
    """
    if not_computed(outcome, notes):
        return f"({NOT_COMPUTED}: the model wrote this without looking at the material with code; see {see})"
    if partial:
        return f"({CUT_SHORT}: {REASONS.get(outcome, outcome.replace('_', ' '))}; see {see})"
    return None


def marked(answer: str, line: str | None) -> str:
    """Return *answer* with *line* as its last one, a blank line before it."""
    return answer if line is None else f"{answer.rstrip()}\n\n{line}"


def with_times(text: str, *, saved_at: str, stands: tuple[str, str] | None) -> str:
    """
    Return *text*, why there is no answer, with the times of its question and of the older answer that stands there.

    Args:
        text: For the person.
        saved_at: When the question was saved, RFC 3339.
        stands: Name of the answer's file, and when that was written, RFC 3339; None where there is none, so that there
            is nothing to be told apart.
    """
    if stands is None:
        return text
    file, written_at = stands
    about = f"This is about the question saved {when(saved_at)}"
    return f"{text.rstrip()}\n\n({about}. {file} still holds the answer written {when(written_at)}.)"


def when(time: str) -> str:
    """Return the RFC 3339 *time* as people read it, in UTC, since files travel; as it is where it is no time."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return time
    return f"{found.astimezone(UTC) if found.tzinfo else found:%Y-%m-%d %H:%M} UTC"
