"""The four kinds of run (file contract, section 1)."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a saved file starts."""

    CHAT = "chat"
    RESEARCH = "research"
    JOB = "job"
    EXA = "exa"
