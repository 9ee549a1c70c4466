"""
Where the settings come from, and in which order.

Laid over each other, the later wins:

1. the defaults (`config.py`)
2. `config.toml` in the user's configuration folder
3. `rlmwatch.toml` in the workspace: it may arrive by sync, so it may set only
   what `WORKSPACE_KEYS` lists, caps only up to the user's ceilings, and
   `provider` only among those that the user opened to workspaces
4. the environment, `RLMWATCH_…`, nested by `__` (`RLMWATCH_CHAT__TOKENS=500`)
5. flags of the command line
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rlmwatch.contract.faults import in_words
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.text import decode
from rlmwatch.errors import ConfigError, InputError
from rlmwatch.settings.lines import in_line
from rlmwatch.settings.model import WORKSPACE_KEYS, Settings
from rlmwatch.settings.providers import closed, names
from rlmwatch.settings.user_folders import in_home
from rlmwatch.settings.workspace_file import WORKSPACE_FILE, parse, parse_toml, read_text

USER_FILE = "config.toml"
ENV_PREFIX = "RLMWATCH_"
ENV_OUTSIDE = frozenset({"RLMWATCH_WORKSPACE", "RLMWATCH_STATE_DIR"})
"""Variables that say where things are; no settings."""
ENV_TOLD = frozenset(
    f"RLMWATCH_{fact}"
    for fact in "FILE STATUS OUTCOME ANSWER ERROR SECONDS PRICE_USD RUN KIND FOLDER".split()  # noqa: SIM905 (ten words)
)
"""Variables that `notify_command` is told facts in: it may call `rlmwatch`, to which they are no settings."""


Stamp = tuple[int, int]
"""Time of the last change (ns) and size of a file."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """
    The settings that hold, and where each one came from.

    Attributes:
        origins: Dotted key → the file, variable or flag that set it; defaults are not listed.
        workspace_file: The workspace's own file; None where there is no workspace.
        workspace_values: What that file says, without `host`.
        user_stamp: The user's file as it was read, see `stamp`.
    """

    settings: Settings
    origins: Mapping[str, str]
    workspace_file: str | None = None
    workspace_values: Mapping[str, Any] = field(default_factory=dict)
    user_stamp: Stamp | None = None

    def workspace_set(self, dotted: str) -> bool:
        """Whether it is the workspace's file that set *dotted*."""
        return self.workspace_file is not None and self.origins.get(dotted) == self.workspace_file


def stamp(file: Path) -> Stamp | None:
    """Return what changes when *file* is written; None where it cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def values_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the *table* of a `rlmwatch.toml` sets: all but `host`, which says who answers."""
    return {key: value for key, value in table.items() if key != "host"}


def load(
    *,
    user_dir: Path,
    workspace: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
    user_text: str | None = None,
) -> Loaded:
    """
    Read all sources and return the settings that hold.

    Args:
        user_dir: The user's configuration folder.
        workspace: Whose file holds too; None for none.
        environ: Where variables are looked up.
        flags: Settings of the command line, over all others.
        user_text: What the user's file would say, in place of what it says.

    Raises:
        ConfigError: A file cannot be read or a value is wrong; names the file (or variable) and the key.
    """
    user_file = user_dir / USER_FILE
    seen = stamp(user_file)
    texts = {str(user_file): _text(user_file) if user_text is None else user_text}
    layers = [(str(user_file), parse_toml(user_file, texts[str(user_file)]))]
    file, chosen, own = None, {}, {}
    if workspace is not None:
        file = workspace / WORKSPACE_FILE
        texts[str(file)] = text = read_text(workspace)
        own = parse(workspace, text)
        table = _only_workspace_keys(file, own, text)
        chosen = _providers_named(table)
        layers.append((str(file), _for_each_kind(file, table)))
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, table in layers:
        _lay_over(merged, table, origins, name)
    for variable, keys, value in _environment(environ):
        _lay_over(merged, _nested(keys, value), origins, variable)
    _lay_over(merged, {k: v for k, v in (flags or {}).items() if v is not None}, origins, "the command line")
    for key, provider in chosen.items():
        _refuse_closed(f"{file}: {key}", provider, merged.get("providers"))
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as wrong:
        raise ConfigError(_in_words(wrong, origins, texts)) from None
    return Loaded(settings, origins, str(file) if file else None, values_of(own), seen)


