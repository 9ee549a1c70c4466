"""What holds for all tests."""

import os

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Machines are noisy: a slow example is no failure. The same examples each time, so that a change is judged by itself;
# `HYPOTHESIS_PROFILE=explore make test` looks for new ones.
settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("explore", settings.get_profile("same"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def no_real_keys(monkeypatch):
    """No test sees a key, an address or a setting of the person who runs it."""
    for name in [*os.environ]:
        if name.startswith(("RLMWATCH_", "OPENAI_", "OPENROUTER_", "EXA_")) and name != "RLMWATCH_TEST_CACHE":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def own_log():
    """A test that sets up the log does so for itself alone."""
    yield
    structlog.reset_defaults()
