"""
The documents that the daemon and programs exchange: status file and submission.

Pure: text in, values out. Two degrees of strictness, by who writes; what people edit has a third (`memory.py`).

1. StatusFile: only we write it. Unknown fields are ignored when reading (a newer daemon may have written it) and
   never produced.
2. Submission: anybody writes it, once. An unknown key is an error for the person: a mistyped cap must not be a
   missing cap.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from rlmwatch.contract.faults import in_words
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.structure import excess
from rlmwatch.contract.text import decode
from rlmwatch.errors import InputError

SCHEMA_VERSION: Final = 1
"""Of what is kept beside a question: state, session, sources."""
STATUS_VERSION: Final = 2
"""Of the status file. 2 added the status `held`, which was `running` in 1; all else is as it was."""

MAX_FAULTS: Final = 100
"""Of a document, that are named one by one: nobody reads more."""

Document = TypeVar("Document", bound=BaseModel)


class JobStatus(StrEnum):
    """Where a run is, for pollers. It moves only forward, but between RUNNING and HELD, which waits for a person."""

    PENDING = "pending"
    RUNNING = "running"
    HELD = "held"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def stage(self) -> int:
        """0 pending, 1 running or held, 2 ended: a status never moves to a lower stage."""
        return {"pending": 0, "running": 1, "held": 1}.get(self.value, 2)

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return self.stage == 2  # noqa: PLR2004 (the last stage, see `stage`)


class _Ours(BaseModel):
    """A part of a document that only we write."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Progress(_Ours):
    """
    How far a run is.

    Attributes:
        max_steps: None where there are no steps.
        context_chars: Of the material that it works through; None where there is none, or it is not known yet.
    """

    step: int = 0
    max_steps: int | None = None
    note: str = ""
    context_chars: int | None = None


class UsageSoFar(_Ours):
    """What a run used; `cost_usd` is None while no call's price is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    llm_calls: int = 0
    searches: int = 0


class StatusCaps(_Ours):
    """What a run may use at most; None means no cap."""

    max_cost_usd: float | None = None
    max_tokens: int | None = None


class StatusFile(_Ours):
    """
    The status of one run, `jobs/<job_id>.json` (file contract, section 5).

    Attributes:
        job_id: Name of the file without `.json`.
        outcome: Why it ended as it did; None before.
        input: POSIX path in the workspace of what asked.
        output: POSIX path of the answer's file; None for a submission, whose answer is here alone.
        input_digest: `sha256:<hex>` of the input's bytes: by it a daemon with an empty ledger knows what was answered.
        save_number: Of the save in its conversation: a later save has a higher one, whatever the clocks say. None where
            an older rlmwatch wrote it.
        created_at: When the save was admitted; like all times RFC 3339 in UTC.
        updated_at: When this file was written; once ended, when the run ended.
        error: Why there is no answer, or what a held run waits for.
        notes: Things worth knowing that are no errors (`price unknown`, memory that was moved aside).
    """

    schema_version: int = STATUS_VERSION
    job_id: str
    kind: Kind
    status: JobStatus
    outcome: str | None = None
    partial: bool = False
    input: str = ""
    output: str | None = None
    input_digest: str = ""
    save_number: int | None = None
    created_at: str = ""
    started_at: str | None = None
    completed_at: str | None = None
    updated_at: str = ""
    progress: Progress | None = None
    usage: UsageSoFar = UsageSoFar()
    budget: StatusCaps = StatusCaps()
    answer: str | None = None
    error: str | None = None
    attempt: int = 0
    pid: int | None = None
    host: str | None = None
    model: str | None = None
    notes: tuple[str, ...] = ()


class SubmissionFile(RunOptions):
    """
    A job that somebody asks for by creating `jobs/<id>.json`.

    Every option of front matter may stand beside these keys, with the same meaning.

    Attributes:
        task: What to do.
        data: Material for the task, a text or any JSON value; None where there is none.
        data_path: File or folder in the workspace, in place of `data`.
        webhook: Where to report the end; the user's own configuration says which hosts are allowed.
        job_id: May be given; must then be the file's name without `.json`.
        created_at: When it was submitted; for people, nothing depends on it.
    """

    schema_version: Literal[1, 2] = 1
    status: Literal["pending"]
    task: str
    data: JsonValue = None
    data_path: Annotated[str, Field(min_length=1)] | None = None
    webhook: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    job_id: str | None = None
    created_at: str | None = None

    @field_validator("task")
    @classmethod
    def _task_says_something(cls, task: str) -> str:
        if not task.strip():
            raise ValueError("is empty; write what is to be done")
        return task

    @model_validator(mode="after")
    def _data_comes_one_way(self) -> Self:
        if self.data is not None and self.data_path is not None:
            raise ValueError("give `data` or `data_path`, not both")
        return self

    def options(self) -> RunOptions:
        """Return what it says of the run's options."""
        return RunOptions.model_validate({name: getattr(self, name) for name in RunOptions.model_fields})


