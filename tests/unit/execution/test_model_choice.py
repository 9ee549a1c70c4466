"""Which provider and model answer a run, and at what price."""

from __future__ import annotations

import asyncio
import tomllib
from dataclasses import dataclass, field, replace

import pytest
from structlog.testing import capture_logs

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import InputError, NoProvider, UnknownPrice
from rlmwatch.execution.model_choice import ModelChoice, choose_model
from rlmwatch.execution.runtime_config import RuntimeConfig
from rlmwatch.models.base import Message, Model, Request
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.models.select import Choice
from rlmwatch.settings.model import ProviderSettings, Settings, UnknownPrices
from rlmwatch.settings.sources import Loaded

FILE = "/w/rlmwatch.toml"
DEAR = (25e-6, 115e-6)


class Priced(ScriptedModel):
    """A provider that knows the price of `known` alone."""

    def price(self, model: str) -> tuple[float, float] | None:
        return (1e-6, 2e-6) if model == "known" else None


class Unpriced(Priced):
    """A provider that tells no cost."""

    def __init__(self, script: list[str]) -> None:
        super().__init__(script, usd_per_token=None)


@dataclass
class Others:
    """Providers that runs name, all of them there."""

    asked: list[str] = field(default_factory=list)

    async def named(self, provider: str) -> tuple[Model, Choice]:
        self.asked.append(provider)
        return Priced(["ok"]), Choice(provider, "known", "it was named", "https://x.example/v1")


def config(settings: Settings | None = None, origins: dict[str, str] | None = None, **more: object) -> RuntimeConfig:
    loaded = Loaded(settings or Settings(), origins or {}, FILE)
    choice = Choice("p", "known", "")
    made = RuntimeConfig(
        loaded=loaded, model=Priced(["ok"] * 9), default_model="known", choice=choice, providers=Others()
    )
    return replace(made, **more)  # type: ignore[arg-type]


def chosen(terms: RuntimeConfig, given: RunOptions | None = None, kind: Kind = Kind.JOB) -> ModelChoice:
    return asyncio.run(choose_model(terms, kind, given or RunOptions()))


def test_a_model_with_a_known_price_is_asked_as_it_is():
    """Nothing is assumed, and nothing is noted."""
    terms = config()
    assert chosen(terms) == ModelChoice(terms.model, chosen(terms).options)  # type: ignore[arg-type]
    assert chosen(terms).options.model == "known"


@pytest.mark.parametrize(
    ("given", "settings", "origins"),
    [
        (RunOptions(model="new"), Settings(), {}),
        (RunOptions(sub_model="new"), Settings(), {}),
        (RunOptions(), Settings(job=RunOptions(model="new")), {"job.model": FILE}),
        (RunOptions(), Settings(job=RunOptions(sub_model="new")), {"job.sub_model": FILE}),
        (RunOptions(model="new"), Settings(job=RunOptions(model="new")), {"job.model": FILE}),
        (RunOptions(provider="groq", model="new"), Settings(providers={"groq": ProviderSettings(workspaces=True)}), {}),
    ],
)
def test_1_a_model_of_unknown_price_that_the_workspace_chose_is_refused(given, settings, origins):
    """Front matter, job files and rlmwatch.toml get no call of such a model, under default ceilings too."""
    with pytest.raises(UnknownPrice, match="a file of this folder chose it") as caught:
        chosen(config(settings, origins), given)
    line = str(caught.value).partition("    [prices]\n")[2]
    assert tomllib.loads(f"[prices]\n{line}") == {"prices": {"new": {"input": 1.0, "output": 4.0}}}


@pytest.mark.parametrize("name", ['a"b\\c', "x/y:z", "\u00e4\u4e2d\U0001f600", "with blank"])
def test_1_the_line_to_write_is_toml_whatever_the_model_is_called(name):
    """What a person copies under `[prices]` names the very model."""
    with pytest.raises(UnknownPrice) as caught:
        chosen(config(), RunOptions(model=name))
    assert list(tomllib.loads(str(caught.value).partition("\n")[2])["prices"]) == [name]


