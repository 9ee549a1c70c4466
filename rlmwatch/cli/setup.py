"""`rlmwatch setup`: a provider, a key that works, a folder; asked for, tested, then stored."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from rlmwatch.addresses import shown
from rlmwatch.cli.init import init
from rlmwatch.cli.output import ask, ask_hidden, quiet, say
from rlmwatch.daemon.credentials import Key, find, find_all, wanted
from rlmwatch.daemon.factories import gather, who_searches
from rlmwatch.daemon.key_store import in_file, in_keyring
from rlmwatch.daemon.key_test import prove
from rlmwatch.errors import ConfigError, ProviderError, UsageError, WrongKey
from rlmwatch.models.select import key_of
from rlmwatch.settings.providers import EMBEDDED, LOCAL, SHIPPED, no_such
from rlmwatch.settings.sources import USER_FILE, load, state_dir, user_config_dir
from rlmwatch.settings.workspace_file import WORKSPACE_FILE
from rlmwatch.workspace import atomic
from rlmwatch.workspace.hosts import refuse_nested
from rlmwatch.workspace.owner import holder, known_workspaces, workspace_id

TRIES = 3
FOLDER = "~/questions"
UNIT = "share/systemd/user/rlmwatch.service"
"""Where the wheel puts the unit of a service."""
OFFERED = (*(name for name in SHIPPED if name != "azure"), LOCAL, EMBEDDED)
"""Azure has no address of its own: it is set in config.toml."""
WHAT = {
    LOCAL: "an Ollama or llama.cpp server on this machine, no key",
    EMBEDDED: "the small model that `rlmwatch model fetch` brings, no key",
}

Flag = Parameter(negative=())


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What was asked and tested, and is stored in one go.

    Attributes:
        key: To be stored; None where there is none, or it is found already.
    """

    provider: str
    key: Key | None
    store: Literal["auto", "keyring", "file"]
    config: bytes
    folder: Path | None


def setup(
    folder: Path | None = None,
    /,
    *,
    provider: str | None = None,
    key_file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    store: Literal["auto", "keyring", "file"] = "auto",
    no_test: Annotated[bool, Flag] = False,
    no_folder: Annotated[bool, Flag] = False,
) -> int:
    """
    Choose a provider, enter its key (it is not shown), test it, store it, and make a folder for questions.

    What the flags say is not asked; without a terminal nothing is, and `--provider` must be there. Ctrl+C before the
    end changes nothing. A daemon that runs takes the key up by itself.

    Args:
        folder: The folder for questions; it is made if it is missing.
        provider: Who answers: openrouter, openai, anthropic, …, local, or embedded.
        key_file: The file that holds the key, - for standard input; a key never stands on a command line.
        store: Where the key is kept: the system keyring, your own file .env of mode 0600, or auto, which of them works.
        no_test: Do not ask the provider for one token, which costs next to nothing.
        no_folder: Make no folder.
    """
    quiet()
    at_terminal = sys.stdin.isatty()
    user_dir = user_config_dir()
    loaded = load(user_dir=user_dir, workspace=None, environ=os.environ)
    if provider is None:
        if not at_terminal:
            raise UsageError(
                "setup asks at a terminal; without one, say --provider NAME, and --key-file FILE for a key"
            )
        provider = _choose_provider()
    if provider not in loaded.settings.provider_names:
        raise UsageError(no_such(provider, loaded.settings.provider_names))
    config = _config_with(user_dir, provider)
    keys = find_all(os.environ, user_dir, named=wanted(loaded.settings))

    def check(with_keys: Mapping[str, Key]) -> None:
        if not no_test:
            say(prove(loaded, provider, with_keys))

    name = key_of(asyncio.run(gather(loaded, keys, os.environ, EMBEDDED)), provider)
    if key_file is None and provider in SHIPPED and not SHIPPED[provider].needs_key:
        name = None
    key = _key(name, keys, check, key_file=key_file, at_terminal=at_terminal)
    if no_folder:
        folder = None
    elif folder is None and at_terminal:
        folder = Path(ask("Folder for your questions", FOLDER))
    plan = Plan(provider, key, store, config, _may_be_made(folder) if folder else None)
    with _in_one_go():
        _carry_out(plan, user_dir)
    say(f"The web is searched by {who_searches(loaded.settings, keys, os.environ)}.")
    _what_next(plan, at_terminal=at_terminal)
    return 0


def _may_be_made(folder: Path) -> Path:
    """
    Return the whole path of *folder*, where it can be a folder for questions.

    Raises:
        UsageError, WorkspaceError: It cannot; nothing is stored then.
    """
    root = folder.expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is not a folder; nothing has been changed")
    refuse_nested(root, state_dir())
    return root


def _choose_provider() -> str:
    say("Which provider is to answer?")
    for number, name in enumerate(OFFERED, 1):
        say(f"  {number:>2}  {name:<11} {WHAT.get(name) or shown(SHIPPED[name].base_url or '')}")
    while True:
        given = ask("Number or name", OFFERED[0]).strip().lower()
        if given.isdecimal() and 1 <= int(given) <= len(OFFERED):
            return OFFERED[int(given) - 1]
        if given in OFFERED:
            return given
        say(f"{given} is not in the list.")


Check = Callable[[Mapping[str, Key]], None]


