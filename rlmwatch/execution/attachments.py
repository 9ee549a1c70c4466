"""
What goes along with a question: captured when it is saved, made ready when its run begins.

1. Captured are the bytes, in the private state folder, each content once, before the save is admitted: later changes of
   the files change nothing. The save encloses names and digests.
2. Made ready once per run, before anything is paid: documents become text, pages are fetched, images are scaled. The
   result is stored beside, and every later attempt works with that, whatever happened to the page meanwhile.
3. What is older than status files may be (`keep_jobs_days`) is removed with them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from rlmwatch.addresses import shown
from rlmwatch.contract.names import input_name
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.text import digest
from rlmwatch.documents.image_child import MAX_SIDE
from rlmwatch.documents.images import ImageReader
from rlmwatch.documents.reader import DocumentReader
from rlmwatch.errors import InputError, NoProvider, WorkspaceError
from rlmwatch.execution.page_text import document_text, page_text
from rlmwatch.runs.attached import CAPTURED, NOTHING_ATTACHED, Attached, Captured, Image, captured_in
from rlmwatch.runs.model import Run, Save
from rlmwatch.search.fetch import FetchedPage, fetch
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.mentioned import MAX_BYTES, Found, find, text_of

FOLDER = "attached"
"""In the private state folder of a workspace."""
NOT_READ_YET = "(read when it is asked)"
PAGES_ARE_OFF = (
    "{url} is not fetched: your own settings do not allow web pages. Write these two lines into your config.toml:\n"
    "    [web]\n"
    "    pages = true\n"
    "then: rlmwatch reload. Or take the @ before the address out."
)

log = structlog.get_logger()


@dataclass(slots=True)
class Attachments:
    """
    What goes along with the questions of one workspace.

    Attributes:
        folder: Where it is kept; private.
        documents: Turns documents into text.
        images: Scales images.
        pages_allowed: Whether the user's own settings allow web pages now.
        fetch: Fetches a page.
    """

    folder: Path
    documents: DocumentReader
    images: ImageReader
    pages_allowed: Callable[[], bool] = field(default=lambda: False)
    fetch: Callable[[str], Awaitable[FetchedPage]] = fetch

    def capture(self, root: Path, save: Save) -> Save:
        """
        Return *save* with what its question mentions, its bytes stored; or with the problem that there is. Blocks.

        Raises:
            WorkspaceError: It cannot be stored now; to be tried again.
        """
        if save.problem is not None:
            return save
        try:
            found = _found(root, save)
        except InputError as error:
            return replace(save, problem=str(error))
        for captured, raw in found.files:
            if raw is not None and captured.digest is not None:
                self._put(captured.digest, raw)
        return with_captured(save, [captured for captured, _ in found.files], found.notes)

    async def of(self, run: Run) -> Attached:
        """
        Return what goes along with *run*, the same at each attempt.

        Raises:
            InputError: Some of it cannot be used.
            NoProvider: It mentions a page, and the user's settings do not allow that.
            WorkspaceError: It cannot be stored.
        """
        captured = captured_in(run.enclosed)
        if not captured:
            return NOTHING_ATTACHED
        made = await asyncio.to_thread(self._made, run)
        if made is None:
            made = await self._make(captured)
            await asyncio.to_thread(self._store, run, made)
        return made

    def preview(self, root: Path, save: Save) -> tuple[tuple[Captured, ...], Attached]:
        """
        Return what *save* mentions, and what would go along; what only a run makes ready is told in words. Blocks.

        Raises:
            InputError: Some of it cannot be used.
            NoProvider: It mentions a page, and the user's settings do not allow that.
        """
        found = _found(root, save)
        texts: dict[str, str] = {}
        images: list[Image] = []
        for captured, raw in found.files:
            match captured.kind:
                case "text":
                    texts[captured.name] = text_of(raw or b"", captured.headings)
                case "image":  # as large as they are sent at most
                    images.append(Image(captured.name, captured.digest or "", "image/jpeg", MAX_SIDE, MAX_SIDE))
                case "page" if not self.pages_allowed():
                    raise NoProvider(PAGES_ARE_OFF.format(url=f"@{captured.name}"))
                case _:
                    texts[captured.name] = NOT_READ_YET
        return tuple(captured for captured, _ in found.files), Attached(texts, tuple(images))

    async def _make(self, captured: Sequence[Captured]) -> Attached:
        raw = {each.name: await asyncio.to_thread(self._get, each) for each in captured if each.digest is not None}
        texts: dict[str, str] = {}
        digests: dict[str, str] = {}
        images: list[Image] = []
        for each in captured:
            match each.kind:
                case "text":
                    texts[each.name] = text_of(raw[each.name], each.headings)
                case "document":
                    texts[each.name] = await document_text(self.documents, each.name, each.name, raw[each.name])
                case "page":
                    page = await self._page(each.name)
                    texts[each.name] = page
                case "image":
                    images.append(await self.images.scaled(each.name, raw[each.name]))
            digests[each.name] = each.digest or digest(texts[each.name].encode())
        return Attached(texts, tuple(images), digests)

    async def _page(self, url: str) -> str:
        if not self.pages_allowed():
            raise NoProvider(PAGES_ARE_OFF.format(url=f"@{url}"))
        page = await self.fetch(url)
        log.info("mention.fetched", url=shown(url), bytes=len(page.raw))
        return await page_text(url, page, self.documents)

    def _file(self, digest_: str) -> Path:
        return self.folder / digest_.removeprefix("sha256:")

    def _put(self, digest_: str, raw: bytes) -> None:
        """Store *raw* durably; what is there already is as good as new."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise WorkspaceError(f"{self.folder}: {error.strerror or error}") from error
        if not atomic.write(self._file(digest_), raw):
            self._file(digest_).touch()

    def _get(self, captured: Captured) -> bytes:
        raw = None
        with suppress(OSError):
            raw = safe_open.read(self._file(captured.digest or ""), within=self.folder, max_bytes=MAX_BYTES)
        if raw is None:
            raise InputError(
                f"{captured.name}, as it was when the question was saved, is gone; save the question again"
            )
        return raw

    def _made(self, run: Run) -> Attached | None:
        """Return what an earlier attempt made ready; None where none did."""
        try:
            stored = safe_open.read(self.folder / f"{run.run_id}.json", within=self.folder, max_bytes=4 * MAX_BYTES)
        except OSError:
            return None
        if stored is None:
            return None
        values = json.loads(stored)
        images = [Image(**image) for image in values["images"]]
        data = [self._get(Captured(image.name, "image", image.digest)) for image in images]
        whole = tuple(replace(image, data=raw) for image, raw in zip(images, data, strict=True))
        return Attached(values["texts"], whole, values["digests"])

    def _store(self, run: Run, made: Attached) -> None:
        for image in made.images:
            self._put(image.digest, image.data)
        self._put(f"{run.run_id}.json", json.dumps(_values(made)).encode())

    def prune(self, *, now: str, keep_days: int) -> None:
        """Remove what was last stored more than *keep_days* before *now*. Blocks; what cannot be removed stays."""
        limit = (datetime.fromisoformat(now) - timedelta(days=keep_days)).timestamp()
        with suppress(OSError):
            for file in self.folder.iterdir():
                if file.stat().st_mtime < limit:
                    file.unlink()


