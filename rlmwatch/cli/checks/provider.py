"""What `rlmwatch doctor` says of the provider: which it is, whether it can be reached, has the model, and answers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping

from rlmwatch import clock
from rlmwatch.addresses import shown
from rlmwatch.cli.report import Line
from rlmwatch.daemon.credentials import Key
from rlmwatch.daemon.factories import endpoint_of, find_model
from rlmwatch.errors import NoProvider, ProviderError, RlmwatchError, WrongKey
from rlmwatch.execution.model_choice import assumed_words
from rlmwatch.models.base import Message, Model, Request
from rlmwatch.models.listing import offered
from rlmwatch.models.published import PublishingModel
from rlmwatch.models.select import Choice
from rlmwatch.settings.sources import Loaded

REACH_TIMEOUT_S = 20.0
"""For one answer of one token: a slow provider takes seconds, the embedded model loads in one."""


async def provider_lines(loaded: Loaded, keys: Mapping[str, Key], *, ask: bool) -> AsyncIterator[Line]:
    """Say who answers, and what of it works; with *ask* also by asking for one token."""
    try:
        model, choice = await find_model(loaded, keys, os.environ)
    except NoProvider as error:
        why, _, ways = str(error).partition(". ")
        yield Line(
            "wrong", "provider", f"none: {why}", f"`rlmwatch setup` asks for a provider and its key. {ways}".strip()
        )
        return
    except RlmwatchError as error:
        yield Line("wrong", "provider", str(error))
        return
    try:
        yield Line("ok", "provider", f"{choice.model} ({choice.provider}); {choice.why}")
        if isinstance(model, PublishingModel):
            await model.learn_prices()
        if model.price(choice.model) is None:
            yield _unknown_price(choice.model, loaded)
        async for line in _listed(choice, keys):
            yield line
        if ask:
            yield await _asked(model, choice)
    finally:
        await model.aclose()


def _unknown_price(model: str, loaded: Loaded) -> Line:
    todo = f"write its own: [prices] {json.dumps(model, ensure_ascii=False)} = {{ input = …, output = … }}"
    if loaded.settings.unknown_prices.refuse:
        return Line("wrong", "price", f"of {model}: not known, and unknown_prices.refuse is set: no call is made", todo)
    return Line("warning", "price", assumed_words(model, loaded.settings), todo)


async def _listed(choice: Choice, keys: Mapping[str, Key]) -> AsyncIterator[Line]:
    """Ask the provider's address for its models, which proves the way to it and, with most, the key."""
    if choice.base_url is None:
        yield Line("ok", "reachable", "it is on this machine")
        return
    paths = shown(choice.base_url)
    try:
        offers = await offered(endpoint_of(choice, keys), timeout_s=REACH_TIMEOUT_S)
    except WrongKey as error:
        yield Line("ok", "reachable", paths)
        yield Line("wrong", "models", str(error), "check the key")
    except ProviderError as error:
        if error.status is None:
            yield Line("wrong", "reachable", str(error), "check the network and the address")
        else:
            yield Line("ok", "reachable", paths)
            yield Line(
                "warning", "models", f"{error}", "not every server lists its models; `--ask` proves that it answers"
            )
    else:
        yield Line("ok", "reachable", paths)
        there = any(offer.model == choice.model for offer in offers)
        found = f"{len(offers)} listed, {choice.model} {'is' if there else 'is not'} among them"
        todo = "" if there else "`rlmwatch models` shows what there is; set `model` in your config.toml"
        yield Line("ok" if there else "warning", "models", found, todo)


async def _asked(model: Model, choice: Choice) -> Line:
    """Ask for one token."""
    began = clock.monotonic()
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            await model.complete(Request(choice.model, (Message("user", "Say yes."),), max_tokens=1))
    except ProviderError as error:
        return Line("wrong", "answers", str(error), "check the key, the model's name and the address")
    except TimeoutError:
        return Line("wrong", "answers", f"not within {REACH_TIMEOUT_S:g} s", "ask again later, or another model")
    return Line("ok", "answers", f"in {clock.monotonic() - began:.1f} s")
