"""`rlmwatch setup`: a provider, a key that works, a folder; asked for, tested, then stored."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from rlmwatch.cli import user_manager
from rlmwatch.cli.arguments import Flag, Folder
from rlmwatch.cli.init import init
from rlmwatch.cli.output import ask, ask_hidden, say
from rlmwatch.cli.reload import ask_daemon, served
from rlmwatch.cli.setup_questions import OWN, OWN_KEY, Place, ProviderFlags, entered, model_of, place_of, usable
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.credentials import Key, find, find_all, wanted
from rlmwatch.daemon.factories import gather, who_searches
from rlmwatch.daemon.key_config import Chosen, config_with, read
from rlmwatch.daemon.key_store import in_file, in_keyring
from rlmwatch.daemon.key_test import listing, prove
from rlmwatch.errors import ConfigError, NoProvider, ProviderError, UsageError, WrongKey
from rlmwatch.models.select import choose, key_of
from rlmwatch.settings.providers import EMBEDDED, SEARCH_KEY, SHIPPED
from rlmwatch.settings.sources import USER_FILE, Loaded, load, state_dir, user_config_dir
from rlmwatch.settings.user_folders import expanded
from rlmwatch.settings.workspace_file import WORKSPACE_FILE
from rlmwatch.workspace import atomic
from rlmwatch.workspace.hosts import refuse_nested

TRIES = 3
FOLDER = "~/questions"
UNCHANGED = "nothing has been changed"

Store = Literal["auto", "keyring", "file"]


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What was asked and tested, and is stored in one go.

    Attributes:
        chosen: Who is to answer.
        key: To be stored; None where there is none, or it is found already.
        folder: For questions; None for none.
    """

    chosen: Chosen
    key: Key | None
    folder: Path | None


def setup(  # noqa: PLR0913 (the flags of a command line)
    workspace: Folder = None,
    *,
    provider: str | None = None,
    base_url: str | None = None,
    model: str | None = None,
    deployment: str | None = None,
    api_version: str | None = None,
    key_file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    store: Store = "auto",
    no_test: Annotated[bool, Flag] = False,
    no_folder: Annotated[bool, Flag] = False,
) -> int:
    """
    Choose a provider and a model, enter a key (it is not shown), test them, store them; make a folder for questions.

    What the flags say is not asked; without a terminal nothing is, and `--provider` or `--base-url` must be there.
    Ctrl+C or Ctrl+D at any question changes nothing. A daemon that runs takes it up by itself.

    Args:
        workspace: The folder for questions; it is made if it is missing.
        provider: Who answers: openrouter, openai, anthropic, azure, …, local, embedded, or own, with --base-url.
        base_url: Where it is, for a server of your own (LM Studio, vLLM, …), or Azure.
        model: The model of questions that name none; default is the provider's usual one, where it lists that.
        deployment: Azure: the name of the deployment.
        api_version: Azure: the version of its API, where the deployment is asked by its own address.
        key_file: The file that holds the key, - for standard input; a key never stands on a command line.
        store: Where the key is kept: the system keyring, your own file .env of mode 0600, or auto, which of them works.
        no_test: Do not ask the provider for its models and for one token, which costs next to nothing.
        no_folder: Make no folder.
    """
    quiet()
    user_dir = user_config_dir()
    flags = ProviderFlags(provider, base_url, model, deployment, api_version)
    conversation = _Conversation(flags, key_file, user_dir, sys.stdin.isatty(), not no_test)
    try:
        plan = conversation.plan(workspace, with_folder=not no_folder)
    except KeyboardInterrupt:
        say(f"\nStopped: {UNCHANGED}.")
        raise
    try:
        with _in_one_go():
            _carry_out(plan, store, user_dir)
        _reload()
        _say_who_searches(user_dir)
        _what_next(plan, at_terminal=conversation.at_terminal)
    except KeyboardInterrupt:
        say("\nStopped: all of the above is stored.")
        raise
    return 0


