"""Where chat requests go, and what was probably meant."""

from __future__ import annotations

import pytest

from rlmwatch.models.openai.address import advice, chat_address, likely_base


@pytest.mark.parametrize(
    ("base", "chat"),
    [
        ("https://h.example/v1", "https://h.example/v1/chat/completions"),
        ("https://h.example/v1//", "https://h.example/v1/chat/completions"),
        ("https://h.example", "https://h.example/chat/completions"),
        ("https://h.example/v1/chat/completions", "https://h.example/v1/chat/completions"),
        ("https://h.example/d?api-version=1", "https://h.example/d/chat/completions?api-version=1"),
        ("https://h.example/v1#here", "https://h.example/v1/chat/completions"),
    ],
)
def test_an_address_is_whole_with_or_without_its_end(base, chat):
    """`/chat/completions` is added where it is not there; a query stays, a fragment goes."""
    assert chat_address(base) == chat


@pytest.mark.parametrize(
    ("base", "likely"),
    [
        ("https://h.example", "https://h.example/v1"),
        ("https://h.example/chat/completions", "https://h.example/v1"),
        ("https://h.example/v1/models", "https://h.example/v1"),
        ("https://h.example/v1/responses", "https://h.example/v1"),
        ("https://user:pw@h.example:8000/?key=1", "https://h.example:8000/v1"),
        ("https://openrouter.ai/v1", "https://openrouter.ai/api/v1"),
        ("https://openrouter.ai", "https://openrouter.ai/api/v1"),
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("https://h.example/v1", None),
        ("https://h.example/v1beta/openai", None),
        ("https://h.example/openai/deployments/d", None),
        ("https://openrouter.ai/api/v1/chat/completions", None),
    ],
)
def test_the_likely_address_is_the_one_of_the_known_or_ends_in_v1(base, likely):
    """What is known of a host comes first; else `/v1`, which most servers have; else there is nothing to propose."""
    assert likely_base(base) == likely


def test_the_advice_shows_no_secret():
    """What was asked is shown without login and query."""
    assert advice("https://u:pw@h.example?key=1") == (
        "asked https://h.example/chat/completions; is base_url https://h.example/v1?"
    )
