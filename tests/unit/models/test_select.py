"""Which provider answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rlmwatch.errors import ConfigError, NoProvider
from rlmwatch.models.select import EMBEDDED_FILE, Facts, LocalServer, choose

WEIGHTS = f"/cache/{EMBEDDED_FILE}"
BOTH = frozenset({"OPENROUTER_API_KEY", "OPENAI_API_KEY"})
OLLAMA = LocalServer("ollama", "http://127.0.0.1:11434/v1", ("llama3.2", "qwen3"))
LLAMA_CPP = LocalServer("llama.cpp", "http://127.0.0.1:8080/v1", ("some.gguf",))
ALL = Facts(keys=BOTH, local=(OLLAMA, LLAMA_CPP), embedded_installed=True, embedded_path=WEIGHTS)


def test_1_a_base_url_in_the_configuration_comes_first():
    """Who writes a base_url is answered by that server."""
    choice = choose(replace(ALL, base_url="https://llm.example.com/v1", model="m"))
    assert (choice.provider, choice.base_url, choice.model) == ("llm.example.com", "https://llm.example.com/v1", "m")
    assert choice.key_name == "OPENAI_API_KEY"


def test_1_a_provider_in_the_configuration_comes_first():
    """Who names a provider is answered by it, whatever else is there."""
    assert choose(replace(ALL, provider="openai")).provider == "openai"
    assert choose(replace(ALL, provider="local")).provider == "local"
    assert choose(replace(ALL, provider="embedded")).provider == "embedded"


def test_2_openrouter_comes_before_openai():
    """With both keys OpenRouter answers."""
    choice = choose(ALL)
    assert (choice.provider, choice.model) == ("openrouter", "openai/gpt-4.1-mini")
    assert choice.base_url == "https://openrouter.ai/api/v1"
    assert choice.key_name == "OPENROUTER_API_KEY"


def test_3_openai_comes_before_local_servers():
    """A key comes before what happens to run on this machine."""
    choice = choose(replace(ALL, keys=frozenset({"OPENAI_API_KEY"})))
    assert (choice.provider, choice.model, choice.base_url) == ("openai", "gpt-4.1-mini", "https://api.openai.com/v1")
    assert choice.key_name == "OPENAI_API_KEY"


def test_4_a_local_server_answers_with_its_first_model_and_gets_no_key():
    """Without keys a local server answers, with the first model that it lists."""
    choice = choose(replace(ALL, keys=frozenset()))
    assert (choice.provider, choice.model, choice.base_url) == ("local", "llama3.2", OLLAMA.base_url)
    assert choice.key_name is None


def test_4_a_local_server_without_models_is_passed_over():
    """A fresh Ollama that has pulled nothing cannot answer."""
    choice = choose(replace(ALL, keys=frozenset(), local=(replace(OLLAMA, models=()), LLAMA_CPP)))
    assert choice.base_url == LLAMA_CPP.base_url


def test_5_the_embedded_model_comes_last():
    """With nothing else the embedded model answers."""
    choice = choose(replace(ALL, keys=frozenset(), local=()))
    assert (choice.provider, choice.model, choice.embedded_path) == (
        "embedded",
        "smollm2-135m-instruct",
        WEIGHTS,
    )
    assert choice.base_url is None


@pytest.mark.parametrize("lacking", [{"embedded_installed": False}, {"embedded_path": None}])
def test_without_anything_the_ways_out_are_named(lacking):
    """A person with no key, no server and no weights is told every way out."""
    with pytest.raises(NoProvider) as caught:
        choose(replace(ALL, keys=frozenset(), local=(), **lacking))
    for way in ("OPENROUTER_API_KEY", "OPENAI_API_KEY", ".env", "rlmwatch model fetch", "base_url", "config.toml"):
        assert way in str(caught.value)
    assert caught.value.person_can_act


@pytest.mark.parametrize(
    ("provider", "named"),
    [
        ("openrouter", "OPENROUTER_API_KEY has no value"),
        ("openai", "OPENAI_API_KEY has no value"),
        ("local", "no Ollama"),
        ("embedded", "rlmwatch model fetch"),
    ],
)
def test_a_provider_that_is_named_but_not_there_is_not_replaced(provider, named):
    """Who names a provider is not answered by another one: the error says what is lacking."""
    with pytest.raises(NoProvider, match=named):
        choose(Facts(provider=provider))


@pytest.mark.parametrize(
    "facts",
    [
        Facts(provider="chatgpt"),
        Facts(base_url="llm.example.com/v1"),
        Facts(base_url="ftp://example.com"),
        Facts(provider="embedded", base_url="http://127.0.0.1:1/v1"),
    ],
)
def test_a_setting_that_means_nothing_is_an_error(facts):
    """A misspelt provider or address is named, and nothing else is asked instead."""
    with pytest.raises(ConfigError):
        choose(facts)


@pytest.mark.parametrize(
    ("url", "provider", "key"),
    [
        ("https://openrouter.ai/api/v1", "openrouter", "OPENROUTER_API_KEY"),
        ("https://eu.api.openai.com/v1", "openai", "OPENAI_API_KEY"),
        ("https://notopenai.com/v1", "notopenai.com", "OPENAI_API_KEY"),
        ("http://127.0.0.1:9/v1", "local", None),
        ("http://localhost:9/v1", "local", None),
        ("http://[::1]:9/v1", "local", None),
    ],
)
def test_a_base_url_gets_the_key_that_belongs_to_it(url, provider, key):
    """OpenRouter's key goes to OpenRouter alone, and this machine's own servers get none unasked."""
    choice = choose(replace(ALL, base_url=url))
    assert (choice.provider, choice.key_name) == (provider, key)


def test_a_base_url_with_a_provider_gets_that_providers_key():
    """Whoever says whose server it is, also on this machine, has that key sent."""
    choice = choose(replace(ALL, base_url="http://127.0.0.1:9/v1", provider="openai"))
    assert (choice.provider, choice.key_name) == ("openai", "OPENAI_API_KEY")


def test_a_key_that_has_no_value_is_not_named():
    """A server that needs no key is asked without one."""
    assert choose(Facts(base_url="https://llm.example.com/v1")).key_name is None


def test_a_base_url_of_a_found_server_takes_its_first_model():
    """A local server's own model is the default where its address is written down."""
    assert choose(replace(ALL, base_url=LLAMA_CPP.base_url)).model == "some.gguf"


