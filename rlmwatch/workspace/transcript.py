"""The transcripts in the person's folder: entries are added at the end, each once, and nothing else is changed."""

from __future__ import annotations

import errno
import json
from pathlib import Path, PurePosixPath

import structlog

from rlmwatch.contract.documents import well_formed
from rlmwatch.contract.names import InputName
from rlmwatch.contract.transcript import CitedPage, Entry, with_entry
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.memory import move_aside
from rlmwatch.workspace.os_errors import cannot

log = structlog.get_logger()


def add(root: Root, name: InputName, entry: Entry, *, now: str) -> tuple[bool, str | None]:
    """
    Add *entry* to the transcript of the conversation of *name*.

    Returns whether it was not in it, and what the person is to know.

    The whole file is written anew beside the old one and takes its place, so a reader, and a crash, sees either. What a
    person changed in it stays. One that cannot be added to (no text, larger than 32 MB) is moved aside.

    Raises:
        WorkspaceError: It cannot be read or stored.
    """
    path = root.path / name.transcript
    text, wrong = _read(path, root.path)
    warning = None
    if wrong is not None:
        aside = move_aside(path, root.path, now=now)
        log.warning("transcript.moved_aside", path=name.transcript, to=aside, why=wrong)
        warning = f"{name.transcript} could not be added to ({wrong}) and is now {aside}: a new one was begun"
    grown = with_entry(text, entry, title=PurePosixPath(name.conversation).name)
    if grown is None:
        return False, warning
    return atomic.write(path, well_formed(grown).encode(), within=root.path, question=root.path / name.path), warning


def _read(path: Path, root: Path) -> tuple[str, str | None]:
    """Return the text of a transcript, and what is wrong with the file, if anything."""
    try:
        raw = safe_open.read(path, within=root, max_bytes=safe_open.MAX_STATE_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            return "", f"it is larger than {safe_open.MAX_STATE_BYTES // 1_000_000} MB"
        if error.errno in (errno.ELOOP, errno.EINVAL):
            return "", "it is not a plain file"
        raise cannot("add to", path, error) from error
    try:
        return ("" if raw is None else raw.decode()), None
    except UnicodeDecodeError:
        return "", "it is not UTF-8"


def exists(root: Root, name: InputName) -> bool:
    """Whether the conversation of *name* has a transcript."""
    return (root.path / name.transcript).is_file()


def pages_of(sources: str | None) -> list[CitedPage]:
    """Return the pages that the content of a `…_sources.json` lists."""
    pages = [] if sources is None else json.loads(sources).get("pages", [])
    return [CitedPage(str(page.get("title") or page.get("url")), str(page.get("url"))) for page in pages]
