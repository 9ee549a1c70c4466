"""Which model of a provider's list stands in for one that it does not list. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

CLOSE = 0.75
"""Of difflib's ratio: `gpt-4.1-mini` and `gpt-4o-mini` are, `gpt-4.1-mini` and `o3` are not."""
_NO_CHAT = re.compile(
    r"embed|whisper|tts|dall-e|moderation|rerank|image|audio|realtime|transcri|guard|ocr", re.IGNORECASE
)
"""What stands in the names of models that answer no chat."""


def chatting(models: Sequence[str]) -> list[str]:
    """Return those of *models* that can chat, by their names; all where none would be left."""
    return [each for each in models if not _NO_CHAT.search(each)] or list(models)


def nearest(wanted: str | None, models: Sequence[str]) -> str | None:
    """
    Return the model of the list *models* that stands in for *wanted*; None where none does.

    1. Itself.
    2. The same name behind another path: `models/gemini-2.5-flash` for `gemini-2.5-flash`.
    3. A dated one: `claude-haiku-4-5-20251001` for `claude-haiku-4-5`; the last of several.
    4. One whose name is close.
    5. The only one that can chat.
    """
    able = chatting(models)
    if wanted is not None:
        last = wanted.rpartition("/")[2]
        same = [each for each in models if each == wanted] or [
            each for each in models if each.rpartition("/")[2] == last
        ]
        dated = [each for each in able if re.fullmatch(re.escape(last) + r"[-@:]?[0-9-]+", each.rpartition("/")[2])]
        close = get_close_matches(wanted, able, n=1, cutoff=CLOSE)
        found = same[:1] or sorted(dated)[-1:] or close
        if found:
            return found[0]
    return able[0] if len(able) == 1 else None
