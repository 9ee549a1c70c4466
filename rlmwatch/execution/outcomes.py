"""
What becomes of a run when its handler raises: one table of classes.

    the error says                              the run is
    a key, model, address or provider           held until a restart or a reload
    the day's or month's ceiling                held until then, or until a run has ended or a new day begins
    a state file that cannot be used            held likewise
    its budget, an unknown price                failed, `budget_exceeded`
    the provider's own words                    failed, `provider_error`
    the input cannot be answered                failed, `bad_input`
    its time limit, with some text              complete and partial, `timeout`; failed where that is to be JSON
    its time limit, without                     failed, `timeout`; in the provider's words where it kept failing
    somebody cancelled it                       cancelled; the text so far is kept
    another attempt owns it                     left alone
    anything else                               failed, `error`: a fault of ours, with the log's words
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from rlmwatch.contract.json_answer import is_json
from rlmwatch.errors import (
    WROTE,
    BudgetError,
    CeilingReached,
    Fenced,
    InputError,
    NoProvider,
    NotSent,
    ProviderError,
    ProviderUnreachable,
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

HOLDS = (WrongKey, UnknownModel, ProviderUnreachable, NoProvider, CeilingReached, SandboxUnavailable, WorkspaceError)
"""What a person fixes outside the input, so that the save is kept and runs afterwards."""
AFTERWARDS = "Fix it, then: rlmwatch reload (or start rlmwatch again). The save is kept, and runs then."
BY_ITSELF = (
    "The save is kept: it is tried again by itself when another run has ended or a new day (UTC) begins, and when you "
    "have raised the ceiling and restarted or reloaded rlmwatch."
)


@dataclass(frozen=True, slots=True)
class Hold:
    """
    The run waits until its cause is gone.

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


def ended_by(error: Exception, context: RunContext | None) -> Result | Hold | None:
    """
    Return what becomes of a run that ended with *error*; None leaves it to the attempt that owns it.

    Args:
        error: What was raised.
        context: What the handler worked with; None where it was not made.
    """
    if isinstance(error, Fenced):
        return None
    if isinstance(error, CeilingReached):
        return Hold(f"{error}\n{BY_ITSELF}", may_pass=True)
    if isinstance(error, HOLDS):
        return Hold(f"{error}\n{AFTERWARDS}")
    text = context.calls.text_so_far.strip() if context else ""
    half = ""
    if text and context is not None and context.wants_json and isinstance(error, RunTimeout) and not is_json(text):
        half, text = f"{WROTE}{text}", ""  # half of a JSON value is shown, and is no answer
    if isinstance(error, RunEnded) and (text or isinstance(error, RunCancelled)):
        cancelled = isinstance(error, RunCancelled)
        return Result(
            RunStatus.CANCELLED if cancelled else RunStatus.COMPLETE,
            Outcome.CANCELLED if cancelled else Outcome.TIMEOUT,
            answer=text or None,
            partial=bool(text),
            usage=_used(context),
            notes=(str(error),),
            model=_model(context),
        )
    outcome = _outcome(error)
    if outcome is None:
        log.error("run.internal_error", exc_info=error)
        text = f"a fault in rlmwatch: {type(error).__name__}: {error}; the log has the details. Please report it."
        return Result(RunStatus.FAILED, Outcome.ERROR, error=text, usage=_used(context), model=_model(context))
    trouble = context.calls.trouble if context and isinstance(error, RunTimeout) else None
    if trouble is None:
        text = str(error)
    elif isinstance(trouble, NotSent):
        text = f"{trouble}: {error}"
    else:
        text = f"{trouble}\nIt was tried again until the time was up: {error}"
    return Result(RunStatus.FAILED, outcome, error=f"{text}{half}", usage=_used(context), model=_model(context))


def failed_by(error: Exception, context: RunContext | None) -> Result:
    """Return how a run ended that *error* would hold, where nobody could release it."""
    outcome = _outcome(error) or Outcome.PROVIDER_ERROR
    return Result(RunStatus.FAILED, outcome, error=str(error), usage=_used(context), model=_model(context))


def _outcome(error: Exception) -> Outcome | None:
    return next((outcome for kind, outcome in OUTCOMES if isinstance(error, kind)), None)


def _used(context: RunContext | None) -> Usage:
    return context.calls.used if context else Usage()


def _model(context: RunContext | None) -> str | None:
    return context.options.model if context else None
