"""`rlmwatch models`: what a provider offers, with prices where they are known."""

from __future__ import annotations

import asyncio
import os

from rlmwatch.cli.arguments import Json
from rlmwatch.cli.layout import Column
from rlmwatch.cli.output import print_json, print_table, say
from rlmwatch.cli.warned import quiet
from rlmwatch.daemon.credentials import find_all, wanted
from rlmwatch.daemon.factories import build_model, endpoint_of, gather
from rlmwatch.errors import UsageError
from rlmwatch.models.listing import offered
from rlmwatch.models.prices import PER_MILLION
from rlmwatch.models.published import PublishingModel
from rlmwatch.models.select import Choice, choose, named
from rlmwatch.money import unit_price
from rlmwatch.settings.providers import names, no_such
from rlmwatch.settings.sources import Loaded, load, user_config_dir

KEYS = ("model", "input_usd_per_million", "output_usd_per_million")
COLUMNS = (
    Column("model", grows=True),
    Column("input_usd_per_million", "input $/M", right=True),
    Column("output_usd_per_million", "output $/M", right=True),
)


def models(
    provider: str | None = None,
    /,
    *,
    as_json: Json = False,
) -> int:
    """
    List the models that a provider offers, with their prices in US dollars per million tokens where they are known.

    Args:
        provider: One of the providers of your configuration or the shipped ones; default is the one that answers.
        as_json: Print JSON.
    """
    quiet()
    choice, rows = asyncio.run(_rows(provider))
    if as_json:
        print_json(rows)
    else:
        say(f"{choice.provider}; runs that name no model are answered by {choice.model}")
        prices = [{key: unit_price(at) if isinstance(at, float) else at for key, at in row.items()} for row in rows]
        print_table(COLUMNS, prices, empty="it lists none")
    return 0


async def _rows(provider: str | None) -> tuple[Choice, list[dict[str, str | float | None]]]:
    """Return the provider that was chosen, and one row per model; a price that nobody knows is None."""
    user_dir = user_config_dir(os.environ)
    loaded = load(user_dir=user_dir, workspace=None, environ=os.environ)
    _known(loaded, provider)
    keys = await asyncio.to_thread(find_all, os.environ, user_dir, named=wanted(loaded.settings))
    facts = await gather(loaded, keys, os.environ, provider or loaded.settings.provider)
    choice = choose(facts) if provider is None else named(facts, provider)
    model = build_model(choice, loaded, keys)
    try:
        if isinstance(model, PublishingModel):
            await model.learn_prices()
        if choice.base_url is None:
            offers = [choice.model]
        else:
            offers = [offer.model for offer in await offered(endpoint_of(choice, keys))]
        return choice, [_row(name, model.price(name)) for name in offers]
    finally:
        await model.aclose()


def _known(loaded: Loaded, provider: str | None) -> None:
    there = names(loaded.settings.providers)
    if provider is not None and provider not in there:
        raise UsageError(no_such(provider, there))


def _row(name: str, price: tuple[float, float] | None) -> dict[str, str | float | None]:
    into, out = (None, None) if price is None else (round(usd / PER_MILLION, 6) for usd in price)
    return dict(zip(KEYS, (name, into, out), strict=True))
