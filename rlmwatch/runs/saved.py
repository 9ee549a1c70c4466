"""
From the bytes of a settled input to a save.

What is not a save starts nothing and is logged. What a person must fix is a save
with a `problem`: it becomes a run that has failed, so that the person is informed
once, and the same bytes are not read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from rlmwatch.contract import front_matter, text
from rlmwatch.contract.names import InputName
from rlmwatch.errors import InputError
from rlmwatch.runs.model import Save, Signature

_BYTES_PER_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class NotASave:
    """
    A content that starts no run.

    Attributes:
        reason: Why, for the log.
        cure: What the person may do.
    """

    reason: str
    cure: str = field(default="write your question into it", compare=False)


def to_save(
    name: InputName, raw: bytes, signature: Signature, *, ready_marker: str | None, max_bytes: int
) -> Save | NotASave:
    """
    Make the save of one settled, complete content of *name*.

    The first that holds, decides:

    1. Nothing but white space and NULs: no save.
    2. More than *max_bytes* bytes: a problem. The digest is of the first *max_bytes* + 1 bytes and the size.
    3. Bytes that are not text: a problem.
    4. A *ready_marker* is asked for and not there: no save.
    5. A conflict left by git, or a bad front matter: a problem.
    6. Front matter with nothing below it: no save.
    7. A save. `handler` in the front matter says its kind, not its conversation.

    Args:
        name: The input.
        raw: All its bytes, or of a larger file at least the first *max_bytes* + 1.
        signature: The file as it was when read; its size is the whole file's.
        ready_marker: The line that ends a finished input; None where every save counts.
        max_bytes: The largest input that is answered (`max_input_mb`).
    """
    if text.is_blank(raw):
        return NotASave("blank")
    if max(len(raw), signature.size) > max_bytes:
        digest = text.digest(raw[: max_bytes + 1] + b"\n%d" % max(len(raw), signature.size))
        return _problem(name, _too_large(name, max_bytes), digest, signature)
    try:
        return _read(name, raw, signature, ready_marker)
    except InputError as error:
        return _problem(name, str(error), text.digest(raw), signature)


def _read(name: InputName, raw: bytes, signature: Signature, ready_marker: str | None) -> Save | NotASave:
    content: str | None = text.decode(raw)
    if ready_marker:
        content = text.without_marker(content or "", ready_marker)
    if content is None:
        cure = f"when the question is complete, end it with a line that is {ready_marker}"
        return NotASave(f"the last line is not the ready marker {ready_marker}", cure)
    text.refuse_conflict(content)
    parts = front_matter.split(content)
    if text.is_blank(parts.body):
        if parts.body is content:
            return NotASave("blank")
        return NotASave("front matter without a question", "write your question below the line --- that ends the head")
    return Save(
        path=name.path,
        kind=parts.options.handler or name.kind,
        conversation=name.conversation,
        prompt=parts.body,
        options=parts.options.model_dump(mode="json", exclude_none=True),
        digest=text.digest(raw),
        signature=signature,
        enclosed={"notes": [_passed_over(parts.ignored)]} if parts.ignored else {},
    )


def _passed_over(keys: Sequence[str]) -> str:
    return f"not used, of the front matter: {', '.join(f'`{key}`' for key in keys)}"


def _problem(name: InputName, problem: str, digest: str, signature: Signature) -> Save:
    return Save(
        path=name.path,
        kind=name.kind,
        conversation=name.conversation,
        prompt="",
        options={},
        digest=digest,
        signature=signature,
        problem=problem,
    )


def _too_large(name: InputName, max_bytes: int) -> str:
    data = f"{name.data}.txt"
    return (
        f"the input is larger than {max_bytes / _BYTES_PER_MB:g} MB: keep the question here and put the long material "
        f"into {data}, or raise `max_input_mb`"
    )
