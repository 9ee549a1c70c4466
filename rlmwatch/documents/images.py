"""
The host's side of images: each is decoded and scaled down by a confined process of its own, which ends with it.

1. No thread of the daemon decodes: a fault in a library, or an image made to take all memory, costs that image alone.
2. What is sent holds pixels and nothing else: no place, no time, no camera, no preview.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any

from rlmwatch.contract.text import digest
from rlmwatch.documents.reader import AT_ONCE
from rlmwatch.errors import InputError
from rlmwatch.runs.attached import Image
from rlmwatch.sandbox.guest.lockdown import Policy
from rlmwatch.sandbox.host import child

MAX_SECONDS = 30.0
"""For one image, the process's start included; a photo of 50 megapixels takes 2 s."""
HEIC = frozenset({".heic", ".heif"})

_PROGRAM = child.program_of("rlmwatch.documents.image_child")


@dataclass(frozen=True, slots=True)
class ImageReader:
    """
    Scales images down.

    Attributes:
        policy: How the process locks itself down.
        max_seconds: For one image.
        slots: Of processes at once: those of the reader of documents, where there is one.
    """

    policy: Policy
    max_seconds: float = MAX_SECONDS
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def scaled(self, name: str, raw: bytes) -> Image:
        """
        Return the image *raw*, called *name*, as models are sent it.

        Raises:
            InputError: It cannot be read, or what reads it is not installed.
        """
        self._installed(name)
        policy = json.dumps(asdict(self.policy))
        try:
            async with self.slots:
                reply = await child.ask(_PROGRAM, policy, str(os.getpid()), question=raw, max_seconds=self.max_seconds)
        except TimeoutError:
            raise InputError(f"{name} cannot be read: it takes longer than {self.max_seconds:g} s") from None
        return _image(name, reply)

    def _installed(self, name: str) -> None:
        if find_spec("PIL") is None:
            raise InputError(f"{name}: to send images, install rlmwatch[images] (pillow)")
        if PurePosixPath(name).suffix.lower() in HEIC and find_spec("pillow_heif") is None:
            raise InputError(f"{name}: to read this format, install pillow-heif; or save the photo as JPEG")


def _image(name: str, reply: bytes) -> Image:
    """
    Return the image in the process's *reply*: a line of JSON, then the bytes.

    Raises:
        InputError: It says that there is none, or nothing.
    """
    head, newline, data = reply.partition(b"\n")
    said: dict[str, Any] = (
        json.loads(head) if newline else {"problem": "it ended the process that reads images (too much memory)"}
    )
    if "problem" in said:
        raise InputError(f"{name} cannot be read: {said['problem']}")
    return Image(name, digest(data), said["media_type"], said["width"], said["height"], data)
