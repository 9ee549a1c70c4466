"""
How an answer ended, in every provider's words.

Pure. Words are compared in lower case with `_` for blanks and hyphens, so `MAX_TOKENS` and `max-tokens` are one word.
They come from the providers' references: OpenAI, Azure, Mistral (`model_length`), Anthropic (`end_turn`, `refusal`,
`pause_turn`, `model_context_window_exceeded`), Gemini's `FinishReason` (`SAFETY` … `SPII`), DeepSeek
(`insufficient_system_resource`), Zhipu (`sensitive`, `network_error`), Cohere (`COMPLETE`, `ERROR_TOXIC`,
`ERROR_LIMIT`), Bedrock (`guardrail_intervened`), vLLM (`abort`), TGI (`eos_token`), Together (`eos`), Ollama
(`load`, `unload`) and LM Studio (`eosFound` …).

A word of no table is taken for what it sounds like: code that was cut must never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from rlmwatch.models.base import FinishReason

_UNFINISHED = frozenset({"", "null", "none", "finish_reason_unspecified", "unspecified"})
"""No end at all, as some servers put it in every chunk."""

Meaning = FinishReason | Literal["failed"]
"""`failed`: the provider broke down in the middle, which is no answer and worth another try."""

_WORDS: dict[Meaning, str] = {
    "stop": """
        stop stopped stop_sequence stop_token end end_turn end_of_turn eos eos_token eosfound eos_found endoftext
        stopstringfound complete completed finish finished done success normal word
        tool_calls tool_call tool_use tool_code function_call toolcalls unexpected_tool_call malformed_function_call
    """,
    "length": """
        length max_length limit max_tokens max_token max_output max_output_tokens max_new_tokens max_completion_tokens
        token_limit maxpredictedtokensreached model_length context_length context_length_exceeded contextlengthreached
        model_context_window_exceeded context_window_exceeded error_limit incomplete truncated
    """,
    "filter": """
        content_filter content_filtered contentfilter filtered safety recitation blocklist blocked prohibited_content
        spii image_safety image_prohibited_content language refusal sensitive guardrail_intervened guardrail
        moderation content_policy content_policy_violation error_toxic flagged censored
    """,
    "interrupted": """
        insufficient_system_resource insufficient_resources resource_exhausted overloaded network_error timeout
        time_limit abort aborted cancelled canceled cancel interrupted userstopped user_stopped user_cancel
        modelunloaded load unload preempted pause_turn repetition other
    """,
    "failed": "error failed fail server_error internal_error",
}
_MEANING: dict[str, Meaning] = {word: reason for reason, words in _WORDS.items() for word in words.split()}
_GUESSES: tuple[tuple[Meaning, re.Pattern[str]], ...] = (
    ("filter", re.compile(r"filter|safe|moderat|policy|block|prohibit|refus|guard|toxic|flag|harm")),
    ("interrupted", re.compile(r"abort|cancel|time|resource|overload|interrupt|network|quota")),
    ("length", re.compile(r"max|length|limit|context|window|truncat|incomplete|budget")),
    ("failed", re.compile(r"error|fail")),
)


def normalised(word: object) -> str | None:
    """Return the provider's *word* as the tables hold it; None where it says that the answer has not ended."""
    plain = _plain(word) if isinstance(word, str) else ""
    return None if plain in _UNFINISHED else plain


def meaning(word: str) -> Meaning:
    """Return what the provider's *word* means; where we do not know it, what it sounds like, or `stop`."""
    plain = _plain(word)
    guessed: Iterator[Meaning] = (reason for reason, sound in _GUESSES if sound.search(plain))
    return _MEANING[plain] if plain in _MEANING else next(guessed, "stop")


def is_known(word: str) -> bool:
    """Return whether the tables hold the provider's *word*."""
    return _plain(word) in _MEANING


def _plain(word: str) -> str:
    return re.sub(r"[\s-]+", "_", word.strip().lower()).rpartition(".")[2]  # Python's `FinishReason.STOP`, too
