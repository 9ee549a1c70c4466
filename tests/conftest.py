"""What holds for all tests."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from rlmwatch.settings.providers import MODEL_KEYS

# Machines are noisy: a slow example is no failure. The same examples each time, so that a change is judged by itself;
# `HYPOTHESIS_PROFILE=explore make test` looks for new ones.
settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("explore", settings.get_profile("same"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

LONGEST_FIRST = (
    "sandbox/test_escapes",
    "system/test_cluster",
    "system",
    "sandbox",
    "machines",
    "docs",
    "behaviour",
    "",
)
"""In this order the workers take the files, so that none is left with a long one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; those of one folder stay in their order."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(here).as_posix()
        return next(n for n, begins in enumerate(LONGEST_FIRST) if path.startswith(begins))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Keep thousands of collected tests out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_real_keys(monkeypatch):
    """No test sees a key, an address or a setting of the person who runs it."""
    for name in [*os.environ]:
        if name.startswith(("RLMWATCH_", "OPENAI_", "OPENROUTER_", "EXA_", "AZURE_OPENAI_")) or name in MODEL_KEYS:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def own_log():
    """A test that sets up the log does so for itself alone."""
    yield
    structlog.reset_defaults()