@dataclass(slots=True)
class _Conversation:
    """
    What is asked, in order, and tested as it will be stored; nothing is stored here.

    Attributes:
        at_terminal: Whether there is a person to be asked.
        tests: Whether the provider is asked.
    """

    flags: ProviderFlags
    key_file: str | None
    user_dir: Path
    at_terminal: bool
    tests: bool

    def plan(self, folder: Path | None, *, with_folder: bool) -> Plan:
        """
        Return what is to be stored.

        Raises:
            UsageError, ProviderError, NoProvider, ConfigError, WorkspaceError: It cannot be, and why.
        """
        settings = load(user_dir=self.user_dir, workspace=None, environ=os.environ).settings
        place = place_of(self.flags, settings, at_terminal=self.at_terminal)
        key, chosen = self._key(place)
        if not with_folder:
            folder = None
        elif folder is None and self.at_terminal:
            folder = Path(ask("Folder for your questions", FOLDER))
        return Plan(chosen, key, _may_be_made(folder) if folder else None)

    def _loaded(self, chosen: Chosen) -> Loaded:
        """Return the settings as they will be with *chosen*."""
        text, _ = config_with(read(self.user_dir / USER_FILE), chosen)
        return load(user_dir=self.user_dir, workspace=None, environ=os.environ, user_text=text)

    def _tested(self, chosen: Chosen, keys: Mapping[str, Key]) -> Chosen:
        """
        Return *chosen* with the model that answers with *keys*.

        Raises:
            ProviderError, NoProvider, ConfigError: None does.
        """
        if not self.tests:
            return replace(chosen, model=self.flags.model)
        offers = listing(self._loaded(chosen), chosen.provider, keys)
        model = model_of(offers, chosen.provider, self.flags.model, at_terminal=self.at_terminal)
        found = replace(chosen, model=model)
        say(prove(self._loaded(found), found.provider, keys))
        return found

    def _key(self, place: Place) -> tuple[Key | None, Chosen]:
        """
        Return the key that is to be stored, None where no key is needed or one is there already, and what it opens.

        Raises:
            UsageError, ProviderError, NoProvider, ConfigError: There is none that works.
        """
        chosen = Chosen(place.provider, place.table, before=self._answers_now())
        loaded = self._loaded(chosen)
        named = {*wanted(loaded.settings), *((OWN_KEY,) if place.provider == OWN else ())}
        keys = find_all(os.environ, self.user_dir, named=named)
        name = key_of(asyncio.run(gather(loaded, keys, os.environ, EMBEDDED)), place.provider)
        if name is None and place.provider == OWN:
            name = OWN_KEY
        optional = place.provider == OWN or (place.provider in SHIPPED and not SHIPPED[place.provider].needs_key)
        if name is None and self.key_file is not None:
            raise UsageError("this provider needs no key")
        if self.key_file is not None and name is not None:
            key = entered(name, self.key_file)
            return key, self._tested(_with_key(chosen, key), {**keys, name: key})
        there = keys.get(name) if name is not None else None
        if name is None or (optional and there is None and not (self.at_terminal and place.key_is_asked)):
            return None, self._tested(chosen, keys)
        if there is not None and self._keeps(there):
            try:
                return None, self._tested(_with_key(chosen, there), keys)
            except WrongKey as error:
                if not self.at_terminal:
                    raise
                say(str(error))
        if not self.at_terminal:
            raise UsageError(f"{name} is not there: say --key-file FILE, or --key-file - for standard input")
        return self._until_it_works(name, chosen, keys, optional=optional)

    def _answers_now(self) -> str | None:
        """Return whom the keys that are there choose, where nothing else is said."""
        loaded = load(user_dir=self.user_dir, workspace=None, environ=os.environ)
        keys = find_all(os.environ, self.user_dir, named=wanted(loaded.settings))
        with suppress(NoProvider, ConfigError):
            return choose(asyncio.run(gather(loaded, keys, os.environ, EMBEDDED))).provider
        return None

    def _keeps(self, there: Key) -> bool:
        say(f"{there.name} is there already ({there.origin}).")
        return not self.at_terminal or _yes("Use it, yes or no", "yes")

    def _until_it_works(
        self, name: str, chosen: Chosen, keys: Mapping[str, Key], *, optional: bool
    ) -> tuple[Key | None, Chosen]:
        """Ask for the key *name* until one works, `TRIES` times, or the person keeps one that could not be tested."""
        shown = "it is not shown; Enter alone for none" if optional else "it is not shown"
        for left in range(TRIES - 1, -1, -1):
            given = ask_hidden(f"{name} ({shown})")
            if optional and not given.strip():
                others = {each: key for each, key in keys.items() if each != name}
                return None, self._tested(replace(chosen, keyless=True), others)
            try:
                key = usable(name, given)
                return key, self._tested(_with_key(chosen, key), {**keys, name: key})
            except (UsageError, WrongKey) as error:
                if left == 0:
                    say(f"That was the last of {TRIES} tries: {UNCHANGED}.")
                    raise
                say(str(error))
            except ProviderError as error:
                say(str(error))
                if not _yes("Keep this key all the same, yes or no", "no"):
                    raise UsageError(f"the key was not kept: {UNCHANGED}") from None
                return key, replace(_with_key(chosen, key), model=self.flags.model)
        raise AssertionError(TRIES)


