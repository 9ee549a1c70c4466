"""
Where keys come from: the environment, systemd's credentials, the system keyring, a `.env` of the user.

Never from the workspace. A key is a `SecretStr` from the moment it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from pydantic import SecretStr

from rlmwatch.contract.text import decode
from rlmwatch.errors import ConfigError, InputError

KEYS = ("OPENROUTER_API_KEY", "OPENAI_API_KEY", "EXA_API_KEY")
DOTENV = ".env"
SERVICE = "rlmwatch"
"""The service's name in the system keyring."""


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key and where it was found.

    Attributes:
        origin: For people: the kind of place, never the value.
    """

    name: str
    secret: SecretStr
    origin: str


def find(name: str, environ: Mapping[str, str], user_dir: Path) -> Key | None:
    """Return the key *name* from the first place that has it."""
    for origin, value in (
        ("environment", environ.get(name)),
        ("systemd credential", _credential(name, environ)),
        ("keyring", _keyring(name)),
        (f"{user_dir / DOTENV}", _dotenv(user_dir / DOTENV).get(name)),
    ):
        if value and value.strip():
            return Key(name, SecretStr(value.strip()), origin)
    return None


def find_all(environ: Mapping[str, str], user_dir: Path) -> dict[str, Key]:
    """Return every key that is there, by name."""
    found = (find(name, environ, user_dir) for name in KEYS)
    return {key.name: key for key in found if key is not None}


def _credential(name: str, environ: Mapping[str, str]) -> str | None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    for spelled in (name, name.lower()):
        try:
            return Path(folder, spelled).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return None


def _keyring(name: str) -> str | None:
    """Ask the system keyring, where the library is installed."""
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return None
    try:
        value: str | None = keyring.get_password(SERVICE, name)
    except keyring.errors.KeyringError:
        return None
    return value


def _dotenv(file: Path) -> Mapping[str, str | None]:
    """Read the user's own `.env`; nothing is expanded, so a key may hold a dollar sign."""
    try:
        text = decode(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, InputError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    from dotenv import dotenv_values

    return dotenv_values(stream=StringIO(text), interpolate=False)
