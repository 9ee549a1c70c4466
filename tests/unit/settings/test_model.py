"""config.py: which source wins, what each may say, and how errors name file and key."""

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import ConfigError
from rlmwatch.settings.model import Settings, tokens_of_job
from rlmwatch.settings.sources import load


@pytest.fixture
def places(tmp_path):
    user, workspace = tmp_path / "user", tmp_path / "workspace"
    user.mkdir()
    workspace.mkdir()

    def write(*, mine="", theirs=""):
        (user / "config.toml").write_text(mine, encoding="utf-8")
        (workspace / "rlmwatch.toml").write_text(theirs, encoding="utf-8")
        return {"user_dir": user, "workspace": workspace}

    return write


def test_nothing_set_gives_the_founding_numbers(places):
    """A chat has 300 tokens, a day costs a dollar at most, four runs go side by side."""
    settings = load(**places(), environ={}).settings
    assert settings.options_for(Kind.CHAT, RunOptions()).tokens == 300
    assert settings.ceilings.max_cost_usd_per_day == 1.00
    assert settings.workers == 4
    research = settings.options_for(Kind.RESEARCH, RunOptions())
    assert (research.tokens, research.max_steps, research.max_cost_usd, research.max_tokens) == (400, 4, 0.05, 1200)


def test_later_sources_win(places):
    """The user's file, the workspace's, the environment, the command line: each over the one before."""
    where = places(mine="workers = 2\n[chat]\ntokens = 10\n", theirs="[chat]\ntokens = 20\n")
    assert load(**where, environ={}).settings.chat.tokens == 20
    loaded = load(**where, environ={"RLMWATCH_CHAT__TOKENS": "30", "RLMWATCH_WORKERS": "7"}, flags={"workers": 9})
    assert loaded.settings.chat.tokens == 30
    assert loaded.settings.workers == 9
    assert loaded.origins["chat.tokens"] == "RLMWATCH_CHAT__TOKENS"
    assert loaded.origins["workers"] == "the command line"


def test_front_matter_wins_over_all_but_the_ceilings(places):
    """A run may ask for more money than the settings give, and gets what the user's ceiling allows."""
    where = places(mine="[ceilings]\nmax_cost_usd_per_run = 0.10\n[job]\nmax_cost_usd = 0.02\n")
    settings = load(**where, environ={}).settings
    assert settings.options_for(Kind.JOB, RunOptions()).max_cost_usd == 0.02
    assert settings.options_for(Kind.JOB, RunOptions(max_cost_usd=5.0)).max_cost_usd == 0.10
    assert settings.options_for(Kind.CHAT, RunOptions()).max_cost_usd == 0.10


@pytest.mark.parametrize(
    "key", ["base_url", "provider", "ceilings", "prices", "webhooks", "ledger", "models", "workers"]
)
def test_a_workspace_may_not_set_what_is_trusted(places, key):
    """Keys, addresses and ceilings never come from a folder that others can write to."""
    line = f"[{key}]\n" if key in ("ceilings", "prices", "webhooks", "models") else f'{key} = "x"\n'
    with pytest.raises(ConfigError, match=rf"rlmwatch\.toml( \(line 1\))?: {key}: a workspace may not set this"):
        load(**places(theirs=line), environ={})


@pytest.mark.parametrize(
    ("mine", "theirs", "environ", "words"),
    [
        ("wrokers = 2", "", {}, r"config\.toml: wrokers: no such setting; did you mean workers\?"),
        ("[chat]\ntoken = 2", "", {}, r"config\.toml: chat\.token: no such setting; did you mean tokens\?"),
        ("", "redy_marker = 'x'", {}, r"rlmwatch\.toml: redy_marker: no such setting; did you mean ready_marker\?"),
        ("", "[chat]\ntokens = 'many'", {}, r"rlmwatch\.toml: chat\.tokens: many was given, expected a whole number"),
        ("workers = -1", "", {}, r"config\.toml: workers: -1 was given, expected 0 or more"),
        ("", "", {"RLMWATCH_CHAT__TOKENS": "many"}, r"RLMWATCH_CHAT__TOKENS: chat\.tokens"),
        ("workers = ", "", {}, r"config\.toml: no valid TOML: "),
        ("base_url = 'localhost:80'", "", {}, r"config\.toml: base_url: .*https\?://"),
        ("[ceilings]\nmax_cost_usd_per_run = 3.0", "", {}, "above max_cost_usd_per_day"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file_and_key(places, mine, theirs, environ, words):
    """Whoever made a mistake reads where it is and what is meant."""
    with pytest.raises(ConfigError, match=words):
        load(**places(mine=mine, theirs=theirs), environ=environ)


@pytest.mark.parametrize(
    ("options", "plain", "tokens"),
    [
        (RunOptions(), True, 200),
        (RunOptions(), False, 800),
        (RunOptions(tokens=150), True, 150),
        (RunOptions(tokens=150), False, 150),
        (RunOptions(tokens=2000, max_tokens=1000), False, 2000),
        (RunOptions(max_tokens=2000), False, 500),
        (RunOptions(max_tokens=100_000), False, 800),
        (RunOptions(max_tokens=300), False, 200),
    ],
)
def test_a_job_gets_the_tokens_that_fit_its_work(options, plain, tokens):
    """A job whose `tokens` nobody set gets 200 as a plain call, and up to 800 a call in the engine."""
    assert tokens_of_job(options, plain=plain) == tokens


@pytest.mark.parametrize(("kind", "tokens"), [("chat", 300), ("research", 400), ("exa", 1200)])
def test_the_other_kinds_keep_the_founding_numbers(kind, tokens):
    """Chat gets 300 tokens a call, research 400, exa 1,200."""
    assert Settings().options_for(Kind(kind), RunOptions()).tokens == tokens


@pytest.mark.parametrize("address", ["127.0.0.1:8765", "localhost:0", "[::1]:65535"])
def test_the_page_may_stand_at_an_address_of_this_machine(places, address):
    """`page` takes a loopback address with a port."""
    assert load(**places(), environ={}, flags={"page": address}).settings.page == address


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0:8765", "192.168.1.2:80", "example.org:80", "[::]:80", "[::ffff:10.0.0.1]:80"),
        *("8765", "127.0.0.1", "127.0.0.1:65536", ":80", "", "127.0.0.1:\u0661", "127.0.0.1:80/x"),
        "127.0.0.1.example.org:80",
    ],
)
def test_the_page_stands_at_no_other_address(places, address):
    """An address that others can reach is refused, with the way to see the page from elsewhere."""
    with pytest.raises(ConfigError, match=r"page: .*127\.0\.0\.1:PORT.*ssh -L"):
        load(**places(), environ={}, flags={"page": address})


def test_a_workspace_does_not_open_the_page(places):
    """`page` is the user's own setting: a folder that came from elsewhere opens no port."""
    with pytest.raises(ConfigError, match="page: a workspace may not set this"):
        load(**places(theirs='page = "127.0.0.1:8765"\n'), environ={})
