"""
What the view shows, as values: a row for each question, and what a person must know beside them. Pure.

1. The status of a run makes its row, whether the daemon hands it over as it changes or it was read from `jobs/`.
2. A row moves only forward, as its status file does: an ended one stays, unless another submission has its id.
3. Rows keep their place, in the order in which they were first seen; of those that have ended, the newest are kept.
4. A notice stays until an event says that it is over, the same comes again, or newer ones take its place.
5. A question that failed or was cancelled has no row any more once its file is asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rlmwatch.cli.view.words import OF_ONE_FILE, OVER, Notice, in_words
from rlmwatch.contract.documents import JobStatus, StatusFile
from rlmwatch.contract.state_words import STATES as STATE_WORDS
from rlmwatch.contract.state_words import with_reason, word_of

KEPT = 200
"""Ended rows: more than the tallest terminal shows."""
NOTICES = 3
"""That are shown at once: more is a log."""
TEXT_CHARS = 600
"""Of an answer or an error: more than three lines of a wide terminal."""
STATES: Mapping[str, str] = {
    "ready": "",
    "stopping": "Stopping: {running} running, which get {grace_s:.0f} s to end",
    "host.standby": "Standing by",
    "folder.busy": "Waiting for the folder",
}
"""What the daemon does, by the events after which it does it; beside answering what is saved."""


@dataclass(frozen=True, slots=True)
class Question:
    """
    One question, as its row shows it.

    Attributes:
        name: The file that asks; with its folder, where one daemon serves several.
        word: For its state.
        ended_how: The same, and why where the answer is not whole or there is none.
        text: The first words of its answer; or why there is none, or what it waits for.
        chars: Of the material that it reads; None where that is not known.
        began_at, ended_at: None before.
        updated: When its status was written.
        cost_usd: None while no call's price is known.
        asked: Whether a provider was asked at all.
    """

    job_id: str
    digest: str
    name: str
    status: JobStatus
    word: str
    ended_how: str
    text: str
    attempt: int
    updated_at: str
    step: int
    steps: int | None
    note: str
    chars: int | None
    searches: int
    began_at: datetime | None
    ended_at: datetime | None
    cost_usd: float | None
    asked: bool
    updated: datetime | None = None
    folder: str = ""

    @property
    def key(self) -> str:
        """By which its row is known: in another folder may be a run with the same id."""
        return f"{self.folder}/{self.job_id}" if self.folder else self.job_id

    @property
    def works(self) -> bool:
        """Whether somebody works on it now."""
        return self.status is JobStatus.RUNNING

    @property
    def state(self) -> tuple[object, ...]:
        """What a change of is worth a line, where nothing can change in place."""
        return (self.digest, self.status, self.step, self.attempt, self.text if not self.works else "")


def question(status: StatusFile, folder: str = "") -> Question:
    """Return the row of the run that has *status*; in *folder*, where there are several."""
    progress = status.progress
    text = status.answer if status.status is JobStatus.COMPLETE else status.error
    return Question(
        job_id=status.job_id,
        digest=status.input_digest,
        name="/".join(filter(None, (folder, status.input or f"jobs/{status.job_id}.json"))),
        status=status.status,
        word=word_of(status),
        ended_how=with_reason(status.status.value, outcome=status.outcome, partial=status.partial, notes=status.notes),
        text=(text or "")[:TEXT_CHARS],
        attempt=status.attempt,
        updated_at=status.updated_at,
        step=progress.step if progress else 0,
        steps=progress.max_steps if progress else None,
        note=(progress.note if progress else "")[:TEXT_CHARS],
        chars=progress.context_chars if progress else None,
        searches=status.usage.searches,
        began_at=_time(status.started_at),
        ended_at=_time(status.completed_at) if status.status.ended else None,
        cost_usd=status.usage.cost_usd,
        asked=status.usage.llm_calls > 0,
        updated=_time(status.updated_at),
        folder=folder,
    )


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Heading:
    """
    What stands above the rows.

    Attributes:
        folder: The workspace.
        answers: What answers; `""` where that is not known.
        spent_usd: Today; None where that is not known.
        ceiling_usd: Of the day; None where there is none.
        state: Who answers here, where it is not simply this program; `""` where it is.
        ends: What Ctrl+C does.
        page: Where the page in a browser is; `""` where there is none.
    """

    folder: str
    answers: str = ""
    spent_usd: float | None = None
    ceiling_usd: float | None = None
    state: str = ""
    ends: str = "Ctrl+C stops"
    page: str = ""


@dataclass(slots=True)
class ViewState:
    """All that the view shows."""

    heading: Heading
    rows: dict[str, Question] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether something runs, so that its seconds pass."""
        return any(row.works for row in self.rows.values())

    def take(self, status: StatusFile, folder: str = "") -> bool:
        """Take in the *status* of a run, in *folder*, that has changed; False where its row stays (rule 2)."""
        new = question(status, folder)
        old = self.rows.get(new.key)
        if old is not None and (old.digest in ("", new.digest)):
            if _goes_back(old, new):
                return False
            if not new.step and old.step:  # the end is told without its progress
                new = replace(new, step=old.step, steps=old.steps, chars=old.chars)
        if new == old:
            return False
        self.rows = _current(self.rows | {new.key: new})
        self._trim()
        return True

    def show(self, statuses: Iterable[StatusFile]) -> bool:
        """Show these *statuses*, oldest first, and no others; return whether anything has changed."""
        rows = _current({status.job_id: question(status) for status in statuses})
        known = {name: rows[name] for name in self.rows if name in rows}
        changed = known | rows
        if changed == self.rows and list(changed) == list(self.rows):
            return False
        self.rows = changed
        return True

    def hear(self, event: Mapping[str, Any], *, at: str) -> bool:
        """Take in an *event* of the log, *at* which time of the day; return whether that changes what is shown."""
        name = str(event.get("event"))
        over = OVER.get(name, frozenset())
        about = event.get("path")
        stays = [each for each in self.notices if each.event in OF_ONE_FILE and each.path != about]
        left = [each for each in self.notices if each.event not in over or each in stays]
        notice = in_words(event, at=at)
        if notice is not None:
            left = [*(each for each in left if (each.event, each.what) != (notice.event, notice.what)), notice]
        changed = left != self.notices or name == "reloaded"  # who answers may be another now
        self.notices = left[-NOTICES:]
        if name in STATES:
            changed = True
            self.heading = replace(self.heading, state=STATES[name].format_map(event))
        if name == "stopping":
            self.heading = replace(self.heading, ends="Ctrl+C again ends at once")
        return changed

    def show_page(self, where: str) -> bool:
        """Show where the page is."""
        self.heading = replace(self.heading, page=where)
        return True

    def end(self, state: str) -> None:
        """Show that the daemon is *state*, and that what it worked on waits for the next one."""
        self.heading = replace(self.heading, state=state)
        for row in [row for row in self.rows.values() if row.works]:
            self.rows[row.key] = replace(
                row, status=JobStatus.PENDING, word=STATE_WORDS["pending"], text="it goes on at the next start"
            )

    def _trim(self) -> None:
        ended = [row.key for row in self.rows.values() if row.status.ended]
        for key in ended[: max(0, len(ended) - KEPT)]:
            del self.rows[key]


def _current(rows: dict[str, Question]) -> dict[str, Question]:
    """Return *rows* without those that have no answer and whose file was asked again since (rule 5)."""
    last = {row.name: row.key for row in rows.values()}
    without = (JobStatus.FAILED, JobStatus.CANCELLED)
    return {key: row for key, row in rows.items() if row.status not in without or last[row.name] == key}


def _goes_back(old: Question, new: Question) -> bool:
    """Whether *new* was said before *old*: threads may come in another order."""
    if old.status.stage != new.status.stage:
        return new.status.stage < old.status.stage
    return (new.attempt, new.updated_at) < (old.attempt, old.updated_at) and not old.status.ended
