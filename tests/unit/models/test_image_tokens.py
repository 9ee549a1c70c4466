"""models/image_tokens.py: what an image counts at most, by what providers publish."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.engine.call_codec import price_of
from rlmwatch.models.base import Message, Request
from rlmwatch.models.image_tokens import most_tokens
from rlmwatch.runs.attached import Image

SIDES = st.integers(1, 1568)


def test_the_published_examples_are_within_it():
    """OpenAI's own examples: 1024 x 1024 is 765 tokens by tiles and 1,024 patches; 4o-mini counts 2,833 + 4 x 5,667."""
    assert most_tokens("gpt-4o", 1024, 1024) >= 765
    assert most_tokens("gpt-4.1-nano", 1024, 1024) >= 1024 * 2.46
    assert most_tokens("gpt-4o-mini", 1024, 1024) == 2833 + 4 * 5667
    assert most_tokens("claude-sonnet-4", 1092, 1092) >= 1092 * 1092 / 750


@given(SIDES, SIDES)
def test_no_image_counts_less_than_by_any_of_the_formulas(width, height):
    """It is an upper bound for a model that nobody knows, and never nothing."""
    assert most_tokens("any", width, height) >= max(1, width * height / 750)


@given(SIDES, SIDES)
def test_an_image_is_reserved_beside_the_text(width, height):
    """The price of a request is that of its text and of each image, the bytes of which do not count."""
    image = Image("a.png", "sha256:1", "image/png", width, height, b"x" * 1_000)
    plain, shown = (price_of((1.0, 1.0), Request("m", (Message("user", "hi", i),), 1)) for i in ((), (image, image)))
    assert plain is not None
    assert shown is not None
    assert shown.input_usd - plain.input_usd == 2 * most_tokens("m", width, height)
