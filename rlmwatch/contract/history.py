"""
Choose what a chat is told of what was said before.

Pure. The rule:

1. The newest turns come first, whole, as long as all texts together stay within the limit.
2. A turn that alone is longer than the limit keeps head and tail of its texts, in the room that is left; between
   them stands how long the text was. Nothing older follows it.
3. A turn that would fit alone but not in the room that is left ends the choice: a history has no holes.
4. What was chosen is returned oldest first, as alternating user and assistant messages.

What a question mentioned is sent with that question alone: later the model is told the names, and sees the texts again
where a question mentions them again.

A turn with a blank question or answer (somebody edited the file) is passed over: providers refuse empty messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rlmwatch.contract.memory import Turn

LIMIT_CHARS = 8_000
"""Of all texts together; some 2,000 tokens, which a small local model still has room for (design, section 11)."""

LEAST_CHARS = 400
"""Below this, a shortened turn (rule 2) tells less than it costs."""

Said = tuple[Literal["user", "assistant"], str]


def history(turns: Sequence[Turn], limit_chars: int = LIMIT_CHARS) -> list[Said]:
    """Return the newest of *turns* (oldest first) as messages with at most *limit_chars* characters of text."""
    chosen: list[Said] = []
    left = limit_chars
    for turn in reversed(turns):
        if not (turn.input.strip() and turn.answer.strip()):
            continue
        question = turn.input + _attached(turn)
        size = len(question) + len(turn.answer)
        if size <= left:
            chosen += [("assistant", turn.answer), ("user", question)]
            left -= size
            continue
        if size > limit_chars and left >= LEAST_CHARS:
            asked, answered = _both(question, turn.answer, left)
            chosen += [("assistant", answered), ("user", asked)]
        break
    return chosen[::-1]


def _attached(turn: Turn) -> str:
    return f"\n\n(attached then, and not repeated here: {', '.join(turn.attached)})" if turn.attached else ""


def _both(asked: str, answered: str, room: int) -> tuple[str, str]:
    """Shorten two texts to *room* characters together; a short one leaves its share to the other."""
    half = room // 2
    for_asked = min(len(asked), max(half, room - len(answered)))
    return shortened(asked, for_asked), shortened(answered, room - for_asked)


def shortened(text: str, room: int) -> str:
    """Return *text* with at most *room* characters: head and tail, and between them how long it was."""
    if len(text) <= room:
        return text
    mark = f"\n[… {len(text):,} characters in all, the middle left out …]\n"
    kept = room - len(mark)
    if kept <= 0:
        return text[:room]
    head = (kept + 1) // 2
    return text[:head] + mark + text[len(text) - (kept - head) :]
