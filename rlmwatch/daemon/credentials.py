"""
Where keys come from: the environment, systemd's credentials, the system keyring, a `.env` of the user.

Never from the workspace. A key is a `SecretStr` from the moment it is read.

The keyring may be locked, or dead, and then it does not answer. So it is asked

1. only for what the environment and the credentials do not hold; the usual names of model keys only where they hold
   none of these, so that one key in the environment is enough;
2. in a thread, for at most `KEYRING_LIMIT_S` seconds over all names; what it did not say by then is not there.
"""

from __future__ import annotations

import importlib.util
import queue
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import structlog
from pydantic import SecretStr

from rlmwatch import clock
from rlmwatch.contract.text import decode
from rlmwatch.errors import InputError, NoProvider
from rlmwatch.settings.model import Settings
from rlmwatch.settings.providers import MODEL_KEYS, SEARCH_KEY, SHIPPED

KEYS = (*MODEL_KEYS, SEARCH_KEY)
"""The usual names."""
DOTENV = ".env"
SERVICE = "rlmwatch"
"""The service's name in the system keyring."""
KEYRING_LIMIT_S = 3.0
"""A keyring that works answers within a tenth of this."""
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
"""What comes along when a key is copied from a page or a file: byte order mark, zero-width characters."""

_SECRET_HEADER = re.compile("auth|key|token|secret|pass|cookie|credential|session", re.IGNORECASE)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key and where it was found.

    Attributes:
        origin: For people: the kind of place, never the value.
        problem: Why it cannot be sent, for the person; None where it can.
    """

    name: str
    secret: SecretStr
    origin: str
    problem: str | None = None

    @classmethod
    def of(cls, name: str, value: str, origin: str) -> Key | None:
        """Return the key that *value* is, without the blanks and line ends around it; None where nothing is left."""
        text = value.strip().strip(_INVISIBLE).strip()
        if not text:
            return None
        odd = next((at for at, letter in enumerate(text) if not "!" <= letter <= "~"), None)
        problem = None
        if odd is not None:
            what = (
                "a line break" if text[odd] in "\r\n" else "a blank" if text[odd].isspace() else "a letter no key has"
            )
            problem = f"{name} ({origin}) cannot be a key: {what} stands at character {odd + 1} of it; write it again"
        return cls(name, SecretStr(text), origin, problem)


def wanted(settings: Settings) -> frozenset[str]:
    """Return the names of the keys that *settings* name, by a provider or by themselves."""
    named = {table.key for table in settings.providers.values()} | {settings.key}
    chosen = (settings.provider, *settings.providers)
    named |= {SHIPPED[name].key for name in chosen if name is not None and name in SHIPPED}
    return frozenset(name for name in named if name is not None)


def secrets(settings: Settings, keys: Mapping[str, Key]) -> list[str]:
    """Return every secret that is known, to be kept out of the log: keys, what signs, headers that sound like it."""
    found = [key.secret for key in keys.values()]
    if settings.webhooks.secret is not None:
        found.append(settings.webhooks.secret)
    for table in settings.providers.values():
        found += [value for name, value in table.headers.items() if _SECRET_HEADER.search(name)]
    return [secret.get_secret_value() for secret in found]


def find(name: str, environ: Mapping[str, str], user_dir: Path) -> Key | None:
    """
    Return the key *name* from the first place that has it.

    Raises:
        NoProvider: The user's `.env` is not text, and nobody else has the key.
    """
    return find_all(environ, user_dir, named={name}, usual=()).get(name)


def find_all(
    environ: Mapping[str, str],
    user_dir: Path,
    *,
    named: Iterable[str] = (),
    usual: Iterable[str] = KEYS,
    keyring_limit_s: float = KEYRING_LIMIT_S,
) -> dict[str, Key]:
    """
    Return every key that is there, by name.

    May take `KEYRING_LIMIT_S`: not in an event loop.

    Args:
        environ: Where variables are looked up.
        user_dir: The user's configuration folder.
        named: Keys that the settings name: these are looked for in every place.
        usual: Keys that are looked for without a word.
        keyring_limit_s: Seconds for the keyring.

    Raises:
        NoProvider: The user's `.env` is not text, and no key was found elsewhere.
    """
    names = dict.fromkeys((*named, *usual))
    found: dict[str, Key] = {}

    def take(name: str, value: str | None, origin: str) -> None:
        key = Key.of(name, value, origin) if value else None
        if key is not None:
            found.setdefault(name, key)

    for name in names:
        take(name, environ.get(name), "environment")
        take(name, _credential(name, environ), "systemd credential")
    passed_over = () if found.keys().isdisjoint(MODEL_KEYS) else set(MODEL_KEYS) - set(named)
    for name, value in _keyring([n for n in names if n not in found and n not in passed_over], keyring_limit_s).items():
        take(name, value, "keyring")
    file = user_dir / DOTENV
    try:
        written = _dotenv(file)
    except NoProvider as error:
        if not found:
            raise
        log.warning("credentials.unreadable", why=str(error))
        written = {}
    for name in names:
        take(name, written.get(name), str(file))
    return found


def _credential(name: str, environ: Mapping[str, str]) -> str | None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    for spelled in (name, name.lower()):
        try:
            return decode(Path(folder, spelled).read_bytes())
        except (OSError, InputError):
            continue
    return None


def _keyring(names: list[str], limit_s: float) -> dict[str, str]:
    """Ask the system keyring for *names*, where the library is installed, for at most *limit_s* seconds."""
    if not names or importlib.util.find_spec("keyring") is None:
        return {}
    answers: queue.SimpleQueue[tuple[str, str | None] | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            import keyring

            for name in names:
                answers.put((name, keyring.get_password(SERVICE, name)))
        except Exception as error:  # noqa: BLE001 (its backends are other people's)
            log.info("credentials.keyring_failed", why=type(error).__name__)
        finally:
            answers.put(None)

    # Not of a pool: nobody can end a thread that waits for a dead keyring, and the end of the program must not wait.
    threading.Thread(target=ask, name="rlmwatch-keyring", daemon=True).start()
    found: dict[str, str] = {}
    give_up = clock.monotonic() + limit_s
    while True:
        try:
            answer = answers.get(timeout=max(0.0, give_up - clock.monotonic()))
        except queue.Empty:
            log.warning("credentials.keyring_silent", for_s=limit_s, names=names)
            return found
        if answer is None:
            return found
        if answer[1] is not None:
            found[answer[0]] = answer[1]


def _dotenv(file: Path) -> Mapping[str, str | None]:
    """Read the user's own `.env`; nothing is expanded, so a key may hold a dollar sign."""
    try:
        text = decode(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, InputError) as error:
        raise NoProvider(f"{file}: cannot be read: {error}") from None
    from dotenv import dotenv_values

    return dotenv_values(stream=StringIO(text), interpolate=False)
