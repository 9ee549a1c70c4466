"""
The documents that people edit: the memory of a chat; a research session builds on it.

Pure: text in, values out. We write them and people edit them. Only `input` and `answer` of a turn are needed, keys
that a person adds are kept, but a value of the wrong type is damage: guessing would change what the model is told.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rlmwatch.contract.documents import SCHEMA_VERSION, Document, UsageSoFar, json_object, validated
from rlmwatch.errors import InputError, WorkspaceError


class Edited(BaseModel):
    """A part of a document that people edit: what they add is kept, wrong types are refused."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Turn(Edited):
    """
    One question and its answer.

    Attributes:
        run_id: Run that answered; a run adds at most one turn. None in a turn written by hand.
        at: When the question was saved (not when it was answered: runs of one conversation queue), RFC 3339.
        file: Base name of the input: `.txt` and `.md` inputs of one conversation share a state file.
        input: The prompt.
        input_digest: `sha256:<hex>` of the input file's bytes.
        partial: The answer was cut short; `reason` says by what.
        notes: What is worth knowing of the answer, as in the status file.
        usage: What the run used.
    """

    run_id: str | None = None
    at: str | None = None
    model: str | None = None
    file: str | None = None
    input: str
    answer: str
    input_digest: str | None = None
    partial: bool | None = None
    reason: str | None = None
    notes: Annotated[tuple[str, ...] | None, Field(strict=False)] = None
    usage: UsageSoFar | None = None


class ChatState(Edited):
    """The memory of one chat, oldest turn first. A person may delete turns, edit texts and add keys."""

    schema_version: int = SCHEMA_VERSION
    conversation: str = ""
    turns: Annotated[tuple[Turn, ...], Field(strict=False)] = ()

    def with_turn(self, turn: Turn) -> ChatState:
        """
        Return this state with *turn* in its place by time; unchanged where its run already has a turn.

        It is unchanged also when a person edited that turn: what a person wrote wins over a repeated publish.
        """
        if any(had.run_id == turn.run_id for had in self.turns if had.run_id is not None):
            return self
        at = len(self.turns)
        while at and turn.at is not None and (self.turns[at - 1].at or "") > turn.at:
            at -= 1
        return self.model_copy(update={"turns": (*self.turns[:at], turn, *self.turns[at:])})


def read_edited(raw: bytes, model: type[Document]) -> Document:
    """
    Return the document in *raw*, which people may have edited, as a *model*.

    Raises:
        InputError: It is damaged; line and column where known.
        WorkspaceError: A newer rlmwatch wrote it: it is sound, and must not be touched.
    """
    values = json_object(raw)
    version = values.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise WorkspaceError(
            f"was written by a newer rlmwatch (schema {version}, this one knows {SCHEMA_VERSION}): "
            "update rlmwatch, or move the file away to start afresh"
        )
    return validated(model, values)


def last_digest(raw: bytes, *, file: str) -> tuple[str, str] | None:
    """
    Return digest and time of the latest turn that answered the input *file*, in the state file of any kind.

    It looks at `turns` alone and forgives everything else: a damaged file is somebody else's to report.

    Args:
        raw: The state file.
        file: Base name of the input; turns that name no file count for each.
    """
    try:
        turns = json_object(raw).get("turns")
    except InputError:
        return None
    found = [
        (str(turn["input_digest"]), str(turn.get("at") or ""))
        for turn in (turns if isinstance(turns, list) else [])
        if isinstance(turn, dict) and turn.get("input_digest") and turn.get("file") in (None, file)
    ]
    return max(found, key=lambda pair: pair[1], default=None)
