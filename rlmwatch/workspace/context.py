"""
What a run is given to work on: the files that become its variable `context`.

1. `context:` of the front matter names files and folders, from the input's own folder or else from the workspace's
   root; without it, the files `<conversation>_data.<any ending>` and the folder `<conversation>_data/` are taken.
2. Links are resolved first; what they lead to must lie in the workspace, or in a folder that the user's own
   configuration allows.
3. Files that look like secrets are refused where they are named, and passed over in a folder.
4. One text is a str; a folder, or more than one file, is a mapping of path to text.
5. All texts together have a limit; beyond it nothing is cut in silence, it is an error.
6. In a folder, what cannot be used is passed over, and the notes say what and why; so they do of what a document holds
   beside text. A file that was named or lies beside the input is an error then, and so is material with nothing in it:
   no answer about nothing is paid for.

What can be used is judged in `usable.py`. Documents such as PDFs are only fetched here: what turns them into text is
`documents/reader.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from rlmwatch.contract.formats import DOCUMENTS, format_of, suffix
from rlmwatch.contract.ignored import too_deep
from rlmwatch.contract.names import InputName, Other, classify, key
from rlmwatch.contract.secrets import secret_content
from rlmwatch.contract.text import is_blank
from rlmwatch.errors import InputError
from rlmwatch.settings.user_folders import expanded
from rlmwatch.workspace import safe_open
from rlmwatch.workspace.usable import REFUSED, Unusable, is_secret, not_material, text_of

MAX_CONTEXT_BYTES = 200_000_000
"""Of all files together: twice the largest context that the sandbox was measured with."""
SHOWN_NAMES = 20
"""Passed-over files that a note names, each with its reason; the rest is counted by reason."""
SHOWN_CHARS = 200
"""Of a path in an error: longer ones are mistakes, and would hide what is wrong with them."""


class DocumentText(str):
    """
    The text of a document, and what of the document is not in it, for the notes.

    Attributes:
        left_out: As "2 pictures".
    """

    __slots__ = ("left_out",)
    left_out: tuple[str, ...]

    def __new__(cls, text: str, left_out: tuple[str, ...] = ()) -> Self:
        """Return *text* with what was *left_out*."""
        made = super().__new__(cls, text)
        made.left_out = left_out
        return made


@dataclass(frozen=True, slots=True)
class MaterialFile:
    """
    One file of the material, for people.

    Attributes:
        name: Its path in the workspace, or, where many are told together, how many there are.
        format: In one word, as `pdf`; empty for several.
        chars: Characters of its text.
    """

    name: str
    format: str
    chars: int


@dataclass(frozen=True, slots=True)
class Context:
    """
    The material of one run.

    Attributes:
        value: A text, a mapping of POSIX path to text, or None where there is none. What a job file encloses may be
            any JSON value.
        notes: What was skipped, for the status file.
        digest: Of all that was read, by path and content; None where that was nothing of the workspace.
        files: The files that `value` is made of, in its order: the first ones, and the rest in one.
    """

    value: Any = None
    notes: tuple[str, ...] = ()
    digest: str | None = None
    files: tuple[MaterialFile, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundMaterial:
    """
    What was found for a run; its documents are still to be turned into text.

    Attributes:
        texts: Path → text.
        documents: Path → bytes, of formats that are not text.
        found: Those of the documents that a folder holds: one that cannot be read is skipped.
        passed: What was skipped so far → why.
        order: All paths, in which they came.
        is_mapping: Whether the material is a mapping of path to text, whatever its number.
        named: The files and folders that were looked for, for people.
        digest: Of all that was read; None where nothing was looked for.
    """

    texts: Mapping[str, str]
    documents: Mapping[str, bytes]
    found: frozenset[str]
    passed: Mapping[str, str]
    order: tuple[str, ...]
    is_mapping: bool
    named: tuple[str, ...]
    digest: str | None

    def context(self, read: Mapping[str, str | InputError]) -> Context:
        """
        Return the context, with each document as it was *read*: its text, or why there is none.

        Raises:
            InputError: A document that was named cannot be read or holds a secret, or there is nothing in all of the
                material.
        """
        texts, passed = dict(self.texts), dict(self.passed)
        left_out: dict[str, str] = {}
        for path, text in read.items():
            if isinstance(text, str) and not secret_content(text):
                texts[path] = str(text)
                if isinstance(text, DocumentText) and text.left_out:
                    left_out[path] = ", ".join(text.left_out)
                continue
            problem = InputError(f"context: {path}: {REFUSED}") if isinstance(text, str) else text
            if path not in self.found:
                raise problem
            passed[path] = str(problem).removeprefix(f"context: {path}").lstrip(": ")
        if not self.named:
            return Context()
        notes: tuple[str, ...] = (f"passed over in the context: {_listed(passed)}",) if passed else ()
        if all(is_blank(text) for text in texts.values()):
            said = f" ({notes[0]})" if notes else ""
            raise InputError(
                f"context: nothing to work on in {', '.join(self.named)}: "
                f"{'no text in it' if texts or passed else 'it is empty'}{said}. "
                "Put a text or a document there, or remove it to ask without"
            )
        if left_out:
            notes += (f"left out of the context: {_listed(left_out)}",)
        ordered = {path: texts[path] for path in self.order if path in texts}
        single = len(ordered) == 1 and not self.is_mapping
        value = next(iter(ordered.values())) if single else ordered
        return Context(value, notes, self.digest, _files(ordered))


def _files(texts: Mapping[str, str]) -> tuple[MaterialFile, ...]:
    """Return what *texts* are; those beyond `SHOWN_NAMES` in one."""
    files = [MaterialFile(path, format_of(path), len(text)) for path, text in texts.items()]
    first, rest = files[:SHOWN_NAMES], files[SHOWN_NAMES:]
    if rest:
        first.append(MaterialFile(f"{len(rest)} more files", "", sum(file.chars for file in rest)))
    return tuple(first)


def _listed(passed: Mapping[str, str]) -> str:
    """Return each of *passed* with its reason; those beyond `SHOWN_NAMES` are counted, by reason."""
    said = [f"{path} ({why})" for path, why in list(passed.items())[:SHOWN_NAMES]]
    rest: dict[str, int] = {}
    for why in list(passed.values())[SHOWN_NAMES:]:
        rest[why] = rest.get(why, 0) + 1
    return ", ".join(said) + "".join(f", and {number} more ({why})" for why, number in rest.items())


def read_context(
    root: Path, name: InputName | None, paths: Sequence[str] | None, *, outside_roots: Sequence[Path] = ()
) -> FoundMaterial:
    """
    Return the material of a run of the input *name*; None for a run of none, whose *paths* are from the root. Blocks.

    Raises:
        InputError: A named path is missing, lies outside, looks like a secret, is not text, or all is too large.
    """
    reader = _Reader([root.resolve(), *(expanded(folder).resolve() for folder in outside_roots)])
    wanted = (beside(root, name) if name else []) if paths is None else [_named(root, name, path) for path in paths]
    for path in wanted:
        shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        try:
            reader.add(path, shown)
        except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links is a RuntimeError
            raise InputError(f"context: {_short(shown)}: {getattr(error, 'strerror', None) or error}") from None
    return reader.material(is_mapping=len(wanted) > 1)


def beside(root: Path, name: InputName) -> list[Path]:
    """
    Return the material that lies beside the input *name*: the files of its conversation, then the folder.

    As in the names of inputs, neither letter case matters nor how accents are stored.
    """
    data = root / name.data
    wanted = key(data.name)
    try:
        with os.scandir(data.parent) as entries:
            named = {entry.name: key(entry.name) for entry in entries}
    except OSError as error:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise InputError(f"context: {data.parent}: {error.strerror or error}") from None
        return []
    files = [file for file in sorted(named) if named[file].startswith(f"{wanted}.")]
    folders = [folder for folder in sorted(named) if named[folder] == wanted]
    return [data.parent / each for each in (*(file for file in files if isinstance(classify(file), Other)), *folders)]


def refuse_beside_chat(root: Path, name: InputName) -> None:
    """
    Return if no material lies beside the chat *name*. Blocks.

    Raises:
        InputError: Some does, which one plain call cannot use; the text says what to do.
    """
    found = [path.relative_to(root).as_posix() for path in beside(root, name)]
    if found:
        raise InputError(
            f"{', '.join(found)}: a chat is one plain call, which does not read material; add `handler: job` (or "
            "`handler: research`) to the front matter, or give the data another name to chat without it"
        )


def _named(root: Path, name: InputName | None, path: str) -> Path:
    """Return where *path* of the front matter is: beside the input, else from the root."""
    if "\0" in path:
        raise InputError(f"context: {_short(path)}: no path holds a NUL character")
    try:
        near = (root / name.path).parent / path if name else root / path
        found = near if near.exists() else root / path
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
        self._passed: dict[str, str] = {}
        self._named: list[str] = []
        self._hash = sha256()
        self._bytes = 0
        self._folder = False

    def add(self, path: Path, shown: str) -> None:
        """Read the file or folder at *path*, which a person named, or which lies beside the input."""
        self._named.append(shown)
        try:
            resolved = path.resolve(strict=True)
            is_folder = resolved.is_dir()
        except (OSError, RuntimeError) as error:  # a link that leads nowhere, or to itself
            raise InputError(f"context: {shown}: {getattr(error, 'strerror', None) or error}") from None
        within = next((root for root in self._roots if resolved.is_relative_to(root)), None)
        if within is None:
            raise InputError(
                f"context: {shown} leads out of the workspace; copy it in, or allow its folder in your config.toml: "
                "[context] outside_roots"
            )
        if is_folder:
            self._folder = True
            self._add_folder(resolved, shown.rstrip("/"), within)
        elif is_secret(resolved, within):
            raise InputError(f"context: {shown} looks like a secret, and would be sent to a model; it is refused")
        else:
            try:
                self._read(resolved, shown, within)
            except Unusable as error:
                raise InputError(f"context: {shown}: {error}") from None

    def _add_folder(self, folder: Path, shown: str, within: Path) -> None:
        """Read the files below *folder* in order of their names; what is not used is noted, with its reason."""
        if too_deep(shown):
            self._passed[f"{shown}/"] = "folders nested too deeply"
            return
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._passed[f"{shown}/"] = error.strerror or str(error)
            return
        for entry in found:
            inner = f"{shown}/{entry.name}"
            if (why := not_material(entry)) is not None:
                self._passed[inner] = why
            elif entry.is_dir(follow_symlinks=False):
                self._add_folder(Path(entry.path), inner, within)
            elif is_secret(Path(entry.path), within):
                self._passed[inner] = "its name is one of a secret"
            else:
                self._found.add(inner)
                try:
                    self._read(Path(entry.path), inner, within)
                except Unusable as error:
                    self._passed[inner] = str(error)

    def _read(self, path: Path, shown: str, within: Path) -> None:
        """
        Read one file.

        Raises:
            Unusable: It cannot be used.
            InputError: The material becomes too large.
        """
        try:
            raw = safe_open.read(path, within=within, max_bytes=MAX_CONTEXT_BYTES - self._bytes)
        except OSError as error:
            size = path.stat().st_size if path.is_file() else 0
            if shown in self._found and size > MAX_CONTEXT_BYTES:
                raise Unusable(f"it is larger than {MAX_CONTEXT_BYTES // 1_000_000} MB") from None
            if size + self._bytes > MAX_CONTEXT_BYTES:
                raise InputError(
                    f"context: with {shown} it is larger than {MAX_CONTEXT_BYTES // 1_000_000} MB; name fewer files"
                ) from None
            raise Unusable(error.strerror or str(error)) from None
        if raw is None:
            raise Unusable("it is gone")
        self._bytes += len(raw)
        self._hash.update(f"{len(shown)}:{shown}{len(raw)}:".encode("utf-8", "surrogatepass"))
        self._hash.update(raw)
        if suffix(path.name) in DOCUMENTS:
            self._documents[shown] = raw
        else:
            self._texts[shown] = text_of(raw)
        self._order.append(shown)

    def material(self, *, is_mapping: bool) -> FoundMaterial:
        """Return what was read."""
        return FoundMaterial(
            texts=self._texts,
            documents=self._documents,
            found=frozenset(self._found),
            passed=self._passed,
            order=tuple(self._order),
            is_mapping=is_mapping or self._folder,
            named=tuple(self._named),
            digest=f"sha256:{self._hash.hexdigest()}" if self._named else None,
        )


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


def chars(context: Context) -> int | None:
    """Return how many characters of text *context* holds; None where it is something else, or nothing."""
    match context.value:
        case str(text):
            return len(text)
        case dict(texts) if texts and all(isinstance(text, str) for text in texts.values()):
            return sum(map(len, texts.values()))
        case _:
            return None
