"""
Research: a session of questions on the same material, under one budget.

The last exchanges stand in short before the question; all of them are the
variable `history`. The session's budget is the parent of the run's, so a run
that uses it up ends in a synthesis, and a session with nothing left starts none.
"""

from __future__ import annotations

from rlmwatch.contract.session import SessionState
from rlmwatch.handlers.base import Bench
from rlmwatch.handlers.rlm import Material, rlm
from rlmwatch.runs.model import Result, Run


async def research(run: Run, bench: Bench) -> Result:
    """Answer one question of a research session."""
    session = bench.session or SessionState()
    context = await bench.context()
    return await rlm(run, question(run.prompt, session), Material(context, session.history()), bench)


def question(prompt: str, session: SessionState) -> str:
    """Return what the model is asked: the earlier exchanges in short, where there are any, and *prompt*."""
    earlier = session.in_short()
    if not earlier:
        return prompt
    return f"Earlier in this session (whole in the variable `history`):\n{earlier}\n\nNow: {prompt}"
