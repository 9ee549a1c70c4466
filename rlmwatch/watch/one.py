"""Read one input on demand, without watching: for `rlmwatch answer FILE`."""

from __future__ import annotations

from pathlib import Path

from rlmwatch.contract.names import Ignored, InputName, classify
from rlmwatch.contract.near_misses import near_miss
from rlmwatch.errors import InputError, UsageError
from rlmwatch.runs.model import Save
from rlmwatch.runs.saved import NotASave, to_save
from rlmwatch.watch.save_filter import WatchConfig
from rlmwatch.watch.settle import DEADLINE_S
from rlmwatch.watch.settled_reader import read_now
from rlmwatch.workspace.snapshot import Absent, Changed, Content, NotAFile, Unreadable


async def read_one(root: Path, path: str, config: WatchConfig) -> Save:
    """
    Return the save that the input *path* (POSIX, inside the workspace *root*) holds now.

    The person asked for it, so nobody probes for a writer; but the content is whole: a file that moves is read again
    every 50 ms, for up to 10 s. Admits and notes nothing. The save may have a `problem`.

    Raises:
        UsageError: There is no such file, or its name is not an input's.
        InputError: It cannot be read, never rests, or holds nothing to answer.
    """
    name = classify(path)
    if not isinstance(name, InputName):
        miss = near_miss(path)
        why = name.reason if isinstance(name, Ignored) else "an input's name ends in _input.txt or _input.md"
        why = why if miss is None else f"{miss.wrong}; {miss.cure(taken=False)}"
        raise UsageError(f"{path} is not an input: {why}")
    content = await _at_rest(root, path, config.max_bytes)
    save = to_save(name, content.raw, content.signature, ready_marker=config.ready_marker, max_bytes=config.max_bytes)
    if isinstance(save, NotASave):
        raise InputError(f"{path}: nothing to answer: {save.reason}")
    return save


async def _at_rest(root: Path, path: str, max_bytes: int) -> Content:
    match await read_now(root, path, max_bytes=max_bytes):
        case Content() as content:
            return content
        case Absent():
            raise UsageError(f"{path}: no such file")
        case NotAFile(reason) | Unreadable(reason):
            raise InputError(f"{path}: {reason}")
        case Changed():
            raise InputError(f"{path}: it kept changing for {DEADLINE_S:g} s; save it once more when it is done")
