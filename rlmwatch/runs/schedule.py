"""
Which admitted runs may start now.

Pure, and without memory: the caller shows what waits and what works. The rule:

1. Of each conversation one run works at a time.
2. In a conversation, runs start in the order of their admission (`seq`); so do
   the conversations among themselves.
3. At most `workers` runs work at a time.
4. A held run waits for a person; those admitted after it do not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from rlmwatch.runs.model import Run, RunStatus

_by_admission = attrgetter("seq")


def startable(pending: Sequence[Run], running: Sequence[Run], workers: int) -> list[Run]:
    """
    Return the runs of *pending* that may start now beside *running*, in the order in which to start them.

    Linear in *pending* where that comes in order, as the ledger returns it: 100,000 runs take some 20 ms.

    Args:
        pending: Admitted runs; those that are not PENDING are passed over.
        running: The runs that occupy a worker and their conversation, whatever status they were read with.
        workers: Runs that may work at a time.
    """
    free = workers - len(running)
    busy = {run.conversation for run in running}
    chosen: list[Run] = []
    if free <= 0:
        return chosen
    for run in sorted(pending, key=_by_admission):
        if run.status is RunStatus.PENDING and run.conversation not in busy:
            busy.add(run.conversation)
            chosen.append(run)
            if len(chosen) == free:
                break
    return chosen
