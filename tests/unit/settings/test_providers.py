"""Providers by name: what their tables may say, and what a workspace may choose."""

from __future__ import annotations

import re

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import ConfigError
from rlmwatch.settings.model import Settings
from rlmwatch.settings.providers import SHIPPED, is_variable_name, shipped_at
from rlmwatch.settings.sources import load

OPEN = '[providers.groq]\nworkspaces = true\nmodel = "theirs"\n'


@pytest.fixture
def read(tmp_path):
    """Return what `load` makes of the user's own file and the workspace's."""
    user, workspace = tmp_path / "user", tmp_path / "workspace"
    user.mkdir()
    workspace.mkdir()

    def read(mine="", theirs="", environ=None):
        for file, text in ((user / "config.toml", mine), (workspace / "rlmwatch.toml", theirs)):
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(user_dir=user, workspace=workspace, environ=environ or {})

    return read


@pytest.mark.parametrize(
    "name", ["MY_KEY", "GROQ_API_KEY", "my_gateway_key", "_K", "KEY2026", "openRouterApiKeyForWork"]
)
def test_a_name_of_a_variable_is_taken(name):
    """The names that people give their variables are no keys."""
    assert is_variable_name(name)


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-4f9aB2kQ",
        "sk_live_abcdefgh",
        "gsk_4f9aB2kQx81LmN0pRsTuVw2",
        "AIzaSyA1b2C3d4E5f6G7h8",
        "xai-abcdefgh",
        "fw_abc",
        "9e107d9d372bb6826bd81d3542a419d6",
        "e107d9d372bb6826bd81d3542a419d6a",
        "pK4mZq8VbN2xT7cLw9RjD3fH",
        "tgp_v1_abcdefg",
        "with blank",
        "",
    ],
)
def test_a_value_that_looks_like_a_key_is_refused_and_not_repeated(read, key):
    """Who writes a key where its name belongs is told so, and the key stands in no error."""
    with pytest.raises(ConfigError, match=r"config\.toml: providers\.x\.key: write the name of the variable") as caught:
        read(f'[providers.x]\nbase_url = "https://x.example/v1"\nkey = "{key}"\n')
    assert not key or key not in str(caught.value)
    with pytest.raises(ConfigError, match=r"RLMWATCH_KEY: key: write the name"):
        read(environ={"RLMWATCH_KEY": key})


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ('Authorization = "secret-value-1"', "Authorization is set by rlmwatch"),
        ('"a b" = "secret-value-1"', "is not the name of a header"),
        ('X-Team = "secret-value-1\\nHost: elsewhere"', "on one line"),
        ('X-Team = "secret-value-1\\u00e9"', "plain ASCII"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(read, header, words):
    """A header that would say who is asked, or hold a line break, is an error that does not show what it holds."""
    with pytest.raises(ConfigError, match=words) as caught:
        read(f'[providers.x]\nbase_url = "https://x.example/v1"\n[providers.x.headers]\n{header}\n')
    assert "secret-value-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        ('provider = "grok"', r"provider: \"grok\" is not a provider: did you mean groq\?"),
        ('[job]\nprovider = "nobody"', 'job.provider: "nobody" is not a provider: there are openrouter'),
        ("[providers.mine]\nmodel = 'm'", "providers.mine: write its `base_url`"),
        ("[providers.local]\nmodel = 'm'", "providers.local: only `workspaces` can be said of it"),
        ("[providers.x]\nbase_url = 'https://x/v1'\nkee = 'K'", "providers.x.kee"),
        ("[providers.x]\nbase_url = 'x.example'", "providers.x.base_url"),
        ("[providers.X]\nbase_url = 'https://x/v1'", "providers.X"),
        ("[providers.s]\nreplies = '/f'\nkey = 'K'", "`replies` is in place of a server"),
    ],
)
def test_a_table_that_means_nothing_is_named(read, mine, words):
    """A misspelt provider, and a table that cannot work, are errors with file and key."""
    with pytest.raises(ConfigError, match=words):
        read(mine)


