"""One text, two dialects: what a statement is in a ledger of one workspace, and in one that many share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol, Self

_MARKS: Final = {
    "{mine}": ("", "workspace = :workspace AND "),
    "{ours}": ("", " WHERE workspace = :workspace"),
    "{whose}": ("", "workspace, "),
    "{me}": ("", ":workspace, "),
}
"""What stands in a text where rows belong to a workspace: nothing in a ledger of one, a condition in a shared one."""

_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w+)")
_INDEX_HINT: Final = re.compile(r" INDEXED BY \w+")


class Statement(str):
    """
    A statement as SQLite takes it.

    Attributes:
        shared: The same for Postgres, where each row of `runs` and `inputs` carries its workspace. Run ids are unique
            across all workspaces, so what is found by its run needs no such condition.

    Args:
        text: With the marks above.
        postgres: The same in words that Postgres understands, with marks too, where more than those differ.
    """

    __slots__ = ("shared",)

    shared: str

    def __new__(cls, text: str, *, postgres: str | None = None) -> Self:
        """Make both texts."""
        alone, shared = text, postgres or text
        for mark, (one, many) in _MARKS.items():
            alone, shared = alone.replace(mark, one), shared.replace(mark, many)
        made = super().__new__(cls, alone)
        made.shared = _PARAMETER.sub(r"%(\1)s", _INDEX_HINT.sub("", shared))
        return made


class Row(Protocol):
    """A row, its values by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any: ...  # noqa: ANN401 (what a column holds)


class Rows(Protocol):
    """What a statement returns."""

    def fetchall(self) -> list[Any]: ...  # noqa: D102 (as every database module)

    def fetchone(self) -> Any: ...  # noqa: ANN401, D102

    def __iter__(self) -> Iterator[Any]: ...


class Db(Protocol):
    """A connection inside a transaction; the verbs of the ledger are functions of one."""

    def execute(self, statement: str, values: Mapping[str, Any] = ..., /) -> Rows:
        """Carry out *statement*, a `Statement` or a word on the transaction itself, with *values* by name."""
        ...