def dump(document: BaseModel, *, nulls: bool = True) -> bytes:
    """
    Return *document* as JSON for people and programs: UTF-8, indented, with a final newline.

    Args:
        document: Any document of this module.
        nulls: Whether keys without a value are written, as pollers like it, or left out, as people do.
    """
    values = document.model_dump(mode="json", exclude_none=not nulls)
    return (well_formed(json.dumps(values, ensure_ascii=False, indent=2)) + "\n").encode()


def well_formed(text: str) -> str:
    """Return *text* as UTF-8 can hold it: surrogate pairs joined, lone surrogates (providers send them) as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def second(time: str) -> str:
    """Return the second of the RFC 3339 *time* in UTC as names carry it: runs and status files begin with it."""
    return time[:19].replace("-", "").replace(":", "")


def read_status(raw: bytes, *, job_id: str) -> StatusFile:
    """
    Return the status in the file `jobs/<job_id>.json`; a submission that nobody took up yet reads as pending.

    Raises:
        InputError: It is no status file.
    """
    return validated(StatusFile, {"kind": Kind.JOB.value, **json_object(raw), "job_id": job_id})


def read_submission(raw: bytes, *, job_id: str) -> SubmissionFile | None:
    """
    Return what the file `jobs/<job_id>.json` asks for; None where it is a status file that a daemon wrote.

    Raises:
        InputError: It asks for something, and not as it should; names every wrong key.
    """
    values = json_object(raw)
    if values.get("status") != "pending" or values.get("input_digest"):
        if "task" not in values:
            return None
        raise InputError('`status` must be "pending" in a submission')
    submission = validated(SubmissionFile, values)
    if submission.job_id not in (None, job_id):
        raise InputError(f"`job_id` is {submission.job_id!r}, but the file is named {job_id}.json: leave it out")
    return submission


def json_object(raw: bytes) -> dict[str, Any]:
    """
    Return the JSON object in *raw*, in UTF-8 or with a byte order mark.

    Raises:
        InputError: There is none, or one so large or so deep that it is not parsed; line and column where known.
    """
    text = decode(raw)
    if (why := excess(text.encode())) is not None:  # not the file's own bytes: UTF-16 hides brackets
        raise InputError(f"it {why}")
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"no JSON: {error.msg}", line=error.lineno, column=error.colno) from error
    except ValueError as error:  # an integer of 5,000 digits
        raise InputError(f"no JSON that can be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError("no JSON object: it must begin with { and end with }")
    return values


def validated(model: type[Document], values: dict[str, Any]) -> Document:
    """
    Return *values* as a *model*.

    Raises:
        InputError: They are none; every fault in words, or of very many only the number.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        if (count := error.error_count()) > MAX_FAULTS:  # each takes pydantic 1 KB to tell
            raise InputError(f"{count:,} values are missing or not as they should be") from None
        raise InputError("; ".join(_fault(model, dict(fault)) for fault in error.errors())) from error


def _fault(model: type[BaseModel], fault: dict[str, Any]) -> str:
    """Return one fault as `` `key`: what is wrong ``."""
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"`{where}`: no such key; there are {', '.join(sorted(model.model_fields))}"
    what = in_words(fault)
    return f"`{where}`: {what}" if where else what
