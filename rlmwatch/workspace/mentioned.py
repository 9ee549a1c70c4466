"""
Find in the workspace what a question mentions, and read it as it is now.

1. A path is looked for from the question's own folder and then from the folders above it, a note also by its name in
   the whole workspace (`contract/mentions.py`).
2. Links are resolved first; what they lead to must lie in the workspace, and is read without following any.
3. Never taken are what `ignored` names (hidden files, backups, conflict copies), what looks like a secret, by name or
   by content, and what rlmwatch keeps for itself (states, sessions, status files). Answers may be mentioned.
4. Of a plain `@path` that breaks 2 or 3, or is a folder, nothing is read: it stays prose, and a note says why. An
   explicit one is an error, as is any file that counts and cannot be used.
5. All of it together has at most `MAX_BYTES`, in `MAX_FILES` files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rlmwatch.contract.formats import DOCUMENTS
from rlmwatch.contract.ignored import ignored, ignored_folder
from rlmwatch.contract.mentions import (
    Ambiguous,
    Mention,
    by_keys,
    candidates,
    headings_of,
    mentions,
    nearest,
    resolve,
    section,
)
from rlmwatch.contract.names import JOBS, Ours, classify
from rlmwatch.contract.secrets import secret_name
from rlmwatch.contract.text import decode, digest, is_blank
from rlmwatch.errors import InputError
from rlmwatch.runs.attached import Captured, CapturedKind
from rlmwatch.workspace import usable
from rlmwatch.workspace.snapshot import Absent, Changed, Content, snapshot

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".heic", ".heif"})
"""Endings of images; which of them can be read depends on the libraries that are there."""
MAX_BYTES = 50_000_000
"""Of all that one question mentions: ten photos of a phone, or fifty novels."""
MAX_FILES = 100
"""More belong into a folder of material."""
MAX_LOOKED_UP = 500
"""Plain paths that are looked for: 20 ms. A pasted text may hold any number of words that begin with @: prose."""
MAX_GUESSED = 10
"""Plain paths that name nothing for which a file of a like name is looked for; each costs 65 µs a name beside it."""
MAX_NAMES = 200_000
"""Files of a workspace among which a note is looked for by its name; a second of a local disk."""
LOOKS = 10
LOOK_AGAIN_S = 0.05
"""A file that is being written is read again; half a second is more than editors take."""
_ANSWERS = ("_output.txt", "_output.md")


@dataclass(frozen=True, slots=True)
class Found:
    """
    What a question mentions.

    Attributes:
        files: What was captured, and the bytes of each; None for a page, which is not fetched here.
        notes: What a person should know: which mentions stayed prose, and why.
    """

    files: tuple[tuple[Captured, bytes | None], ...] = ()
    notes: tuple[str, ...] = ()


def find(root: Path, question: str | None, prompt: str, photos: Sequence[str] = ()) -> Found:
    """
    Return what *prompt* mentions, and the images *photos* that its front matter names. Blocks.

    Args:
        root: The workspace.
        question: Path of the question in it; None where paths are looked for from the root, as those of a job file.
        prompt: The text.
        photos: Paths of images.

    Raises:
        InputError: An explicit mention names nothing, or several files; or what counts cannot be used.
    """
    mentioned = mentions(prompt) if "@" in prompt or "[[" in prompt else []
    if not mentioned and not photos:
        return Found()
    finder = _Finder(root.resolve(), str(PurePosixPath(question).parent) if question else ".")
    for photo in photos:
        finder.add(Mention("path", f"photos: {photo}", (photo,)), image=True)
    looked_up = 0
    for mention in mentioned:
        looked_up += not mention.explicit
        if mention.explicit or looked_up <= MAX_LOOKED_UP:
            finder.add(mention)
    return Found(tuple(finder.files), tuple(finder.notes))


@dataclass(slots=True)
class _Finder:
    """Finds one mention after the other, and counts what they come to."""

    root: Path
    folder: str
    files: list[tuple[Captured, bytes | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _left: int = MAX_BYTES
    _names: list[str] | None = None
    _by_key: dict[str, list[str]] | None = None
    _beside: list[str] | None = None
    _guessed: int = 0

    def add(self, mention: Mention, *, image: bool = False) -> None:
        """Read what *mention* names; with *image* it must be one."""
        if mention.kind == "page":
            self._append(Captured(mention.readings[0], "page"), None)
            return
        found = self._note(mention) if mention.kind == "note" else self._path(mention)
        if found is None:
            return
        path, shown = found
        kind = _kind(path)
        if image and kind != "image":
            raise InputError(f"{mention.written}: it is no image; its name must end in {', '.join(sorted(IMAGES))}")
        name = "#".join((shown, *mention.headings))
        if any(name == had.name for had, _ in self.files):
            return
        raw = self._read(path, mention)
        if kind == "text":
            _refuse_text(raw, mention, shown)
        elif mention.headings:
            raise InputError(f"{mention.written}: {shown} has no headings: only of a text a part can be mentioned")
        self._append(Captured(name, kind, digest(raw), len(raw), mention.headings), raw)

    def _append(self, captured: Captured, raw: bytes | None) -> None:
        if all(captured.name != had.name for had, _ in self.files):
            self.files.append((captured, raw))
        if len(self.files) > MAX_FILES:
            raise InputError(f"the question mentions more than {MAX_FILES} files; make it a job with a folder of them")

    def _path(self, mention: Mention) -> tuple[str, str] | None:
        """Return the file (as it is, and as it is shown) that *mention* names; None where it stays prose."""
        refused: str | None = None
        for reading in mention.readings:
            for near in candidates(reading.rstrip("/"), self.folder):
                path, why = self._judged(near)
                if path is not None:
                    return path, near
                refused = refused or (why and f"{near} {why}")
        if mention.explicit:
            raise InputError(f"{mention.written}: {refused or self._nothing(mention.readings[0])}")
        if refused is not None:
            self.notes.append(f"{mention.written} did not go along: {refused}")
        elif meant := self._misspelled(mention.readings[-1]):
            self.notes.append(f"{mention.written} names no file, and was left as it is; did you mean @{meant}?")
        return None

    def _note(self, mention: Mention) -> tuple[str, str] | None:
        target = mention.readings[0]
        for wanted in (target, f"{target}.md"):
            for near in candidates(wanted, self.folder):
                path, _ = self._judged(near)
                if path is not None:
                    return path, near
        if self._by_key is None:
            self._by_key = by_keys(self.names())
        found = resolve(target, self.folder, self._by_key)
        if not mention.explicit and not isinstance(found, str):
            return None
        match found:
            case Ambiguous(paths):
                raise InputError(
                    f"{mention.written} may be {' or '.join(paths[:5])}: write more of the path, such as "
                    f"[[{paths[0].removesuffix('.md')}]]"
                )
            case None:
                refused = next(
                    (why for near in candidates(target, self.folder) if (why := self._judged(near)[1])), None
                )
                raise InputError(f"{mention.written}: {f'{target} {refused}' if refused else self._nothing(target)}")
            case near:
                path, why = self._judged(near)
                if path is None:
                    raise InputError(f"{mention.written}: {near} {why or 'is gone'}")
                return path, near

    def names(self) -> list[str]:
        """Return the files of the workspace that may be mentioned, listed once."""
        if self._names is None:
            self._names = _names(self.root)
        return self._names

    def _nothing(self, target: str) -> str:
        near = nearest(target, self.names())
        return "no such file in the workspace" + (f"; did you mean {' or '.join(near)}?" if near else "")

    def _misspelled(self, target: str) -> str | None:
        """Return a file beside the question that a person may have meant by *target*, which has an ending like one."""
        ending = PurePosixPath(target).suffix.lower()
        if not ending[1:].isalnum() or self._guessed >= MAX_GUESSED:
            return None
        if self._beside is None:
            self._beside = _listed_in(self.root / self.folder)
        alike = [name for name in self._beside if name.lower().endswith(ending)]
        self._guessed += bool(alike)
        return next(iter(nearest(target, alike)), None)

    def _judged(self, near: str) -> tuple[str | None, str | None]:
        """Return the file *near*, links resolved; or None and why it may not be taken, where there is one."""
        try:
            resolved = (self.root / near).resolve(strict=True)
            is_folder = resolved.is_dir()
        except (OSError, RuntimeError, ValueError):  # nothing there, a loop of links
            return None, None
        if not resolved.is_relative_to(self.root):
            return None, "leads out of the workspace; copy it in"
        path = resolved.relative_to(self.root).as_posix()
        if why := _refused(near) or _refused(path):
            return None, why
        if is_folder:
            return None, f"is a folder: mention its files, or name it in a job, as `context: {near}`"
        return path, None

    def _read(self, path: str, mention: Mention) -> bytes:
        for _ in range(LOOKS):
            match snapshot(self.root, path, max_bytes=self._left):
                case Content(oversize=True):
                    raise InputError(
                        f"{mention.written}: with {path}, all that the question mentions is larger than "
                        f"{MAX_BYTES // 1_000_000} MB; make it a job with the material beside it (…_job_data)"
                    )
                case Content(raw):
                    self._left -= len(raw)
                    return raw
                case Changed():
                    time.sleep(LOOK_AGAIN_S)
                case Absent():
                    raise InputError(f"{mention.written}: {path} is gone")
                case other:
                    raise InputError(f"{mention.written}: {path}: {other.reason}")
        raise InputError(f"{mention.written}: {path} kept changing while it was read; save the question once more")


def _listed_in(folder: Path) -> list[str]:
    """Return the names of the files in *folder* that may be mentioned."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if _refused(entry.name) is None and entry.is_file()]
    except OSError:
        return []


