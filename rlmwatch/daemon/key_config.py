"""The user's config.toml with another provider in it, as `rlmwatch setup` tests it and then stores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlmwatch.contract.text import decode
from rlmwatch.errors import ConfigError, InputError

OF_A_PROVIDER = ("model", "sub_model", "key")
"""Settings that belong to the provider that was there before."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """
    Who is to answer.

    Attributes:
        provider: Its name.
        table: What `[providers.NAME]` is to say of it: address, name of its key, deployment; texts.
        model: Model of runs that name none; None for the provider's own.
        keyless: Whether it is to be asked without a key, whatever its table says.
        before: Who answers where config.toml names nobody, and so whose its model and key are; None for nobody.
    """

    provider: str
    table: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    keyless: bool = False
    before: str | None = None


def read(file: Path) -> str:
    """
    Return the text of the user's config.toml, `""` where there is none. Blocks.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return decode(file.read_bytes()) if file.exists() else ""
    except (OSError, InputError) as error:
        raise ConfigError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def config_with(before: str, chosen: Chosen) -> tuple[str, list[str]]:
    """
    Return the text *before* with *chosen* in it, and which settings had to go; comments and order stay.

    `base_url` goes, since it would come first; so do those of another provider.
    """
    import tomlkit

    document = tomlkit.parse(before)
    another = document.get("provider", chosen.before) != chosen.provider or "base_url" in document
    gone = [key for key in ("base_url", *(OF_A_PROVIDER if another else ())) if key in document]
    for key in gone:
        del document[key]
    document["provider"] = chosen.provider
    if chosen.model is not None:
        document["model"] = chosen.model
    if chosen.table:
        tables = document.setdefault("providers", tomlkit.table(is_super_table=True))
        own = tables.setdefault(chosen.provider, tomlkit.table())
        own.update(chosen.table)
        if chosen.keyless and "key" in own:
            del own["key"]
    return tomlkit.dumps(document), gone
