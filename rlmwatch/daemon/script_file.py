"""
A file of replies: what the scripted model answers and the scripted search finds, for tests of workflows.

    usd_per_million = [1.0, 4.0]      # input and output tokens; free without it

    [[replies]]
    when = "capital of France"        # a text that stands in the request; every request without it
    text = "Paris."

    [[replies]]
    error = "the provider is busy"    # in place of a reply
    status = 503

    [[replies]]
    text = "I do not know."
    repeat = true                     # as often as it is asked; else once

    [[pages]]
    when = "exoplanet"                # a text that stands in the query
    url = "https://example.org/1"
    title = "51 Pegasi b"
    text = "..."

1. The first entry that is not used up and whose `when` stands in the request answers it.
2. Where there is none, the request is refused in words that name the file.
3. A search finds all pages whose `when` stands in its query, and those without.
4. The file is read when the provider is chosen: at the start, and at a reload where it has changed, which begins it
   afresh.
"""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rlmwatch.contract.faults import in_words
from rlmwatch.contract.text import decode
from rlmwatch.errors import (
    ConfigError,
    InputError,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
    UnknownModel,
    WrongKey,
)
from rlmwatch.models.base import Request
from rlmwatch.models.prices import PER_MILLION
from rlmwatch.models.scripted import Scripted, ScriptedModel
from rlmwatch.search.base import Page, SearchQuery
from rlmwatch.search.scripted import ScriptedSearch
from rlmwatch.settings.user_folders import expanded

MAX_BYTES = 10 << 20
_Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _ScriptTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReplyEntry(_ScriptTable):
    """
    One entry of `[[replies]]`.

    Attributes:
        when: A text that stands in one of the request's messages; None for every request.
        text: The reply.
        error: The provider's words, in place of a reply.
        status: The HTTP status of the error; without one it is a connection that failed.
        wait_s: Seconds before it comes.
        repeat: Whether it answers as often as it is asked.
    """

    when: str | None = None
    text: str | None = None
    error: str | None = None
    status: Annotated[int, Field(ge=400, lt=600)] | None = None
    wait_s: _Usd = 0
    repeat: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> ReplyEntry:
        if (self.text is None) == (self.error is None):
            raise ValueError("write `text` or `error`, and not both")
        return self


class PageEntry(_ScriptTable):
    """One entry of `[[pages]]`; all but `when` as in `Page`."""

    url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    title: str = ""
    text: str = ""
    date: str | None = None
    author: str | None = None
    when: str | None = None


class ScriptFile(_ScriptTable):
    """
    The whole file.

    Attributes:
        usd_per_million: US dollars per million input and output tokens.
        usd_per_search: US dollars of one search.
    """

    replies: tuple[ReplyEntry, ...] = ()
    pages: tuple[PageEntry, ...] = ()
    usd_per_million: tuple[_Usd, _Usd] = (0.0, 0.0)
    usd_per_search: _Usd = 0.0


def read_script(file: Path) -> ScriptFile:
    """
    Return what *file* says.

    Raises:
        ConfigError: It cannot be read, or something in it is wrong; names file and key.
    """
    try:
        with expanded(file).open("rb") as source:
            raw = source.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(f"{file}: is larger than {MAX_BYTES >> 20} MB")
        return ScriptFile.model_validate(tomllib.loads(decode(raw)))
    except (OSError, InputError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    except ValidationError as error:
        faults = error.errors(include_url=False)
        report = "\n".join(f"{file}: {'.'.join(map(str, fault['loc']))}: {in_words(fault)}" for fault in faults)
        raise ConfigError(report) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def scripted_model(script: ScriptFile, file: Path) -> ScriptedModel:
    """Return the model that answers as *script* says, which stands in *file*."""
    left = list(script.replies)

    async def following(request: Request) -> Scripted:
        entry = next((each for each in left if _fits(each.when, *(m.content for m in request.messages))), None)
        if entry is None:
            return ProviderRefused(f"scripted: {file} has no reply left for this request")
        if not entry.repeat:
            left.remove(entry)
        if entry.wait_s:
            await asyncio.sleep(entry.wait_s)
        return entry.text if entry.text is not None else _error(entry)

    into, out = script.usd_per_million
    return ScriptedModel(following, usd_per_token=(into * PER_MILLION, out * PER_MILLION))


def scripted_search(script: ScriptFile) -> ScriptedSearch:
    """Return the search that finds what *script* says."""

    async def found(query: SearchQuery) -> list[Page]:
        return [
            Page(each.title or each.url, each.url, each.date, each.author, each.text)
            for each in script.pages
            if _fits(each.when, query.query)
        ]

    return ScriptedSearch(found, usd_per_search=script.usd_per_search)


def _fits(when: str | None, *texts: str) -> bool:
    return when is None or any(when.casefold() in text.casefold() for text in texts)


def _error(entry: ReplyEntry) -> ProviderError:
    words, status = f"scripted: {entry.error}", entry.status
    if status in (401, 403):
        return WrongKey(words, status=status)
    if status == 404:  # noqa: PLR2004 (HTTP's)
        return UnknownModel(words, status=status)
    if status is None or status in (408, 409, 425, 429) or status >= 500:  # noqa: PLR2004
        return ProviderUnavailable(words, status=status)
    return ProviderRefused(words, status=status)
