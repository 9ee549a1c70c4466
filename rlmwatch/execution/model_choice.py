"""
Which provider and model answer one run, and at what price.

1. Front matter, a job file or `rlmwatch.toml` may come from elsewhere: what they choose is the *workspace's* choice.
   It may name a provider only among those that the user opened to workspaces, and a model only where its price is
   known: else no call is made, and the person is told the line to write.
2. What the user's own configuration, environment or program chose may have an unknown price: it is reserved and booked
   at `unknown_prices`, or refused where that says so.
3. A provider on this machine costs nothing, so its prices are known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache

import structlog

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import InputError, NoProvider, UnknownPrice
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.models.assumed import AssumedPrices
from rlmwatch.models.base import Model
from rlmwatch.models.prices import PER_MILLION
from rlmwatch.models.published import PublishingModel
from rlmwatch.models.select import why_no_engine
from rlmwatch.settings.model import Settings
from rlmwatch.settings.providers import closed

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """
    What answers one run.

    Attributes:
        model: The provider; its prices are known, or assumed.
        options: What holds for the run, the model's name included.
        note: What a poller should know of its price; None where that is known.
        no_engine_reason: Why no run of the engine is given to it, for the person; None where it is.
    """

    model: Model
    options: RunOptions
    note: str | None = None
    no_engine_reason: str | None = None


async def choose_model(config: RuntimeConfig, kind: Kind, given: RunOptions, *, learn: bool = True) -> ModelChoice:
    """
    Return what answers a run of *kind* whose own options are *given*.

    Args:
        config: What holds for new runs.
        kind: The run's kind.
        given: What its front matter or job file says.
        learn: Whether a provider's list of prices may be asked for, where that is due.

    Raises:
        InputError: It names a provider that the user did not open to workspaces, or a model that a deployment is not.
        NoProvider: There is nothing to answer with.
        UnknownPrice: The price of a model is not known, and rule 1 or 2 refuses it.
    """
    options = config.loaded.settings.options_for(kind, given)
    if options.provider is None:
        model, choice = config.model, config.choice
        default = config.default_model
    else:
        _refuse_closed(config, kind, options.provider)
        if config.providers is None:
            raise NoProvider(config.no_model_reason or "no other provider can be had here")
        model, choice = await config.providers.named(options.provider)
        default = choice.model
    if model is None:
        raise NoProvider(config.no_model_reason)
    if options.model is None:
        options = options.model_copy(update={"model": default})
    if choice is not None and choice.one_model and options.model != choice.model:
        raise InputError(f"`model`: the deployment answers as {choice.model} alone; take {options.model} out")
    if learn and isinstance(model, PublishingModel) and (_unknown(model, options) or not model.has_list):
        await model.learn_prices()
    named = (options.provider or config.loaded.settings.provider) is not None
    no_engine_reason = why_no_engine(choice, named=named) if choice is not None else None
    return _priced(config, kind, given, ModelChoice(model, options, no_engine_reason=no_engine_reason))


def _refuse_closed(config: RuntimeConfig, kind: Kind, provider: str) -> None:
    settings = config.loaded.settings
    # A worker of the user's gets as the run's own what the same configuration said on the daemon's machine.
    users_own = getattr(settings, kind).provider == provider and not config.loaded.workspace_set(f"{kind}.provider")
    if not users_own and not config.users_options and not settings.opens(provider):
        raise InputError(f"`provider`: {closed(provider, settings.provider_names)}")


def _priced(config: RuntimeConfig, kind: Kind, given: RunOptions, chosen: ModelChoice) -> ModelChoice:
    """Return *chosen* with a price for every model that it asks."""
    model, options = chosen.model, chosen.options
    unknown = _unknown(model, options)
    if not unknown:
        return chosen
    foreign = [name for key, name in unknown if _workspace_chose(config, kind, given, key)]
    assumed = config.loaded.settings.unknown_prices
    if foreign or assumed.refuse:
        raise UnknownPrice(
            why_refused((foreign or [name for _, name in unknown])[0], model.provider, foreign=bool(foreign))
        )
    names = ", ".join(dict.fromkeys(name for _, name in unknown))
    note = assumed_words(names, config.loaded.settings)
    _tell_once(model.provider, names, note)
    priced = AssumedPrices(model, (assumed.input * PER_MILLION, assumed.output * PER_MILLION))
    return replace(chosen, model=priced, note=note)


def _unknown(model: Model, options: RunOptions) -> list[tuple[str, str]]:
    """Return (option, model) of each model that the run asks and whose price is not known."""
    asked = (("model", options.model), ("sub_model", options.sub_model))
    return [(key, name) for key, name in asked if name is not None and model.price(name) is None]


def _workspace_chose(config: RuntimeConfig, kind: Kind, given: RunOptions, key: str) -> bool:
    """Whether it was not the user's own word that made *key* (`model`, `sub_model`) what it is."""
    if config.users_options:
        return False
    if getattr(given, key) is not None:
        own = config.loaded.settings.options_for(kind, RunOptions(provider=given.provider))
        return getattr(given, key) != getattr(own, key) or config.loaded.workspace_set(f"{kind}.{key}")
    return config.loaded.workspace_set(f"{kind}.{key}")


def why_refused(model: str, provider: str, *, foreign: bool) -> str:
    """Return why no call of *model* is made, with the line that a person writes to have one."""
    why = "a file of this folder chose it" if foreign else "unknown_prices.refuse is set"
    name = json.dumps(model, ensure_ascii=False)
    return (
        f"the price of {name} at {provider} is not known, and {why}, so no call was made: a ceiling could not hold. "
        "Write its price in US dollars per million tokens into your own config.toml, with its true numbers:\n"
        "    [prices]\n"
        f"    {name} = {{ input = 1.00, output = 4.00 }}"
    )


def assumed_words(models: str, settings: Settings) -> str:
    """Return, for a person, at what price *models* are reserved and booked."""
    assumed = settings.unknown_prices
    return (
        f"the price of {models} is not known: reserved and booked at {assumed.input:g} and {assumed.output:g} US "
        "dollars per million input and output tokens; write the true one under [prices] in your config.toml"
    )


@cache
def _tell_once(provider: str, models: str, note: str) -> None:
    log.warning("price.assumed", provider=provider, models=models, why=note)
