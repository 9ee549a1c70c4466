"""What settings say about saves: which count, how large they may be, what the person sees in their files."""

from __future__ import annotations

from pydantic import ValidationError

from rlmwatch.contract.options import RunOptions
from rlmwatch.runs.model import Run, Save
from rlmwatch.runs.queue import OnNewSave
from rlmwatch.settings.model import Settings
from rlmwatch.watch.save_filter import WatchConfig

MB = 1_000_000


def watch_config(settings: Settings) -> WatchConfig:
    """Return what counts as a save under *settings*."""
    return WatchConfig(
        ready_marker=settings.ready_marker,
        max_bytes=int(settings.max_input_mb * MB),
        on_new_save=OnNewSave(settings.on_new_save),
        webhook=settings.webhooks.url_for,
        name_notes=settings.name_notes,
        sees_typing=settings.ready_marker is None and "on_new_save" not in settings.model_fields_set,
    )


def marks_of(settings: Settings, asked: Save | Run) -> bool:
    """Whether *settings*, and *asked* itself, have lines for the person in its files (`contract/marks.py`)."""
    return settings.options_for(asked.kind, _said_by(asked)).marks is not False


def transcribes_of(settings: Settings, run: Run) -> bool:
    """Whether *settings*, and *run* itself, have its answer in a transcript."""
    return settings.options_for(run.kind, _said_by(run)).transcript is True


def _said_by(asked: Save | Run) -> RunOptions:
    try:
        return RunOptions.model_validate(dict(asked.options))
    except ValidationError:  # a run of another version
        return RunOptions()
