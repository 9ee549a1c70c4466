"""
From the bytes of a file `jobs/<id>.json` to a save.

Anybody may put such a file there, by any means, and the daemon puts its status
files there too. What a person must fix is a save with a `problem`, as for an
input: it becomes a run that has failed, and says why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from rlmwatch.contract import text
from rlmwatch.contract.documents import read_status, read_submission, well_formed
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import Submission
from rlmwatch.contract.structure import excess
from rlmwatch.errors import InputError
from rlmwatch.runs.model import Save

ENCLOSED: Final = ("data", "data_path", "webhook")
"""What a run needs of a job file beside its task and options."""

MAX_PROBLEM_CHARS: Final = 2_000
"""Length of the text about a bad job file: one value in the wrong place may be wrong in a thousand ways."""

_BYTES_PER_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Incomplete:
    """
    Not a JSON object yet: somebody may still be writing it.

    Attributes:
        save: What it is if nobody goes on writing: a save with a `problem`.
    """

    save: Save


@dataclass(frozen=True, slots=True)
class NotASubmission:
    """
    A file that asks for nothing.

    Attributes:
        reason: Why, for the log.
        copy: Whether it is a copy of the file of another job, such as sync tools make of two versions.
    """

    reason: str
    copy: bool = False


def to_submission(name: Submission, raw: bytes, *, size: int, max_bytes: int) -> Save | Incomplete | NotASubmission:
    """
    Make the save of one settled content of the job file *name*.

    The first that holds, decides:

    1. More than *max_bytes* bytes, or so many values or levels that it is not parsed: a problem. The digest is of the
       bytes that are there: the caller knows the whole.
    2. Not a JSON object, in UTF-8 or with a byte order mark: incomplete. A whole object is never the first half of
       another, so half a file is always seen as such.
    3. What a daemon wrote, the status of a run: not a submission.
    4. A `job_id` that the file's name only begins with: a copy that a sync tool made: not a submission.
    5. Neither a submission nor a status, a key that is wrong or mistyped: a problem.
    6. A save. Its conversation is its own: jobs run side by side.

    Args:
        name: The job file.
        raw: All its bytes, or of a larger file at least the first *max_bytes* + 1.
        size: The size of the whole file.
        max_bytes: The largest job file that is answered (`max_input_mb`).
    """
    if (too_much := _too_large(max_bytes) if max(len(raw), size) > max_bytes else _excess(raw)) is not None:
        return _problem(name, raw, too_much)
    try:
        values = json.loads(text.decode(raw), parse_constant=_no_number)
    except (InputError, ValueError) as error:
        return Incomplete(_problem(name, raw, _no_json(raw, error)))
    if not isinstance(values, dict):
        return Incomplete(_problem(name, raw, "not a JSON object: it must begin with { and end with }"))
    inside = values.get("job_id")
    if isinstance(inside, str) and inside and name.job_id != inside and name.job_id.startswith(inside):
        return NotASubmission(f"a copy of the file of job {inside}", copy=True)
    try:
        # Half of a surrogate pair can be written in JSON, and stored nowhere.
        return _read(name, raw, well_formed(json.dumps(values, ensure_ascii=False)).encode())
    except InputError as error:
        return _problem(name, raw, str(error))


def _read(name: Submission, raw: bytes, plain: bytes) -> Save | NotASubmission:
    submission = read_submission(plain, job_id=name.job_id)
    if submission is None:
        try:
            read_status(plain, job_id=name.job_id)
        except InputError:
            raise InputError('not a job: it needs "status": "pending" and a "task"') from None
        return NotASubmission("the status of a run")
    if "\0" in submission.task:
        raise InputError("`task`: holds a NUL character; it is to be a text")
    if submission.handler is Kind.RESEARCH:
        raise InputError("`handler`: research keeps a session beside its question: save a <name>_research_prompt.txt")
    given: dict[str, Any] = submission.model_dump(mode="json", include=set(ENCLOSED), exclude_none=True)
    return Save(
        path=name.path,
        kind=submission.handler or Kind.JOB,
        conversation=conversation(name),
        prompt=submission.task,
        options=submission.options().model_dump(mode="json", exclude_none=True),
        digest=text.digest(raw),
        enclosed=given,
    )


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def conversation(name: Submission) -> str:
    """Return the conversation of the job file *name*: its own."""
    return name.path.removesuffix(".json")


def _problem(name: Submission, raw: bytes, problem: str) -> Save:
    return Save(
        path=name.path,
        kind=Kind.JOB,
        conversation=conversation(name),
        prompt="",
        options={},
        digest=text.digest(raw),
        problem=problem if len(problem) <= MAX_PROBLEM_CHARS else problem[:MAX_PROBLEM_CHARS] + " …",
    )


def _no_json(raw: bytes, error: Exception) -> str:
    if text.is_blank(raw):
        return "the job file is empty"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
    return f"not JSON that can be read: {error}"


def _excess(raw: bytes) -> str | None:
    """Return what is to be done about a job file that is not parsed (rule 1)."""
    try:
        why = excess(text.decode(raw).encode())
    except InputError:  # it is no text; rule 2 says so
        return None
    if why is None:
        return None
    return f"the job file {why}: put the material into a text file of the workspace and name it in `data_path`"


def _too_large(max_bytes: int) -> str:
    return (
        f"the job file is larger than {max_bytes / _BYTES_PER_MB:g} MB: put the material into a file of the workspace "
        "and name it in `data_path`, or raise `max_input_mb`"
    )