def _yes(question: str, usual: str) -> bool:
    return ask(question, usual).lower().startswith("y")


def _with_key(chosen: Chosen, key: Key) -> Chosen:
    """Return *chosen* with the name of its key, where nobody would know that."""
    return replace(chosen, table={**chosen.table, "key": key.name}) if key.name == OWN_KEY else chosen


def _may_be_made(folder: Path) -> Path:
    """
    Return the whole path of *folder*, where it can be a folder for questions.

    Raises:
        UsageError, WorkspaceError: It cannot; nothing is stored then.
    """
    root = expanded(folder).resolve()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is not a folder; nothing has been changed")
    refuse_nested(root, state_dir())
    return root


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


def _carry_out(plan: Plan, store: Store, user_dir: Path) -> None:
    try:
        user_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        cure = "Give this user access to it, or set XDG_CONFIG_HOME to another folder"
        raise ConfigError(f"{user_dir} cannot be made: {error.strerror}. {cure}") from None
    if plan.key is not None:
        _store(plan.key, store, user_dir)
    text, gone = config_with(read(user_dir / USER_FILE), plan.chosen)
    if atomic.write((user_dir / USER_FILE).resolve(), text.encode()):
        model = f", model = {plan.chosen.model}" if plan.chosen.model else ""
        say(f"{user_dir / USER_FILE} now says: provider = {plan.chosen.provider}{model}")
    if gone:
        say(f"Taken out of it, since it was for another provider: {', '.join(gone)}.")
    _tell_what_goes_before(plan.chosen, user_dir)
    if plan.folder is not None:
        if (plan.folder / WORKSPACE_FILE).exists():
            say(f"{plan.folder} is a folder for questions already.")
        else:
            init(plan.folder)


def _tell_what_goes_before(chosen: Chosen, user_dir: Path) -> None:
    """Say which variables of the environment win over what was stored."""
    loaded = load(user_dir=user_dir, workspace=None, environ=os.environ)
    ours = str(user_dir / USER_FILE)
    for key in ("provider", "base_url", *(("model",) if chosen.model else ())):
        origin = loaded.origins.get(key)
        if origin is not None and origin != ours:
            say(f"But {origin} goes before it: take that out.")


def _store(key: Key, store: Store, user_dir: Path) -> None:
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
    """Have every daemon of this user read settings and keys again, and say what came of it."""
    for folders, who in served():
        named = ", ".join(str(each.root) for each in folders)
        if not who.pid:
            say(f"{who} answers in {named} and cannot be reached from here: call `rlmwatch reload` where it runs")
            continue
        try:
            found = ask_daemon(folders[0], who)
        except UsageError as error:
            say(f"The daemon of {named} was not asked to take it up: {error}")
            continue
        if found is None:
            say(f"The daemon of {named} was asked to take it up; its log says how that goes.")
        elif found.problem is not None:
            say(f"The daemon of {named} goes on as before: {found.problem}")
        else:
            say(f"The daemon of {named} has taken it up, and answers with {found.answers}.")


def _say_who_searches(user_dir: Path) -> None:
    settings = load(user_dir=user_dir, workspace=None, environ=os.environ).settings
    keys = find_all(os.environ, user_dir, named={SEARCH_KEY}, usual=())
    say(f"The web is searched by {who_searches(settings, keys, os.environ)}.")


def _what_next(plan: Plan, *, at_terminal: bool) -> None:
    where = plan.folder or "WORKSPACE"
    if plan.folder is None:
        say(f"Next: rlmwatch init {where}, then rlmwatch run {where}")
    may_ask = plan.folder is not None and at_terminal and user_manager.missing() is None
    if may_ask and ask("Start rlmwatch with your session from now on", "no").lower().startswith("y"):
        os.execv(sys.executable, [sys.executable, "-m", "rlmwatch", "service", "install", str(plan.folder)])  # noqa: S606 (our own program)
    say(f"To have it started with your session: rlmwatch service install {where}")
