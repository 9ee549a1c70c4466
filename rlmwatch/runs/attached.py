"""What goes along with a question: the files, notes, pages and images that it mentions, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CAPTURED = "attached"
"""Under which key `Save.enclosed` has what was captured: a list of `Captured` as JSON values."""

CapturedKind = Literal["text", "document", "image", "page"]


@dataclass(frozen=True, slots=True)
class Captured:
    """
    One thing that a question mentions, as it was when the question was saved; its bytes lie in the private state.

    Attributes:
        name: Path in the workspace, with `#heading` where a part of it is meant; of a page its address.
        kind: `page` is fetched when the run begins; then it has neither digest nor size.
        digest: `sha256:<hex>` of the bytes.
        size: In bytes.
        headings: Where in a text (see `contract/mentions.py`).
    """

    name: str
    kind: CapturedKind
    digest: str | None = None
    size: int | None = None
    headings: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """Return it as JSON values."""
        said = {"name": self.name, "kind": self.kind, "digest": self.digest, "size": self.size}
        return {**said, **({"headings": list(self.headings)} if self.headings else {})}


def captured_in(enclosed: Mapping[str, Any]) -> tuple[Captured, ...]:
    """Return what was captured with a save, in the order in which its question mentions it."""
    return tuple(
        Captured(each["name"], each["kind"], each.get("digest"), each.get("size"), tuple(each.get("headings", ())))
        for each in enclosed.get(CAPTURED, ())
    )


def shown(captured: Captured) -> str:
    """Return, in one line for a person, what *captured* is."""
    if captured.digest is None:
        return f"{captured.name} (a web page)"
    return f"{captured.name} ({captured.kind}, {captured.size:,} bytes, {captured.digest[:19]})"


@dataclass(frozen=True, slots=True)
class Image:
    """
    An image as a model is sent it.

    Attributes:
        name: Path in the workspace.
        digest: `sha256:<hex>` of `data`.
        media_type: `image/jpeg` or `image/png`.
        width, height: In pixels.
        data: The bytes; empty in what is only kept as a record.
    """

    name: str
    digest: str
    media_type: str
    width: int
    height: int
    data: bytes = field(default=b"", repr=False, compare=False)

    def values(self) -> dict[str, Any]:
        """Return it as JSON values, without the bytes: the journal names them by their digest."""
        return {
            "name": self.name,
            "digest": self.digest,
            "media_type": self.media_type,
            "width": self.width,
            "height": self.height,
        }


@dataclass(frozen=True, slots=True)
class Attached:
    """
    What goes along with a question, ready to be sent.

    Attributes:
        texts: Name → text, in the order in which the question mentions them.
        images: Likewise.
        digests: Name → digest of what was captured or fetched.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    images: tuple[Image, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


NOTHING_ATTACHED = Attached()
