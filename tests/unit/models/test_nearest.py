"""Which listed model stands in for one that is not listed."""

from __future__ import annotations

import pytest

from rlmwatch.models.nearest import chatting, nearest


@pytest.mark.parametrize(
    ("wanted", "models", "taken"),
    [
        ("a-1", ["b", "a-1"], "a-1"),
        ("gemini-2.5-flash", ["models/gemini-2.5-pro", "models/gemini-2.5-flash"], "models/gemini-2.5-flash"),
        ("openai/gpt-4.1-mini", ["gpt-4.1", "gpt-4.1-mini"], "gpt-4.1-mini"),
        ("claude-haiku-4-5", ["claude-haiku-4-5-20250101", "claude-haiku-4-5-20251001"], "claude-haiku-4-5-20251001"),
        ("gpt-4.1-mini", ["o3", "gpt-4o-mini"], "gpt-4o-mini"),
        ("gpt-4.1-mini", ["alpha", "beta"], None),
        ("gpt-4.1-mini", ["text-embedding-3", "alpha"], "alpha"),
        ("gpt-4.1-mini", ["gpt-4.1-mini-tts", "alpha", "beta"], None),
        (None, ["alpha"], "alpha"),
        (None, ["alpha", "beta"], None),
        ("a", [], None),
    ],
)
def test_the_nearest_is_taken(wanted: str | None, models: list[str], taken: str | None):
    """Itself, the same name behind another path, a dated one, a close one, the only one that can chat; else none."""
    assert nearest(wanted, models) == taken


def test_what_answers_no_chat_is_left_out():
    """Models for embeddings, speech and pictures are passed over, unless there is nothing else."""
    assert chatting(["text-embedding-3", "whisper-1", "alpha"]) == ["alpha"]
    assert chatting(["nomic-embed"]) == ["nomic-embed"]
