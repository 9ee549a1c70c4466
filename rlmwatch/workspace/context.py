"""
What a run is given to work on: the files that become its variable `context`.

1. `context:` of the front matter names files and folders, from the input's own folder or else from the workspace's
   root; without it, `<conversation>_data.txt`, `.md` and the folder `<conversation>_data/` are taken where they exist.
2. Links are resolved first; what they lead to must lie in the workspace, or in a folder that the user's own
   configuration allows.
3. Files that look like secrets are refused where they are named, and passed over in a folder.
4. One text is a str; a folder, or more than one file, is a mapping of path to text.
5. All texts together have a limit; beyond it nothing is cut in silence, it is an error.

In a folder, what is not text is skipped, and the notes say so. Documents such as PDFs are only fetched here: what
turns them into text is `documents/reader.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlmwatch.contract.ignored import ignored, too_deep
from rlmwatch.contract.names import InputName, Ours, classify
from rlmwatch.contract.secrets import secret_content, secret_name
from rlmwatch.contract.text import decode
from rlmwatch.errors import InputError
from rlmwatch.workspace import safe_open

MAX_CONTEXT_BYTES = 200_000_000
"""Of all files together: twice the largest context that the sandbox was measured with."""
DOCUMENTS = frozenset({".pdf"})
"""Endings of files that are not text, and are turned into text by a confined process (`documents/`)."""
SHOWN_NAMES = 5
"""Names of passed-over files in a note; the rest is counted."""
SHOWN_CHARS = 200
"""Of a path in an error: longer ones are mistakes, and would hide what is wrong with them."""

_SECRET_FOLDER = frozenset({".ssh", ".gnupg", ".aws", ".git", ".kube", ".docker", ".config"})


@dataclass(frozen=True, slots=True)
class Context:
    """
    The material of one run.

    Attributes:
        value: A text, a mapping of POSIX path to text, or None where there is none. What a job file encloses may be
            any JSON value.
        notes: What was skipped, for the status file.
    """

    value: Any = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundMaterial:
    """
    What was found for a run; its documents are still to be turned into text.

    Attributes:
        texts: Path → text.
        documents: Path → bytes, of formats that are not text.
        found: Those of the documents that a folder holds: one that cannot be read is skipped.
        passed: What was skipped so far.
        order: All paths, in which they came.
        is_mapping: Whether the material is a mapping of path to text, whatever its number.
    """

    texts: Mapping[str, str]
    documents: Mapping[str, bytes]
    found: frozenset[str]
    passed: tuple[str, ...]
    order: tuple[str, ...]
    is_mapping: bool

    def context(self, read: Mapping[str, str | InputError]) -> Context:
        """
        Return the context, with each document as it was *read*: its text, or why there is none.

        Raises:
            InputError: A document that was named cannot be read.
        """
        texts, passed = dict(self.texts), [*self.passed]
        for path, text in read.items():
            if isinstance(text, str):
                texts[path] = text
            elif path in self.found:
                passed.append(path)
            else:
                raise text
        notes: tuple[str, ...] = ()
        if passed:
            names = ", ".join(passed[:SHOWN_NAMES])
            more = f" and {len(passed) - SHOWN_NAMES} more" if len(passed) > SHOWN_NAMES else ""
            notes = (f"passed over in the context, not text or like a secret: {names}{more}",)
        if not texts and not self.is_mapping:
            return Context(None, notes)
        if len(texts) == 1 and not self.is_mapping:
            return Context(next(iter(texts.values())), notes)
        return Context({path: texts[path] for path in self.order if path in texts}, notes)


def read_context(
    root: Path, name: InputName | None, paths: Sequence[str] | None, *, outside_roots: Sequence[Path] = ()
) -> FoundMaterial:
    """
    Return the material of a run of the input *name*; None for a run of none, whose *paths* are from the root. Blocks.

    Raises:
        InputError: A named path is missing, lies outside, looks like a secret, is not text, or all is too large.
    """
    reader = _Reader([root.resolve(), *(folder.expanduser().resolve() for folder in outside_roots)])
    if paths is None:
        beside = [root / candidate for candidate in (name.data_candidates if name else ())]
        wanted = [path for path in beside if path.exists() or path.is_symlink()]
    else:
        wanted = [_named(root, name, path) for path in paths]
    for path in wanted:
        shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        try:
            reader.add(path, shown)
        except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links is a RuntimeError
            raise InputError(f"context: {_short(shown)}: {getattr(error, 'strerror', None) or error}") from None
    return reader.material(is_mapping=len(wanted) > 1)


def _named(root: Path, name: InputName | None, path: str) -> Path:
    """Return where *path* of the front matter is: beside the input, else from the root."""
    if "\0" in path:
        raise InputError(f"context: {_short(path)}: no path holds a NUL character")
    try:
        beside = (root / name.path).parent / path if name else root / path
        found = beside if beside.exists() else root / path
        there = found.exists()
    except OSError as error:
        raise InputError(f"context: {_short(path)}: {error.strerror or error}") from None
    if not there:
        raise InputError(
            f"context: {_short(path)}: no such file or folder, neither beside the input nor in the workspace"
        )
    # Cleaned by text: links are resolved, and judged, later.
    return Path(os.path.normpath(found))


def _short(path: str) -> str:
    return path if len(path) <= SHOWN_CHARS else f"{path[:SHOWN_CHARS]}… ({len(path)} characters)"


class _Reader:
    """Reads files one by one and counts what they come to."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._texts: dict[str, str] = {}
        self._documents: dict[str, bytes] = {}
        self._found: set[str] = set()
        self._order: list[str] = []
        self._passed: list[str] = []
        self._bytes = 0
        self._folder = False

    def add(self, path: Path, shown: str) -> None:
        """Read the file or folder at *path*, which a person named."""
        resolved = path.resolve()
        within = next((root for root in self._roots if resolved.is_relative_to(root)), None)
        if within is None:
            raise InputError(
                f"context: {shown} leads out of the workspace; copy it in, or allow its folder in your config.toml: "
                "[context] outside_roots"
            )
        if resolved.is_dir():
            self._folder = True
            for file in _files(resolved, shown.rstrip("/")):
                inner = f"{shown.rstrip('/')}/{file.relative_to(resolved).as_posix()}"
                self._add_found(file, inner, within)
        elif _is_secret(resolved, within):
            raise InputError(f"context: {shown} looks like a secret, and would be sent to a model; it is refused")
        else:
            self._read(resolved, shown, within)

    def _add_found(self, file: Path, shown: str, within: Path) -> None:
        """Read a file that a folder holds; what is not text is skipped."""
        if _is_secret(file, within):
            self._passed.append(shown)
            return
        self._found.add(shown)
        try:
            self._read(file, shown, within)
        except _TooMuch:
            raise
        except InputError:
            self._passed.append(shown)

    def _read(self, path: Path, shown: str, within: Path) -> None:
        try:
            raw = safe_open.read(path, within=within, max_bytes=MAX_CONTEXT_BYTES - self._bytes)
        except OSError as error:
            if path.is_file() and path.stat().st_size + self._bytes > MAX_CONTEXT_BYTES:
                raise _TooMuch(
                    f"context: with {shown} it is larger than {MAX_CONTEXT_BYTES // 1_000_000} MB; name fewer files"
                ) from None
            raise InputError(f"context: {shown}: {error.strerror or error}") from None
        if raw is None:
            raise InputError(f"context: {shown}: it is gone")
        self._bytes += len(raw)
        self._order.append(shown)
        if path.suffix.lower() in DOCUMENTS:
            self._documents[shown] = raw
            return
        try:
            text = decode(raw)
        except InputError as error:
            raise InputError(f"context: {shown}: {error}") from None
        if secret_content(text):
            raise InputError(
                f"context: {shown} holds a private key or a password, and would be sent to a model; it is refused"
            )
        self._texts[shown] = text

    def material(self, *, is_mapping: bool) -> FoundMaterial:
        """Return what was read."""
        return FoundMaterial(
            texts=self._texts,
            documents=self._documents,
            found=frozenset(self._found),
            passed=tuple(self._passed),
            order=tuple(self._order),
            is_mapping=is_mapping or self._folder,
        )


