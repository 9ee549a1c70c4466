"""
Inputs whose names differ only in letter case or Unicode normal form (`names.key`): one name, written in two ways.

On Linux they are two files; on a Mac, on Windows, on FAT, after a sync, and for a person they are one.

1. Another input of that name that is gone, or is the same file, was renamed: what is known of it moves along.
2. Where both are there, the conversation that is older keeps the name: of those that are known, one that has answer
   or memory beside it, else the one that came first. The other is told of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rlmwatch.contract.names import input_name, key


@dataclass(frozen=True, slots=True)
class Renamed:
    """The input had the name *before*."""

    before: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The name belongs to the conversation of the input *by*."""

    by: str


@dataclass(slots=True)
class Namesakes:
    """The inputs of one workspace that are known, by their names; in the order in which they became known."""

    root: Path
    _by_key: dict[str, list[str]] = field(default_factory=dict)

    def know(self, paths: Iterable[str]) -> None:
        """Note that the inputs *paths* are known."""
        for path in paths:
            same = self._by_key.setdefault(key(path), [])
            if path not in same:
                same.append(path)

    def forget(self, path: str) -> None:
        """Note that nothing is known of *path* any more."""
        same = self._by_key.get(key(path), [])
        if path in same:
            same.remove(path)

    def others(self, path: str) -> tuple[str, ...]:
        """Return the known inputs of the same name that are written otherwise; hardly ever any."""
        return tuple(other for other in self._by_key.get(key(path), ()) if other != path)

    def judge(self, path: str) -> Renamed | Taken | None:
        """Say what the other inputs of its name mean for *path* (rules 1 and 2). Asks the disk where there are some."""
        others = self.others(path)
        there = [other for other in others if self._is_another_file(path, other)]
        if not there:
            return Renamed(others[-1]) if others else None
        known = self._by_key[key(path)]
        candidates = [each for each in known if each in there or each == path]
        oldest = next((each for each in candidates if self._has_files(each)), candidates[0])
        return None if oldest == path else Taken(oldest)

    def _is_another_file(self, path: str, other: str) -> bool:
        try:
            there = os.lstat(self.root / other)
        except OSError:
            return False
        try:
            return not os.path.samestat(there, os.lstat(self.root / path))
        except OSError:
            return True

    def _has_files(self, path: str) -> bool:
        name = input_name(path)
        return name is not None and any(os.path.lexists(self.root / file) for file in (name.output, name.state))
