"""What the watcher remembers of its last look at each input. In memory only: the ledger has the rest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from rlmwatch.runs.model import Signature
from rlmwatch.workspace.snapshot import Changed


@dataclass(slots=True)
class Readings:
    """
    The looks at inputs so far.

    Attributes:
        signatures: Of every input as it was read last; a walk compares with it.
    """

    signatures: dict[str, Signature] = field(default_factory=dict)
    _moving: dict[str, Changed] = field(default_factory=dict)
    _sighted: dict[str, Signature] = field(default_factory=dict)

    def rests(self, path: str, signature: Signature | None) -> None:
        """Note that *path* was read as it is in *signature*; None: the next walk is to look again."""
        self.forget(path)
        if signature is not None:
            self.signatures[path] = signature

    def forget(self, path: str) -> None:
        """Note that *path* is gone."""
        for looks in (self.signatures, self._moving, self._sighted):
            looks.pop(path, None)

    def keep_only(self, present: Collection[str]) -> list[str]:
        """Forget the signatures of all but the *present* paths, and return those."""
        gone = [path for path in self.signatures if path not in present]
        for path in gone:
            del self.signatures[path]
        return gone

    def repeats(self, path: str, changed: Changed) -> bool:
        """Note a look that found *path* moving, and say whether the look before saw the same (`Changed.repeats`)."""
        repeats = changed.repeats(self._moving.get(path))
        self._moving[path] = changed
        return repeats

    def sighted(self, path: str, signature: Signature | None) -> None:
        """Note how *path* was when nobody could say if it has a writer."""
        if signature is not None:
            self._sighted[path] = signature

    def grew(self, path: str, signature: Signature) -> bool:
        """
        Say whether *path* is another than when it was sighted, and note it as sighted now.

        Times do not count: on some mounts they move at every look.
        """
        sighted = self._sighted.get(path)
        if sighted is None or (sighted.size, sighted.inode) == (signature.size, signature.inode):
            return False
        self._sighted[path] = signature
        return True
