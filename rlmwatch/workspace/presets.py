"""
Where presets are: the workspace's `presets/`, the user's configuration folder, and those that are shipped.

The first that has a file of the name wins. In the workspace, which may come from elsewhere, no link is followed; what
lies in the user's own folder may be one. Letter case, and how accents are stored, do not matter.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from rlmwatch.contract.names import PRESETS, key
from rlmwatch.contract.presets import ENDING, MAX_BYTES, Origin, Preset, is_name, no_such, read_preset
from rlmwatch.errors import InputError
from rlmwatch.workspace import safe_open

MOST: Final = 1_000
"""Files of one folder that are looked at: nobody has as many presets."""


@dataclass(frozen=True, slots=True)
class PresetFile:
    """
    The file of one preset.

    Attributes:
        name: Without the ending.
        origin: In which of the folders it is.
        where: Its path, for people: in the workspace as it stands there.
        folder: Where it lies; None for a shipped one.
    """

    name: str
    origin: Origin
    where: str
    folder: Path | None

    def read(self) -> bytes:
        """
        Return its bytes, or those of its beginning where it is too large. Blocks.

        Raises:
            InputError: It cannot be read.
        """
        if self.folder is None:
            return _shipped()[self.name].encode()
        path = self.folder / f"{self.name}{ENDING}"
        within = self.folder.parent
        try:
            if self.origin == "user":
                path = path.resolve()
                within = path.parent
            raw = safe_open.read(path, within=within, max_bytes=MAX_BYTES)
        except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links is a RuntimeError
            raise InputError(f"preset {self.name} ({self.where}): {_why(error)}") from None
        if raw is None:
            raise InputError(f"preset {self.name} ({self.where}): it is gone")
        return raw


@dataclass(frozen=True, slots=True)
class PresetFolders:
    """
    The folders with presets.

    Attributes:
        root: The workspace; None where there is none.
        user_dir: The user's configuration folder.
    """

    root: Path | None
    user_dir: Path

    def all(self) -> list[PresetFile]:
        """Return the file of every preset, by name; one that another goes before is not among them. Blocks."""
        found: dict[str, PresetFile] = {}
        for file in self._files():
            found.setdefault(key(file.name), file)
        return sorted(found.values(), key=lambda file: key(file.name))

    def find(self, name: str) -> PresetFile:
        """
        Return the file of the preset *name*. Blocks.

        Raises:
            InputError: There is none; names the near ones.
        """
        there = self.all()
        wanted = key(name)
        for file in there:
            if key(file.name) == wanted:
                return file
        raise no_such(name, (file.name for file in there))

    def read(self, name: str) -> Preset:
        """
        Return the preset *name*. Blocks.

        Raises:
            InputError: There is none, or it is wrong; names its file.
        """
        file = self.find(name)
        return replace(read_preset(file.name, file.where, file.read()), origin=file.origin)

    def folders(self) -> list[tuple[Origin, Path]]:
        """Return the folders that hold files, in their order."""
        workspace: list[tuple[Origin, Path]] = [] if self.root is None else [("workspace", self.root / PRESETS)]
        return [*workspace, ("user", self.user_dir / PRESETS)]

    def _files(self) -> Iterator[PresetFile]:
        for origin, folder in self.folders():
            for name in _names(folder, within=self.root if origin == "workspace" else None):
                shown = f"{PRESETS}/{name}{ENDING}" if origin == "workspace" else str(folder / f"{name}{ENDING}")
                yield PresetFile(name, origin, shown, folder)
        for name in _shipped():
            yield PresetFile(name, "shipped", "shipped with rlmwatch", None)


def _names(folder: Path, *, within: Path | None) -> list[str]:
    with suppress(OSError), safe_open.folder(folder, within=within) as fd:
        names = (name.removesuffix(ENDING) for name in safe_open.names(fd) if name.endswith(ENDING))
        return sorted(filter(is_name, names))[:MOST]
    return []


@cache
def _shipped() -> dict[str, str]:
    folder = files("rlmwatch").joinpath(PRESETS)
    found = [file for file in folder.iterdir() if file.name.endswith(ENDING)]
    return {file.name.removesuffix(ENDING): file.read_text(encoding="utf-8") for file in found}


def _why(error: OSError | RuntimeError) -> str:
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        return "is a link, which is not followed: put a copy there"
    if number == errno.EFBIG:
        return f"is larger than {MAX_BYTES // 1024} KB: make it shorter"
    return getattr(error, "strerror", None) or str(error)
