"""
Webhooks: the end of a run is reported where the user's settings say, or where a job asks and the user allows it.

1. Only the user's own configuration says where reports may go: one address for all runs, and for what job files may
   name, host by host and port by port. That list is the guard
   against requests into the machine or its network: what is not on it gets none, whatever a name resolves to.
   Redirects are not followed.
2. A report is signed as Standard Webhooks does; without a secret nothing is sent.
3. It says how the run ended, never what was asked, and the answer only with `include_answer`.
4. It is sent when the run's files are written, and again until the receiver answers 2xx: at least once, with an id
   that is the same each time. What is still to be sent stands in the ledger, so a restart goes on with it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import structlog

from rlmwatch.addresses import hide_secrets, proxy_to
from rlmwatch.errors import LedgerError
from rlmwatch.runs.deliveries import Deliveries, Delivery
from rlmwatch.runs.model import Run
from rlmwatch.settings.model import WebhookSettings, webhook_key
from rlmwatch.version import __version__
from rlmwatch.workspace.status import job_id

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S = 15.0
"""Of one attempt; Standard Webhooks recommends 15 to 30 seconds."""

AT_ONCE = 4
"""Reports under way to one host: a slow one holds up nobody else, and is not flooded."""

RETRY_S = 30.0
"""After a failure of the ledger."""

WAITS_S = (1, 5, 30, 2 * 60, 10 * 60, 30 * 60, 2 * 3600, 6 * 3600, 12 * 3600, 24 * 3600)
"""
Between two attempts; about two days in all, after which nobody is listening. Standard Webhooks begins with 5 s and 5
minutes; a receiver that is just restarting is back after a second.
"""

GONE = 410
"""With this status the receiver says that it wants no more."""

_HOST = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")
"""A host with its port, and nothing that two parsers could take for different things: no user, no backslash."""
_USUAL_PORT = {"https": 443, "http": 80}
_SUCCESS = range(200, 300)

log = structlog.get_logger()


def refusal(url: str, settings: WebhookSettings) -> str | None:
    """Return why nothing may be sent to *url*, for the job's status; None where it may."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the webhook was refused: it is not an address"
    found = _HOST.fullmatch(parts.netloc)
    if found is None or not url.isprintable() or parts.scheme not in _USUAL_PORT:
        return f"the webhook {_shown(url)} was refused: write http(s)://host[:port]/path, without a user's name"
    asked = (_plain(found["host"]), int(found["port"] or _USUAL_PORT[parts.scheme]))
    allowed = set()
    for entry in settings.allow:
        host, port = _parted(entry)
        allowed |= {(host, port)} if port else {(host, usual) for usual in _USUAL_PORT.values()}
    if asked not in allowed and url != settings.url:
        shown = parts.netloc.lower()
        return f"the webhook was refused: {shown} is not in [webhooks] allow of the user's config.toml"
    if settings.secret is None:
        return "the webhook was refused: [webhooks] in the user's config.toml has no secret to sign with"
    return None


def _parted(entry: str) -> tuple[str, int | None]:
    found = _HOST.fullmatch(entry)
    if found is None:
        raise AssertionError(entry)  # the settings were checked
    return _plain(found["host"]), int(found["port"]) if found["port"] else None


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _shown(url: str) -> str:
    """Return where *url* leads, without what may be secret in it."""
    return urlsplit(url).netloc.rpartition("@")[2][:100] or "(no host)"


def report(run: Run, *, include_answer: bool) -> str:
    """Return the report of the ended *run*, as JSON: the same each time."""
    result = run.result
    if result is None:
        raise ValueError(f"{run.run_id} has not ended")
    data: dict[str, Any] = {
        "job_id": job_id(run),
        "kind": run.kind.value,
        "input": run.path,
        "status": run.status.value,
        "outcome": result.outcome.value,
        "partial": result.partial,
        "error": result.error,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "model": result.model,
        "usage": asdict(result.usage),
    }
    if include_answer:
        data["answer"] = result.answer
    body = {"type": f"job.{run.status.value}", "timestamp": run.completed_at, "data": data}
    return json.dumps(body, separators=(",", ":"))


def signed(message_id: str, body: bytes, key: bytes, *, now: str) -> dict[str, str]:
    """Return the headers of a report: whose it is, when it was sent, and the proof of both (Standard Webhooks, v1)."""
    sent = str(int(datetime.fromisoformat(now).timestamp()))
    proof = hmac.new(key, f"{message_id}.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": sent,
        "webhook-signature": f"v1,{base64.b64encode(proof).decode()}",
    }


class DeliveryLedger(Deliveries, Protocol):
    """What is to be sent, and of which run."""

    async def get(self, run_id: str) -> Run | None:
        """Return one run."""
        ...


