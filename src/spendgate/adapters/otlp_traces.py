"""Spans by OTLP over HTTP: to any OpenTelemetry backend, and to Langfuse."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from spendgate.adapters.semantic_names import (
    Value,
    genai_attributes,
    langfuse_attributes,
    operation,
)
from spendgate.errors import SinkUnavailableError
from spendgate.gateway.call_report import CallReport

Attributes = Callable[[CallReport], Mapping[str, Value]]


class OtlpTraces:
    """One backend that takes spans; each attempt is a span, the attempts of a request a trace."""

    def __init__(
        self,
        name: str,
        endpoint: str,
        headers: Mapping[str, str],
        attributes: Attributes,
        *,
        service: str,
        timeout_seconds: float,
    ) -> None:
        self.name = name
        self._attributes = attributes
        self._resource = resource(service)
        self._scope = InstrumentationScope("spendgate", version("spendgate"))
        self._exporter = OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces",
            headers=dict(headers),
            timeout=timeout_seconds,
            compression=Compression.Gzip,
        )

    def send(self, reports: Sequence[CallReport]) -> None:
        """Export spans.

        Raises:
            SinkUnavailableError: if the backend didn't take them.
        """
        spans = [self._span(report) for report in reports]
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise SinkUnavailableError(f"{self.name} did not take {len(spans)} spans")

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()

    def _span(self, report: CallReport) -> ReadableSpan:
        has_failed = report.status >= 400
        return ReadableSpan(
            name=f"{operation(report)} {report.model}",
            context=SpanContext(
                # Of the ids themselves: a report that is sent twice is one span.
                trace_id=_number(report.request_id, 16),
                span_id=_number(report.hold_id, 8),
                is_remote=False,
                trace_flags=TraceFlags(TraceFlags.SAMPLED),
            ),
            resource=self._resource,
            attributes=self._attributes(report),
            kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR if has_failed else StatusCode.UNSET),
            start_time=nanoseconds(report.started_at),
            end_time=nanoseconds(report.ended_at),
            instrumentation_scope=self._scope,
        )


def otlp_traces(
    endpoint: str, headers: Mapping[str, str], *, service: str, timeout_seconds: float
) -> OtlpTraces:
    """Return the backend at an OTLP endpoint, such as a collector's `http://host:4318`."""
    return OtlpTraces(
        "otlp",
        endpoint,
        headers,
        genai_attributes,
        service=service,
        timeout_seconds=timeout_seconds,
    )


def langfuse_traces(
    host: str, public_key: str, secret_key: str, *, service: str, timeout_seconds: float
) -> OtlpTraces:
    """Return Langfuse's OTLP endpoint as a backend."""
    pair = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
    headers = {"authorization": f"Basic {pair}", "x-langfuse-ingestion-version": "4"}
    endpoint = f"{host.rstrip('/')}/api/public/otel"
    return OtlpTraces(
        "langfuse",
        endpoint,
        headers,
        langfuse_attributes,
        service=service,
        timeout_seconds=timeout_seconds,
    )


def resource(service: str) -> Resource:
    """Return what sends: the service's name and our version."""
    return Resource({"service.name": service, "service.version": version("spendgate")})


def nanoseconds(at: datetime) -> int:
    """Return a time as whole nanoseconds since the epoch."""
    return round(at.timestamp() * 1_000_000) * 1000


def _number(text: str, octets: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:octets], "big") or 1
