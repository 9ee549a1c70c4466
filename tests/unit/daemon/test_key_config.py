"""The user's config.toml with another provider in it."""

from __future__ import annotations

import tomllib

import pytest

from rlmwatch.daemon.key_config import Chosen, config_with

BEFORE = """\
# mine
provider = "openai"   # first
model = "gpt-4.1"
sub_model = "small"
key = "MY_KEY"

[chat]
tokens = 7

[providers.own]
base_url = "http://127.0.0.1:1/v1"
key = "OWN_API_KEY"
headers = { "X-Team" = "blue" }
"""


def test_the_same_provider_keeps_what_is_its_own():
    """Model and key stay where the provider does; comments and order stay always."""
    text, gone = config_with(BEFORE, Chosen("openai"))
    assert (text, gone) == (BEFORE, [])


def test_another_provider_takes_what_was_the_others():
    """Model, sub-model and the name of the key go with the provider that they were for, and are named."""
    text, gone = config_with(BEFORE, Chosen("groq", model="llama"))
    found = tomllib.loads(text)
    assert gone == ["model", "sub_model", "key"]
    assert (found["provider"], found["model"], found["chat"]) == ("groq", "llama", {"tokens": 7})
    assert "key" not in found
    assert text.startswith("# mine\n")


def test_an_own_table_keeps_what_nobody_asked_about():
    """A new address goes into the table that is there; headers stay; without a key its name goes."""
    chosen = Chosen("own", {"base_url": "http://127.0.0.1:2/v1"}, "m", keyless=True)
    table = tomllib.loads(config_with(BEFORE, chosen)[0])["providers"]["own"]
    assert table == {"base_url": "http://127.0.0.1:2/v1", "headers": {"X-Team": "blue"}}


def test_a_new_file_is_whole():
    """Where there was none, the file says what was chosen, and is TOML."""
    text, gone = config_with("", Chosen("own", {"base_url": "http://127.0.0.1:2/v1"}, "m"))
    assert gone == []
    assert tomllib.loads(text) == {
        "provider": "own",
        "model": "m",
        "providers": {"own": {"base_url": "http://127.0.0.1:2/v1"}},
    }


@pytest.mark.parametrize(("before", "keeps"), [("openai", True), ("openrouter", False), (None, False)])
def test_without_a_provider_in_the_file_they_are_those_of_who_answered(before: str | None, keeps: bool):
    """Where the file named no provider, model, sub-model and key stay only if the chosen one answered before."""
    mine = 'model = "m"\nsub_model = "s"\nkey = "OTHER_KEY"\n'
    text, gone = config_with(mine, Chosen("openai", before=before))
    assert gone == ([] if keeps else ["model", "sub_model", "key"])
    assert tomllib.loads(text) == {**(tomllib.loads(mine) if keeps else {}), "provider": "openai"}
