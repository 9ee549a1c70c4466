"""What a collector is sent: the spans in a request of OTLP over HTTP, decoded by OpenTelemetry's own schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True)
class Received:
    """
    One span as it came.

    Attributes:
        service: What the resource says of it.
    """

    name: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    is_client: bool
    is_error: bool
    start_ns: int
    end_ns: int
    facts: dict[str, Any]
    service: dict[str, Any]


def spans_in(body: bytes) -> list[Received]:
    """Return the spans in the *body* of a request."""
    return [
        Received(
            span.name,
            span.trace_id,
            span.span_id,
            span.parent_span_id,
            span.kind == Span.SPAN_KIND_CLIENT,
            span.status.code == Status.STATUS_CODE_ERROR,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            facts_of(span.attributes),
            facts_of(resource.resource.attributes),
        )
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def facts_of(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}