@pytest.mark.parametrize("theirs", ['provider = "{}"', '[chat]\nprovider = "{}"', '[exa]\nprovider = "{}"'])
@pytest.mark.parametrize(
    ("mine", "name"),
    [
        ("", "groq"),
        ("[providers.groq]\nmodel = 'm'", "groq"),
        ("[providers.groq]\nworkspaces = false", "groq"),
        (OPEN, "openai"),
        (OPEN, "local"),
        (OPEN, "scripted"),
        (OPEN, "nobody"),
    ],
)
def test_a_workspace_chooses_only_what_its_user_opened(read, theirs, mine, name):
    """`provider` in rlmwatch.toml is an error unless the user's own table of that provider opens it."""
    with pytest.raises(ConfigError, match=r"rlmwatch\.toml: (\w+\.)?provider: a workspace may not set this"):
        read(mine, theirs.format(name))


def test_a_workspace_that_chooses_an_opened_provider_gets_none_of_the_models_of_another(read):
    """`provider` at the top of rlmwatch.toml holds for each kind, with that provider's own model."""
    loaded = read('model = "mine"\n[chat]\nmodel = "for chats"\n' + OPEN, 'provider = "groq"\n[job]\nmodel = "named"\n')
    options = {kind: loaded.settings.options_for(kind, RunOptions()) for kind in Kind}
    assert {each.provider for each in options.values()} == {"groq"}
    assert (options[Kind.RESEARCH].model, options[Kind.JOB].model) == (None, "named")
    assert loaded.workspace_set("exa.provider")
    assert loaded.settings.provider is None


def test_a_run_that_names_a_provider_gets_none_of_the_models_of_another():
    """`provider:` in front matter takes neither the default model nor that of the kind, which are the default one's."""
    settings = Settings(model="m", sub_model="s", chat=RunOptions(model="c", tokens=7))
    options = settings.options_for(Kind.CHAT, RunOptions(provider="groq"))
    assert (options.model, options.sub_model, options.tokens) == (None, None, 7)
    assert settings.options_for(Kind.CHAT, RunOptions()).model == "c"
    assert settings.options_for(Kind.JOB, RunOptions()).model == "m"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_settings_may_begin_with_a_byte_order_mark(read, encoding):
    """Both settings files are read as some editors write them: with a byte order mark, in UTF-8 or UTF-16."""
    loaded = read("workers = 2\r\n".encode(encoding), '[chat]\r\nsystem = "h\u00f6flich"\r\n'.encode("utf-8-sig"))
    assert (loaded.settings.workers, loaded.settings.chat.system) == (2, "h\u00f6flich")


def test_settings_in_another_encoding_are_named(read):
    """A file that is no UTF-8 is named, with the place in it."""
    with pytest.raises(ConfigError, match=r"config\.toml: cannot be read: line 1, column 10: byte 0xF6 is not UTF-8"):
        read(b'model = "\xf6"')


def test_nothing_is_above_the_ceiling_of_a_run_wherever_it_was_said(read):
    """No file raises a run above `max_cost_usd_per_run`; one that asks for less gets less."""
    settings = read("[ceilings]\nmax_cost_usd_per_run = 0.1\n", "[job]\nmax_cost_usd = 50\n").settings
    for said in (RunOptions(), RunOptions(max_cost_usd=1000.0)):
        assert settings.options_for(Kind.JOB, said).max_cost_usd == 0.1
        assert settings.under_ceilings(said).max_cost_usd == 0.1
    assert settings.under_ceilings(RunOptions(max_cost_usd=0.01)).max_cost_usd == 0.01


def test_every_shipped_address_is_that_providers():
    """The table that genai-prices keeps of the providers' addresses knows each of ours, and so do we."""
    from genai_prices.data_snapshot import get_snapshot

    theirs = {provider.id: provider.api_pattern for provider in get_snapshot().providers}
    ids = {"gemini": "google", "xai": "x-ai"}
    for name, known in SHIPPED.items():
        if known.base_url is not None and known.needs_key:
            assert re.match(theirs[ids.get(name, name)], known.base_url), name
            assert shipped_at(known.base_url) == name
    assert shipped_at("https://api.openai.com.example.org/v1") is None
    assert shipped_at("https://storage.googleapis.com/v1") is None
    assert shipped_at("https://me.openai.azure.com/openai/v1") == "azure"
