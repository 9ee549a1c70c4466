"""
Exa: web research. The engine writes code that searches, reads, and answers with sources.

After the answer, each link, number and quotation in it is checked against the
pages that were fetched; what does not hold is marked in the answer.
"""

from __future__ import annotations

from rlmwatch.handlers import plain, structured
from rlmwatch.handlers.base import RunContext
from rlmwatch.handlers.rlm import Material, rlm
from rlmwatch.runs.model import Result, Run


async def exa(run: Run, run_context: RunContext) -> Result:
    """Answer one question from the web."""
    context = await run_context.context()
    asked = f"{structured.question(run, by_code=True)}\n\n{plain.prompt('exa')}"
    return await rlm(run, asked, Material(context), run_context)
