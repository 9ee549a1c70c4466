"""The names that a run goes by, and its status as pollers see it."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from rlmwatch.contract.kinds import Kind
from rlmwatch.runs.model import Run, RunStatus

_HEX_DIGITS: Final = 6
"""16 million names for each kind and second; the ledger salts the rare second one."""

_RFC_3339_UTC: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z")


def identity(path: str, digest: str, predecessor: str | None) -> str:
    """
    Return what makes a run one and the same, however often its save is seen, as 64 hex digits.

    Args:
        path: The input.
        digest: Its content.
        predecessor: The run before it on that path, None (or `""`) for the first: the same content may come again.
    """
    return _hex(path, digest, predecessor or "")


def run_id(created_at: str, kind: Kind, identity: str, *, salt: int = 0) -> str:
    """
    Return the name of a run, such as `20261123T091502Z-chat-7f3a9c`; names of one kind sort by time.

    Args:
        created_at: When it was admitted, RFC 3339 in UTC.
        kind: What answers it.
        identity: Text that no other run has, such as `identity` returns.
        salt: Another number, another name: for two runs of one second whose names are the same.

    Raises:
        ValueError: *created_at* is not a UTC time.
    """
    time = _RFC_3339_UTC.fullmatch(created_at)
    if time is None:
        raise ValueError(f"{created_at!r} is not an RFC 3339 time in UTC")
    year, month, day, hour, minute, second = time.groups()
    mark = _hex(identity, str(salt))[:_HEX_DIGITS]
    return f"{year}{month}{day}T{hour}{minute}{second}Z-{kind}-{mark}"


def shown(run: Run) -> str:
    """
    Return the status of *run* as pollers see it (file contract, section 5): it moves only forward.

    A run that was started stays `running` while it waits to be claimed again.
    """
    if run.status.ended or run.status is RunStatus.HELD:
        return run.status.value
    return RunStatus.RUNNING.value if run.started_at is not None else RunStatus.PENDING.value


def _hex(*parts: str) -> str:
    """Return a digest over *parts*, none of which can pass for the end of another."""
    sized = "".join(f"{len(part)}:{part}" for part in parts)
    return sha256(sized.encode("utf-8", "surrogatepass")).hexdigest()
