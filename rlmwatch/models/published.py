"""
The prices that a provider publishes in its own list of models, so that a new model has one.

1. The list is read at most once in `EVERY_H` hours over all programs of a user: it is kept in the private state
   folder, with the time.
2. A list that is not one, or holds no price, is ignored and said in the log; what was known before stays.
3. Nobody waits for it, but a run whose model has no known price otherwise, and the very first one: for
   `listing.TIMEOUT_S` at most.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from rlmwatch import clock
from rlmwatch.errors import ProviderError, WorkspaceError
from rlmwatch.models.base import Model, Reply, Request
from rlmwatch.models.listing import DEAREST_USD_PER_TOKEN, LIMIT_BYTES, offered
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.workspace import atomic

EVERY_H = 24
AGAIN_AFTER_S = 600.0
"""After a failure the same program asks no sooner than this."""

log = structlog.get_logger()


class Published(Mapping[str, tuple[float, float]]):
    """
    The published prices of one provider, as they are known now: model → US dollars per (input token, output token).

    Belongs to the event loop in which it is refreshed.
    """

    def __init__(self, endpoint: Endpoint, file: Path) -> None:
        """
        Take what is kept in *file*; nothing is asked.

        Args:
            endpoint: Whose list; no key is needed for it, and none is sent.
            file: Where it is kept.
        """
        self._endpoint = Endpoint(endpoint.provider, endpoint.base_url)
        self._file = file
        self._asked_at, self._prices, self._seeing = _kept(file, endpoint.base_url)
        self._not_before = -math.inf
        self._reading: asyncio.Task[None] | None = None

    def __getitem__(self, model: str) -> tuple[float, float]:
        return self._prices[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._prices)

    def __len__(self) -> int:
        return len(self._prices)

    def sees(self, model: str) -> bool | None:
        """Return whether the list says that *model* can be shown images; None where it says nothing of it."""
        return self._seeing.get(model)

    def refresh(self) -> None:
        """Begin to read the list, where that is due. Returns at once."""
        if self._reading is not None and not self._reading.done():
            return
        if clock.monotonic() >= self._not_before and self._due():
            self._reading = asyncio.create_task(self._read())

    async def refreshed(self) -> None:
        """Wait until the list has been read, where that is due or under way."""
        self.refresh()
        if self._reading is not None:
            await asyncio.wait({self._reading})

    async def aclose(self) -> None:
        """Stop reading. Idempotent."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    def _due(self) -> bool:
        if self._asked_at is None:
            return True
        age = datetime.fromisoformat(clock.utc()) - self._asked_at
        return not timedelta(0) <= age < timedelta(hours=EVERY_H)

    async def _read(self) -> None:
        self._not_before = clock.monotonic() + AGAIN_AFTER_S
        try:
            offers = await offered(self._endpoint)
        except ProviderError as error:
            log.warning("prices.not_read", provider=self._endpoint.provider, why=str(error))
            return
        prices = {offer.model: offer.price for offer in offers if offer.price is not None}
        if prices:
            self._prices = prices
            self._seeing = {offer.model: offer.sees for offer in offers if offer.sees is not None}
        else:
            log.warning("prices.not_read", provider=self._endpoint.provider, why="the list holds no price")
        now = clock.utc()
        self._asked_at = datetime.fromisoformat(now)
        kept = {"asked_at": now, "base_url": self._endpoint.base_url, "prices": self._prices, "seeing": self._seeing}
        try:
            await asyncio.to_thread(_keep, self._file, json.dumps(kept).encode())
        except (WorkspaceError, OSError) as error:
            log.warning("prices.not_kept", path=str(self._file), why=str(error))
            return
        log.info("prices.read", provider=self._endpoint.provider, models=len(prices))


class PublishingModel:
    """A provider that publishes its prices (port `Model`); with its first call its list is read, where that is due."""

    def __init__(self, model: Model, published: Published) -> None:
        """
        Ask *model*.

        Args:
            model: The provider; its prices come from *published* already.
            published: Its list.
        """
        self.provider = model.provider
        self._model = model
        self._published = published

    @property
    def has_list(self) -> bool:
        """Whether its list was ever read, now or by an earlier program."""
        return bool(self._published)

    async def learn_prices(self) -> None:
        """Wait until the list has been read, where that is due or under way."""
        await self._published.refreshed()

    def price(self, model: str) -> tuple[float, float] | None:
        """Return US dollars per (input token, output token) of *model*; None where unknown."""
        return self._model.price(model)

    def turn(self, request: Request) -> AbstractAsyncContextManager[None]:
        """Wait until *request* may be sent."""
        return self._model.turn(request)

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """Make one call. See the port for the errors."""
        self._published.refresh()
        return await self._model.complete(request, on_text=on_text)

    def sees(self, model: str) -> bool | None:
        """Return whether *model* can be shown images, as the list says; None where it does not."""
        return self._published.sees(model)

    async def aclose(self) -> None:
        """Give back connections. Idempotent."""
        await self._published.aclose()
        await self._model.aclose()


def _keep(file: Path, data: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    atomic.write(file, data)


_Kept = tuple[datetime | None, dict[str, tuple[float, float]], dict[str, bool]]


def _kept(file: Path, base_url: str) -> _Kept:
    """Return when the list of *base_url* was read last, its prices, and who sees; nothing where *file* is not sound."""
    try:
        with file.open("rb") as kept:
            raw = kept.read(LIMIT_BYTES + 1)
        values = json.loads(raw) if len(raw) <= LIMIT_BYTES else None
        if not isinstance(values, dict) or values["base_url"] != base_url:
            return None, {}, {}
        prices = {str(model): (float(into), float(out)) for model, (into, out) in values["prices"].items()}
        seeing = {str(model): bool(sees) for model, sees in values.get("seeing", {}).items()}
        asked_at = datetime.fromisoformat(values["asked_at"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, {}, {}
    sound = all(0 <= usd <= DEAREST_USD_PER_TOKEN for price in prices.values() for usd in price)
    return (asked_at, prices, seeing) if sound and asked_at.tzinfo is not None else (None, {}, {})
