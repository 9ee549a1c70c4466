"""The only place that asks the time. Everything else is handed `now`."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc() -> str:
    """Return the wall clock as RFC 3339 in UTC with milliseconds, as files and the ledger keep it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def monotonic() -> float:
    """Return seconds that never jump, for intervals and deadlines within one process."""
    return time.monotonic()


def since_boot() -> float:
    """Return seconds since the machine was started, sleep included: by what the kernel dates its processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
