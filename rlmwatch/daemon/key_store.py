"""
Stores a key where `credentials.py` finds it: in the system keyring where one works, else in the user's own `.env`.

The file has mode 0600 from its first byte on, is written beside and renamed, and keeps every other line.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import secrets
import threading
from contextlib import suppress
from io import StringIO
from pathlib import Path

from pydantic import SecretStr

from rlmwatch.contract.text import decode
from rlmwatch.daemon.credentials import DOTENV, SERVICE
from rlmwatch.errors import ConfigError, InputError

KEYRING_LIMIT_S = 60.0
"""A desktop may ask its user to unlock the keyring first."""


def in_keyring(name: str, secret: SecretStr, *, limit_s: float = KEYRING_LIMIT_S) -> bool:
    """Store the key *name* in the system keyring; False where none works, or it does not give the key back."""
    if importlib.util.find_spec("keyring") is None:
        return False
    kept: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def store() -> None:
        try:
            import keyring

            keyring.set_password(SERVICE, name, secret.get_secret_value())
            kept.put(keyring.get_password(SERVICE, name))
        except Exception:  # noqa: BLE001 (its backends are other people's)
            kept.put(None)

    # Not of a pool: nobody can end a thread that waits for a dead keyring, and the end of the program must not wait.
    threading.Thread(target=store, name="rlmwatch-keyring", daemon=True).start()
    try:
        return kept.get(timeout=limit_s) == secret.get_secret_value()
    except queue.Empty:
        return False


def in_file(name: str, secret: SecretStr, user_dir: Path) -> Path:
    """
    Store the key *name* in the user's `.env`, and return that file; a link there is followed.

    Raises:
        ConfigError: It cannot be read or written, or would not give the key back; it is as it was.
    """
    file = user_dir / DOTENV
    try:
        user_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = file.resolve()
        before = decode(file.read_bytes()) if file.exists() else ""
        text = _with(name, secret.get_secret_value(), before)
        _write_private(file, text.encode())
    except (OSError, InputError) as error:
        raise ConfigError(
            f"{file}: the key cannot be stored there: {getattr(error, 'strerror', None) or error}"
        ) from None
    return file


def _with(name: str, value: str, before: str) -> str:
    """Return the text of a `.env` with *value* for *name*, in place of what it had for it."""
    from dotenv import dotenv_values

    of_name = re.compile(rf"\s*(?:export\s+)?{re.escape(name)}\s*=")
    lines = [line for line in before.splitlines() if not of_name.match(line)]
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    text = "\n".join([*lines, f"{name}='{escaped}'", ""])
    given = dotenv_values(stream=StringIO(text), interpolate=False)
    others = {
        key: each for key, each in dotenv_values(stream=StringIO(before), interpolate=False).items() if key != name
    }
    if given != {**others, name: value}:
        raise InputError(f"it holds lines that would hide {name}: write the key into it by hand")
    return text


def _write_private(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as out:  # noqa: PTH123 (a descriptor)
            out.write(content)
            out.flush()
            os.fsync(fd)
        temporary.rename(file)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
