"""
A collector of OpenTelemetry, told of spans by OTLP over HTTP, with the libraries of the extra `otel`.

Loaded with the first span alone. Its tracer provider is its own: the program's global one is not touched.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import Span as LibrarySpan
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
from typing_extensions import override

from rlmwatch.addresses import hide_secrets, proxy_to, redirected, without_login
from rlmwatch.runs.spans import AGENT, Span
from rlmwatch.version import __version__

PATH = "/v1/traces"
KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
AT_ONCE = 200
"""Spans in one request, which collectors limit to some megabytes (the content of a call may have some 10 kB)."""


class _Session(requests.Session):
    """
    Remembers how the last request went: the exporter returns only whether.

    Attributes:
        why: What went wrong; None where the answer was a good one.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.why: str | None = "nothing was sent"
        self.trust_env = False  # a login from a .netrc; the proxy is ours
        if (proxy := proxy_to(url)) is not None:
            self.proxies = {"http": proxy, "https": proxy}

    @override
    def request(self, *args: Any, **options: Any) -> requests.Response:
        try:
            response = super().request(*args, **options)
        except requests.RequestException as error:
            self.why = hide_secrets(f"{type(error).__name__}: {error}")[:300]
            raise
        self.why = None
        if response.is_redirect or response.is_permanent_redirect:
            self.why = redirected(response.status_code, str(response.url), response.headers["location"], "traces")
        elif not response.ok:
            self.why = f"HTTP {response.status_code} {response.reason}"
        return response


class _Ids(IdGenerator):
    """Gives the ids of the span that is next."""

    next: Span

    @override
    def generate_span_id(self) -> int:
        return self.next.span_id

    @override
    def generate_trace_id(self) -> int:
        return self.next.trace_id


class _Finished(SpanProcessor):
    """Keeps the spans that have ended and are sampled."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    @override
    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class Collector:
    """A collector at an *address*, `http://host:4318` or the whole `…/v1/traces`. Used by one thread at a time."""

    def __init__(self, address: str) -> None:
        """
        Make what sends to *address*; nothing is sent yet.

        Raises:
            UnusableProxy: The environment names a proxy for it that is none.
        """
        url, login = without_login(address)
        url = url if url.rstrip("/").endswith(PATH) else url.rstrip("/") + PATH
        # Its words are ours to say, once, and not in the log of a program with each try.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._session = _Session(url)
        headers = None if login is None else {"Authorization": login}
        self._exporter = OTLPSpanExporter(endpoint=url, headers=headers, session=self._session)
        self._ids, self._ended = _Ids(), _Finished()
        resource = Resource({"service.name": AGENT, "service.version": __version__})
        provider = TracerProvider(
            resource=resource.merge(OTELResourceDetector().detect()), id_generator=self._ids, shutdown_on_exit=False
        )
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer(AGENT, __version__)

    def send(self, spans: Sequence[Span]) -> str | None:
        """Send *spans*, each after the one above it; return why they were not taken, if so. Blocks."""
        made: dict[int, LibrarySpan] = {}
        for span in spans:
            self._ids.next = span
            above = Context() if span.parent_id is None else set_span_in_context(made[span.parent_id], Context())
            made[span.span_id] = self._tracer.start_span(
                span.name, above, KINDS[span.kind], span.attributes, start_time=span.start_ns
            )
            if span.failed:
                made[span.span_id].set_status(StatusCode.ERROR)
            made[span.span_id].end(span.end_ns)
        ended, self._ended.spans = self._ended.spans, []
        for at in range(0, len(ended), AT_ONCE):
            result = self._exporter.export(ended[at : at + AT_ONCE])
            if result is not SpanExportResult.SUCCESS or self._session.why is not None:
                return self._session.why or "it could not be sent"
        return None

    def close(self) -> None:
        """Give up what is tried again, and close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # the library leaves it out
