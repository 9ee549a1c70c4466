"""
What else a save says: its preset, the settings of its folders, and the schema of its answer, as they are now.

    the question's own head  over  its preset  over  the folders' rlmwatch.toml, the nearest first
        over  the workspace's rlmwatch.toml, the user's settings and the defaults (settings/model.py)

1. It is captured with the save, before that is admitted: a preset, a folder's file or a schema that is edited later
   changes no run, neither one that waits nor one that goes on after a crash.
2. It is no part of what makes two saves the same: those are the bytes of the question. So who edits a preset is not
   asked again what was answered; `rlmwatch again FILE` asks with the preset as it is then.
3. What is wrong with one of these is a problem of the save: no call is made, and the error names the file. Once it is
   right, the same bytes, saved once more, are asked.
4. Whatever it says counts as the workspace's word (`model_choice.py`), also where the preset is the user's own: it is a
   file of the workspace that chose it. The user's ceilings stay above.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from rlmwatch.contract.json_answer import MAX_SCHEMA_BYTES, read_schema
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.names import Submission, classify
from rlmwatch.contract.options import NO_PRESET, RunOptions
from rlmwatch.contract.presets import Preset, fill
from rlmwatch.contract.text import digest
from rlmwatch.errors import ConfigError, InputError
from rlmwatch.json_schema.checker import SchemaChecker
from rlmwatch.runs.model import JSON, PRESET, UNRESOLVED, Save
from rlmwatch.settings.model import Settings
from rlmwatch.workspace import safe_open
from rlmwatch.workspace.folder_settings import folder_settings
from rlmwatch.workspace.presets import PresetFolders

CURE: Final = "When that is put right, save the question once more; the same text will do."

CURE_OF_A_JOB: Final = "When that is put right, hand the job in again."


@dataclass(frozen=True, slots=True)
class Capture:
    """
    Captures what a save says beside its own bytes.

    Attributes:
        root: The workspace.
        user_dir: The user's configuration folder.
        settings: Returns what holds now.
        utc: Asks the wall clock.
        schemas: Knows which schemas are good.
    """

    root: Path
    user_dir: Path
    settings: Callable[[], Settings]
    utc: Callable[[], str]
    schemas: SchemaChecker = field(default_factory=SchemaChecker)

    async def __call__(self, save: Save) -> Save:
        """Return *save* with it; with a `problem` where it cannot be had."""
        if save.problem is not None:
            return save
        try:
            captured = await asyncio.to_thread(self._captured, save)
            if captured.wants_json is not None and (schema := captured.wants_json["schema"]) is not None:
                await self.schemas.check(schema, captured.wants_json["path"])
        except (InputError, ConfigError) as error:
            cure = CURE_OF_A_JOB if isinstance(classify(save.path), Submission) else CURE
            return replace(save, prompt="", options={}, enclosed={UNRESOLVED: True}, problem=f"{error}\n{cure}")
        return captured

    def _captured(self, save: Save) -> Save:
        """
        Return *save* with what stands in files. Blocks.

        Raises:
            InputError, ConfigError: One is missing or wrong; names it.
        """
        own, settings = RunOptions.model_validate(dict(save.options)), self.settings()
        folders = folder_settings(self.root, save.path)
        by_folders = [settings_of.options(save.kind) for settings_of in folders]
        preset = self._preset(own, [*(each.preset for each in by_folders), *_of_settings(settings, save.kind)])
        options, kind = own, save.kind
        if preset is not None:
            options = own.over(preset.options)
            kind = own.handler or preset.options.handler or kind
            by_folders = [settings_of.options(kind) for settings_of in folders]
        if kind is Kind.RESEARCH and isinstance(classify(save.path), Submission):
            raise InputError("`handler`: research keeps a session beside its question, which a job file has not")
        for said in by_folders:
            options = options.over(said)
        options = options.model_copy(update={"preset": None if preset is None else preset.name})
        holds = settings.options_for(kind, options)
        enclosed: dict[str, Any] = dict(save.enclosed)
        if preset is not None:
            enclosed |= self._as_preset_puts_it(save, preset, holds.vars or {})
        if (wanted := self._format(save, holds, preset, own)) is not None:
            enclosed[JSON] = wanted
        values = options.model_dump(mode="json", exclude_none=True)
        return replace(save, kind=kind, options=values, enclosed=enclosed)

    def _preset(self, own: RunOptions, below: list[str | None]) -> Preset | None:
        name = next((name for name in (own.preset, *below) if name is not None), NO_PRESET)
        return None if name == NO_PRESET else PresetFolders(self.root, self.user_dir).read(name)

    def _as_preset_puts_it(self, save: Save, preset: Preset, variables: Mapping[str, str]) -> dict[str, Any]:
        asked = fill(preset, save.prompt, path=save.path, variables=variables, day=self.utc()[:10])
        captured = {"name": preset.name, "where": preset.where, "digest": preset.digest, "asked": asked}
        notes = list(save.enclosed.get("notes", ()))
        if preset.ignored:
            notes.append(f"not used, of the preset {preset.name}: {', '.join(f'`{key}`' for key in preset.ignored)}")
        return {PRESET: captured} | ({"notes": notes} if notes else {})

    def _format(self, save: Save, holds: RunOptions, preset: Preset | None, own: RunOptions) -> dict[str, Any] | None:
        """Return what the answer is to be: None for a text, else its schema and where that stands."""
        if holds.json is False or (holds.schema is None and holds.json is None):
            return None
        if holds.schema is None:
            return {"schema": None}
        of_preset = preset is not None and own.schema is None and preset.options.schema is not None
        for folder, within in self._schema_folders(save, preset if of_preset else None):
            path = folder / holds.schema
            raw = _read(path, within, holds.schema)
            if raw is not None:
                return {"schema": read_schema(raw, holds.schema), "path": holds.schema, "digest": digest(raw)}
        raise InputError(
            f"`schema`: {holds.schema}: no such file, neither beside the question nor in the workspace's root"
        )

    def _schema_folders(self, save: Save, preset: Preset | None) -> Iterator[tuple[Path, Path]]:
        """Yield each folder that a schema is looked for in, and the one that it may not lead out of."""
        if preset is not None:
            for origin, folder in PresetFolders(self.root, self.user_dir).folders():
                if preset.origin == origin:
                    yield folder, self.root if origin == "workspace" else folder
        if not isinstance(classify(save.path), Submission):
            yield self.root / PurePosixPath(save.path).parent, self.root
        yield self.root, self.root


def _of_settings(settings: Settings, kind: Kind) -> tuple[str | None, ...]:
    table: RunOptions = getattr(settings, kind)
    return table.preset, settings.preset


def _read(path: Path, within: Path, shown: str) -> bytes | None:
    """Return what stands in the schema at *path*, with links resolved, which may not lead out of *within*."""
    try:
        resolved, within = path.resolve(), within.resolve()
        if not resolved.is_relative_to(within):
            raise InputError(f"`schema`: {shown} leads out of the workspace; copy it in")
        return safe_open.read(resolved, within=within, max_bytes=MAX_SCHEMA_BYTES)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a NUL in the path
        why = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) == errno.EFBIG:
            why = f"it is larger than {MAX_SCHEMA_BYTES // 1024} KB: make it shorter"
        raise InputError(f"`schema`: {shown}: {why}") from None