def _key(
    name: str | None, keys: Mapping[str, Key], check: Check, *, key_file: str | None, at_terminal: bool
) -> Key | None:
    """
    Return the key *name* that is to be stored; None where no key is needed, or one is there already.

    Raises:
        UsageError, ProviderError, NoProvider, ConfigError: There is none that works.
    """
    if name is None and key_file is not None:
        raise UsageError("this provider needs no key")
    there = keys.get(name) if name is not None and key_file is None else None
    if name is None or (there is not None and _keeps(there, at_terminal=at_terminal)):
        check(keys)
        return None
    if key_file is None and at_terminal:
        return _until_it_works(name, keys, check)
    key = _entered(name, key_file)
    check({**keys, name: key})
    return key


def _keeps(there: Key, *, at_terminal: bool) -> bool:
    say(f"{there.name} is there already ({there.origin}).")
    return not at_terminal or ask("Use it, yes or no", "yes").lower().startswith("y")


def _until_it_works(name: str, keys: Mapping[str, Key], check: Check) -> Key:
    """Ask for the key *name* until one works, or the person keeps one that could not be tested; `TRIES` times."""
    for left in range(TRIES - 1, -1, -1):
        try:
            key = _usable(name, ask_hidden(f"{name} (it is not shown)"))
            check({**keys, name: key})
        except (UsageError, ProviderError) as error:
            if left == 0:
                raise
            say(str(error))
            untested = not isinstance(error, UsageError | WrongKey)
            if untested and ask("Keep this key all the same, yes or no", "no").lower().startswith("y"):
                return key
        else:
            return key
    raise AssertionError(TRIES)


def _entered(name: str, key_file: str | None) -> Key:
    """
    Return the key *name* as *key_file* holds it.

    Raises:
        UsageError: There is none, or it cannot be one.
    """
    if key_file is None:
        raise UsageError(f"{name} is not there: say --key-file FILE, or --key-file - for standard input")
    try:
        text = sys.stdin.readline() if key_file == "-" else Path(key_file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{key_file}: the key cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _usable(name, text)


def _usable(name: str, text: str) -> Key:
    key = Key.of(name, text, "setup")
    if key is None:
        raise UsageError(f"{name}: nothing was entered")
    if key.problem is not None:
        raise UsageError(key.problem)
    return key


def _config_with(user_dir: Path, provider: str) -> bytes:
    """
    Return the user's config.toml with *provider*; comments and order stay.

    Raises:
        ConfigError: It cannot be read, or `base_url` in it would go before.
    """
    import tomlkit

    file = user_dir / USER_FILE
    try:
        text = file.read_text(encoding="utf-8-sig") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    document = tomlkit.parse(text)
    if "base_url" in document:
        raise ConfigError(
            f"{file}: base_url says already who answers: take it out first, or check it with `rlmwatch doctor --ask`"
        )
    document["provider"] = provider
    return tomlkit.dumps(document).encode()


@contextmanager
def _in_one_go() -> Iterator[None]:
    """Let Ctrl+C wait for the end of the block: it stores several files, in well under a second."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _carry_out(plan: Plan, user_dir: Path) -> None:
    if plan.key is not None:
        _store(plan.key, plan.store, user_dir)
    user_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if atomic.write((user_dir / USER_FILE).resolve(), plan.config):
        say(f"{user_dir / USER_FILE} now says: provider = {plan.provider}")
    if plan.folder is not None:
        if (plan.folder / WORKSPACE_FILE).exists():
            say(f"{plan.folder} is a folder for questions already.")
        else:
            init(plan.folder)
    _reload()


def _store(key: Key, store: Literal["auto", "keyring", "file"], user_dir: Path) -> None:
    if store != "file" and in_keyring(key.name, key.secret):
        say(f"{key.name} is kept in the system keyring.")
    elif store == "keyring":
        raise ConfigError("no system keyring works here (rlmwatch[keyring] must be installed): say --store file")
    else:
        say(f"{key.name} is kept in {in_file(key.name, key.secret, user_dir)}, which only you can read.")
    found = find(key.name, os.environ, user_dir)
    if found is not None and found.secret.get_secret_value() != key.secret.get_secret_value():
        say(f"But {key.name} ({found.origin}) goes before it: take that out.")


def _reload() -> None:
    """Have every daemon of this user read settings and keys again."""
    states = state_dir()
    for root in known_workspaces(states):
        who = holder(states / workspace_id(root), root)
        if who is None or not who.serves or not who.pid:
            continue
        try:
            os.kill(who.pid, signal.SIGUSR1)
        except OSError:
            continue
        say(f"The daemon of {root} takes it up now.")


def _what_next(plan: Plan, *, at_terminal: bool) -> None:
    from rlmwatch.cli.main import VERBS

    where = plan.folder or "FOLDER"
    if plan.folder is None:
        say(f"Next: rlmwatch init {where}, then rlmwatch run {where}")
    if "service" in VERBS:
        if (
            plan.folder is not None
            and at_terminal
            and ask("Start rlmwatch with your session from now on", "no") == "yes"
        ):
            os.execv(sys.executable, [sys.executable, "-m", "rlmwatch", "service", "install", str(plan.folder)])  # noqa: S606 (our own program)
        return
    unit = next((file.locate() for file in metadata.files("rlmwatch") or () if file.as_posix().endswith(UNIT)), None)
    if unit is not None:
        say(f"To have it started with your session, see {Path(str(unit)).resolve()}")
