"""A file of replies, in place of a provider and a search."""

from __future__ import annotations

import asyncio

import pytest

from rlmwatch.daemon.script_file import read_script, scripted_model, scripted_search
from rlmwatch.errors import ConfigError, ProviderRefused, ProviderUnavailable, UnknownModel, WrongKey
from rlmwatch.models.base import Message, Request
from rlmwatch.search.base import SearchQuery

SCRIPT = """
usd_per_million = [1.0, 4.0]

[[replies]]
when = "france"
text = "Paris."

[[replies]]
error = "busy"
status = 503

[[replies]]
text = "whatever"
repeat = true

[[pages]]
when = "exoplanet"
url = "https://example.org/1"
title = "51 Pegasi b"
text = "A planet."

[[pages]]
url = "https://example.org/2"
"""


def request(text: str) -> Request:
    return Request("m", (Message("system", "s"), Message("user", text)), max_tokens=50)


@pytest.fixture
def script(tmp_path):
    def write(text: str | bytes = SCRIPT):
        file = tmp_path / "replies.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def test_1_the_first_entry_that_fits_answers_once(script):
    """An entry answers what holds its `when`, once unless it repeats; an error is raised in its words."""
    file = script()
    model = scripted_model(read_script(file), file)

    async def ask(text: str) -> str:
        return (await model.complete(request(text))).text

    async def talk() -> list[str]:
        said = [await ask("The capital of FRANCE?")]
        with pytest.raises(ProviderUnavailable, match="busy"):
            await ask("The capital of France?")
        return [*said, await ask("france"), await ask("x")]

    assert asyncio.run(talk()) == ["Paris.", "whatever", "whatever"]


def test_1_replies_cost_what_the_file_says(script):
    """Tokens cost `usd_per_million`, so that caps and ceilings can be tried."""
    file = script()
    model = scripted_model(read_script(file), file)
    assert model.price("any") == pytest.approx((1e-6, 4e-6))
    assert asyncio.run(model.complete(request("france"))).usage.cost_usd > 0


def test_2_a_request_without_an_entry_is_refused_by_name(script):
    """A workflow that asks more than was foreseen ends in words that name the file, and not in a fault of ours."""
    file = script("[[replies]]\ntext = 'one'\n")
    model = scripted_model(read_script(file), file)
    asyncio.run(model.complete(request("x")))
    with pytest.raises(ProviderRefused, match=r"replies\.toml has no reply left"):
        asyncio.run(model.complete(request("x")))


@pytest.mark.parametrize(
    ("status", "kind"),
    [("401", WrongKey), ("404", UnknownModel), ("400", ProviderRefused), ("429", ProviderUnavailable)],
)
def test_1_an_error_is_of_the_kind_that_its_status_says(script, status, kind):
    """A workflow can be tried with every kind of refusal."""
    file = script(f"[[replies]]\nerror = 'no'\nstatus = {status}\n")
    with pytest.raises(kind):
        asyncio.run(scripted_model(read_script(file), file).complete(request("x")))


def test_3_a_search_finds_the_pages_that_fit(script):
    """Pages are found by a word of the query; those without one always."""
    search = scripted_search(read_script(script()))
    found = asyncio.run(search.search(SearchQuery("first Exoplanet")))
    assert [page.url for page in found.pages] == ["https://example.org/1", "https://example.org/2"]
    assert [page.url for page in asyncio.run(search.search(SearchQuery("else"))).pages] == ["https://example.org/2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[replies]]\n", "replies.0: write `text` or `error`"),
        ("[[replies]]\ntext = 'a'\nerror = 'b'\n", "write `text` or `error`"),
        ("[[reply]]\ntext = 'a'\n", "reply: no such key"),
        ("text = ", "not valid TOML"),
        (b"\xff\xfax", "cannot be read"),
        ("[[pages]]\nurl = 'file:///etc/passwd'\n", "pages.0.url"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(script, text, words):
    """Whoever made a mistake in the file reads where it is."""
    with pytest.raises(ConfigError, match=r"replies\.toml: .*" + words):
        read_script(script(text))


def test_a_file_may_begin_with_a_byte_order_mark(script):
    """It is read as every other text that a person writes."""
    assert read_script(script(SCRIPT.encode("utf-16"))).replies[0].text == "Paris."


def test_a_file_that_is_not_there_is_named(tmp_path):
    """The error says which file was looked for."""
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot be read"):
        read_script(tmp_path / "gone.toml")
