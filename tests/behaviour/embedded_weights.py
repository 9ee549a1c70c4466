"""
The embedded model for tests: its weights are downloaded once, and kept in a cache between runs.

llama.cpp takes a thread for each core, and they spin while they wait for each other: beside other tests that makes
seconds of work a minute. What is started within `on_one_core` has one thread.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlmwatch.errors import UserError
from rlmwatch.models.llamacpp import weights


def path_or_skip() -> Path:
    """Return the weights, or skip the test with the reason."""
    found = _fetched()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this thread, and what it starts, to one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


@functools.cache
def _fetched() -> Path | str:
    if importlib.util.find_spec("xllamacpp") is None:
        return "the extra `local` is not installed"
    try:
        return weights.fetch()
    except UserError as error:
        return f"the weights cannot be fetched here: {error}"
