"""
What a worker without the folder needs of it, packed by the daemon that has it.

A parcel is made once per run, when the run is handed out: all earlier runs of its
conversation are published by then, so its memory is whole; and each attempt works
on the same material. It holds

1. what the person set: front matter over the settings of the workspace and of the
   daemon's user, under that user's cap per run. Defaults are not in it, so that a
   cap that nobody set stays a default;
2. the conversation's memory, or the research session;
3. the material. Where that cannot be read, why: it is the run's worker that ends
   the run, with the same words as a daemon would.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from rlmwatch.contract.memory import ChatState
from rlmwatch.contract.session import SessionState
from rlmwatch.errors import InputError, RlmwatchError
from rlmwatch.workspace.context import Context
from rlmwatch.workspace.memory import Remembered

VERSION = 1


@dataclass(frozen=True, slots=True)
class RunPayload:
    """
    What the folder holds for one run.

    Attributes:
        options: What was set for it, as `RunOptions` in JSON values.
        problem: Why memory or material cannot be read; None where they can.
    """

    options: dict[str, Any] = field(default_factory=dict)
    memory: Remembered = field(default_factory=lambda: Remembered(ChatState()))
    session: SessionState | None = None
    context: Context = field(default_factory=Context)
    problem: str | None = None

    def checked(self) -> RunPayload:
        """
        Return it, where memory and material could be read.

        Raises:
            InputError: They could not, in the words of the machine that tried.
        """
        if self.problem is not None:
            raise InputError(self.problem)
        return self


def pack(parcel: RunPayload) -> bytes:
    """Return *parcel* as bytes; a text of the material shrinks to about a third."""
    values = {
        "version": VERSION,
        "options": parcel.options,
        "memory": parcel.memory.state.model_dump(mode="json"),
        "memory_warning": parcel.memory.warning,
        "session": None if parcel.session is None else parcel.session.model_dump(mode="json"),
        "context": parcel.context.value,
        "context_notes": parcel.context.notes,
        "problem": parcel.problem,
    }
    return zlib.compress(json.dumps(values, separators=(",", ":")).encode("ascii"), level=1)


def unpack(packed: bytes) -> RunPayload:
    """
    Return the parcel that was packed.

    Raises:
        RlmwatchError: Another version of rlmwatch packed it.
    """
    values = json.loads(zlib.decompress(packed))
    if values.get("version") != VERSION:
        raise RlmwatchError("this run was packed by another version of rlmwatch: upgrade the daemon and its workers")
    return RunPayload(
        options=values["options"],
        memory=Remembered(ChatState.model_validate(values["memory"]), values["memory_warning"]),
        session=None if values["session"] is None else SessionState.model_validate(values["session"]),
        context=Context(values["context"], tuple(values["context_notes"])),
        problem=values["problem"],
    )
