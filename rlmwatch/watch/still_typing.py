"""
Recognise a text that is still being typed: an editor saves by itself, and each save goes on with the one before.

Pure: no disk, no clock. Times are monotonic seconds. The rule, per path:

1. A save *grows* from the one that was admitted last, where that text is a beginning of the newer one, and the last
   save of either was seen at most `WINDOW_S` ago. White space at the end of the earlier text does not count. Texts are
   compared below their heads where both heads say the same, else whole (a head may be what is typed).
   Where its editor was seen twice to save while one types, so does a text that only differs in the last word of the
   earlier one: a slip that is corrected.
2. A growth is *typing*

   a. where it goes on in the same line,
   b. where it goes on with a list (`- `, `* `, `2. `), or the earlier text ends in a comma, a colon or a semicolon, or
   c. where the answer to the earlier text does not lie there yet: nobody can have read it.

   Of a corrected slip, c alone counts. What was seen as typing once stays so until it is admitted, though the answer
   came meanwhile.
3. Any other growth begins a new line under a text that was answered: the next question of a person who writes below the
   last one, in the same file; or a slip in it that was corrected then. It is a turn of its own.
4. Typing is to rest for `FIRST_REST_S`, and each growth that was admitted doubles that, up to `LONGEST_REST_S`. A
   question of rule 3 is to rest for the first of these where its editor was seen to save while one types, else not.
5. A text that is no growth, and `WINDOW_S` without a save, begin anew: no rest.
6. Typing *continues* every save since the question began, by its number: their answers make way for its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

WINDOW_S = 60.0
"""A text that has not grown for so long is finished: who thinks longer over the next word pays for one more answer."""

FIRST_REST_S = 3.0
"""Above the 1 s and 2 s after which VS Code and Obsidian save; see benchmarks/typing_saves.py."""

LONGEST_REST_S = 12.0
"""Twice doubled: longer than nearly every pause inside a sentence, and as long as a person may wait for an answer."""

_LAST_WORD: Final = re.compile(r"\S+\Z")
_ITEM: Final = re.compile(r"(?:[-*+•]|\d{1,3}[.)])(?:\s|\Z)")


@dataclass(frozen=True, slots=True)
class Written:
    """
    What a person wrote.

    Attributes:
        digest: Of the file's bytes.
        options: What its head says.
        body: The text below the head.
        whole: All of it.
    """

    digest: str
    options: Mapping[str, Any]
    body: str
    whole: str


@dataclass(frozen=True, slots=True)
class Typed:
    """
    What a save is to those before it.

    Attributes:
        rest_s: Seconds without a change before it may be admitted.
        continues: Number of the first save of the same question, whose answers make way; None for a new question.
    """

    rest_s: float = 0.0
    continues: int | None = None


@dataclass(frozen=True, slots=True)
class _Print:
    """Length and digest of a text without the white space at its end: a text may have megabytes."""

    chars: int
    digest: bytes

    @classmethod
    def of(cls, text: str) -> _Print:
        stripped = text.rstrip()
        return cls(len(stripped), _digest(stripped))

    def begins(self, text: str) -> bool:
        return 0 < self.chars <= len(text) and _digest(text[: self.chars]) == self.digest


@dataclass(frozen=True, slots=True)
class _LastSave:
    """
    The save that was admitted last on a path.

    Attributes:
        first: Number of the first save of its question.
        stem: The body without its last word.
        open_ended: Whether the body ends in a comma, a colon or a semicolon.
        growths: How many saves were admitted since its editor was seen to save while one types.
        seen_at: When it, or a growth of it, was seen last.
        typing: Whether a growth that is not admitted yet was typing (rule 2).
    """

    run_id: str
    digest: str
    options: Mapping[str, Any]
    body: _Print
    whole: _Print
    stem: _Print
    open_ended: bool
    first: int
    growths: int
    seen_at: float
    typing: bool = False


@dataclass(slots=True)
class Typing:
    """The texts that were admitted within the last minute."""

    _asked: dict[str, _LastSave] = field(default_factory=dict)

    def __contains__(self, path: str) -> bool:
        """Whether a text of *path* is remembered."""
        return path in self._asked

    def grows_from(self, path: str, written: Written, *, now: float) -> str | None:
        """Return the run of the save on *path* from which *written* grows (rule 1); None where there is none."""
        asked = self._asked.get(path)
        return None if asked is None or _growth(asked, written, now) is None else asked.run_id

    def judge(self, path: str, written: Written, *, answered: bool, now: float) -> Typed:
        """
        Return what *written*, which was seen on *path* at *now*, is to the saves before it.

        Args:
            path: The input.
            written: Its text.
            answered: Whether the answer to the save from which it grows lies there.
            now: Monotonic seconds.
        """
        asked = self._asked.get(path)
        growth = None if asked is None else _growth(asked, written, now)
        if asked is None or growth is None:
            return Typed()
        typing = asked.typing or not answered or growth.same_sentence
        self._asked[path] = replace(asked, seen_at=now, typing=typing)
        if typing:
            return Typed(_rest_s(asked.growths), asked.first)
        return Typed(FIRST_REST_S if asked.growths else 0.0)

    def admitted(self, path: str, written: Written, typed: Typed, *, run_id: str, number: int, now: float) -> None:
        """Note that *written*, judged as *typed*, became the run *run_id* with the save number *number*."""
        before = self._asked.pop(path, None)
        earlier = 0 if before is None or typed.continues is None else before.growths
        self._asked[path] = _LastSave(
            run_id=run_id,
            digest=written.digest,
            options=dict(written.options),
            body=_Print.of(written.body),
            whole=_Print.of(written.whole),
            stem=_Print.of(_LAST_WORD.sub("", written.body.rstrip())),
            open_ended=written.body.rstrip().endswith((",", ":", ";")),
            first=number if typed.continues is None else typed.continues,
            growths=earlier + (typed.continues is not None or typed.rest_s > 0),
            seen_at=now,
        )
        for old in [old for old, asked in self._asked.items() if now - asked.seen_at > WINDOW_S]:
            del self._asked[old]


@dataclass(frozen=True, slots=True)
class _Growth:
    """
    How a text grew.

    Attributes:
        same_sentence: Whether it goes on with what stood there, whoever may have answered that (rules 2a, 2b).
    """

    same_sentence: bool


def _growth(asked: _LastSave, written: Written, now: float) -> _Growth | None:
    """Return how *written* grew from *asked*; None for no growth (rule 1)."""
    if now - asked.seen_at > WINDOW_S or asked.digest == written.digest:
        return None
    same_head = asked.options == written.options
    for earlier, later, counts in ((asked.body, written.body, same_head), (asked.whole, written.whole, True)):
        if counts and earlier.begins(later):
            added = later[earlier.chars :]
            lead = added[: len(added) - len(added.lstrip())]
            return _Growth("\n" not in lead or asked.open_ended or _ITEM.match(added.lstrip()) is not None)
    corrects = same_head and asked.growths > 1 and asked.stem.begins(written.body)
    return _Growth(same_sentence=False) if corrects else None


def _rest_s(growths: int) -> float:
    return float(min(FIRST_REST_S * 2 ** min(growths, 10), LONGEST_REST_S))


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
