"""What the page shows, as values. Pure. Texts are as they were found: `markup.py` makes each of them harmless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlmwatch.ledger.overview import CallSummary
from rlmwatch.runs.trajectory import StepRecord


@dataclass(frozen=True, slots=True)
class ListedRun:
    """
    One run, as a list shows it.

    Attributes:
        workspace: Name of the workspace's private state folder: by it the page's addresses name the workspace.
        job_id: By which its status file is named.
        question: How the question begins; `""` where only the status file is here.
        status: The word that `jobs` has for it.
        why: What it waits for, or why there is no answer; `""` for neither.
        progress: How far it is, in words.
        cost_usd: What it used so far; None where no price is known.
    """

    workspace: str
    job_id: str
    path: str
    kind: str
    question: str
    status: str
    created_at: str
    ended_at: str | None = None
    outcome: str | None = None
    partial: bool = False
    why: str = ""
    progress: str = ""
    cost_usd: float | None = None
    answer: str = ""


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """
    One workspace.

    Attributes:
        name: As in `ListedRun`.
        title: What a person calls it.
        folder: Its path; None for the runs of Python programs, which have none.
        answered_by: Which process answers here, in words; None where none does.
        problem: What is wrong with it or with its settings; None where nothing is.
        unfinished: Its runs that have not ended, running ones first.
        recent: Its newest runs, newest first.
        counts: How many runs are in each status.
        days: US dollars by UTC day.
    """

    name: str
    title: str
    folder: str | None
    answered_by: str | None = None
    problem: str | None = None
    unfinished: tuple[ListedRun, ...] = ()
    recent: tuple[ListedRun, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    days: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunView:
    """
    One run with its trajectory.

    Attributes:
        question: The whole question, up to a limit.
        steps: The last steps, oldest first.
        steps_in_all: How many there are.
        calls: Its paid calls, where it has no steps.
    """

    workspace: WorkspaceView
    run: ListedRun
    question: str
    answer: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    model: str | None = None
    attempt: int = 0
    tokens: tuple[int, int] = (0, 0)
    steps: tuple[StepRecord, ...] = ()
    steps_in_all: int = 0
    calls: tuple[CallSummary, ...] = ()


@dataclass(frozen=True, slots=True)
class CeilingView:
    """
    What may be spent on a day, in US dollars; None for no ceiling.

    Attributes:
        of_user: Whether it holds for all workspaces together, or for each.
    """

    per_day_usd: float | None
    of_user: bool
