"""
Research: a session of questions on the same material, under one budget.

The last exchanges stand in short before the question; all of them are the
variable `history`. The session's budget is the parent of the run's, so a run
that uses it up ends in a synthesis, and a session with nothing left starts none.
"""

from __future__ import annotations

from rlmwatch.contract.session import SessionState
from rlmwatch.errors import SessionBudgetExceeded
from rlmwatch.handlers import structured
from rlmwatch.handlers.base import RunContext
from rlmwatch.handlers.rlm import Material, rlm
from rlmwatch.runs.model import Result, Run


async def research(run: Run, run_context: RunContext) -> Result:
    """Answer one question of a research session."""
    session = run_context.session or SessionState()
    context = await run_context.context()
    try:
        return await rlm(
            run,
            question(structured.question(run, by_code=True), session),
            Material(context, session.history()),
            run_context,
        )
    except SessionBudgetExceeded as spent:
        said = f"{spent}\n{how_to_raise(spent)}"
        raise SessionBudgetExceeded(said, cap=spent.cap, limit=spent.limit, used=spent.used) from spent


def how_to_raise(spent: SessionBudgetExceeded) -> str:
    """Return what a person writes, and where, so that a session with nothing left goes on: room for as much again."""
    number = f"{spent.used + spent.limit:.4g}" if spent.cap == "max_cost_usd" else f"{spent.used + spent.limit:.0f}"
    own = " (ceilings in your own config.toml stay above it)" if spent.cap == "max_cost_usd" else ""
    return (
        f"To go on, write this line between two lines of --- at the top of the question, and save:\n"
        f"    {spent.cap}: {number}\n"
        f"or this one under [research] in rlmwatch.toml, reload rlmwatch, and ask again{own}:\n"
        f"    {spent.cap} = {number}\n"
        f"In Python: session.raise_caps({spent.cap}={number}). To start afresh, delete the session's file."
    )


def question(prompt: str, session: SessionState) -> str:
    """Return what the model is asked: the earlier exchanges in short, where there are any, and *prompt*."""
    earlier = session.in_short()
    if not earlier:
        return prompt
    return f"Earlier in this session (whole in the variable `history`):\n{earlier}\n\nNow: {prompt}"
