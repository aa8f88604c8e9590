"""Metrics by OTLP over HTTP, by the names of OpenTelemetry's GenAI conventions."""

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from spendgate.adapters.otlp_traces import resource
from spendgate.adapters.semantic_names import operation, usd
from spendgate.gateway.call_report import CallReport

_TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
_SECOND_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 81.92)
"""Bounds that the conventions give."""


class OtlpMetrics:
    """Counts in memory; the SDK's own thread exports, and a failed export is made up for later."""

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        *,
        service: str,
        timeout_seconds: float,
        interval_seconds: float,
    ) -> None:
        exporter = OTLPMetricExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/metrics",
            headers=dict(headers),
            timeout=timeout_seconds,
        )
        reader = PeriodicExportingMetricReader(
            exporter, interval_seconds * 1000, timeout_seconds * 1000
        )
        self._provider = MeterProvider([reader], resource(service), shutdown_on_exit=False)
        meter = self._provider.get_meter("spendgate")
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of a call",
            explicit_bucket_boundaries_advisory=_TOKEN_BUCKETS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "How long a call took",
            explicit_bucket_boundaries_advisory=_SECOND_BUCKETS,
        )
        self._cost = meter.create_counter("spendgate.cost", "{USD}", "What calls cost")
        self._requests = meter.create_counter(
            "spendgate.requests", "{request}", "Requests by what became of them"
        )

    def answered(self, outcome: str, seconds: float) -> None:
        """Count an admission or a refusal; the time is the Prometheus page's."""
        del seconds
        self._requests.add(1, {"spendgate.outcome": outcome})

    def ended(self, report: CallReport, seconds: float) -> None:
        """Count an end."""
        del seconds
        about = {
            "gen_ai.operation.name": operation(report),
            "gen_ai.provider.name": report.upstream,
            "gen_ai.request.model": report.model_requested,
            "gen_ai.response.model": report.model,
        }
        if report.status >= 400:
            about["error.type"] = report.error_code or str(report.status)
        latency = (report.ended_at - report.started_at).total_seconds()
        self._duration.record(max(0.0, latency), about)
        self._cost.add(usd(report.cost_nano), about)
        if report.usage is not None:
            kinds = (("input", report.usage.input_tokens), ("output", report.usage.output_tokens))
            for kind, count in kinds:
                self._tokens.record(count, {**about, "gen_ai.token.type": kind})

    def close(self, seconds: float) -> None:
        """Export what is counted, for at most so long."""
        self._provider.shutdown(timeout_millis=seconds * 1000)
