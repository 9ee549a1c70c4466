"""Which provider answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from rlmwatch.errors import ConfigError, NoProvider
from rlmwatch.models.select import EMBEDDED_FILE, Facts, LocalServer, address_of, choose, named, why_no_engine
from rlmwatch.settings.model import ProviderSettings, Settings
from rlmwatch.settings.providers import SHIPPED

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


@pytest.mark.parametrize("name", [name for name, known in SHIPPED.items() if known.needs_key and known.base_url])
def test_5_a_set_variable_is_enough_for_every_shipped_provider(name):
    """With nothing but a provider's usual variable it answers, at its own address, with a model of its own."""
    known = SHIPPED[name]
    choice = choose(Facts(keys=frozenset({known.key, "EXA_API_KEY"}), embedded_installed=True, embedded_path=WEIGHTS))
    assert (choice.provider, choice.base_url, choice.key_name) == (name, known.base_url, known.key)
    assert choice.model == known.model


def test_5_other_providers_come_after_the_order_of_before():
    """Whoever has one of OpenRouter, OpenAI or a local server is answered by it, whatever other variables are set."""
    others = frozenset(known.key for known in SHIPPED.values() if known.key)
    assert choose(replace(ALL, keys=others)).provider == "openrouter"
    assert choose(replace(ALL, keys=others - {"OPENROUTER_API_KEY"})).provider == "openai"
    assert choose(replace(ALL, keys=others - BOTH)).provider == "local"
    assert choose(replace(ALL, keys=others - BOTH, local=())).provider == "anthropic"


def test_a_provider_of_ones_own_has_its_address_key_and_model():
    """`[providers.NAME]` is chosen by `provider`, and by nothing else."""
    mine = ProviderSettings(base_url="https://x.example/v1", key="MINE", model="m", headers={"X-Team": "t"})
    facts = Facts(providers={"mine": mine}, keys=frozenset({"MINE"}))
    choice = choose(replace(facts, provider="mine"))
    assert (choice.provider, choice.base_url, choice.key_name, choice.model) == ("mine", mine.base_url, "MINE", "m")
    assert choice.headers["X-Team"].get_secret_value() == "t"
    with pytest.raises(NoProvider):
        choose(facts)
    with pytest.raises(NoProvider, match="MINE has no value"):
        choose(replace(facts, provider="mine", keys=BOTH))


def test_a_table_lies_over_what_is_shipped():
    """Another key, address or model of a shipped provider is taken, the rest stays."""
    table = ProviderSettings(key="WORK_KEY", model="other")
    choice = choose(Facts(provider="groq", providers={"groq": table}, keys=frozenset({"WORK_KEY", "GROQ_API_KEY"})))
    assert (choice.base_url, choice.key_name, choice.model) == (SHIPPED["groq"].base_url, "WORK_KEY", "other")


@pytest.mark.parametrize(
    "url", ["https://llm.example.com/v1", "http://127.0.0.1:9/v1", "https://api.groq.com/openai/v1"]
)
def test_a_base_url_takes_the_key_that_is_named_beside_it(url):
    """`base_url` and `key` are all that is needed, on this machine as well."""
    facts = replace(ALL, base_url=url, key="GATE_KEY", keys=BOTH | {"GATE_KEY", "GROQ_API_KEY"})
    assert choose(facts).key_name == "GATE_KEY"
    with pytest.raises(NoProvider, match="GATE_KEY has no value"):
        choose(replace(facts, keys=BOTH))


@pytest.mark.parametrize("name", [name for name, known in SHIPPED.items() if known.needs_key and known.base_url])
def test_no_key_goes_to_the_address_of_another_provider(name):
    """A base_url at a provider that is known gets that provider's key or none, whatever else is set."""
    others = frozenset(known.key for known in SHIPPED.values() if known.key) - {SHIPPED[name].key}
    assert choose(Facts(base_url=SHIPPED[name].base_url, keys=others)).key_name is None


@pytest.mark.parametrize("name", ["ollama", "llama.cpp", "vllm", "lmstudio"])
def test_a_server_on_this_machine_answers_under_its_name_without_a_key(name):
    """It takes the model that it lists first; without one it says what to write."""
    url = SHIPPED[name].base_url
    facts = Facts(provider=name, keys=BOTH, local=(LocalServer(name, url, ("first", "second")),))
    choice = choose(facts)
    assert (choice.base_url, choice.model, choice.key_name) == (url, "first", None)
    with pytest.raises(NoProvider, match=r"no model is named"):
        choose(replace(facts, local=()))
    assert choose(replace(facts, base_url="http://127.0.0.1:7/v1")).key_name is None


