"""`rlmwatch presets`: the presets that a question may name, or one of them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from rlmwatch.cli.arguments import Folder, Json
from rlmwatch.cli.layout import Column
from rlmwatch.cli.output import print_json, print_table, put
from rlmwatch.cli.warned import quiet
from rlmwatch.contract.presets import Origin, read_preset
from rlmwatch.errors import InputError, UsageError
from rlmwatch.settings.sources import user_config_dir
from rlmwatch.workspace.locate import find, is_named
from rlmwatch.workspace.presets import PresetFile, PresetFolders

COLUMNS = (Column("name"), Column("origin", "from"), Column("description", grows=True))


@dataclass(frozen=True, slots=True)
class ListedPreset:
    """
    One preset of `presets --json`.

    Attributes:
        origin: In which of the folders it is; the first that has one of the name wins.
        path: Its file, for people.
        description: What it is for, in its own words.
        problem: Why it cannot be used; None where it can.
    """

    name: str
    origin: Origin
    path: str
    description: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ShownPreset:
    """
    What `presets NAME --json` prints.

    Attributes:
        options: What its head sets, as in front matter.
        text: What stands below.
    """

    name: str
    origin: Origin
    path: str
    description: str
    options: dict[str, Any]
    text: str


def presets(
    name: str | None = None,
    /,
    *,
    workspace: Folder = None,
    as_json: Json = False,
) -> int:
    """
    List the presets that questions may name, with what each is for; with a name, print that one's file.

    Args:
        name: A preset.
        workspace: The folder; default is $RLMWATCH_WORKSPACE, else the current folder if it is a workspace.
        as_json: Print JSON.
    """
    quiet()
    root = find(workspace) if is_named(workspace) else None
    folders = PresetFolders(root, user_config_dir(os.environ))
    if name is None:
        return _list(folders, as_json=as_json)
    try:
        file = folders.find(name)
        raw = file.read()
        shown = _shown(file, raw)
    except InputError as error:
        raise UsageError(str(error)) from None
    if as_json:
        print_json(asdict(shown))
    else:
        put(raw.decode("utf-8", "replace").rstrip("\n"))
    return 0


def _list(folders: PresetFolders, *, as_json: bool) -> int:
    found = [_listed(file) for file in folders.all()]
    if as_json:
        print_json([asdict(preset) for preset in found])
        return 0
    rows = [
        asdict(preset) | ({"description": f"cannot be used: {preset.problem}"} if preset.problem else {})
        for preset in found
    ]
    print_table(COLUMNS, rows, empty="there are none")
    return 0


def _listed(file: PresetFile) -> ListedPreset:
    try:
        preset = read_preset(file.name, file.where, file.read())
    except InputError as error:
        return ListedPreset(file.name, file.origin, file.where, "", str(error))
    return ListedPreset(file.name, file.origin, file.where, preset.description)


def _shown(file: PresetFile, raw: bytes) -> ShownPreset:
    preset = read_preset(file.name, file.where, raw)
    options = preset.options.model_dump(mode="json", exclude_none=True)
    return ShownPreset(file.name, file.origin, file.where, preset.description, options, preset.text)
