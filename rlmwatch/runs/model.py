"""
The life of one run, as frozen values.

    Save     one settled, complete content of one input
    Run      what the ledger keeps of the save it admitted
    Result   how a run ended
    PaidCall one call to a model or a search provider, as the journal keeps it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import whole_number
from rlmwatch.usage import Usage as Usage  # noqa: PLC0414 (a run's values are imported from here)

PRESET: Final = "preset"
JSON: Final = "json"
UNRESOLVED: Final = "unresolved"
"""Keys of `enclosed`: what `execution/capture.py` captured with a save."""


class RunStatus(StrEnum):
    """Where a run is. `HELD` is pending or running, waiting for a person to remove the cause."""

    PENDING = "pending"
    RUNNING = "running"
    HELD = "held"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self in (RunStatus.COMPLETE, RunStatus.FAILED, RunStatus.CANCELLED)


class Outcome(StrEnum):
    """Why a run ended as it did."""

    SUCCESS = "success"
    STEP_LIMIT = "step_limit"
    TOKEN_LIMIT = "token_limit"  # noqa: S105 (no password)
    COST_LIMIT = "cost_limit"
    TIMEOUT = "timeout"
    NO_CODE = "no_code"
    BUDGET_EXCEEDED = "budget_exceeded"
    PROVIDER_ERROR = "provider_error"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    BAD_INPUT = "bad_input"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Signature:
    """What shows, without reading, that a file may have changed."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class _AsAsked:
    """What a save and the run that is made of it tell alike, by what was captured."""

    __slots__ = ()
    prompt: str
    enclosed: Mapping[str, Any]

    @property
    def asked(self) -> str:
        """What the model is asked: the prompt, as its preset puts it."""
        asked: str = self.enclosed.get(PRESET, {}).get("asked", self.prompt)
        return asked

    @property
    def wants_json(self) -> Mapping[str, Any] | None:
        """What the answer is to be: JSON that fits `schema` (None: any); None where it is plain text."""
        return self.enclosed.get(JSON)

    @property
    def continues(self) -> int | None:
        """Number of the first save of its conversation whose text it goes on with; None for a new question."""
        return whole_number(self.enclosed.get("continues")) or None


@dataclass(frozen=True, slots=True)
class Save(_AsAsked):
    """
    One settled, complete content of one input.

    Attributes:
        path: POSIX path inside the workspace.
        conversation: Folder and the part before `_input` / `_prompt`; runs of one conversation go one by one.
        prompt: The text without front matter, BOM and ready marker; `""` where `problem` is set.
        options: What the front matter says (`RunOptions` as JSON values, only those that are set).
        digest: `sha256:<hex>` of the bytes of the file: the same digest is the same save.
        signature: The file as it was when read; None for a submission by a job file.
        problem: Why it cannot be answered, for the person; None for a good save.
        enclosed: What a job file brings beside task and options: `data`, `data_path`, `webhook`; and `notes` on what
            was passed over, as keys of the front matter that belong to other programs; and `continues`. Of what the
            save was captured with: `preset` (its name, where it is, its digest, and `asked`, what the model is asked)
            and `json` (the schema of the answer); `unresolved` where that could not be had.
        after: The highest number of a save of this conversation that the folder shows; 0 where it shows none.
    """

    path: str
    kind: Kind
    conversation: str
    prompt: str
    options: Mapping[str, Any]
    digest: str
    signature: Signature | None = None
    problem: str | None = None
    enclosed: Mapping[str, Any] = field(default_factory=dict)
    after: int = 0

    def continuing(self, number: int | None) -> Save:
        """Return this save as one that goes on with those from *number* on; None for a new question."""
        return self if number is None else replace(self, enclosed={**self.enclosed, "continues": number})


@dataclass(frozen=True, slots=True)
class Run(_AsAsked):
    """
    One admitted save.

    Attributes:
        run_id: `<UTC time>-<kind>-<hex>`.
        seq: Order of admission, rising.
        status: See `RunStatus`.
        attempt: 0 before the first claim, then raised by each claim: the fence against a slower twin.
        frozen: What must not change between attempts (model, messages, prompt version, seed); None before.
        held_for: What the run waits for, in a person's words, while HELD.
        result: How it ended; None before.
        published: Whether answer, memory and status lie in the workspace.
        enclosed: As in `Save`.
        number: Of the save in its conversation: above every number that its ledger and the folder showed when it was
            admitted.
        after: As in `Save`: what was admitted later on another machine has a higher number, whatever the clocks say.
    """

    run_id: str
    seq: int
    path: str
    kind: Kind
    conversation: str
    prompt: str
    options: Mapping[str, Any]
    digest: str
    status: RunStatus
    created_at: str
    started_at: str | None = None
    completed_at: str | None = None
    attempt: int = 0
    frozen: Mapping[str, Any] | None = None
    held_for: str | None = None
    result: Result | None = None
    published: bool = False
    enclosed: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    after: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """
    How a run ended.

    Attributes:
        status: COMPLETE, FAILED or CANCELLED.
        answer: The text for `…_output.txt`; None leaves the last good output.
        partial: The answer was cut short, `outcome` says by what.
        error: For the person and `…_error.txt`; None removes that file.
        usage: What the whole run used, across all attempts.
        notes: Things that a poller may want to know (`price unknown`, `replay_diverged`).
        model: Model that answered.
        sources: Content of `…_sources.json`; None where nothing was searched.
    """

    status: RunStatus
    outcome: Outcome
    answer: str | None = None
    partial: bool = False
    error: str | None = None
    usage: Usage = field(default_factory=Usage)
    notes: tuple[str, ...] = ()
    model: str | None = None
    sources: str | None = None


class CallState(StrEnum):
    """The life of a paid call in the journal."""

    INTENT = "intent"  # reserved and sent, or about to be
    DONE = "done"  # the reply is stored
    LOST = "lost"  # in flight when its attempt died, or cut off: the reservation counts as spent
    RELEASED = "released"  # refused before any work: nothing was spent


@dataclass(frozen=True, slots=True)
class PaidCall:
    """
    One call that costs money.

    Attributes:
        key: `<path of the sub-engine>/<step>/<hash of the request>/<n-th with that hash>`; the run's own name for it.
        what: `llm` or `search`.
        model: Model, or name of the search provider.
        request: The request as JSON values, for `rlmwatch show`; never a key or a header.
        reserved_tokens: Output tokens, at most.
        reserved_usd: Upper bound of its cost; None where the price is unknown.
    """

    key: str
    what: str
    model: str
    request: Mapping[str, Any]
    reserved_tokens: int = 0
    reserved_usd: float | None = None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """
    One row of the journal.

    Attributes:
        reply: The provider's reply as JSON values once DONE, else None.
        usage: What it used once DONE (or what is known to be lost).
        attempt: The attempt that made it.
        started_at: When the intent was committed.
        ended_at: When the reply was committed; None before.
    """

    call: PaidCall
    state: CallState
    attempt: int
    started_at: str
    ended_at: str | None = None
    reply: Mapping[str, Any] | None = None
    usage: Usage | None = None