@pytest.mark.parametrize(
    ("given", "settings", "origins"),
    [
        (RunOptions(), Settings(model="new"), {"model": "config.toml"}),
        (RunOptions(), Settings(job=RunOptions(model="new")), {"job.model": "config.toml"}),
        (RunOptions(sub_model="new"), Settings(job=RunOptions(sub_model="new")), {"job.sub_model": "RLMWATCH_JOB"}),
        (RunOptions(model="new"), Settings(model="new"), {"model": "config.toml"}),
    ],
)
def test_2_one_that_the_user_chose_is_reserved_and_booked_high(given, settings, origins):
    """The price is taken to be 25 and 115 US dollars per million tokens, so that every cap and ceiling holds."""
    choice = chosen(config(settings, origins), given)
    assert choice.model.price("new") == pytest.approx(DEAR)
    assert choice.model.price("known") == (1e-6, 2e-6)
    assert choice.note is not None
    assert "25 and 115 US dollars" in choice.note


def test_2_what_a_call_cost_is_booked_at_the_assumed_price():
    """A reply without a cost is booked by its tokens, one with a cost as the provider says."""
    terms = config(Settings(model="new"), model=Unpriced(["four" * 4]))
    choice = chosen(terms)
    reply = asyncio.run(choice.model.complete(Request("new", (Message("user", "x" * 400),), max_tokens=50)))
    used = reply.usage
    assert used.cost_usd == pytest.approx(used.input_tokens * DEAR[0] + used.output_tokens * DEAR[1])


def test_2_it_is_said_once_in_the_log():
    """The person is told of the assumed price at the first run, and not at each."""
    terms = config(Settings(model="said-once"))
    with capture_logs() as logged:
        for _ in range(3):
            chosen(terms)
    assert [line["event"] for line in logged] == ["price.assumed"]


def test_2_the_user_may_have_such_models_refused_or_at_another_price():
    """`unknown_prices` says what is assumed, or that no call is made."""
    cheap = Settings(model="new", unknown_prices=UnknownPrices(input=1, output=2))
    assert chosen(config(cheap)).model.price("new") == pytest.approx((1e-6, 2e-6))
    with pytest.raises(UnknownPrice, match=r"unknown_prices\.refuse is set"):
        chosen(config(Settings(model="new", unknown_prices=UnknownPrices(refuse=True))))


def test_2_what_a_program_of_the_user_says_is_the_users_own_word():
    """The Python API's `model` may have an unknown price, and its `provider` needs no opening."""
    terms = config(users_options=True)
    assert chosen(terms, RunOptions(model="new")).note is not None
    assert chosen(terms, RunOptions(provider="groq")).options.model == "known"


@pytest.mark.parametrize("tables", [{}, {"groq": ProviderSettings()}, {"xai": ProviderSettings(workspaces=True)}])
def test_1_a_provider_that_is_not_open_to_workspaces_is_refused(tables):
    """Front matter may name a provider only where the user's own table of it says `workspaces = true`."""
    terms = config(Settings(providers=tables))
    with pytest.raises(InputError, match=r"`provider`: a workspace may not set this to groq.*workspaces = true"):
        chosen(terms, RunOptions(provider="groq"))
    assert terms.providers.asked == []  # type: ignore[union-attr]


def test_1_an_opened_provider_answers_with_its_own_model():
    """A run that names an opened provider is answered by it, and not by the default model."""
    terms = config(Settings(model="mine", providers={"groq": ProviderSettings(workspaces=True)}))
    choice = chosen(terms, RunOptions(provider="groq"))
    assert (choice.options.model, choice.model is terms.model) == ("known", False)
    with pytest.raises(InputError, match="did you mean groq"):
        chosen(terms, RunOptions(provider="grok"))


def test_the_users_own_tables_may_name_any_provider():
    """`[job] provider` in the user's own file needs no opening."""
    terms = config(Settings(job=RunOptions(provider="groq")), {"job.provider": "config.toml"})
    assert chosen(terms).options.provider == "groq"
    assert chosen(terms, RunOptions(provider="groq")).options.provider == "groq"
    with pytest.raises(InputError):
        chosen(terms, RunOptions(provider="groq"), Kind.CHAT)


def test_without_a_provider_the_person_is_told_the_ways_out():
    """A run that names none is held; one that names another is answered."""
    terms = config(
        Settings(providers={"groq": ProviderSettings(workspaces=True)}), model=None, no_model_reason="no key"
    )
    with pytest.raises(NoProvider, match="no key"):
        chosen(terms)
    assert chosen(terms, RunOptions(provider="groq")).options.model == "known"


def test_a_deployment_answers_as_its_own_model_alone():
    """Where an address has one model, another name would only change the price: it is refused."""
    terms = config(choice=Choice("azure", "known", "", one_model=True))
    assert chosen(terms, RunOptions(model="known")).options.model == "known"
    with pytest.raises(InputError, match="answers as known alone"):
        chosen(terms, RunOptions(model="cheap"))
