"""How `rlmwatch status RUN` shows one run, and how facts stand below each other."""

from __future__ import annotations

from collections.abc import Sequence

from rlmwatch import clock
from rlmwatch.cli.layout import age, between, used
from rlmwatch.cli.live import how_far
from rlmwatch.cli.output import print_json, put_wrapped
from rlmwatch.contract.documents import StatusFile
from rlmwatch.contract.marks import when
from rlmwatch.contract.state_words import with_reason


def print_run(found: StatusFile, *, as_json: bool) -> int:
    """Print the status of one run; return the exit status."""
    if as_json:
        print_json(found.model_dump(mode="json"))
        return 0
    now = clock.utc()
    how = with_reason(found.status.value, outcome=found.outcome, partial=found.partial, notes=found.notes)
    ended = found.status.ended
    took = between(found.started_at, found.completed_at)
    tokens = (found.usage.input_tokens, found.usage.output_tokens)
    parts = used(took_s=took, tokens=tokens, usd=found.usage.cost_usd)
    lines: list[tuple[str, str | None]] = [
        ("run", found.job_id),
        ("kind", found.kind.value),
        ("status", how + (f", attempt {found.attempt}" if found.attempt > 1 else "")),
        ("question", found.input),
        ("answer in", found.output if found.answer is not None else None),
        ("saved", _with_age(found.created_at, now)),
        ("ended", _with_age(found.completed_at, now) if ended else None),
        ("now", how_far(found.progress, found.usage) if found.progress and not ended else None),
        ("used", " · ".join(parts) if ended else None),
        ("model", found.model),
        ("answer", found.answer),
        ("error" if ended else "waits for", found.error),
        *(("note", note) for note in found.notes),
    ]
    print_facts(lines)
    return 0


def _with_age(at: str | None, now: str) -> str | None:
    return f"{when(at)}, {age(at, now)} ago" if at else None


def print_facts(lines: Sequence[tuple[str, str | None]]) -> None:
    """Print each name with its text, where it has one, below each other."""
    for key, text in lines:
        if text:
            put_wrapped(text, head=f"{key:>10}  ")
