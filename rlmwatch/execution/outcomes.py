"""
What becomes of a run when its handler raises: one table of classes.

    the error says                              the run is
    a key, a model's name, no provider          held until a restart or a reload
    the day's or month's ceiling                held until then, or until a run has ended or a new day begins
    a state file that cannot be used            held likewise
    its budget, an unknown price                failed, `budget_exceeded`
    the provider's own words                    failed, `provider_error`
    the input cannot be answered                failed, `bad_input`
    its time limit, with some text              complete and partial, `timeout`
    its time limit, without                     failed, `timeout`; in the provider's words where it kept failing
    somebody cancelled it                       cancelled; the text so far is kept
    another attempt owns it                     left alone
    anything else                               failed, `error`: a fault of ours, with the log's words
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from rlmwatch.errors import (
    BudgetError,
    CeilingReached,
    Fenced,
    InputError,
    NoProvider,
    NotSent,
    ProviderError,
    RunCancelled,
    RunEnded,
    RunTimeout,
    SandboxUnavailable,
    UnknownModel,
    WorkspaceError,
    WrongKey,
)
from rlmwatch.handlers.base import RunContext
from rlmwatch.runs.model import Outcome, Result, RunStatus, Usage

log = structlog.get_logger()

HOLDS = (WrongKey, UnknownModel, NoProvider, CeilingReached, SandboxUnavailable, WorkspaceError)
"""What a person mends outside the input, so that the save is kept and runs afterwards."""
AFTERWARDS = "The save is kept: it runs when this is mended and rlmwatch is restarted or reloaded."
BY_ITSELF = (
    "The save is kept: it is tried again by itself when another run has ended or a new day (UTC) begins, and when you "
    "have raised the ceiling and restarted or reloaded rlmwatch."
)


@dataclass(frozen=True, slots=True)
class Hold:
    """
    The run waits, for a person or for what else can mend it.

    Attributes:
        reason: What for.
        may_pass: Whether it may end without a person: what others had reserved is given back, a day ends.
    """

    reason: str
    may_pass: bool = False


OUTCOMES: tuple[tuple[type[Exception], Outcome], ...] = (
    (RunTimeout, Outcome.TIMEOUT),
    (BudgetError, Outcome.BUDGET_EXCEEDED),
    (ProviderError, Outcome.PROVIDER_ERROR),
    (InputError, Outcome.BAD_INPUT),
)
"""What a failed run's outcome is, by the class of its error; the first that fits."""


def ended_by(error: Exception, bench: RunContext | None) -> Result | Hold | None:
    """Return what becomes of a run that ended with *error*; None leaves it to the attempt that owns it."""
    if isinstance(error, Fenced):
        return None
    if isinstance(error, CeilingReached):
        return Hold(f"{error}\n{BY_ITSELF}", may_pass=True)
    if isinstance(error, HOLDS):
        return Hold(f"{error}\n{AFTERWARDS}")
    used = bench.calls.used if bench else Usage()
    text = bench.calls.text_so_far.strip() if bench else ""
    model = bench.options.model if bench else None
    if isinstance(error, RunEnded) and (text or isinstance(error, RunCancelled)):
        cancelled = isinstance(error, RunCancelled)
        return Result(
            RunStatus.CANCELLED if cancelled else RunStatus.COMPLETE,
            Outcome.CANCELLED if cancelled else Outcome.TIMEOUT,
            answer=text or None,
            partial=bool(text),
            usage=used,
            notes=(str(error),),
            model=model,
        )
    outcome = next((outcome for kind, outcome in OUTCOMES if isinstance(error, kind)), None)
    if outcome is not None:
        trouble = bench.calls.trouble if bench and isinstance(error, RunTimeout) else None
        if trouble is None:
            said = str(error)
        elif isinstance(trouble, NotSent):
            said = f"{trouble}: {error}"
        else:
            said = f"{trouble}\nIt was tried again until the time was up: {error}"
        return Result(RunStatus.FAILED, outcome, error=said, usage=used, model=model)
    log.error("run.internal_error", exc_info=error)
    said = f"a fault in rlmwatch: {type(error).__name__}: {error}; the log has the details. Please report it."
    return Result(RunStatus.FAILED, Outcome.ERROR, error=said, usage=used, model=model)