def test_azure_is_asked_by_deployment_and_version_or_at_its_v1():
    """An Azure resource is asked at its deployment's own address where a version is named, else at `/openai/v1`."""
    facts = Facts(
        provider="azure",
        model="gpt-4.1",
        keys=frozenset({"AZURE_OPENAI_API_KEY"}),
        azure_base_url="https://me.openai.azure.com/",
    )
    plain = choose(facts)
    assert (plain.base_url, plain.key_header, plain.one_model) == (
        "https://me.openai.azure.com/openai/v1",
        "api-key",
        False,
    )
    table = ProviderSettings(deployment="chat-1", api_version="2024-10-21")
    versioned = choose(replace(facts, providers={"azure": table}))
    at = "https://me.openai.azure.com/openai/deployments/chat-1?api-version=2024-10-21"
    assert (versioned.base_url, versioned.one_model, versioned.model) == (at, True, "gpt-4.1")
    with pytest.raises(NoProvider, match="AZURE_OPENAI_ENDPOINT"):
        choose(replace(facts, azure_base_url=None))
    with pytest.raises(NoProvider, match=r"\[providers\.azure\]"):
        choose(replace(facts, model=None))


def test_a_run_may_name_another_provider_than_the_default():
    """It gets that provider's own address, key and model, and nothing of the default one."""
    facts = replace(ALL, provider="openai", model="gpt-9", keys=BOTH | {"GROQ_API_KEY"})
    other = named(facts, "groq")
    assert (other.base_url, other.key_name, other.model) == (
        SHIPPED["groq"].base_url,
        "GROQ_API_KEY",
        SHIPPED["groq"].model,
    )
    assert named(facts, "openai") == choose(facts)
    with pytest.raises(NoProvider, match="XAI_API_KEY has no value"):
        named(facts, "xai")
    with pytest.raises(ConfigError, match="did you mean groq"):
        named(facts, "grok")


def test_moved_addresses_hold_for_named_providers():
    """`OPENAI_BASE_URL` moves the provider `openai` wherever it is named."""
    assert address_of(Facts(openai_base_url="http://127.0.0.1:2/v1"), "openai") == "http://127.0.0.1:2/v1"
    assert address_of(Facts(), "azure") is None


MALFORMED = (
    "http://[::1",
    "http://[zz]:80/v1",
    "http://h:99999/v1",
    "http://h:x/v1",
    "http://me:made-up-7f3a9c@[::1/v1",
    "http://ho st/v1",
    "http://h\x7f/v1",
    "http://:80/v1",
    "http://\u2100.example/v1",
    f"http://{'a' * 300}/v1",
    "ftp://h/v1",
    "localhost:8080",
)


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize(
    ("variable", "provider"),
    [("OPENAI_BASE_URL", "openai"), ("OPENROUTER_BASE_URL", "openrouter"), ("AZURE_OPENAI_ENDPOINT", "azure")],
)
def test_a_malformed_address_in_a_variable_is_a_wrong_setting(url: str, variable: str, provider: str):
    """What is no whole http address is an error that names the variable, before a run begins, and shows no login."""
    field = {"openai": "openai_base_url", "openrouter": "openrouter_base_url", "azure": "azure_base_url"}[provider]
    facts = replace(ALL, keys=BOTH | {"AZURE_OPENAI_API_KEY"}, provider=provider, **{field: url})
    with pytest.raises(ConfigError, match=variable) as raised:
        choose(facts)
    assert "7f3a9c" not in str(raised.value)


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_address_in_the_configuration_is_a_wrong_setting(url: str):
    """So it is in `base_url` and in a table of providers."""
    for make in (lambda: Settings(base_url=url), lambda: ProviderSettings(base_url=url)):
        with pytest.raises(ValidationError, match="write a whole address"):
            make()


def test_the_engine_is_refused_to_the_shipped_weights_alone():
    """Only the model that is known to be unable gets no engine work; the words name a key, a server and a file."""
    alone = Facts(embedded_installed=True, embedded_path=WEIGHTS, embedded_writes_code=False)
    why = why_no_engine(choose(alone), named=False)
    assert why is not None
    assert why.startswith("needs a model that can write code: smollm2-135m-instruct")
    for way in ("OPENAI_API_KEY", ".env", "base_url", "Ollama", "path", "[models]"):
        assert way in why
    assert "Take `provider: embedded` out" in str(why_no_engine(choose(alone), named=True))
    for others in (replace(alone, embedded_writes_code=True), ALL, replace(alone, local=(OLLAMA,))):
        assert why_no_engine(choose(others), named=False) is None