def _values(made: Attached) -> dict[str, Any]:
    return {
        "texts": dict(made.texts),
        "images": [image.values() for image in made.images],
        "digests": dict(made.digests),
    }


def _found(root: Path, asked: Save | Run) -> Found:
    options = RunOptions.model_validate(dict(asked.options))
    question = asked.path if input_name(asked.path) is not None else None
    return find(root, question, asked.prompt, options.photos or ())


def with_captured(save: Save, captured: Sequence[Captured], notes: Sequence[str]) -> Save:
    """Return *save* with what was *captured*, and *notes* for the person."""
    enclosed: dict[str, Any] = dict(save.enclosed)
    if captured:
        enclosed[CAPTURED] = [each.values() for each in captured]
    if notes:
        enclosed["notes"] = [*enclosed.get("notes", ()), *notes]
    return replace(save, enclosed=enclosed) if enclosed != save.enclosed else save


def changed(root: Path, run: Run) -> bool:
    """Return whether what the question of *run* mentions is another now, or could not be used and can be. Blocks."""
    if "@" not in run.prompt and "[[" not in run.prompt and not run.options.get("photos"):
        return False
    try:
        now = [each for each, _ in _found(root, run).files]
    except InputError:
        return False
    return now != list(captured_in(run.enclosed))
