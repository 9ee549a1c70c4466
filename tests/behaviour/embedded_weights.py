"""The embedded model's weights for tests: downloaded once, kept in a cache between runs."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path

import pytest

from rlmwatch.errors import UserError
from rlmwatch.models import weights


def path_or_skip() -> Path:
    """Return the weights, or skip the test with the reason."""
    found = _fetched()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@functools.cache
def _fetched() -> Path | str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "the extra `local` is not installed"
    cache = os.environ.get("RLMWATCH_TEST_CACHE")
    try:
        return weights.fetch(Path(cache) if cache else None)
    except UserError as error:
        return f"the weights cannot be fetched here: {error}"