def _kind(path: str) -> CapturedKind:
    suffix = PurePosixPath(path).suffix.lower()
    return "image" if suffix in IMAGES else "document" if suffix in DOCUMENTS else "text"


def _refused(path: str) -> str | None:
    """Return why *path* is never taken along; None where it may be."""
    if path == JOBS or path.startswith(f"{JOBS}/"):
        return "is rlmwatch's own, and never sent"
    if any(secret_name(part) for part in path.split("/")):
        return "looks like a secret, and is never sent"
    if why := ignored(path) or ignored_folder(path):
        return f"is never sent: {why}"
    if isinstance(classify(path), Ours) and not path.lower().endswith(_ANSWERS):
        return "is rlmwatch's own, and never sent"
    return None


def _names(root: Path) -> list[str]:
    """Return the files below *root* that may be mentioned; links are not followed."""
    found: list[str] = []
    folders = [""]
    while folders and len(found) < MAX_NAMES:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in listed:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if ignored_folder(path) is None and path != JOBS:
                    folders.append(path)
            elif entry.is_file(follow_symlinks=False) and _refused(path) is None:
                found.append(path)
    return found


def _refuse_text(raw: bytes, mention: Mention, shown: str) -> None:
    """
    Return if *raw* is a text that may be sent, and holds the headings that *mention* names.

    Raises:
        InputError: It is not.
    """
    try:
        text = usable.text_of(raw)
    except usable.Unusable as error:
        raise InputError(f"{mention.written}: {shown}: {error}") from None
    if is_blank(text):
        raise InputError(f"{mention.written}: {shown} is empty")
    if mention.headings and section(text, mention.headings) is None:
        there = headings_of(text)
        near = nearest(mention.headings[-1], there) or there[:5]
        raise InputError(
            f"{mention.written}: {shown} has no heading {' # '.join(mention.headings)}"
            + (f"; it has {_listed(near)}" if near else "")
        )


def _listed(headings: Iterable[str]) -> str:
    return ", ".join(f"“{heading}”" for heading in headings)


def text_of(raw: bytes, headings: Sequence[str]) -> str:
    """
    Return the text of *raw*, or what of it stands below *headings*.

    Raises:
        InputError: It is not text.
    """
    text = decode(raw)
    return (section(text, headings) or "") if headings else text
