"""
The documents that people edit: the memory of a chat; a research session builds on it.

Pure: text in, values out. We write them and people edit them. Only `input` and `answer` of a turn are needed, keys
that a person adds are kept, but a value of the wrong type is damage: guessing would change what the model is told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rlmwatch.contract.documents import SCHEMA_VERSION, Document, UsageSoFar, json_object, validated
from rlmwatch.contract.names import key
from rlmwatch.errors import InputError, WorkspaceError

MAX_NUMBER = 2**53
"""Of a save: more are no number of ours, but a person's or an attacker's; the ledger's columns hold 2**63."""


class Edited(BaseModel):
    """A part of a document that people edit: what they add is kept, wrong types are refused."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class Alternative(Edited):
    """An answer that was given to the same question before (`rlmwatch again`); the model is not told of it."""

    run_id: str | None = None
    at: str | None = None
    model: str | None = None
    answer: str
    partial: bool | None = None
    reason: str | None = None
    usage: UsageSoFar | None = None


class Turn(Edited):
    """
    One question and its answer.

    Attributes:
        run_id: Run that answered; a run adds at most one turn. None in a turn written by hand.
        save_number: Of the save in its conversation; a later save has a higher one. None in a turn written by hand.
        at: When the question was saved (not when it was answered: runs of one conversation queue), RFC 3339. Nothing
            is ordered by it, since clocks differ and jump.
        continues: Number of the first save of its question, whose text it goes on with; None for a new question.
        file: Base name of the input: `.txt` and `.md` inputs of one conversation share a state file.
        input: The prompt.
        input_digest: `sha256:<hex>` of the input file's bytes.
        partial: The answer was cut short; `reason` says by what.
        notes: What is worth knowing of the answer, as in the status file.
        usage: What the run used.
        attached: Names of what the question mentioned and was sent with it; the texts are not kept.
        alternatives: The answers before this one, where the question was asked again; oldest first.
    """

    run_id: str | None = None
    save_number: int | None = None
    continues: int | None = None
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
    attached: Annotated[tuple[str, ...] | None, Field(strict=False)] = None
    alternatives: Annotated[tuple[Alternative, ...] | None, Field(strict=False)] = None

    def has_run(self, run_id: str) -> bool:
        """Whether the run gave this answer, or one before it."""
        return run_id in (self.run_id, *(each.run_id for each in self.alternatives or ()))

    def over(self, earlier: Turn) -> Turn:
        """Return this turn in place of *earlier*, which asks the same: with its answers, and what a person added."""
        answers = (*(earlier.alternatives or ()), earlier.as_alternative(), *(self.alternatives or ()))
        return self.model_copy(update={**(earlier.model_extra or {}), "alternatives": answers})

    def as_alternative(self) -> Alternative:
        """Return the answer alone."""
        return Alternative(**{name: getattr(self, name) for name in Alternative.model_fields})

    def asks_the_same(self, other: Turn) -> bool:
        """Whether both have the bytes of one question in one input: `rlmwatch again` asks it anew."""
        return (
            self.file is not None
            and other.file is not None
            and key(self.file) == key(other.file)
            and self.input_digest is not None
            and self.input_digest == other.input_digest
        )

    def outgrows(self, other: Turn) -> bool:
        """Whether *other* answered a beginning of this question, while it was still typed."""
        return (
            self.continues is not None
            and self.save_number is not None
            and other.save_number is not None
            and self.file is not None
            and other.file is not None
            and key(self.file) == key(other.file)
            and self.continues <= other.save_number < self.save_number
        )


def placed(turns: tuple[Turn, ...], turn: Turn, later: Collection[str]) -> tuple[Turn, ...]:
    """
    Return *turns* with *turn* in its place.

    1. Where its run has a turn already, they are unchanged, also when a person edited that turn: what a person wrote
       wins over a repeated publish.
    2. It comes before the turns of *later* runs, and after all others, whatever their times say.
    3. The same question again, with nothing in between, takes the place of the turn before it, whose answer becomes an
       alternative; keys that a person added there stay. Where it was asked again meanwhile, the later answer has its
       place already, and this one becomes the alternative.
    4. The answers to its own beginnings make way (`Turn.outgrows`). Where it is itself one of a turn that is there, it
       comes too late.
    """
    if turn.run_id is not None and any(had.has_run(turn.run_id) for had in turns):
        return turns
    if any(had.outgrows(turn) for had in turns):
        return turns
    turns = without_outgrown(turns, turn)
    at = next((place for place, had in enumerate(turns) if had.run_id in later), len(turns))
    before, after = turns[:at], turns[at:]
    if after and after[0].asks_the_same(turn):
        return (*before, after[0].over(turn), *after[1:])
    if before and before[-1].asks_the_same(turn):
        return (*before[:-1], turn.over(before[-1]), *after)
    return (*before, turn, *after)


def without_repeat(turns: tuple[Turn, ...], *, file: str, digest: str) -> tuple[Turn, ...]:
    """Return what was said before the question *digest* of the input *file*: its own answer, if asked again, is not."""
    asked = Turn(input="", answer="", file=file, input_digest=digest)
    return turns[:-1] if turns and turns[-1].asks_the_same(asked) else turns


def is_undone(undone: tuple[Turn, ...] | None, turn: Turn) -> bool:
    """Whether *turn* was taken back: a repeated publish does not bring it back."""
    return turn.run_id is not None and any(had.has_run(turn.run_id) for had in undone or ())


def without_outgrown(turns: tuple[Turn, ...], turn: Turn) -> tuple[Turn, ...]:
    """Return *turns* without the answers to beginnings of the question of *turn*."""
    return tuple(had for had in turns if not turn.outgrows(had))


class ChatState(Edited):
    """
    The memory of one chat, oldest turn first. A person may delete turns, edit texts and add keys.

    Attributes:
        undone: The turns that were taken back (`rlmwatch undo`): the model is not told of them.
    """

    schema_version: int = SCHEMA_VERSION
    conversation: str = ""
    turns: Annotated[tuple[Turn, ...], Field(strict=False)] = ()
    undone: Annotated[tuple[Turn, ...] | None, Field(strict=False)] = None

    def with_turn(self, turn: Turn, *, later: Collection[str] = ()) -> ChatState:
        """Return this state with *turn* in its place before those of *later* runs (see `placed`)."""
        if is_undone(self.undone, turn):
            return self
        turns = placed(self.turns, turn, later)
        return self if turns is self.turns else self.model_copy(update={"turns": turns})


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


@dataclass(frozen=True, slots=True)
class Remark:
    """
    What one turn of a state file says of its run.

    Attributes:
        run_id, digest: None where the turn does not say.
        number: 0 where the turn does not say.
        answer: Its text; `""` where it is none.
        partial: Whether it was cut short; `reason` says by what.
    """

    run_id: str | None
    number: int
    digest: str | None
    answer: str
    partial: bool = False
    reason: str = ""
    notes: tuple[str, ...] = ()


def remarks(raw: bytes, *, file: str) -> Sequence[Remark]:
    """
    Return what the turns that answered the input *file* say, in the state file *raw* of any kind, in their order.

    It looks at `turns`, and at those that were taken back (`undone`), and forgives everything else: a damaged file is
    somebody else's to report.

    Args:
        raw: The state file.
        file: Base name of the input, in any letter case and normal form; turns that name no file count for each.
    """
    try:
        values = json_object(raw)
    except InputError:
        return []
    said = _remarks(values.get("turns"), file)
    undone = _remarks(values.get("undone"), file)
    newest = max((each.number for each in said), default=0)
    return [
        *(each for each in undone if each.number <= newest),
        *said,
        *(each for each in undone if each.number > newest),
    ]


def _remarks(turns: object, file: str) -> list[Remark]:
    name = key(file)
    ours = [
        turn
        for turn in (turns if isinstance(turns, list) else [])
        if isinstance(turn, dict) and ((its := turn.get("file")) is None or (isinstance(its, str) and key(its) == name))
    ]
    return [
        Remark(
            _text(turn, "run_id"),
            whole_number(turn.get("save_number")),
            _text(turn, "input_digest"),
            _text(turn, "answer") or "",
            turn.get("partial") is True,
            _text(turn, "reason") or "",
            _texts(turn.get("notes")),
        )
        for turn in ours
    ]


def last_asked(turns: Sequence[Remark]) -> Remark | None:
    """Return the last of *turns* that a run wrote: what a person adds by hand answers no file."""
    return next((turn for turn in reversed(turns) if turn.digest is not None), None)


def whole_number(value: object) -> int:
    """Return *value* where it is the number of a save as we give them, else 0."""
    return value if type(value) is int and 0 < value <= MAX_NUMBER else 0


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _text(turn: dict[str, object], key: str) -> str | None:
    value = turn.get(key)
    return value if isinstance(value, str) and value else None
