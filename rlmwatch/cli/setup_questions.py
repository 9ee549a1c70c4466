"""What `rlmwatch setup` asks about the provider: which, where it is, which model. Flags answer before a person."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlmwatch.addresses import is_http, shown
from rlmwatch.cli.output import ask, say
from rlmwatch.daemon.credentials import Key
from rlmwatch.daemon.key_test import Listing
from rlmwatch.errors import UsageError
from rlmwatch.models.nearest import chatting, nearest
from rlmwatch.settings.model import ProviderSettings, Settings
from rlmwatch.settings.providers import EMBEDDED, LOCAL, SHIPPED, no_such, shipped_at
from rlmwatch.settings.user_folders import expanded

AZURE, OWN = "azure", "own"
"""`own` is the name of the provider whose address a person enters."""
OWN_KEY = "OWN_API_KEY"
EXAMPLE = "http://127.0.0.1:1234/v1"
"""Of an address; it is shown, and never taken."""
OFFERED = (*SHIPPED, LOCAL, EMBEDDED, OWN)
WHAT = {
    AZURE: "your own resource: its address and the name of a deployment",
    LOCAL: "an Ollama or llama.cpp server on this machine, no key",
    EMBEDDED: "the small model that `rlmwatch model fetch` brings, no key",
    OWN: "any other address that speaks the OpenAI protocol, with or without a key",
}
LISTED = 15
"""Models that are shown at most, those first whose names are nearest."""


@dataclass(frozen=True, slots=True)
class ProviderFlags:
    """What the command line says of the provider; None each where it says nothing."""

    provider: str | None = None
    base_url: str | None = None
    model: str | None = None
    deployment: str | None = None
    api_version: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """
    The provider that is meant.

    Attributes:
        table: What its own table in config.toml is to say.
        key_is_asked: Whether a person is asked for a key, though it may need none.
    """

    provider: str
    table: Mapping[str, str]
    key_is_asked: bool = False


def place_of(flags: ProviderFlags, settings: Settings, *, at_terminal: bool) -> Place:
    """
    Return which provider is meant, by *flags*, else asked for.

    Raises:
        UsageError: A flag is wrong, or is missing where nobody can be asked.
    """
    provider = flags.provider
    if provider is None and flags.base_url is None:
        if not at_terminal:
            raise UsageError(
                "setup asks at a terminal; without one, say --provider NAME (or --base-url ADDRESS), and "
                "--key-file FILE for a key"
            )
        provider = _choose_provider()
    if provider not in (None, OWN) and provider not in settings.provider_names:
        raise UsageError(no_such(str(provider), (*settings.provider_names, OWN)))
    if (flags.deployment or flags.api_version) and provider != AZURE:
        raise UsageError("--deployment and --api-version are of --provider azure")
    if provider == AZURE:
        return _azure(flags, settings.providers.get(AZURE, ProviderSettings()), at_terminal=at_terminal)
    known = settings.providers.get(OWN)
    if provider in (None, OWN) and flags.base_url is None and known is not None and not at_terminal:
        return Place(OWN, {})  # as config.toml has it
    if provider in (None, OWN):
        there = (known.base_url if known is not None else None) or ""
        given = flags.base_url or _address(f"Its address, such as {EXAMPLE}", there, at_terminal=at_terminal)
        return _at(_checked(given))
    if flags.base_url is not None:
        return Place(str(provider), {"base_url": _checked(flags.base_url)})
    return Place(str(provider), {})


def _at(base_url: str) -> Place:
    """Return the provider at *base_url*: one that is known by its address, else `own`."""
    url = base_url.rstrip("/")
    for name, known in SHIPPED.items():
        if known.base_url == url:
            return Place(name, {}, key_is_asked=True)
    theirs = shipped_at(url)
    if theirs is not None and theirs != AZURE:
        return Place(theirs, {"base_url": url})
    return Place(OWN, {"base_url": url}, key_is_asked=True)


def _azure(flags: ProviderFlags, known: ProviderSettings, *, at_terminal: bool) -> Place:
    there = known.base_url or os.environ.get("AZURE_OPENAI_ENDPOINT") or ""
    address = flags.base_url or (there if there and not at_terminal else "")
    if not address:
        address = _address(
            "Address of your resource, such as https://NAME.openai.azure.com", there, at_terminal=at_terminal
        )
    deployment = flags.deployment or flags.model or known.deployment
    if deployment is None or (at_terminal and not (flags.deployment or flags.model)):
        if not at_terminal:
            raise UsageError("--provider azure: say --deployment NAME, that of your deployment")
        deployment = _asked("Name of the deployment", deployment or "")
    table = {"base_url": _checked(address), "deployment": deployment}
    return Place(AZURE, table | ({"api_version": flags.api_version} if flags.api_version else {}))


def _address(question: str, usual: str, *, at_terminal: bool) -> str:
    if not at_terminal:
        raise UsageError(f"say --base-url ADDRESS, such as {EXAMPLE}")
    while True:
        given = _asked(question, usual)
        if is_http(given):
            return given
        say(f"{shown(given)} is not an address: it begins with http:// or https://")


def _asked(question: str, usual: str) -> str:
    while not (given := ask(question, usual).strip()):
        pass
    return given


def _checked(address: str) -> str:
    if not is_http(address):
        raise UsageError(f"--base-url: {shown(address)} is not an http or https address")
    return address


def _choose_provider() -> str:
    say("Which provider is to answer?")
    for number, name in enumerate(OFFERED, 1):
        say(f"  {number:>2}  {name:<11} {WHAT.get(name) or shown(SHIPPED[name].base_url or '')}")
    return _pick("Number or name", OFFERED, OFFERED[0])


def _pick(question: str, names: Sequence[str], usual: str) -> str:
    """Ask for one of *names*, by its number (from 1) or its name; letter case does not matter."""
    by_name = {name.lower(): name for name in names}
    while True:
        given = ask(question, usual).strip()
        if given.isdecimal() and 1 <= int(given) <= len(names):
            return names[int(given) - 1]
        if given.lower() in by_name:
            return by_name[given.lower()]
        say(f"{given} is not in the list.")


def model_of(offers: Listing, provider: str, wanted: str | None, *, at_terminal: bool) -> str | None:
    """
    Return the model that is to answer: *wanted*, the usual one, else one that *provider* lists; None for the usual one.

    Raises:
        UsageError: Nobody can be asked, and the list has none that stands in for the usual one.
    """
    models = offers.models
    if wanted is not None:
        if models is not None and wanted not in models:
            say(f"{provider} does not list {wanted}; whether it answers is asked next.")
        return wanted
    if models is None:
        if offers.usual is None:
            if not at_terminal:
                raise UsageError(f"{provider} lists no models: say --model NAME")
            return _asked(f"Which model ({provider} lists none)", "")
        return None
    if offers.usual in models:
        return None
    able = chatting(models)
    suggested = nearest(offers.usual, models) or (able[0] if offers.usual is None else None)
    missing = f"{provider} does not list {offers.usual}" if offers.usual else f"{provider} has no usual model"
    if at_terminal and len(able) > 1:
        say(f"{missing}. Which model is to answer?")
        return _choose_model(models, suggested)
    if suggested is None:
        raise UsageError(f"{missing}: say --model NAME, of: {', '.join(able[:LISTED])}")
    say(f"{missing}: {suggested} is taken. --model NAME says another.")
    return suggested


def _choose_model(models: Sequence[str], suggested: str | None) -> str:
    able = chatting(models)
    first = [*([suggested] if suggested else []), *(each for each in able if each != suggested)][:LISTED]
    for number, name in enumerate(first, 1):
        say(f"  {number:>2}  {name}")
    if len(models) > len(first):
        say(f"      … and {len(models) - len(first)} more: `rlmwatch models` lists them; any name may be typed")
    return _pick("Number or name", [*first, *(each for each in models if each not in first)], first[0])


def entered(name: str, key_file: str) -> Key:
    """
    Return the key *name* as *key_file* holds it.

    Raises:
        UsageError: There is none, or it cannot be one.
    """
    try:
        text = sys.stdin.readline() if key_file == "-" else expanded(Path(key_file)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{key_file}: the key cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return usable(name, text)


def usable(name: str, text: str) -> Key:
    """
    Return the key *name* that *text* is.

    Raises:
        UsageError: It cannot be one.
    """
    key = Key.of(name, text, "setup")
    if key is None:
        raise UsageError(f"{name}: nothing was entered")
    if key.problem is not None:
        raise UsageError(key.problem)
    return key
