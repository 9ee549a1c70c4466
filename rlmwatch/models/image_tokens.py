"""
How many tokens an image counts at most, by what providers publish. Pure.

1. OpenAI, by patches of 32 pixels a side, at most 1,536 of them, times a factor: 1.62 for mini, 2.46 for nano models
   (platform.openai.com/docs/guides/images-vision, "Calculating costs", as of 2026-11).
2. OpenAI, by tiles of 512 pixels once the shorter side is scaled to 768: 85 and 170 a tile; gpt-4o-mini counts 2,833
   and 5,667 a tile, so that an image costs as much as with gpt-4o (the same page).
3. Anthropic: width times height / 750 (docs.anthropic.com, "Vision"). Google: 258 a tile of 768 pixels
   (ai.google.dev, "Understand and count tokens"). Both are below the first.

Nobody knows which of them an unknown model follows, so the most of them is reserved. What is reported is booked.
"""

from __future__ import annotations

from math import ceil

from rlmwatch.models.base import Message

_PATCH = 32
_MOST_PATCHES = 1_536
_NANO_FACTOR = 2.46
_TILE = 512
_SHORT_SIDE = 768
_BASE, _PER_TILE = 85, 170
_MINI_BASE, _MINI_PER_TILE = 2_833, 5_667
_PIXELS_PER_TOKEN = 750


def most_tokens(model: str, width: int, height: int) -> int:
    """Return how many input tokens an image of *width* times *height* pixels counts at most for *model*."""
    tiles = _tiles(width, height)
    if "gpt-4o-mini" in model:
        return _MINI_BASE + _MINI_PER_TILE * tiles
    patches = min(_MOST_PATCHES, ceil(width / _PATCH) * ceil(height / _PATCH))
    return max(ceil(patches * _NANO_FACTOR), _BASE + _PER_TILE * tiles, ceil(width * height / _PIXELS_PER_TOKEN))


def _tiles(width: int, height: int) -> int:
    scale = min(1.0, _SHORT_SIDE / min(width, height))
    return ceil(width * scale / _TILE) * ceil(height * scale / _TILE)


def tokens_of_images(model: str, message: Message) -> int:
    """Return how many input tokens the images of *message* count at most for *model*."""
    return sum(most_tokens(model, image.width, image.height) for image in message.images)
