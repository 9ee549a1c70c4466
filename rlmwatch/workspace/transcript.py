"""The transcripts in the person's folder: entries are added at the end, each once, and nothing else is changed."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from rlmwatch.contract.documents import well_formed
from rlmwatch.contract.names import InputName
from rlmwatch.contract.transcript import Entry, Page, with_entry
from rlmwatch.errors import WorkspaceError
from rlmwatch.workspace import atomic, safe_open
from rlmwatch.workspace.health import Root
from rlmwatch.workspace.os_errors import cannot


def add(root: Root, name: InputName, entry: Entry) -> bool:
    """
    Add *entry* to the transcript of the conversation of *name*; False where it is in it. Idempotent.

    The whole file is written anew beside the old one and takes its place, so a reader, and a crash, sees either. What a
    person changed in it stays.

    Raises:
        WorkspaceError: It cannot be read or stored.
    """
    path = root.path / name.transcript
    try:
        raw = safe_open.read(path, within=root.path, max_bytes=safe_open.MAX_STATE_BYTES)
        text = "" if raw is None else raw.decode()
    except UnicodeDecodeError:
        raise WorkspaceError(f"{path} is not UTF-8: move it away, and a new one is begun") from None
    except OSError as error:
        raise cannot("add to", path, error) from error
    title = PurePosixPath(name.conversation).name
    grown = with_entry(text, entry, title=title)
    if grown is None:
        return False
    return atomic.write(path, well_formed(grown).encode(), within=root.path, question=root.path / name.path)


def exists(root: Root, name: InputName) -> bool:
    """Whether the conversation of *name* has a transcript."""
    return (root.path / name.transcript).is_file()


def pages_of(sources: str | None) -> list[Page]:
    """Return the pages that the content of a `…_sources.json` lists."""
    pages = [] if sources is None else json.loads(sources).get("pages", [])
    return [Page(str(page.get("title") or page.get("url")), str(page.get("url"))) for page in pages]