class _TooMuch(InputError):
    """The material is larger than a run may have: an error also where the file was only found in a folder."""


def _files(folder: Path, shown: str) -> Iterator[Path]:
    """
    Yield the plain files below *folder* in order of their names: no links, nothing hidden, nothing of ours.

    A folder that is too deep (its path as *shown*) is yielded itself: it cannot be read, so it is passed over.
    """
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_symlink() or entry.name.lower() in _SECRET_FOLDER or ignored(entry.name) is not None:
            continue
        if entry.is_dir():
            inner = f"{shown}/{entry.name}"
            yield from [Path(entry.path)] if too_deep(inner) else _files(Path(entry.path), inner)
        elif entry.is_file() and not isinstance(classify(entry.name), Ours):
            yield Path(entry.path)


def _is_secret(path: Path, within: Path) -> bool:
    """Whether the name of *path*, or of a folder between it and *within*, is one that secrets have."""
    return secret_name(path.name) or bool(_SECRET_FOLDER & {part.lower() for part in path.relative_to(within).parts})


def by_path(context: Context, paths: Sequence[str]) -> Mapping[str, Any]:
    """Return the texts of *context* by path, also where it is a single text: then it is that of the one in *paths*."""
    return context.value if isinstance(context.value, dict) else {paths[0]: context.value}


def describe(context: Context) -> str:
    """Return, in a few words, what *context* is: for the log, which never holds its text."""
    match context.value:
        case None:
            return "none"
        case str(text):
            return f"{len(text)} characters"
        case dict(texts) if all(isinstance(text, str) for text in texts.values()):
            return f"{len(texts)} files, {sum(map(len, texts.values()))} characters"
        case _:
            return "JSON"
