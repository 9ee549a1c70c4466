"""What `rlmwatch doctor` says of the settings: where they came from, which files were read, what ceilings leave."""

from __future__ import annotations

from pathlib import Path

from rlmwatch.cli.fixes import open_to_others
from rlmwatch.cli.report import Line
from rlmwatch.daemon import metrics, traces
from rlmwatch.daemon.credentials import DOTENV
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.money import dollars
from rlmwatch.runs.ceilings import CeilingUse
from rlmwatch.settings.model import CeilingSettings, Settings
from rlmwatch.settings.sources import USER_FILE, Loaded
from rlmwatch.settings.workspace_file import WORKSPACE_FILE


def settings_lines(loaded: Loaded, user_dir: Path, paths: WorkspacePaths | None) -> list[Line]:
    """Return what was set and where, which files were read, and whether others may read the keys."""
    read_by_others = open_to_others(user_dir / DOTENV)
    return [
        Line("ok", "settings", _origins(loaded, user_dir)),
        Line("ok", "files read", _files(user_dir, paths)),
        *([read_by_others] if read_by_others else []),
        *_extras(loaded.settings),
    ]


def _extras(settings: Settings) -> list[Line]:
    """Return what the settings ask for while its libraries are not installed."""
    asked = [
        ("metrics", settings.metrics, metrics.is_installed, "metrics"),
        ("traces", settings.traces, traces.is_installed, "otel"),
    ]
    return [
        Line("wrong", name, "its libraries are not installed, and no daemon starts", f"install rlmwatch[{extra}]")
        for name, value, is_installed, extra in asked
        if value is not None and not is_installed()
    ]


def _origins(loaded: Loaded, user_dir: Path) -> str:
    """Return what was set, by where: tables are named by their keys."""
    by_place: dict[str, list[str]] = {}
    for key, origin in loaded.origins.items():
        if not any(other.startswith(f"{key}.") for other in loaded.origins):
            by_place.setdefault(origin, []).append(key)
    words = [f"{', '.join(keys)} ({origin})" for origin, keys in by_place.items()]
    return "; ".join(words) or f"all defaults; yours would be in {user_dir / USER_FILE}"


def _files(user_dir: Path, paths: WorkspacePaths | None) -> str:
    """Return which files settings and keys may come from, and which of these are there."""
    files = [user_dir / USER_FILE, user_dir / DOTENV, *([paths.root / WORKSPACE_FILE] if paths else [])]
    there = ", ".join(str(file) for file in files if file.exists())
    missing = ", ".join(str(file) for file in files if not file.exists())
    return "; not there: ".join(filter(None, (there or "none", missing)))


def ceiling_lines(ceilings: CeilingSettings, found: tuple[CeilingUse, ...]) -> list[Line]:
    """Return what is left of each ceiling."""
    if ceilings.max_cost_usd_per_day is None:
        lines = [Line("warning", "ceiling", "none per day", "set max_cost_usd_per_day under [ceilings]")]
    else:
        lines = []
    whose = "all workspaces of this user together" if ceilings.per == "user" else "this workspace"
    for use in found:
        when = "today" if use.period == "day" else "this month"
        text = f"{dollars(use.left_usd)} of {dollars(use.limit_usd)} are left {when} (UTC), for {whose}"
        todo = f"raise max_cost_usd_per_{use.period} under [ceilings], or wait for the next {use.period}"
        lines.append(Line("warning" if use.near else "ok", "ceiling", text, todo if use.near else ""))
    if ceilings.max_cost_usd_per_run is not None:
        lines.append(Line("ok", "ceiling", f"{dollars(ceilings.max_cost_usd_per_run)} for one run, at most"))
    return lines
