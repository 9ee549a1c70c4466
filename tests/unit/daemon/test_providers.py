"""The providers that runs name beside the default one."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from rlmwatch.daemon.credentials import Key
from rlmwatch.daemon.providers import OtherProviders
from rlmwatch.daemon.shared_parts import SharedParts
from rlmwatch.errors import NoProvider
from rlmwatch.models.select import Choice
from rlmwatch.settings.model import ProviderSettings, Settings
from rlmwatch.settings.sources import Loaded

KEYS = {name: Key(name, SecretStr(f"value-of-{name}"), "environment") for name in ("GROQ_API_KEY", "WORK_KEY")}


@pytest.fixture
def others(tmp_path):
    def make(settings: Settings, keys=None, shared=None):
        environ = {"RLMWATCH_STATE_DIR": str(tmp_path)}
        return OtherProviders(Loaded(settings, {}), keys or KEYS, environ, shared or SharedParts())

    return make


def test_each_is_made_once(others):
    """Many runs that name a provider at once share it, and with it its rate limit; only those named are made."""

    async def ask() -> None:
        made = others(Settings())
        found = await asyncio.gather(*(made.named("groq") for _ in range(5)))
        assert len({id(model) for model, _ in found}) == 1
        assert found[0][1].base_url == "https://api.groq.com/openai/v1"

    asyncio.run(ask())


def test_the_default_under_another_name_is_the_default(others):
    """Two names of one address and key share connections and rate limits."""
    table = ProviderSettings(base_url="https://w.example/v1", key="WORK_KEY", model="m")
    settings, shared = Settings(providers={"work": table}), SharedParts()

    async def ask() -> None:
        made = others(settings, shared=shared)
        choice = Choice("w", "other", "", "https://w.example/v1", "WORK_KEY")
        default = shared.build_model(choice, Loaded(settings, {}), KEYS)
        model, choice = await made.named("work")
        assert model is default
        assert (choice.model, choice.provider) == ("m", "work")

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("settings", "name", "words"),
    [
        (Settings(), "xai", "XAI_API_KEY has no value"),
        (Settings(providers={"s": ProviderSettings(replies="/nowhere.toml")}), "s", "cannot be read"),
        (Settings(providers={"w": ProviderSettings(base_url="https://w/v1", key="BAD", model="m")}), "w", "line break"),
    ],
)
def test_one_that_cannot_be_had_is_a_matter_of_a_person(others, settings, name, words):
    """A missing key, a wrong file and a key that cannot be sent hold the run in words, and are looked at again."""
    bad = Key.of("BAD", "a\nb", "environment")
    assert bad is not None
    made = others(settings, keys={**KEYS, "BAD": bad})
    for _ in range(2):
        with pytest.raises(NoProvider, match=words):
            asyncio.run(made.named(name))
