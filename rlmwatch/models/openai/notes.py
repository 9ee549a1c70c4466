"""What a person should know of how an answer came. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from rlmwatch.models.base import Message
from rlmwatch.models.finish_reason import is_known, meaning
from rlmwatch.models.openai.stream import CHARS_PER_TOKEN

LEAST_READ_TOKENS = 500
"""Fewer were read: a server that counts only what was not in its cache, rather than one that cut the prompt."""

_SPARSE_CHARS_PER_TOKEN = 5
"""More characters to a token than any ordinary text has: below, nothing needs to be counted."""

_CHARS_PER_WORD_TOKEN = 16
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_UNSPACED_CHARS_PER_TOKEN = 3
_SURELY_CUT = 0.8

_SETTINGS = (
    "raise the server's context (Ollama: num_ctx, or OLLAMA_CONTEXT_LENGTH; llama.cpp: -c; "
    "LM Studio: Context Length; vLLM: --max-model-len), or shorten what is sent"
)


def cut_prompt(sent: Iterable[Message], read: int) -> str | None:
    """
    Return the note that a server *read* only part of what was *sent*, in tokens; None where it may have read all.

    Ollama, for one, cuts a prompt to its `num_ctx` without a word (ollama/ollama#2653). What is compared is the least
    number of tokens that the text can have: no tokenizer joins words, or (but for runs of one letter) more than
    `_CHARS_PER_WORD_TOKEN` letters.
    """
    texts = [message.content for message in sent]
    chars = sum(map(len, texts))
    if read < LEAST_READ_TOKENS or read * _SPARSE_CHARS_PER_TOKEN >= chars:
        return None
    least = sum(map(_least_tokens, texts))
    if read >= least * _SURELY_CUT:
        return None
    about = max(least, math.ceil(chars / CHARS_PER_TOKEN))
    return f"the server read only {read:,} of about {about:,} tokens that were sent: {_SETTINGS}"


def ending(provider: str, word: str) -> str | None:
    """Return the note on an answer that ended with *word*, the provider's; None where it needs none."""
    if not is_known(word):
        return f"{provider} ended the answer with {word[:80]!r}, which rlmwatch does not know: it may not be whole"
    match meaning(word):
        case "filter":
            return f"{provider} withheld the rest of the answer ({word})"
        case "interrupted":
            return f"{provider} stopped before the answer was whole ({word})"
        case "length" if re.search(r"model|context", word, re.IGNORECASE):
            return f"the answer is cut: the model's context window is full ({word})"
        case _:
            return None


def _least_tokens(text: str) -> int:
    words = sum(max(1, len(word) // _CHARS_PER_WORD_TOKEN) for word in text.split())
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text)) // _UNSPACED_CHARS_PER_TOKEN
    return max(words, unspaced)
