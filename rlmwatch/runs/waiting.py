"""
Why a run that has not ended waits, in a person's words; the same in `status`, in the view and on the page.

1. What its status file or the ledger says: a key, a ceiling, a provider that does not answer.
2. Else, where it is pending, an earlier save of its conversation comes first.
3. Else it is its turn; or nobody answers there now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rlmwatch.runs.model import RunStatus

NOT_RUNNING = "rlmwatch does not run here now"


@dataclass(frozen=True, slots=True)
class OpenRun:
    """
    A run that has not ended, as a list shows it.

    Attributes:
        status: As pollers see it.
        why: What is known to hold it up; `""` for nothing.
    """

    conversation: str
    status: str
    why: str


def reasons(runs: Iterable[OpenRun], *, served: bool) -> Iterator[str]:
    """Yield for each of *runs*, in order of admission, why it waits; `""` for one that does not."""
    before: set[str] = set()
    for run in runs:
        if run.why or run.status != RunStatus.PENDING:
            yield run.why
        elif run.conversation in before:
            yield "an earlier save of its conversation comes first"
        else:
            yield "its turn" if served else NOT_RUNNING
        before.add(run.conversation)


def submission(*, served: bool) -> str:
    """Return why a job file, of which no run was made yet, waits."""
    return "rlmwatch takes it up once it has come to rest" if served else NOT_RUNNING
