"""How many files, connections and sandbox sessions this process may have open."""

from __future__ import annotations

import resource
from contextlib import suppress

ENOUGH = 65_536
"""Bounded: some programs that are started from here close every number up to the limit."""


def raise_soft_limit() -> int:
    """Raise the soft limit of descriptors to the hard one, `ENOUGH` at most; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a container may forbid it: then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
