"""
Whether the material of a question has changed since it was asked, so that the same bytes are a new save.

1. What a run worked on is frozen with it, as the digest of the material. A run that waits still reads what is there.
2. What the question mentions is compared with what was captured when it was saved.
3. A run that ended for its material, before it could read it, has changed once that can be read.
4. A run of an earlier version, which froze no digest, has not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import input_name
from rlmwatch.errors import InputError
from rlmwatch.execution import attachments
from rlmwatch.runs.model import Outcome, Run
from rlmwatch.workspace.context import read_context, refuse_beside_chat


def changed(root: Path, run: Run, paths: Sequence[str] | None, outside_roots: Sequence[Path]) -> bool:
    """Return whether the material of *run*, which its options name in *paths*, is another now. Blocks; reads it."""
    name = input_name(run.path)
    if name is None or attachments.changed(root, run):
        return name is not None
    if run.frozen is None and not _ended_for_material(run, name.data):
        return False
    if run.frozen is not None and (run.kind is Kind.CHAT or not {"material", "messages"} & run.frozen.keys()):
        return False
    try:
        if run.kind is Kind.CHAT:
            refuse_beside_chat(root, name)
            return True
        found = read_context(root, name, paths, outside_roots=outside_roots)
        found.context(dict.fromkeys(found.documents, "(not read)"))
    except InputError:
        return run.frozen is not None
    return run.frozen is None or found.digest != run.frozen.get("material")


def _ended_for_material(run: Run, data: str) -> bool:
    result = run.result
    error = result.error if result is not None and result.outcome is Outcome.BAD_INPUT else None
    return error is not None and (error.startswith("context:") or data in error)
