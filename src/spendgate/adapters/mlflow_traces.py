"""MLflow traces: one per attempt, with our exact cost, on Databricks and on this machine.

The destination is set explicitly: without one, traces of a thread that belongs to no request are
skipped inside Model Serving.
"""

from collections.abc import Sequence

import mlflow
from mlflow.entities import SpanStatusCode, SpanType
from mlflow.entities.trace_location import MlflowExperimentLocation
from mlflow.tracing import set_destination
from mlflow.tracing.constant import SpanAttributeKey, TraceMetadataKey

from spendgate.adapters.otlp_traces import nanoseconds
from spendgate.adapters.semantic_names import genai_attributes, operation, usd
from spendgate.gateway.call_report import CallReport

_TAG_CHARS_MAX = 250
"""MLflow's limit for values of metadata."""


class MlflowTraces:
    """An experiment of MLflow's tracking server as a backend."""

    name = "mlflow"

    def __init__(self, experiment_id: str) -> None:
        self._destination = MlflowExperimentLocation(experiment_id=experiment_id)
        self._is_set = False

    def send(self, reports: Sequence[CallReport]) -> None:
        """Log traces; MLflow exports them from a bounded queue of its own."""
        if not self._is_set:
            # For this thread alone: a model's own traces go where its author sends them.
            set_destination(self._destination, context_local=True)
            self._is_set = True
        for report in reports:
            _log(report)

    def close(self) -> None:
        """Wait until MLflow has exported what it was given."""
        if self._is_set:
            mlflow.flush_trace_async_logging(terminate=False)


def _log(report: CallReport) -> None:
    span = mlflow.start_span_no_context(
        name=f"{operation(report)} {report.model}",
        span_type=SpanType.CHAT_MODEL if operation(report) == "chat" else SpanType.EMBEDDING,
        tags={f"spend.{name}": value[:_TAG_CHARS_MAX] for name, value in report.scopes.items()},
        metadata=_metadata(report),
        start_time_ns=nanoseconds(report.started_at),
    )
    span.set_attributes(dict(genai_attributes(report)))
    span.set_attribute(SpanAttributeKey.MODEL, report.model)
    span.set_attribute(SpanAttributeKey.MODEL_PROVIDER, report.upstream)
    if report.usage is not None:
        usage = report.usage
        span.set_attribute(
            SpanAttributeKey.CHAT_USAGE,
            {
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
            },
        )
    span.set_attribute(SpanAttributeKey.LLM_COST, {"total_cost": usd(report.cost_nano)})
    status = SpanStatusCode.ERROR if report.status >= 400 else SpanStatusCode.OK
    span.end(status=status, end_time_ns=nanoseconds(report.ended_at))


def _metadata(report: CallReport) -> dict[str, str]:
    found = {
        TraceMetadataKey.TRACE_USER: report.scopes.get("user"),
        TraceMetadataKey.TRACE_SESSION: report.scopes.get("session"),
        "spendgate.hold_id": report.hold_id,
    }
    return {name: value[:_TAG_CHARS_MAX] for name, value in found.items() if value is not None}
