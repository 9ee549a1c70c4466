"""Proves that a provider answers, and takes a key: by its list of models, and one token of the one that is chosen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rlmwatch.daemon.credentials import Key
from rlmwatch.daemon.factories import build_model, endpoint_of, gather
from rlmwatch.daemon.logging import Redactor
from rlmwatch.errors import NoProvider, ProviderError, ProviderUnavailable, WrongKey
from rlmwatch.models.base import Message, Request
from rlmwatch.models.listing import offered
from rlmwatch.models.select import Choice, named
from rlmwatch.settings.providers import LOCAL
from rlmwatch.settings.sources import Loaded

ANSWER_TIMEOUT_S = 30.0
"""For one answer of one token: a local server may have to load its model first."""
UNLISTED = frozenset({"azure"})
"""Who lists what could be deployed, and not what is."""
NO_MODEL = "?"
"""In place of a model, where one is still to be chosen from the list."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """
    What a provider offers.

    Attributes:
        usual: The model that answers where nobody names one; None where nobody knows one.
        models: What it lists; None where it lists nothing.
    """

    usual: str | None
    models: tuple[str, ...] | None


def listing(loaded: Loaded, provider: str, keys: Mapping[str, Key]) -> Listing:
    """
    Return what *provider* offers to who has *keys*.

    Raises:
        ProviderError: It refuses the key (`WrongKey`), or cannot be reached.
        NoProvider, ConfigError: It cannot be asked.
    """
    return _run(_listing(loaded, provider, keys), provider, keys)


def prove(loaded: Loaded, provider: str, keys: Mapping[str, Key]) -> str:
    """
    Return what to tell of *provider*, which has answered with one token.

    Raises:
        ProviderError: It refuses the key (`WrongKey`), or does not answer.
        NoProvider, ConfigError: It cannot be asked.
    """
    return _run(_asked(loaded, provider, keys), provider, keys)


def _run(asking: Coroutine[Any, Any, T], provider: str, keys: Mapping[str, Key]) -> T:
    redactor = Redactor(key.secret.get_secret_value() for key in keys.values())
    try:
        return asyncio.run(asking)
    except WrongKey as error:
        raise WrongKey(redactor.text(f"the key was refused: {error}")) from None
    except ProviderError as error:
        raise ProviderError(redactor.text(f"{provider} did not answer: {error}"), status=error.status) from None


async def _listing(loaded: Loaded, provider: str, keys: Mapping[str, Key]) -> Listing:
    facts = await gather(loaded, keys, os.environ, provider)
    if provider != LOCAL:
        facts = replace(facts, local=())  # what a server of this machine lists first is nobody's choice
    try:
        choice = named(facts, provider)
        usual: str | None = choice.model
    except NoProvider:
        if facts.model is not None:
            raise
        choice, usual = named(replace(facts, model=NO_MODEL), provider), None
    if choice.base_url is None or provider in UNLISTED:
        return Listing(usual, None)
    return Listing(usual, await _listed(choice, keys))


async def _listed(choice: Choice, keys: Mapping[str, Key]) -> tuple[str, ...] | None:
    try:
        return tuple(offer.model for offer in await offered(endpoint_of(choice, keys))) or None
    except WrongKey:
        raise
    except ProviderError as error:
        if isinstance(error, ProviderUnavailable) and error.status is None:  # it cannot be reached at all
            raise
        return None


async def _asked(loaded: Loaded, provider: str, keys: Mapping[str, Key]) -> str:
    """Ask for one token; return what to tell of that."""
    choice = named(await gather(loaded, keys, os.environ, provider), provider)
    model = build_model(choice, loaded, keys)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await model.complete(Request(choice.model, (Message("user", "Say yes."),), max_tokens=1))
    except TimeoutError:
        raise ProviderError(f"no answer within {ANSWER_TIMEOUT_S:g} s") from None
    finally:
        await model.aclose()
    return f"{choice.model} ({provider}) answers."