def test_variables_move_the_endpoints():
    """`OPENAI_BASE_URL` and `OPENROUTER_BASE_URL` say where their keys go."""
    moved = replace(ALL, openrouter_base_url="http://127.0.0.1:1/v1", openai_base_url="http://127.0.0.1:2/v1")
    assert choose(moved).base_url == "http://127.0.0.1:1/v1"
    assert choose(replace(moved, provider="openai")).base_url == "http://127.0.0.1:2/v1"


def test_the_embedded_model_does_not_answer_in_anothers_name():
    """Who asks for a model by name is not answered by a small one that calls itself so: the error says what to do."""
    alone = Facts(embedded_installed=True, embedded_path=WEIGHTS)
    with pytest.raises(NoProvider, match=r"gpt-4\.1-mini"):
        choose(replace(alone, model="gpt-4.1-mini"))
    assert choose(replace(alone, model="smollm2-135m-instruct")).model == "smollm2-135m-instruct"


def test_weights_of_ones_own_have_a_name_of_their_own():
    """Another GGUF file is called as the configuration says, else as the file."""
    own = Facts(embedded_installed=True, embedded_path="/models/Qwen3-4B.Q4.gguf")
    assert choose(own).model == "Qwen3-4B.Q4"
    assert choose(replace(own, model="qwen3")).model == "qwen3"


@pytest.mark.parametrize("facts", [ALL, replace(ALL, keys=frozenset())])
def test_the_configured_model_is_the_default_with_every_provider(facts):
    """`model` in the configuration is asked of whoever answers."""
    assert choose(replace(facts, model="mine")).model == "mine"


def test_why_tells_what_was_taken_and_the_order():
    """The log says in one sentence who answers and what would have come first."""
    why = choose(replace(ALL, keys=frozenset())).why
    assert why.startswith("ollama at http://127.0.0.1:11434/v1")
    assert "OPENROUTER_API_KEY, OPENAI_API_KEY, a local Ollama or llama.cpp server, the embedded model" in why
