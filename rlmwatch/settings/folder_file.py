"""
Read the `rlmwatch.toml` of a sub-folder: what it may set, and for whom.

1. It may set `preset`, and the tables `[chat]`, `[job]`, `[research]` and `[exa]`, with the keys of the front matter.
   They hold for the questions of its folder and the folders below, under those of a nearer file and of the question.
2. What holds for the whole workspace or for the daemon (`host`, `ready_marker`, …) is an error there, by name, with
   file and line. So is whatever else stands in it.

Pure but for the errors' class: the text is read by `workspace/folder_settings.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, Final

from pydantic import ValidationError

from rlmwatch.contract.faults import in_words
from rlmwatch.contract.front_matter import EXPECTED
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import PresetName, RunOptions
from rlmwatch.errors import ConfigError
from rlmwatch.settings.lines import line_of
from rlmwatch.settings.model import Settings
from rlmwatch.settings.workspace_file import parse_toml, refuse_long_keys

FOLDER_KEYS: Final = frozenset({"preset", *Kind})
"""What the file of a sub-folder may set."""
REFUSED: Final = {
    "handler": "a question's own head, or a preset, says which kind answers",
    "photos": "a question's own head names the images that go along with it",
}
"""Keys of a head that no file may set for many questions, and why."""


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """
    What the file of one sub-folder sets.

    Attributes:
        preset: For every kind; None where it says nothing.
        kinds: Options by kind; a `preset` there goes before the one above.
    """

    preset: PresetName | None = None
    kinds: Mapping[str, RunOptions] = field(default_factory=dict)

    def options(self, kind: Kind) -> RunOptions:
        """Return what it says of a run of *kind*."""
        said = self.kinds.get(kind, RunOptions())
        return said if said.preset is not None else said.model_copy(update={"preset": self.preset})


def read_folder_settings(path: PurePosixPath, text: str) -> FolderSettings:
    """
    Return what *text* sets, that of the sub-folder's file *path*.

    Raises:
        ConfigError: It is not TOML, or breaks a rule above; names file, line and key.
    """
    refuse_long_keys(path, text)
    values = parse_toml(path, text)
    for key in values:
        if key not in FOLDER_KEYS:
            raise ConfigError(f"{path}, line {_line(text, key)}: {_refused(key)}")
    kinds = {}
    for kind in Kind:
        if kind in values:
            kinds[kind.value] = _table(path, text, kind, values[kind])
    preset = None
    if "preset" in values:
        preset = _table(path, text, None, {"preset": values["preset"]}).preset
    return FolderSettings(preset, kinds)


def _table(path: PurePosixPath, text: str, kind: Kind | None, given: Any) -> RunOptions:  # noqa: ANN401 (TOML)
    at = () if kind is None else (kind.value,)
    if not isinstance(given, dict):
        raise ConfigError(f"{path}, line {_line(text, *at)}: {kind} is a table: [{kind}]")
    for key, why in REFUSED.items():
        if key in given:
            raise ConfigError(f"{path}, line {_line(text, *at, key)}: {key}: {why}")
    try:
        return RunOptions.model_validate(given)
    except ValidationError as wrong:
        error = wrong.errors(include_url=False)[0]
        names = tuple(str(part) for part in error["loc"])
        if error["type"] == "extra_forbidden":
            what = f"no such option{_near(names[-1], RunOptions.model_fields)}"
        else:
            what = f"expected {EXPECTED[names[0]]}" if names else in_words(error)
        raise ConfigError(f"{path}, line {_line(text, *at, *names)}: {'.'.join((*at, *names))}: {what}") from None


def _refused(key: str) -> str:
    if key in RunOptions.model_fields:
        return f"{key}: write it below [chat], [job], [research] or [exa], for the questions that it is for"
    if key in Settings.model_fields:
        return (
            f"{key}: a sub-folder may not set this, since it holds for the whole workspace; it may set preset, [chat], "
            "[job], [research] and [exa]"
        )
    return f"{key}: no such setting{_near(key, FOLDER_KEYS)}"


def _near(word: str, names: Any) -> str:  # noqa: ANN401 (anything that is iterated)
    close = get_close_matches(word, list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(sorted(names))}"


def _line(text: str, *keys: str) -> int:
    return line_of(text, ".".join(keys)) or 1
