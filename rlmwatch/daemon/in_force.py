"""
Which settings a daemon works with, written down for commands beside it: `settings.json` in its private state folder.

It is written at the start and with each reload, by the daemon alone, and holds no secret. It is the word of the process
that it names: who reads it asks first whether that process still has the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from rlmwatch.daemon.credentials import DOTENV
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.errors import WorkspaceError
from rlmwatch.settings.model import WORKSPACE_KEYS, Settings
from rlmwatch.settings.sources import USER_FILE, Loaded, Stamp, stamp
from rlmwatch.workspace import atomic
from rlmwatch.workspace.owner import Holder

FILE = "settings.json"
SHOWN_CHARS = 60
"""Of a value that has changed."""
SHOWN_TEXTS = frozenset({"provider", "model", "sub_model"})
"""Settings of the user's own whose texts are shown: addresses and names of keys may hold what is nobody's business."""

log = structlog.get_logger()


class InForce(BaseModel):
    """
    What a daemon works with.

    Attributes:
        pid: Of the daemon.
        reads: How often settings were read, or could not be, in this workspace: another number is another time.
        user_file: The user's config.toml as it was read; None where there was none.
        keys_file: The user's `.env`, likewise.
        answers: What answers, in words.
        changed: What the last time changed, in words.
        problem: Why the last time changed nothing; None where all is well.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    pid: int
    reads: int
    ready_marker: str | None = None
    max_input_mb: float
    user_file: Stamp | None = None
    keys_file: Stamp | None = None
    answers: str = ""
    changed: list[str] = []
    problem: str | None = None

    def outdated(self, paths: WorkspacePaths) -> list[str]:
        """Return, in words, which of the user's files have changed since the daemon of *paths* read them."""
        files = {USER_FILE: self.user_file, DOTENV: self.keys_file}
        return [
            f"{paths.user_dir / name} has changed since the daemon read it: rlmwatch reload {paths.root}"
            for name, seen in files.items()
            if stamp(paths.user_dir / name) != seen
        ]


def in_force(state: Path, who: Holder | None) -> InForce | None:
    """Return what the daemon *who* works with, whose private state is *state*; None where it does not say."""
    if who is None or not who.serves:
        return None
    found = _read(state)
    return found if found is not None and who.pid in (0, found.pid) else None


def write_in_force(state: Path, found: InForce) -> None:
    """Write *found* down. A disk that is full, or a folder that is closed, stops nobody. Blocks."""
    before = _read(state)
    numbered = found.model_copy(update={"reads": before.reads + 1 if before is not None else 1})
    try:
        atomic.write(state / FILE, numbered.model_dump_json().encode())
    except WorkspaceError as error:
        log.info("settings.not_noted", why=str(error))


def _read(state: Path) -> InForce | None:
    try:
        return InForce.model_validate_json((state / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def noted(pid: int, loaded: Loaded, user_dir: Path, answers: str) -> InForce:
    """Return what a daemon with *loaded* works with."""
    return InForce(
        pid=pid,
        reads=0,
        ready_marker=loaded.settings.ready_marker,
        max_input_mb=loaded.settings.max_input_mb,
        user_file=loaded.user_stamp,
        keys_file=stamp(user_dir / DOTENV),
        answers=answers,
    )


def changes(before: Settings, after: Settings) -> list[str]:
    """Return, in words, which settings are other ones in *after*; secrets and addresses by their names alone."""
    old, new = (_flat(each.model_dump(exclude={"host"})) for each in (before, after))  # `host` says who answers
    return [_in_words(key, new.get(key)) for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]


def _flat(table: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{at}{key}.") if isinstance(value, dict) else {f"{at}{key}": value}
    return found


def _in_words(key: str, value: object) -> str:
    if value is None:
        return f"{key} is not set"
    shown = isinstance(value, bool | int | float) or key.partition(".")[0] in WORKSPACE_KEYS or key in SHOWN_TEXTS
    if not shown:
        return key
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f"{key} = {text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + '…'}"