def _text(file: Path) -> str:
    try:
        return decode(file.read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, InputError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None


def _only_workspace_keys(file: Path, table: dict[str, Any], text: str) -> dict[str, Any]:
    for key in table:
        if key in WORKSPACE_KEYS or key == "provider":
            continue
        if key in Settings.model_fields:
            raise ConfigError(
                f"{file}{in_line(text, key)}: {key}: a workspace may not set this, since its files may come from "
                f"elsewhere; put it into {USER_FILE} in your configuration folder"
            )
        raise ConfigError(f"{file}: {key}: no such setting{_did_you_mean(key, WORKSPACE_KEYS)}{in_line(text, key)}")
    return table


def _providers_named(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the providers that the workspace's *table* chooses, by the key that does."""
    found = {"provider": table.get("provider")}
    for kind in Kind:
        of_kind = table.get(kind)
        if isinstance(of_kind, dict):
            found[f"{kind}.provider"] = of_kind.get("provider")
    return {key: name for key, name in found.items() if isinstance(name, str)}


def _refuse_closed(where: str, provider: str, tables: object) -> None:
    """Raise where the user's *tables* `[providers]` do not open *provider* to workspaces."""
    known = tables if isinstance(tables, dict) else {}
    table = known.get(provider)
    if not (isinstance(table, dict) and table.get("workspaces") is True):
        raise ConfigError(f"{where}: {closed(provider, names(known))}")


def _for_each_kind(file: Path, table: dict[str, Any]) -> dict[str, Any]:
    """
    Return the workspace's *table* with its `provider` in the table of each kind that names none.

    There it is laid over what the user chose for a kind with its model, and is never taken for the user's own choice.
    """
    if "provider" not in table:
        return table
    kinds = {kind.value: table.get(kind, {}) for kind in Kind}
    if not all(isinstance(each, dict) for each in kinds.values()):
        raise ConfigError(f"{file}: chat, research, job and exa are tables: [chat]")
    rest = {key: value for key, value in table.items() if key != "provider"}
    return {**rest, **{kind: {"provider": table["provider"], **each} for kind, each in kinds.items()}}


def _environment(environ: Mapping[str, str]) -> list[tuple[str, list[str], Any]]:
    """Return (variable, key path, value) of every setting in the environment; JSON values are taken as such."""
    found = []
    for variable in sorted(environ):
        if variable.startswith(ENV_PREFIX) and variable not in ENV_OUTSIDE | ENV_TOLD:
            keys = variable.removeprefix(ENV_PREFIX).lower().split("__")
            found.append((variable, keys, _value(environ[variable])))
    return found


def _value(text: str) -> Any:  # noqa: ANN401 (JSON)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _nested(keys: list[str], value: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    for key in reversed(keys):
        value = {key: value}
    table: dict[str, Any] = value
    return table


def _lay_over(
    below: dict[str, Any], table: Mapping[str, Any], origins: dict[str, str], name: str, at: str = ""
) -> None:
    for key, value in table.items():
        dotted = f"{at}{key}"
        if isinstance(value, dict) and isinstance(below.setdefault(key, {}), dict):
            _lay_over(below[key], value, origins, name, f"{dotted}.")
        else:
            below[key] = value
        origins[dotted] = name


def _in_words(wrong: ValidationError, origins: Mapping[str, str], texts: Mapping[str, str]) -> str:
    """Say each error as file or variable, key, what is expected, and the line in the file."""
    lines = []
    for error in wrong.errors(include_url=False):
        dotted = ".".join(str(part) for part in error["loc"])
        origin = next((origins[k] for k in _up(dotted) if k in origins), "the settings")
        if error["type"] == "extra_forbidden":
            names = _names_beside([str(part) for part in error["loc"]])
            what = f"no such setting{_did_you_mean(dotted.rpartition('.')[2], names)}"
        else:
            what = in_words(error)
        what += in_line(texts.get(origin, ""), dotted) if dotted else ""
        lines.append(f"{origin}: {dotted}: {what}" if dotted else f"{origin}: {what}")
    return "\n".join(lines)


def _up(dotted: str) -> list[str]:
    parts = dotted.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _names_beside(loc: list[str]) -> list[str]:
    """Return the settings that stand beside a wrong one, to suggest from."""
    table: type[BaseModel] = Settings
    for part in loc[:-1]:
        inner = table.model_fields[part].annotation if part in table.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            table = inner
    return list(table.model_fields)


def _did_you_mean(word: str, names: frozenset[str] | list[str]) -> str:
    close = get_close_matches(word, list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(sorted(names))}"


def own_name(user_dir: Path, environ: Mapping[str, str], hostname: str) -> str:
    """
    Return the name by which this machine answers: `RLMWATCH_HOST`, else `host` of the user's own file, else *hostname*.

    In `rlmwatch.toml`, which travels with the folder, `host` says who answers; in what belongs to this machine alone
    it says who we are.

    Raises:
        ConfigError: The user's file cannot be read.
    """
    file = user_dir / USER_FILE
    named = environ.get(f"{ENV_PREFIX}HOST") or parse_toml(file, _text(file)).get("host")
    return str(named) if named else hostname


def user_config_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's configuration folder for rlmwatch; ConfigError where they have no home."""
    from platformdirs import user_config_path

    home = environ.get("XDG_CONFIG_HOME")
    return Path(home) / "rlmwatch" if home else in_home(user_config_path)


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of rlmwatch's private state, across all workspaces; ConfigError where there is no home."""
    from platformdirs import user_state_path

    moved = environ.get("RLMWATCH_STATE_DIR")
    home = environ.get("XDG_STATE_HOME")
    return Path(moved) if moved else Path(home) / "rlmwatch" if home else in_home(user_state_path)
