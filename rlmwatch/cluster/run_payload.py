"""
What travels between a daemon and a worker: the run payload there, how far the run is back.

Both carry a version. What another version wrote is refused, or not shown: nothing is guessed.

A payload is made once per run, when the run is dispatched: all earlier runs of its
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
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rlmwatch.contract.documents import Progress, StatusCaps, UsageSoFar
from rlmwatch.contract.memory import ChatState
from rlmwatch.contract.session import SessionState
from rlmwatch.errors import InputError, RlmwatchError
from rlmwatch.runs.attached import NOTHING_ATTACHED, Attached, Image
from rlmwatch.workspace.context import Context, MaterialFile
from rlmwatch.workspace.memory import Remembered
from rlmwatch.workspace.status import Live

VERSION = 2
"""Of the payload."""
LIVE_VERSION = 1
"""Of what a worker reports."""


@dataclass(frozen=True, slots=True)
class RunPayload:
    """
    What the folder holds for one run.

    Attributes:
        options: What was set for it, as `RunOptions` in JSON values.
        problem: Why memory or material cannot be read; None where they can.
        attached: What its question mentions.
    """

    options: dict[str, Any] = field(default_factory=dict)
    memory: Remembered = field(default_factory=lambda: Remembered(ChatState()))
    session: SessionState | None = None
    context: Context = field(default_factory=Context)
    problem: str | None = None
    attached: Attached = NOTHING_ATTACHED

    def checked(self) -> RunPayload:
        """
        Return it, where memory and material could be read.

        Raises:
            InputError: They could not, in the words of the machine that tried.
        """
        if self.problem is not None:
            raise InputError(self.problem)
        return self


def pack(payload: RunPayload) -> bytes:
    """Return *payload* as bytes; a text of the material shrinks to about a third."""
    values = {
        "version": VERSION,
        "options": payload.options,
        "memory": payload.memory.state.model_dump(mode="json"),
        "memory_warning": payload.memory.warning,
        "session": None if payload.session is None else payload.session.model_dump(mode="json"),
        "context": payload.context.value,
        "context_notes": payload.context.notes,
        "context_digest": payload.context.digest,
        "context_files": [asdict(file) for file in payload.context.files],
        "problem": payload.problem,
        "texts": dict(payload.attached.texts),
        "images": [{**image.values(), "data": b64encode(image.data).decode()} for image in payload.attached.images],
        "digests": dict(payload.attached.digests),
    }
    return zlib.compress(json.dumps(values, separators=(",", ":")).encode("ascii"), level=1)


def unpack(packed: bytes) -> RunPayload:
    """
    Return the payload that was packed.

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
        context=Context(
            values["context"],
            tuple(values["context_notes"]),
            values["context_digest"],
            tuple(MaterialFile(**file) for file in values["context_files"]),
        ),
        problem=values["problem"],
        attached=Attached(
            values["texts"],
            tuple(Image(**{**image, "data": b64decode(image["data"])}) for image in values["images"]),
            values["digests"],
        ),
    )


def live_to_json(live: Live) -> str:
    """Return how far a run is as JSON, as the ledger stores it."""
    return json.dumps(
        {
            "version": LIVE_VERSION,
            "progress": None if live.progress is None else live.progress.model_dump(mode="json"),
            "usage": live.usage.model_dump(mode="json"),
            "budget": live.budget.model_dump(mode="json"),
            "model": live.model,
            "waits_for": live.waits_for,
        }
    )


def live_from_json(stored: Mapping[str, Any]) -> Live | None:
    """Return how far a run is; None where another version of rlmwatch wrote that."""
    if stored.get("version") != LIVE_VERSION:
        return None
    return Live(
        None if stored["progress"] is None else Progress.model_validate(stored["progress"]),
        UsageSoFar.model_validate(stored["usage"]),
        StatusCaps.model_validate(stored["budget"]),
        stored["model"],
        stored.get("waits_for"),
    )