@dataclass(frozen=True, slots=True)
class _Response:
    """
    How an attempt went.

    Attributes:
        text: For the log and the ledger.
        status: HTTP status; None where there was no answer.
    """

    text: str
    status: int | None = None


@dataclass(slots=True)
class Webhooks:
    """
    Sends the reports of ended jobs until they are received.

    Attributes:
        settings: Returns where reports may go now: a reload holds for the next attempt.
        redact: Takes secrets out of any text.
    """

    ledger: DeliveryLedger
    settings: Callable[[], WebhookSettings]
    utc: Callable[[], str]
    redact: Callable[[str], str]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _under_way: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _at: Counter[str] = field(default_factory=Counter)
    _client: aiohttp.ClientSession | None = None

    def published(self, _run: Run) -> None:
        """Note that a run's files are written: there may be something to send."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Send reports until *stop*; what is under way then is tried again at the next start."""
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: self._wake.set())
        try:
            while not stop.is_set():
                self._wake.clear()
                wait_s = await self._begin_due()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
        finally:
            stopping.cancel()
            await self._close()

    async def deliver_now(self) -> None:
        """Try once whatever is due, for a program that ends by itself; what fails waits in the ledger."""
        try:
            await self._begin_due()
            while self._under_way:
                await asyncio.wait(self._under_way.values())
                await self._begin_due()
        finally:
            await self._close()

    async def _begin_due(self) -> float | None:
        """Begin every attempt that is due; return the seconds until the next one is, None where none waits."""
        try:
            waiting = await self.ledger.deliveries()
        except LedgerError as error:
            log.error("webhook.waiting", why=str(error))  # noqa: TRY400 (a person's matter)
            return RETRY_S
        now = self.utc()
        for delivery in waiting:
            if delivery.due_at > now:
                return _seconds(now, delivery.due_at)
            host = _shown(delivery.url)
            if delivery.run_id in self._under_way or self._at[host] >= AT_ONCE:
                continue
            self._at[host] += 1
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way[delivery.run_id] = task
            task.add_done_callback(partial(self._done, delivery.run_id, host))
        return None

    def _done(self, run_id: str, host: str, task: asyncio.Task[None]) -> None:
        del self._under_way[run_id]
        self._at[host] -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("webhook.fault", run=run_id, exc_info=error)
        self._wake.set()

    async def _close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._deliver_once(delivery)
        except LedgerError as error:
            log.error("webhook.not_noted", run=delivery.run_id, why=str(error))  # noqa: TRY400 (a person's matter)
            await asyncio.sleep(RETRY_S)  # it is due again at once

    async def _deliver_once(self, delivery: Delivery) -> None:
        run = await self.ledger.get(delivery.run_id)
        if run is None:
            raise AssertionError(delivery)
        settings = self.settings()
        facts = {"run": run.run_id, "path": run.path, "to": _shown(delivery.url), "attempt": delivery.attempts + 1}
        if (refused := refusal(delivery.url, settings)) is not None:
            log.warning("webhook.refused", **facts, why=refused)
            await self.ledger.tried(run.run_id, refused, due_at=None, now=self.utc())
            return
        response = await self._post(delivery, run, settings)
        if response.status in _SUCCESS:
            log.info("webhook.delivered", **facts, status=response.status)
            await self.ledger.tried(run.run_id, response.text, due_at=None, now=self.utc())
            return
        last = delivery.attempts >= len(WAITS_S) or response.status == GONE
        due_at = None if last else _later(self.utc(), WAITS_S[delivery.attempts])
        if last:
            log.warning("webhook.abandoned", **facts, why=response.text)
        else:
            log.warning("webhook.failed", **facts, why=response.text, again_at=due_at)
        await self.ledger.tried(run.run_id, response.text, due_at=due_at, now=self.utc())

    async def _post(self, delivery: Delivery, run: Run, settings: WebhookSettings) -> _Response:
        import aiohttp

        if self._client is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._client = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        key = None if settings.secret is None else webhook_key(settings.secret)
        if key is None:
            raise AssertionError("refused before")
        body = self.redact(report(run, include_answer=settings.include_answer)).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": f"rlmwatch/{__version__}",
            **signed(f"msg_{run.run_id}", body, key, now=self.utc()),
        }
        try:
            proxy = proxy_to(delivery.url)
            sending = self._client.post(delivery.url, data=body, headers=headers, proxy=proxy, allow_redirects=False)
            async with sending as response:
                # The body is not read: it may be endless.
                return _Response(f"HTTP {response.status}", response.status)
        except TimeoutError:
            return _Response(f"no answer within {TIMEOUT_S:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _Response(self.redact(hide_secrets(f"{type(error).__name__}: {error}")))


def _later(now: str, seconds: float) -> str:
    later = datetime.fromisoformat(now) + timedelta(seconds=seconds)
    return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(now: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(now)).total_seconds()
